"""The baseline over the shared NQ and CL bars of 2020 to 2024 in one run of the product, for tests and benchmarks."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
import numpy as np

from grandmodel.data.historical.importing import read_file
from grandmodel.data.historical.profile import ImportProfile, Label
from grandmodel.domain.blocks import Block, Flag, freeze
from grandmodel.domain.events import Record
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.moments import moments_of
from grandmodel.domain.orders import Fill
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NS_PER_DAY, THIRTY_MINUTES_NS
from grandmodel.journal.format import JournalReader
from grandmodel.journal.replay import ReplayReport, replay
from grandmodel.risk.settings import RiskSettings
from grandmodel.runtime.inputs import InputEngine
from grandmodel.runtime.sequencer import sequence
from grandmodel.runtime.session import Session
from grandmodel.runtime.settings import AccountSettings, Mode, RollPolicy, RunSettings
from grandmodel.simulation.models import VenueSettings

FILES = {
    "NQ": "data/bars/futures_30m/NQ_30m_eth_20200629_20240628.csv.gz",
    "CL": "data/bars/futures_30m/CL_30m_eth_20200629_20240628.csv.gz",
}
TICKS = {"NQ": "0.25", "CL": "0.01"}
TICK_CENTS = {"NQ": 500, "CL": 1_000}
"""What a tick of one lot is worth, from the exchange's contract specifications."""
FEE_CENTS = 225
CAPITAL_MICROS = 10**15
"""So much that no limit in multiples of capital is ever near."""


def wide_risk() -> RiskSettings:
    """Every check runs; breakers are wide, and value at risk is known after one return instead of 46."""
    never = {"caution": 1e9}
    return msgspec.convert(
        {
            "breakers": {"loss_streak": never, "volatility": never, "correlation_shock": never},
            "flow": {"max_repeats": 10**6},
            "var": {"min_returns": 1},
        },
        RiskSettings,
    )


def wide_settings(rolls: RollPolicy) -> RunSettings:
    """A backtest of the baseline on 30-minute bars that risk never stops."""
    return RunSettings(
        mode=Mode.BACKTEST,
        account=AccountSettings(capital_micros=CAPITAL_MICROS),
        widths_ns=(THIRTY_MINUTES_NS,),
        risk=wide_risk(),
        rolls=rolls,
        venue=VenueSettings(half_spread_ticks=0),
    )


def engine_bars(path: Path, name: str) -> tuple[Block, list[int]]:
    """The file through the importer, and the rows at which it found a new contract."""
    profile = ImportProfile(time_zone="Asia/Jerusalem", label=Label.OPEN)
    blocks, report = read_file(path, BUILT_IN[InstrumentId(name)], profile)
    (block,) = blocks.values()
    return block, [roll.row for series in report.series for roll in series.rolls]


def numbered(block: Block, number: int, keep: int = 0) -> Block:
    """A copy for instrument ``number`` of a run, with only the flags ``keep``."""
    copied = block.copy()
    copied["instrument"] = number
    copied["flags"] &= keep
    return freeze(copied)


def one_session(blocks: list[Block]) -> SessionSchedule:
    """One session around all rows, that never closes."""
    first = min(int(block["ts_open"][0]) for block in blocks) - NS_PER_DAY
    last = max(int(block["ts_event"][-1]) for block in blocks) + NS_PER_DAY
    return SessionSchedule(np.array([first]), np.array([last]), np.array([first]))


@dataclass(frozen=True)
class BaselineRun:
    """What one run left, read from its journal by a replay."""

    rolls: dict[str, list[int]]
    fills: dict[str, list[Fill]]
    equity: dict[int, int]
    """Equity in millionths after the last record of each moment."""
    replayed: ReplayReport
    records: int
    cash_micros: int


@cache
def baseline_run(paths: tuple[tuple[str, Path], ...], policy: RollPolicy) -> BaselineRun:
    """Run the baseline on all ``paths`` (name, file) at once and replay the journal; computed once a process."""
    blocks, rolls = [], {}
    keep = 0 if policy is RollPolicy.IGNORE else int(Flag.ROLL)
    for number, (name, path) in enumerate(paths):
        block, rolls[name] = engine_bars(path, name)
        blocks.append(numbered(block, number, keep))
    instruments = [BUILT_IN[InstrumentId(name)] for name, _ in paths]
    schedules = [one_session(blocks)] * len(blocks)
    fills: dict[str, list[Fill]] = {name: [] for name, _ in paths}
    equity: dict[int, int] = {}

    def on_record(record: Record) -> None:
        for moment in moments_of(record):
            if moment.bars or moment.ts not in equity:
                # A roll inside a session is booked at the close of the bar before it: the equity of that bar is what it closed at.
                equity[moment.ts] = moment.equity_micros
            for fill in moment.fills:
                fills[fill.instrument].append(fill)

    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "baseline"
        with Session.start(
            folder, wide_settings(policy), instruments, schedules, data="shared bars", clock_ns=lambda: 0
        ) as session:
            session.feed(sequence(blocks))
            session.end()
            cash, records = session.engine.ledger.cash_micros, session.records
        with JournalReader.open(folder) as reader:
            replayed = replay(reader, InputEngine(), on_record)
    return BaselineRun(rolls, fills, equity, replayed, records, cash)
