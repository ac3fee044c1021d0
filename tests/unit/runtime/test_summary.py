"""The figures of a run against hand-worked examples and formulas written apart."""

import math
import statistics
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.domain.events import Alert
from grandmodel.domain.ids import ExecId, OrderId, RunId
from grandmodel.domain.orders import Fill, Side
from grandmodel.runtime.inputs import begin_run
from grandmodel.runtime.results import InstrumentHistory, RunResults
from grandmodel.runtime.settings import AccountSettings, RunSettings
from grandmodel.runtime.summary import (
    MIN_PERIODS,
    max_drawdown,
    period_ends,
    round_trip_results,
    sharpe_ratio,
    sortino_ratio,
    summarise,
)
from strategies import CL, MINUTE, NQ, START, schedule_of

CAPITAL = 1_000_000_000_000
TICK = NQ.tick_value_micros


def fill(signed, price, fee=0, reference=None, tag="entry", instrument=NQ.id):
    return Fill(
        exec_id=ExecId(1), order_id=OrderId(1), instrument=instrument, side=Side.BUY if signed > 0 else Side.SELL,
        quantity=abs(signed), price=price, fee_micros=fee, ts_event=0, ts_init=0, reference_price=reference, tag=tag,
    )  # fmt: skip


def results_of(equity, times, fills=(), days=100, ending=None, instruments=(NQ,), account=None):
    run_settings = RunSettings(account=account or AccountSettings())
    schedule = schedule_of(*((1_440 * day, 1_440 * day + 1_380, day) for day in range(days)))
    begin = begin_run(RunId("run"), run_settings, instruments, [schedule] * len(instruments), "simulated market: test")
    results = RunResults(folder=Path("/nowhere"), begin=begin, settings=run_settings, record_head="00")
    results.times, results.equity, results.fills = list(times), list(equity), list(fills)
    results.history = {one.id: InstrumentHistory() for one in instruments}
    results.ending = ending
    return results


def returns(count=90, seed=2):
    return np.random.default_rng(seed).normal(0.001, 0.01, count)


def test_sharpe_is_the_textbook_s():
    found = returns()
    expected = statistics.fmean(found) / statistics.stdev(found) * math.sqrt(252)
    assert sharpe_ratio(found, 252) == pytest.approx(expected, rel=1e-12)


def test_sortino_divides_by_the_root_mean_square_of_the_losses_over_all_periods():
    found = returns()
    losses = math.sqrt(sum(value * value for value in found if value < 0) / len(found))
    assert sortino_ratio(found, 252) == pytest.approx(statistics.fmean(found) / losses * math.sqrt(252), rel=1e-12)


def test_ratios_that_cannot_be_known_are_none():
    assert sharpe_ratio(returns(MIN_PERIODS - 1), 252) is None
    assert sortino_ratio(returns(MIN_PERIODS - 1), 252) is None
    assert sharpe_ratio(np.zeros(90), 252) is None
    assert sortino_ratio(np.full(90, 0.01), 252) is None


@pytest.mark.parametrize(
    ("equity", "expected"),
    [([100, 120, 90, 130, 117], 0.25), ([100, 110, 120], 0.0), ([], 0.0), ([100, 50, 100, 49], 0.51)],
)
def test_drawdown_by_hand(equity, expected):
    assert max_drawdown(np.array(equity, dtype=float)) == pytest.approx(expected)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(1, 1_000), min_size=1, max_size=30))
def test_drawdown_is_the_worst_fall_from_any_earlier_value(equity):
    worst = max((a - b) / a for i, a in enumerate(equity) for b in equity[i:])
    assert max_drawdown(np.array(equity)) == pytest.approx(worst)


def test_round_trips_by_hand():
    fills = [
        fill(2, 100, 10),
        fill(-1, 104, 5),
        fill(-1, 106, 5),
        fill(3, 110, 30),
        fill(-5, 108, 50),
        fill(2, 109, 20),
    ]
    # Long 2: +4 +6 ticks less 20; long 3: -6 ticks less 30 and 3/5 of 50; short 2: -2 ticks less 2/5 of 50 and 20.
    assert round_trip_results(fills, TICK) == [10 * TICK - 20, -6 * TICK - 60, -2 * TICK - 40]


def test_an_open_round_trip_does_not_count():
    assert round_trip_results([fill(2, 100), fill(-1, 105)], TICK) == []


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5).filter(bool), st.integers(1, 300), st.integers(-50, 99)), max_size=30))
def test_round_trips_of_a_flat_account_add_up_to_its_profit(rows):
    fills = [fill(*row) for row in rows]
    held = sum(one.signed_quantity for one in fills)
    if held:
        fills.append(fill(-held, 150, 7))
    profit = -sum(one.signed_quantity * one.price * TICK + one.fee_micros for one in fills)
    assert sum(round_trip_results(fills, TICK)) == profit


def test_daily_returns_are_taken_at_each_day_s_last_record():
    day = 1_440 * MINUTE
    days = 70
    times, equity, last = [], [], []
    generator = np.random.default_rng(5)
    for k in range(days):
        for minute in (10, 700, 1_380):  # the last is the close itself, and belongs to its day
            times.append(START + k * day + minute * MINUTE)
            equity.append(CAPITAL + int(generator.integers(-(10**10), 10**10)))
        last.append(equity[-1] / 1e6)
    summary = summarise(results_of(equity, times))
    changes = [b / a - 1 for a, b in pairwise(last)]
    expected = statistics.fmean(changes) / statistics.stdev(changes) * math.sqrt(252)
    assert summary.sharpe_annual == pytest.approx(expected, rel=1e-9)
    assert summary.ratio_basis.startswith("69 daily returns, 252")


def test_a_short_run_uses_its_longest_bars_and_a_close_belongs_to_its_bar():
    times = [START + k * 5 * MINUTE for k in range(1, 25)]
    ends, per_year, name = period_ends(results_of([CAPITAL] * 24, times), np.array(times, dtype=np.int64))
    assert name == "30-minute"
    assert [int((times[k] - START) // MINUTE) for k in ends] == [30, 60, 90, 120]
    assert per_year == pytest.approx(252 * 46)


def test_too_few_periods_give_no_ratio():
    times = [START + k * 5 * MINUTE for k in range(1, 25)]
    summary = summarise(results_of([CAPITAL] * 24, times))
    assert (summary.sharpe_annual, summary.sortino_annual) == (None, None)


def test_money_by_hand():
    fills = [
        fill(2, 100, 2_000_000, reference=99),
        fill(-1, 104, 1_000_000, reference=105),
        fill(1, 50, 500_000, None, "roll"),
    ]
    ending = {"positions": {"NQ": {"lots": 2, "mark_ticks": 110}}, "quality": {"NQ": {"rows": 12, "crossed": 3}}}
    profit = (104 - 2 * 100 - 50 + 2 * 110) * TICK - 3_500_000
    results = results_of(
        [CAPITAL, CAPITAL - 5 * TICK, CAPITAL + profit], [START, START + 1, START + 2], fills, ending=ending
    )
    results.alerts = [
        (START, Alert(severity="low", code="a", text="")),
        (START, Alert(severity="low", code="a", text="")),
    ]
    summary = summarise(results)
    (one,) = summary.instruments
    assert summary.profit_micros == one.profit_micros == profit
    assert summary.fees_micros == one.fees_micros == 3_500_000
    assert one.slippage_arrival_ticks == pytest.approx((2 * 1 + 1 * 1) / 3)  # bought a tick above, sold a tick below
    assert summary.slippage_arrival_micros == 3 * TICK
    assert (one.fills, one.lots_traded, one.position_lots, one.round_trips) == (3, 4, 2, 0)
    assert summary.turnover == pytest.approx((200 + 104 + 50) * TICK / np.mean(results.equity))
    assert summary.return_fraction == pytest.approx(profit / CAPITAL)
    assert summary.max_drawdown_fraction == pytest.approx(5 * TICK / CAPITAL)
    assert summary.market_rows == 12
    assert summary.alerts == {"a": 2}
    assert summary.hit_rate is None
    assert summary.simulated_market
    assert summary.ended


def test_hit_rate_and_another_currency():
    other = msgspec.structs.replace(CL, currency="EUR")
    fills = [
        fill(1, 100), fill(-1, 101), fill(1, 100), fill(-1, 99),
        fill(1, 100, 1_000_001, 90, instrument=other.id), fill(-1, 103, 0, 103, instrument=other.id),
    ]  # fmt: skip
    account = AccountSettings(rates={"EUR": 1_100_000})
    summary = summarise(results_of([CAPITAL], [START], fills, instruments=(NQ, other), account=account))
    assert summary.round_trips == 3
    assert summary.hit_rate == pytest.approx(2 / 3)
    assert summary.fees_micros == 1_100_001  # 1,000,001 at 1.1, rounded down
    assert summary.slippage_arrival_micros == 10 * other.tick_value_micros * 11 // 10


def test_a_run_without_an_end_says_so_and_marks_at_the_last_bar():
    results = results_of([CAPITAL], [START], [fill(2, 100)])
    results.history[NQ.id] = InstrumentHistory(times=[START], closes=[107], lots=[2])
    summary = summarise(results)
    assert not summary.ended
    assert summary.instruments[0].profit_micros == 14 * TICK
