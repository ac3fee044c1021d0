"""A lane and an episode on the real engine, given the same wishes, stand alike after every bar, to the micro of equity."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.domain.instruments import BUILT_IN
from grandmodel.execution.simulated.models import FillRuleName, FixedSlippage, VenueSettings
from grandmodel.risk.settings import InstrumentLimits, PortfolioLimits
from grandmodel.training.engine_episode import EngineEpisode
from grandmodel.training.lanes import (
    LaneSettings,
    build_lanes,
    build_market_arrays,
    pursue_target,
    settle_lane,
    start_lane,
    view_lane,
    walk_bar,
)
from lane_markets import wild_market

ROOMY = LaneSettings()
TIGHT = msgspec.structs.replace(
    ROOMY,
    venue=VenueSettings(slippage=FixedSlippage(ticks=2), fill_rule=FillRuleName.TOUCH),
    risk=msgspec.structs.replace(
        ROOMY.risk,
        limits=InstrumentLimits(max_order_lots=60, max_long_lots=40, max_short_lots=25, max_concentration=0.02),
        portfolio=PortfolioLimits(max_var=0.002, max_stressed_var=0.01, max_gross_exposure=0.03),
    ),
)


def run_both(market, chosen, wishes, start):
    """Drive an episode and a lane of ``market`` with ``wishes`` from ``start``; their views after each bar, as pairs."""
    episode = EngineEpisode(market, chosen)
    arrays, lanes = build_market_arrays(market, chosen), build_lanes(3, chosen, orders=128)
    pairs = [(episode.start(start), _started(lanes, arrays, start))]
    for lots, urgency, stop in wishes:
        episode.pursue(lots, urgency, stop)
        pursue_target(lanes, 1, arrays, lots, urgency, stop)
        moved = episode.advance()
        assert moved == walk_bar(lanes, 1, arrays)
        pairs.append((episode.view, view_lane(lanes, 1)))
        if not moved:
            break
    settle_lane(lanes, 1, arrays)
    pairs.append((episode.settle(), view_lane(lanes, 1)))
    return pairs


def _started(lanes, arrays, row):
    start_lane(lanes, 1, arrays, 0, row)
    return view_lane(lanes, 1)


def strategic_wishes(generator, count, most):
    """Market orders only; now and then nothing changes, and now and then far too much is asked."""
    lots = generator.integers(-most, most + 1, count)
    lots[generator.random(count) < 0.05] *= 50
    again = generator.random(count) < 0.4
    for k in np.flatnonzero(again[1:]) + 1:
        lots[k] = lots[k - 1]
    return [(int(x), 2, 0) for x in lots]


def tactical_wishes(generator, count, most):
    """Every urgency, stops near and far, or none."""
    wishes = strategic_wishes(generator, count, most)
    urgency = generator.choice(3, count, p=[0.2, 0.4, 0.4])
    stops = generator.choice([0, 1, 4, 12, 40, 5_000], count, p=[0.3, 0.1, 0.2, 0.2, 0.15, 0.05])
    return [(lots, int(u), int(s)) for (lots, _, _), u, s in zip(wishes, urgency, stops, strict=True)]


def assert_alike(pairs):
    for bar, (engine, lane) in enumerate(pairs):
        assert engine == lane, f"step {bar} of {len(pairs)}"


CASES = st.tuples(
    st.integers(0, 2**32 - 1),
    st.sampled_from([ROOMY, TIGHT]),
    st.sampled_from([1, 3, 20, 200]),
    st.sampled_from([2.0, 8.0, 60.0]),
)


@pytest.mark.parametrize("layer", ["strategic", "tactical"])
@settings(max_examples=25, deadline=None)
@given(case=CASES)
def test_a_lane_is_the_engine(layer, case):
    seed, chosen, most, move = case
    generator = np.random.default_rng(seed)
    market = wild_market(
        seed, layer, count=260, instrument=BUILT_IN[generator.choice(["NQ", "CL", "GC"])], move=move, marks=0.01
    )
    longest = np.flatnonzero(np.diff(market.segment[60:]) == 0) + 60
    for _ in range(3):
        start = int(generator.choice(longest))
        if market.segment[start] < 0:
            continue
        make = strategic_wishes if layer == "strategic" else tactical_wishes
        assert_alike(run_both(market, chosen, make(generator, 80, most), start))
