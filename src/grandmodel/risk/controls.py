"""Which controls the rules and the best systems ask for, and where each of them is done.

The ids are those of a public list (RTS 6, SEC 15c3-5, FIA PTG and others). A control is done by named checks of the gate,
by a mechanism elsewhere, or not at all, and then the reason stands here. A test holds the list complete.
"""

from __future__ import annotations

import msgspec


class Control(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One control."""

    checks: tuple[str, ...] = ()
    """Names of pre-trade checks (``reasons.CHECK_NAMES``)."""
    elsewhere: str = ""
    """The mechanism outside the checks, or why there is none."""
    covered: bool = True


CONTROLS: dict[str, Control] = {
    "price_collar": Control(checks=("price_collar",), elsewhere="over a period: the volatility trigger of the ladder"),
    "max_order_value": Control(checks=("order_notional",)),
    "max_order_volume": Control(checks=("order_quantity",)),
    "max_messages": Control(checks=("message_rate",)),
    "include_all_sent_orders": Control(
        checks=("position_long", "position_short", "position_overall", "gross_exposure", "net_exposure"),
        elsewhere="working.WorkingOrders: an approved order counts in full at once",
    ),
    "repeated_execution_throttle": Control(checks=("repeated_orders",), elsewhere="RiskGate.reset_throttle, by a role"),
    "market_credit_limits": Control(
        checks=("gross_exposure", "net_exposure", "concentration", "margin"),
        elsewhere="per instrument and account; one account per engine, so no client or desk level",
    ),
    "credit_capital_threshold_aggregate": Control(checks=("gross_exposure", "margin", "var")),
    "duplicate_order": Control(checks=("duplicate",)),
    "permission_to_trade": Control(checks=("authorised_instrument",)),
    "restricted_list": Control(checks=("restricted_list",)),
    "authorised_access": Control(elsewhere="the security room: identities and roles guard every command and endpoint"),
    "pre_entry_regulatory": Control(
        covered=False, elsewhere="futures and spot need no locate; a share desk would add it as a check"
    ),
    "override": Control(
        covered=False,
        elsewhere="left out on purpose: nobody can send one blocked order; a limit is changed in the settings, on record",
    ),
    "kill": Control(checks=("breaker",), elsewhere="RiskGate.kill cancels every working order by its id"),
    "kill_reset": Control(elsewhere="BreakerLadder.release: named role, reason, two people from killed"),
    "cancel_on_disconnect": Control(checks=("breaker",), elsewhere="the disconnect trigger moves the ladder to halt"),
    "volatility_pause": Control(checks=("session", "breaker"), elsewhere="shock detection and the volatility trigger"),
    "daily_loss": Control(
        checks=("daily_loss",), elsewhere="per account; reduce and halt close positions by themselves"
    ),
    "drawdown": Control(checks=("drawdown",), elsewhere="per account; the ladder reduces and flattens"),
    "position_limit_derivatives": Control(checks=("position_long", "position_short", "position_overall")),
    "self_match_prevention": Control(checks=("self_match",), elsewhere="refuses the newest; scope is the account"),
    "parent_child_fanout": Control(
        checks=("order_rules", "message_rate"),
        elsewhere="children are no larger than their parent and opposite to it; messages are counted, not per parent",
    ),
    "basket_notional": Control(
        checks=("gross_exposure", "order_rate"), elsewhere="every order of a basket counts before the next is checked"
    ),
    "reduce_only": Control(checks=("breaker",)),
    "free_balance_margin": Control(checks=("margin",)),
    "instrument_rules": Control(
        checks=("order_rules", "order_quantity"), elsewhere="prices are whole ticks and quantities whole lots by type"
    ),
    "real_time_alert": Control(elsewhere="alerts are part of the record of the step that caused them"),
    "drop_copy_reconcile": Control(
        elsewhere="the compliance and runtime rooms; here a report on an unknown order is an alert"
    ),
}
"""By id."""
