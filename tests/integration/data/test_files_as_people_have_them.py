"""A few of the cases of ``tests/tools/files_as_people_have_them.py``: real bars re-saved as people's programs do it."""

import pytest

from shared_data import shared
from tools.files_as_people_have_them import run

pytestmark = pytest.mark.shared


@pytest.mark.parametrize("case", ["german-excel", "yfinance", "macos-zip", "another-symbol", "odd-name", "databento"])
def test_a_file_as_people_have_it_gives_the_bars_of_its_source_or_the_right_words(case: str) -> None:
    shared("data/bars/futures_30m")
    lines: list[str] = []
    assert run(case, lines.append) == 0, "\n".join(lines)
    assert len(lines) > 2
