"""What is refused and what is cut, counted from hand-made intents: each thing once, and named apart."""

from grandmodel.domain.decisions import CheckOutcome, PlaceOrder, ReplaceIntent, RiskCheck, TargetPosition
from grandmodel.domain.events import DecidedIntent
from grandmodel.domain.ids import InstrumentId, OrderId
from grandmodel.domain.orders import Side
from grandmodel.risk.refusals import RefusalCount, RefusalCounts, Refused

NQ = InstrumentId("NQ")
PLACE = PlaceOrder(instrument=NQ, side=Side.BUY, quantity=1)
CHANGE = ReplaceIntent(instrument=NQ, order_id=OrderId(1), quantity=2)
HOLD = TargetPosition(instrument=NQ, lots=1)


def check(name, outcome=CheckOutcome.PASSED, reason=""):
    return RiskCheck(name=name, outcome=outcome, reason=reason)


PASSED = (check("session"),)
REFUSED = (
    check("session", CheckOutcome.REFUSED, "out_of_session"),
    check("var", CheckOutcome.REFUSED, "var_unknown"),
)
CUT = (check("order_quantity", CheckOutcome.SHRUNK, "order_quantity"), check("var", CheckOutcome.SHRUNK, "var_limit"))
CUT_THEN_REFUSED = (check("order_quantity", CheckOutcome.SHRUNK, "order_quantity"), *REFUSED)


def intent(wish, *checks, refused=""):
    return DecidedIntent(number=1, agent="a", intent=wish, checks=tuple(checks), refused=refused)


def test_each_thing_counts_once_under_its_first_check():
    count = RefusalCount()
    count.add(intent(PLACE, (OrderId(1), PASSED)))
    count.add(intent(PLACE, (OrderId(2), REFUSED), refused="out_of_session"))
    count.add(intent(HOLD, (OrderId(3), CUT), (OrderId(4), CUT_THEN_REFUSED), refused="out_of_session"))
    count.add(intent(CHANGE, (OrderId(1), REFUSED), refused="out_of_session"))
    (late,) = count.add(intent(CHANGE, refused="too_late"))
    assert (late.what, late.order, late.check) == (Refused.WISH, OrderId(1), None)
    count.add(intent(HOLD, refused="bad_stretch"))
    counts = count.counts()
    assert counts == RefusalCounts(
        refused=5,
        orders_refused=2,
        changes_refused=1,
        wishes_refused=2,
        refused_by={"session: out_of_session": 3, "before risk: too_late": 1, "before risk: bad_stretch": 1},
        cut=1,
        cut_by={"order_quantity: order_quantity": 1},
    )
    assert counts.text() == "5 (2 orders and 1 change by risk, 2 wishes before risk); 1 cut"
    assert sum(counts.refused_by.values()) == counts.refused
    assert RefusalCounts().text() == "0; 0 cut"


def test_a_change_that_comes_with_a_wish_for_a_position_is_a_change():
    """A position that shrinks changes its protective order, which has a number from before, and sends an exit with a new one."""
    count = RefusalCount()
    count.add(intent(HOLD, (OrderId(5), PASSED), (OrderId(6), PASSED)))
    found = count.add(intent(HOLD, (OrderId(6), REFUSED), (OrderId(7), REFUSED), refused="out_of_session"))
    assert [(one.what, one.order) for one in found] == [(Refused.CHANGE, 6), (Refused.ORDER, 7)]
