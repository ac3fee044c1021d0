"""A simulated market: trades and quotes of several instruments from a fitted model. Nothing here is real data.

The model, in the order in which it is drawn: a Markov chain of regimes shared by all instruments, one step per trading
day; per instrument a volatility level, one step per session; per instrument and half hour a volatility
(bucket of the session x level x regime x a mean-reverting factor), a volume, perhaps a jump, and at a session's open a gap; then a
latent price in steps of a second, with shocks correlated between instruments by regime; around it quotes and trades that arrive
at random, with a spread that widens with volatility: the tape. A row scale other than 1 thins the tape's rows or adds rows between
them; bars of five minutes, and of whole multiples of them, are the tape's at every row scale.
``docs/concepts/simulated-market.md`` explains it and says where it does not resemble the real market.

Half-hour draws come from numpy's Philox counter, keyed by the seed with the half hour as the counter. Draws inside a
half hour come from SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014), two
streams per instrument (one for the tape, one for the rows that the row scale adds or leaves out) and one for the shocks, each started from ``SeedSequence`` of the seed and the instrument's name.
Starting points are scattered over the one cycle of 2^64, so a few streams of some 10^11 draws overlap with a chance of
about 10^-7. All state is in arrays, so how the rows are cut into blocks cannot change them.

Read next: ``market_parameters.py`` (the numbers), ``market_fit.py`` (where they come from).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import UNDEFINED_PRICE, Action, Block, BookSide, Flag, Schema, empty_block, freeze
from grandmodel.domain.errors import UsageError
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import FIVE_MINUTES_NS, NEVER_NS, NS_PER_DAY, NS_PER_HOUR, NS_PER_SECOND, THIRTY_MINUTES_NS
from grandmodel.kernels import kernel
from grandmodel.simulation.market_parameters import (
    SLOTS_PER_BUCKET,
    WEEKDAYS,
    Gap,
    InstrumentParameters,
    SimulatedParameters,
)

Rows = NDArray[np.void]
Record = Any
"""One row of a structured array inside compiled code; numpy has no type for its fields."""
Floats = NDArray[np.float64]
Words = NDArray[np.uint64]

MAX_ROW_SCALE = 100.0
_LATENT_STEP_NS = NS_PER_SECOND
_SLOTS_AT_ONCE = 12
"""Slots of the tape that are held in memory while they are thinned."""
_LONG_GAP_NS = 4 * NS_PER_HOUR
_SECONDS_PER_BAR = 1800.0
_MOST_GAP = 0.25
_PLAN_STREAM, _START_STREAM, _DAY_STREAM, _SESSION_STREAM = 1, 2, 3, 4
"""Keys of the half hours' draws; each instrument has a session stream of its own, from the last on."""

SLOT = np.dtype(
    [
        ("open_from", "<i8"),
        ("open_to", "<i8"),
        ("gap", "<f8"),  # simple return at the session's first slot, else 0
        ("jump_ns", "<i8"),
        ("jump", "<f8"),  # simple return
        ("sigma", "<f8"),  # standard deviation of the simple return over one latent step
        ("spread", "<f8"),  # ticks of spread beyond one, per tick of price
        ("wait_ns", "<f8"),  # mean time between rows
        ("trade_share", "<f8"),
        ("trade_log", "<f8"),  # 1 / log(1 - 1 / mean size), 0 where every trade is one lot
        ("quote_log", "<f8"),
        ("extra_wait_ns", "<f8"),  # mean time between the quotes that a row scale above 1 adds, 0 at other scales
        ("part_log", "<f8"),  # as trade_log, of the parts into which such a scale splits trades
        ("is_open", "<i8"),  # 1 at the first slot of a session
    ]
)
"""One instrument in one five-minute slot of the plan."""

LATENT = np.dtype(
    [
        ("price", "<f8"),  # ticks
        ("noise", "<f8"),  # ticks
        ("next_ns", "<i8"),
        ("bid", "<i8"),
        ("ask", "<i8"),
        ("bid_size", "<i8"),
        ("ask_size", "<i8"),
        ("has_quote", "<i8"),
        ("must_trade", "<i8"),
        ("extra_ns", "<i8"),
        ("lots_left", "<i8"),  # of a trade of which a part has been written
        ("last_side", "<f8"),
        ("noise_step", "<f8"),
        ("noise_persistence", "<f8"),
        ("sign_persistence", "<f8"),
    ]
)
"""One instrument between two rows."""

CURSOR = np.dtype(
    [("slot", "<i8"), ("slot_entered", "<i8"), ("step_ns", "<i8"), ("step_entered", "<i8"), ("sequence", "<i8")]
)
"""Where the generator stands in its plan."""


class SimulatedMarket:
    """Quotes and trades of ``instruments`` in blocks of the layout ``TICK``, the same for the same arguments.

    ``schedules`` are the sessions, one per instrument; no row lies outside them. Prices stay above zero for every
    instrument, because every move is a fraction of the price: the fitted period has no negative price. There is no drift:
    nobody can earn from holding.

    ``row_scale`` multiplies the number of rows and changes no bar: bars of five minutes, and of whole multiples of them, made
    from the trades are equal at every row scale. Below 1 rows of the tape are left out: of each five minutes and instrument the
    first, highest, lowest and last trade stay, with the quotes that they met and the last quote, and the others by chance; the
    lots of a trade left out are added to the next that stays. So a very small scale leaves more rows than it asks for. Above 1
    trades are split into several at their price and time, as far as the volume allows, and quotes that change sizes only
    are added.

    Raises ``UsageError`` where an instrument has no parameters, or the seed or the scale is out of range.
    """

    def __init__(
        self,
        parameters: SimulatedParameters,
        instruments: Sequence[Instrument],
        schedules: Sequence[SessionSchedule],
        seed: int,
        *,
        row_scale: float = 1.0,
    ) -> None:
        if not instruments or len(instruments) != len(schedules):
            raise UsageError(
                f"simulated market: found {len(instruments)} instruments and {len(schedules)} schedules, expected one schedule each"
            )
        missing = [instrument.id for instrument in instruments if instrument.id not in parameters.instruments]
        if missing:
            raise UsageError(
                f"simulated market: no parameters for {', '.join(missing)}; there are some for "
                f"{', '.join(parameters.instruments)}; `grandmodel market fit` makes others"
            )
        if not 0 <= seed < 2**63:
            raise UsageError(f"simulated market: found seed {seed}, expected 0 to 2^63 - 1")
        if not 0 < row_scale <= MAX_ROW_SCALE:
            raise UsageError(
                f"simulated market: found row scale {row_scale}, expected above 0 and up to {MAX_ROW_SCALE}"
            )
        self.parameters = parameters
        self.instruments = tuple(instruments)
        self.schedules = tuple(schedules)
        self.seed = seed
        self.row_scale = row_scale

    def blocks(self, start_ns: int, end_ns: int, rows_per_block: int = 65_536) -> Iterator[Block]:
        """The rows of [``start_ns``, ``end_ns``) in order of (``ts_init``, ``sequence``), as frozen blocks.

        Every block but the last has ``rows_per_block`` rows. ``ts_init`` equals ``ts_event``: delay is the business of the
        simulated venue's latency model. A later ``end_ns`` appends rows and changes none; another ``start_ns`` is another
        market. ``sequence`` counts all rows from 1 and wraps at 2^32.
        """
        if rows_per_block < 1:
            raise UsageError(f"simulated market: found {rows_per_block} rows per block, expected 1 or more")
        if self.row_scale < 1:
            return self._thinned(start_ns, end_ns, rows_per_block)
        return self._whole(start_ns, end_ns, rows_per_block)

    def bars(self, start_ns: int, end_ns: int, width_ns: int) -> list[Block]:
        """Bars of ``width_ns``, on the clock, of the trades of [``start_ns``, ``end_ns``) at row scale 1; a frozen block per instrument.

        The same bars as those of the trades of ``blocks``, in half the time, because no row is written.
        """
        if width_ns < NS_PER_SECOND:
            raise UsageError(f"simulated market: found bars of {width_ns} ns, expected a second or more")
        planner = _Planner(self, start_ns, end_ns, row_scale=1.0)
        tape = _Tape(planner)
        count = len(self.instruments)
        parts: list[list[NDArray[np.int64]]] = [[np.zeros((6, 0), dtype=np.int64)] for _ in range(count)]
        for plan in planner.days():
            table = np.empty((count, NS_PER_DAY // width_ns + 2, 6), dtype=np.int64)
            for part, found, bars in zip(parts, table, tape.gather(plan, width_ns, table), strict=True):
                part.append(found[:bars].T.copy())
        made: list[Block] = []
        for i, part in enumerate(parts):
            found = np.concatenate(part, axis=1)
            merged = _grouped(*found) if found.shape[1] else found
            block = empty_block(Schema.BARS, merged.shape[1])
            block["ts_open"] = merged[0] * width_ns
            block["ts_event"] = block["ts_init"] = block["ts_open"] + width_ns
            for column, name in enumerate(("open", "high", "low", "close", "volume"), start=1):
                block[name] = merged[column]
            block["instrument"] = i
            made.append(freeze(block))
        return made

    def _whole(self, start_ns: int, end_ns: int, rows_per_block: int) -> Iterator[Block]:
        """The tape, with the rows that a scale above 1 adds."""
        planner = _Planner(self, start_ns, end_ns)
        tape = _Tape(planner)
        block = empty_block(Schema.QUOTES, rows_per_block)
        filled = 0
        for plan in planner.days():
            tape.begin()
            while True:
                filled, is_done = tape.fill(block, filled, *plan)
                if filled == rows_per_block:
                    yield freeze(block)
                    block = empty_block(Schema.QUOTES, rows_per_block)
                    filled = 0
                if is_done:
                    break
        if filled:
            yield freeze(block[:filled].copy())

    def _thinned(self, start_ns: int, end_ns: int, rows_per_block: int) -> Iterator[Block]:
        """The rows of the tape that a scale below 1 leaves. What stays depends on whole slots, so the last one is made whole."""
        planner = _Planner(self, start_ns, -(-end_ns // FIVE_MINUTES_NS) * FIVE_MINUTES_NS)
        tape = _Tape(planner)
        scratch = empty_block(Schema.QUOTES, 16_384)
        waiting: list[Block] = []
        held = rows = 0
        for plan in planner.days():
            for first in range(0, len(plan[1]), _SLOTS_AT_ONCE):
                scratch, count = tape.whole_slots(scratch, [part[first : first + _SLOTS_AT_ONCE] for part in plan])
                stays = np.zeros(count, dtype=np.bool_)
                _thin(scratch[:count], stays, len(self.instruments), self.row_scale, tape.words)
                kept = scratch[:count][stays]
                kept = kept[: int(np.searchsorted(kept["ts_event"], end_ns, side="left"))]
                kept["sequence"] = np.arange(rows + 1, rows + 1 + len(kept)) & 0xFFFFFFFF
                rows += len(kept)
                held += len(kept)
                waiting.append(kept)
                if held >= rows_per_block:
                    joined = np.concatenate(waiting)
                    whole = held - held % rows_per_block
                    for begin in range(0, whole, rows_per_block):
                        yield freeze(joined[begin : begin + rows_per_block].copy())
                    waiting, held = [joined[whole:]], held - whole
        if held:
            yield freeze(np.concatenate(waiting))


class _Tape:
    """The state of the generator between two calls of its kernel."""

    def __init__(self, planner: _Planner) -> None:
        self._planner = planner
        self._latent, self.words = planner.start()
        self._cursor = np.zeros(1, CURSOR)
        self._shocks = np.zeros(len(self._latent) + 1)
        self._no_table = np.empty((0, 0, 6), dtype=np.int64)
        self._counts = np.zeros(len(self._latent), dtype=np.int64)

    def begin(self) -> None:
        """Stand before the first slot of another plan."""
        self._cursor["slot"] = 0
        self._cursor["slot_entered"] = 0

    def fill(
        self, block: Block, filled: int, slots: Rows, starts: NDArray[np.int64], regimes: NDArray[np.int64]
    ) -> tuple[int, bool]:
        """Write rows from row ``filled`` of ``block`` on; the rows filled, and whether the plan has ended."""
        found: tuple[int, bool] = _fill(
            block, filled, slots, starts, regimes, self._planner.factors, self._latent, self.words, self._cursor, self._shocks,
            0, self._no_table, self._counts,
        )  # fmt: skip
        return found

    def gather(self, plan: Sequence[Any], width_ns: int, table: NDArray[np.int64]) -> NDArray[np.int64]:
        """Gather the trades of ``plan`` in ``table`` (I, B, 6): key, open, high, low, close and volume; the bars of each (I,)."""
        self.begin()
        self._counts[:] = 0
        slots, starts, regimes = plan
        _fill(
            empty_block(Schema.QUOTES, 1), 0, slots, starts, regimes, self._planner.factors, self._latent, self.words, self._cursor, self._shocks,
            width_ns, table, self._counts,
        )  # fmt: skip
        return self._counts

    def whole_slots(self, scratch: Block, plan: Sequence[Any]) -> tuple[Block, int]:
        """Write all rows of ``plan`` into ``scratch``, which grows where it must; it and the number of rows."""
        self.begin()
        count = 0
        while True:
            count, is_done = self.fill(scratch, count, *plan)
            if is_done:
                return scratch, count
            scratch = np.concatenate([scratch, empty_block(Schema.QUOTES, len(scratch))])


def _grouped(
    key: NDArray[np.int64],
    opens: NDArray[np.int64],
    high: NDArray[np.int64],
    low: NDArray[np.int64],
    close: NDArray[np.int64],
    volume: NDArray[np.int64],
) -> NDArray[np.int64]:
    """(6, G): key, open, high, low, close and volume of each run of equal keys (all (T,), keys in order)."""
    starts = np.flatnonzero(np.diff(key, prepend=key[0] - 1))
    ends = np.append(starts[1:], len(key)) - 1
    return np.stack(
        [
            key[starts],
            opens[starts],
            np.maximum.reduceat(high, starts),
            np.minimum.reduceat(low, starts),
            close[ends],
            np.add.reduceat(volume, starts),
        ]
    )


class _Planner:
    """Draws what happens per half hour and lays it out in five-minute slots, one day at a time."""

    def __init__(self, market: SimulatedMarket, start_ns: int, end_ns: int, row_scale: float | None = None) -> None:
        self._row_scale = market.row_scale if row_scale is None else row_scale
        self._market = market
        self._start_ns = start_ns
        self._end_ns = end_ns
        self._models = [market.parameters.instruments[instrument.id] for instrument in market.instruments]
        self._laws = [_Law(model, self._row_scale) for model in self._models]
        names = list(market.parameters.instruments)
        chosen = [names.index(instrument.id) for instrument in market.instruments]
        pick = np.ix_(chosen, chosen)
        correlation = np.asarray(market.parameters.correlation, dtype=np.float64)
        self._correlation = correlation[:, pick[0], pick[1]]
        self.factors = _shock_factors(self._correlation, 0.0)
        """(F, I, I) lower triangles that correlate the shocks: of the K regimes, once for each trading day of the plan."""
        gap_correlation = np.asarray(market.parameters.gap_correlation, dtype=np.float64)
        self._gap_factor = np.linalg.cholesky(gap_correlation[pick])
        level_correlation = np.asarray(market.parameters.level_correlation, dtype=np.float64)
        self._level_factor = np.linalg.cholesky(level_correlation[pick])
        self._transition = np.cumsum(np.asarray(market.parameters.transition, dtype=np.float64), axis=1)
        draws = self._generator(_START_STREAM, 0)
        share = stationary(np.asarray(market.parameters.transition, dtype=np.float64))
        self._regime = min(int(np.searchsorted(np.cumsum(share), draws.random(), side="right")), len(share) - 1)
        self._day = -1
        first = draws.standard_normal((len(self._models), 3))
        self._volatility = np.array([m.volatility_slow_sd for m in self._models]) * first[:, 0]
        self._volume = np.array([m.volume.slow_sd for m in self._models]) * first[:, 1]
        self._level = np.array([m.level_sd for m in self._models]) * (self._level_factor @ first[:, 2])
        slower = draws.standard_normal(len(self._models) + 1)
        self._session_volume = np.array([m.volume.session_sd for m in self._models]) * slower[:-1]
        self._correlation_shift = market.parameters.correlation_sd * float(slower[-1])
        if self._correlation_shift:
            self.factors = _shock_factors(self._correlation, self._correlation_shift)
        self._factor_set = 0
        self._last_close = np.full(len(self._models), -1, dtype=np.int64)

    def _generator(self, stream: int, half_hour: int) -> np.random.Generator:
        # The low word of the counter counts the draws, so the half hour goes into the next one.
        return np.random.Generator(np.random.Philox(key=[self._market.seed, stream], counter=[0, half_hour, 0, 0]))

    def start(self) -> tuple[Rows, Words]:
        """The latent state before the first row, and the SplitMix64 states: the instruments', the shocks', the row scale's."""
        latent = np.zeros(len(self._models), LATENT)
        latent["next_ns"] = latent["extra_ns"] = NEVER_NS
        names = [str(instrument.id) for instrument in self._market.instruments]
        for row, instrument, model in zip(latent, self._market.instruments, self._models, strict=True):
            row["price"] = model.start_price / float(instrument.tick_size)
            row["noise_persistence"] = model.assumed.noise_persistence
            # Four uniforms summed have variance 1/3; an AR(1) keeps 1 - persistence^2 of its variance fresh.
            row["noise_step"] = model.assumed.noise_ticks * math.sqrt(3 * (1 - model.assumed.noise_persistence**2))
            row["sign_persistence"] = model.assumed.sign_persistence
        streams = [*names, "\0shocks", *(f"{name}\0rows" for name in names)]
        return latent, np.array([_stream_start(self._market.seed, name) for name in streams], np.uint64)

    def days(self) -> Iterator[tuple[Rows, NDArray[np.int64], NDArray[np.int64]]]:
        """Per UTC day: slots (S, I), their starts (S,) and the places of their shocks' factors (S,) in ``factors``."""
        first = self._start_ns // NS_PER_DAY
        for day in range(first, -(-self._end_ns // NS_PER_DAY)):
            parts: list[Rows] = []
            starts: list[int] = []
            regimes: list[int] = []
            self.factors = self.factors[-len(self._correlation) :]
            self._factor_set = 0
            for half_hour_ns in range(day * NS_PER_DAY, (day + 1) * NS_PER_DAY, THIRTY_MINUTES_NS):
                if half_hour_ns + THIRTY_MINUTES_NS <= self._start_ns or half_hour_ns >= self._end_ns:
                    continue
                slots = self._half_hour(half_hour_ns)
                if slots is not None:
                    parts.append(slots)
                    starts.extend(half_hour_ns + k * FIVE_MINUTES_NS for k in range(SLOTS_PER_BUCKET))
                    regimes.extend([self._factor_set * len(self._correlation) + self._regime] * SLOTS_PER_BUCKET)
            if parts:
                yield np.concatenate(parts), np.array(starts, np.int64), np.array(regimes, np.int64)

    def _half_hour(self, begin_ns: int) -> Rows | None:
        """The slots (6, I) of one half hour; ``None`` where nothing trades."""
        sessions = [_session_in(s, begin_ns, begin_ns + THIRTY_MINUTES_NS) for s in self._market.schedules]
        if all(session < 0 for session in sessions):
            return None
        draws = self._generator(_PLAN_STREAM, begin_ns // THIRTY_MINUTES_NS)
        chance = draws.random()
        day = max(int(s.day_ns[k]) for s, k in zip(self._market.schedules, sessions, strict=True) if k >= 0)
        if day > self._day:
            if self._day >= 0:
                row = self._transition[self._regime]
                self._regime = min(int(np.searchsorted(row, chance, side="right")), len(row) - 1)
                self._shift_correlation(begin_ns)
            self._day = day
        count = len(self._models)
        normal, uniform = draws.standard_normal((count, 6)), draws.random((count, 8))
        normal[:, 4] = self._gap_factor @ normal[:, 4]
        normal[:, 5] = self._level_factor @ normal[:, 5]
        slots = np.zeros((SLOTS_PER_BUCKET, count), SLOT)
        for i, (model, law, schedule) in enumerate(zip(self._models, self._laws, self._market.schedules, strict=True)):
            slow, persistence = model.volatility_slow_sd, model.volatility_persistence
            self._volatility[i] = (
                persistence * self._volatility[i] + slow * math.sqrt(1 - persistence**2) * normal[i, 0]
            )
            slow, persistence = model.volume.slow_sd, model.volume.persistence
            self._volume[i] = persistence * self._volume[i] + slow * math.sqrt(1 - persistence**2) * normal[i, 1]
            if sessions[i] >= 0:
                opens, closes = int(schedule.open_ns[sessions[i]]), int(schedule.close_ns[sessions[i]])
                weekday = int(schedule.day_ns[sessions[i]]) // NS_PER_DAY + 3
                self._lay_out(slots[:, i], i, law, begin_ns, opens, closes, weekday % 7, normal[i], uniform[i])
        return slots

    def _shift_correlation(self, begin_ns: int) -> None:
        """Draw another trading day's shift of the shocks' correlations."""
        parameters = self._market.parameters
        if not parameters.correlation_sd:
            return
        persistence = parameters.correlation_persistence
        fresh = parameters.correlation_sd * math.sqrt(1 - persistence**2)
        shock = self._generator(_DAY_STREAM, begin_ns // THIRTY_MINUTES_NS).standard_normal()
        self._correlation_shift = persistence * self._correlation_shift + fresh * shock
        self.factors = np.concatenate([self.factors, _shock_factors(self._correlation, self._correlation_shift)])
        self._factor_set += 1

    def _lay_out(
        self, slots: Rows, i: int, law: _Law, begin_ns: int, opens: int, closes: int, weekday: int, normal: Floats, uniform: Floats
    ) -> None:  # fmt: skip
        """Fill the slots (6,) of instrument ``i``: ``normal`` (6,) and ``uniform`` (8,) are its draws of the half hour."""
        model = law.model
        bucket = (begin_ns - opens + THIRTY_MINUTES_NS // 2) // THIRTY_MINUTES_NS % law.buckets
        is_open = self._last_close[i] != closes
        if is_open and self._last_close[i] >= 0:
            fresh = model.level_sd * math.sqrt(1 - model.level_persistence**2)
            self._level[i] = model.level_persistence * self._level[i] + fresh * normal[5]
            if model.volume.session_sd:
                kept = model.volume.session_persistence
                shock = self._generator(_SESSION_STREAM + i, begin_ns // THIRTY_MINUTES_NS).standard_normal()
                fresh = model.volume.session_sd * math.sqrt(1 - kept**2)
                self._session_volume[i] = kept * self._session_volume[i] + fresh * shock
        # Each factor is scaled so that the mean of its square is one: the bucket's volatility keeps its meaning.
        level = math.exp(self._level[i] - model.level_sd**2) * model.regime_volatility[self._regime]
        factor = self._volatility[i] + model.volatility_noise_sd * normal[2]
        usual = model.volatility_by_bucket[bucket] * level
        weekday_volume = 0.0
        if weekday < WEEKDAYS and model.weekday_volatility:
            usual *= math.exp(model.weekday_volatility[weekday][bucket])
        if weekday < WEEKDAYS and model.weekday_volume:
            weekday_volume = model.weekday_volume[weekday][bucket]
        volatility = usual * math.exp(factor - model.volatility_slow_sd**2 - model.volatility_noise_sd**2)
        volume = model.volume
        lots = volume.by_bucket[bucket] * math.exp(
            volume.level_elasticity * math.log(level)
            + volume.factor_elasticity * factor
            + self._volume[i]
            + self._session_volume[i]
            + weekday_volume
            + volume.noise_sd * normal[3]
        )
        begins = begin_ns + FIVE_MINUTES_NS * np.arange(SLOTS_PER_BUCKET, dtype=np.int64)
        slots["open_from"] = np.maximum(begins, max(opens, self._start_ns))
        slots["open_to"] = np.minimum(begins + FIVE_MINUTES_NS, min(closes, self._end_ns))
        slots["jump_ns"] = -1
        if uniform[0] < model.jump_probability[bucket]:
            size = model.jump.threshold - model.jump.mean_excess * math.log1p(-uniform[1])
            slots["jump_ns"] = begin_ns + int(uniform[2] * THIRTY_MINUTES_NS)
            slots["jump"] = _bounded(math.copysign(usual * size, uniform[3] - 0.5))
        slots["sigma"] = volatility * np.sqrt(_LATENT_STEP_NS / THIRTY_MINUTES_NS * law.slot_variance[bucket])
        slots["spread"] = model.assumed.spread_per_volatility * volatility / math.sqrt(_SECONDS_PER_BAR)
        trades = law.trades_per_lot * lots
        quotes = law.quotes_per_unit * lots**model.assumed.quote_elasticity
        slots["wait_ns"] = THIRTY_MINUTES_NS / (trades + quotes)
        slots["trade_share"] = trades / (trades + quotes)
        slots["trade_log"] = _size_log(1.0 / law.trades_per_lot)
        slots["quote_log"] = _size_log(model.assumed.quote_size_lots)
        if self._row_scale > 1:
            slots["extra_wait_ns"] = THIRTY_MINUTES_NS / (
                law.extra_quotes_per_unit * lots**model.assumed.quote_elasticity
            )
            slots["part_log"] = _size_log(law.part_lots)
        if is_open:
            here = max(0, min(SLOTS_PER_BUCKET - 1, (opens - begin_ns) // FIVE_MINUTES_NS))
            slots["is_open"][here] = 1
            if self._last_close[i] >= 0:
                pause_ns = opens - self._last_close[i]
                gap = model.gap_long if pause_ns > _LONG_GAP_NS else model.gap_short
                slots["gap"][here] = _bounded(level * _gap_size(gap, float(normal[4]), uniform[4:7]))
            self._last_close[i] = closes


class _Law:
    """Numbers of one instrument that follow from its parameters and the row scale."""

    def __init__(self, model: InstrumentParameters, row_scale: float) -> None:
        self.model = model
        self.buckets = len(model.volatility_by_bucket)
        self.slot_variance = np.asarray(model.slot_variance, dtype=np.float64)
        lots = np.asarray(model.volume.by_bucket, dtype=np.float64)
        total, units = float(lots.sum()), float((lots**model.assumed.quote_elasticity).sum())
        trades, quotes = _rows_of(model, total, 1.0)
        self.trades_per_lot = trades / total
        self.quotes_per_unit = quotes / units
        scaled_trades, scaled_quotes = _rows_of(model, total, max(1.0, row_scale))
        self.part_lots = total / scaled_trades
        self.extra_quotes_per_unit = (scaled_quotes - quotes) / units


def _rows_of(model: InstrumentParameters, lots: float, row_scale: float) -> tuple[float, float]:
    """Trades and quotes of an average session of ``lots``: where volume allows no more trades, the rest are quotes."""
    assumed = model.assumed
    rows = (assumed.trades_per_session + assumed.quotes_per_session) * row_scale
    trades = min(assumed.trades_per_session * row_scale, lots / assumed.least_mean_trade_lots)
    return trades, rows - trades


def _shock_factors(correlation: Floats, shift: float) -> Floats:
    """(K, I, I) lower triangles of ``correlation`` (K, I, I), the inverse hyperbolic tangent of its pairs moved by ``shift``."""
    made = np.empty_like(correlation)
    identity = np.eye(correlation.shape[1])
    for k, matrix in enumerate(correlation):
        if shift:
            pairs = np.clip(matrix - identity * matrix, -0.99, 0.99)
            moved = np.tanh(np.arctanh(pairs) + shift) * (1.0 - identity) + identity
            lowest = float(np.linalg.eigvalsh(moved)[0])
            if lowest < 0.01:  # three or more instruments cannot all be strongly opposed
                share = (0.01 - lowest) / (1.0 - lowest)
                moved = (1.0 - share) * moved + share * identity
            made[k] = np.linalg.cholesky(moved)
        else:
            made[k] = np.linalg.cholesky(matrix)
    return made


def stationary(transition: Floats) -> Floats:
    """The long-run share of each regime of a chain with ``transition`` (K, K)."""
    count = len(transition)
    equations = np.vstack([transition.T - np.eye(count), np.ones(count)])
    share: Floats = np.linalg.lstsq(equations, np.append(np.zeros(count), 1.0), rcond=None)[0]
    share = np.maximum(share, 0.0)
    return share / float(share.sum())


def _gap_size(gap: Gap, normal: float, uniform: Floats) -> float:
    """The log return of one gap at regime volatility 1; ``uniform`` (3,)."""
    if uniform[0] >= gap.tail_probability:
        return gap.scale * normal
    size = gap.tail.threshold - gap.tail.mean_excess * math.log1p(-uniform[1])
    return math.copysign(gap.scale * size, uniform[2] - 0.5)


def _bounded(move: float) -> float:
    """The move as a fraction of the price, held within a quarter: a limit-down day and a little more."""
    return min(_MOST_GAP, max(-_MOST_GAP, move))


def _size_log(mean: float) -> float:
    """The factor that turns the log of a uniform into a geometric size of ``mean`` lots, less the first lot."""
    return 1.0 / math.log1p(-1.0 / mean) if mean > 1.0 else 0.0


def _session_in(schedule: SessionSchedule, begin_ns: int, end_ns: int) -> int:
    """The index of the last session that overlaps [``begin_ns``, ``end_ns``), or -1."""
    index = int(np.searchsorted(schedule.open_ns, end_ns, side="left")) - 1
    return index if index >= 0 and int(schedule.close_ns[index]) > begin_ns else -1


def _stream_start(seed: int, name: str) -> int:
    """Where the SplitMix64 stream called ``name`` begins."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(name.encode())])
    return int(sequence.generate_state(1, np.uint64)[0])


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_U11, _U16, _U27, _U30, _U31, _U32, _U48 = (np.uint64(bits) for bits in (11, 16, 27, 30, 31, 32, 48))
_LOW_16 = np.uint64(0xFFFF)
_TO_UNIT = 2.0**-53
_TO_UNIT_16 = 2.0**-16
_TWO_PI = 2.0 * math.pi
_MOST_SPREAD = 100.0
_MOST_LOTS = 100_000.0
_TRADE, _QUOTE = int(Action.TRADE), int(Action.QUOTE)
_BID, _ASK, _NONE = int(BookSide.BID), int(BookSide.ASK), int(BookSide.NONE)
_LAST = int(Flag.LAST)
_NEVER = NEVER_NS
_UNDEFINED = UNDEFINED_PRICE


@kernel(inline=True)
def _draw_word(words: Words, stream: int) -> Any:
    """The next 64 bits of a SplitMix64 stream."""
    words[stream] += _GOLDEN
    z = words[stream]
    z = (z ^ (z >> _U30)) * _MIX_1
    z = (z ^ (z >> _U27)) * _MIX_2
    return z ^ (z >> _U31)


@kernel(inline=True)
def _draw_unit(words: Words, stream: int) -> float:
    """A uniform in (0, 1]: 53 bits, zero excluded, so that its logarithm is finite."""
    return (np.float64(_draw_word(words, stream) >> _U11) + 1.0) * _TO_UNIT


@kernel(inline=True)
def _draw_bell(words: Words, stream: int) -> float:
    """The centred sum of four 16-bit uniforms: variance 1/3, nearly normal, one word, no logarithm."""
    z = _draw_word(words, stream)
    total = np.float64((z & _LOW_16) + ((z >> _U16) & _LOW_16) + ((z >> _U32) & _LOW_16) + (z >> _U48))
    return (total + 2.0) * _TO_UNIT_16 - 2.0


@kernel(inline=True)
def _draw_lots(words: Words, stream: int, size_log: float) -> int:
    """A geometric size of 1 or more."""
    return 1 + int(min(_MOST_LOTS, math.log(_draw_unit(words, stream)) * size_log))


@kernel
def _fill(
    block: Rows, filled: int, slots: Rows, starts: NDArray[np.int64], regimes: NDArray[np.int64], factors: Floats,
    latent: Rows, words: Words, cursor: Rows, shocks: Floats, width_ns: int, table: NDArray[np.int64], counts: NDArray[np.int64],
) -> tuple[int, bool]:  # fmt: skip
    """Write rows from row ``filled`` until the block is full or the plan ends; the rows filled, and whether it ended.

    With a ``width_ns`` above 0 the rows go one after the other into the first of ``block``, and their trades into bars: ``table``
    (I, B, 6) and the number of each instrument's in ``counts`` (I,).

    The sequence counter is int64 and kept below 2^32 when written; prices stay below 2^40 ticks by the caller's checks.
    """
    here = cursor[0]
    count = latent.shape[0]
    while here.slot < starts.shape[0]:
        slot_end = starts[here.slot] + FIVE_MINUTES_NS
        if here.slot_entered == 0:
            for i in range(count):
                _enter_slot(slots[here.slot, i], latent, words, i)
            here.step_ns = starts[here.slot]
            here.step_entered = 0
            here.slot_entered = 1
        while here.step_ns < slot_end:
            step_end = min(here.step_ns + _LATENT_STEP_NS, slot_end)
            if here.step_entered == 0:
                _move_prices(
                    slots, here.slot, here.step_ns, step_end, factors[regimes[here.slot]], latent, words, shocks
                )
                here.step_entered = 1
            while True:
                i = 0
                soonest = min(latent[0].next_ns, latent[0].extra_ns)
                for other in range(1, count):
                    due = min(latent[other].next_ns, latent[other].extra_ns)
                    if due < soonest:
                        i = other
                        soonest = due
                if soonest >= step_end:
                    break
                is_extra = latent[i].extra_ns < latent[i].next_ns
                if is_extra and latent[i].has_quote == 0:
                    _draw_extra_due(slots[here.slot, i], latent, words, i)
                    continue
                if filled == block.shape[0]:
                    return filled, False
                here.sequence += 1
                if is_extra:
                    _write_extra_quote(block[filled], slots[here.slot, i], latent, words, i, here.sequence)
                else:
                    _write_row(block[filled], slots[here.slot, i], latent, words, i, here.sequence, width_ns == 0)
                if width_ns == 0:
                    filled += 1
                elif block[0].action == _TRADE:
                    _add_trade(block[0], width_ns, table, counts)
            here.step_ns = step_end
            here.step_entered = 0
        here.slot += 1
        here.slot_entered = 0
    return filled, True


@kernel
def _add_trade(row: Record, width_ns: int, table: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
    """Add a trade to the last bar of its instrument, or begin the next."""
    i = row.instrument
    key = row.ts_event // width_ns
    place = counts[i] - 1
    if place < 0 or table[i, place, 0] != key:
        place += 1
        counts[i] = place + 1
        table[i, place, 0] = key
        for column in range(1, 5):
            table[i, place, column] = row.price
        table[i, place, 5] = 0
    table[i, place, 2] = max(table[i, place, 2], row.price)
    table[i, place, 3] = min(table[i, place, 3], row.price)
    table[i, place, 4] = row.price
    table[i, place, 5] += row.size


@kernel
def _enter_slot(slot: Record, latent: Rows, words: Words, i: int) -> None:
    """Start a five-minute slot: the session's gap, and the time of the first row (waiting has no memory)."""
    state = latent[i]
    if slot.is_open == 1:
        state.price = max(1.0, state.price * (1.0 + slot.gap))
        state.has_quote = 0
        state.must_trade = 0
        state.noise = 0.0
    state.next_ns = _NEVER
    if slot.open_from < slot.open_to:
        due = slot.open_from + np.int64(-math.log(_draw_unit(words, i)) * slot.wait_ns)
        if due < slot.open_to:
            state.next_ns = due
    state.extra_ns = _NEVER
    if slot.extra_wait_ns > 0.0 and slot.open_from < slot.open_to:
        state.extra_ns = slot.open_from
        _draw_extra_due(slot, latent, words, i)


@kernel
def _draw_extra_due(slot: Record, latent: Rows, words: Words, i: int) -> None:
    """Draw when the next quote comes that the row scale adds."""
    state = latent[i]
    stream = latent.shape[0] + 1 + i
    due = state.extra_ns + np.int64(-math.log(_draw_unit(words, stream)) * slot.extra_wait_ns)
    state.extra_ns = due if due < slot.open_to else _NEVER


@kernel
def _write_extra_quote(row: Record, slot: Record, latent: Rows, words: Words, i: int, sequence: int) -> None:
    """Write a quote that changes the sizes at the best prices only."""
    state = latent[i]
    stream = latent.shape[0] + 1 + i
    state.bid_size = _draw_lots(words, stream, slot.quote_log)
    state.ask_size = _draw_lots(words, stream, slot.quote_log)
    row.ts_event = state.extra_ns
    row.ts_init = state.extra_ns
    row.sequence = np.uint32(sequence & 0xFFFFFFFF)
    row.instrument = i
    row.flags = _LAST
    row.action = _QUOTE
    row.side = _NONE
    row.price = _UNDEFINED
    row.size = 0
    row.bid_price = state.bid
    row.ask_price = state.ask
    row.bid_size = state.bid_size
    row.ask_size = state.ask_size
    _draw_extra_due(slot, latent, words, i)


@kernel
def _move_prices(
    slots: Rows, k: int, begin_ns: int, end_ns: int, factor: Floats, latent: Rows, words: Words, shocks: Floats
) -> None:
    """Move every latent price over one step: correlated normal shocks (Box and Muller), and the jump if it is due."""
    count = latent.shape[0]
    for i in range(0, count, 2):
        radius = math.sqrt(-2.0 * math.log(_draw_unit(words, count)))
        angle = _TWO_PI * _draw_unit(words, count)
        shocks[i] = radius * math.cos(angle)
        shocks[i + 1] = radius * math.sin(angle)
    for i in range(count):
        slot = slots[k, i]
        if slot.open_from >= end_ns or slot.open_to <= begin_ns:
            continue
        shock = 0.0
        for j in range(i + 1):
            shock += factor[i, j] * shocks[j]
        move = slot.sigma * shock
        if begin_ns <= slot.jump_ns < end_ns:
            move += slot.jump
        latent[i].price = max(1.0, latent[i].price * (1.0 + max(-0.5, move)))


@kernel
def _write_row(
    row: Record, slot: Record, latent: Rows, words: Words, i: int, sequence: int, needs_sizes: bool
) -> None:  # fmt: skip
    """Write one quote or trade of instrument ``i``, or a part of a trade, and draw when its next row comes.

    A trade takes place at the quote that everyone saw. Where the price has left that quote behind, a fresh quote is
    written first, and the trade follows at the same time. Where nobody ``needs_sizes``, those of quotes are drawn and not made.
    """
    state = latent[i]
    ts = state.next_ns
    must_trade = state.must_trade == 1
    is_part = state.lots_left > 0
    is_trade = must_trade or is_part
    if not is_trade:
        state.noise = state.noise_persistence * state.noise + state.noise_step * _draw_bell(words, i)
        is_trade = _draw_unit(words, i) <= slot.trade_share
    fair = state.price + state.noise
    is_stale = state.has_quote == 0 or fair < state.bid or fair > state.ask
    if is_trade and not must_trade and not is_part and is_stale:
        state.must_trade = 1
        is_trade = False
    else:
        state.must_trade = 0
    row.ts_event = ts
    row.ts_init = ts
    row.sequence = np.uint32(sequence & 0xFFFFFFFF)
    row.instrument = i
    if is_trade:
        if not is_part:
            middle = 0.5 * (state.bid + state.ask)
            lean = (fair - middle) / (state.ask - state.bid)
            chance = 0.5 + 0.5 * max(-0.5, min(0.5, lean)) + state.sign_persistence * state.last_side
            state.last_side = 1.0 if _draw_unit(words, i) <= max(0.02, min(0.98, chance)) else -1.0
            state.lots_left = _draw_lots(words, i, slot.trade_log)
        size = state.lots_left
        if slot.extra_wait_ns > 0.0:
            size = min(size, _draw_lots(words, latent.shape[0] + 1 + i, slot.part_log))
        state.lots_left -= size
        is_buy = state.last_side > 0.0
        row.action = _TRADE
        row.side = _BID if is_buy else _ASK
        row.price = state.ask if is_buy else state.bid
        row.size = size
    else:
        extra = min(_MOST_SPREAD, slot.spread * state.price)
        spread = 1 + np.int64(extra + _draw_unit(words, i) * 0.999999)
        state.bid = max(np.int64(1), np.int64(math.floor(fair - 0.5 * (spread - 1))))
        state.ask = state.bid + spread
        if needs_sizes:
            state.bid_size = _draw_lots(words, i, slot.quote_log)
            state.ask_size = _draw_lots(words, i, slot.quote_log)
        else:
            _draw_word(words, i)
            _draw_word(words, i)
        state.has_quote = 1
        row.action = _QUOTE
        row.side = _NONE
        row.price = _UNDEFINED
        row.size = 0
    is_whole = state.must_trade == 0 and state.lots_left == 0
    row.flags = _LAST if is_whole else 0
    row.bid_price = state.bid
    row.ask_price = state.ask
    row.bid_size = state.bid_size
    row.ask_size = state.ask_size
    if is_whole:
        due = ts + np.int64(-math.log(_draw_unit(words, i)) * slot.wait_ns)
        state.next_ns = due if due < slot.open_to else _NEVER


@kernel
def _thin(rows: Rows, stays: NDArray[np.bool_], count: int, row_scale: float, words: Words) -> None:
    """Mark in ``stays`` (N,) which ``rows`` (N,) of whole slots a scale below 1 leaves; ``count`` instruments.

    Sizes of the trades that stay grow by the lots of those left out before them; flags follow.
    """
    first = 0
    while first < rows.shape[0]:
        slot = rows[first].ts_event // FIVE_MINUTES_NS
        end = first
        while end < rows.shape[0] and rows[end].ts_event // FIVE_MINUTES_NS == slot:
            end += 1
        for i in range(count):
            _thin_trades(rows, stays, first, end, i, row_scale, words, count + 1 + i)
            _thin_quotes(rows, stays, first, end, i, row_scale, words, count + 1 + i)
        first = end


@kernel
def _thin_trades(
    rows: Rows, stays: NDArray[np.bool_], first: int, end: int, i: int, row_scale: float, words: Words, stream: int
) -> None:  # fmt: skip
    """The trades of one slot and instrument that stay, the lots that they take over, and the quotes that they met."""
    opening, high, low, last, trades = -1, -1, -1, -1, 0
    for k in range(first, end):
        if rows[k].instrument == i and rows[k].action == _TRADE:
            trades += 1
            if opening < 0:
                opening, high, low = k, k, k
            if rows[k].price > rows[high].price:
                high = k
            if rows[k].price < rows[low].price:
                low = k
            last = k
    if trades == 0:
        return
    stays[opening] = stays[high] = stays[low] = stays[last] = True
    needed = 0
    for k in range(first, end):
        needed += stays[k] and rows[k].instrument == i
    chance = (row_scale * trades - needed) / max(1, trades - needed)
    quote, lots = -1, np.int64(0)
    for k in range(first, end):
        if rows[k].instrument != i:
            continue
        if rows[k].action == _QUOTE:
            quote = k
            continue
        if not stays[k] and _draw_unit(words, stream) <= chance:
            stays[k] = True
        lots += rows[k].size
        if stays[k]:
            rows[k].size = np.int32(lots)
            lots = np.int64(0)
            if quote >= 0:
                stays[quote] = True


@kernel
def _thin_quotes(
    rows: Rows, stays: NDArray[np.bool_], first: int, end: int, i: int, row_scale: float, words: Words, stream: int
) -> None:  # fmt: skip
    """The quotes of one slot and instrument that stay: those that trades met, the last, and others by chance."""
    quotes, needed, last = 0, 0, -1
    for k in range(first, end):
        if rows[k].instrument == i and rows[k].action == _QUOTE:
            quotes += 1
            last = k
    if quotes == 0:
        return
    stays[last] = True
    for k in range(first, end):
        needed += stays[k] and rows[k].instrument == i and rows[k].action == _QUOTE
    chance = (row_scale * quotes - needed) / max(1, quotes - needed)
    before = -1
    for k in range(first, end):
        if rows[k].instrument != i:
            continue
        if rows[k].action == _QUOTE:
            if not stays[k] and _draw_unit(words, stream) <= chance:
                stays[k] = True
            before = k
        elif not stays[k] and before >= 0 and rows[before].flags == 0:
            rows[before].flags = _LAST  # its trade is left out, so it is the whole of its event
