"""Running the engine over hand-made rows, for the tests of the engine, of the market step and of a whole session.

``Scripted`` is an agent that does what a function says; ``open_risk`` is a risk setting that lets everything reasonable through, so
that a test sees the engine and not a limit.
"""

from itertools import pairwise

import msgspec
import numpy as np

from grandmodel.domain.agents import Agent
from grandmodel.domain.decisions import CancelIntent, PlaceOrder, ReplaceIntent, TargetPosition, Urgency
from grandmodel.domain.events import Advance, End
from grandmodel.domain.orders import ORDER_TYPES, OrderType, Side, TimeInForce
from grandmodel.journal.format import encode_record
from grandmodel.risk.settings import (
    BreakerSettings,
    FlowLimits,
    InstrumentLimits,
    PortfolioLimits,
    RiskSettings,
    Thresholds,
    VarSettings,
)
from grandmodel.runtime.engine import Engine
from grandmodel.runtime.settings import AgentSettings, Mode, RunSettings
from grandmodel.simulation.models import PerLotFee, VenueSettings
from strategies import ALL_DAY, MINUTE, NQ, stack

FREE = VenueSettings(fees=PerLotFee(per_lot_micros=0), half_spread_ticks=0)


def open_risk(width_ns=5 * MINUTE, **breakers):
    """Limits so wide that no order here meets one; ``breakers`` replaces single triggers."""
    never = {
        name: Thresholds()
        for name in (
            "daily_loss",
            "drawdown",
            "var_breach",
            "correlation_shock",
            "volatility",
            "loss_streak",
            "data_quality",
            "order_rejects",
        )
    }
    return RiskSettings(
        limits=InstrumentLimits(
            max_order_notional=1e9,
            max_concentration=1e9,
            collar_fraction=1e3,
            away_fraction=1e3,
            max_mark_age_ns=2**52,
        ),
        portfolio=PortfolioLimits(
            max_gross_exposure=1e9, max_net_exposure=1e9, max_margin_share=1e9, max_var=1e9, max_stressed_var=1e9
        ),
        flow=FlowLimits(max_orders=10**6, max_messages=10**6, duplicate_window_ns=0, max_repeats=10**6),
        var=VarSettings(width_ns=width_ns, min_returns=1),
        breakers=BreakerSettings(**(never | breakers)),
    )


class Scripted(Agent):
    """Asks for what ``script(call, bars, account)`` says at each call of ``on_bars``; remembers what it saw."""

    name = "scripted"

    def __init__(self, instruments, generator, script):
        super().__init__(instruments, generator)
        self.script = script
        self.calls = 0
        self.bars, self.reports, self.fills, self.seen = [], [], [], []

    def on_bars(self, bars, account):
        self.calls += 1
        self.bars.append(bars)
        self.seen.append((account.now, account.equity_micros, [account.lots(name) for name in self.instruments]))
        return tuple(self.script(self.calls, bars, account) or ())

    def on_reports(self, reports, fills, account):  # noqa: ARG002
        self.reports += reports
        self.fills += fills
        return ()


class Restless(Agent):
    """Draws wishes of every kind, for the tests that only ask whether two runs are alike."""

    name = "restless"

    def on_bars(self, bars, account):
        return [self.wish(bar, account) for bar in bars if bar.width_ns <= 5 * MINUTE and self.generator.random() < 0.8]

    def on_reports(self, reports, fills, account):  # noqa: ARG002
        return [self.wish(fill, account, fill.price) for fill in fills if self.generator.random() < 0.2]

    def wish(self, bar, account, close=None):
        draw, name = self.generator, bar.instrument
        close = bar.close if close is None else close
        working = account.working(name)
        kind = int(draw.integers(0, 5))
        if kind == 0:
            return TargetPosition(
                instrument=name,
                lots=int(draw.integers(-3, 4)),
                urgency=Urgency.PASSIVE if draw.random() < 0.5 else Urgency.AGGRESSIVE,
                stop_ticks=int(draw.integers(0, 5)),
                target_ticks=int(draw.integers(0, 5)),
            )
        if kind == 1 and working:
            return CancelIntent(instrument=name, order_id=working[int(draw.integers(0, len(working)))].order_id)
        if kind == 2 and working:
            order = working[int(draw.integers(0, len(working)))]
            price = None if order.price is None else order.price + int(draw.integers(-3, 4))
            return ReplaceIntent(
                instrument=name, order_id=order.order_id, quantity=int(draw.integers(1, 6)), price=price
            )
        side = Side.BUY if draw.random() < 0.5 else Side.SELL
        order_type = OrderType(int(draw.integers(1, 5)))
        limit = close + int(draw.integers(-4, 5)) if order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT) else None
        stop = close + int(draw.integers(-4, 5)) if order_type in (OrderType.STOP, OrderType.STOP_LIMIT) else None
        life = list(TimeInForce)[int(draw.integers(0, 5))]
        bracket = {}
        if draw.random() < 0.4:
            bracket = {"bracket_stop": close - 4 * int(side), "bracket_target": close + 3 * int(side)}
        return PlaceOrder(
            instrument=name,
            side=side,
            quantity=int(draw.integers(1, 5)),
            order_type=order_type,
            price=limit,
            stop_price=stop,
            time_in_force=life,
            expire_ts=account.now + int(draw.integers(1, 20)) * MINUTE if life is TimeInForce.GTD else None,
            oco_group=int(draw.integers(0, 3)),
            **bracket,
        )


class RestlessOfEveryType(Restless):
    """The same, with the newer order types and icebergs among its wishes."""

    def wish(self, bar, account, close=None):
        draw = self.generator
        if draw.random() < 0.6:
            return super().wish(bar, account, close)
        close = bar.close if close is None else close
        kind = list(OrderType)[int(draw.integers(0, len(OrderType)))]
        terms, fields = ORDER_TYPES[kind], {}
        if terms.has_limit:
            fields["price"] = close + int(draw.integers(-4, 5))
        if terms.has_trigger:
            fields["stop_price"] = close + int(draw.integers(-4, 5))
        if terms.has_trail:
            fields["trail_ticks"] = int(draw.integers(1, 6))
        if terms.may_rest and draw.random() < 0.5:
            fields["display_quantity"] = int(draw.integers(1, 4))
        side = Side.BUY if draw.random() < 0.5 else Side.SELL
        quantity, life = int(draw.integers(1, 5)), TimeInForce.GTC if draw.random() < 0.5 else TimeInForce.DAY
        return PlaceOrder(
            instrument=bar.instrument, side=side, quantity=quantity, order_type=kind, time_in_force=life, **fields
        )


def build_engine(agents=(), *, instruments=(NQ,), schedules=None, traders=None, **changes):
    """An engine and its agents; an agent is a class, or a function that becomes a ``Scripted``.

    ``traders`` names the account of each agent, where ``accounts`` trade below the run's own.
    """
    fields = {"mode": Mode.BACKTEST, "risk": open_risk(), "venue": FREE, "quiet_moments": 1} | changes
    named = [{} if traders is None else {"account": traders[k]} for k in range(len(agents))]
    settings = RunSettings(agents=tuple(AgentSettings(kind=str(k), **one) for k, one in enumerate(named)), **fields)

    def build(kind, parameters, known, seed):
        made = agents[int(kind)]
        generator = np.random.Generator(np.random.PCG64(seed))
        return made(known, generator) if isinstance(made, type) else Scripted(known, generator, made)

    return Engine(settings, instruments, schedules or [ALL_DAY] * len(instruments), build)


def records_of(engine, rows, *, cuts=(), until=None):
    """Every record of ``rows``, fed in one block or cut at ``cuts``, and of the end."""
    records = []
    edges = [0, *sorted(cuts), len(rows)]
    for start, stop in pairwise(edges):
        if stop > start:
            records += list(engine.on_block(stack(rows[start:stop])))
    if until is not None:
        records += list(engine.on_advance(Advance(ts=until)))
    records += list(engine.on_end(End(ts=engine.now)))
    return records


def run(rows, *agents, cuts=(), until=None, **changes):
    """The records of a fresh engine over ``rows``; the engine is on the result as well."""
    engine = build_engine(agents, **changes)
    return records_of(engine, rows, cuts=cuts, until=until), engine


def encoded(records):
    """Records as the journal stores them."""
    return [encode_record(record) for record in records]


def fills_of(records):
    """(side, lots, price, tag) of every fill."""
    return [(int(f.side), f.quantity, f.price, f.tag) for record in records for f in record.fills]


def note_of(record):
    """The note of a record, decoded."""
    return msgspec.json.decode(record.note)
