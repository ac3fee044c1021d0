"""The ledger: cash, positions and profit, in integers only.

Money is int64-sized millionths of a currency; Python's integers cannot overflow here, and the bound that the compiled
market step needs is checked where a fill enters. After every event

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
from dataclasses import dataclass

from grandmodel.account.booking import book_fill
from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.errors import InvariantError, UsageError
from grandmodel.domain.instruments import MICROS_PER_UNIT, Instrument, InstrumentKind, convert_micros

MAX_VALUE_MICROS = 2**60
"""The largest position value in millionths: a million million currency units. Above it the compiled step could wrap."""


@dataclass(slots=True)
class Position:
    """One instrument's holding; money in millionths of the instrument's currency."""

    lots: int = 0
    """Signed, long positive."""
    cost_micros: int = 0
    """What the open lots cost: lots x entry price x tick value, signed like ``lots``."""
    mark_ticks: int = UNDEFINED_PRICE
    realised_micros: int = 0
    """Profit of closed lots, before fees."""
    fees_micros: int = 0
    """Fees paid, positive."""
    traded_lots: int = 0
    """Lots bought and sold, both counted positive."""
    settled_ticks: int = UNDEFINED_PRICE
    """The final settlement price, in ticks; ``UNDEFINED_PRICE`` while the instrument lives."""

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
        self.positions = [Position() for _ in instruments]
        self.cash_micros: dict[str, int] = dict.fromkeys(sorted(rates), 0)
        self.cash_micros[base_currency] = capital_micros
        self.rates_micros = rates
        self.seen_ids: set[str] = set()
        """Of cash flows and splits that were booked."""
        self.repeated = 0
        """Cash flows and splits that came again, and were left."""

    def apply_fill(self, index: int, signed_lots: int, price_ticks: int, fee_micros: int) -> int:
        """Enter one fill of instrument ``index`` and return the profit it realised, in millionths, before the fee.

        The position is marked at the fill price where it had no mark yet. Raises ``InvariantError`` where the position's
        value would pass ``MAX_VALUE_MICROS``: such an order should never have passed risk.
        """
        instrument, position = self.instruments[index], self.positions[index]
        if signed_lots == 0:
            raise InvariantError(f"{instrument.id}: found a fill of 0 lots, expected at least one")
        widest = max(abs(position.lots), abs(signed_lots), abs(position.lots + signed_lots))
        if widest * abs(price_ticks) * instrument.tick_value_micros > MAX_VALUE_MICROS:
            raise InvariantError(
                f"{instrument.id}: a position of {position.lots + signed_lots} lots at {price_ticks} ticks is too large to count"
            )
        position.lots, position.cost_micros, realised = book_fill(
            position.lots, position.cost_micros, signed_lots, price_ticks, instrument.tick_value_micros
        )
        position.realised_micros += realised
        position.fees_micros += fee_micros
        position.traded_lots += abs(signed_lots)
        if position.mark_ticks == UNDEFINED_PRICE:
            position.mark_ticks = price_ticks
        paid = instrument.value_micros(price_ticks, signed_lots)
        change = -paid if instrument.pays_whole_price else realised
        self.cash_micros[instrument.currency] += change - fee_micros
        return realised

    def is_repeated(self, given: str) -> bool:
        """Remember the id ``given``; True, and it is counted, where it was there already."""
        if given in self.seen_ids:
            self.repeated += 1
            return True
        self.seen_ids.add(given)
        return False

    def check_cash(self, currency: str, amount_micros: int) -> None:
        """Raise ``UsageError`` where ``amount_micros`` of ``currency`` cannot be booked: no rate is known, or it is too much."""
        held = self.cash_micros.get(currency)
        if held is None:
            raise UsageError(
                f"found a cash flow in {currency}, expected one of {', '.join(self.cash_micros)}: give its exchange rate first"
            )
        if abs(held + amount_micros) > MAX_VALUE_MICROS:
            raise UsageError(
                f"found {held + amount_micros} micros of {currency} after a cash flow, expected at most 2^60"
            )

    def move_cash(self, currency: str, amount_micros: int) -> None:
        """Book cash that came (positive) or went without a trade; cash may fall below 0: that is a loan. Raises as ``check_cash``."""
        self.check_cash(currency, amount_micros)
        self.cash_micros[currency] += amount_micros

    def set_rate(self, currency: str, rate_micros: int) -> None:
        """A unit of ``currency`` is worth ``rate_micros`` from now on; one that was not known is known from here.

        Raises ``UsageError`` for the base currency, or a rate that is not above 0.
        """
        if currency == self.base_currency or rate_micros <= 0:
            raise UsageError(
                f"found a rate of {rate_micros} micros for {currency}, expected one above 0 for another currency than "
                f"{self.base_currency}, in which the account is counted"
            )
        self.rates_micros[currency] = rate_micros
        self.cash_micros.setdefault(currency, 0)

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
        position.cost_micros = cost
        position.realised_micros += gain
        self.cash_micros[instrument.currency] += gain
        return gain

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
        position.lots, position.mark_ticks = side * whole, mark
        position.cost_micros -= cost
        position.realised_micros += paid - cost
        self.cash_micros[instrument.currency] += paid
        return paid

    def mark(self, index: int, ticks: int) -> None:
        """Value instrument ``index`` at ``ticks`` from now on."""
        self.positions[index].mark_ticks = ticks

    def marked_micros(self, index: int) -> int:
        """What the position of instrument ``index`` adds to equity, in millionths of its currency."""
        instrument, position = self.instruments[index], self.positions[index]
        if position.lots == 0:
            return 0
        value = instrument.value_micros(position.mark_ticks, position.lots)
        return value if instrument.pays_whole_price else value - position.cost_micros

    def unrealised_micros(self, index: int) -> int:
        """The gain of the open lots at the mark over their cost, in millionths of the instrument's currency."""
        position = self.positions[index]
        if position.lots == 0:
            return 0
        return self.instruments[index].value_micros(position.mark_ticks, position.lots) - position.cost_micros

    def equity_micros(self) -> int:
        """Cash plus marked positions, in millionths of the base currency."""
        rates = self.rates_micros
        total = 0
        for currency, amount in self.cash_micros.items():
            total += convert_micros(amount, rates[currency])
        for index, instrument in enumerate(self.instruments):
            if self.positions[index].lots:
                total += convert_micros(self.marked_micros(index), rates[instrument.currency])
        return total

    def initial_margin_micros(self) -> int:
        """What the open positions bind, in millionths of the base currency."""
        return sum(
            convert_micros(
                abs(position.lots) * instrument.initial_margin_micros, self.rates_micros[instrument.currency]
            )
            for position, instrument in zip(self.positions, self.instruments, strict=True)
        )


def nearest_ratio(numerator: int, denominator: int) -> int:
    """``numerator`` / ``denominator`` (above 0) as the nearest whole number, ties to even, without a float."""
    whole, rest = divmod(numerator, denominator)
    return whole + (2 * rest > denominator or (2 * rest == denominator and whole % 2 == 1))
