"""Made-up markets for the tests of lanes and environments: bars on a real calendar's grid, with gaps, marks and jumps."""

import numpy as np

from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.blocks import BAR, Flag
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.features.schema import STRATEGIC_SCHEMA, TACTICAL_SCHEMA
from grandmodel.models.scale import STRATEGIC_DECAY, TACTICAL_DECAY, move_scales
from grandmodel.training.market import TrainingMarket

MARCH_2021 = 1_614_556_800 * 10**9
"""Monday 2021-03-01, midnight UTC: inside a session of Globex."""


def wild_bars(generator, instrument, minutes, count, *, start_price=1_000, move=6.0, missing=0.02, marks=0.01):
    """``count`` bars of one width: a walk with gaps in time, jumps in price, halted bars, rolls and bad stretches."""
    width = minutes * 60 * 10**9
    schedule = session_schedule(instrument, MARCH_2021, MARCH_2021 + (count * 4 + 1_000) * width)
    pairs = zip(schedule.open_ns, schedule.close_ns, strict=True)
    opens = np.concatenate([np.arange(first, last - width + 1, width) for first, last in pairs])
    kept = np.ones(len(opens), np.bool_)
    for k in np.flatnonzero(generator.random(len(opens)) < missing):
        kept[k : k + int(generator.choice([1, 2, 5, 60]))] = False
    opens = opens[kept][:count]
    bars = np.zeros(count, BAR)
    bars["ts_open"] = opens
    bars["ts_event"] = bars["ts_init"] = opens + width
    bars["sequence"] = np.arange(count)
    bars["volume"] = generator.integers(1, 1_000, count)
    steps = np.rint(generator.standard_t(3, count) * move).astype(np.int64)
    gaps = np.rint(generator.standard_t(3, count) * move / 4).astype(np.int64)
    close = np.maximum(start_price + np.cumsum(steps + gaps), 50)
    open_ = np.maximum(np.concatenate([[start_price], close[:-1]]) + gaps, 50)
    wick = np.abs(np.rint(generator.standard_t(3, (2, count)) * move / 2)).astype(np.int64)
    bars["open"], bars["close"] = open_, close
    bars["high"] = np.maximum(open_, close) + wick[0]
    bars["low"] = np.maximum(np.minimum(open_, close) - wick[1], 25)
    bars["flags"][generator.random(count) < 0.03] = int(Flag.HALTED)
    bars["flags"][generator.random(count) < marks] |= int(Flag.ROLL)
    for k in np.flatnonzero(generator.random(count) < marks / 2):
        bars["flags"][k : k + int(generator.integers(1, 8))] |= int(Flag.BAD_STRETCH)
    bars.flags.writeable = False
    return bars


def bare_market(bars, instrument=BUILT_IN["NQ"], layer="strategic"):
    """A market without features: what lanes read of one is its bars, its segments and its scale."""
    schema = STRATEGIC_SCHEMA if layer == "strategic" else TACTICAL_SCHEMA
    breaks = (bars["flags"] & int(Flag.ROLL | Flag.BAD_STRETCH)) != 0
    bad = (bars["flags"] & int(Flag.BAD_STRETCH)) != 0
    segment = np.cumsum(breaks).astype(np.int64)
    segment[bad] = -1
    decay = STRATEGIC_DECAY if layer == "strategic" else TACTICAL_DECAY
    scale = move_scales(bars["close"].astype(np.float64), breaks, decay)
    count = len(bars)
    return TrainingMarket(
        instrument=instrument,
        layer=layer,
        schema=schema,
        bars=bars,
        rows=np.zeros((count, len(schema.columns))),
        scale=scale,
        segment=segment,
        usable=np.ones(count, np.bool_),
        outcome=np.zeros(count),
        day=np.zeros(count, np.int64),
    )


def wild_market(seed, layer="strategic", count=400, instrument=BUILT_IN["NQ"], **changes):
    """A ``bare_market`` of ``wild_bars``."""
    minutes = 30 if layer == "strategic" else 5
    bars = wild_bars(np.random.default_rng(seed), instrument, minutes, count, **changes)
    return bare_market(bars, instrument, layer)
