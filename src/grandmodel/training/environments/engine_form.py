"""Both environments over the whole engine: what the form over a lane is held to.

The kernels of a step are those of ``batch.py``; the account is an ``EngineEpisode``, so that a step here is what trading does, with its
records. It is slower by two powers of ten. Use ``grandmodel.training.strategic_env(over_engine=True)``.
"""

from __future__ import annotations

import numpy as np

from grandmodel.training.engine_episode import EngineEpisode
from grandmodel.training.environments.batch import (
    Copies,
    begin_copy,
    build_copies,
    decide_copy,
    end_copy,
    reward_copy,
    start_of,
)
from grandmodel.training.environments.episodes import GOES_ON
from grandmodel.training.environments.parallel_form import TradingParallel
from grandmodel.training.environments.tables import Ground, Integers
from grandmodel.training.lanes import ACCOUNT, AccountView


class EngineParallel(TradingParallel):
    """``TradingParallel`` whose account is the engine's own."""

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        self._firsts = np.cumsum([0, *(len(market.bars) for market in ground.markets)])
        self._episodes: dict[int, EngineEpisode] = {}

    def _build_copies(self) -> Copies:
        nothing = np.zeros(0, np.int64)
        return build_copies(self.ground, self.spec, np.zeros(1, ACCOUNT), nothing, nothing)

    def _start(self, seed: int) -> None:
        market, g = start_of(self._handle, seed)
        self._market = market
        if market not in self._episodes:
            self._episodes[market] = EngineEpisode(self.ground.markets[market], self.ground.settings.lane)
        self._show(self._episodes[market].start(int(g - self._firsts[market])))
        begin_copy(self._handle, seed, g)

    def _play(self, actions: Integers) -> None:
        episode, wish = self._episodes[self._market], self._copies.episodes[0]
        decide_copy(self._handle, actions)
        if wish["wish_asked"]:
            episode.pursue(int(wish["wish_lots"]), int(wish["wish_urgency"]), int(wish["wish_stop"]))
        episode.advance()
        self._show(episode.view)
        if end_copy(self._handle) != GOES_ON:
            self._show(episode.settle())
        reward_copy(self._handle)

    def _show(self, view: AccountView) -> None:
        """Bring the account's row up to the engine's view; rows there count within the market, here over all."""
        account = self._copies.account[0]
        for name in AccountView.__slots__:
            account[name] = getattr(view, name)
        account["market"] = self._market
        account["row"] += self._firsts[self._market]
