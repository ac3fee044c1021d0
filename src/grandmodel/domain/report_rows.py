"""A venue's reports as rows of plain integers, for compiled code; ``domain.orders.ExecutionReport`` is the same for people."""

from __future__ import annotations

import numpy as np

from grandmodel.domain.orders import ExecType, ExecutionReport

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
        ("reason", _I8),
        ("arrival_price", _I8),
        ("arrival_kind", _I8),
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
        ("fee", _I8),  # of a fill, micros
        ("booked", _I8),  # what came of a fill in the books
        ("risk", _I8),  # what risk has to tell of it (``risk.taking``)
        ("sequence", _I8),  # the order's among those that risk let leave
    ]
)
"""One row a report: what came of it."""

TAKEN, REPEATED, NOT_OPEN, UNKNOWN, TOO_MUCH = range(5)
"""What came of a report: folded in; seen before; a refusal of what has ended; of an order that is not open; a fill that cannot be."""

EXEC_CODES = {kind: ord(kind.value) for kind in ExecType}
"""Execution types as rows have them."""


def report_row(report: ExecutionReport) -> tuple[int, ...]:
    """A row of ``REPORT`` for a report from outside. What only people read (reason, arrival price) stays with ``report``.

    The instrument is that of the order, which whoever keeps the order knows.
    """
    return (
        report.ts_init, report.ts_event, report.exec_id, report.order_id, -1, EXEC_CODES[report.exec_type], report.last_quantity,
        report.last_price, report.leaves, report.cumulative, int(report.maker), 0, 0, 0,
    )  # fmt: skip
