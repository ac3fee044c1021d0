"""The facts of a market fitted to one half of the real bars over the other half, and the command that writes them down again:

    PYTHONPATH=tests .venv/bin/python tests/golden/market/make_held_out.py

NQ and CL to 2022-07-01 are fitted, from there to 2024-06-28 they are compared, with 40 seeds: the real values there are of a span
that the model has not seen. It takes a quarter of an hour of one core. ``held_out.json`` has every seed's value of every fact.
The table on ``docs/concepts/simulated-market.md`` is what ``table`` makes of it.
"""

import json
import sys
from pathlib import Path

from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import ns_from_text
from grandmodel.simulation.market_fit import BarSeries, fit_market, load_series, part_of
from grandmodel.simulation.market_parameters import SimulatedParameters
from grandmodel.simulation.market_resemblance import Compared, MarketFacts, compare, facts, simulate_facts
from shared_data import shared

GOLDEN = Path(__file__).with_name("held_out.json")
PAGE = Path(__file__).parents[3] / "docs/concepts/simulated-market.md"
BEGINS, ENDS = "| instrument | fact | real | least | median | greatest | |\n", "\n\n"
SPLIT = "2022-07-01"
SEEDS = range(1, 41)


def halves() -> tuple[list[BarSeries], list[BarSeries]]:
    """The bars before the split, with the five-minute bars of 2019, and after it."""
    names = ("30m/NQ_30m_eth_20200629_20240628", "30m/CL_30m_eth_20200629_20240628", "5m/NQ_5m_20190101_20191031")
    files = [shared(f"data/bars/futures_{name}.csv.gz") for name in names]
    whole = load_series([(file, BUILT_IN[InstrumentId(file.name[:2])]) for file in files])
    split = ns_from_text(SPLIT)
    return [part_of(one, 0, split) for one in whole], [part_of(one, split, 2**62) for one in whole]


def flat(found: MarketFacts) -> dict[str, object]:
    """The facts as JSON keeps them, to nine digits."""
    rounded = lambda value: float(f"{value:.9g}")  # noqa: E731
    return {
        "values": [[*key, rounded(value)] for key, value in found.values.items()],
        "profiles": [[*key, [rounded(value) for value in profile.tolist()]] for key, profile in found.profiles.items()],
    }


def market(document: dict) -> MarketFacts:
    """What ``flat`` has made flat."""
    import numpy as np

    return MarketFacts(
        {(name, key): value for name, key, value in document["values"]},
        {(name, key): np.array(profile) for name, key, profile in document["profiles"]},
    )


def compared() -> list[Compared]:
    """The table that the golden file holds."""
    document = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return compare(market(document["real"]), [market(one) for one in document["seeds"]])


def table() -> str:
    """The table as the page has it."""
    lines = [BEGINS.rstrip("\n"), "|---|---|---|---|---|---|---|"]
    for row in compared():
        numbers = " | ".join(f"{value:.3g}" for value in (row.real, row.low, row.median, row.high))
        lines.append(f"| {row.instrument} | {row.statistic} | {numbers} | {'' if row.is_in_band else '**outside**'} |")
    rows = compared()
    lines.append(f"| all | facts outside the band | {sum(not row.is_in_band for row in rows)} of {len(rows)} | | | | |")
    return "\n".join(lines)


def made(parameters: SimulatedParameters, real: list[BarSeries], seeds: list[int]) -> list[dict[str, object]]:
    """The facts of some seeds, flat."""
    return [flat(one) for one in simulate_facts(parameters, real, seeds, 2, lambda: print(".", end="", flush=True))]


if __name__ == "__main__":
    if "--page-only" not in sys.argv:
        fitted, held_out = halves()
        document = {"real": flat(facts(held_out)), "seeds": made(fit_market(fitted), held_out, list(SEEDS))}
        GOLDEN.write_text(json.dumps(document, indent=None, separators=(",", ":")) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    begin = page.index(BEGINS)
    PAGE.write_text(page[:begin] + table() + page[page.index(ENDS, begin) :], encoding="utf-8")
