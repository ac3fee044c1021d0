"""One account that trades: its ledger, its gate, and what it holds and has open.

A run has one, or several below desks (``risk.tree``); all share one market, one venue and one table of open orders, which ``Books`` holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grandmodel.account.ledger import Ledger
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.orders import Order
from grandmodel.execution.order_life import OrderLives
from grandmodel.risk.gate import RiskGate
from grandmodel.runtime.market_step import MarketStep


class TradingAccount:
    """One account that trades, on the market and the open orders of its run; ``index`` numbers the instruments."""

    def __init__(
        self, gate: RiskGate, ledger: Ledger, index: Mapping[InstrumentId, int], lives: OrderLives, market: MarketStep
    ) -> None:
        self.gate, self.ledger = gate, ledger
        self.name, self.n = gate.name, gate.n
        """Empty, and 0: the run's own."""
        self._index, self._lives, self._market = index, lives, market

    @property
    def equity_micros(self) -> int:
        """Cash plus marked positions, millionths of the base currency."""
        return self._market.equity_of(self.n)

    def lots(self, instrument: InstrumentId) -> int:
        """Signed position."""
        return self.ledger.positions[self._index[instrument]].lots

    def has_ended(self, instrument: InstrumentId) -> bool:
        """True from the instrument's final settlement on."""
        return self.ledger.positions[self._index[instrument]].has_ended

    def working(self, instrument: InstrumentId) -> Sequence[Order]:
        """Orders sent and not ended, oldest first."""
        return self._lives.orders_of(instrument, self.name)
