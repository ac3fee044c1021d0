"""One episode's own numbers, and the kernels that both layers and both forms of an environment share.

The way of an episode: ``begin``, then for every bar the layer's own ``observe`` and ``decide`` (``strategic.py``, ``tactical.py``), the bar itself
(the engine, or ``training/lanes.py`` compiled), ``find_end``, ``reward`` and ``next_exposure``. A kernel here works on the rows of one
copy, so that the batched form loops over it and the PettingZoo forms, which have one copy, call the very same code.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel
from grandmodel.models.tails import share_of
from grandmodel.performance.drawdown import compiled_drawdown_of
from grandmodel.risk.breakers import BreakerLadder, Trigger
from grandmodel.risk.distributions import loss_quantile
from grandmodel.risk.sizing import is_inside_dead_band, lots_of_full_exposure
from grandmodel.training.environments.draws import (
    EXPOSURE,
    EXPOSURE_CHANGE,
    EXPOSURE_IS_FLAT,
    MARKET,
    START,
    draw_below,
    draw_unit,
)
from grandmodel.training.environments.rewards import write_reward_terms
from grandmodel.training.environments.settings import EnvSettings
from grandmodel.training.market import HORIZON_BARS, Layer

Rows = NDArray[Any]

EPISODE = np.dtype(
    [
        ("seed", "<i8"),
        ("bars", "<i8"),  # played so far
        ("target", "<i8"),  # lots that the newest decision wants in the end
        ("exposure", "<f8"),  # the strategic one, where the layer has it
        # What is asked of the account at this bar.
        ("wish_asked", "<i8"),  # 0: nothing
        ("wish_lots", "<i8"),
        ("wish_urgency", "<i8"),
        ("wish_stop", "<i8"),
        # As things stand at the present close, until the bar after it is rewarded.
        ("bar", "<i8"),  # g
        ("equity", "<i8"),
        ("peak", "<i8"),  # highest equity at a close; the gate's own also counts what fills within a bar pass through
        ("drawdown", "<f8"),  # the gate's
        ("full_lots", "<f8"),
        ("bar_risk", "<f8"),  # micros: one deviation of a bar's move at full exposure
    ]
)
"""One copy's episode."""

GOES_ON, TERMINATED, TRUNCATED = 0, 1, 2
"""How an episode stands after a bar."""
CHANGE_SHARE = 1.0 / 3.0
"""Chance that a drawn exposure changes at a half-hour close: it is held for an hour and a half on average."""
FLAT_SHARE = 0.25
"""Of the drawn exposures, how many are zero."""


NUMBERS = np.dtype(
    [
        ("volatility_target", "<f8"),
        ("var_quantile", "<f8"),
        ("var_budget", "<f8"),
        ("drawdown_limit", "<f8"),
        ("day_loss_limit", "<f8"),
        ("horizon", "<f8"),
        ("profit_weight", "<f8"),
        ("drawdown_weight", "<f8"),
        ("implementation_weight", "<f8"),
        ("tracking_weight", "<f8"),
        ("dead_band", "<f8"),
        ("episode_bars", "<i8"),
        ("slices", "<i8"),
        ("is_tactical", "<i8"),  # the layer
    ]
)
"""The settings that the kernels need, one row."""


is_too_little = kernel(is_inside_dead_band)
"""The same function that the decision engines call, compiled."""


@kernel
def draw_exposure(seed: int, counter: int) -> float:
    """A strategic exposure: flat at times, else uniform in [-1, 1)."""
    if draw_unit(seed, EXPOSURE_IS_FLAT, counter) < FLAT_SHARE:
        return 0.0
    return 2.0 * draw_unit(seed, EXPOSURE, counter) - 1.0


@kernel
def draw_start(tables: Any, seed: int) -> tuple[int, int]:
    """The market and the bar at which the episode of ``seed`` begins: first the market, all alike, then one of its starts."""
    markets = len(tables.markets)
    able = 0
    for m in range(markets):
        able += tables.markets[m].last_start > tables.markets[m].first_start
    chosen = draw_below(seed, MARKET, 0, able)
    market = -1
    for m in range(markets):
        if tables.markets[m].last_start > tables.markets[m].first_start:
            market = m
            if chosen == 0:
                break
            chosen -= 1
    first = tables.markets[market].first_start
    place = draw_below(seed, START, 0, tables.markets[market].last_start - first)
    return market, int(tables.starts[first + place])


@kernel
def begin(tables: Any, episode: Any, seed: int, g: int) -> None:
    """A new episode, at bar ``g``."""
    episode.seed = seed
    episode.bars = episode.peak = 0
    episode.target = 0
    given = tables.bars[g].exposure
    episode.exposure = draw_exposure(seed, 0) if math.isnan(given) else given


@kernel
def take_stock(tables: Any, account: Any, episode: Any) -> None:
    """How things stand at the account's bar, and what a full exposure is: for what is seen, decided and rewarded there."""
    numbers, market = tables.numbers[0], tables.markets[account.market]
    g = account.row
    scale, tick_value = tables.bars[g].scale, market.tick_value
    episode.bar = g
    episode.equity = account.equity_micros
    episode.peak = max(episode.peak, account.equity_micros)
    episode.drawdown = compiled_drawdown_of(account.equity_micros, account.peak_micros)
    episode.full_lots = lots_of_full_exposure(
        scale,
        tick_value,
        float(account.equity_micros),
        market.bars_per_year,
        market.bars_per_day,
        numbers.volatility_target,
        numbers.var_quantile,
        numbers.var_budget,
    )
    episode.bar_risk = episode.full_lots * scale * tick_value


@kernel
def find_end(tables: Any, account: Any, episode: Any) -> int:
    """After the bar: 0 the episode goes on, 1 it is terminated (the ladder left normal), 2 it is truncated."""
    episode.bars += 1
    if account.ended:
        return TERMINATED
    return (
        TRUNCATED
        if episode.bars >= tables.numbers[0].episode_bars or not tables.bars[account.row].can_step
        else GOES_ON
    )


@kernel
def reward(tables: Any, account: Any, episode: Any, terms: Any) -> float:
    """The reward of the bar that has ended and, where the episode has too, of its settlement; its ``TERMS`` into ``terms`` (4,)."""
    numbers = tables.numbers[0]
    profit = float(account.equity_micros - episode.equity)
    ideal, gap = profit, 0.0
    if numbers.is_tactical:
        move = tables.bars[account.row].close - tables.bars[episode.bar].close
        ideal = episode.exposure * episode.full_lots * move * tables.markets[account.market].tick_value
        gap = episode.exposure - share_of(float(account.lots), episode.full_lots)
    write_reward_terms(
        terms,
        profit,
        ideal,
        episode.bar_risk,
        compiled_drawdown_of(episode.equity, episode.peak),
        compiled_drawdown_of(account.equity_micros, max(episode.peak, account.equity_micros)),
        numbers.drawdown_limit,
        gap,
        numbers.profit_weight,
        numbers.drawdown_weight,
        numbers.implementation_weight,
        numbers.tracking_weight,
    )
    return float(terms[0] + terms[1] + terms[2] + terms[3])


@kernel
def next_exposure(tables: Any, account: Any, episode: Any) -> None:
    """The strategic exposure from the account's bar on: given, or at half-hour closes perhaps drawn anew."""
    bar = tables.bars[account.row]
    given = bar.exposure
    if not math.isnan(given):
        episode.exposure = given
    elif bar.is_decision and draw_unit(episode.seed, EXPOSURE_CHANGE, episode.bars) < CHANGE_SHARE:
        episode.exposure = draw_exposure(episode.seed, episode.bars)


@kernel
def horizon_risk(tables: Any, account: Any) -> float:
    """Money of one deviation of the horizon's move of the lots held, micros."""
    scale, tick_value = tables.bars[account.row].scale, tables.markets[account.market].tick_value
    return float(abs(account.lots) * scale * math.sqrt(tables.numbers[0].horizon) * tick_value)


@kernel
def day_loss(account: Any) -> float:
    """Loss since the start of the trading day as a share of the equity then; negative for a gain."""
    start = account.day_start_micros
    return float((start - account.equity_micros) / start) if start > 0 else 0.0


@kernel
def copy_numbers(numbers: Any, into: Any) -> None:
    """Copy one array into another of its length.

    Both are slices taken before the loop: their places are then known not to be negative, and the loop is compiled to wide copies
    (three windows in 0.1 us instead of 0.8).
    """
    for k in range(len(numbers)):
        into[k] = numbers[k]


@kernel
def copy_window(tables: Any, trunk: int, rows: int, g: int, out: Any, n: int, a: int) -> int:
    """The newest ``rows`` rows of a trunk's columns up to bar ``g``, oldest first, into ``out[n, a]``; how many numbers they are."""
    columns = tables.columns[trunk]
    size = int(rows * columns)
    start = tables.windows_from[trunk] + (g - rows + 1) * columns
    copy_numbers(tables.windows[start : start + size], out[n, a, :size])
    return size


def build_numbers(layer: Layer, settings: EnvSettings) -> Rows:
    """(1,) of ``NUMBERS``: those of ``settings`` for an environment of ``layer``."""
    lane = settings.lane
    ladder, var = BreakerLadder(lane.risk.breakers), lane.risk.var
    row = np.zeros(1, NUMBERS)
    found = {
        "volatility_target": lane.volatility_target,
        "var_quantile": loss_quantile(var.level, var.degrees),
        "var_budget": lane.var_budget,
        "drawdown_limit": float(ladder.limits(Trigger.DRAWDOWN)[0]),
        "day_loss_limit": float(ladder.limits(Trigger.DAILY_LOSS)[0]),
        "horizon": float(HORIZON_BARS[layer]),
        "profit_weight": settings.rewards.profit,
        "drawdown_weight": settings.rewards.drawdown,
        "implementation_weight": settings.rewards.implementation,
        "tracking_weight": settings.rewards.tracking,
        "dead_band": settings.dead_band,
        "episode_bars": settings.bars_of(layer),
        "slices": settings.slices,
        "is_tactical": layer == "tactical",
    }
    for name, value in found.items():
        row[name] = value
    return row
