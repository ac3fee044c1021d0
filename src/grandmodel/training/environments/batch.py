"""Both environments in batched form: N copies stepped by compiled code over compiled accounts (``training/lanes.py``).

The kernels of ``episodes.py``, ``strategic.py`` and ``tactical.py`` are called once a copy, in the order in which the PettingZoo form
(``parallel_form.py``) calls them; only the account below is another. No Python runs per copy, except for the seed of an episode
that begins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel
from grandmodel.risk.flow import forget_flow
from grandmodel.training.batched import BatchedEnv, EnvSpec, IntArray, Outcome, Seen
from grandmodel.training.environments.episodes import (
    EPISODE,
    GOES_ON,
    TERMINATED,
    TRUNCATED,
    Numbers,
    Rows,
    begin,
    build_numbers,
    draw_start,
    find_end,
    next_exposure,
    reward,
)
from grandmodel.training.environments.rewards import TERMS
from grandmodel.training.environments.strategic import decide_strategic, observe_strategic
from grandmodel.training.environments.tables import Ground
from grandmodel.training.environments.tactical import decide_tactical, observe_tactical
from grandmodel.training.lanes import (
    LaneArrays,
    MarketArrays,
    build_lanes,
    build_market_arrays,
    pursue_target,
    rows_in,
    settle_lane,
    start_lane,
    walk_bar,
)
from grandmodel.training.seeds import episode_seed

ORDER_SLOTS = 8
"""Working orders of a copy that sends market orders alone. A tactical position carries a stop for each of its additions: one more a bar."""


class TradingBatch(BatchedEnv):
    """``count`` copies of the environment on ``ground``; ``tables.build_ground`` makes that."""

    def __init__(self, ground: Ground, count: int) -> None:
        self.ground, self.count = ground, count
        self.spec = env_spec(ground)
        self.numbers = build_numbers(ground.layer, ground.settings)
        self.markets = build_market_arrays(ground.markets, ground.settings.lane)
        self.lanes = build_lanes(count, ground.settings.lane, orders=_order_slots(ground))
        self.episodes = np.zeros(count, EPISODE)
        self.reward_terms = np.zeros((count, len(TERMS)))
        """(N, 4): the ``TERMS`` of the newest step's rewards, before any restart."""
        agents = self.spec.agent_count
        self._seed = 0
        self._episode_numbers = np.zeros(count, np.int64)
        self._observations = np.zeros((2, count, agents, self.spec.observation_width), np.float32)
        self._state = np.zeros((2, count, self.spec.state_size), np.float32)
        self._rewards = np.zeros((count, agents), np.float32)
        self._ends = np.zeros(count, np.int64)
        self._alive = np.ones((count, agents), np.bool_)
        self._nobody = np.zeros((count, agents), np.bool_)
        strategic = ground.layer == "strategic"
        self._step = _step_strategic if strategic else _step_tactical
        self._start = _start_strategic if strategic else _start_tactical

    @property
    def accounts(self) -> Rows:
        """(N,) of ``lanes.ACCOUNT``: how every copy's account stands."""
        return self.lanes.account

    def reset(self, seed: int) -> Seen:
        """Start every copy anew."""
        self._seed = seed
        self._episode_numbers[:] = -1
        self._restart(np.arange(self.count), 0)
        return self._seen(0)

    def step(self, actions: IntArray) -> Outcome:
        """Decide, trade one bar, reward; settle and restart the copies whose episode has ended."""
        self._step(
            self.ground.tables, self.numbers, self.lanes, self.markets, self.episodes, actions,
            self._observations[0], self._state[0], self.reward_terms, self._rewards, self._ends,
        )  # fmt: skip
        final = self._seen(0)
        restarted = self._ends != GOES_ON
        if not restarted.any():
            return Outcome(self._rewards, self._nobody, self._nobody, restarted, final, final)
        terminated = (self._ends == TERMINATED)[:, None] & self._alive
        truncated = (self._ends == TRUNCATED)[:, None] & self._alive
        # A terminated copy has nobody left to see its end.
        self._observations[1] = self._observations[0]
        self._state[1] = self._state[0]
        self._restart(np.flatnonzero(restarted), 1)
        return Outcome(self._rewards, terminated, truncated, restarted, final, self._seen(1))

    def save(self) -> dict[str, NDArray[np.generic]]:
        """Accounts, orders, episodes and seeds; structured rows as bytes."""
        saved: dict[str, NDArray[np.generic]] = {
            name: _as_bytes(array) for name, array in self._rows(self._most_orders()).items()
        }
        saved["orders"] = np.array([self._most_orders()], np.int64)
        saved["episode_numbers"] = self._episode_numbers.copy()
        saved["seed"] = np.array([self._seed], np.int64)
        return saved

    def restore(self, saved: dict[str, NDArray[np.generic]]) -> Seen:
        """Go back to what ``save`` returned."""
        for name, array in self._rows(int(saved["orders"][0])).items():
            array[...] = np.frombuffer(saved[name].tobytes(), array.dtype).reshape(array.shape)
        forget_flow(
            rows_in(self.lanes)
        )  # One decision a bar meets no rate, and no order of another episode may pass for an equal one.
        self._episode_numbers[:] = saved["episode_numbers"]
        self._seed = int(saved["seed"][0])
        observe = _observe_strategic if self.ground.layer == "strategic" else _observe_tactical
        observe(self.ground.tables, self.numbers, self.lanes, self.episodes, self._observations[0], self._state[0])
        return self._seen(0)

    def _rows(self, orders: int) -> dict[str, Rows]:
        """The structured arrays that change, the order slots as far as any copy uses them: between bars there are no reports."""
        lanes, rows = self.lanes, rows_in(self.lanes)
        return {
            "step": lanes.step,
            "instruments": lanes.instruments,
            "slots": lanes.slots[:, :orders],
            "account": lanes.account,
            "standing": rows.standing,
            "seen": rows.seen,
            "out": rows.out,
            "working": rows.working[:, :orders],
            "episodes": self.episodes,
        }

    def _most_orders(self) -> int:
        """The most orders that a copy has working."""
        return int(max(self.lanes.step["slots"].max(), rows_in(self.lanes).out["count"].max()))

    def _restart(self, copies: IntArray, slot: int) -> None:
        self._episode_numbers[copies] += 1
        seeds = [episode_seed(self._seed, n, int(self._episode_numbers[n])) for n in copies.tolist()]
        self._start(
            self.ground.tables, self.numbers, self.lanes, self.markets, self.episodes, copies,
            np.array(seeds, np.int64), self._observations[slot], self._state[slot],
        )  # fmt: skip

    def _seen(self, slot: int) -> Seen:
        return Seen(self._observations[slot], self._alive, None, self._state[slot])


def env_spec(ground: Ground) -> EnvSpec:
    """Agents and sizes of the environment on ``ground``."""
    heads = ground.architecture.heads
    return EnvSpec(
        agents=tuple(head.agent for head in heads),
        observation_sizes=ground.observation_sizes,
        action_counts=tuple(len(head.actions) for head in heads),
        state_size=ground.state_size,
    )


def _order_slots(ground: Ground) -> int:
    """So many orders can work at once in the longest episode."""
    return ORDER_SLOTS + (ground.settings.bars_of("tactical") if ground.layer == "tactical" else 0)


def _as_bytes(array: Rows) -> NDArray[np.uint8]:
    return np.frombuffer(array.tobytes(), np.uint8).copy()


@kernel
def _play_bar(
    tables: Any,
    numbers: Numbers,
    lanes: LaneArrays,
    markets: MarketArrays,
    episodes: Rows,
    n: int,
    is_tactical: bool,
    terms: Any,
    rewards: Any,
) -> int:
    """One bar of copy ``n`` after its decision; how its episode stands."""
    account, episode = lanes.account[n], episodes[n]
    if episode.wish_asked:
        pursue_target(lanes, n, markets, episode.wish_lots, episode.wish_urgency, episode.wish_stop)
    walk_bar(lanes, n, markets)
    end = find_end(tables, numbers, account, episode)
    if end != GOES_ON:
        settle_lane(lanes, n, markets)
    rewards[n, :] = reward(tables, numbers, account, episode, is_tactical, terms[n])
    next_exposure(tables, account, episode)
    return end


@kernel
def _step_strategic(
    tables: Any, numbers: Numbers, lanes: LaneArrays, markets: MarketArrays, episodes: Rows, actions: Any,
    observations: Any, state: Any, terms: Any, rewards: Any, ends: Any,
) -> None:  # fmt: skip
    """One step of every copy."""
    for n in range(len(episodes)):
        decide_strategic(numbers, lanes.account, episodes, n, actions)
        ends[n] = _play_bar(tables, numbers, lanes, markets, episodes, n, False, terms, rewards)
        observe_strategic(tables, numbers, lanes.account, episodes, n, observations, state)


@kernel
def _step_tactical(
    tables: Any, numbers: Numbers, lanes: LaneArrays, markets: MarketArrays, episodes: Rows, actions: Any,
    observations: Any, state: Any, terms: Any, rewards: Any, ends: Any,
) -> None:  # fmt: skip
    """One step of every copy."""
    for n in range(len(episodes)):
        decide_tactical(tables, numbers, lanes.account, episodes, n, actions)
        ends[n] = _play_bar(tables, numbers, lanes, markets, episodes, n, True, terms, rewards)
        observe_tactical(tables, numbers, lanes.account, episodes, n, observations, state)


@kernel
def _start_copy(tables: Any, lanes: LaneArrays, markets: MarketArrays, episodes: Rows, n: int, seed: int) -> None:
    market, g = draw_start(tables, seed)
    start_lane(lanes, n, markets, market, g)
    begin(tables, episodes, n, seed, g)


@kernel
def _start_strategic(
    tables: Any, numbers: Numbers, lanes: LaneArrays, markets: MarketArrays, episodes: Rows, copies: Any,
    seeds: Any, observations: Any, state: Any,
) -> None:  # fmt: skip
    """A new episode in each of ``copies``."""
    for k in range(len(copies)):
        _start_copy(tables, lanes, markets, episodes, copies[k], seeds[k])
        observe_strategic(tables, numbers, lanes.account, episodes, copies[k], observations, state)


@kernel
def _start_tactical(
    tables: Any, numbers: Numbers, lanes: LaneArrays, markets: MarketArrays, episodes: Rows, copies: Any,
    seeds: Any, observations: Any, state: Any,
) -> None:  # fmt: skip
    """A new episode in each of ``copies``."""
    for k in range(len(copies)):
        _start_copy(tables, lanes, markets, episodes, copies[k], seeds[k])
        observe_tactical(tables, numbers, lanes.account, episodes, copies[k], observations, state)


@kernel
def _observe_strategic(
    tables: Any, numbers: Numbers, lanes: LaneArrays, episodes: Rows, observations: Any, state: Any
) -> None:
    for n in range(len(episodes)):
        observe_strategic(tables, numbers, lanes.account, episodes, n, observations, state)


@kernel
def _observe_tactical(
    tables: Any, numbers: Numbers, lanes: LaneArrays, episodes: Rows, observations: Any, state: Any
) -> None:
    for n in range(len(episodes)):
        observe_tactical(tables, numbers, lanes.account, episodes, n, observations, state)
