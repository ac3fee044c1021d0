"""A small deterministic engine for the tests of journal, recovery and replay: orders of every kind, no market model.

It makes a record per bar and per report. What it orders is decided by the numbers of the bar alone, so that two runs over
the same inputs make the same records.
"""

from __future__ import annotations

import msgspec
import numpy as np

from grandmodel.domain.blocks import BAR
from grandmodel.domain.events import Begin, Cause, ClosedBar, Command, End, MarketData, Record, Signal, VenueReport
from grandmodel.domain.ids import InstrumentId, OrderId, RunId
from grandmodel.domain.orders import CancelOrder, ExecType, Fill, Order, OrderType, ReplaceOrder, Side
from grandmodel.runtime.driver import Driver

NQ = InstrumentId("NQ")
MINUTE_NS = 60_000_000_000


def build_begin(run="run"):
    return Begin(run=RunId(run), settings=msgspec.Raw(b'{"seed":1}'), code_version="test", mode="live")


def build_blocks(seed, blocks, rows=3):
    """``blocks`` inputs of ``rows`` one-minute bars each: a seeded random walk in ticks."""
    generator = np.random.default_rng(seed)
    total = blocks * rows
    bars = np.zeros(total, dtype=BAR)
    bars["ts_event"] = bars["ts_init"] = np.arange(1, total + 1) * MINUTE_NS
    bars["ts_open"] = bars["ts_event"] - MINUTE_NS
    bars["close"] = 60_000 + np.cumsum(generator.integers(-9, 10, total))
    for name in ("open", "high", "low"):
        bars[name] = bars["close"]
    bars["volume"] = generator.integers(1, 500, total)
    bars["sequence"] = np.arange(total)
    return [MarketData(schema="bars", count=rows, rows=bars[at : at + rows].tobytes()) for at in range(0, total, rows)]


def build_engine():
    return SmallEngine()


def build_end(engine):
    return End(ts=10**15)


class SmallEngine:
    """Satisfies ``runtime.replay.Engine``."""

    def __init__(self):
        self.records = 0
        self.rows = 0
        self.next_order = 1
        self.orders = {}  # order id -> order, while it works
        self.position = 0
        self.cash = 0

    def on_input(self, number, given):  # noqa: ARG002 (part of the protocol)
        match given:
            case Begin():
                yield self.record(Cause.BEGIN, 0)
            case MarketData():
                for row in np.frombuffer(given.rows, dtype=BAR):
                    self.rows += 1
                    yield self.on_bar(row)
            case VenueReport():
                yield self.on_report(given.report)
            case Command():
                yield self.record(Cause.COMMAND, given.ts)
            case Signal():
                yield self.record(Cause.SIGNAL, given.ts)
            case End():
                note = msgspec.json.encode(
                    {"position": self.position, "cash": self.cash, "working": sorted(self.orders)}
                )
                yield self.record(Cause.END, given.ts, note=msgspec.Raw(note))

    def on_bar(self, row):
        ts, close, draw = int(row["ts_event"]), int(row["close"]), int(row["volume"])
        bar = ClosedBar(
            instrument=NQ, width_ns=MINUTE_NS, ts_open=int(row["ts_open"]), ts_event=ts,
            open=close, high=close, low=close, close=close, volume=draw,
        )  # fmt: skip
        side = Side.BUY if draw % 2 else Side.SELL
        orders, cancels, replaces = [], [], []
        if draw % 5 == 0:
            orders.append(self.order(ts, side, 1 + draw % 4, OrderType.MARKET))
        elif draw % 5 == 1:
            orders.append(self.order(ts, side, 2, OrderType.LIMIT, price=close - int(side) * (draw % 30)))
        elif draw % 5 == 2:  # a bracket: entry, stop and target
            parent = self.order(ts, side, 3, OrderType.MARKET)
            exits = {"parent": parent.order_id, "oco_group": parent.order_id}
            other = Side(-int(side))
            stop = self.order(ts, other, 3, OrderType.STOP, stop_price=close - int(side) * 20, **exits)
            target = self.order(ts, other, 3, OrderType.LIMIT, price=close + int(side) * 20, **exits)
            orders += [parent, stop, target]
        resting = [one for one in self.orders.values() if one.order_type is OrderType.LIMIT and one.parent is None]
        if resting and draw % 7 == 0:
            cancels.append(CancelOrder(order_id=resting[0].order_id, ts=ts))
        elif resting and draw % 7 == 1:
            replaces.append(ReplaceOrder(order_id=resting[0].order_id, ts=ts, quantity=3, price=close))
        for one in orders:
            self.orders[one.order_id] = one
        return self.record(
            Cause.BAR, ts,
            bars=(bar,), orders=tuple(orders), cancels=tuple(cancels), replaces=tuple(replaces),
        )  # fmt: skip

    def on_report(self, report):
        fills = ()
        order = self.orders.get(report.order_id)
        if report.exec_type is ExecType.TRADE:
            self.position += int(order.side) * report.last_quantity
            self.cash -= int(order.side) * report.last_quantity * report.last_price
            fills = (
                Fill(
                    exec_id=report.exec_id, order_id=order.order_id, instrument=NQ, side=order.side,
                    quantity=report.last_quantity, price=report.last_price, fee_micros=0,
                    ts_event=report.ts_event, ts_init=report.ts_init,
                ),
            )  # fmt: skip
        if report.leaves == 0 and report.exec_type is not ExecType.CANCEL_REJECTED:
            self.orders.pop(report.order_id, None)
        return self.record(Cause.REPORT, report.ts_init, reports=(report,), fills=fills)

    def order(self, ts, side, quantity, order_type, **more):
        made = Order(
            order_id=OrderId(self.next_order), instrument=NQ, side=side, quantity=quantity,
            order_type=order_type, ts=ts, **more,
        )  # fmt: skip
        self.next_order += 1
        return made

    def record(self, cause, ts, **more):
        made = Record(
            number=self.records, ts=ts, cause=cause, position=self.rows,
            equity_micros=self.cash, **more,
        )  # fmt: skip
        self.records += 1
        return made


def take(journal, engine, inputs, outbox=None):
    """Journal ``inputs``, run them, commit them together and send what their records hold; the records."""
    return Driver(journal, engine, outbox=outbox, waits=False).take(*inputs)
