"""What makes it certain, before a run begins, that it cannot trade: said at once instead of a run full of refusals.

Only certainties are looked for: a setting or a span of data that no later row can mend. ``run_feed`` asks before the run folder is
made; a replay never does. Read next: ``runs.py``.
"""

from __future__ import annotations

import numpy as np

from grandmodel.data.historical.profile import text_from_width
from grandmodel.domain.blocks import Block, Schema, schema_of
from grandmodel.domain.errors import OperatingError, UsageError
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import text_from_ns
from grandmodel.runtime.engine import Engine
from grandmodel.runtime.feeds import MarketFeed, SimulatedFeed


def check_can_trade(engine: Engine, feed: MarketFeed) -> None:
    """Raise where the run of ``engine`` on ``feed`` could never send an order that adds risk.

    ``UsageError`` names the setting that makes it so, ``OperatingError`` the data.
    """
    if not engine.asking.agents:
        return  # A run without agents is meant to watch.
    _check_span(engine, feed)
    _check_widths(engine)
    _check_limits(engine)
    if not isinstance(feed, SimulatedFeed):
        first = next(iter(feed.blocks()), None)
        if first is not None and schema_of(first) is Schema.BARS:
            _check_bars(engine, first)
    _check_returns(engine, feed)


def _check_span(engine: Engine, feed: MarketFeed) -> None:
    """Intents are acted on within the data, and some session lies there."""
    start_ns, end_ns = feed.span
    if engine.settings.trade_from_ns > end_ns:
        raise UsageError(
            f"trade_from_ns: found {text_from_ns(engine.settings.trade_from_ns)}, expected a time within the data, which ends "
            f"{text_from_ns(end_ns)}: no intent would be acted on"
        )
    if not any(_overlapping(schedule, start_ns, end_ns) for schedule in feed.schedules):
        names = ", ".join(f"{instrument.id} ({instrument.calendar})" for instrument in feed.instruments)
        raise OperatingError(
            f"{feed.description}: found no session of {names} from {text_from_ns(start_ns)} to {text_from_ns(end_ns)}, so every "
            "order would be out of session: see the instrument's calendar and the data's time zone"
        )


def _check_widths(engine: Engine) -> None:
    """The widths that risk and the agents work on are kept."""
    widths = engine.settings.widths_ns
    kept = _listed(widths)
    var = engine.settings.risk.var.width_ns
    if var not in widths:
        raise UsageError(
            f"risk.var.width_ns: found {text_from_width(var)} ({var}), expected one of widths_ns ({kept}): without its bars no "
            "risk is ever known, and every order is refused"
        )
    for number, needed in enumerate(engine.asking.widths_needed()):
        missing = [width for width in needed if width not in widths]
        if missing:
            raise UsageError(
                f"agents[{number}] {engine.asking.names[number]}: found that it decides on bars of {_listed(missing)}, expected some of widths_ns "
                f"({kept}): it would never act; set its width_ns (--agent-set width_ns={widths[-1]}) or widths_ns"
            )


def _check_limits(engine: Engine) -> None:
    """Some instrument may be traded at all."""
    risk = engine.settings.risk
    why = []
    for instrument in engine.instruments:
        name = instrument.id
        limits = risk.instruments.get(name, risk.limits)
        where = f"risk.instruments.{name}" if name in risk.instruments else "risk.limits"
        if risk.authorised and name not in risk.authorised:
            why.append(f"risk.authorised lacks {name}")
        elif name in risk.restricted:
            why.append(f"risk.restricted holds {name}")
        elif limits.max_order_lots == 0:
            why.append(f"{where}.max_order_lots is 0")
        elif limits.max_long_lots == 0 and limits.max_short_lots == 0:
            why.append(f"{where}.max_long_lots and max_short_lots are 0")
        elif risk.portfolio.max_overall_lots == 0:
            why.append("risk.portfolio.max_overall_lots is 0")
    if len(why) == len(engine.instruments):
        raise UsageError(f"{'; '.join(why)}: found no instrument that may be traded, expected one")


def _check_bars(engine: Engine, first: Block) -> None:
    """The data's bars are no wider than the bars that risk and the agents work on."""
    widths = first["ts_event"] - first["ts_open"]
    shortest, usual = int(widths.min()), int(np.median(widths))
    needed = {"risk.var.width_ns": engine.settings.risk.var.width_ns}
    for number, widths_of in enumerate(engine.asking.widths_needed()):
        needed |= {f"agents[{number}] {engine.asking.names[number]}": of_agent for of_agent in widths_of}
    for name, of_need in needed.items():
        if shortest > of_need:
            raise UsageError(
                f"{name}: found bars of {text_from_width(of_need)}, expected {text_from_width(usual)} ({usual}) or wider, as the data's "
                "bars are: shorter ones cannot be made of them; set widths_ns, risk.var.width_ns and the agent's width_ns"
            )


def _check_returns(engine: Engine, feed: MarketFeed) -> None:
    """The data are long enough for the risk of some instrument to become known."""
    var = engine.settings.risk.var
    start_ns, end_ns = feed.span
    most = 0
    for schedule in feed.schedules:
        opens, closes = np.maximum(schedule.open_ns, start_ns), np.minimum(schedule.close_ns, end_ns)
        inside = np.maximum(closes - opens, 0)
        most = max(most, int((-(-inside // var.width_ns) + (inside > 0)).sum()))
    if most <= var.min_returns:
        raise OperatingError(
            f"{feed.description}: found room for {most} bars of {text_from_width(var.width_ns)} in its sessions, expected more than "
            f"risk.var.min_returns ({var.min_returns}): before that no risk is known and every order is refused; take more data "
            "or lower it"
        )


def _overlapping(schedule: SessionSchedule, start_ns: int, end_ns: int) -> bool:
    return bool(((schedule.close_ns > start_ns) & (schedule.open_ns <= end_ns)).any())


def _listed(widths_ns: tuple[int, ...] | list[int]) -> str:
    return ", ".join(text_from_width(width) for width in widths_ns)
