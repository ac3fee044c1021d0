"""Runs of the learning agents on a seeded random walk, with models whose weights are drawn: for tests of what carries a decision.

The walk has a contract roll and a bad stretch. Nothing here can be right about a market; everything must still be exact.
"""

from functools import cache
from itertools import pairwise

import msgspec
import numpy as np

from engine_runs import FREE, open_risk
from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.blocks import BAR, Flag
from grandmodel.domain.events import End
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import FIVE_MINUTES_NS, NS_PER_DAY, THIRTY_MINUTES_NS, ns_from_text
from grandmodel.features.normaliser import Normaliser
from grandmodel.features.schema import STRATEGIC_SCHEMA, TACTICAL_SCHEMA
from grandmodel.models.architecture import strategic_architecture, tactical_architecture
from grandmodel.models.calibration import fit_class_outcomes
from grandmodel.models.model_file import DataSpan, DataSpans, ModelManifest, write_model
from grandmodel.models.novelty import fit_novelty, window_statistics
from grandmodel.runtime.agents import build_agent
from grandmodel.runtime.engine import Engine
from grandmodel.runtime.settings import AccountSettings, AgentSettings, Mode, RunSettings
from grandmodel.training.market import build_market

NQ = BUILT_IN["NQ"]
START_NS = ns_from_text("2024-01-02T00:00:00+00:00")
SCHEDULE = session_schedule(NQ, START_NS - 5 * NS_PER_DAY, START_NS + 120 * NS_PER_DAY)
ROLL, BAD = 40, 20
"""Bars before the end at which the contract rolls, and at which two bad bars stand."""


@cache
def walk(width_ns, count, seed=0, *, marks=True):
    """``count`` bars inside the sessions: a random walk with bursts of volatility."""
    generator = np.random.default_rng(seed)
    grid = np.arange(START_NS + width_ns, START_NS + 119 * NS_PER_DAY, width_ns)
    place = np.searchsorted(SCHEDULE.open_ns, grid - width_ns, side="right") - 1
    inside = (place >= 0) & (grid <= SCHEDULE.close_ns[np.maximum(place, 0)])
    stamps = grid[inside][:count]
    assert len(stamps) == count
    bars = np.zeros(count, BAR)
    bars["ts_event"] = bars["ts_init"] = stamps
    bars["ts_open"] = stamps - width_ns
    burst = 1.0 + 2.0 * (np.sin(np.arange(count) / 60.0) > 0.7)
    moves = np.rint(generator.normal(0.0, 30.0 * burst)).astype(np.int64)
    bars["close"] = 80_000 + np.cumsum(moves)
    bars["open"] = bars["close"] - moves + generator.integers(-4, 5, count)
    bars["high"] = np.maximum(bars["open"], bars["close"]) + generator.integers(0, 25, count)
    bars["low"] = np.minimum(bars["open"], bars["close"]) - generator.integers(0, 25, count)
    bars["volume"] = generator.integers(100, 5_000, count)
    bars["sequence"] = np.arange(count)
    if marks:
        bars["flags"][-ROLL] = Flag.ROLL
        bars["flags"][-BAD : -BAD + 2] = Flag.BAD_STRETCH
    bars.flags.writeable = False
    return bars


def write_random_model(
    path, layer, *, seed=0, temperature=0.5, horizon=None, training_seed=9, instruments=("NQ",), data=None
):
    """A model file for ``layer`` with drawn weights, everything else fitted on another walk; its id.

    ``data`` is what the file says it learnt from; by default ``instruments`` and the span of the walk.
    """
    strategic = layer == "strategic"
    schema = STRATEGIC_SCHEMA if strategic else TACTICAL_SCHEMA
    market = build_market(
        walk(THIRTY_MINUTES_NS if strategic else FIVE_MINUTES_NS, 1_800, training_seed, marks=False), NQ, layer
    )
    normaliser = Normaliser.fit(market.rows, market.ts_event, schema, train_from_ns=0, train_to_ns=2**62)
    columns = np.array(schema.known_columns)
    places = np.flatnonzero(market.usable)
    novelty = fit_novelty(
        window_statistics(market.rows, places, schema.rows, columns),
        market.ts_event[places],
        window_rows=schema.rows,
        columns=tuple(schema.known_columns),
    )
    architecture = strategic_architecture() if strategic else tactical_architecture()
    generator = np.random.default_rng(seed)
    weights = {
        name: (2.0 * generator.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)
        for name, shape in architecture.shapes().items()
    }
    known = market.outcome[~np.isnan(market.outcome)]
    span = DataSpan(start_ns=int(market.ts_event[0]), end_ns=int(market.ts_event[-1]))
    manifest = ModelManifest(
        layer=layer,
        architecture=architecture,
        schema_hash=schema.hash,
        volume="known",
        normaliser=normaliser.to_data(),
        horizon_bars=horizon or market.horizon,
        scale_decay=0.985 if strategic else 0.9975,
        mean_scale=dict.fromkeys(data.instruments if data else instruments, float(np.nanmean(market.scale))),
        outcomes=fit_class_outcomes(known) if strategic else None,
        temperature=temperature,
        novelty=msgspec.to_builtins(novelty.parameters),
        data=data or DataSpans(instruments=instruments, train=span),
        seeds=(seed,),
        settings={},
        code_version="test",
        metrics={"trained": 0.0},
    )
    return write_model(path, manifest, weights | {f"novelty.{name}": a for name, a in novelty.tensors().items()})


def run_settings(width_ns, **parameters):
    """A backtest of the learning agent on bars of ``width_ns``; the account is large, so that lots are fine steps."""
    widths = (THIRTY_MINUTES_NS,) if width_ns == THIRTY_MINUTES_NS else (FIVE_MINUTES_NS, THIRTY_MINUTES_NS)
    return RunSettings(
        mode=Mode.BACKTEST,
        agents=(AgentSettings(kind="grandmodel", parameters=parameters),),
        risk=open_risk(THIRTY_MINUTES_NS),
        venue=FREE,
        widths_ns=widths,
        account=AccountSettings(capital_micros=10**14),
    )


def build_engine(settings):
    """A fresh engine on NQ."""
    return Engine(settings, (NQ,), (SCHEDULE,), build_agent)


def records_of(engine, bars, *, cuts=()):
    """Every record of ``bars``, cut into blocks at ``cuts``, and of the end."""
    edges = [0, *sorted(cuts), len(bars)]
    blocks = [bars[a:b] for a, b in pairwise(edges) if b > a]
    made = [record for block in blocks for record in engine.on_block(block)]
    return made + list(engine.on_end(End(ts=engine.now)))
