"""An order leaves: it counts at once, in full, against every limit of what is out and how fast it went, of every account it concerns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel
from grandmodel.risk.checks import judge
from grandmodel.risk.flow import count_message, count_order
from grandmodel.risk.rows import AccountRows, rows_of
from grandmodel.risk.working import place_of, send


@kernel
def leave(rows: AccountRows, n: int, k: int, quantity: int) -> None:
    """The order asked about in row ``k`` of account ``n`` leaves with ``quantity`` lots; one with a known id is a change of it."""
    asked = rows.asked[n, k]
    if place_of(rows.working, n, rows.out[n].count, asked.order_id) < 0:
        count_order(rows, n, k, quantity)
    count_message(rows, n, asked.ts)
    send(rows, n, k, quantity)


@kernel
def ask(rows: AccountRows, n: int, m: int, k: int) -> int:
    """Run every check on the order of row ``k`` and let leave what passes; the lots that left, 0 where it was refused."""
    quantity = judge(rows, n, m, k)
    if quantity > 0:
        leave(rows, n, k, quantity)
    return quantity


@kernel(borrows=True)
def ask_at(handle: NDArray[np.int64], n: int, k: int) -> int:
    """``ask`` for account ``n`` behind ``handle``."""
    return ask(rows_of(handle), n, 0, k)
