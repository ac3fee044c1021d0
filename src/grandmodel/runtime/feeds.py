"""Where a run's market data comes from: the simulated market, files, or the store.

A feed is a description that can be opened more than once: a run reads it, a resumed run reads it again from the start and
skips what its journal holds, and a replay finds in it the rows that a backtest's journal only names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import msgspec

from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.blocks import Block, Schema
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import MarketData
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN, Instrument, instrument_named
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NS_PER_DAY, text_from_ns
from grandmodel.runtime.sequencer import sequence
from grandmodel.simulation.market import SimulatedMarket
from grandmodel.simulation.market_parameters import built_in_parameters

ROWS_PER_BLOCK = 65_536
SCHEDULE_MARGIN_NS = 10 * NS_PER_DAY
"""Sessions are known for so long before the first and after the last row."""


class MarketFeed(Protocol):
    """A source of blocks for a fixed list of instruments."""

    instruments: tuple[Instrument, ...]
    schedules: tuple[SessionSchedule, ...]
    keeps_rows: bool
    """True where the journal must hold the rows themselves, because nobody else keeps them."""

    @property
    def description(self) -> str:
        """For people; a simulated market begins with the word ``simulated``."""

    @property
    def where(self) -> str:
        """For the journal: how to find the rows again."""

    @property
    def span(self) -> tuple[int, int]:
        """First and last time, ns, for the progress line."""

    def blocks(self) -> Iterator[Block]:
        """The blocks from the beginning; the same at every call."""


class SimulatedFeed:
    """Quotes and trades of the simulated market; its parameters were fitted to real bars, its prices are invented."""

    keeps_rows = True

    def __init__(
        self, instruments: Sequence[Instrument], start_ns: int, end_ns: int, seed: int, row_scale: float = 1.0
    ) -> None:
        self.instruments = tuple(instruments)
        self.schedules = schedules_for(instruments, start_ns, end_ns)
        self.span = (start_ns, end_ns)
        self._seed, self._row_scale = seed, row_scale
        self._market = SimulatedMarket(
            built_in_parameters(), self.instruments, self.schedules, seed, row_scale=row_scale
        )

    @property
    def description(self) -> str:
        """Names, seed and span."""
        names = ", ".join(instrument.id for instrument in self.instruments)
        span = " to ".join(text_from_ns(ts)[:16] for ts in self.span)
        scale = "" if self._row_scale == 1.0 else f", {self._row_scale:g} times the rows"
        return f"simulated market: {names}, seed {self._seed}{scale}, {span}"

    @property
    def where(self) -> str:
        """The description: the journal keeps the rows."""
        return self.description

    def blocks(self) -> Iterator[Block]:
        """The simulated rows; the next block is made while the engine works on this one."""
        return one_ahead(self._market.blocks(*self.span, rows_per_block=ROWS_PER_BLOCK))


class BlockFeed:
    """Blocks that were read from files and lie in memory."""

    keeps_rows = True

    def __init__(self, instruments: Sequence[Instrument], blocks: Sequence[Block], description: str) -> None:
        filled = [block for block in blocks if len(block)]
        if not filled:
            raise UsageError(f"{description}: found no rows, expected at least one")
        self.instruments = tuple(instruments)
        self.span = (min(int(b["ts_init"][0]) for b in filled), max(int(b["ts_init"][-1]) for b in filled))
        self.schedules = schedules_for(instruments, *self.span)
        self.description = description
        self.where = description
        self._blocks = filled

    def blocks(self) -> Iterator[Block]:
        """The rows in the engine's order."""
        return sequence(self._blocks, ROWS_PER_BLOCK)


class StoreQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which rows of a store; as JSON it stands in the journal, so that a replay finds them."""

    store: str
    instruments: tuple[Instrument, ...]
    schema: str
    start_ns: int
    end_ns: int
    bar_width: str = ""
    rows_per_block: int = ROWS_PER_BLOCK


class StoreFeed:
    """Rows of the store; the journal names them by hash and query instead of keeping them."""

    keeps_rows = False

    def __init__(self, query: StoreQuery) -> None:
        self._query = query
        self.instruments = query.instruments
        self.span = (query.start_ns, query.end_ns)
        self.schedules = schedules_for(query.instruments, *self.span)

    @property
    def description(self) -> str:
        """Names, schema and span."""
        query = self._query
        names = ", ".join(instrument.id for instrument in query.instruments)
        return (
            f"store: {names}, {query.schema} {query.bar_width}".rstrip()
            + f", {text_from_ns(query.start_ns)[:10]} to {text_from_ns(query.end_ns)[:10]}"
        )

    @property
    def where(self) -> str:
        """The query as JSON."""
        return msgspec.json.encode(self._query).decode()

    def blocks(self) -> Iterator[Block]:
        """The rows of the store."""
        from grandmodel.data.historical.store import Store  # noqa: PLC0415  (brings the readers of columns with it)

        query = self._query
        return Store(Path(query.store)).blocks(
            query.instruments, Schema(query.schema), query.start_ns, query.end_ns,
            rows_per_block=query.rows_per_block, bar_width=query.bar_width,
        )  # fmt: skip


class StoreResolver:
    """Finds the rows of blocks that a journal names by store query; reads each query once, in order."""

    def __init__(self) -> None:
        self._where = ""
        self._blocks: Iterator[Block] = iter(())
        self._block: Block | None = None
        self._number = -1

    def __call__(self, given: MarketData) -> bytes:
        """The rows that ``given.source`` names; raises ``LookupError`` where they are not to be had.

        The place is ``query#block``, or ``query#block:row`` for ``given.count`` rows of a block that was cut.
        """
        _, _, place = given.source.partition(" ")
        where, _, numbers = place.rpartition("#")
        number_text, is_cut, start_text = numbers.partition(":")
        block = self._find(where, int(number_text))
        if is_cut:
            block = block[int(start_text) : int(start_text) + given.count]
        return block.tobytes()

    def _find(self, where: str, number: int) -> Block:
        if where != self._where or number < self._number:
            try:
                query = msgspec.json.decode(where, type=StoreQuery)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise LookupError(f"{where[:200]}: not a store query") from error
            self._where, self._blocks, self._number = where, StoreFeed(query).blocks(), -1
        while self._number < number:
            self._block = next(self._blocks, None)
            if self._block is None:
                self._number = 2**62  # Whoever asks again begins anew.
                raise LookupError(f"block {number} of {where}: the store ends before it")
            self._number += 1
        if self._block is None:
            raise LookupError(f"block {number} of {where}: the store ends before it")
        return self._block


def one_ahead(blocks: Iterator[Block]) -> Iterator[Block]:
    """The same blocks in the same order, each made by another thread while its reader works on the one before."""
    with ThreadPoolExecutor(1, "feed") as worker:
        waiting = worker.submit(next, blocks, None)
        while (block := waiting.result()) is not None:
            waiting = worker.submit(next, blocks, None)
            yield block


def schedules_for(instruments: Sequence[Instrument], start_ns: int, end_ns: int) -> tuple[SessionSchedule, ...]:
    """The sessions of each instrument over a span and ``SCHEDULE_MARGIN_NS`` on both sides."""
    return tuple(
        session_schedule(instrument, start_ns - SCHEDULE_MARGIN_NS, end_ns + SCHEDULE_MARGIN_NS)
        for instrument in instruments
    )


def instruments_named(names: Sequence[str], file: Mapping[InstrumentId, Instrument] | None = None) -> list[Instrument]:
    """Instruments by name, from ``file`` first and the built-in ones else."""
    known: dict[InstrumentId, Instrument] = {**BUILT_IN, **(file or {})}
    return [instrument_named(name, known) for name in names]
