"""Stress: what the book would lose in named days of the past, in imagined ones, and which day would lose a given sum.

A scenario moves market factors (US shares, technology shares, oil, gold, EUR/USD, bitcoin, Chinese shares), each by a
fraction of its price or by an absolute price change; an instrument follows its factor one for one. The past ones are
closing moves of public daily series (S&P 500, QQQ, the Nasdaq composite or the NQ future, WTI spot, EUR/USD, gold,
BTC/USD). A factor
that a scenario does not name was not looked up, or did not exist; positions in it are listed as not moved, never
counted as safe. Read next: ``grandmodel risk stress``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import msgspec

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import Instrument, convert_micros
from grandmodel.risk.errors import RiskInputError

_LOTS = re.compile(r"[+-]?[0-9]+")

FACTOR_OF: dict[str, str] = {
    "NQ": "us_technology",
    "MNQ": "us_technology",
    "ES": "us_shares",
    "MES": "us_shares",
    "CL": "oil",
    "MCL": "oil",
    "GC": "gold",
    "6E": "eurusd",
    "EURUSD": "eurusd",
    "BTCUSD": "bitcoin",
    "IF": "china_shares",
}
"""The factor of each built-in instrument; others are passed to ``run_stress``."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Moves of factors: ``relative`` as fractions of the price, ``absolute`` in price units (it wins where both stand)."""

    name: str
    text: str
    historical: bool
    relative: dict[str, float] = {}
    absolute: dict[str, float] = {}


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        name="2008-09-29",
        text="The day the US House refused the rescue plan",
        historical=True,
        relative={
            "us_shares": -0.0881,
            "us_technology": -0.0914,
            "oil": -0.0982,
            "gold": 0.0342,
            "eurusd": -0.0165,
        },
    ),
    Scenario(
        name="2008-autumn",
        text="29 August to 20 November 2008",
        historical=True,
        relative={
            "us_shares": -0.4135,
            "us_technology": -0.4443,
            "oil": -0.5772,
            "gold": -0.1034,
            "eurusd": -0.1521,
        },
    ),
    Scenario(
        name="2018-02-05",
        text="The volatility products' Monday",
        historical=True,
        relative={
            "us_shares": -0.0410,
            "us_technology": -0.0394,
            "oil": -0.0202,
            "gold": 0.0063,
            "eurusd": -0.0070,
            "bitcoin": -0.2142,
        },
    ),
    Scenario(
        name="2020-03-16",
        text="The worst day of the pandemic's March",
        historical=True,
        relative={"us_shares": -0.1198, "us_technology": -0.1198, "oil": -0.0870},
    ),
    Scenario(
        name="2020-march",
        text="19 February to 23 March 2020",
        historical=True,
        relative={"us_shares": -0.3392, "us_technology": -0.2807, "oil": -0.5624},
    ),
    Scenario(
        name="2020-04-20",
        text="Oil below zero: WTI spot 18.31 to -36.98",
        historical=True,
        relative={"us_shares": -0.0179, "us_technology": -0.0118},
        absolute={"oil": -55.29},
    ),
    Scenario(
        name="2022-09-13",
        text="The inflation number",
        historical=True,
        relative={"us_shares": -0.0432, "us_technology": -0.0560, "oil": -0.0039},
    ),
    Scenario(
        name="2022-bear",
        text="3 January to 12 October 2022",
        historical=True,
        relative={"us_shares": -0.2543, "us_technology": -0.3493, "oil": 0.1558},
    ),
    Scenario(
        name="shares-20-oil-30",
        text="Imagined: level 3 of the exchanges' breakers, and oil with it",
        historical=False,
        relative={
            "us_shares": -0.20,
            "us_technology": -0.20,
            "china_shares": -0.10,
            "oil": -0.30,
            "gold": 0.05,
            "bitcoin": -0.40,
            "eurusd": -0.03,
        },
    ),
    Scenario(
        name="oil-shock-up",
        text="Imagined: a supply shock, oil up by half and shares down by a tenth",
        historical=False,
        relative={
            "us_shares": -0.10,
            "us_technology": -0.12,
            "china_shares": -0.10,
            "oil": 0.50,
            "gold": 0.10,
            "bitcoin": -0.20,
            "eurusd": -0.05,
        },
    ),
    Scenario(
        name="melt-up",
        text="Imagined: everything up, against short books",
        historical=False,
        relative={
            "us_shares": 0.10,
            "us_technology": 0.13,
            "china_shares": 0.10,
            "oil": 0.15,
            "gold": 0.08,
            "bitcoin": 0.40,
            "eurusd": 0.04,
        },
    ),
)
"""Named scenarios; more are one ``Scenario`` more."""


@dataclass(frozen=True, slots=True)
class StressResult:
    """What one scenario does to the book, in micros of the account's currency, gains positive."""

    scenario: str
    pnl_micros: int
    by_instrument: dict[str, int]
    not_moved: tuple[str, ...]
    """Instruments held whose factor the scenario does not name."""


def run_stress(
    scenarios: Sequence[Scenario],
    instruments: Sequence[Instrument],
    positions: Sequence[int],
    marks: Sequence[int],
    rates_micros: Sequence[int],
    factor_of: Mapping[str, str] | None = None,
) -> tuple[StressResult, ...]:
    """The P&L of ``positions`` (lots) at ``marks`` (ticks) under each of ``scenarios``; exchange rates do not move.

    Raises ``RiskInputError`` where a position has no mark, one at or below 0 of an instrument that has no such prices, or
    no known factor.
    """
    factors = FACTOR_OF if factor_of is None else factor_of
    held = [
        (instrument, lots, mark, rate)
        for instrument, lots, mark, rate in zip(instruments, positions, marks, rates_micros, strict=True)
        if lots
    ]
    for instrument, _, mark, rate in held:
        if mark == UNDEFINED_PRICE or rate <= 0:
            raise RiskInputError(f"{instrument.id}: found a position without a price or a rate, expected both")
        if mark <= 0 and not instrument.negative_prices:
            raise RiskInputError(f"{instrument.id}: found a price of {mark} ticks, expected one above 0")
        if instrument.id not in factors:
            raise RiskInputError(f"{instrument.id}: no stress factor is known, expected one of {sorted(set(factors))}")
    return tuple(_one_scenario(scenario, held, factors) for scenario in scenarios)


def scenario_named(name: str) -> Scenario:
    """The built-in scenario called ``name``."""
    for scenario in SCENARIOS:
        if scenario.name == name:
            return scenario
    raise RiskInputError(f"found scenario {name!r}, expected one of: {', '.join(s.name for s in SCENARIOS)}")


def scale_to_loss(result: StressResult, loss_micros: int) -> float:
    """How many times ``result``'s scenario loses ``loss_micros`` (above 0); infinity where it does not lose."""
    if loss_micros <= 0:
        raise RiskInputError(f"found a loss of {loss_micros} micros, expected one above 0")
    return loss_micros / -result.pnl_micros if result.pnl_micros < 0 else math.inf


def positions_from_text(text: str, known: Mapping[InstrumentId, Instrument]) -> tuple[list[Instrument], list[int]]:
    """``NQ=3,CL=-2`` as instruments and lots; raises ``RiskInputError`` where a part is not one or names one again."""
    instruments: list[Instrument] = []
    lots: list[int] = []
    for part in text.split(","):
        name, _, count = part.strip().partition("=")
        if InstrumentId(name) not in known or not _LOTS.fullmatch(count):
            raise RiskInputError(
                f"found {part.strip()!r}, expected INSTRUMENT=LOTS, such as NQ=3 (known: {list(known)})"
            )
        if known[InstrumentId(name)] in instruments:
            raise RiskInputError(f"found {name} twice in {text!r}, expected each instrument once")
        instruments.append(known[InstrumentId(name)])
        lots.append(int(count))
    return instruments, lots


def _one_scenario(
    scenario: Scenario, held: Sequence[tuple[Instrument, int, int, int]], factors: Mapping[str, str]
) -> StressResult:
    by_instrument: dict[str, int] = {}
    still: list[str] = []
    for instrument, lots, mark, rate in held:
        factor = factors[instrument.id]
        if factor in scenario.absolute:
            ticks = round(Decimal(repr(scenario.absolute[factor])) / instrument.tick_size)
        elif factor in scenario.relative:
            ticks = round(Decimal(repr(scenario.relative[factor])) * abs(mark))
        else:
            still.append(instrument.id)
            continue
        by_instrument[instrument.id] = convert_micros(instrument.value_micros(ticks, lots), rate)
    return StressResult(
        scenario=scenario.name,
        pnl_micros=sum(by_instrument.values()),
        by_instrument=by_instrument,
        not_moved=tuple(still),
    )
