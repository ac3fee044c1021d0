"""What happens to an account without an order: cash moves, a currency's worth changes, an instrument settles or is split.

Each is one input and makes one record. The ledger books it, the market step follows the ledger to the last millionth, and risk sees
the account as it stands then. What the owner brings or takes is neither gain nor loss: the lines that losses are measured from move
with it (``risk.standing.moved_peak``). Read ``docs/concepts/ledger.md`` beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from grandmodel.account.booking import MAX_VALUE_MICROS
from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.decisions import CancelIntent
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import Alert, CashFlow, ExchangeRate, Settlement, Split
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import MICROS_PER_UNIT, Instrument, InstrumentKind, currency_text
from grandmodel.risk.standing import moved_peak
from grandmodel.runtime.books import SETTLED, Books
from grandmodel.runtime.order_planner import OrderPlanner
from grandmodel.runtime.settings import Mode, expected_account
from grandmodel.runtime.step import Step
from grandmodel.runtime.trading_account import TradingAccount
from grandmodel.simulation.state import holding_row

AccountEvent: TypeAlias = CashFlow | ExchangeRate | Settlement | Split
"""An input that the account books without an order."""

Note: TypeAlias = dict[str, object]
"""What the record of one says."""


def check_account_events(
    given: Iterable[AccountEvent], instruments: Sequence[Instrument], base_currency: str, known: Iterable[str]
) -> None:
    """Raise ``UsageError`` for the first of ``given`` (by time) that no account of ``instruments`` and ``known`` currencies can book.

    A currency is known from its first ``ExchangeRate`` on.
    """
    by_id = {instrument.id: instrument for instrument in instruments}
    currencies = {base_currency, *known}
    for one in given:
        if isinstance(one, ExchangeRate):
            if one.currency == base_currency:
                raise UsageError(
                    f"found a rate of {base_currency}, in which the account is counted, expected one of another currency"
                )
            currencies.add(one.currency)
            continue
        if one.instrument is not None:
            _check_instrument(one, by_id)
        if isinstance(one, CashFlow) and one.currency not in currencies:
            raise UsageError(
                f"cash flow {one.id}: found currency {one.currency}, expected one of {', '.join(sorted(currencies))}: give its rate "
                f"first, in account.rates.{one.currency} or as an exchange rate at an earlier time"
            )


def _check_instrument(one: CashFlow | Settlement | Split, by_id: dict[InstrumentId, Instrument]) -> None:
    name = one.instrument
    instrument = None if name is None else by_id.get(name)
    if instrument is None:
        raise UsageError(f"{_name(one)}: found instrument {name}, expected one of this run's: {', '.join(by_id)}")
    kind = instrument.kind
    if isinstance(one, Split) and kind is not InstrumentKind.EQUITY:
        raise UsageError(f"{_name(one)}: found {name} of kind {kind.value}, expected an equity: nothing else is split")
    if isinstance(one, Settlement):
        if not one.final and instrument.pays_whole_price:
            raise UsageError(
                f"{_name(one)}: found a daily settlement of {name}, of kind {kind.value}, expected one of a future or perpetual: "
                "where the whole price is paid there is no gain to pay out"
            )
        if one.price <= 0 and not instrument.negative_prices:
            raise UsageError(f"{_name(one)}: found a price of {one.price} ticks, expected one above 0 for {name}")


def check_account_event(books: Books, one: AccountEvent) -> None:
    """Raise ``UsageError`` where the accounts as they stand cannot book ``one``; asked before it is journalled, so that nothing is half done."""
    first = books.accounts[0].ledger
    check_account_events((one,), books.instruments, first.base_currency, first.rates_micros)
    if isinstance(one, CashFlow):
        ledger = _account_of(books, one).ledger
        if one.id not in ledger.seen_ids:
            ledger.check_cash(one.currency, one.amount_micros)
            cash = ledger.cash_micros[one.currency] + one.amount_micros
            _check_worth(one, [cash], ledger.rates_micros[one.currency])
        return
    for trader in books.accounts:
        ledger = trader.ledger
        if isinstance(one, ExchangeRate):
            books.mark_ledger(trader)
            held = [ledger.marked_micros(i) for i, x in enumerate(books.instruments) if x.currency == one.currency]
            _check_worth(one, [ledger.cash_micros.get(one.currency, 0), *held], one.rate_micros)
        elif isinstance(one, Settlement):
            index = books.index[one.instrument]
            value = books.instruments[index].value_micros(one.price, ledger.positions[index].lots)
            if abs(value) > MAX_VALUE_MICROS:
                raise UsageError(
                    f"{_name(one)}: found a position worth {value} micros at its price, expected at most 2^60"
                )


def _account_of(books: Books, flow: CashFlow) -> TradingAccount:
    """The account that ``flow`` is booked in. Raises ``UsageError`` where it names none that trades."""
    expected = expected_account(flow, books.settings)
    if expected:
        raise UsageError(f"cash flow {flow.id}: found account {flow.account or 'none'}, expected {expected}")
    return books.trader(books.gates[flow.account].n)


def _check_worth(one: CashFlow | ExchangeRate, amounts: Sequence[int], rate_micros: int) -> None:
    """Every amount of a currency is one that the compiled market step can count in the base currency."""
    for amount in amounts:
        if abs(amount) * rate_micros // MICROS_PER_UNIT > MAX_VALUE_MICROS:
            raise UsageError(
                f"found {amount} micros of {one.currency} at {rate_micros} millionths, expected at most 2^60 micros of the base currency"
            )


def book_cash_flow(books: Books, step: Step, flow: CashFlow) -> Note:
    """Book ``flow``, once for each id; a deposit or a withdrawal moves the lines that losses are measured from."""
    trader, market = _account_of(books, flow), books.market
    ledger = trader.ledger
    if ledger.is_repeated(flow.id):
        text = f"cash flow {flow.id} came again and was left: {flow.kind.value} from {flow.source}"
        step.alerts.append(Alert(severity="low", code="repeated_cash_flow", text=text, value=flow.amount_micros))
        return {"cash_flow": flow, "repeated": True, "moved_micros": 0}
    chain = trader.gate.chain
    before = [market.equity_of(gate.n) for gate in chain]
    ledger.move_cash(flow.currency, flow.amount_micros)
    books.follow_ledger(trader)
    if flow.is_transfer:
        for gate, was in zip(chain, before, strict=True):
            after, row = market.equity_of(gate.n), market.step[gate.n]
            gate.on_transfer(was, after)
            row["equity_peak"] = moved_peak(int(row["equity_peak"]), was, after)
    left = ledger.cash_micros[flow.currency]
    if flow.is_transfer and flow.amount_micros < 0 and left < 0:
        text = f"a withdrawal took more than there was: {currency_text(left, flow.currency)} of cash are left, a loan"
        step.alerts.append(Alert(severity="high", code="cash_below_zero", text=trader.gate.told(text), value=left))
    return {"cash_flow": flow, "moved_micros": trader.equity_micros - before[0]}


def take_rate(books: Books, rate: ExchangeRate) -> Note:
    """A currency is worth something else from now on: cash and positions in it are valued anew."""
    before = books.market.equity
    was = books.accounts[0].ledger.rates_micros.get(rate.currency)
    for trader in books.accounts:
        trader.ledger.set_rate(rate.currency, rate.rate_micros)
    for index, instrument in enumerate(books.instruments):
        if instrument.currency == rate.currency:
            books.market.instruments[index]["rate"] = rate.rate_micros
    for trader in books.accounts:
        books.follow_ledger(trader)
    return {"rate": rate, "before_micros": was, "moved_micros": books.market.equity - before}


def settle(books: Books, planner: OrderPlanner, step: Step, given: Settlement) -> Note:
    """Pay out a day's gain, or end the instrument: cancel what works, close at the price without fee or slippage, and send nothing more."""
    index, name = books.index[given.instrument], given.instrument
    if books.accounts[0].has_ended(name):
        text = f"{name}: a settlement came after the final one and was left"
        step.alerts.append(Alert(severity="low", code="settled_already", text=text, value=given.price))
        return {"settlement": given, "repeated": True, "paid_micros": 0}
    lots, paid = books.lots(name), 0
    if not given.final:
        for trader in books.accounts:
            paid += trader.ledger.settle(index, given.price)
            books.follow_ledger(trader)
        return {"settlement": given, "lots": lots, "paid_micros": paid}
    _cancel_all(books, planner, step, name, SETTLED)
    for trader in books.accounts:
        position = trader.ledger.positions[index]
        held, realised = position.lots, position.realised_micros
        trader.ledger.end(index, given.price)
        if held:
            books.book_mark(step, trader, index, SETTLED, [(-held, given.price)], given.ts, is_free=True)
        else:
            books.halt_where_broken(step, trader, index)
        paid += position.realised_micros - realised
    return {"settlement": given, "lots": lots, "paid_micros": paid}


def split(books: Books, planner: OrderPlanner, step: Step, given: Split) -> Note:
    """Turn the lots of an equity into those of the new share; what works is cancelled, its prices are the old share's."""
    index, name = books.index[given.instrument], given.instrument
    repeated = [trader.ledger.is_repeated(given.id) for trader in books.accounts]  # All have been told of it, or none.
    if all(repeated):
        text = f"split {given.id} of {name} came again and was left"
        step.alerts.append(Alert(severity="low", code="repeated_split", text=text))
        return {"split": given, "repeated": True, "lots": books.lots(name), "paid_micros": 0}
    _cancel_all(books, planner, step, name, "split")
    market, before, paid = books.market, books.lots(name), 0
    for quoted in ("bid", "ask", "last"):
        market.instruments[index][quoted] = UNDEFINED_PRICE
    paid_by = dict.fromkeys(books.by_row, 0)
    for trader in books.accounts:
        position, was = trader.ledger.positions[index], trader.lots(name)
        got = trader.ledger.split(index, given.into, given.of, given.price)
        market.instruments[holding_row(trader.n, market.count, index)]["venue_position"] += position.lots - was
        books.follow_ledger(trader)
        paid += got
        for gate in trader.gate.chain:
            paid_by[gate] += got
    for gate in books.by_row:
        lots = market.lots(*gate.reach)[index]
        gate.on_split(index, given.into, given.of, lots, paid_by[gate])
        books.limits.look(gate.n, index, lots)  # More shares of the same worth are no growth.
    each = {trader.name: (trader.lots(name), paid_by[trader.gate]) for trader in books.accounts if trader.name}
    own = {"accounts": each} if each else {}
    return {"split": given, "lots_before": before, "lots": books.lots(name), "paid_micros": paid, **own}


def _cancel_all(books: Books, planner: OrderPlanner, step: Step, name: InstrumentId, why: str) -> None:
    """Cancel whatever works in an instrument, with nothing more of it filling from now on."""
    for trader in books.accounts:
        planner.act(step, trader, why, CancelIntent(instrument=name, reasons=(why,)))
    for order in books.lives.orders_of(name):
        books.exchange.withdraw(order.order_id, books.market.now)
        if books.settings.mode is not Mode.LIVE:
            books.lives.withdraw(order.order_id)


def _name(one: CashFlow | Settlement | Split) -> str:
    if isinstance(one, Settlement):
        return f"settlement of {one.instrument}"
    return f"cash flow {one.id}" if isinstance(one, CashFlow) else f"split {one.id}"
