"""Which controls the rules and the best systems ask for, where each of them is done, and what makes it act today.

The ids are those of a public list (RTS 6, SEC 15c3-5, FIA PTG and others). A control is done by named checks of the gate, by a
mechanism elsewhere, or not at all; ``reached_by`` says what of a run reaches it, and ``lacking`` what of the published control is
not there. One test holds the list complete, another takes every row and every trigger to a record that shows it: a row without
such a record does not pass.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from grandmodel.risk.breakers import Trigger

ReachedBy = Literal["agent", "feed", "command", "signal", ""]
"""An agent's wish, the market data, a person's ``Command``, a measured ``Signal`` (both from ``--commands FILE`` or a program that
holds the ``Session``; no control socket yet), or nothing."""


class Control(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One control."""

    checks: tuple[str, ...] = ()
    """Names of pre-trade checks (``reasons.CHECK_NAMES``)."""
    elsewhere: str = ""
    """The mechanism outside the checks."""
    reached_by: ReachedBy = ""
    """What makes it act in a run today; empty: nothing does."""
    lacking: str = ""
    """What the published control asks for and is not done, and why; empty: nothing."""

    @property
    def covered(self) -> bool:
        """Whether anything of it acts today."""
        return self.reached_by != ""


CONTROLS: dict[str, Control] = {
    "price_collar": Control(
        checks=("price_collar",), elsewhere="over a period: the volatility trigger of the ladder", reached_by="agent"
    ),
    "max_order_value": Control(checks=("order_notional",), reached_by="agent"),
    "max_order_volume": Control(checks=("order_quantity",), reached_by="agent"),
    "max_messages": Control(
        checks=("message_rate",), reached_by="agent", lacking="cancels count and are never refused"
    ),
    "include_all_sent_orders": Control(
        checks=("position_long", "position_short", "position_overall", "gross_exposure", "net_exposure"),
        elsewhere="working.WorkingOrders: an approved order counts in full at once",
        reached_by="agent",
    ),
    "repeated_execution_throttle": Control(
        checks=("repeated_orders",),
        elsewhere="a side stays shut until RESET_THROTTLE from a named role with a reason; by itself only after "
        "flow.throttle_release_ns, which is off unless set (a backtest without a settings file: a day)",
        reached_by="agent",
        lacking="it counts by instrument and side of the account, not by strategy",
    ),
    "market_credit_limits": Control(
        checks=("gross_exposure", "net_exposure", "concentration", "margin"),
        elsewhere="per instrument and account",
        reached_by="agent",
        lacking="one account per engine, so no limit per client, trader, desk or firm",
    ),
    "credit_capital_threshold_aggregate": Control(
        checks=("gross_exposure", "margin", "var"),
        reached_by="agent",
        lacking="the sum is over one account, not over customers or a firm",
    ),
    "duplicate_order": Control(checks=("duplicate",), reached_by="agent"),
    "permission_to_trade": Control(
        checks=("authorised_instrument",),
        reached_by="agent",
        lacking="one list for the run, not one per trader or agent",
    ),
    "restricted_list": Control(checks=("restricted_list",), reached_by="agent"),
    "authorised_access": Control(
        lacking="nobody is identified: whoever may start the command, or write its --commands file, is taken at their word; "
        "name/role is only compared with breakers.release_roles. Access is what the operating system grants to the files"
    ),
    "pre_entry_regulatory": Control(
        lacking="futures and spot need no locate; a share desk would add it as a check",
    ),
    "override": Control(
        lacking="left out on purpose: nobody can send one blocked order; a limit is changed in the settings, on record"
    ),
    "kill": Control(
        checks=("breaker",),
        elsewhere="the commands KILL and STOP: every working order is cancelled by its id in the same step, protective stops "
        "too, and nothing leaves; positions stay",
        reached_by="command",
        lacking="the whole account at once, not one agent or venue; a running session is told by its file or by the program that "
        "holds it, not from outside; ending the process neither cancels nor flattens",
    ),
    "kill_reset": Control(
        elsewhere="BreakerLadder.release through the commands RELEASE and RESUME: named role, reason, two people from killed",
        reached_by="command",
        lacking="the names are not proven: authorised_access",
    ),
    "cancel_on_disconnect": Control(
        checks=("breaker",),
        elsewhere="the disconnect trigger moves the ladder to halt, which cancels and flattens",
        reached_by="signal",
        lacking="no command holds a link to a venue, so nothing measures one: the signal comes from a file or a program",
    ),
    "volatility_pause": Control(
        checks=("session", "breaker"),
        elsewhere="the volatility trigger and shock detection",
        reached_by="feed",
        lacking="a spike of volume alone is not watched",
    ),
    "daily_loss": Control(
        checks=("daily_loss",),
        elsewhere="reduce and halt close positions by themselves",
        reached_by="feed",
        lacking="per account only, not per instrument, asset class or strategy",
    ),
    "drawdown": Control(
        checks=("drawdown",),
        elsewhere="the ladder reduces and flattens",
        reached_by="feed",
        lacking="per account only, not per instrument",
    ),
    "position_limit_derivatives": Control(
        checks=("position_long", "position_short", "position_overall"), reached_by="agent"
    ),
    "self_match_prevention": Control(
        checks=("self_match",),
        elsewhere="refuses the newest; scope is the account",
        reached_by="agent",
        lacking="cancelling the oldest or both; a stop that triggers is not asked again",
    ),
    "parent_child_fanout": Control(
        checks=("order_rules", "message_rate"),
        elsewhere="children are no larger than their parent and opposite to it",
        reached_by="agent",
        lacking="messages are counted in all, not per parent",
    ),
    "basket_notional": Control(
        checks=("gross_exposure", "order_rate"),
        elsewhere="every order of a basket counts before the next is checked",
        reached_by="agent",
    ),
    "reduce_only": Control(
        checks=("breaker",),
        elsewhere="PAUSE, and the ladder from reduce on: what would add is refused",
        reached_by="command",
    ),
    "free_balance_margin": Control(checks=("margin",), reached_by="agent"),
    "instrument_rules": Control(
        checks=("order_rules", "order_quantity"),
        elsewhere="prices are whole ticks and quantities whole lots by type",
        reached_by="agent",
    ),
    "real_time_alert": Control(
        elsewhere="an alert is part of the record of the step that caused it, with the same time",
        reached_by="feed",
        lacking="nobody is called: it stands on the record, in the summary and on the page",
    ),
    "drop_copy_reconcile": Control(
        lacking="there is no second record to compare with: no drop copy and no statement of a broker or clearer is read. A report "
        "on an unknown order stops the run, and recovery asks the venue which requests it knows"
    ),
}
"""By id."""

TRIGGERS: dict[Trigger, Control] = {
    Trigger.DAILY_LOSS: Control(elsewhere="equity at every tick, by the line in the market step", reached_by="feed"),
    Trigger.DRAWDOWN: Control(elsewhere="equity at every tick, by the line in the market step", reached_by="feed"),
    Trigger.VAR_BREACH: Control(elsewhere="RiskGate.on_bars, at each row of returns", reached_by="feed"),
    Trigger.CORRELATION_SHOCK: Control(elsewhere="RiskGate.on_bars, at each row of returns", reached_by="feed"),
    Trigger.VOLATILITY: Control(elsewhere="RiskGate.on_bars, at each row of returns", reached_by="feed"),
    Trigger.LOSS_STREAK: Control(elsewhere="RiskGate.on_report, when a round trip ends", reached_by="agent"),
    Trigger.DATA_QUALITY: Control(
        elsewhere="RiskGate.on_bars counts bars marked bad; a Signal where somebody else counts", reached_by="feed"
    ),
    Trigger.ORDER_REJECTS: Control(elsewhere="RiskGate.on_report, when the venue rejects", reached_by="feed"),
    Trigger.LATENCY: Control(elsewhere="a Signal of whoever holds a clock: the engine reads none", reached_by="signal"),
    Trigger.MARKET_WIDE: Control(
        elsewhere="a Signal with the fall of the market's index",
        reached_by="signal",
        lacking="no feed carries the index, so nothing measures it: the signal comes from a file or a program",
    ),
    Trigger.DISCONNECT: Control(
        elsewhere="a Signal, 1 while the link is lost",
        reached_by="signal",
        lacking="no command holds a link to a venue, so nothing measures one: the signal comes from a file or a program",
    ),
    Trigger.PERSON: Control(elsewhere="the commands KILL, STOP, RELEASE and RESUME", reached_by="command"),
}
"""What each trigger of the ladder is measured by."""
