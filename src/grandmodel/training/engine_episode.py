"""One episode on the real engine, bar by bar: what a lane is held to, and the account of ``environments/engine_form.py``.

``EngineEpisode`` owns a ``runtime.engine.Engine`` with one agent inside, which says what it was told to. A step of the
environment is ``pursue`` (the wish at the close of the present bar) and ``advance`` (the next bar). Everything else is the engine: gate,
exchange, ledger, risk numbers. The batched form of the same thing is ``lanes.py``, and a property test holds the two equal.

The engine stops before it asks its agents at a close; there an episode stands still, shows ``view``, and waits for the wish.
To begin anywhere without walking the history before it, whole-engine snapshots are kept every ``SNAPSHOT_BARS`` bars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from grandmodel.domain.agents import Account, Agent, Wish
from grandmodel.domain.decisions import TargetPosition, Urgency
from grandmodel.domain.events import ClosedBar
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.orders import Order, OrderType
from grandmodel.risk.breakers import BreakerState
from grandmodel.runtime.engine import Engine
from grandmodel.runtime.market_step import Stop
from grandmodel.runtime.settings import AgentSettings
from grandmodel.runtime.snapshot import restore_engine, save_engine
from grandmodel.training.errors import TrainingError
from grandmodel.training.lanes import AccountView, LaneSettings, market_schedule, run_settings
from grandmodel.training.market import TrainingMarket

SNAPSHOT_BARS = 1_024
"""Bars between two snapshots: a start walks at most as many."""

_URGENCY = (Urgency.WAIT, Urgency.PASSIVE, Urgency.AGGRESSIVE)
_PROTECTIVE = ("stop", "target")


class EngineEpisode:
    """An account on one market, driven by the real engine. ``start``, then ``pursue`` and ``advance`` in turn."""

    def __init__(self, market: TrainingMarket, settings: LaneSettings) -> None:
        self.market = market
        self.settings = settings
        self._schedule = market_schedule(market)
        self._snapshots: list[bytes] = []
        """After the bars 0, ``SNAPSHOT_BARS``, ...; made as far as a start has needed them."""
        self._engine, self._agent = self._new_engine()
        self._begun = False

    def start(self, row: int) -> AccountView:
        """Begin at the close of bar ``row``: flat, full capital, the risk numbers of all bars before it.

        Raises ``TrainingError`` for a row outside of the market or in a bad stretch.
        """
        if not 0 <= row < len(self.market.bars) or self.market.segment[row] < 0:
            raise TrainingError(f"episode: found bar {row}, expected one of the market that is in no bad stretch")
        self._engine, self._agent = self._new_engine()
        first = min(row // SNAPSHOT_BARS, len(self._snapshots)) - 1
        if first >= 0:
            restore_engine(self._engine, self._snapshots[first])
        for k in range((first + 1) * SNAPSHOT_BARS, row):
            self._feed(k)
            self._decide()
            if (k + 1) % SNAPSHOT_BARS == 0 and (k + 1) // SNAPSHOT_BARS > len(self._snapshots):
                self._snapshots.append(save_engine(self._engine))
        self._feed(row)
        self._row, self._begun, self._decided = row, True, False
        self._asked = self._held_bars = self._refused = self._last_lots = 0
        self._is_settled = self._rests = False
        return self.view

    def pursue(self, lots: int, urgency: int, stop_ticks: int = 0) -> None:
        """Wish for ``lots`` (signed) at the close of the present bar; 0 waits, 1 is passive, 2 aggressive. Once a bar.

        ``stop_ticks`` is the distance of a protective stop from the mark, 0 for none. Nothing happens once the episode has ended.
        """
        self._check_begun()
        if self._decided:
            raise TrainingError(f"episode: found a second wish at bar {self._row}, expected one a bar")
        if self._has_ended():
            return
        self._asked = lots
        engine, name = self._engine, self.market.instrument.id
        wanted = lots - _expected_lots(engine.books.lots(name), engine.books.working(name))
        wish = TargetPosition(instrument=name, lots=lots, urgency=_URGENCY[urgency], stop_ticks=stop_ticks)
        orders, unprotected = self._decide(wish)
        if wish.urgency is not Urgency.WAIT:
            wished = [order for order in orders if order.tag not in _PROTECTIVE]
            self._refused += abs(wanted) - sum(order.quantity for order in wished if order.order_id not in unprotected)

    def advance(self) -> bool:
        """Go on to the close of the next bar; False, and nothing done, where the episode or the segment has ended."""
        self._check_begun()
        row, segment = self._row + 1, self.market.segment
        if row >= len(segment) or segment[row] != segment[self._row] or self._has_ended() or self._is_settled:
            return False
        if not self._decided:
            self._decide()
        self._feed(row)
        self._row, self._decided = row, False
        lots = self._engine.books.lots(self.market.instrument.id)
        self._rests = any(
            order.tag not in _PROTECTIVE for order in self._engine.books.working(self.market.instrument.id)
        )
        self._held_bars = self._held_bars + 1 if lots == self._last_lots else 0
        self._last_lots = lots
        return True

    def settle(self) -> AccountView:
        """Close the position at the mark with slippage and fee, as ``lanes.settle_lane`` does; the episode is then over.

        The ledger books it, the rest of the engine does not hear of it: only ``start`` may follow.
        """
        self._check_begun()
        ledger, name = self._engine.ledger, self.market.instrument.id
        lots = self._engine.books.lots(name)
        mark = self._engine.books.mark(name)
        if lots and mark is not None:
            price = mark - (self.settings.slippage_ticks if lots > 0 else -self.settings.slippage_ticks)
            ledger.mark(0, mark)
            ledger.apply_fill(0, -lots, price, self.settings.fee_micros * abs(lots))
            self._held_bars = 0
        self._is_settled = True
        return self.view

    @property
    def view(self) -> AccountView:
        """How the account stands now."""
        self._check_begun()
        engine, name = self._engine, self.market.instrument.id
        ledger, position = engine.ledger, engine.ledger.positions[0]
        standing = engine.books.standing(engine.books.accounts[0], name)
        equity = ledger.equity_micros() if self._is_settled else engine.equity_micros
        ended = self._has_ended()
        return AccountView(
            row=self._row,
            lots=position.lots,
            asked_lots=self._asked,
            cash_micros=ledger.cash_micros[ledger.base_currency],
            equity_micros=equity,
            peak_micros=standing.peak_micros,
            day_start_micros=standing.day_start_micros,
            open_profit_micros=0 if self._is_settled else standing.open_profit_micros,
            fees_micros=position.fees_micros,
            traded_lots=position.traded_lots,
            refused_lots=self._refused,
            bars_held=self._held_bars,
            working=self._rests and not ended and not self._is_settled,
            ended=ended,
        )

    def _has_ended(self) -> bool:
        """True once the ladder has left normal, or equity is gone; settling at the last mark does not change it."""
        return self._engine.gate.state is not BreakerState.NORMAL or self._engine.equity_micros <= 0

    def _check_begun(self) -> None:
        if not self._begun:
            raise TrainingError("episode: found no beginning, expected start(row) first")

    def _new_engine(self) -> tuple[Engine, _Told]:
        """A fresh engine with the agent that does as it is told."""
        told: list[_Told] = []

        def build(
            kind: str,  # noqa: ARG001
            parameters: Mapping[str, Any],  # noqa: ARG001
            instruments: Mapping[InstrumentId, Instrument],
            seed: int,
        ) -> Agent:
            told.append(_Told(instruments, np.random.Generator(np.random.PCG64(seed))))
            return told[0]

        instrument = self.market.instrument
        settings = run_settings(self.settings, self.market.width_ns, instrument.currency)
        settings = msgspec.structs.replace(settings, agents=(AgentSettings(kind=_Told.name),))
        return Engine(settings, (instrument,), (self._schedule,), build), told[0]

    def _feed(self, row: int) -> None:
        """Bar ``row`` up to its close, where the engine would ask its agents next."""
        for _ in self._engine.on_block(self.market.bars[row : row + 1]):
            pass
        self._run_due(row, until=Stop.BARS)

    def _decide(self, wish: TargetPosition | None = None) -> tuple[tuple[Order, ...], set[int]]:
        """Let the agent answer at the close; the orders that left, and the ids of those called back for want of a stop."""
        self._agent.wish = wish
        record = self._engine.on_stop(Stop.BARS, None)[-1]
        self._agent.wish = None
        self._decided = True
        return record.orders, {cancel.order_id for cancel in record.cancels if cancel.reason == "unprotected"}

    def _run_due(self, row: int, until: Stop) -> None:
        """Everything due at the close of bar ``row`` before the stop ``until``."""
        close = int(self.market.bars["ts_event"][row])
        while (stop := self._engine.market.advance(close)) is not until:
            if stop is Stop.END:
                raise TrainingError(f"episode: found bar {row} not closing at its stamp, expected bars on their grid")
            self._engine.on_stop(stop, None)


class _Told(Agent):
    """Wishes what it was given, at the next close."""

    name = "told"

    def __init__(self, instruments: Mapping[InstrumentId, Instrument], generator: np.random.Generator) -> None:
        super().__init__(instruments, generator)
        self.wish: TargetPosition | None = None

    def on_bars(self, bars: Sequence[ClosedBar], account: Account) -> Sequence[Wish]:  # noqa: ARG002
        """The wish, if there is one."""
        return () if self.wish is None else (self.wish,)


def _expected_lots(held: int, working: Sequence[Order]) -> int:
    """The position once the market orders on their way have filled."""
    coming = [o for o in working if o.order_type is OrderType.MARKET and o.tag not in _PROTECTIVE]
    return held + sum(order.quantity * int(order.side) for order in coming)
