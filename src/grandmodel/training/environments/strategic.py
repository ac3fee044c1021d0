"""The strategic environment's own part: what the strategic agents see at a 30-minute close, and what their choices ask for.

The Coordinator's action names the agent to follow, the followed agent's action the direction. Drawn from the Coordinator's
weights and that agent's belief, the direction is a draw from the collapsed belief. Read ``episodes.py`` first.
"""

from __future__ import annotations

from typing import Any

from grandmodel.kernels import kernel
from grandmodel.models.architecture import STRATEGIC_AGENTS
from grandmodel.models.choices import AGGRESSIVE, part_of_gap, strategic_target
from grandmodel.models.tails import write_strategic_tail
from grandmodel.training.environments.episodes import (
    copy_numbers,
    copy_window,
    day_loss,
    horizon_risk,
    is_too_little,
)

_COORDINATOR = len(STRATEGIC_AGENTS)
_ROWS = 48


@kernel
def decide_strategic(tables: Any, account: Any, episode: Any, actions: Any, n: int) -> None:
    """Turn ``actions[n]`` (A,) into the wish of the episode."""
    numbers = tables.numbers[0]
    followed = actions[n, _COORDINATOR]
    target = strategic_target(actions[n, followed], episode.full_lots)
    if is_too_little(account.lots, target, numbers.dead_band * episode.full_lots):
        target = account.lots
    episode.target = target
    episode.wish_asked = 1
    episode.wish_lots = part_of_gap(account.lots, target, numbers.slices)
    episode.wish_urgency = AGGRESSIVE
    episode.wish_stop = 0


@kernel
def observe_strategic(tables: Any, account: Any, episode: Any, observations: Any, state: Any, n: int) -> None:
    """What is seen at the account's bar, into ``observations[n]`` (A, F) and ``state[n]`` (S,)."""
    numbers = tables.numbers[0]
    g = account.row
    bar = tables.bars[g]
    for a in range(_COORDINATOR):
        copy_window(tables, a, _ROWS, g, observations, n, a)
    newest = tables.newest[g]
    row, tail = state[n, : len(newest)], state[n, len(newest) :]
    copy_numbers(newest, row)
    write_strategic_tail(
        tail,
        bar.time_of_day,
        bar.day_of_week,
        account.lots,
        episode.full_lots,
        account.open_profit_micros,
        horizon_risk(tables, account),
        episode.drawdown,
        numbers.drawdown_limit,
        day_loss(account),
        numbers.day_loss_limit,
        episode.target,
        account.bars_held,
        bar.scale,
        tables.markets[account.market].mean_scale,
    )
    copy_numbers(tail, observations[n, _COORDINATOR, : len(tail)])
