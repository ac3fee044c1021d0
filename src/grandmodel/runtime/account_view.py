"""The account as agents see it: what the ``Account`` protocol names, to be read and not to be changed.

An agent is handed this instead of the engine. Nothing that it can reach from here by its attributes is the engine, its ledger or its risk gate;
what it is given is frozen or a copy of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.agents import Account, Standing
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.orders import Order
from grandmodel.runtime.books import Books
from grandmodel.runtime.errors import AgentError
from grandmodel.runtime.feature_book import FeatureBook
from grandmodel.runtime.trading_account import TradingAccount


class AccountReadings:
    """The ``Account`` protocol read from one account that trades, and the market and the features of its run."""

    def __init__(self, books: Books, trader: TradingAccount, features: FeatureBook | None) -> None:
        self._books = books
        self._trader = trader
        self._features = features
        self.lots = trader.lots
        self.mark = books.mark
        self.working = trader.working
        self.standing = partial(books.standing, trader)

    @property
    def now(self) -> int:
        """int64 ns UTC."""
        return self._books.market.now

    @property
    def equity_micros(self) -> int:
        """Cash plus marked positions, millionths of the base currency."""
        return self._trader.equity_micros

    def strategic_window(self, instrument: InstrumentId) -> NDArray[np.float64]:
        """The 48 newest rows of the strategic matrix, (48, 13)."""
        return self._known_features().strategic(instrument)

    def tactical_window(self, instrument: InstrumentId) -> NDArray[np.float64]:
        """The 60 newest rows of the tactical matrix, (60, 7)."""
        return self._known_features().tactical(instrument)

    def _known_features(self) -> FeatureBook:
        if self._features is None:
            raise AgentError("an agent asked for features, expected one whose class says needs_features = True")
        return self._features


def account_view(account: Account) -> Account:
    """``account`` behind methods that only read; true at the moment of each call."""

    class ReadOnlyAccount:
        """The account of this run, read-only."""

        __slots__ = ()

        @property
        def now(self) -> int:
            """int64 ns UTC."""
            return account.now

        @property
        def equity_micros(self) -> int:
            """Cash plus marked positions, millionths of the base currency."""
            return account.equity_micros

        def lots(self, instrument: InstrumentId) -> int:
            """Signed position."""
            return account.lots(instrument)

        def mark(self, instrument: InstrumentId) -> int | None:
            """The price at which the instrument is valued now, in ticks; None before the first."""
            return account.mark(instrument)

        def working(self, instrument: InstrumentId) -> Sequence[Order]:
            """Orders sent and not ended, oldest first."""
            return tuple(account.working(instrument))

        def standing(self, instrument: InstrumentId) -> Standing:
            """How the account and the instrument's position stand against the lines of risk."""
            return account.standing(instrument)

        def strategic_window(self, instrument: InstrumentId) -> NDArray[np.float64]:
            """The 48 newest rows of the strategic matrix, (48, 13); the caller's own copy, not writeable."""
            return _frozen_copy(account.strategic_window(instrument))

        def tactical_window(self, instrument: InstrumentId) -> NDArray[np.float64]:
            """The 60 newest rows of the tactical matrix, (60, 7); the caller's own copy, not writeable."""
            return _frozen_copy(account.tactical_window(instrument))

    return ReadOnlyAccount()


def _frozen_copy(window: NDArray[np.float64]) -> NDArray[np.float64]:
    copied = window.copy()
    copied.flags.writeable = False
    return copied
