"""The check refuses seven lots and lets ten pass, and its plain form says the same."""

from grandmodel.domain.decisions import CheckOutcome
from risk import desk
from risk.plain_checks import PlainBook, assert_same

gate = desk.gate(warmed=False)
plain = PlainBook(gate)
for quantity, outcome in ((10, CheckOutcome.PASSED), (7, CheckOutcome.REFUSED)):
    order, view = desk.order(quantity=quantity), desk.view()
    verdict = gate.check(order, view)
    (found,) = [check for check in verdict.checks if check.name == "round_lots"]
    assert (found.outcome, found.value, found.limit) == (outcome, quantity % 5, 0), found
    assert_same(verdict, plain.check(order, view))
