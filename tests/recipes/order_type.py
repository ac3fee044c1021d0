"""The order type fills as it says, part at its trigger and the rest as a limit; the plain venue says the same; the page shows it."""

from grandmodel.domain.orders import OrderType
from grandmodel.simulation.models import PerLotFee, VenueSettings
from reference_exchange import drive, drive_compiled
from strategies import ALL_DAY, CL, NQ, bar_row
from unit.simulation.test_order_types import test_the_page_shows_every_type_as_the_table_has_it
from venue_scripts import BUY, SELL, order

test_the_page_shows_every_type_as_the_table_has_it()

VENUE = VenueSettings(fees=PerLotFee(per_lot_micros=0), half_spread_ticks=0, participation_ppm=100_000)
"""A tenth of a bar's volume of 100 lots: ten fill."""
FLAT = bar_row(0, 1_000, 1_000, 1_000, 1_000, 100)


def fills(side, first, second, quantity=15, trigger=1_004):
    asked = order(1, side, quantity, OrderType.STOP_TO_LIMIT, stop=trigger)
    script = [(FLAT, [asked]), (first, []), (second, [])]
    said = drive_compiled(script, VENUE, (ALL_DAY, ALL_DAY), (NQ, CL))
    assert said == drive(script, VENUE, (ALL_DAY, ALL_DAY), (NQ, CL))
    return [(one.lots, one.price) for one in said if one.kind == "F"]


inside = bar_row(5, 1_000, 1_010, 999, 1_009, 100)
back = bar_row(10, 1_009, 1_009, 1_001, 1_002, 100)
away = bar_row(10, 1_009, 1_012, 1_006, 1_010, 100)
assert fills(BUY, inside, back) == [(10, 1_004), (5, 1_004)], (
    "it fills at its trigger, and the rest where the market comes back"
)
assert fills(BUY, inside, away) == [(10, 1_004)], "the rest is a limit and chases nothing"
gap = bar_row(5, 1_008, 1_010, 1_007, 1_009, 100)
assert fills(BUY, gap, away) == [(10, 1_008), (5, 1_008)], "an open beyond the trigger is its price"
assert fills(SELL, bar_row(5, 1_000, 1_001, 990, 991, 100), away, trigger=996) == [(10, 996), (5, 1_009)]
