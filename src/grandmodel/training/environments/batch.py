"""Both environments in batched form: N copies stepped by compiled code over compiled accounts (``training/lanes.py``).

The kernels of ``episodes.py``, ``strategic.py`` and ``tactical.py`` are called once a copy, in the order in which the engine's form
(``engine_form.py``) calls them; only the account below is another. No Python runs per copy, except for the seed of an episode
that begins.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel, table_of, table_reader
from grandmodel.risk.flow import forget_flow
from grandmodel.training.batched import BatchedEnv, EnvSpec, IntArray, MergedSeen, Outcome, Seen
from grandmodel.training.environments.episodes import (
    EPISODE,
    GOES_ON,
    TERMINATED,
    TRUNCATED,
    Rows,
    begin,
    draw_start,
    find_end,
    next_exposure,
    reward,
    take_stock,
)
from grandmodel.training.environments.rewards import TERMS
from grandmodel.training.environments.strategic import decide_strategic, observe_strategic
from grandmodel.training.environments.tables import Floats, Ground, Singles, open_tables
from grandmodel.training.environments.tactical import decide_tactical, observe_tactical
from grandmodel.training.lanes import (
    ACCOUNT,
    build_lanes,
    build_market_arrays,
    open_lanes,
    open_markets,
    pursue_target,
    rows_in,
    settle_lane,
    start_lane,
    walk_bar,
)
from grandmodel.training.seeds import episode_seeds

ORDER_SLOTS = 8
"""Working orders of a copy that sends market orders alone. A tactical position carries a stop for each of its additions: one more a bar."""


class Copies(NamedTuple):
    """What a step of N copies reads and writes. A form of the environment whose account is another one has no lanes and no markets."""

    tables: IntArray
    """``table_of`` the ground's ``Tables``"""
    lanes: IntArray
    """``table_of`` ``LaneArrays``"""
    markets: IntArray
    """``table_of`` ``MarketArrays``"""
    account: Rows
    """(N,) of ``lanes.ACCOUNT``"""
    episodes: Rows
    """(N,) of ``EPISODE``"""
    observations: Singles
    """(N, A, F)"""
    state: Singles
    """(N, S)"""
    terms: Floats
    """(N, 4): the ``TERMS`` of the newest step's rewards, before any restart."""
    rewards: Singles
    """(N, A)"""
    ends: IntArray
    """(N,): ``GOES_ON``, ``TERMINATED`` or ``TRUNCATED``"""


_I8, _F4 = np.dtype(np.int64), np.dtype(np.float32)
_open_copies = table_reader(
    "Copies",
    zip(
        Copies._fields,
        (_I8, _I8, _I8, ACCOUNT, EPISODE, _F4, _F4, np.dtype(np.float64), _F4, _I8),
        (1, 1, 1, 1, 1, 3, 2, 2, 2, 1),
        strict=True,
    ),
)


def build_copies(ground: Ground, spec: EnvSpec, account: Rows, lanes: IntArray, markets: IntArray) -> Copies:
    """Fresh memory for as many copies as ``account`` has rows."""
    count, agents = len(account), spec.agent_count
    return Copies(
        tables=table_of(ground.tables),
        lanes=lanes,
        markets=markets,
        account=account,
        episodes=np.zeros(count, EPISODE),
        observations=np.zeros((count, agents, spec.observation_width), np.float32),
        state=np.zeros((count, spec.state_size), np.float32),
        terms=np.zeros((count, len(TERMS))),
        rewards=np.zeros((count, agents), np.float32),
        ends=np.zeros(count, np.int64),
    )


class TradingBatch(BatchedEnv):
    """``count`` copies of the environment on ``ground``; ``tables.build_ground`` makes that."""

    def __init__(self, ground: Ground, count: int) -> None:
        self.ground, self.count = ground, count
        self.spec = env_spec(ground)
        self.markets = build_market_arrays(ground.markets, ground.settings.lane)
        self.lanes = build_lanes(count, ground.settings.lane, orders=order_slots(ground))
        self.copies = build_copies(ground, self.spec, self.lanes.account, table_of(self.lanes), table_of(self.markets))
        self._handle = table_of(self.copies)
        self._seed = 0
        self._episode_numbers = np.zeros(count, np.int64)
        self._alive = np.ones((count, self.spec.agent_count), np.bool_)
        self._nobody = np.zeros((count, self.spec.agent_count), np.bool_)
        self._seen = Seen(self.copies.observations, self._alive, None, self.copies.state)

    @property
    def accounts(self) -> Rows:
        """(N,) of ``lanes.ACCOUNT``: how every copy's account stands."""
        return self.lanes.account

    @property
    def episodes(self) -> Rows:
        """(N,) of ``EPISODE``."""
        return self.copies.episodes

    @property
    def reward_terms(self) -> Floats:
        """(N, 4): the ``TERMS`` of the newest step's rewards, before any restart."""
        return self.copies.terms

    def reset(self, seed: int) -> Seen:
        """Start every copy anew."""
        self._seed = seed
        self._episode_numbers[:] = -1
        self._restart(np.arange(self.count))
        return self._seen

    def step(self, actions: IntArray) -> Outcome:
        """Decide, trade one bar, reward; settle and restart the copies whose episode has ended."""
        copies, seen = self.copies, self._seen
        step_copies(self._handle, actions, True)
        ends = copies.ends
        restarted = ends != GOES_ON
        if not restarted.any():
            return Outcome(copies.rewards, self._nobody, self._nobody, restarted, seen, seen)
        terminated = (ends == TERMINATED)[:, None] & self._alive
        truncated = (ends == TRUNCATED)[:, None] & self._alive
        # A terminated copy has nobody left to see its end.
        places = np.flatnonzero(restarted)
        last = seen.of(places)
        self._restart(places)
        return Outcome(copies.rewards, terminated, truncated, restarted, MergedSeen(seen, places, last), seen)

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
            rows_in(self.lanes).out
        )  # One decision a bar meets no rate, and no order of another episode may pass for an equal one.
        self._episode_numbers[:] = saved["episode_numbers"]
        self._seed = int(saved["seed"][0])
        observe_copies(self._handle)
        return self._seen

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
            "limits": rows.limits,
            "portfolio": rows.portfolio,
            "out": rows.out,
            "working": rows.working[:, :orders],
            "episodes": self.copies.episodes,
        }

    def _most_orders(self) -> int:
        """The most orders that a copy has working."""
        return int(max(self.lanes.step["slots"].max(), rows_in(self.lanes).out["count"].max()))

    def _restart(self, places: IntArray) -> None:
        self._episode_numbers[places] += 1
        start_copies(self._handle, places, episode_seeds(self._seed, places, self._episode_numbers[places]))


def env_spec(ground: Ground) -> EnvSpec:
    """Agents and sizes of the environment on ``ground``."""
    heads = ground.architecture.heads
    return EnvSpec(
        agents=tuple(head.agent for head in heads),
        observation_sizes=ground.observation_sizes,
        action_counts=tuple(len(head.actions) for head in heads),
        state_size=ground.state_size,
    )


def order_slots(ground: Ground) -> int:
    """So many orders can work at once in the longest episode."""
    return ORDER_SLOTS + (ground.settings.bars_of("tactical") if ground.layer == "tactical" else 0)


def _as_bytes(array: Rows) -> NDArray[np.uint8]:
    return np.frombuffer(array.tobytes(), np.uint8).copy()


# -- one step, from Python ---------------------------------------------------------------------------------------------


@kernel(borrows=True)
def start_copies(handle: IntArray, places: IntArray, seeds: IntArray) -> None:
    """A new episode in each copy of ``places`` (K,), drawn from ``seeds`` (K,), and what is seen there; ``handle``: ``table_of(Copies)``."""
    copies = _open_copies(handle)
    tables, lanes, markets = open_tables(copies.tables), open_lanes(copies.lanes), open_markets(copies.markets)
    for k in range(len(places)):
        n = places[k]
        market, g = draw_start(tables, seeds[k])
        start_lane(lanes, n, markets, market, g)
        begin(tables, copies.episodes[n], seeds[k], g)
        take_stock(tables, copies.account[n], copies.episodes[n])
        _observe(tables, copies, n)


@kernel(borrows=True)
def step_copies(handle: IntArray, actions: IntArray, observes: bool) -> None:
    """One step of every copy: ``actions`` (N, A), the bar, the reward, the end, and with ``observes`` what is seen then."""
    copies = _open_copies(handle)
    tables, lanes, markets = open_tables(copies.tables), open_lanes(copies.lanes), open_markets(copies.markets)
    for n in range(len(copies.episodes)):
        account, episode = copies.account[n], copies.episodes[n]
        _decide(tables, account, episode, actions, n)
        if episode.wish_asked:
            pursue_target(lanes, n, markets, episode.wish_lots, episode.wish_urgency, episode.wish_stop)
        walk_bar(lanes, n, markets)
        end = find_end(tables, account, episode)
        if end != GOES_ON:
            settle_lane(lanes, n, markets)
        copies.ends[n] = end
        _reward(tables, copies, n)
        take_stock(tables, account, episode)
    if observes:  # A pass of its own: the windows would push the accounts out of the nearest memory, one by one.
        for n in range(len(copies.episodes)):
            _observe(tables, copies, n)


@kernel(borrows=True)
def observe_copies(handle: IntArray) -> None:
    """What is seen now in every copy."""
    copies = _open_copies(handle)
    for n in range(len(copies.episodes)):
        _observe(open_tables(copies.tables), copies, n)


# -- the parts of a step, for a form whose account is another one ------------------------------------------------------


@kernel(borrows=True)
def begin_copy(handle: IntArray, seed: int, g: int) -> None:
    """The only copy begins at bar ``g``, where its account stands."""
    copies = _open_copies(handle)
    tables = open_tables(copies.tables)
    begin(tables, copies.episodes[0], seed, g)
    take_stock(tables, copies.account[0], copies.episodes[0])
    _observe(tables, copies, 0)


@kernel(borrows=True)
def decide_copy(handle: IntArray, actions: IntArray) -> None:
    """The wish of the only copy."""
    copies = _open_copies(handle)
    _decide(open_tables(copies.tables), copies.account[0], copies.episodes[0], actions, 0)


@kernel(borrows=True)
def end_copy(handle: IntArray) -> int:
    """How the episode of the only copy stands after the bar."""
    copies = _open_copies(handle)
    copies.ends[0] = find_end(open_tables(copies.tables), copies.account[0], copies.episodes[0])
    return int(copies.ends[0])


@kernel(borrows=True)
def reward_copy(handle: IntArray) -> None:
    """The reward of the only copy, and what is seen then."""
    copies = _open_copies(handle)
    tables = open_tables(copies.tables)
    _reward(tables, copies, 0)
    take_stock(tables, copies.account[0], copies.episodes[0])
    _observe(tables, copies, 0)


@kernel(borrows=True)
def start_of(handle: IntArray, seed: int) -> tuple[int, int]:
    """The market and the bar at which the episode of ``seed`` begins."""
    return draw_start(open_tables(_open_copies(handle).tables), seed)


@kernel
def _decide(tables: Any, account: Any, episode: Any, actions: IntArray, n: int) -> None:
    if tables.numbers[0].is_tactical:
        decide_tactical(tables, account, episode, actions, n)
    else:
        decide_strategic(tables, account, episode, actions, n)


@kernel
def _reward(tables: Any, copies: Any, n: int) -> None:
    account, episode = copies.account[n], copies.episodes[n]
    copies.rewards[n, :] = reward(tables, account, episode, copies.terms[n])
    next_exposure(tables, account, episode)


@kernel
def _observe(tables: Any, copies: Any, n: int) -> None:
    account, episode = copies.account[n], copies.episodes[n]
    if tables.numbers[0].is_tactical:
        observe_tactical(tables, account, episode, copies.observations, copies.state, n)
    else:
        observe_strategic(tables, account, episode, copies.observations, copies.state, n)
