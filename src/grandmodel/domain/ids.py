"""Distinct types for identifiers, so that an order id cannot pass for an instrument id."""

from typing import NewType

InstrumentId = NewType("InstrumentId", str)
"""The short name of an instrument within a run: ``NQ``, ``CL``, ``6E``."""

OrderId = NewType("OrderId", int)
"""An order's number within a run: 1, 2, 3 in the order in which the engine made them."""

RunId = NewType("RunId", str)
"""The name of a run; also the name of its folder."""

ExecId = NewType("ExecId", int)
"""An execution report's number, unique at its venue within a run."""


def client_order_id(run: RunId, order: OrderId) -> str:
    """The id under which a venue knows an order; equal for equal orders, so sending twice cannot double it."""
    return f"{run}-{order}"
