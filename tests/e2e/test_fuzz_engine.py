"""Three wild agents through the whole engine on real bars and quotes: an outside observer finds nothing, and finds what is planted.

A short sample of ``tests/tools/fuzz_engine.py``, which runs a million wishes.
"""

import pytest

from shared_data import shared
from tools.baseline_run import FILES
from tools.fuzz_engine import BOOK, PLANTED, fuzz, load_markets

pytestmark = [pytest.mark.shared, pytest.mark.slow]


@pytest.fixture(scope="module")
def markets():
    for file in (*FILES.values(), BOOK):
        shared(file)
    return load_markets(["NQ+CL", "ES-quotes", "ES-book"])


def test_random_wishes_of_three_agents_break_nothing(markets):
    done, counts, faults = fuzz(12_000, 7, markets)
    assert faults == []
    assert done >= 12_000
    assert {"orders", "fills", "changes", "cancels", "ended", "equities"} <= counts.keys()


@pytest.mark.parametrize("name", list(PLANTED))
def test_a_planted_fault_is_found(markets, name):
    with PLANTED[name]():
        _, _, faults = fuzz(2_000, 7, markets[1:])
    assert faults
