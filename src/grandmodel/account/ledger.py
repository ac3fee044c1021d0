"""The ledger: cash, positions and profit, in integers only.

Money is int64 millionths of a currency in rows that compiled code books into (``account.booking``); a bound keeps every product
within 64 bits, and is checked where a fill enters. After every event

    equity = cash + marked positions

holds to the last millionth, in each currency and in the base currency (where each amount is converted, rounded down).
Futures pay gains and losses only: a position is worth its unrealised gain. Spot pays the whole price: a position is
worth its market value, and cash falls by what was paid. Cost is the average cost; what cannot be divided exactly stays
with the lots that remain open, so nothing is lost.

Beside fills the ledger books what no order does: cash that moves, exchange rates, settlements and splits. What each of them
means is told in ``docs/concepts/ledger.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.account.booking import (
    BOOKED,
    CASH,
    HOLDING,
    MAX_VALUE_MICROS,
    NO_LOTS,
    TOO_LARGE,
    book_at,
    equity_at,
    marked_value,
)
from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.errors import InvariantError, UsageError
from grandmodel.domain.instruments import MICROS_PER_UNIT, Instrument, InstrumentKind, convert_micros
from grandmodel.kernels import table_of


class Position:
    """One instrument's holding, as its row has it; money in millionths of the instrument's currency."""

    __slots__ = ("_values",)

    def __init__(self, values: NDArray[np.int64]) -> None:
        self._values = values

    @property
    def lots(self) -> int:
        """Signed, long positive."""
        return int(self._values[_LOTS])

    @property
    def cost_micros(self) -> int:
        """What the open lots cost: lots x entry price x tick value, signed like ``lots``."""
        return int(self._values[_COST])

    @property
    def mark_ticks(self) -> int:
        """What it is valued at; ``UNDEFINED_PRICE`` before the first mark."""
        return int(self._values[_MARK])

    @property
    def realised_micros(self) -> int:
        """Profit of closed lots, before fees."""
        return int(self._values[_REALISED])

    @property
    def fees_micros(self) -> int:
        """Fees paid, positive."""
        return int(self._values[_FEES])

    @property
    def traded_lots(self) -> int:
        """Lots bought and sold, both counted positive."""
        return int(self._values[_TRADED])

    @property
    def settled_ticks(self) -> int:
        """The final settlement price, in ticks; ``UNDEFINED_PRICE`` while the instrument lives."""
        return int(self._values[_SETTLED])

    @property
    def has_ended(self) -> bool:
        """True from the final settlement on: nothing is held any more and nothing can be sent."""
        return self.settled_ticks != UNDEFINED_PRICE


class Ledger:
    """Cash and positions of one account over a fixed list of instruments.

    ``rates_micros`` gives, for every currency in use, millionths of the base currency per unit; the base itself is
    1,000,000. A currency without a rate is refused at the start, never assumed.
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        capital_micros: int,
        base_currency: str = "USD",
        rates_micros: Mapping[str, int] | None = None,
    ) -> None:
        rates = {base_currency: MICROS_PER_UNIT, **(rates_micros or {})}
        if rates[base_currency] != MICROS_PER_UNIT:
            raise UsageError(
                f"found a rate for the base currency {base_currency}, expected rates of other currencies only"
            )
        for instrument in instruments:
            if rates.get(instrument.currency, 0) <= 0:
                raise UsageError(
                    f"instrument {instrument.id} trades in {instrument.currency}: found no rate to {base_currency}, "
                    f"expected one: set account.rates.{instrument.currency}, millionths of {base_currency} per {instrument.currency} "
                    "(150000 for 0.15)"
                )
        self.base_currency = base_currency
        self.instruments = tuple(instruments)
        self._currencies = sorted(rates)
        self._cash: Any = np.zeros(len(rates), CASH)
        self._cash["rate"] = [rates[currency] for currency in self._currencies]
        self._cash["amount"][self._currencies.index(base_currency)] = capital_micros
        self._holdings: Any = np.zeros(len(instruments), HOLDING)
        self._holdings["mark"] = self._holdings["settled"] = UNDEFINED_PRICE
        for held, instrument in zip(self._holdings, instruments, strict=True):
            held["tick_value"], held["spot"] = instrument.tick_value_micros, instrument.pays_whole_price
            held["currency"] = self._currencies.index(instrument.currency)
        self._values: NDArray[np.int64] = self._holdings.view(np.int64).reshape(len(instruments), -1)
        self.positions = tuple(Position(values) for values in self._values)
        self.seen_ids: set[str] = set()
        """Of cash flows and splits that were booked."""
        self.repeated = 0
        """Cash flows and splits that came again, and were left."""
        self.handle = table_of((self._holdings, self._cash))
        """For kernels (``booking.books_of``)."""

    def _take(self) -> None:
        self.handle[:] = table_of((self._holdings, self._cash))

    @property
    def cash_micros(self) -> dict[str, int]:
        """Millionths of each currency; a copy."""
        return dict(zip(self._currencies, self._cash["amount"].tolist(), strict=True))

    @property
    def rates_micros(self) -> dict[str, int]:
        """Millionths of the base currency per unit of each; a copy."""
        return dict(zip(self._currencies, self._cash["rate"].tolist(), strict=True))

    def rate_micros(self, index: int) -> int:
        """Millionths of the base currency per unit of instrument ``index``'s currency."""
        return int(self._cash["rate"][self._values[index, _CURRENCY]])

    def apply_fill(self, index: int, signed_lots: int, price_ticks: int, fee_micros: int) -> int:
        """Enter one fill of instrument ``index`` and return the profit it realised, in millionths, before the fee.

        The position is marked at the fill price where it had no mark yet. Raises ``InvariantError`` where the position's
        value would pass ``MAX_VALUE_MICROS``: such an order should never have passed risk.
        """
        before = self.positions[index].realised_micros
        self.check_booked(book_at(self.handle, index, signed_lots, price_ticks, fee_micros), index, price_ticks)
        return self.positions[index].realised_micros - before

    def check_booked(self, code: int, index: int, price_ticks: int) -> None:
        """Raise ``InvariantError`` where ``code`` says that a fill of instrument ``index`` could not be booked."""
        if code == BOOKED:
            return
        instrument, lots = self.instruments[index], self.positions[index].lots
        if code == NO_LOTS:
            raise InvariantError(f"{instrument.id}: found a fill of 0 lots, expected at least one")
        if code == TOO_LARGE:
            raise InvariantError(
                f"{instrument.id}: a fill at {price_ticks} ticks beside {lots} lots makes a position that is too large to count"
            )
        raise InvariantError(f"{instrument.id}: a fill at {price_ticks} ticks leaves more cash than can be counted")

    def is_repeated(self, given: str) -> bool:
        """Remember the id ``given``; True, and it is counted, where it was there already."""
        if given in self.seen_ids:
            self.repeated += 1
            return True
        self.seen_ids.add(given)
        return False

    def check_cash(self, currency: str, amount_micros: int) -> None:
        """Raise ``UsageError`` where ``amount_micros`` of ``currency`` cannot be booked: no rate is known, or it is too much."""
        if currency not in self._currencies:
            raise UsageError(
                f"found a cash flow in {currency}, expected one of {', '.join(self._currencies)}: give its exchange rate first"
            )
        held = self.cash_micros[currency]
        if abs(held + amount_micros) > MAX_VALUE_MICROS:
            raise UsageError(
                f"found {held + amount_micros} micros of {currency} after a cash flow, expected at most 2^60"
            )

    def move_cash(self, currency: str, amount_micros: int) -> None:
        """Book cash that came (positive) or went without a trade; cash may fall below 0: that is a loan. Raises as ``check_cash``."""
        self.check_cash(currency, amount_micros)
        self._cash["amount"][self._currencies.index(currency)] += amount_micros

    def set_rate(self, currency: str, rate_micros: int) -> None:
        """A unit of ``currency`` is worth ``rate_micros`` from now on; one that was not known is known from here.

        Raises ``UsageError`` for the base currency, or a rate that is not above 0.
        """
        if currency == self.base_currency or rate_micros <= 0:
            raise UsageError(
                f"found a rate of {rate_micros} micros for {currency}, expected one above 0 for another currency than "
                f"{self.base_currency}, in which the account is counted"
            )
        if currency not in self._currencies:
            self._currencies.append(currency)
            self._cash = np.append(self._cash, np.zeros(1, CASH))
            self._take()
        self._cash["rate"][self._currencies.index(currency)] = rate_micros

    def settle(self, index: int, price_ticks: int) -> int:
        """Pay out the gain of instrument ``index`` up to ``price_ticks``: cash takes it, and the lots cost that price from here on.

        Returns the gain in millionths of the instrument's currency. Equity does not change: what was a marked gain is cash. Raises
        ``UsageError`` where the whole price was paid, ``InvariantError`` where the value is too large.
        """
        instrument, position = self.instruments[index], self.positions[index]
        if instrument.pays_whole_price:
            raise UsageError(
                f"{instrument.id}: found a daily settlement of kind {instrument.kind.value}, expected one of a future or perpetual"
            )
        cost = instrument.value_micros(price_ticks, position.lots)
        if abs(cost) > MAX_VALUE_MICROS:
            raise InvariantError(f"{instrument.id}: {position.lots} lots at {price_ticks} ticks are too large to count")
        gain = cost - position.cost_micros
        values = self._values[index]
        values[_COST] = cost
        values[_REALISED] += gain
        self._cash["amount"][values[_CURRENCY]] += gain
        return gain

    def end(self, index: int, price_ticks: int) -> None:
        """Instrument ``index`` has settled for good at ``price_ticks``."""
        self._values[index, _SETTLED] = price_ticks

    def split(self, index: int, into: int, of: int, price_ticks: int) -> int:
        """Make ``into`` lots of every ``of`` of instrument ``index``; the part of a lot that is left over is paid out at ``price_ticks``.

        Returns the cash, in millionths, rounded down, negative for a short position. The mark becomes the nearest whole tick, ties to
        even. The left-over part takes its share of the cost, rounded down. Raises ``UsageError`` for what is no equity.
        """
        instrument, position = self.instruments[index], self.positions[index]
        if instrument.kind is not InstrumentKind.EQUITY:
            raise UsageError(
                f"{instrument.id}: found a split of kind {instrument.kind.value}, expected one of an equity"
            )
        size, side = abs(position.lots), 1 if position.lots > 0 else -1
        whole, rest = divmod(size * into, of)
        mark = position.mark_ticks
        if mark != UNDEFINED_PRICE:
            mark = nearest_ratio(mark * of, into)
        if whole * abs(mark) * instrument.tick_value_micros > MAX_VALUE_MICROS and whole:
            raise InvariantError(f"{instrument.id}: {whole} lots at {mark} ticks are too large to count")
        paid = side * rest * price_ticks * instrument.tick_value_micros // of
        cost = position.cost_micros * rest // (size * into) if size else 0
        values = self._values[index]
        values[_LOTS], values[_MARK] = side * whole, mark
        values[_COST] -= cost
        values[_REALISED] += paid - cost
        self._cash["amount"][values[_CURRENCY]] += paid
        return paid

    def mark(self, index: int, ticks: int) -> None:
        """Value instrument ``index`` at ``ticks`` from now on."""
        self._values[index, _MARK] = ticks

    def mark_all(self, ticks: NDArray[np.int64]) -> None:
        """Value every instrument at ``ticks`` (I,) from now on."""
        self._values[:, _MARK] = ticks

    def marked_micros(self, index: int) -> int:
        """What the position of instrument ``index`` adds to equity, in millionths of its currency."""
        lots, cost, mark, *_, tick_value, spot, _ = self._values[index].tolist()
        return marked_value(lots, cost, mark, tick_value, spot)

    def unrealised_micros(self, index: int) -> int:
        """The gain of the open lots at the mark over their cost, in millionths of the instrument's currency."""
        lots, cost, mark, *_, tick_value, _, _ = self._values[index].tolist()
        return marked_value(lots, cost, mark, tick_value, 0)

    def equity_micros(self) -> int:
        """Cash plus marked positions, in millionths of the base currency."""
        return equity_at(self.handle)

    def initial_margin_micros(self) -> int:
        """What the open positions bind, in millionths of the base currency."""
        return sum(
            convert_micros(abs(position.lots) * instrument.initial_margin_micros, self.rate_micros(index))
            for index, (position, instrument) in enumerate(zip(self.positions, self.instruments, strict=True))
        )

    def save(self) -> tuple[list[str], bytes, bytes, list[str], int]:
        """Everything that is remembered, for a snapshot."""
        cash, holdings = self._cash.tobytes(), self._holdings.tobytes()
        return list(self._currencies), cash, holdings, sorted(self.seen_ids), self.repeated

    def restore(self, saved: tuple[list[str], bytes, bytes, list[str], int]) -> None:
        """Put back what ``save`` of another with the same instruments gave."""
        currencies, cash, holdings, seen_ids, self.repeated = saved
        self._currencies, self._cash = currencies, np.frombuffer(cash, CASH).copy()
        self._holdings[:] = np.frombuffer(holdings, HOLDING)
        self.seen_ids = set(seen_ids)
        self._take()


def nearest_ratio(numerator: int, denominator: int) -> int:
    """``numerator`` / ``denominator`` (above 0) as the nearest whole number, ties to even, without a float."""
    whole, rest = divmod(numerator, denominator)
    return whole + (2 * rest > denominator or (2 * rest == denominator and whole % 2 == 1))


_LOTS, _COST, _MARK, _REALISED, _FEES, _TRADED, _SETTLED, _CURRENCY = (
    (HOLDING.names or ()).index(name)
    for name in ("lots", "cost", "mark", "realised", "fees", "traded", "settled", "currency")
)
