"""Measures of one equity path: a hand-worked walk, plain re-computations, and sums that must agree."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandmodel.performance.ratios import sharpe_ratio
from grandmodel.research.errors import EvaluationError
from grandmodel.research.measures import (
    EquityPath,
    capacity,
    daily_returns,
    deepest_drawdown,
    impact_costs,
    joined_in_time,
    joint_equity,
    measure,
    periods_per_year,
    trade_profits,
)

DAY_NS = 86_400 * 10**9
CAPITAL = 1_000_000_000


def path_of(pnl, lots=None, day=None, **changed):
    """A walk with ``pnl`` micros a bar; every bar is a day of its own unless ``day`` says otherwise."""
    pnl = np.asarray(pnl, dtype=np.int64)
    n = len(pnl)
    held = np.zeros(n, np.int64) if lots is None else np.asarray(lots, dtype=np.int64)
    days = np.arange(n) if day is None else np.asarray(day)
    first = np.concatenate([[True], np.diff(days) > 0])
    within = np.arange(n) - np.maximum.accumulate(np.where(first, np.arange(n), 0))
    fields = {
        "market": "X",
        "ts_event": days * DAY_NS + within * 60 * 10**9,
        "day": days.astype(np.int64),
        "is_open": np.ones(n, np.bool_),
        "capital_micros": CAPITAL,
        "equity_micros": CAPITAL + np.cumsum(pnl),
        "lots": held,
        "traded_lots": np.abs(np.diff(held, prepend=0)),
        "cost_micros": np.zeros(n, np.int64),
        "full_lots": np.full(n, 4.0),
        "lot_notional_micros": np.full(n, 5e8),
        "impact_micros": np.full(n, 1e6),
        "volume": np.full(n, 100.0),
    }
    return EquityPath(**(fields | changed))


def random_path(seed, n=60, **changed):
    generator = np.random.default_rng(seed)
    lots = generator.integers(-2, 3, n)
    return path_of(
        generator.integers(-9_000_000, 10_000_000, n), lots, day=np.sort(generator.integers(0, 25, n)), **changed
    )


def test_a_walk_worked_by_hand():
    # Ten days. Long 2 over days 1 to 3, turned to short 1 on day 4, flat from day 6; closed in the bar of day 6.
    pnl = np.array([0, 10, -30, 20, -5, 15, 5, 0, 0, 0]) * 1_000_000
    lots = [0, 2, 2, 2, -1, -1, 0, 0, 0, 0]
    cost = np.array([0, 2, 0, 0, 3, 0, 1, 0, 0, 0]) * 1_000_000
    found = measure([path_of(pnl, lots, cost_micros=cost)], np.random.default_rng(1))
    returns = pnl / CAPITAL
    assert found.days == 10
    assert found.net_return == pytest.approx(0.015)
    assert found.periods_per_year == pytest.approx(365.25)
    assert found.sharpe.value == pytest.approx(returns.mean() / returns.std() * math.sqrt(365.25))
    assert found.sortino == pytest.approx(returns.mean() / math.sqrt((30e-3**2 + 5e-3**2) / 10) * math.sqrt(365.25))
    assert found.max_drawdown == pytest.approx(30 / 1010)
    assert found.drawdown_days == 5  # peak on day 1, recovered on day 5
    assert found.lots_per_day == pytest.approx((2 + 3 + 1) / 10)
    assert found.notional_per_day == pytest.approx(6 * 500 / 10)
    assert found.trades == 2
    assert trade_profits(path_of(pnl, lots)).tolist() == [0, 15_000_000]
    assert found.trade_hit_rate == 0.5
    assert found.day_hit_rate == pytest.approx(4 / 6)
    assert found.costs == 6.0
    assert found.cost_share == pytest.approx(6 / 21)
    assert found.mean_exposure == pytest.approx(np.abs(lots).mean() / 4)


def test_nothing_done_measures_nothing():
    found = measure([path_of(np.zeros(30))], np.random.default_rng(1))
    assert (found.net_return, found.sharpe.value, found.max_drawdown, found.trades) == (0.0, 0.0, 0.0, 0)
    assert found.sortino is None
    assert found.trade_hit_rate is None
    assert found.day_hit_rate is None
    assert found.cost_share is None
    assert found.track_record_years is None
    assert found.probability_above_zero == 0.5
    assert found.capacity.halves_at_usd is None


def test_days_without_a_decision_are_not_counted():
    pnl = np.zeros(20, np.int64)
    pnl[:12] = np.arange(12)
    is_open = np.arange(20) < 12
    days, returns = daily_returns([path_of(pnl, is_open=is_open)])
    assert days.tolist() == list(range(12))
    assert returns == pytest.approx(np.arange(12) / CAPITAL)


@given(seed=st.integers(0, 2**32 - 1))
def test_sums_agree(seed):
    path = random_path(seed)
    total = int(path.equity_micros[-1]) - CAPITAL
    _, returns = daily_returns([path])
    assert returns.sum() * CAPITAL == pytest.approx(total, abs=1e-3)
    flat = path.lots == 0
    outside = path.pnl_micros[flat & (np.concatenate([[0], path.lots[:-1]]) == 0)].sum()
    assert trade_profits(path).sum() + outside == total


@given(seed=st.integers(0, 2**32 - 1), other=st.integers(0, 2**32 - 1))
def test_two_markets_are_one_account(seed, other):
    a, b = random_path(seed), random_path(other, n=45)
    times, equity = joint_equity([a, b])
    assert equity[-1] == a.equity_micros[-1] + b.equity_micros[-1]
    for path in (a, b):
        assert np.isin(path.ts_event, times).all()
    at = np.searchsorted(times, a.ts_event[10])
    before = b.equity_micros[b.ts_event <= a.ts_event[10]]
    assert equity[at] == a.equity_micros[10] + (before[-1] if len(before) else CAPITAL)
    days, returns = daily_returns([a, b])
    assert returns.sum() * 2 * CAPITAL == pytest.approx(int(equity[-1]) - 2 * CAPITAL, abs=1e-3)
    assert (np.diff(days) > 0).all()


@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(1, 24))
def test_a_walk_cut_and_joined_measures_the_same(seed, cut):
    path = random_path(seed)
    place = int(np.searchsorted(path.day, cut))
    if place in {0, len(path.day)}:
        return
    names = [
        name for name in EquityPath.__slots__ if name not in {"market", "capital_micros", "refused_lots", "breaches"}
    ]
    head = EquityPath("X", capital_micros=CAPITAL, **{name: getattr(path, name)[:place] for name in names})
    tail_fields = {name: getattr(path, name)[place:] for name in names}
    tail_fields["equity_micros"] = tail_fields["equity_micros"] - head.equity_micros[-1] + CAPITAL
    tail = EquityPath("X", capital_micros=CAPITAL, **tail_fields)
    joined = joined_in_time([head, tail])
    assert (joined.equity_micros == path.equity_micros).all()
    assert (joined.lots == path.lots).all()


@given(equity=st.lists(st.integers(1, 1_000), min_size=1, max_size=40))
def test_the_deepest_drawdown_is_that_of_a_plain_loop(equity):
    values = np.array([500, *equity])
    depth, top, end = deepest_drawdown(values)
    expected = max((values[i] - values[j]) / values[i] for i in range(len(values)) for j in range(i, len(values)))
    assert depth == pytest.approx(expected)
    if depth > 0:
        assert values[top] == values[: end + 1].max() or values[end] >= values[top]
        assert end == len(values) - 1 or values[end] >= values[top]
        assert (values[top + 1 : end] < values[top]).all()


def test_a_year_has_the_days_that_were_met():
    days = np.array([k for k in range(730) if k % 7 < 5])
    assert periods_per_year([path_of(np.zeros(len(days)), day=days)]) == pytest.approx(260.9, rel=0.01)
    apart = np.concatenate([days, days + 2_000])
    assert periods_per_year([path_of(np.zeros(len(apart)), day=apart)]) == pytest.approx(260.9, rel=0.01)


# ----------------------------------------------------------------------------------------------------------- capacity


def trading_path(days=500, edge=0.15, **changed):
    generator = np.random.default_rng(3)
    pnl = (1_000_000 * (generator.standard_normal(days) + edge)).astype(np.int64)
    return path_of(pnl, lots=np.arange(days) % 2, **changed)


def test_impact_is_the_square_root_law():
    path = trading_path(volume=np.full(500, 400.0))
    # One lot of a volume of 400: a twentieth of the deviation. Four times the lots: eight times the money.
    assert impact_costs(path)[1] == pytest.approx(1e6 / 20)
    assert impact_costs(path, 4.0) == pytest.approx(8 * impact_costs(path))


def test_capacity_falls_with_capital_and_halves_where_it_says():
    path = trading_path()
    found = capacity([path], 252.0)
    base = sharpe_ratio(path.pnl_micros / CAPITAL) * math.sqrt(252)
    assert base > found.sharpes[0] > found.sharpes[1] > found.sharpes[2]
    growth = found.halves_at_usd / (CAPITAL / 1e6)
    left = sharpe_ratio((path.pnl_micros - impact_costs(path, growth) / growth) / CAPITAL) * math.sqrt(252)
    assert left == pytest.approx(base / 2, rel=1e-6)


def test_more_volume_carries_more_money():
    thin, thick = capacity([trading_path()], 252.0), capacity([trading_path(volume=np.full(500, 10_000.0))], 252.0)
    assert thick.halves_at_usd == pytest.approx(100 * thin.halves_at_usd, rel=1e-6)


def test_without_volume_nothing_is_said_and_a_missing_bar_takes_the_median():
    unknown = capacity([trading_path(volume=np.full(500, np.nan))], 252.0)
    assert unknown.sharpes == [None, None, None]
    assert unknown.halves_at_usd is None
    some = np.full(500, 100.0)
    some[1::50] = np.nan
    assert capacity([trading_path(volume=some)], 252.0) == capacity([trading_path()], 252.0)


def test_no_edge_has_no_capacity():
    assert capacity([trading_path(edge=-0.3)], 252.0).halves_at_usd is None


# ------------------------------------------------------------------------------------------------------------ refused


def test_bad_paths_are_refused():
    with pytest.raises(EvaluationError, match="3 entries of lots for 5 bars"):
        path_of(np.zeros(5), lots=np.zeros(3), traded_lots=np.zeros(5, np.int64))
    with pytest.raises(EvaluationError, match="in order of time"):
        path_of(np.zeros(5), ts_event=np.array([0, 2, 1, 3, 4]))
    with pytest.raises(EvaluationError, match="capital above 0"):
        path_of(np.zeros(5), capital_micros=0)
    with pytest.raises(EvaluationError, match="that follow each other"):
        periods_per_year([path_of(np.zeros(5), day=np.zeros(5, np.int64))])
    with pytest.raises(EvaluationError, match="expected one"):
        joined_in_time([path_of(np.zeros(5)), path_of(np.zeros(5), market="Y")])
