"""What was refused, and what was cut: the one definition that summary, page, risk report and ``audit show`` count by.

Three things can be refused, and they are named apart:

- an **order**: risk looked at it and let none of it through,
- a **change** of an order that works already: the same,
- a **wish**: it came to no order that risk could look at (prices marked bad, no price known, an order that has ended).

Each is counted once, under the first check that refused it, or the engine's reason; an order can fail several checks. One that risk let
through smaller is **cut**: it was sent, and is not refused. One wish can ask for several orders, of which some are refused and others not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from grandmodel.domain.decisions import CheckOutcome, ReplaceIntent, RiskCheck
from grandmodel.domain.events import DecidedIntent
from grandmodel.domain.ids import OrderId
from grandmodel.risk.checks import CHECK_NAMES, checks_of


class Refused(StrEnum):
    """What it was that did not come through."""

    ORDER = "order"
    CHANGE = "change"
    WISH = "wish"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One order, change or wish that was not let through."""

    what: Refused
    order: OrderId | None
    """Its number; for a wish the order that it meant to change, where it meant one."""
    reason: str
    check: RiskCheck | None
    """The first check that refused; None for a wish."""

    @property
    def by(self) -> str:
        """``check: reason``, or ``before risk: reason``."""
        return f"{self.check.name if self.check else 'before risk'}: {self.reason}"


class RefusalCounts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much was refused and cut in a run."""

    refused: int = 0
    """Orders, changes and wishes together: the lines of ``audit show --refused``."""
    orders_refused: int = 0
    changes_refused: int = 0
    wishes_refused: int = 0
    """Those that came to no order, so that risk was not asked."""
    refused_by: dict[str, int] = {}
    """By ``check: reason`` or ``before risk: reason``, largest first; adds up to ``refused``."""
    cut: int = 0
    """Orders and changes that risk let through smaller."""
    cut_by: dict[str, int] = {}
    """By the first check that cut; adds up to ``cut``."""

    def text(self) -> str:
        """``12 (10 orders and 1 change by risk, 1 wish before risk); 3 cut``."""
        parts = [
            _counted(count, one, many)
            for count, one, many in (
                (self.orders_refused, "order", "orders"),
                (self.changes_refused, "change", "changes"),
            )
            if count
        ]
        told = [" and ".join(parts) + " by risk"] if parts else []
        if self.wishes_refused:
            told.append(_counted(self.wishes_refused, "wish", "wishes") + " before risk")
        detail = f" ({', '.join(told)})" if told else ""
        return f"{self.refused:,}{detail}; {self.cut:,} cut"


@dataclass(slots=True)
class RefusalCount:
    """Counts the intents of a run, in their order."""

    names: Sequence[str] = CHECK_NAMES
    """The checks of the run (``checks.names_of``)."""
    _refused: Counter[Refused] = field(default_factory=Counter)
    _refused_by: Counter[str] = field(default_factory=Counter)
    _cut_by: Counter[str] = field(default_factory=Counter)
    _last_order: int = 0

    def add(self, intent: DecidedIntent) -> tuple[Refusal, ...]:
        """Count what of ``intent`` was refused or cut; the refusals."""
        found = tuple(refusals_of(intent, self._last_order, self.names))
        for one in found:
            self._refused[one.what] += 1
            self._refused_by[one.by] += 1
        for _, checks in checks_of(intent, self.names) if _is_cut(intent) else ():
            if not any(check.outcome is CheckOutcome.REFUSED for check in checks):
                cutting = next((check for check in checks if check.outcome is CheckOutcome.SHRUNK), None)
                if cutting is not None:
                    self._cut_by[f"{cutting.name}: {cutting.reason}"] += 1
        self._last_order = max(self._last_order, *(checked.order_id for checked in intent.checks), 0)
        return found

    def counts(self) -> RefusalCounts:
        """Everything counted so far."""
        return RefusalCounts(
            refused=self._refused.total(),
            orders_refused=self._refused[Refused.ORDER],
            changes_refused=self._refused[Refused.CHANGE],
            wishes_refused=self._refused[Refused.WISH],
            refused_by=dict(self._refused_by.most_common()),
            cut=self._cut_by.total(),
            cut_by=dict(self._cut_by.most_common()),
        )


def refusals_of(intent: DecidedIntent, last_order: int, names: Sequence[str] = CHECK_NAMES) -> Iterator[Refusal]:
    """Each order and change of ``intent`` that risk refused, then the wish where the engine refused it before that.

    ``last_order`` is the highest order number before this intent: numbers rise, so one at or below it works already. ``names`` are the checks of the run.
    """
    reasons = set()
    for order, checks in checks_of(intent, names) if intent.checks and _is_refused(intent) else ():
        check = next((one for one in checks if one.outcome is CheckOutcome.REFUSED), None)
        if check is not None:
            reasons.add(check.reason)
            what = Refused.CHANGE if order <= last_order else Refused.ORDER
            yield Refusal(what=what, order=order, reason=check.reason, check=check)
    if intent.refused and intent.refused not in reasons:
        wished = intent.intent
        order_meant = wished.order_id if isinstance(wished, ReplaceIntent) else None
        yield Refusal(what=Refused.WISH, order=order_meant, reason=intent.refused, check=None)


def _is_refused(intent: DecidedIntent) -> bool:
    """True where a check of any account refused one of its orders."""
    return any(one.refused for one in intent.checks) or any(one.refused for _, above in intent.above for one in above)


def _is_cut(intent: DecidedIntent) -> bool:
    """True where a check of any account cut one of its orders."""
    return any(one.shrunk for one in intent.checks) or any(one.shrunk for _, above in intent.above for one in above)


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
