"""A lane and an episode on the real engine, given the same wishes, stand alike after every bar, to the micro of equity."""

from collections import Counter

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.account.planner import CANCEL, CHANGE
from grandmodel.data.historical.importing import read_file
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.risk.checks import REASONS
from grandmodel.risk.rows import ASKED
from grandmodel.risk.settings import InstrumentLimits, PortfolioLimits, Thresholds
from grandmodel.risk.working import TAGS
from grandmodel.runtime.books import Books
from grandmodel.runtime.engine import Engine
from grandmodel.runtime.market_step import Stop
from grandmodel.runtime.order_planner import OrderPlanner
from grandmodel.simulation.models import FillRuleName, FixedSlippage, VenueSettings
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
from grandmodel.training.market import build_market
from lane_markets import bare_market, wild_market
from shared_data import shared

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
NERVOUS = msgspec.structs.replace(
    ROOMY,
    risk=msgspec.structs.replace(
        ROOMY.risk,
        breakers=msgspec.structs.replace(
            ROOMY.risk.breakers, daily_loss=Thresholds(caution=0.004, halt=0.005), drawdown=Thresholds(reduce=0.01)
        ),
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
    waiting = generator.choice([0.1, 0.8])
    urgency = generator.choice(3, count, p=[waiting, 0.6 * (1 - waiting), 0.4 * (1 - waiting)])
    stops = generator.choice([0, 1, 4, 12, 40, 5_000], count, p=[0.3, 0.1, 0.2, 0.2, 0.15, 0.05])
    return [(lots, int(u), int(s)) for (lots, _, _), u, s in zip(wishes, urgency, stops, strict=True)]


def assert_alike(pairs):
    for bar, (engine, lane) in enumerate(pairs):
        assert engine == lane, f"step {bar} of {len(pairs)}"


def episodes_of(layer, seed, count=260, wishes=80):
    """Three episodes of a wild market under random settings: what the property asks about, as lists of pairs."""
    generator = np.random.default_rng(seed)
    chosen = msgspec.structs.replace(
        (ROOMY, TIGHT, NERVOUS)[generator.integers(3)],
        capital_micros=int(generator.choice([10**13, 10**12, 10**11, 3 * 10**10])),
    )
    instrument = BUILT_IN[str(generator.choice(["NQ", "CL", "GC", "EURUSD"]))]
    market = wild_market(
        seed, layer, count=count, instrument=instrument, move=float(generator.choice([2.0, 8.0, 60.0]))
    )
    most = int(generator.choice([1, 5, 30, 200]))
    make = strategic_wishes if layer == "strategic" else tactical_wishes
    starts = generator.choice(np.flatnonzero(market.segment[60:] >= 0) + 60, 3)
    return [run_both(market, chosen, make(generator, wishes, most), int(start)) for start in starts]


@pytest.mark.parametrize("layer", ["strategic", "tactical"])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_lane_stands_as_the_engine_does_after_every_bar(layer, seed):
    for pairs in episodes_of(layer, seed):
        assert_alike(pairs)


def test_the_episodes_above_meet_everything_that_can_happen(monkeypatch):
    """Refusals of every kind, stops that shrink, orders that expire, lines that are crossed: else the property says little."""
    seen = Counter()
    take_row, apply_reports, on_stop = OrderPlanner._take_row, Books.apply_reports, Engine.on_stop
    names = ASKED.names

    def count_rows(planner, step, deed, k, instrument, asked):
        row = dict(zip(names, asked, strict=True))
        if row["kind"] != CANCEL and not row["why"]:
            change = "change of " if row["kind"] == CHANGE else ""
            seen[f"{change}{TAGS[row['tag']]} {REASONS[row['reason']] or 'whole'}"] += 1
        return take_row(planner, step, deed, k, instrument, asked)

    def count_reports(books, step, reports):
        seen.update(f"{report.exec_type.name} {report.reason.value}".strip() for report in reports)
        return apply_reports(books, step, reports)

    def count_stops(engine, stop, block):
        seen[Stop(stop).name] += 1
        return on_stop(engine, stop, block)

    monkeypatch.setattr(OrderPlanner, "_take_row", count_rows)
    monkeypatch.setattr(Books, "apply_reports", count_reports)
    monkeypatch.setattr(Engine, "on_stop", count_stops)
    for seed in range(24):
        for pairs in episodes_of("tactical", seed):
            assert_alike(pairs)
            seen.update(name for name in ("ended", "working") for view, _ in pairs if getattr(view, name))
    wanted = (
        "entry whole, exit whole, stop whole, change of stop whole, entry out_of_session, entry var_limit, entry margin, "
        "entry order_quantity, entry position_short, stop price_collar, stop invalid_price, CANCELED asked, CANCELED parent, "
        "EXPIRED session_close, REPLACED, TRIGGERED, EQUITY_LINE, ended, working"
    )
    assert {name for name in wanted.split(", ") if not seen[name]} == set(), seen


def test_an_order_that_would_meet_our_own_is_refused_alike():
    """A resting buy at the mark, the close at the same price, and a wish to sell: the gate knows the buy until its cancel is confirmed."""
    bars = wild_market(1, count=100).bars.copy()
    bars["flags"] = 0
    for name, price in (("open", 1_003), ("high", 1_005), ("low", 1_000), ("close", 1_000)):
        bars[name][60:] = price
    market = bare_market(bars)
    pairs = run_both(market, ROOMY, [(2, 1, 0), (-2, 2, 0), (-2, 2, 0)], 70)
    assert_alike(pairs)
    assert [view.refused_lots for view, _ in pairs[:4]] == [0, 0, 2, 2]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("layer", "name", "file"),
    [
        ("strategic", "NQ", "futures_30m/NQ_30m_eth_20200629_20240628.csv.gz"),
        ("tactical", "NQ", "futures_5m/NQ_5m_20190101_20191031.csv.gz"),
    ],
)
def test_a_lane_stands_as_the_engine_does_on_real_bars(layer, name, file):
    blocks, _ = read_file(shared(f"data/bars/{file}"), BUILT_IN[name])
    market = build_market(next(iter(blocks.values()))[:3_000], BUILT_IN[name], layer)
    generator = np.random.default_rng(5)
    make = strategic_wishes if layer == "strategic" else tactical_wishes
    starts = generator.choice(np.flatnonzero(market.usable), 4)
    found = [run_both(market, ROOMY, make(generator, 300, 8), int(start)) for start in starts]
    for pairs in found:
        assert_alike(pairs)
    assert sum(len(pairs) for pairs in found) > 600
    assert any(engine.traded_lots > 100 for pairs in found for engine, _ in pairs)
