"""The market that an environment falls back on: some weeks of simulated NQ, the same in every process. Nothing here is real data.

It lets both environments be built with no arguments and no files, for conformance tests and first steps. Models are trained
on real bars (``training/market.py``).
"""

from __future__ import annotations

from functools import lru_cache

from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import FIVE_MINUTES_NS, NS_PER_DAY, THIRTY_MINUTES_NS
from grandmodel.simulation.market import SimulatedMarket
from grandmodel.simulation.market_parameters import built_in_parameters
from grandmodel.training.market import Layer, TrainingMarket, build_market

START_NS = 19_000 * NS_PER_DAY
"""8 January 2022."""
DAYS = {"strategic": 84, "tactical": 28}
_WIDTH_NS = {"strategic": THIRTY_MINUTES_NS, "tactical": FIVE_MINUTES_NS}


@lru_cache(maxsize=8)
def simulated_market(layer: Layer, seed: int = 1, instrument: str = "NQ", days: int = 0) -> TrainingMarket:
    """Simulated bars of ``instrument`` over ``days`` days (0: the layer's ``DAYS``), ready to learn from."""
    chosen = BUILT_IN[InstrumentId(instrument)]
    end_ns = START_NS + (days or DAYS[layer]) * NS_PER_DAY
    schedule = session_schedule(chosen, START_NS - 10 * NS_PER_DAY, end_ns + 10 * NS_PER_DAY)
    market = SimulatedMarket(built_in_parameters(), [chosen], [schedule], seed)
    (bars,) = market.bars(START_NS, end_ns, _WIDTH_NS[layer])
    return build_market(bars, chosen, layer)
