"""The tactical environment's own part: what the three agents see at a 5-minute close, and what their choices ask for.

All three see the same window and tail. ``models/choices.py`` maps their actions; the tactical decision engine calls the same
functions. Read ``episodes.py`` first.
"""

from __future__ import annotations

from typing import Any

from grandmodel.kernels import kernel
from grandmodel.models.architecture import EXECUTION_ACTIONS
from grandmodel.models.choices import WAIT, tactical_stop, tactical_target, tactical_urgency
from grandmodel.models.tails import write_tactical_tail
from grandmodel.training.environments.episodes import (
    copy_numbers,
    copy_window,
    day_loss,
    horizon_risk,
    is_too_little,
)

_ROWS = 60
_AGGRESSIVE = EXECUTION_ACTIONS.index("aggressive")


@kernel
def decide_tactical(tables: Any, account: Any, episode: Any, actions: Any, n: int) -> None:
    """Turn ``actions[n]`` (3,) into the wish of the episode."""
    numbers = tables.numbers[0]
    stance, risk, execution = actions[n, 0], actions[n, 1], actions[n, 2]
    episode.wish_urgency = tactical_urgency(execution)
    episode.wish_asked = episode.wish_urgency != WAIT
    held, full_lots = account.lots, episode.full_lots
    whole = tactical_target(stance, risk, _AGGRESSIVE, episode.exposure, full_lots, held)
    if is_too_little(held, whole, numbers.dead_band * full_lots):
        episode.wish_lots = held
    else:
        episode.wish_lots = tactical_target(stance, risk, execution, episode.exposure, full_lots, held)
    episode.wish_stop = tactical_stop(risk, tables.bars[episode.bar].scale)
    if episode.wish_asked:
        episode.target = episode.wish_lots


@kernel
def observe_tactical(tables: Any, account: Any, episode: Any, observations: Any, state: Any, n: int) -> None:
    """What is seen at the account's bar, into ``observations[n]`` (3, F) and ``state[n]`` (S,)."""
    numbers = tables.numbers[0]
    g = account.row
    newest = tables.newest[g]
    row, tail = state[n, : len(newest)], state[n, len(newest) :]
    copy_numbers(newest, row)
    write_tactical_tail(
        tail,
        episode.exposure,
        tables.bars[g].age,
        account.lots,
        episode.full_lots,
        account.open_profit_micros,
        horizon_risk(tables, account),
        episode.drawdown,
        numbers.drawdown_limit,
        day_loss(account),
        numbers.day_loss_limit,
        account.bars_held,
        account.working > 0,
    )
    for a in range(3):
        place = copy_window(tables, 0, _ROWS, g, observations, n, a)
        copy_numbers(tail, observations[n, a, place : place + len(tail)])
