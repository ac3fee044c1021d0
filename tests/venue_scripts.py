"""Short ways to say what is asked of the simulated venue and to read what it answers, for its unit tests."""

from grandmodel.domain.ids import OrderId
from grandmodel.domain.orders import CancelOrder, Order, OrderType, ReplaceOrder, Side, TimeInForce
from grandmodel.simulation.models import FillRuleName, LiquidityName, PerLotFee, VenueSettings
from reference_exchange import drive_compiled
from strategies import ALL_DAY, CL, NQ

MARKET, LIMIT, STOP, STOP_LIMIT = OrderType.MARKET, OrderType.LIMIT, OrderType.STOP, OrderType.STOP_LIMIT
BUY, SELL = Side.BUY, Side.SELL


def order(number, side, quantity, kind=MARKET, price=None, stop=None, **more):
    """An order in NQ; its time is that of the row it is asked after."""
    return Order(
        order_id=OrderId(number), instrument=more.pop("instrument", NQ.id), side=side, quantity=quantity, ts=0,
        order_type=kind, price=price, stop_price=stop, **more,
    )  # fmt: skip


def bracket(parent, number, stop, target, **more):
    """A bracket's two exits for ``parent``."""
    shared = {"parent": parent.order_id, "oco_group": int(parent.order_id), "time_in_force": TimeInForce.GTC} | more
    side = Side(-int(parent.side))
    return (
        order(number, side, parent.quantity, STOP, stop=stop, **shared),
        order(number + 1, side, parent.quantity, LIMIT, price=target, **shared),
    )


def cancel(number):
    return CancelOrder(order_id=OrderId(number), ts=0)


def change(number, quantity, **prices):
    return ReplaceOrder(order_id=OrderId(number), ts=0, quantity=quantity, **prices)


def said(script, schedules=(ALL_DAY, ALL_DAY), **venue):
    """Every report over ``script``, a list of rows and of (row, request, ...)."""
    steps = [(step[0], list(step[1:])) if isinstance(step, tuple) else (step, []) for step in script]
    fields = {
        "fees": PerLotFee(per_lot_micros=0),
        "fill_rule": FillRuleName.THROUGH,
        "half_spread_ticks": 0,
        "far_prints_ppm": 0,
    } | venue
    return drive_compiled(steps, VenueSettings(**fields), schedules, (NQ, CL))


def fills(script, **venue):
    """(order, lots, price) of every fill over ``script``."""
    return [(one.order_id, one.lots, one.price) for one in said(script, **venue) if one.kind == "F"]


def ends(script, **venue):
    """(order, reason) of every order that ended without filling whole."""
    return [(one.order_id, one.reason) for one in said(script, **venue) if one.kind in "48C"]


TOUCH = {"fill_rule": FillRuleName.TOUCH}
THROUGH = {"fill_rule": FillRuleName.THROUGH}
QUEUE = {"fill_rule": FillRuleName.QUEUE}
UNLIMITED = {"liquidity": LiquidityName.UNLIMITED}
