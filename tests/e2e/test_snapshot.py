"""A run that goes on from a snapshot makes the records that it would have made without it."""

import numpy as np
import pytest

from grandmodel.domain.agents import Account, Agent, Wish
from grandmodel.domain.decisions import TargetPosition
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import End
from grandmodel.domain.time import THIRTY_MINUTES_NS, ns_from_text
from grandmodel.features import strategic_rows
from grandmodel.journal.format import encode_record
from grandmodel.runtime.agents import build_agent
from grandmodel.runtime.engine import Engine
from grandmodel.runtime.feeds import SimulatedFeed, instruments_named
from grandmodel.runtime.settings import AgentSettings, RunSettings
from grandmodel.runtime.snapshot import restore_engine, save_engine

FEED = SimulatedFeed(
    instruments_named(["NQ", "CL"]),
    ns_from_text("2024-07-07T22:00:00+00:00"),
    ns_from_text("2024-07-09T21:00:00+00:00"),
    seed=5,
    row_scale=0.3,
)
BLOCKS = list(FEED.blocks())


class FeatureReader(Agent):
    """Trades on the newest feature row, so that a wrong feature state changes the records."""

    name = "feature_reader"
    needs_features = True

    def on_bars(self, bars, account: Account) -> list[Wish]:
        wishes = []
        for bar in bars:
            window = account.tactical_window(bar.instrument)
            known = window[-1][np.isfinite(window[-1])]
            lots = int(np.sign(known.sum() + self.generator.normal()))
            wishes.append(TargetPosition(instrument=bar.instrument, lots=lots, stop_ticks=80, target_ticks=80))
        return wishes


def engine() -> Engine:
    agents = (
        AgentSettings(kind=f"{__name__}:FeatureReader"),
        AgentSettings(kind="moving_average_cross", parameters={"fast": 2, "slow": 5}),
    )
    settings = RunSettings(agents=agents)

    def build(kind, parameters, instruments, seed):
        if kind.endswith("FeatureReader"):
            return FeatureReader(instruments, np.random.Generator(np.random.PCG64(seed)))
        return build_agent(kind, parameters, instruments, seed)

    return Engine(settings, FEED.instruments, FEED.schedules, build)


def records_of(run: Engine, blocks) -> list[bytes]:
    made = [encode_record(record) for block in blocks for record in run.on_block(block)]
    return made + [encode_record(record) for record in run.on_end(End(ts=run.now))]


@pytest.mark.parametrize("cut", [1, len(BLOCKS) // 2, len(BLOCKS) - 1])
def test_going_on_from_a_snapshot_makes_the_same_records(cut: int) -> None:
    whole = engine()
    expected = records_of(whole, BLOCKS)
    assert sum(b'"fills"' in body for body in expected) > 20

    first = engine()
    made = [encode_record(record) for block in BLOCKS[:cut] for record in first.on_block(block)]
    second = engine()
    restore_engine(second, save_engine(first))
    assert made + records_of(second, BLOCKS[cut:]) == expected


def test_features_in_the_engine_are_those_of_the_batch() -> None:
    import polars as pl

    run = engine()
    bars = [bar for block in BLOCKS for record in run.on_block(block) for bar in record.bars]
    nq = FEED.instruments[0]
    mine = [bar for bar in bars if bar.instrument == nq.id and bar.width_ns == THIRTY_MINUTES_NS]
    prices = {
        name: nq.prices_from_ticks(np.array([getattr(bar, name) for bar in mine]))
        for name in ("open", "high", "low", "close")
    }
    frame = pl.DataFrame(
        {"ts_event": [bar.ts_event for bar in mine], **prices, "volume": [float(bar.volume) for bar in mine]}
    )
    expected = strategic_rows(frame)[-48:]
    np.testing.assert_allclose(run.features.strategic(nq.id), expected, rtol=0, atol=1e-12)


def test_a_snapshot_of_another_run_is_refused() -> None:
    other = Engine(RunSettings(), FEED.instruments[:1], FEED.schedules[:1], build_agent)
    with pytest.raises(UsageError, match="snapshot"):
        restore_engine(other, save_engine(engine()))
    with pytest.raises(UsageError, match="snapshot"):
        restore_engine(other, b"nothing")
