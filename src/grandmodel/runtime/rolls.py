"""A series changes contract, or its data goes bad for a stretch: what becomes of the position and of the working orders."""

from __future__ import annotations

from typing import Any

from grandmodel.domain.blocks import UNDEFINED_PRICE, Action, Block, Flag
from grandmodel.domain.decisions import CancelIntent
from grandmodel.domain.events import Alert
from grandmodel.runtime.books import Books
from grandmodel.runtime.order_planner import OrderPlanner
from grandmodel.runtime.settings import Mode
from grandmodel.runtime.step import Step


def roll(books: Books, planner: OrderPlanner, step: Step, block: Block) -> None:
    """The series changes contract: sell the old at its last price, buy the new at its first, cancel what works."""
    row = block[int(books.market.step[0]["row"])]
    index = int(row["instrument"])
    market, instrument = books.market.instruments[index], books.ids[index]
    market["roll_ts"] = row["ts_init"]
    is_bad = bool(int(row["flags"]) & Flag.BAD_STRETCH or books.market.fault_of(row))
    why = "bad_stretch" if is_bad else "roll"
    for trader in books.accounts:
        planner.act(step, trader, why, CancelIntent(instrument=instrument, reasons=(why,)))
    names = row.dtype.names or ()
    began = int(row["ts_open"] if "ts_open" in names else row["ts_init"])
    for order in books.lives.orders_of(instrument):
        books.exchange.withdraw(order.order_id, began)
        if books.settings.mode is not Mode.LIVE:
            books.lives.withdraw(order.order_id)
    holders = []
    for trader in books.accounts:
        if lots := trader.lots(instrument):
            holders.append((trader, lots))
        else:
            books.halt_where_broken(step, trader, index)
    if not holders:
        return
    if books.settings.mode is Mode.LIVE:
        for trader, lots in holders:
            text = f"{instrument}: the feed is marked {why} while {lots} lots are held; deal with them at the broker"
            step.alerts.append(Alert(severity="critical", code=f"{why}_by_hand", text=trader.gate.told(text)))
        return
    before = int(market["mark"])
    if is_bad:
        for trader, lots in holders:
            books.book_mark(step, trader, index, why, [(-lots, before)], began)
            text = f"{instrument}: a bad stretch of data begins; the position was left at the last good price"
            step.alerts.append(Alert(severity="high", code="bad_stretch", text=trader.gate.told(text), value=lots))
        return
    first_price = _first_price(row)
    if first_price == UNDEFINED_PRICE:
        text = (
            f"{instrument}: the first row of the new contract has no price; the step between contracts counts as profit"
        )
        step.alerts.append(Alert(severity="high", code="roll_without_price", text=text))
        return
    for trader, lots in holders:
        books.book_mark(step, trader, index, why, [(-lots, before), (lots, first_price)], began)
    # The new contract's price is the mark from here on: the position is worth what it was, less the fees.
    market["mark"] = first_price
    for trader, _ in holders:
        trader.ledger.mark(index, first_price)
        books.follow_ledger(trader)


def _first_price(row: Any) -> int:
    """The price that the first row of a new contract tells, in ticks; ``UNDEFINED_PRICE`` where it has none."""
    names = row.dtype.names or ()
    fields: tuple[str, ...] = ("open",) if "open" in names else ("price", "bid_price", "ask_price")
    if "order_id" in names and row["action"] != Action.TRADE:
        fields = ()  # A resting order may stand anywhere: its price is not the market's.
    known = (int(row[name]) for name in fields if name in names and row[name] != UNDEFINED_PRICE)
    return next(known, UNDEFINED_PRICE)
