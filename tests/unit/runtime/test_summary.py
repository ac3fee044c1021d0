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
from grandmodel.domain.orders import Fill, PriceReference, Side
from grandmodel.domain.time import text_from_ns
from grandmodel.runtime.inputs import begin_run
from grandmodel.runtime.results import InstrumentHistory, RunResults
from grandmodel.runtime.settings import AccountSettings, RunSettings
from grandmodel.runtime.summary import fill_costs, period_ends, round_trip_results, summarise
from strategies import CL, MINUTE, NQ, START, schedule_of

CAPITAL = 1_000_000_000_000
TICK = NQ.tick_value_micros


def fill(signed, price, fee=0, reference=None, tag="entry", instrument=NQ.id, base=None, kind=PriceReference.MARK):
    base = reference if base is None else base
    return Fill(
        exec_id=ExecId(1), order_id=OrderId(1), instrument=instrument, side=Side.BUY if signed > 0 else Side.SELL,
        quantity=abs(signed), price=price, fee_micros=fee, ts_event=0, ts_init=0, reference_price=reference, tag=tag,
        slippage_from=base, slippage_reference=PriceReference.NONE if base is None else kind,
    )  # fmt: skip


def results_of(
    equity,
    times,
    fills=(),
    days=100,
    ending=None,
    instruments=(NQ,),
    account=None,
    spans=None,
    data="simulated market: test",
):
    run_settings = RunSettings(account=account or AccountSettings())
    schedule = schedule_of(*(spans or ((1_440 * day, 1_440 * day + 1_380, day) for day in range(days))))
    begin = begin_run(RunId("run"), run_settings, instruments, [schedule] * len(instruments), data)
    results = RunResults(folder=Path("/nowhere"), begin=begin, settings=run_settings, record_head="00")
    results.times, results.equity, results.fills = list(times), list(equity), list(fills)
    results.history = {one.id: InstrumentHistory() for one in instruments}
    results.ending = ending
    return results


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
    changes = [b / a - 1 for a, b in pairwise([equity[0] / 1e6, *last])]
    # A market of all days: 365.25 trading days a year.
    expected = statistics.fmean(changes) / statistics.pstdev(changes) * math.sqrt(365.25)
    assert summary.sharpe_annual == pytest.approx(expected, rel=1e-9)
    assert summary.ratio_basis.startswith("70 daily returns, 365.2 a year; 95% intervals after Lo (2002)")
    low, high = summary.sharpe_interval_annual
    assert low < summary.sharpe_annual < high
    low, high = summary.sortino_interval_annual
    assert low < summary.sortino_annual < high
    assert (summary.sharpe_absent, summary.sortino_absent) == ("", "")


def test_a_short_run_uses_its_longest_bars_and_a_close_belongs_to_its_bar():
    times = [START + k * 5 * MINUTE for k in range(1, 25)]
    ends, per_year, name = period_ends(results_of([CAPITAL] * 24, times), np.array(times, dtype=np.int64))
    assert name == "30-minute"
    assert [int((times[k] - START) // MINUTE) for k in ends] == [30, 60, 90, 120]
    assert per_year == pytest.approx(365.25 * 46)


def test_too_few_periods_give_no_ratio():
    times = [START + k * 5 * MINUTE for k in range(1, 25)]
    summary = summarise(results_of([CAPITAL] * 24, times))
    assert (summary.sharpe_annual, summary.sortino_annual, summary.sharpe_interval_annual) == (None, None, None)
    assert summary.sharpe_absent == "too few: 4 30-minute returns, expected at least 60"


def many_days(values, days=100, **more):
    """Results with one record at the close of each day."""
    times = [START + (1_440 * k + 1_380) * MINUTE for k in range(len(values))]
    return results_of(values, times, days=days, **more)


def test_an_account_that_never_moves_has_no_variance_which_is_not_too_few():
    summary = summarise(many_days([CAPITAL] * 80))
    assert (summary.sharpe_annual, summary.sortino_annual) == (None, None)
    assert summary.sharpe_absent == summary.sortino_absent == "no variance: every return is the same"


def test_an_account_below_zero_has_a_drawdown_beyond_one_and_says_why_it_has_no_ratio():
    values = [CAPITAL + k * 10**9 for k in range(40)] + [CAPITAL // 2 - k * CAPITAL // 40 for k in range(40)]
    summary = summarise(many_days(values))
    peak = CAPITAL + 39 * 10**9
    assert summary.max_drawdown_fraction == pytest.approx((peak - values[-1]) / peak)
    assert summary.max_drawdown_fraction > 1.0
    assert summary.sharpe_annual is None
    assert summary.sharpe_absent.startswith("equity fell to 0 or below")
    assert summary.sortino_absent == summary.sharpe_absent


def test_turnover_over_a_mean_equity_that_is_not_positive_is_not_known():
    assert summarise(many_days([CAPITAL, -2 * CAPITAL], fills=[fill(1, 100)])).turnover is None


@pytest.mark.parametrize(("hours", "days_a_week"), [(23, 5), (4, 5), (24, 7)])
def test_periods_of_a_year_are_those_of_the_instrument_s_own_sessions(hours, days_a_week):
    """Half hours of a market open 4 hours a day are not those of one open 23; one of all days has 365."""
    spans = [(1_440 * k, 1_440 * k + 60 * hours, k) for k in range(28) if k % 7 < days_a_week]
    times = [START + k * 5 * MINUTE for k in range(1, 25)]
    results = results_of([CAPITAL] * 24, times, spans=spans)
    _, per_year, name = period_ends(results, np.array(times, dtype=np.int64))
    assert name == "30-minute"
    assert per_year == pytest.approx(365.25 * days_a_week / 7 * hours * 2)
    long = [(1_440 * k, 1_440 * k + 60 * hours, k) for k in range(140) if k % 7 < days_a_week]
    ends = [START + high * MINUTE for _, high, _ in long]
    _, per_year, name = period_ends(results_of([CAPITAL] * len(ends), ends, spans=long), np.array(ends, dtype=np.int64))
    assert name == "daily"
    assert per_year == pytest.approx(365.25 * days_a_week / 7)


def test_sessions_of_less_than_two_weeks_do_not_say_how_long_a_year_is():
    times = [START + k * 30 * MINUTE for k in range(1, 200)]
    generator = np.random.default_rng(1)
    equity = [CAPITAL + int(x) for x in np.cumsum(generator.normal(0, 10**8, len(times)))]
    summary = summarise(results_of(equity, times, days=5))
    assert summary.sharpe_annual is None
    assert summary.sharpe_absent.startswith("not known how many 30-minute returns make a year")


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
    (cost,) = one.fill_costs  # bought a tick above, sold a tick below; the roll has none
    assert (cost.reference, cost.lots, cost.slippage_ticks, cost.delay_ticks) == ("mark", 3, 1.0, 0.0)
    assert (summary.slippage_micros, summary.delay_micros, one.unmeasured_lots) == (3 * TICK, 0, 0)
    assert (one.fills, one.lots_traded, one.position_lots, one.round_trips) == (3, 4, 2, 0)
    assert summary.turnover == pytest.approx((200 + 104 + 50) * TICK / np.mean(results.equity))
    assert summary.return_fraction == pytest.approx(profit / CAPITAL)
    assert summary.max_drawdown_fraction == pytest.approx(5 * TICK / CAPITAL)
    assert summary.market_rows == 12
    assert (summary.alerts, summary.ladder) == ({"a": 2}, "")
    assert summary.hit_rate is None
    assert summary.simulated_market
    assert summary.ended


def test_a_run_whose_ladder_did_not_come_back_says_since_when_and_why():
    results = results_of([CAPITAL], [START], [])
    results.alerts = [
        (START, Alert(severity="medium", code="breaker_caution", text="normal to caution by drawdown")),
        (START, Alert(severity="low", code="a", text="")),
    ]
    ladder = summarise(results).ladder
    assert ladder.startswith(f"caution from {text_from_ns(START)[:16]}Z to the end (normal to caution by drawdown): ")
    results.alerts.append(
        (START, Alert(severity="medium", code="breaker_normal", text="caution to normal by rule: calm"))
    )
    assert summarise(results).ladder == ""


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
    assert summary.slippage_micros == 10 * other.tick_value_micros * 11 // 10
    assert [one.unmeasured_lots for one in summary.instruments] == [4, 0]  # NQ's fills name no reference


def test_each_kind_of_order_is_measured_from_its_own_price_and_delay_stands_apart():
    """A stop placed 90 ticks away that fills 2 beyond its trigger cost 2 ticks and waited 90; a limit never costs."""
    fills = [
        fill(-2, 908, reference=1_000, base=910, kind=PriceReference.TRIGGER),
        fill(1, 950, reference=1_000, base=952, kind=PriceReference.LIMIT),
        fill(3, 1_003, reference=1_000, base=1_002, kind=PriceReference.QUOTE),
        fill(1, 1_005, reference=1_000, base=1_004, kind=PriceReference.QUOTE),
        fill(1, 2_000, tag="roll"),
    ]
    found = {one.reference: one for one in fill_costs(fills, TICK)}
    assert list(found) == ["trigger", "limit", "quote"]
    assert (found["trigger"].slippage_ticks, found["trigger"].delay_ticks, found["trigger"].lots) == (2.0, 90.0, 2)
    assert (found["limit"].slippage_ticks, found["limit"].delay_ticks) == (-2.0, -48.0)
    assert (found["quote"].slippage_ticks, found["quote"].delay_ticks) == (1.0, (3 * 2 + 4) / 4)
    assert found["trigger"].slippage_micros == 4 * TICK
    whole = sum((one.price - one.reference_price) * one.signed_quantity for one in fills[:4]) * TICK
    assert sum(one.slippage_micros + one.delay_micros for one in found.values()) == whole


def test_a_run_without_an_end_says_so_and_marks_at_the_last_bar():
    results = results_of([CAPITAL], [START], [fill(2, 100)])
    results.history[NQ.id] = InstrumentHistory(times=[START], closes=[107], lots=[2])
    summary = summarise(results)
    assert not summary.ended
    assert summary.instruments[0].profit_micros == 14 * TICK
