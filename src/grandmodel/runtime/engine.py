"""The engine: an input goes in, numbered records come out, orders inside them.

The engine reads no clock, draws no unseeded number and does no I/O. Backtest, paper, live and replay are this class with
different edges: ``session.py`` feeds it and keeps its records. Read ``docs/concepts/life-of-a-bar.md`` beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.data.market.soundness import LAST_STAMP_NS
from grandmodel.domain.agents import Agent, Standing, Wish
from grandmodel.domain.blocks import UNDEFINED_PRICE, Action, Block, Flag
from grandmodel.domain.decisions import (
    CancelIntent,
    Decision,
    Intent,
    PlaceOrder,
    ReplaceIntent,
    RiskCheck,
    TargetPosition,
    Urgency,
)
from grandmodel.domain.errors import InvariantError, UsageError
from grandmodel.domain.events import (
    Advance,
    Alert,
    Cause,
    ClosedBar,
    Command,
    CommandKind,
    DecidedIntent,
    End,
    ModelRefresh,
    Record,
    Signal,
    SignalTrigger,
    VenueReport,
)
from grandmodel.domain.ids import ExecId, InstrumentId, OrderId
from grandmodel.domain.instruments import MICROS_PER_UNIT, Instrument, convert_micros
from grandmodel.domain.learnt import AgentLearnt, LearntFrom
from grandmodel.domain.ledger import Ledger
from grandmodel.domain.orders import (
    ORDER_TYPES,
    CancelOrder,
    ExecType,
    ExecutionReport,
    Fill,
    Order,
    OrderType,
    PriceReference,
    ReplaceOrder,
    Side,
    TimeInForce,
)
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NEVER_NS, NS_PER_MINUTE, text_from_ns
from grandmodel.execution.order_life import OrderLife, OrderLives
from grandmodel.models.loaded import LoadedModel
from grandmodel.risk.breakers import BreakerState, Trigger
from grandmodel.risk.gate import RiskGate, RiskView
from grandmodel.runtime.account_view import account_view
from grandmodel.runtime.agent_time import late_agent
from grandmodel.runtime.errors import AgentChoiceError, AgentError, WishError
from grandmodel.runtime.feature_book import FeatureBook
from grandmodel.runtime.market_step import MarketStep, Stop
from grandmodel.runtime.position_limits import PositionLimits
from grandmodel.runtime.settings import Mode, RollPolicy, RunSettings
from grandmodel.runtime.wishes import MAX_WISHES, admitted, place_of, place_raised, shown
from grandmodel.simulation.exchange import SimulatedExchange

RISK = "risk"
"""The name under which the risk gate's own intents stand on the record."""

_PROTECTIVE = frozenset(("stop", "target"))
_GROUPS_OF_AN_AGENT = 2**32
"""Group numbers that an agent has to itself: the group 7 of one is not the group 7 of another."""

_LONGEST_NAME = 200


class AgentFactory(Protocol):
    """Builds one agent; ``runtime.agents.build_agent`` is the usual one."""

    def __call__(
        self, kind: str, parameters: Mapping[str, Any], instruments: Mapping[InstrumentId, Instrument], seed: int
    ) -> Agent:
        """The agent of ``kind`` with its own generator."""


class AgentWatch(Protocol):
    """Told when an agent is asked and when it has answered; the edge times it so. What it does changes nothing in the engine."""

    def asked(self) -> None:
        """An agent is about to be asked."""

    def answered(self, agent: int) -> None:
        """The agent with this place in the settings has answered."""


class Engine:
    """One run's state, and the step that moves it.

    ``instruments`` fixes the numbers that blocks use; ``schedules`` are their sessions, in the same order.
    """

    def __init__(
        self,
        settings: RunSettings,
        instruments: Sequence[Instrument],
        schedules: Sequence[SessionSchedule],
        build_agent: AgentFactory,
    ) -> None:
        if not instruments or len({instrument.id for instrument in instruments}) != len(instruments):
            raise UsageError("found no instrument or the same one twice, expected at least one, each once")
        self.settings = settings
        self.instruments = tuple(instruments)
        self._ids = tuple(instrument.id for instrument in instruments)
        self._index = {name: i for i, name in enumerate(self._ids)}
        account = settings.account
        self.ledger = Ledger(instruments, account.capital_micros, account.base_currency, account.rates)
        self.lives = OrderLives()
        self.market = MarketStep(
            instruments,
            schedules,
            settings.widths_ns,
            settings.venue,
            account.rates,
            mark_on_quotes=settings.mark_on_quotes,
            stops_at_marks=settings.rolls is not RollPolicy.IGNORE,
            bad_window_ns=settings.risk.breakers.event_window_ns,
        )
        self.market.step[0]["equity"] = self.market.step[0]["equity_peak"] = account.capital_micros
        seeds = np.random.SeedSequence(settings.seed).generate_state(1 + len(settings.agents), np.uint64)
        self.exchange = SimulatedExchange(self.market, instruments, schedules, settings.venue, int(seeds[0]))
        by_id = MappingProxyType({instrument.id: instrument for instrument in instruments})
        self.agents = tuple(
            build_agent(agent.kind, agent.parameters, by_id, int(seed))
            for agent, seed in zip(settings.agents, seeds[1:], strict=True)
        )
        self.agent_names = tuple(_checked_name(agent) for agent in self.agents)
        """As they stand on the record, whatever an agent does to its own name later."""
        holds = settings.mode is not Mode.LIVE  # No broker holds an order for the next open.
        self._carries = holds and bars_are_sessions(settings.widths_ns[0], schedules)
        said = [_carries_over(agent) for agent in self.agents]
        self._agents_carry = tuple(self._carries or (holds and carries) for carries in said)
        self.agent_watch: AgentWatch | None = None
        self._account = account_view(self)
        self.features = FeatureBook(instruments) if any(map(_needs_features, self.agents)) else None
        self.gate = RiskGate(settings.risk, instruments, account.capital_micros)
        self.limits = PositionLimits(settings.risk, self._ids, self.lives)
        self.market.step[0]["equity_floor"] = self.gate.equity_floor_micros()
        self._schedules = tuple(schedules)
        self._records = 0
        self._orders = 0
        self._intents = 0
        self._own_reports = 0
        self._view: RiskView | None = None
        self._stopped = False
        self._day = -1
        self._day_from = self._day_until = 0

    # What an agent may know: the ``Account`` protocol. Agents are handed ``account_view`` of it, never the engine.

    @property
    def now(self) -> int:
        """int64 ns UTC."""
        return self.market.now

    @property
    def equity_micros(self) -> int:
        """Cash plus marked positions, millionths of the base currency."""
        return self.market.equity

    def lots(self, instrument: InstrumentId) -> int:
        """Signed position."""
        return self.ledger.positions[self._index[instrument]].lots

    def mark(self, instrument: InstrumentId) -> int | None:
        """The price at which the instrument is valued now, in ticks; None before the first."""
        mark = int(self.market.instruments[self._index[instrument]]["mark"])
        return None if mark == UNDEFINED_PRICE else mark

    def working(self, instrument: InstrumentId) -> Sequence[Order]:
        """Orders sent and not ended, oldest first."""
        return [life.order for life in self.lives.of(instrument)]

    def standing(self, instrument: InstrumentId) -> Standing:
        """How the account and the instrument's position stand against the lines of risk."""
        self._view = None  # Between two steps the one at hand is that of the step before.
        index = self._index[instrument]
        unrealised, tick_value = 0, self.instruments[index].tick_value_micros
        if self.ledger.positions[index].lots:
            self._mark_ledger()
            unrealised = self.ledger.unrealised_micros(index)
        rate = self.ledger.rates_micros[self.instruments[index].currency]
        drawdown, day_loss = self.gate.losses(self._risk_view())
        peak, day_start = self.gate.references(self._risk_view())
        breakers = self.gate.settings.breakers
        return Standing(
            open_profit_micros=convert_micros(unrealised, rate),
            tick_value_micros=tick_value * rate / MICROS_PER_UNIT,
            drawdown=drawdown,
            drawdown_limit=breakers.drawdown.caution or 0.0,
            day_loss=day_loss,
            day_loss_limit=breakers.daily_loss.caution or 0.0,
            size_scale=self.gate.size_scale,
            peak_micros=peak,
            day_start_micros=day_start,
        )

    def strategic_window(self, instrument: InstrumentId) -> NDArray[np.float64]:
        """The 48 newest rows of the strategic matrix, (48, 13)."""
        return self._known_features().strategic(instrument)

    def tactical_window(self, instrument: InstrumentId) -> NDArray[np.float64]:
        """The 60 newest rows of the tactical matrix, (60, 7)."""
        return self._known_features().tactical(instrument)

    def _known_features(self) -> FeatureBook:
        if self.features is None:
            raise AgentError("an agent asked for features, expected one whose class says needs_features = True")
        return self.features

    # Inputs.

    def begin(self, note: Mapping[str, object]) -> Record:
        """The first record: what the run is made of, and what its agents say that they trade."""
        lines = self.introductions()
        return self._record(Cause.BEGIN, _Step(), note={**note, "traded_by": lines} if lines else note)

    def on_block(self, block: Block) -> Iterator[Record]:
        """Walk one block; a record for every stop."""
        schema = self.market.begin(block)
        while (stop := self.market.walk(block, schema)) is not Stop.END:
            yield self.on_stop(stop, block)

    def on_advance(self, advance: Advance) -> Iterator[Record]:
        """Let time pass without data. Raises ``UsageError`` for a time that no clock shows."""
        if advance.ts > LAST_STAMP_NS:
            raise UsageError(f"found time {advance.ts} to go on to, expected one before 2100 (int64 ns UTC)")
        while (stop := self.market.advance(advance.ts)) is not Stop.END:
            yield self.on_stop(stop, None)

    def on_report(self, answer: VenueReport) -> Iterator[Record]:
        """An outside broker answered."""
        yield from self.on_advance(Advance(ts=answer.report.ts_init))
        step = _Step()
        self._view = None
        repeated = self.lives.repeated_reports
        fills = self._apply_reports(step, (answer.report,))
        if self.lives.repeated_reports == repeated:
            self._tell_agents(step, (answer.report,), fills)
        yield self._finish(Cause.REPORT, step)

    def on_command(self, command: Command) -> Iterator[Record]:
        """A person told the engine something."""
        yield from self.on_advance(Advance(ts=command.ts))
        step = _Step()
        self._view = None
        view = self._risk_view()
        intents, alerts = self.gate.on_command(command, view)
        step.alerts.extend(alerts)
        if command.kind in (CommandKind.FLATTEN, CommandKind.STOP):
            for instrument in self._ids:
                self._act(step, "operator", CancelIntent(instrument=instrument, reasons=(command.kind.value,)))
                # Where something works the gate closes: at once, or at the report that confirms the cancel.
                if command.kind is CommandKind.FLATTEN and self.lots(instrument) and not self.working(instrument):
                    self._act(
                        step,
                        "operator",
                        TargetPosition(instrument=instrument, lots=0, reasons=("flatten",)),
                        carries=self._carries,
                    )
        for intent in intents:
            self._act(step, RISK, intent, carries=self._carries)
        self._stopped = self._stopped or command.kind is CommandKind.STOP
        yield self._finish(Cause.COMMAND, step, note={"command": command})

    def on_signal(self, signal: Signal) -> Iterator[Record]:
        """Something was measured outside: the ladder takes it, and risk reacts in the same step."""
        yield from self.on_advance(Advance(ts=signal.ts))
        step = _Step()
        self._view = None
        if signal.trigger is SignalTrigger.LATENCY and signal.source in map(late_agent, self.agent_names):
            text = f"{signal.source} took {signal.value:.3g} s to answer, again and again: its decisions come too late"
            step.alerts.append(Alert(severity="high", code="slow_agent", text=text, value=signal.value))
        self.gate.on_signal(Trigger(signal.trigger.value), signal.value, self.market.now)
        yield self._finish(Cause.SIGNAL, step, note={"signal": signal})

    def on_refresh(self, refresh: ModelRefresh, model: object | None) -> Iterator[Record]:
        """Let ``model``, loaded and checked by the caller, decide from now on; None where its file was refused."""
        yield from self.on_advance(Advance(ts=refresh.ts))
        step = _Step()
        self._view = None
        note: dict[str, object] = {"refresh": refresh}
        if model is None:
            text = f"{refresh.layer} model {refresh.path}: refused ({refresh.refused}); the one before goes on deciding"
            step.alerts.append(Alert(severity="high", code="model_refused", text=text))
        else:
            takers = [
                self.agent_names[place]
                for place in range(len(self.agents))
                if self._call(place, "take_model", refresh.layer, model)
            ]
            text = f"{refresh.layer} model {refresh.model} decides from here on for {', '.join(takers) or 'no agent'}"
            lines = [
                line
                for place, name in enumerate(self.agent_names)
                if name in takers
                for line in self._introduced(place)
            ]
            text = ": ".join((text, "; ".join(lines))) if lines else text
            step.alerts.append(Alert(severity="low", code="model_refreshed", text=text, value=len(takers)))
            note["takers"] = takers
            note["learnt_from"] = model.learnt_from if isinstance(model, LoadedModel) else None
        yield self._finish(Cause.MODEL, step, note=note)

    def on_end(self, end: End) -> Iterator[Record]:
        """The stream is over: what was due by then happens, and the last record says how things stand."""
        yield from self.on_advance(Advance(ts=end.ts))
        self._check_equity()
        yield self._record(Cause.END, _Step(), note=self.state_summary())

    # Stops of the market step.

    def on_stop(self, stop: Stop, block: Block | None) -> Record:
        """Decide what a stop of the market step asks for; ``block`` is the one being walked, if any."""
        step = _Step()
        self._view = None
        if stop is Stop.BARS:
            step.bars = self._closed_bars()
            if self.features is not None:
                self.features.on_bars(step.bars)
            view = self._risk_view()
            view.rows = self.market.tick_rows()
            step.alerts.extend(self.gate.on_bars(step.bars, view))
            if not self._stopped:
                for place in range(len(self.agents)):
                    wishes = self._ask(place, "on_bars", step.bars, self._account)
                    if wishes:
                        self._act_on(step, place, wishes)
            return self._finish(Cause.BAR, step)
        if stop is Stop.REPORTS:
            reports = self.exchange.due_reports()
            self._tell_agents(step, reports, self._apply_reports(step, reports))
            return self._finish(Cause.REPORT, step)
        if stop is Stop.EQUITY_LINE:
            return self._finish(Cause.RISK_LINE, step)
        if stop is Stop.BAD_ROW:
            self._tell_of_bad_rows(step)
            return self._finish(Cause.QUALITY, step)
        if stop is Stop.ROLL and block is not None:
            self._roll(step, block)
            return self._finish(Cause.ROLL, step)
        raise InvariantError(f"found stop {stop!r} of the market step, expected one that the engine knows")

    def _tell_of_bad_rows(self, step: _Step) -> None:
        """Rows that no market makes were left out: people hear of it, and the ladder counts them like bars marked bad."""
        index, count, fault = self.market.bad_rows()
        minutes = self.settings.risk.breakers.event_window_ns / NS_PER_MINUTE
        text = f"{self._ids[index]}: rows left out that no market makes (within {minutes:g} minutes; the newest: {fault.text})"
        step.alerts.append(Alert(severity="high", code="bad_rows", text=text, value=count))
        self.gate.on_signal(Trigger.DATA_QUALITY, float(count), self.market.now)

    def _finish(self, cause: Cause, step: _Step, note: Mapping[str, object] | None = None) -> Record:
        """Let risk react to the state that the step led to, and write the record."""
        intents, alerts = self.gate.react(self._risk_view())
        step.alerts.extend(alerts)
        for intent in intents:
            self._act(step, RISK, intent, carries=self._carries)
        self.market.set_lines(self.gate.equity_floor_micros())
        return self._record(cause, step, note=note)

    def _record(self, cause: Cause, step: _Step, note: Mapping[str, object] | None = None) -> Record:
        number = self._records
        self._records += 1
        return Record(
            number=number,
            ts=self.market.now,
            cause=cause,
            position=self.market.position,
            equity_micros=self.equity_micros,
            bars=step.bars,
            reports=step.reports,
            fills=tuple(step.fills),
            decisions=tuple(step.decisions),
            intents=tuple(step.intents),
            orders=tuple(step.orders),
            cancels=tuple(step.cancels),
            replaces=tuple(step.replaces),
            alerts=tuple(step.alerts),
            note=msgspec.UNSET if note is None else msgspec.Raw(msgspec.json.encode(note, order="deterministic")),
        )

    def _closed_bars(self) -> tuple[ClosedBar, ...]:
        ids = self._ids
        return tuple(
            [
                ClosedBar(
                    instrument=ids[instrument], width_ns=width, ts_open=start, ts_event=end, open=open_, high=high, low=low,
                    close=close, volume=volume, flags=flags,
                )
                for width, _, _, _, start, end, open_, high, low, close, volume, flags, instrument in self.market.closed_rows()
            ]
        )  # fmt: skip

    # Reports and the ledger.

    def _tell_agents(self, step: _Step, reports: tuple[ExecutionReport, ...], fills: list[Fill]) -> None:
        """Let every agent answer what the venue said."""
        if not self._stopped:
            told = tuple(fills)  # The list is the record's own.
            for place in range(len(self.agents)):
                self._act_on(step, place, self._ask(place, "on_reports", reports, told, self._account))

    def _apply_reports(self, step: _Step, reports: tuple[ExecutionReport, ...]) -> list[Fill]:
        """Fold reports into orders, ledger and market step."""
        step.reports = reports
        touched = set()
        for report in reports:
            life = self.lives.apply(report)
            if life is None:
                continue
            touched.add(self._index[life.order.instrument])
            fill = None
            if report.exec_type is ExecType.TRADE:
                fill = self._fill(life, report)
                step.fills.append(fill)
                self._book(fill)
            self.gate.on_report(report, fill)
        for index in sorted(touched):
            self._halt_where_broken(step, index)
        return step.fills

    def _halt_where_broken(self, step: _Step, index: int, *, leaving: bool = False) -> bool:
        """Look at what an instrument's position can become; True, and trading halts, where a limit on lots is broken.

        ``leaving``: an order or a change that is about to leave has just been added. What the gate does about a broken limit (cancel,
        flatten) comes at the end of this step or of the next.
        """
        is_halted = leaving and self.gate.state >= BreakerState.HALT
        broken = self.limits.look(index, self.ledger.positions[index].lots, closes_only=is_halted)
        if broken is None:
            return False
        step.alerts.extend(self.gate.halt_on_broken_limit(broken.text, broken.value, broken.limit, self.market.now))
        return True

    def _fill(self, life: OrderLife, report: ExecutionReport) -> Fill:
        order = life.order
        instrument = self.instruments[self._index[order.instrument]]
        fee = self.settings.venue.fees.fee_micros(
            instrument, report.last_quantity, report.last_price, maker=report.maker
        )
        slippage_from, reference = _slippage_from(order, report)
        return Fill(
            exec_id=report.exec_id,
            order_id=order.order_id,
            instrument=order.instrument,
            side=order.side,
            quantity=report.last_quantity,
            price=report.last_price,
            fee_micros=fee,
            ts_event=report.ts_event,
            ts_init=report.ts_init,
            maker=report.maker,
            reference_price=life.reference_price,
            tag=order.tag,
            slippage_from=slippage_from,
            slippage_reference=reference,
        )

    def _book(self, fill: Fill) -> None:
        """Enter a fill into the ledger, hold the ledger against the market step, and tell the step what we now hold."""
        index = self._index[fill.instrument]
        market, ledger = self.market.instruments[index], self.ledger
        self._check_equity()
        ledger.apply_fill(index, fill.signed_quantity, fill.price, fill.fee_micros)
        position = ledger.positions[index]
        market["position"] = position.lots
        market["cost"] = position.cost_micros
        market["mark"] = position.mark_ticks
        rate = ledger.rates_micros[self.instruments[index].currency]
        market["marked_base"] = convert_micros(ledger.marked_micros(index), rate)
        self.market.step[0]["equity"] = ledger.equity_micros()
        self._view = None

    def _check_equity(self) -> None:
        """Mark the ledger as the market step does; both must then hold the same equity, to the last millionth."""
        self._mark_ledger()
        expected = self.ledger.equity_micros()
        if expected != self.equity_micros:
            raise InvariantError(
                f"found equity {self.equity_micros} in the market step, expected {expected} from the ledger"
            )

    def _mark_ledger(self) -> None:
        for position, mark in zip(self.ledger.positions, self.market.viewed()[1], strict=True):
            position.mark_ticks = mark

    def _roll(self, step: _Step, block: Block) -> None:
        """The series changes contract: sell the old at its last price, buy the new at its first, cancel what works."""
        row = block[int(self.market.step[0]["row"])]
        index = int(row["instrument"])
        market, instrument = self.market.instruments[index], self._ids[index]
        market["roll_ts"] = row["ts_init"]
        is_bad = bool(int(row["flags"]) & Flag.BAD_STRETCH or self.market.fault_of(row))
        why = "bad_stretch" if is_bad else "roll"
        self._act(step, why, CancelIntent(instrument=instrument, reasons=(why,)))
        names = row.dtype.names or ()
        began = int(row["ts_open"] if "ts_open" in names else row["ts_init"])
        for life in self.lives.of(instrument):
            self.exchange.withdraw(life.order.order_id, began)
            life.withdrawn = self.settings.mode is not Mode.LIVE
        lots = self.ledger.positions[index].lots
        if not lots:
            self._halt_where_broken(step, index)
            return
        if self.settings.mode is Mode.LIVE:
            text = f"{instrument}: the feed is marked {why} while {lots} lots are held; deal with them at the broker"
            step.alerts.append(Alert(severity="critical", code=f"{why}_by_hand", text=text))
            return
        if is_bad:
            self._book_mark(step, index, why, [(-lots, int(market["mark"]))], began)
            text = f"{instrument}: a bad stretch of data begins; the position was left at the last good price"
            step.alerts.append(Alert(severity="high", code="bad_stretch", text=text, value=lots))
            return
        fields: tuple[str, ...] = ("open",) if "open" in names else ("price", "bid_price", "ask_price")
        if "order_id" in names and row["action"] != Action.TRADE:
            fields = ()  # A resting order may stand anywhere: its price is not the market's.
        known = (int(row[name]) for name in fields if name in names and row[name] != UNDEFINED_PRICE)
        first_price = next(known, UNDEFINED_PRICE)
        if first_price == UNDEFINED_PRICE:
            text = f"{instrument}: the first row of the new contract has no price; the step between contracts counts as profit"
            step.alerts.append(Alert(severity="high", code="roll_without_price", text=text))
            return
        self._book_mark(step, index, why, [(-lots, int(market["mark"])), (lots, first_price)], began)
        # The new contract's price is the mark from here on: the position is worth what it was, less the fees.
        market["mark"] = first_price
        self.ledger.mark(index, first_price)
        rate = self.ledger.rates_micros[self.instruments[index].currency]
        market["marked_base"] = convert_micros(self.ledger.marked_micros(index), rate)
        self.market.step[0]["equity"] = self.ledger.equity_micros()

    def _book_mark(self, step: _Step, index: int, why: str, trades: list[tuple[int, int]], ts_event: int) -> None:
        """Book (signed lots, price) that no order asked for, with their fees: a roll, or the way out of a bad stretch."""
        for signed, price in trades:
            self._own_reports -= 1
            fee = self.settings.venue.fees.fee_micros(self.instruments[index], abs(signed), price, maker=False)
            fill = Fill(
                exec_id=ExecId(self._own_reports),
                order_id=OrderId(0),
                instrument=self._ids[index],
                side=Side.BUY if signed > 0 else Side.SELL,
                quantity=abs(signed),
                price=price,
                fee_micros=fee,
                ts_event=ts_event,
                ts_init=self.market.now,
                tag=why,
            )
            step.fills.append(fill)
            self._book(fill)
            self.market.instruments[index]["venue_position"] += signed
        self._halt_where_broken(step, index)

    # From wishes to orders.

    def _call(self, place: int, question: str, *given: object) -> Any:
        """An agent's own answer to a method of ``Agent``; what goes wrong names the agent, the line and the time, and stops the run.

        Only a person's interruption passes as what it is, and what this program found wrong with itself.
        """
        watch = self.agent_watch
        if watch is not None:
            watch.asked()
        try:
            return getattr(self.agents[place], question)(*given)
        except (KeyboardInterrupt, InvariantError):
            raise
        except BaseException as error:
            where = place_raised(error, self._written(place, question))
            raise AgentError(
                f"agent {self.agent_names[place]} failed {self._moment()} ({where}): {shown(error)}"
            ) from error
        finally:
            if watch is not None:
                watch.answered(place)

    def _written(self, place: int, question: str) -> Callable[..., object]:
        """The method as its class has it, for messages: the agent itself is not asked."""
        method: Callable[..., object] = getattr(type(self.agents[place]), question)
        return method

    def widths_needed(self) -> tuple[tuple[int, ...], ...]:
        """By agent the bar widths, ns, without which it never decides."""
        found = []
        for place in range(len(self.agents)):
            widths = self._call(place, "widths_needed")
            if type(widths) not in (tuple, list) or not all(type(width) is int for width in widths):
                fault = f"found {shown(widths)} returned, expected a tuple of whole numbers of ns"
                raise self._not_valid(place, "widths_needed", fault)
            found.append(tuple(widths))
        return tuple(found)

    def introductions(self) -> tuple[str, ...]:
        """What the agents say that they trade, and by what."""
        return tuple(line for place in range(len(self.agents)) for line in self._introduced(place))

    def learnt(self) -> tuple[AgentLearnt, ...]:
        """What each agent's models had seen before the run; None for one that does not say."""
        found = []
        for place, name in enumerate(self.agent_names):
            learnt = self._call(place, "learnt_from")
            try:
                read = msgspec.json.decode(msgspec.json.encode(learnt), type=tuple[LearntFrom, ...] | None)
                is_said = learnt is None or all(type(one) is LearntFrom for one in learnt)
            except KeyboardInterrupt:
                raise
            except BaseException:  # noqa: BLE001  what an agent returns may raise anything while it is written
                is_said = False
            if not is_said:
                fault = f"found {shown(learnt)} returned, expected a tuple of LearntFrom values, or None"
                raise self._not_valid(place, "learnt_from", fault)
            found.append(AgentLearnt(agent=name, learnt_from=read))
        return tuple(found)

    def _introduced(self, place: int) -> tuple[str, ...]:
        """What an agent says of itself, for people; lines that are no text are as wrong as a wish that is none."""
        lines: tuple[str, ...] = self._call(place, "introduce")
        if type(lines) is not tuple or not all(type(line) is str and line.isprintable() for line in lines):
            raise self._not_valid(
                place, "introduce", f"found {shown(lines)} returned, expected a tuple of lines of text"
            )
        return lines

    def _ask(self, place: int, question: str, *given: object) -> list[Wish]:
        """An agent's wishes, each as the record will hold it; one that is not valid stops the run before any is acted on."""
        wishes = self._call(place, question, *given)
        if type(wishes) is not tuple and type(wishes) is not list:
            raise self._not_valid(
                place, question, f"found {shown(wishes)} returned, expected a list or tuple of wishes"
            )
        if len(wishes) > MAX_WISHES:
            raise self._not_valid(
                place, question, f"found {len(wishes)} wishes, expected at most {MAX_WISHES} at a time"
            )
        try:
            found = [admitted(wish) for wish in wishes]
        except WishError as error:
            raise self._not_valid(place, question, str(error)) from None
        for wish in found:
            if wish.instrument not in self._index:
                fault = f"found instrument {shown(wish.instrument)}, expected one of {', '.join(self._ids)}"
                raise self._not_valid(place, question, f"{type(wish).__name__}.instrument: {fault}")
        return found

    def _not_valid(self, place: int, question: str, fault: str) -> AgentError:
        where = f"{question}, {place_of(self._written(place, question))}"
        return AgentError(f"agent {self.agent_names[place]} ({where}) {self._moment()}: {fault}")

    def _moment(self) -> str:
        """When something was found, for people."""
        now = self.market.now
        return "before the run began" if now == -(2**63) else f"at {text_from_ns(now)}"

    def _act_on(self, step: _Step, place: int, wishes: Iterable[Wish]) -> None:
        trading = self.market.now >= self.settings.trade_from_ns
        for wish in wishes:
            if isinstance(wish, Decision):
                step.decisions.append(wish)
            elif trading:
                try:
                    self._act(step, self.agent_names[place], wish, place, carries=self._agents_carry[place])
                except AgentError as error:
                    raise AgentError(f"{error} ({place_of(self._written(place, 'on_bars'))})") from None

    def _act(self, step: _Step, who: str, intent: Intent, place: int = 0, *, carries: bool = False) -> None:
        """Turn one intent into orders, cancels and changes, as far as risk lets it; ``place`` is an agent's among the agents.

        ``carries``: orders decided while the instrument is closed go to the venue for the next open; risk checks them now.
        """
        self._intents += 1
        deed = _Deed(self._intents, who, intent, place, carries=carries)
        if isinstance(intent, TargetPosition):
            self._pursue_target(step, deed, intent)
        elif isinstance(intent, PlaceOrder):
            self._place(step, deed, intent)
        elif isinstance(intent, CancelIntent):
            for life in list(self.lives.of(intent.instrument)):
                if intent.order_id is None or life.order.order_id == intent.order_id:
                    self._cancel(step, life.order.order_id, ",".join(intent.reasons))
        else:
            self._replace(step, deed, intent)
        step.intents.append(
            DecidedIntent(
                number=deed.number, agent=who, intent=intent, checks=tuple(deed.checks), orders=tuple(deed.orders), refused=deed.refused
            )
        )  # fmt: skip

    def _pursue_target(self, step: _Step, deed: _Deed, intent: TargetPosition) -> None:
        """Trade the difference between what is held or on its way and what is wanted.

        Resting entries of an earlier wish are cancelled first. What reduces the position is an order of its own, before
        what opens the other way, so that a limit on new risk never stops a way out. When the position shrinks, protective
        orders shrink with it, or are placed anew where the wish names new distances; when it ends or turns they are cancelled.
        """
        if intent.urgency is Urgency.WAIT:
            return
        instrument = intent.instrument
        for life in list(self.lives.of(instrument)):
            if life.order.tag not in _PROTECTIVE and life.order.order_type is not OrderType.MARKET:
                self._cancel(step, life.order.order_id, "retarget")
        expected = self.lives.position_coming(instrument, self.lots(instrument), _PROTECTIVE)
        change = intent.lots - expected
        if change == 0:
            return
        closing = 0
        if expected and (expected > 0) != (change > 0):
            closing = min(abs(change), abs(expected)) * (1 if change > 0 else -1)
        if closing:
            left = abs(expected + closing)
            places_anew = bool(intent.stop_ticks or intent.target_ticks)
            for life in list(self.lives.of(instrument)):
                if life.order.tag not in _PROTECTIVE:
                    continue
                if left and not places_anew:
                    quantity = life.filled + life.reduced + left
                    shrunk = ReplaceIntent(instrument=instrument, order_id=life.order.order_id, quantity=quantity)
                    self._replace(step, deed, shrunk)
                else:
                    self._cancel(step, life.order.order_id, "retarget")
            self._send_wished(step, deed, intent, closing, "exit", protect=False)
        opening = change - closing
        if opening:
            self._send_wished(step, deed, intent, opening, "entry", protect=True)
        elif intent.lots and (intent.stop_ticks or intent.target_ticks):
            self._protect(step, deed, intent, intent.lots, parent=None)

    def _send_wished(
        self, step: _Step, deed: _Deed, intent: TargetPosition, signed_lots: int, tag: str, *, protect: bool
    ) -> None:
        instrument = intent.instrument
        side = Side.BUY if signed_lots > 0 else Side.SELL
        price = None
        if intent.urgency is not Urgency.AGGRESSIVE and tag == "entry":
            price = self._own_best(instrument, side)
            if price is None:
                deed.refused = deed.refused or "no_price"
                return
        order = self._order(
            deed,
            instrument=instrument,
            side=side,
            quantity=abs(signed_lots),
            order_type=OrderType.MARKET if price is None else OrderType.LIMIT,
            price=price,
            tag=tag,
        )
        sent = self._send(step, deed, order)
        if sent is None or not protect or not (intent.stop_ticks or intent.target_ticks):
            return
        if not self._protect(step, deed, intent, sent.quantity * int(side), parent=sent.order_id):
            # The cancel reaches the venue with the entry, before it can fill.
            self._cancel(step, sent.order_id, "unprotected")
            deed.refused = deed.refused or "unprotected"

    def _protect(
        self, step: _Step, deed: _Deed, intent: TargetPosition, signed_lots: int, parent: OrderId | None
    ) -> bool:
        """Stop and target around the mark for ``signed_lots``; the first to fill reduces and ends the other.

        False where the mark is not known or risk refused one of them.
        """
        mark = self.mark(intent.instrument)
        if mark is None:
            return False
        all_sent = True
        direction = 1 if signed_lots > 0 else -1
        group = -(self._orders + 1)  # Below 0: those above are the agents' own.
        for distance, order_type, tag in (
            (-intent.stop_ticks, OrderType.STOP, "stop"),
            (intent.target_ticks, OrderType.LIMIT, "target"),
        ):
            if distance == 0:
                continue
            level = mark + distance * direction
            order = self._order(
                deed,
                instrument=intent.instrument,
                side=Side.SELL if signed_lots > 0 else Side.BUY,
                quantity=abs(signed_lots),
                order_type=order_type,
                price=level if order_type is OrderType.LIMIT else None,
                stop_price=level if order_type is OrderType.STOP else None,
                time_in_force=TimeInForce.GTC,
                parent=parent,
                oco_group=group,
                tag=tag,
            )
            all_sent = self._send(step, deed, order) is not None and all_sent
        return all_sent

    def _place(self, step: _Step, deed: _Deed, intent: PlaceOrder) -> None:
        terms = ORDER_TYPES[intent.order_type]
        if (
            not terms.fits(intent.price, intent.stop_price, intent.trail_ticks, intent.display_quantity)
            or (intent.expire_ts is not None) != (intent.time_in_force is TimeInForce.GTD)
            or intent.quantity <= 0
            or not 0 <= intent.oco_group < _GROUPS_OF_AN_AGENT
            or (intent.reduce_only and (intent.bracket_stop is not None or intent.bracket_target is not None))
        ):
            raise AgentError(
                f"agent {deed.who}: found {intent.order_type.name} {intent.time_in_force.name} of {intent.quantity} lots with "
                f"price {intent.price}, stop_price {intent.stop_price}, trail_ticks {intent.trail_ticks}, display_quantity "
                f"{intent.display_quantity}, expire_ts {intent.expire_ts}, oco_group "
                f"{intent.oco_group}, reduce_only {intent.reduce_only}, bracket_stop {intent.bracket_stop} and bracket_target "
                f"{intent.bracket_target}, expected a positive quantity, just the prices that the type has, a display_quantity "
                "only where the order may rest, expire_ts for GTD only, a group of 0 to 2^32 - 1, and no bracket around an order that only closes"
            )
        extra = {} if intent.expire_ts is None else {"expire_ts": intent.expire_ts}
        order = self._order(
            deed,
            instrument=intent.instrument,
            side=intent.side,
            quantity=intent.quantity,
            order_type=intent.order_type,
            price=intent.price,
            stop_price=intent.stop_price,
            trail_ticks=intent.trail_ticks,
            display_quantity=intent.display_quantity,
            time_in_force=intent.time_in_force,
            oco_group=intent.oco_group and deed.place * _GROUPS_OF_AN_AGENT + intent.oco_group,
            reduce_only=intent.reduce_only,
            tag="entry",
            **extra,
        )
        sent = self._send(step, deed, order)
        if sent is None:
            return
        for level, order_type, tag in (
            (intent.bracket_stop, OrderType.STOP, "stop"),
            (intent.bracket_target, OrderType.LIMIT, "target"),
        ):
            if level is not None:
                child = self._order(
                    deed,
                    instrument=intent.instrument,
                    side=Side(-int(intent.side)),
                    quantity=sent.quantity,
                    order_type=order_type,
                    price=level if order_type is OrderType.LIMIT else None,
                    stop_price=level if order_type is OrderType.STOP else None,
                    time_in_force=TimeInForce.GTC,
                    parent=sent.order_id,
                    oco_group=-sent.order_id,
                    tag=tag,
                )
                self._send(step, deed, child)

    def _order(self, deed: _Deed, **fields: Any) -> Order:
        self._orders += 1
        effective_ts = self._next_open(fields["instrument"]) if deed.carries else 0
        return Order(
            order_id=OrderId(self._orders), ts=self.market.now, effective_ts=effective_ts, intent=deed.number, **fields
        )

    def _next_open(self, instrument: InstrumentId) -> int:
        """When the next session of an instrument that is closed opens; 0 while it is open, or where no session is known."""
        index = self._index[instrument]
        if self._risk_view().in_session[index]:
            return 0
        opens = self._schedules[index].open_ns
        place = int(np.searchsorted(opens, self.market.now, side="right"))
        return int(opens[place]) if place < len(opens) else 0

    def _send(self, step: _Step, deed: _Deed, order: Order) -> Order | None:
        """Ask risk, and send what it lets through; nothing is sent on prices that are marked bad."""
        if self.settings.rolls is not RollPolicy.IGNORE and self._is_in_bad_stretch(order.instrument):
            deed.refused = deed.refused or "bad_stretch"
            return None
        verdict = self.gate.check(order, self._risk_view())
        deed.checks.append((order.order_id, verdict.checks))
        if verdict.order is None:
            deed.refused = deed.refused or verdict.reason
            return None
        order = verdict.order
        self.lives.add(order, self.mark(order.instrument), self._records)
        if self._halt_where_broken(step, self._index[order.instrument], leaving=True):
            self.lives.take_back(order.order_id)
            self._halt_where_broken(step, self._index[order.instrument])
            deed.refused = deed.refused or "limit_broken"
            return None
        self.gate.on_order(order)
        deed.orders.append(order.order_id)
        step.orders.append(order)
        if self.settings.mode is not Mode.LIVE:
            self.exchange.submit(order)
        return order

    def _is_in_bad_stretch(self, instrument: InstrumentId) -> bool:
        return bool(self.market.instruments[self._index[instrument]]["in_bad_stretch"])

    def _cancel(self, step: _Step, order_id: OrderId, reason: str) -> None:
        if self.lives.ask_cancel(order_id):
            request = CancelOrder(order_id=order_id, ts=self.market.now, reason=reason)
            step.cancels.append(request)
            self.gate.on_cancel(request.ts)
            if self.settings.mode is not Mode.LIVE:
                self.exchange.cancel(request)

    def _replace(self, step: _Step, deed: _Deed, intent: ReplaceIntent) -> None:
        """Risk knows a change by the id of an order that works already."""
        life = self.lives.open.get(intent.order_id)
        if life is None or life.cancel_asked or life.order.instrument != intent.instrument:
            deed.refused = "too_late" if life is None or life.cancel_asked else "unknown_order"
            return
        if life.change is not None:
            deed.refused = "change_under_way"
            return
        order = life.order
        wished = msgspec.structs.replace(
            order,
            quantity=intent.quantity,
            price=order.price if intent.price is None else intent.price,
            stop_price=order.stop_price if intent.stop_price is None else intent.stop_price,
            ts=self.market.now,
            effective_ts=self._next_open(order.instrument) if deed.carries else 0,
        )
        verdict = self.gate.check(wished, self._risk_view())
        deed.checks.append((order.order_id, verdict.checks))
        if verdict.order is None:
            deed.refused = verdict.reason
            return
        request = ReplaceOrder(
            order_id=order.order_id,
            ts=self.market.now,
            quantity=verdict.order.quantity,
            price=intent.price,
            stop_price=intent.stop_price,
        )
        self.lives.ask_replace(request)
        if self._halt_where_broken(step, self._index[order.instrument], leaving=True):
            life.change = None
            self._halt_where_broken(step, self._index[order.instrument])
            deed.refused = "limit_broken"
            return
        self.gate.on_order(verdict.order)
        step.replaces.append(request)
        if self.settings.mode is not Mode.LIVE:
            self.exchange.replace(request)

    def _own_best(self, instrument: InstrumentId, side: Side) -> int | None:
        """The best price of our own side; the mark where no quotes are known."""
        market = self.market.instruments[self._index[instrument]]
        best = int(market["bid"] if side is Side.BUY else market["ask"])
        if best == UNDEFINED_PRICE:
            return self.mark(instrument)
        return best

    def _risk_view(self) -> RiskView:
        """What the risk gate sees; built once a step and again after each fill."""
        if self._view is None:
            now = self.market.now
            positions, marks, mark_ts, bids, asks, halted, rates, opens, closes = self.market.viewed()
            self._view = RiskView(
                ts=now,
                equity_micros=self.market.equity,
                positions=positions,
                marks=marks,
                mark_ts=mark_ts,
                best_bids=bids,
                best_asks=asks,
                in_session=[
                    opens[i] <= now < closes[i] or self._schedules[i].index_at(now) >= 0 for i in range(len(opens))
                ],
                halted=[flag != 0 for flag in halted],
                rates_micros=rates,
                day_ns=self._trading_day(now),
                carried=self._carries,
                peak_equity_micros=int(self.market.step[0]["equity_peak"]),
            )
        return self._view

    def _trading_day(self, now: int) -> int:
        """Midnight UTC of the trading day of the first instrument's sessions; between two sessions the one to come."""
        if not self._day_from <= now < self._day_until:
            schedule = self._schedules[0]
            index = int(np.searchsorted(schedule.close_ns, now, side="right"))
            self._day_from = int(schedule.close_ns[index - 1]) if index else -(2**63)
            if index < len(schedule):
                self._day, self._day_until = int(schedule.day_ns[index]), int(schedule.close_ns[index])
            else:
                self._day, self._day_until = -1, NEVER_NS
        return self._day

    def counters(self) -> tuple[int, int, int, int, bool]:
        """Numbers given out so far, for a snapshot."""
        return self._records, self._orders, self._intents, self._own_reports, self._stopped

    def restore_counters(self, counters: tuple[int, int, int, int, bool]) -> None:
        """Put back what ``counters`` gave."""
        self._records, self._orders, self._intents, self._own_reports, self._stopped = counters
        self._view = None
        self.limits.restore([position.lots for position in self.ledger.positions])

    def state_summary(self) -> dict[str, object]:
        """How things stand, for the last record: positions, cash, open orders and what was counted in the data."""
        ledger, rows = self.ledger, self.market.instruments
        counted = (
            "rows",
            "trades",
            "quotes",
            "bars",
            "book_events",
            "crossed",
            "one_sided",
            "outside_session",
            "bad_stretch",
            "rolls",
            "volume",
            "bad_rows",
        )
        return {
            "cash_micros": ledger.cash_micros,
            "positions": {
                name: {
                    "lots": position.lots,
                    "cost_micros": position.cost_micros,
                    "mark_ticks": int(row["mark"]),
                    "realised_micros": position.realised_micros,
                    "fees_micros": position.fees_micros,
                    "traded_lots": position.traded_lots,
                }
                for name, position, row in zip(self._ids, ledger.positions, rows, strict=True)
            },
            "open_orders": [life.order.order_id for life in self.lives.open.values()],
            "ended_orders": self.lives.ended,
            "repeated_reports": self.lives.repeated_reports,
            "quality": {
                name: {key: int(row[key]) for key in counted if key != "bad_rows" or row[key]}
                for name, row in zip(self._ids, rows, strict=True)
            },
        }


def bars_are_sessions(width_ns: int, schedules: Sequence[SessionSchedule]) -> bool:
    """True where bars of ``width_ns`` and more span a usual session of every instrument: each closes when trading ends."""
    lengths = [schedule.close_ns - schedule.open_ns for schedule in schedules if len(schedule)]
    return bool(lengths) and all(width_ns >= np.median(of_one) for of_one in lengths)


def _slippage_from(order: Order, report: ExecutionReport) -> tuple[int | None, PriceReference]:
    """The price, in ticks, that a fill's slippage is measured from, and which it is: each kind of order promises another one.

    The terms are those that the order has now. None where a venue does not tell what a market order met.
    """
    if order.stop_price is not None:
        return order.stop_price, PriceReference.TRIGGER
    if order.price is not None:
        return order.price, PriceReference.LIMIT
    return report.arrival_price, report.arrival_reference


class _Step:
    """What one step collects for its record."""

    __slots__ = ("alerts", "bars", "cancels", "decisions", "fills", "intents", "orders", "replaces", "reports")

    def __init__(self) -> None:
        self.bars: tuple[ClosedBar, ...] = ()
        self.reports: tuple[ExecutionReport, ...] = ()
        self.fills: list[Fill] = []
        self.decisions: list[Decision] = []
        self.intents: list[DecidedIntent] = []
        self.orders: list[Order] = []
        self.cancels: list[CancelOrder] = []
        self.replaces: list[ReplaceOrder] = []
        self.alerts: list[Alert] = []


class _Deed:
    """What becomes of one intent."""

    __slots__ = ("carries", "checks", "intent", "number", "orders", "place", "refused", "who")

    def __init__(self, number: int, who: str, intent: Intent, place: int, *, carries: bool) -> None:
        self.number, self.who, self.intent, self.carries = number, who, intent, carries
        self.place = place
        """The agent's place among the agents."""
        self.checks: list[tuple[OrderId, tuple[RiskCheck, ...]]] = []
        self.orders: list[OrderId] = []
        self.refused = ""


def _carries_over(agent: Agent) -> bool:
    """Whether the agent says that its wishes wait for the next open; looked at once, so that it cannot change in a run."""
    return _said(agent, "carries_over")


def _needs_features(agent: Agent) -> bool:
    """Whether the agent says that it needs the feature matrices."""
    return _said(agent, "needs_features")


def _said(agent: Agent, name: str) -> bool:
    said = _attribute(agent, name)
    if type(said) is bool:
        return said
    raise AgentChoiceError(f"agent {type(agent).__name__}: found {name} {shown(said)}, expected True or False")


def _attribute(agent: Agent, name: str) -> object:
    """What an agent says of itself; an agent may compute it, and whatever it raises names it."""
    try:
        return getattr(agent, name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise AgentChoiceError(f"agent {type(agent).__name__}: its {name} cannot be read: {shown(error)}") from error


def _checked_name(agent: Agent) -> str:
    """The agent's name, where it can stand on a record."""
    name = _attribute(agent, "name")
    if type(name) is str and name and len(name) <= _LONGEST_NAME and name.isprintable():
        return name
    raise AgentChoiceError(
        f"agent {type(agent).__name__}: found name {shown(name)}, expected a printable text of 1 to {_LONGEST_NAME} characters"
    )
