"""The engine: an input goes in, numbered records come out, orders inside them.

The engine reads no clock, draws no unseeded number and does no I/O. Backtest, paper, live and replay are this class with
different edges: ``session.py`` feeds it and keeps its records. Read ``docs/concepts/life-of-a-bar.md`` beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import msgspec
import numpy as np

from grandmodel.account.ledger import Ledger
from grandmodel.data.market.soundness import LAST_STAMP_NS
from grandmodel.domain.agents import Agent, WakeRule, Wish
from grandmodel.domain.blocks import Block, Schema, schema_of
from grandmodel.domain.decisions import (
    CancelIntent,
    Decision,
    TargetPosition,
)
from grandmodel.domain.errors import GrandModelError, InvariantError, UsageError
from grandmodel.domain.events import (
    Advance,
    Alert,
    CashFlow,
    Cause,
    Command,
    CommandKind,
    End,
    ExchangeRate,
    ModelRefresh,
    Record,
    Settlement,
    Signal,
    SignalTrigger,
    VenueReport,
)
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.orders import (
    ExecutionReport,
    Fill,
)
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NS_PER_MINUTE
from grandmodel.models.loaded import LoadedModel
from grandmodel.risk.breakers import Trigger
from grandmodel.risk.gate import RiskGate
from grandmodel.runtime.account_events import (
    AccountEvent,
    book_cash_flow,
    check_account_event,
    settle,
    split,
    take_rate,
)
from grandmodel.runtime.account_view import AccountReadings, account_view
from grandmodel.runtime.addresses import condition_address
from grandmodel.runtime.agent_time import late_agent
from grandmodel.runtime.asking import Agents
from grandmodel.runtime.books import Books
from grandmodel.runtime.errors import AgentChoiceError, AgentError
from grandmodel.runtime.feature_book import FeatureBook
from grandmodel.runtime.market_step import Stop
from grandmodel.runtime.order_planner import OrderPlanner
from grandmodel.runtime.quiet import QuietWalk
from grandmodel.runtime.rolls import roll
from grandmodel.runtime.settings import Mode, RunSettings, expected_account
from grandmodel.runtime.step import Step
from grandmodel.runtime.trading_account import TradingAccount
from grandmodel.runtime.wishes import place_of, shown
from grandmodel.simulation.models import FillRuleName

_END, _REPORTS, _BARS, _EQUITY_LINE, _ROLL, _BAD_ROW, _ASK, _RISK, _FULL, _REACT = (
    int(stop)
    for stop in (
        Stop.END,
        Stop.REPORTS,
        Stop.BARS,
        Stop.EQUITY_LINE,
        Stop.ROLL,
        Stop.BAD_ROW,
        Stop.ASK,
        Stop.RISK,
        Stop.FULL,
        Stop.REACT,
    )
)

_SHARED = (Cause.BAR, Cause.REPORT)
"""Causes of moments that may share a record."""

RISK = "risk"
"""The name under which the risk gate's own intents stand on the record."""


class AgentFactory(Protocol):
    """Builds one agent; ``runtime.agents.build_agent`` is the usual one."""

    def __call__(
        self, kind: str, parameters: Mapping[str, Any], instruments: Mapping[InstrumentId, Instrument], seed: int
    ) -> Agent:
        """The agent of ``kind`` with its own generator."""


class StopWatch(Protocol):
    """Told when the walk over a block stops and when what followed is kept; the edge times it so. It changes nothing in the engine."""

    def stopped(self) -> None:
        """The walk has stopped."""

    def settled(self, stop: int) -> None:
        """The records that followed from the ``Stop`` have been taken."""


class Engine:
    """One run's state, and the step that moves it.

    ``instruments`` fixes the numbers that blocks use; ``schedules`` are their sessions, in the same order. The parts: ``books`` (what is
    held and what is out), ``planner`` (wishes to orders), ``asking`` (the agents).
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
        seeds = np.random.SeedSequence(settings.seed).generate_state(1 + len(settings.agents), np.uint64)
        holds = settings.mode is not Mode.LIVE  # No broker holds an order for the next open.
        carries = holds and bars_are_sessions(settings.widths_ns[0], schedules)
        self.books = Books(settings, instruments, schedules, int(seeds[0]), carries=carries)
        self.market, self.gate = self.books.market, self.books.gate
        self.lives, self.exchange = self.books.lives, self.books.exchange
        self.planner = OrderPlanner(self.books)
        by_id = MappingProxyType({instrument.id: instrument for instrument in instruments})
        agents = [
            build_agent(agent.kind, agent.parameters, by_id, int(seed))
            for agent, seed in zip(settings.agents, seeds[1:], strict=True)
        ]
        self.asking = Agents(agents, self.books.ids, self.market)
        self._agents_carry = tuple(carries or (holds and wished) for wished in self.asking.carry)
        self.features = FeatureBook(instruments) if self.asking.need_features else None
        traders = {trader.name: trader for trader in self.books.accounts}
        self._traders = tuple(traders[agent.account or ""] for agent in settings.agents)
        """The account that each agent trades for."""
        views = {name: account_view(AccountReadings(self.books, one, self.features)) for name, one in traders.items()}
        self._accounts = tuple(views[trader.name] for trader in self._traders)
        self.watch: StopWatch | None = None
        self._records = 0
        self._stopped = False
        self._wake_places = tuple(place for place, rule in enumerate(self.asking.wakes) if rule is not None)
        self._places = tuple(range(len(agents)))
        self._shares = settings.moments_a_record > 1
        heard = settings.wake_rules and len(self._wake_places) == len(agents)
        self.quiet = QuietWalk(
            self.market,
            self.books.by_row,
            self.books.intake,
            self.books.ids,
            schedules,
            [self._compiled_rule(place) for place in self._wake_places],
            [self._traders[place].n for place in self._wake_places],
            asks=not heard or self.features is not None,
            hears=bool(self.asking.hear_reports),
            most=settings.moments_a_record,
        )

    @property
    def ledger(self) -> Ledger:
        """That of the only account that trades (``Books.ledger``)."""
        return self.books.ledger

    @property
    def now(self) -> int:
        """int64 ns UTC."""
        return self.market.now

    @property
    def equity_micros(self) -> int:
        """Cash plus marked positions, millionths of the base currency."""
        return self.market.equity

    def begin(self, note: Mapping[str, object]) -> Record:
        """The first record: what the run is made of, and what its agents say that they trade."""
        lines = self.asking.introductions()
        return self._record(Cause.BEGIN, Step(), note={**note, "traded_by": lines} if lines else note)

    def on_block(self, block: Block) -> Iterator[Record]:
        """Walk one block; the records of every stop."""
        self.quiet.begin(block)
        if self.market.position == 0 and self.settings.venue.fill_rule is FillRuleName.TOUCH:
            yield from self._warn_of_touch(block)
        while (stop := self._walk()) != _END:
            watch = self.watch
            if watch is not None:
                watch.stopped()
            yield from self.on_stop(stop, block)
            if watch is not None:
                watch.settled(stop)

    def _warn_of_touch(self, block: Block) -> Iterator[Record]:
        """Before the first row: on anything finer than bars the fill rule ``touch`` fills orders that others stood before."""
        if len(block) and schema_of(block) is not Schema.BARS:
            text = "venue.fill_rule touch on trades, quotes or books: about a fifth of its fills would not have happened; choose queue or through"
            step = Step()
            step.alerts.append(Alert(severity="high", code="touch_fills", text=text))
            yield self._record(Cause.QUALITY, step)

    def _walk(self) -> int:
        try:
            return self.quiet.walk()
        except (KeyboardInterrupt, GrandModelError):
            raise
        except Exception as error:
            raise self._failed_rule(error) from error

    def on_advance(self, advance: Advance) -> Iterator[Record]:
        """Let time pass without data. Raises ``UsageError`` for a time that no clock shows."""
        if advance.ts > LAST_STAMP_NS:
            raise UsageError(f"found time {advance.ts} to go on to, expected one before 2100 (int64 ns UTC)")
        while (stop := self._advance(advance.ts)) != _END:
            yield from self.on_stop(stop, None)

    def _advance(self, ts: int) -> int:
        try:
            return self.quiet.advance(ts)
        except (KeyboardInterrupt, GrandModelError):
            raise
        except Exception as error:
            raise self._failed_rule(error) from error

    def on_report(self, answer: VenueReport) -> Iterator[Record]:
        """An outside broker answered."""
        yield from self.on_advance(Advance(ts=answer.report.ts_init))
        step = Step()
        self.books.forget_view()
        self.books.intake.put(answer.report)
        yield from self._on_reports(step, (answer.report,))

    def on_command(self, command: Command) -> Iterator[Record]:
        """A person told the engine something."""
        yield from self.on_advance(Advance(ts=command.ts))
        step = Step()
        self.books.forget_view()
        gate = self.gate_of(command)
        intents, alerts = gate.on_command(command, self.books.risk_view(gate.n))
        step.alerts.extend(alerts)
        if command.kind in (CommandKind.FLATTEN, CommandKind.STOP):
            for trader in self.books.below(gate):
                for instrument in self.books.ids:
                    self._close(step, trader, instrument, command.kind)
        for intent in intents:
            self.planner.act(step, self.books.trader(gate.n), RISK, intent, carries=self.books.carries)
        if command.kind is CommandKind.STOP:
            self._stop_asking()
        yield from self._finish(Cause.COMMAND, step, note={"command": command})

    def gate_of(self, command: Command) -> RiskGate:
        """The gate of the account that ``command`` is about. Raises ``UsageError`` where it cannot be about that one."""
        expected = expected_account(command, self.settings)
        if expected:
            raise UsageError(f"{command.kind.value}: found account {command.account}, expected {expected}")
        return self.books.gates[command.account]

    def _close(self, step: Step, trader: TradingAccount, instrument: InstrumentId, kind: CommandKind) -> None:
        """Cancel what works in an instrument, and after FLATTEN close what is held where nothing does.

        Where something works the gate closes: at once, or at the report that confirms the cancel.
        """
        self.planner.act(step, trader, "operator", CancelIntent(instrument=instrument, reasons=(kind.value,)))
        if kind is CommandKind.FLATTEN and trader.lots(instrument) and not trader.working(instrument):
            wish = TargetPosition(instrument=instrument, lots=0, reasons=("flatten",))
            self.planner.act(step, trader, "operator", wish, carries=self.books.carries)

    def on_signal(self, signal: Signal) -> Iterator[Record]:
        """Something was measured outside: the ladder takes it, and risk reacts in the same step."""
        yield from self.on_advance(Advance(ts=signal.ts))
        step = Step()
        self.books.forget_view()
        if signal.trigger is SignalTrigger.LATENCY and signal.source in map(late_agent, self.asking.names):
            text = f"{signal.source} took {signal.value:.3g} s to answer, again and again: its decisions come too late"
            step.alerts.append(Alert(severity="high", code="slow_agent", text=text, value=signal.value))
        self.gate.on_signal(Trigger(signal.trigger.value), signal.value, self.market.now)
        yield from self._finish(Cause.SIGNAL, step, note={"signal": signal})

    def book(self, given: AccountEvent) -> Iterator[Record]:
        """Book what happened to the account without an order, hold the ledger against the market step before and after, and write one record.

        Raises ``UsageError``, with nothing changed, where the account cannot book it.
        """
        books = self.books
        check_account_event(books, given)
        yield from self.on_advance(Advance(ts=given.ts))
        step = Step()
        books.forget_view()
        books.check_equity()
        if isinstance(given, CashFlow):
            cause, note = Cause.CASH, book_cash_flow(books, step, given)
        elif isinstance(given, ExchangeRate):
            cause, note = Cause.RATE, take_rate(books, given)
        elif isinstance(given, Settlement):
            cause, note = Cause.SETTLEMENT, settle(books, self.planner, step, given)
        else:
            cause, note = Cause.SPLIT, split(books, self.planner, step, given)
        books.check_equity()
        yield from self._finish(cause, step, note=note)

    def on_refresh(self, refresh: ModelRefresh, model: object | None) -> Iterator[Record]:
        """Let ``model``, loaded and checked by the caller, decide from now on; None where its file was refused."""
        yield from self.on_advance(Advance(ts=refresh.ts))
        step = Step()
        self.books.forget_view()
        note: dict[str, object] = {"refresh": refresh}
        if model is None:
            text = f"{refresh.layer} model {refresh.path}: refused ({refresh.refused}); the one before goes on deciding"
            step.alerts.append(Alert(severity="high", code="model_refused", text=text))
        else:
            takers = [
                self.asking.names[place]
                for place in range(len(self.asking.agents))
                if self.asking.call(place, "take_model", refresh.layer, model)
            ]
            text = f"{refresh.layer} model {refresh.model} decides from here on for {', '.join(takers) or 'no agent'}"
            lines = [
                line
                for place, name in enumerate(self.asking.names)
                if name in takers
                for line in self.asking.introduced(place)
            ]
            text = ": ".join((text, "; ".join(lines))) if lines else text
            step.alerts.append(Alert(severity="low", code="model_refreshed", text=text, value=len(takers)))
            note["takers"] = takers
            note["learnt_from"] = model.learnt_from if isinstance(model, LoadedModel) else None
        yield from self._finish(Cause.MODEL, step, note=note)

    def on_end(self, end: End) -> Iterator[Record]:
        """The stream is over: what was due by then happens, and the last record says how things stand."""
        yield from self.on_advance(Advance(ts=end.ts))
        self.books.check_equity()
        yield from self._records_of(Cause.END, Step(), note=self.state_summary())

    def on_stop(self, stop: int, block: Block | None) -> Sequence[Record]:
        """Decide what a stop of the walk asks for; ``block`` is the one being walked, if any. The records that follow, often none."""
        self.books.forget_view()
        if stop in (_ASK, _BARS, _RISK):
            return self._on_bars(stop)
        if stop == _FULL:
            return (self._quiet_record(),)
        step = Step()
        if stop == _REACT and not self.quiet.is_of_reports:
            step.bars = self.quiet.closed_bars()
            return self._finish(Cause.BAR, step)
        if stop in (_REPORTS, _REACT):
            return self._on_reports(step, self.books.intake.fetch())
        if stop == _EQUITY_LINE:
            return self._finish(Cause.RISK_LINE, step)
        if stop == _BAD_ROW:
            self._tell_of_bad_rows(step)
            return self._finish(Cause.QUALITY, step)
        if stop == _ROLL and block is not None:
            roll(self.books, self.planner, step, block)
            return self._finish(Cause.ROLL, step)
        raise InvariantError(f"found stop {stop!r} of the market step, expected one that the engine knows")

    def _tell_of_bad_rows(self, step: Step) -> None:
        """Rows that no market makes were left out: people hear of it, and the ladder counts them like bars marked bad."""
        index, count, fault = self.market.bad_rows()
        minutes = self.settings.risk.breakers.event_window_ns / NS_PER_MINUTE
        text = f"{self.books.ids[index]}: rows left out that no market makes (within {minutes:g} minutes; the newest: {fault.text})"
        step.alerts.append(Alert(severity="high", code="bad_rows", text=text, value=count))
        self.gate.on_signal(Trigger.DATA_QUALITY, float(count), self.market.now)

    def _finish(self, cause: Cause, step: Step, note: Mapping[str, object] | None = None) -> Sequence[Record]:
        """Let risk react to the state that the step led to, and write the records that are due."""
        books = self.books
        if len(books.by_row) > 1:
            books.look(most=0)  # An account above others looks at what they hold and have open in the rows.
        for gate in books.gates.values():
            intents, alerts = gate.react(books.risk_view(gate.n))
            step.alerts.extend(alerts)
            for intent in intents:
                self.planner.act(step, books.trader(gate.n), RISK, intent, carries=books.carries)
            self.market.set_lines(gate.equity_floor_micros(), gate.n)
        if self._shares and cause in _SHARED and step.is_silent:
            return (self._quiet_record(),) if self.quiet.append() else ()
        return self._records_of(cause, step, note)

    def _on_bars(self, stop: int) -> Sequence[Record]:
        """Bars closed: risk takes them where compiled code has not, the agents answer, and risk reacts, at once or in the next call of ``go_on``."""
        if stop != _ASK:
            self.quiet.show_bars()
        bars = self.quiet.closed_bars()
        if self.features is not None:
            self.features.on_bars(bars)
        step: Step | None = None
        if stop != _ASK:
            view = self.books.risk_view()
            view.rows = self.market.tick_rows()
            alerts = self.gate.on_closed(self.market.closed, len(bars), view)
            if alerts:
                step = Step()
                step.alerts.extend(alerts)
            self._ask_rules()
        if not self._stopped:
            for place in self._places_asked():
                wishes = self.asking.ask(place, "on_bars", bars, self._accounts[place])
                if wishes:
                    step = step or Step()
                    self._act_on(step, place, wishes)
        if step is None:
            if self._shares:
                self.quiet.leave()
                return ()
            step = Step()
        step.bars = bars
        return self._finish(Cause.BAR, step)

    def _on_reports(self, step: Step, reports: tuple[ExecutionReport, ...]) -> Sequence[Record]:
        """The venue reported: take the reports at hand, as far as compiled code has not, and let the agents answer and risk react."""
        repeated = self.lives.repeated_reports
        fills = self.books.apply_reports(step, reports)
        self.quiet.show_reports()
        if self.lives.repeated_reports == repeated:
            self._tell_agents(step, reports, fills)
        return self._finish(Cause.REPORT, step)

    def _places_asked(self) -> Iterable[int]:
        """The agents that are to be asked of the bars at hand, by place."""
        everyone = self._places
        if not self._wake_places or not self.settings.wake_rules:
            return everyone
        asleep = {place for place, asked in zip(self._wake_places, self.quiet.asked(), strict=True) if not asked}
        return [place for place in everyone if place not in asleep]

    def _ask_rules(self) -> None:
        if self._wake_places:
            try:
                self.quiet.ask_rules()
            except Exception as error:
                raise self._failed_rule(error) from error

    def _compiled_rule(self, place: int) -> WakeRule:
        """The wake rule of an agent, once it is sure that compiled code can call it."""
        rule = self.asking.wakes[place]
        if rule is None:
            raise InvariantError(f"agent {self.asking.names[place]} has no wake rule")
        try:
            condition_address(rule.condition, rule.memory)
        except KeyboardInterrupt:
            raise
        except Exception as error:
            raise AgentChoiceError(
                f"agent {self.asking.names[place]}: its wake rule's condition cannot be used: {shown(error)}"
            ) from error
        return rule

    def _failed_rule(self, error: Exception) -> AgentError:
        """What to raise where a wake rule's condition raised ``error``."""
        if not self._wake_places:
            raise error
        name = self.asking.names[self._wake_places[self.quiet.failed_rule()]]
        return AgentError(f"agent {name}: its wake rule's condition failed: {shown(error)}")

    def _stop_asking(self) -> None:
        """A person has stopped the agents."""
        self._stopped = True
        self.quiet.stop_asking(asks=self.features is not None)

    def _quiet_record(self) -> Record:
        """The record of the open stretch, which is closed."""
        number = self._records
        self._records = self.planner.batch = number + 1
        ts, position, equity, moments = self.quiet.take_stretch()
        return Record(number=number, ts=ts, cause=Cause.QUIET, position=position, equity_micros=equity, quiet=moments)

    def _records_of(self, cause: Cause, step: Step, note: Mapping[str, object] | None = None) -> Sequence[Record]:
        """The record of the open stretch, if there is one, and that of ``step`` behind it."""
        if self.quiet.is_open:
            return self._quiet_record(), self._record(cause, step, note=note)
        return (self._record(cause, step, note=note),)

    def _record(self, cause: Cause, step: Step, note: Mapping[str, object] | None = None) -> Record:
        number = self._records
        self._records = self.planner.batch = number + 1
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

    def _tell_agents(self, step: Step, reports: tuple[ExecutionReport, ...], fills: list[Fill]) -> None:
        """Let every agent answer what the venue said."""
        if not self._stopped:
            told = tuple(fills)  # The list is the record's own.
            for place in self.asking.hear_reports:
                self._act_on(step, place, self.asking.ask(place, "on_reports", reports, told, self._accounts[place]))

    def _act_on(self, step: Step, place: int, wishes: Iterable[Wish]) -> None:
        trading = self.market.now >= self.settings.trade_from_ns
        for wish in wishes:
            if isinstance(wish, Decision):
                step.decisions.append(wish)
            elif trading:
                try:
                    self.planner.act(
                        step,
                        self._traders[place],
                        self.asking.names[place],
                        wish,
                        place,
                        carries=self._agents_carry[place],
                    )
                except AgentError as error:
                    raise AgentError(f"{error} ({place_of(self.asking.written(place, 'on_bars'))})") from None

    def counters(self) -> tuple[int, int, int, int, bool]:
        """Numbers given out so far, for a snapshot."""
        return self._records, self.planner.orders, self.planner.intents, self.books.own_reports, self._stopped

    def restore_counters(self, counters: tuple[int, int, int, int, bool]) -> None:
        """Put back what ``counters`` gave."""
        self._records, self.planner.orders, self.planner.intents, self.books.own_reports, self._stopped = counters
        self.planner.batch = self._records
        if self._stopped:
            self._stop_asking()
        self.books.forget_view()
        self.books.begin_limits()

    def state_summary(self) -> dict[str, object]:
        """How things stand, for the last record: positions, cash, open orders and what was counted in the data."""
        rows, (first, *others) = self.market.instruments[: self.market.count], self.books.accounts
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
            "far_prints",
        )
        repeated = sum(trader.ledger.repeated for trader in (first, *others))
        rare = ("bad_rows", "far_prints")
        return {
            **self._holdings(self.books.accounts),
            **({"accounts": self._accounts_summary()} if first.name else {}),
            "open_orders": list(self.lives.open),
            "ended_orders": self.lives.ended,
            "repeated_reports": self.lives.repeated_reports,
            **({"repeated_account_events": repeated} if repeated else {}),
            "quality": {
                name: {key: int(row[key]) for key in counted if key not in rare or row[key]}
                for name, row in zip(self.books.ids, rows, strict=True)
            },
        }

    def _holdings(self, traders: Sequence[TradingAccount]) -> dict[str, object]:
        """Cash and positions of ``traders`` together."""
        cash: dict[str, int] = {}
        for trader in traders:
            for currency, amount in trader.ledger.cash_micros.items():
                cash[currency] = cash.get(currency, 0) + amount
        return {
            "cash_micros": cash,
            "positions": {
                name: {
                    "mark_ticks": int(self.market.instruments[index]["mark"]),
                    **{
                        field: sum(getattr(trader.ledger.positions[index], field) for trader in traders)
                        for field in ("lots", "cost_micros", "realised_micros", "fees_micros", "traded_lots")
                    },
                }
                for index, name in enumerate(self.books.ids)
            },
        }

    def _accounts_summary(self) -> dict[str, object]:
        """By name, what every account below the run's own is worth and where its ladder stands; of those that trade what they hold."""
        traders = {trader.name: trader for trader in self.books.accounts}
        return {
            name: {
                "parent": gate.chain[1].name,
                "capital_micros": gate.capital_micros,
                "equity_micros": self.market.equity_of(gate.n),
                "state": gate.state.name.lower(),
                **(self._holdings((traders[name],)) if name in traders else {}),
            }
            for name, gate in self.books.gates.items()
            if name
        }


def bars_are_sessions(width_ns: int, schedules: Sequence[SessionSchedule]) -> bool:
    """True where bars of ``width_ns`` and more span a usual session of every instrument: each closes when trading ends."""
    lengths = [schedule.close_ns - schedule.open_ns for schedule in schedules if len(schedule)]
    return bool(lengths) and all(width_ns >= np.median(of_one) for of_one in lengths)
