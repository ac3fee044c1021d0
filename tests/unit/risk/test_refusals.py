"""What is refused and what is cut, counted from hand-made intents: each thing once, and named apart."""

from grandmodel.domain.decisions import CheckOutcome, PlaceOrder, ReplaceIntent, RiskCheck, TargetPosition
from grandmodel.domain.events import DecidedIntent
from grandmodel.domain.ids import InstrumentId, OrderId
from grandmodel.domain.orders import Side
from grandmodel.risk.refusals import RefusalCount, RefusalCounts, Refused
from risk.made_checks import checked_order

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


def intent(wish, *orders, refused="", **table):
    """An intent that asked for orders, each given as (its number, what its checks say)."""
    checks = tuple(checked_order(number, *said, **table) for number, said in orders)
    return DecidedIntent(number=1, agent="a", intent=wish, checks=checks, refused=refused)


def test_each_thing_counts_once_under_its_first_check():
    count = RefusalCount()
    count.add(intent(PLACE, (1, PASSED)))
    count.add(intent(PLACE, (2, REFUSED), refused="out_of_session"))
    count.add(intent(HOLD, (3, CUT), (4, CUT_THEN_REFUSED), refused="out_of_session"))
    count.add(intent(CHANGE, (1, REFUSED), refused="out_of_session"))
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
    count.add(intent(HOLD, (5, PASSED), (6, PASSED)))
    found = count.add(intent(HOLD, (6, REFUSED), (7, REFUSED), refused="out_of_session"))
    assert [(one.what, one.order) for one in found] == [(Refused.CHANGE, 6), (Refused.ORDER, 7)]


def test_the_checks_of_an_older_table_keep_their_names():
    """A journal says with its first record which checks it holds; those of today stand elsewhere, and may be more."""
    names = ("session", "moon", "order_quantity", "var")
    waning = check("moon", CheckOutcome.REFUSED, "waning")
    count = RefusalCount(names)
    (found,) = count.add(intent(PLACE, (1, (waning,)), names=names))
    count.add(intent(PLACE, (2, CUT), names=names))
    assert (found.by, found.check) == ("moon: waning", waning)
    assert count.counts().cut_by == {"order_quantity: order_quantity": 1}
