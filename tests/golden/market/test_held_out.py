"""What the page says of the simulated market over a span that it was not fitted to is what the command finds there."""

import json
import runpy
from pathlib import Path

import pytest

MADE = runpy.run_path(str(Path(__file__).with_name("make_held_out.py")))


def test_the_page_lists_every_fact_with_its_band_and_whether_the_real_value_lies_in_it() -> None:
    compared = MADE["compared"]()
    document = json.loads(MADE["GOLDEN"].read_text(encoding="utf-8"))
    assert len(document["seeds"]) == len(MADE["SEEDS"]) == 40
    page = MADE["PAGE"].read_text(encoding="utf-8")
    assert MADE["table"]() in page
    outside = [row for row in compared if not row.is_in_band]
    assert page.count("**outside** |") == len(outside)
    # A band of 40 seeds, recounted plainly.
    for name, statistic, real in document["real"]["values"]:
        values = [value for one in document["seeds"] for *key, value in one["values"] if key == [name, statistic]]
        (row,) = (row for row in compared if (row.instrument, row.statistic) == (name, statistic))
        assert len(values) == 40
        assert (row.real, row.low, row.high) == (real, min(values), max(values))
        assert row.is_in_band == (min(values) <= real <= max(values))


@pytest.mark.shared
@pytest.mark.slow
def test_the_real_values_and_those_of_a_seed_are_found_again() -> None:
    document = json.loads(MADE["GOLDEN"].read_text(encoding="utf-8"))
    fitted, held_out = MADE["halves"]()
    assert all(
        one.bars["ts_event"][-1] <= other.bars["ts_open"][0] for one, other in zip(fitted, held_out, strict=True)
    )
    assert MADE["flat"](MADE["facts"](held_out)) == document["real"]
    assert MADE["made"](MADE["fit_market"](fitted), held_out, [7]) == [document["seeds"][6]]
