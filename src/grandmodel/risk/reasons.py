"""The reason codes of risk: why an order was refused or cut. They are on the record, in metrics and in reports."""

from __future__ import annotations

import enum


class RiskReason(enum.StrEnum):
    """One code per way in which a check can say no. The comment of each names its check."""

    NOT_COMPUTED = "not_computed"  # a check that a missing price, rate or mark made impossible
    NOT_AUTHORISED = "not_authorised"  # authorised_instrument
    OUT_OF_SESSION = "out_of_session"  # session
    TRADING_HALTED = "trading_halted"  # session
    INVALID_QUANTITY = "invalid_quantity"  # order_rules
    INVALID_PRICE = "invalid_price"  # order_rules
    EXPIRED = "expired"  # order_rules
    CHILD_MISMATCH = "child_mismatch"  # order_rules: a bracket child on its parent's side or larger than it
    NOTHING_TO_REDUCE = "nothing_to_reduce"  # order_rules: a reduce-only order without a position that it could close
    ORDER_QUANTITY = "order_quantity"
    ORDER_NOTIONAL = "order_notional"
    NO_PRICE = "no_price"  # price_collar: no reference price
    PRICE_COLLAR = "price_collar"
    ORDER_RATE = "order_rate"
    MESSAGE_RATE = "message_rate"
    REPEATED_EXECUTIONS = "repeated_executions"  # repeated_orders
    DUPLICATE = "duplicate"
    SELF_MATCH = "self_match"
    POSITION_LONG = "position_long"
    POSITION_SHORT = "position_short"
    POSITION_OVERALL = "position_overall"
    GROSS_EXPOSURE = "gross_exposure"
    NET_EXPOSURE = "net_exposure"
    CONCENTRATION = "concentration"
    MARGIN = "margin"
    VAR_LIMIT = "var_limit"  # var
    VAR_UNKNOWN = "var_unknown"  # var, stressed_var: too few returns
    STRESSED_VAR_LIMIT = "stressed_var_limit"  # stressed_var
    DRAWDOWN = "drawdown"
    DAILY_LOSS = "daily_loss"
    RESTRICTED = "restricted"  # restricted_list
    STALE_DATA = "stale_data"
    CAUTION_HALF_SIZE = "caution_half_size"  # breaker
    REDUCE_ONLY = "reduce_only"  # breaker
    HALTED_BY_BREAKER = "halted_by_breaker"  # breaker
    PAUSED = "paused"  # breaker
    KILLED = "killed"  # breaker
