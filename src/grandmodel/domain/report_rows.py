"""A venue's reports as rows of plain integers, for compiled code, and the values for people that rows stand for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.ids import ExecId, InstrumentId, OrderId
from grandmodel.domain.orders import ExecType, ExecutionReport, Fill, PriceReference, Reason, Side, Tag

_I8 = "<i8"

REPORT = np.dtype(
    [
        ("due", _I8),
        ("ts_event", _I8),
        ("exec_id", _I8),
        ("order_id", _I8),
        ("instrument", _I8),  # -1 where the venue does not know the order
        ("exec_type", _I8),  # the ASCII code of the FIX value
        ("last_quantity", _I8),
        ("last_price", _I8),
        ("leaves", _I8),
        ("cumulative", _I8),
        ("maker", _I8),
        ("reason", _I8),  # place in ``Reason``
        ("arrival_price", _I8),
        ("arrival_kind", _I8),  # place in ``PriceReference``
    ]
)
"""One row a report on its way to us, or one that has come."""

HEARD = np.dtype(
    [
        ("code", _I8),  # TAKEN, or why it was not
        ("instrument", _I8),
        ("side", _I8),
        ("status", _I8),  # that the order has now, the ASCII code of the FIX value
        ("filled", _I8),  # lots of the order so far
        ("reference", _I8),  # the mark when the order was decided; UNDEFINED_PRICE where there was none
        ("tag", _I8),  # of the order, as its keeper numbers them
        (
            "slippage_from",
            _I8,
        ),  # of a fill: the price that its slippage is measured from; UNDEFINED_PRICE where there is none
        ("slippage_kind", _I8),  # which that is, a place in ``PriceReference``
        ("fee", _I8),  # of a fill, micros
        ("booked", _I8),  # what came of a fill in the books
        ("risk", _I8),  # what risk has to tell of it (``risk.taking``)
        ("sequence", _I8),  # the order's among those that risk let leave
        ("account", _I8),  # row of the account whose order it is (``risk.tree``)
    ]
)
"""One row a report: what came of it."""

TAKEN, REPEATED, NOT_OPEN, UNKNOWN, TOO_MUCH = range(5)
"""What came of a report: folded in; seen before; a refusal of what has ended; of an order that is not open; a fill that cannot be."""

EXEC_CODES = {kind: ord(kind.value) for kind in ExecType}
"""Execution types as rows have them."""

_EXEC_TYPES = {code: kind for kind, code in EXEC_CODES.items()}
_REASONS, _REFERENCES = tuple(Reason), tuple(PriceReference)
_SIDES = {int(side): side for side in Side}


def report_row(report: ExecutionReport) -> tuple[int, ...]:
    """A row of ``REPORT`` for a report from outside; its instrument is that of the order, which whoever keeps the order knows."""
    return (
        report.ts_init, report.ts_event, report.exec_id, report.order_id, -1, EXEC_CODES[report.exec_type], report.last_quantity,
        report.last_price, report.leaves, report.cumulative, int(report.maker), _REASONS.index(report.reason),
        UNDEFINED_PRICE if report.arrival_price is None else report.arrival_price, _REFERENCES.index(report.arrival_reference),
    )  # fmt: skip


def report_of(values: Sequence[int]) -> ExecutionReport:
    """The report that a row of ``REPORT``, as plain values, stands for. What a market order met on arrival is told with its fills."""
    (
        ts_init,
        ts_event,
        exec_id,
        order_id,
        _,
        exec_type,
        lots,
        price,
        leaves,
        cumulative,
        maker,
        reason,
        arrival,
        kind,
    ) = values
    is_priced = lots > 0 and kind > 0
    return ExecutionReport(
        exec_id=ExecId(exec_id),
        order_id=OrderId(order_id),
        exec_type=_EXEC_TYPES[exec_type],
        ts_event=ts_event,
        ts_init=ts_init,
        last_quantity=lots,
        last_price=price,
        leaves=leaves,
        cumulative=cumulative,
        maker=maker == 1,
        reason=_REASONS[reason],
        arrival_price=arrival if is_priced and arrival != UNDEFINED_PRICE else None,
        arrival_reference=_REFERENCES[kind] if is_priced else PriceReference.NONE,
    )


def fill_of(
    report: ExecutionReport, instrument: InstrumentId, side: int, fee: int, reference: int, tag: Tag, slippage_from: int, kind: int
) -> Fill:  # fmt: skip
    """The fill that ``report`` tells of; the rest as a row of ``HEARD`` has it, the tag as text."""
    tag, account = (tag, "") if isinstance(tag, str) else tag
    return Fill(
        exec_id=report.exec_id,
        order_id=report.order_id,
        instrument=instrument,
        side=_SIDES[side],
        quantity=report.last_quantity,
        price=report.last_price,
        fee_micros=fee,
        ts_event=report.ts_event,
        ts_init=report.ts_init,
        maker=report.maker,
        reference_price=None if reference == UNDEFINED_PRICE else reference,
        tag=tag,
        slippage_from=None if slippage_from == UNDEFINED_PRICE else slippage_from,
        slippage_reference=_REFERENCES[kind],
        account=account,
    )
