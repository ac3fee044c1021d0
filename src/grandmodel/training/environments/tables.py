"""Markets as the arrays that the environments' kernels read: one table of windows per trunk, and where an episode may run.

All markets stand one after the other, so that a bar is one number g, the row that lanes count too. A window is
then one stretch of memory, the newest row last, and an observation is a copy of it. Nothing here changes while an environment
runs; ``episodes.py`` holds what does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.time import FIVE_MINUTES_NS, THIRTY_MINUTES_NS
from grandmodel.features.normaliser import Normaliser
from grandmodel.features.schema import TIME_COLUMNS, FeatureSchema
from grandmodel.kernels import table_reader
from grandmodel.models.architecture import Architecture, strategic_architecture, tactical_architecture
from grandmodel.training.environments.episodes import NUMBERS, build_numbers
from grandmodel.training.environments.settings import EnvSettings
from grandmodel.training.errors import TrainingDataError
from grandmodel.training.market import Layer, Span, TrainingMarket, check_one_layer

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]

TRADING_DAYS_PER_YEAR = 252.0


TABLE_BAR = np.dtype(
    [
        ("close", "<f8"),  # ticks
        ("scale", "<f8"),  # deviation of one bar's move, ticks
        ("time_of_day", "<f8"),  # 0 in a matrix without it, as the next
        ("day_of_week", "<f8"),
        ("exposure", "<f8"),  # strategic exposure, where it was given; NaN where it is drawn
        ("age", "<f8"),  # 5-minute bars since the newest half-hour close, at which the strategic layer decided
        ("is_decision", "<i8"),  # 1 where the bar closes a half hour
        ("can_step", "<i8"),  # 1 where a decision may be taken here, and what is seen at the next bar is known
    ]
)
"""One row a bar: what a step reads of it beside its window stands in one cache line."""

TABLE_MARKET = np.dtype(
    [
        ("tick_value", "<f8"),  # micros per tick and lot
        ("bars_per_year", "<f8"),
        ("bars_per_day", "<f8"),
        ("mean_scale", "<f8"),
        ("first_start", "<i8"),  # its rows [first, last) of ``Tables.starts``
        ("last_start", "<i8"),
    ]
)
"""One row a market."""


class Tables(NamedTuple):
    """What the kernels read. G bars of M markets, C columns; a table per trunk with that trunk's columns."""

    bars: NDArray[Any]
    """(G,) of ``TABLE_BAR``"""
    markets: NDArray[Any]
    """(M,) of ``TABLE_MARKET``"""
    starts: Integers
    """(S,) bars at which an episode may begin, market by market"""
    newest: Singles
    """(G, C) the normalised rows, for the global state."""
    windows: Singles
    """The normalised columns of each trunk, (G, columns) end to end and flat: a window is one stretch of it."""
    columns: Integers
    """How many columns each trunk has, ..."""
    windows_from: Integers
    """... and where its part of ``windows`` begins."""
    numbers: NDArray[Any]
    """(1,) of ``NUMBERS``: the settings that the kernels need."""


open_tables = table_reader(
    "Tables",
    zip(
        Tables._fields,
        (TABLE_BAR, TABLE_MARKET, np.int64, np.float32, np.float32, np.int64, np.int64, NUMBERS),
        (1, 1, 1, 2, 1, 1, 1, 1),
        strict=True,
    ),
)
"""In compiled code: the ``Tables`` of which one has the ``table_of``."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Everything fixed about an environment: the markets, their arrays, and what they were normalised with."""

    layer: Layer
    markets: tuple[TrainingMarket, ...]
    settings: EnvSettings
    architecture: Architecture
    schema: FeatureSchema
    normaliser: Normaliser
    tables: Tables

    @property
    def tail_size(self) -> int:
        """Numbers of the tail."""
        return max(head.tail for head in self.architecture.heads)

    @property
    def observation_sizes(self) -> tuple[int, ...]:
        """One per agent."""
        inputs = {trunk.name: trunk.inputs for trunk in self.architecture.trunks}
        return tuple(inputs.get(head.trunk, 0) + head.tail for head in self.architecture.heads)

    @property
    def state_size(self) -> int:
        """The newest row and the tail."""
        return len(self.schema.columns) + self.tail_size


def build_ground(
    layer: Layer,
    markets: Sequence[TrainingMarket],
    settings: EnvSettings,
    span: Span | None = None,
    exposures: Sequence[Floats] | None = None,
) -> Ground:
    """Prepare ``markets`` for an environment of ``layer`` that runs inside ``span`` (None: everywhere).

    ``exposures``: per market (T,) the strategic exposure at each 5-minute close, in [-1, 1]. Raises ``TrainingDataError`` for
    markets of another layer or schema, and where no episode can begin.
    """
    schema = _schema_of(layer, markets)
    inside = [span.holds(market.ts_event) if span else np.ones(len(market.bars), np.bool_) for market in markets]
    architecture = strategic_architecture() if layer == "strategic" else tactical_architecture()
    normaliser = _normaliser(markets, inside, schema, settings)
    newest = np.concatenate([normaliser.apply(market.rows) for market in markets]).astype(np.float32)
    can_step = [_can_step(market, here) for market, here in zip(markets, inside, strict=True)]
    starts = _all_starts(layer, markets, can_step, settings)
    firsts = np.cumsum([0, *(len(market.bars) for market in markets[:-1])])
    # Markets without a start are never drawn, but they keep their number.
    times = TIME_COLUMNS if layer == "strategic" else ()
    hours = [np.concatenate([market.rows[:, place] for market in markets]) for place in times] or [
        np.zeros(len(newest))
    ] * 2
    days = np.array([settings.bars_per_day_of(market.instrument.id, market.width_ns) for market in markets])
    scales = [market.scale for market in markets]
    columns = np.array([len(trunk.columns) for trunk in architecture.trunks], np.int64)
    bars = np.zeros(len(newest), TABLE_BAR)
    bars["close"] = np.concatenate([market.bars["close"] for market in markets])
    bars["scale"] = np.concatenate(scales)
    bars["time_of_day"], bars["day_of_week"] = hours
    bars["exposure"] = _exposures(markets, can_step, exposures)
    bars["age"] = np.concatenate([_decision_age(market.ts_event) for market in markets])
    bars["is_decision"] = np.concatenate([market.ts_event % THIRTY_MINUTES_NS == 0 for market in markets])
    bars["can_step"] = np.concatenate(can_step)
    rows = np.zeros(len(markets), TABLE_MARKET)
    rows["tick_value"] = [market.instrument.tick_value_micros for market in markets]
    rows["bars_per_year"], rows["bars_per_day"] = days * TRADING_DAYS_PER_YEAR, days
    rows["mean_scale"] = [
        settings.mean_scale_of(market.instrument.id, scale[here])
        for market, scale, here in zip(markets, scales, inside, strict=True)
    ]
    rows["last_start"] = np.cumsum([*map(len, starts)])
    rows["first_start"][1:] = rows["last_start"][:-1]
    tables = Tables(
        bars=bars,
        markets=rows,
        starts=np.concatenate([first + here for first, here in zip(firsts, starts, strict=True)]),
        newest=newest,
        windows=np.concatenate([newest[:, trunk.columns].ravel() for trunk in architecture.trunks]),
        columns=columns,
        windows_from=len(newest) * (np.cumsum(columns) - columns),
        numbers=build_numbers(layer, settings),
    )
    return Ground(layer, tuple(markets), settings, architecture, schema, normaliser, tables)


def _schema_of(layer: Layer, markets: Sequence[TrainingMarket]) -> FeatureSchema:
    """The schema that all ``markets`` share; raises ``TrainingDataError`` where they have several, or another layer."""
    schema = check_one_layer(markets)
    for market in markets:
        if market.layer != layer:
            raise TrainingDataError(f"{market.instrument.id}: found a {market.layer} market, expected a {layer} one")
    return schema


def _all_starts(
    layer: Layer, markets: Sequence[TrainingMarket], can_step: Sequence[Bools], settings: EnvSettings
) -> list[Integers]:
    """Per market where an episode may begin; raises ``TrainingDataError`` where none can anywhere."""
    starts = [_starts(here, settings.bars_of(layer), settings.fewest_bars) for here in can_step]
    if not any(map(len, starts)):
        raise TrainingDataError(
            f"found no bar of {', '.join(market.instrument.id for market in markets)} at which an episode of at least "
            f"{min(settings.bars_of(layer), settings.fewest_bars)} bars can begin, expected some: the span is too short, or nothing in it is usable"
        )
    return starts


def _normaliser(
    markets: Sequence[TrainingMarket], inside: Sequence[Bools], schema: FeatureSchema, settings: EnvSettings
) -> Normaliser:
    """The one of the settings, or one fitted on the bars inside the span."""
    if settings.normaliser is not None:
        return Normaliser.from_data(settings.normaliser, schema)
    rows = np.concatenate([market.rows[here] for market, here in zip(markets, inside, strict=True)])
    stamps = np.concatenate([market.ts_event[here] for market, here in zip(markets, inside, strict=True)])
    if not len(stamps):
        raise TrainingDataError("found no bar inside the span, expected some: widen it, or load other bars")
    return Normaliser.fit(rows, stamps, schema, train_from_ns=int(stamps.min()), train_to_ns=int(stamps.max()))


def _can_step(market: TrainingMarket, inside: Bools) -> Bools:
    """(T,) where a decision may be taken, and the window and the scale of the next bar are known and in the span."""
    known = ~np.isnan(market.rows[:, list(market.schema.known_columns)]).any(axis=1) & (market.scale > 0.0)
    can = np.zeros(len(inside), np.bool_)
    can[:-1] = market.usable[:-1] & inside[:-1] & inside[1:] & known[1:]
    return can


def _starts(can_step: Bools, episode_bars: int, fewest_bars: int) -> Integers:
    """Where at least ``fewest_bars`` steps (or a whole, shorter episode) lie ahead."""
    count = len(can_step)
    next_end = np.minimum.accumulate(np.where(can_step, count, np.arange(count))[::-1])[::-1]
    return np.flatnonzero(can_step & (next_end - np.arange(count) >= min(fewest_bars, episode_bars)))


def _decision_age(ts_event: Integers) -> Floats:
    """(T,) 5-minute bars since the newest half-hour close; the first bars of a market count from its beginning."""
    decided = np.where(ts_event % THIRTY_MINUTES_NS == 0, ts_event, ts_event[0])
    ages: Floats = (ts_event - np.maximum.accumulate(decided)) / FIVE_MINUTES_NS
    return ages


def _exposures(
    markets: Sequence[TrainingMarket], can_step: Sequence[Bools], exposures: Sequence[Floats] | None
) -> Floats:
    """(G,) the given exposures, checked; NaN everywhere where none were given."""
    if exposures is None:
        return np.full(sum(len(market.bars) for market in markets), np.nan)
    if [len(one) for one in exposures] != [len(market.bars) for market in markets]:
        raise TrainingDataError(
            f"exposures: found lengths {[len(one) for one in exposures]}, expected one per bar: "
            f"{[len(market.bars) for market in markets]}"
        )
    for market, given, here in zip(markets, exposures, can_step, strict=True):
        used = given[here]
        if not (np.abs(used) <= 1.0).all():
            raise TrainingDataError(
                f"exposures of {market.instrument.id}: found {used[~(np.abs(used) <= 1.0)][0]}, expected numbers in [-1, 1]"
            )
    return np.nan_to_num(np.concatenate(exposures).astype(np.float64))
