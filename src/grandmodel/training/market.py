"""One instrument's history made ready to learn from: bars, features, the scale of moves, and where a decision may be taken.

A ``TrainingMarket`` is cut at every mark that the data room left (contract rolls, bad stretches) into segments. A decision at
bar t is usable where its whole window is known and clean and bar t + 1 lies in the same segment; an outcome is known where
the bar ``horizon`` later does. So nothing is ever traded, valued or learnt across a mark.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from grandmodel.data.historical.resampling import resample_bars
from grandmodel.domain.blocks import BAR, UNKNOWN_VOLUME, Block, Flag
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.time import FIVE_MINUTES_NS, THIRTY_MINUTES_NS, text_from_ns
from grandmodel.features.bars import BarArrays
from grandmodel.features.schema import STRATEGIC_SCHEMA, TACTICAL_SCHEMA, FeatureSchema
from grandmodel.features.sessions import TradingDays, cme_globex_sessions
from grandmodel.features.strategic import StrategicState
from grandmodel.features.tactical import TacticalState
from grandmodel.models.scale import STRATEGIC_DECAY, TACTICAL_DECAY, move_scales
from grandmodel.training.errors import TrainingDataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]
Layer = Literal["strategic", "tactical"]

HORIZON_BARS = {"strategic": 8, "tactical": 6}
"""Bars ahead whose move a belief is about: four hours, half an hour."""
_BREAK = int(Flag.ROLL | Flag.BAD_STRETCH)
_BAD = int(Flag.BAD_STRETCH)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, [start_ns, end_ns), int64 ns UTC."""

    start_ns: int
    end_ns: int

    def __post_init__(self) -> None:
        if self.start_ns >= self.end_ns:
            raise TrainingDataError(
                f"span: found {text_from_ns(self.start_ns)} to {text_from_ns(self.end_ns)}, expected a start before its end"
            )

    def holds(self, ts: Integers) -> Bools:
        """Which stamps lie inside."""
        return (ts >= self.start_ns) & (ts < self.end_ns)


@dataclass(frozen=True, slots=True)
class TrainingMarket:
    """One instrument's bars of one width. All arrays have one entry per bar, T."""

    instrument: Instrument
    layer: Layer
    schema: FeatureSchema
    """``STRATEGIC_SCHEMA`` or ``TACTICAL_SCHEMA``, or its form without volume."""
    bars: Block
    """(T,) rows of ``BAR``, prices in ticks, instrument number 0."""
    rows: Floats
    """(T, C) the feature matrix, not normalised; NaN where not known."""
    scale: Floats
    """(T,) standard deviation of one bar's move in ticks, known at the bar; NaN while not known."""
    segment: Integers
    """(T,) which stretch between two marks; -1 inside a bad stretch."""
    usable: Bools
    """(T,) whether a decision may be taken at this close: window known and clean, and bar t + 1 in the same segment."""
    outcome: Floats
    """(T,) move of the next ``horizon`` bars over scale x sqrt(horizon); NaN where it would cross a mark or the end."""
    day: Integers
    """(T,) trading day of the bar, counted from the first session of the calendar."""

    @property
    def ts_event(self) -> Integers:
        """(T,) the closes, int64 ns UTC."""
        stamps: Integers = self.bars["ts_event"]
        return stamps

    @property
    def width_ns(self) -> int:
        """Length of a bar."""
        return THIRTY_MINUTES_NS if self.layer == "strategic" else FIVE_MINUTES_NS

    @property
    def horizon(self) -> int:
        """Bars that ``outcome`` looks ahead."""
        return HORIZON_BARS[self.layer]

    def decisions(self, span: Span, *, embargo_bars: int = 0) -> Integers:
        """Places of the usable bars of ``span`` whose outcome is known inside it, less ``embargo_bars`` at its end."""
        inside = span.holds(self.ts_event) & self.usable & ~np.isnan(self.outcome)
        places = np.flatnonzero(inside)
        ends = self.ts_event[np.minimum(places + self.horizon + embargo_bars, len(self.bars) - 1)]
        return places[(ends < span.end_ns) & (places + self.horizon + embargo_bars < len(self.bars))]


def build_markets(blocks: Iterable[Block], instruments: Sequence[Instrument], layer: Layer) -> list[TrainingMarket]:
    """The markets of a feed of bars: ``instrument`` in the rows is the place in ``instruments``.

    Shorter bars are joined to the layer's width. Where the volume of one market is unknown, none is used: one model learns from
    all of them, and a feature schema knows volume or does not.
    """
    parts: dict[int, list[Block]] = {place: [] for place in range(len(instruments))}
    for block in blocks:
        if len(block) and block.dtype != BAR:
            raise TrainingDataError(f"found rows of {block.dtype.names}, expected bars")
        for place in np.unique(block["instrument"]).tolist():
            parts[place].append(block[block["instrument"] == place])
    width_ns = THIRTY_MINUTES_NS if layer == "strategic" else FIVE_MINUTES_NS
    whole = []
    for place, instrument in enumerate(instruments):
        if not parts[place]:
            raise TrainingDataError(f"{instrument.id}: found no bars, expected some: look at --from and --to")
        bars = np.concatenate(parts[place])
        shorter = (bars["ts_event"] - bars["ts_open"] < width_ns).any()
        whole.append(resample_bars(bars, width_ns) if shorter else bars)
    use_volume = all((bars["volume"] != UNKNOWN_VOLUME).any() for bars in whole)
    return [
        build_market(bars, instrument, layer, use_volume=use_volume)
        for bars, instrument in zip(whole, instruments, strict=True)
    ]


def build_market(
    bars: Block,
    instrument: Instrument,
    layer: Layer,
    sessions: TradingDays | None = None,
    *,
    use_volume: bool = True,
) -> TrainingMarket:
    """The market of one instrument's bars, in order, of the layer's width. ``use_volume=False``: as if it were unknown.

    Raises ``TrainingDataError`` where the rows are not bars of that width, or fewer than a warm-up and a window.
    """
    state = StrategicState(sessions) if layer == "strategic" else TacticalState()
    schema = STRATEGIC_SCHEMA if layer == "strategic" else TACTICAL_SCHEMA
    if bars.dtype != BAR:
        raise TrainingDataError(f"{instrument.id}: found rows of {bars.dtype.names}, expected bars")
    width = int(np.median(bars["ts_event"] - bars["ts_open"])) if len(bars) else 0
    if width != schema.bar_minutes * 60 * 10**9:
        raise TrainingDataError(
            f"{instrument.id}: found bars of {width / 60e9:g} minutes, expected {schema.bar_minutes} for the {layer} layer"
        )
    if len(bars) < schema.warm_up_bars + 2 * schema.rows:
        raise TrainingDataError(
            f"{instrument.id}: found {len(bars)} bars, expected at least {schema.warm_up_bars + 2 * schema.rows}"
        )
    block = bars.copy()
    block["instrument"] = 0
    block.flags.writeable = False
    volume = block["volume"].astype(np.float64)
    volume[(block["volume"] == UNKNOWN_VOLUME) | (not use_volume)] = np.nan
    if np.isnan(volume).all():
        schema = schema.without_volume()
    prices = {
        name: np.ascontiguousarray(instrument.prices_from_ticks(block[name]))
        for name in ("open", "high", "low", "close")
    }
    rows = state.update_block(BarArrays(ts_event=np.ascontiguousarray(block["ts_event"]), volume=volume, **prices))
    breaks, bad = (block["flags"] & _BREAK) != 0, (block["flags"] & _BAD) != 0
    scale = move_scales(
        block["close"].astype(np.float64), breaks, STRATEGIC_DECAY if layer == "strategic" else TACTICAL_DECAY
    )
    segment = np.cumsum(breaks).astype(np.int64)
    segment[bad] = -1
    known = ~np.isnan(rows[:, list(schema.known_columns)]).any(axis=1) & ~np.isnan(scale) & (scale > 0.0)
    ahead = np.zeros(len(block), np.bool_)
    ahead[:-1] = (segment[:-1] == segment[1:]) & (segment[:-1] >= 0)
    usable = _run_length(known, schema.rows) & _run_length(~bad, schema.warm_up_bars + schema.rows) & ahead
    horizon = HORIZON_BARS[layer]
    outcome = np.full(len(block), np.nan)
    inside = (segment[:-horizon] == segment[horizon:]) & (segment[:-horizon] >= 0)
    moves = (block["close"][horizon:] - block["close"][:-horizon]).astype(np.float64)
    outcome[:-horizon][inside] = moves[inside] / (scale[:-horizon][inside] * np.sqrt(horizon))
    days = sessions or cme_globex_sessions()
    return TrainingMarket(
        instrument, layer, schema, block, rows, scale, segment, usable, outcome, days.positions(block["ts_event"])
    )


def _run_length(good: Bools, length: int) -> Bools:
    """Where the newest ``length`` entries, or all since the beginning where bad ones never came, are good."""
    last_bad = np.maximum.accumulate(np.where(good, -1, np.arange(len(good))))
    never_bad = last_bad < 0
    return good & (never_bad | (np.arange(len(good)) - last_bad >= length))


def check_one_layer(markets: Sequence[TrainingMarket]) -> FeatureSchema:
    """The schema that all of ``markets`` share; raises ``TrainingDataError`` where there is none, or they differ."""
    if not markets:
        raise TrainingDataError("found no market, expected at least one")
    for market in markets[1:]:
        market.schema.check_same(markets[0].schema.hash, market.instrument.id)
    return markets[0].schema
