"""The table of order types as arrays by an order type's number, for kernels (``domain.orders.ORDER_TYPES``)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.orders import ORDER_TYPES, OrderTerms


def _column(read: Callable[[OrderTerms], int]) -> NDArray[np.int64]:
    column = np.zeros(max(ORDER_TYPES) + 1, np.int64)
    for kind, terms in ORDER_TYPES.items():
        column[kind] = read(terms)
    return column


HAS_LIMIT = _column(lambda terms: terms.has_limit)
HAS_TRIGGER = _column(lambda terms: terms.has_trigger)
HAS_TRAIL = _column(lambda terms: terms.has_trail)
WAITS = _column(lambda terms: terms.waits)
MAY_REST = _column(lambda terms: terms.may_rest)
LEAVES_LIMIT = _column(lambda terms: terms.leaves_limit)
