"""The ledger: cash, positions and profit, in integers only.

Money is int64-sized millionths of a currency; Python's integers cannot overflow here, and the bound that the compiled
market step needs is checked where a fill enters. After every event

    equity = cash + marked positions

holds to the last millionth, in each currency and in the base currency (where each amount is converted, rounded down).
Futures pay gains and losses only: a position is worth its unrealised gain. Spot pays the whole price: a position is
worth its market value, and cash falls by what was paid. Cost is the average cost; what cannot be divided exactly stays
with the lots that remain open, so nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grandmodel.account.booking import book_fill
from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.errors import InvariantError, UsageError
from grandmodel.domain.instruments import MICROS_PER_UNIT, Instrument, Settlement, convert_micros

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
        change = realised if instrument.settlement is Settlement.FUTURES else -paid
        self.cash_micros[instrument.currency] += change - fee_micros
        return realised

    def mark(self, index: int, ticks: int) -> None:
        """Value instrument ``index`` at ``ticks`` from now on."""
        self.positions[index].mark_ticks = ticks

    def marked_micros(self, index: int) -> int:
        """What the position of instrument ``index`` adds to equity, in millionths of its currency."""
        instrument, position = self.instruments[index], self.positions[index]
        if position.lots == 0:
            return 0
        value = instrument.value_micros(position.mark_ticks, position.lots)
        return value if instrument.settlement is Settlement.SPOT else value - position.cost_micros

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
