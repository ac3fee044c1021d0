"""What the record holds of one order's checks, made by hand from what people read."""

from __future__ import annotations

from collections.abc import Sequence

from grandmodel.domain.decisions import CheckedOrder, CheckOutcome, RiskCheck
from grandmodel.domain.ids import OrderId
from grandmodel.risk.checks import CHECK_NAMES


def checked_order(order_id: int, *checks: RiskCheck, names: Sequence[str] = CHECK_NAMES) -> CheckedOrder:
    """The checks of order ``order_id`` over a table of ``names``; those not given passed with nothing found."""
    given = {check.name: check for check in checks}
    assert len(given) == len(checks)
    assert set(given) <= set(names)
    values, limits, reasons, shrunk, refused = [], [], [], 0, 0
    for place, name in enumerate(names):
        check = given.get(name, RiskCheck(name=name, outcome=CheckOutcome.PASSED))
        values.append(check.value)
        limits.append(check.limit)
        if check.outcome is CheckOutcome.PASSED:
            continue
        reasons.append(check.reason)
        shrunk |= (check.outcome is CheckOutcome.SHRUNK) << place
        refused |= (check.outcome is CheckOutcome.REFUSED) << place
    return CheckedOrder(OrderId(order_id), tuple(values), tuple(limits), shrunk, refused, tuple(reasons))
