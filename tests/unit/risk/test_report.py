"""The risk report of hand-made records: values against the gate's own, P&L by hand, and the page."""

import math

import msgspec
import numpy as np
import pytest

from grandmodel.domain.blocks import Flag
from grandmodel.domain.decisions import CheckOutcome, PlaceOrder, RiskCheck
from grandmodel.domain.events import Alert, Cause, DecidedIntent, Record
from grandmodel.domain.ids import InstrumentId, OrderId
from grandmodel.domain.orders import Side
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.risk.backtests import traffic_light
from grandmodel.risk.intraday import IntradayVolatility
from grandmodel.risk.refusals import RefusalCounts
from grandmodel.risk.report import RiskReport, build_risk_report, p_text, risk_page
from grandmodel.risk.running import RETURNS, RunningRisk
from grandmodel.risk.settings import RiskSettings, VarSettings
from risk import desk
from risk.made_checks import checked_order

NAMES = ("NQ", "CL")
SETTINGS = RiskSettings(var=VarSettings(min_returns=10))
ROWS = 400
CLOSES = np.array([80_000, 7_500]) + np.cumsum(
    np.random.default_rng(5).standard_t(4, (ROWS, 2)) * np.array([80.0, 15.0]), axis=0
).astype(np.int64)
FILLED_AT, CLOSED_AT = 50, 360


def _record(number: int, ts: int, **changes: object) -> Record:
    return Record(number=number, ts=ts, cause=Cause.BAR, position=0, equity_micros=0, **changes)


def _records(*, joint: bool = True) -> list[Record]:
    """One record a row of bars (or one an instrument); three NQ bought and two CL sold after row ``FILLED_AT``, until ``CLOSED_AT``."""
    found: list[Record] = []
    for k in range(ROWS):
        ts = desk.START + k * desk.WIDTH
        made = desk.bars(ts, CLOSES[k].tolist(), NAMES)
        for part in (made,) if joint else ([made[0]], [made[1]]):
            found.append(_record(len(found), ts, bars=tuple(part)))
        if k == FILLED_AT:
            fills = (
                desk.fill(1, 3, int(CLOSES[k][0]), Side.BUY, "NQ", ts + 1),
                desk.fill(2, 2, int(CLOSES[k][1]), Side.SELL, "CL", ts + 1),
            )
            found.append(_record(len(found), ts + 1, fills=fills))
        if k == CLOSED_AT:
            fills = (
                desk.fill(3, 3, int(CLOSES[k][0]), Side.SELL, "NQ", ts + 1),
                desk.fill(4, 2, int(CLOSES[k][1]), Side.BUY, "CL", ts + 1),
            )
            found.append(_record(len(found), ts + 1, fills=fills))
    return found


def _accounted(records: list[Record], names: tuple[str, ...] = NAMES) -> list[Record]:
    """``records`` with the equity that an account of one million has after each: cash, and positions at the last close."""
    tick_values = {one.id: one.tick_value_micros for one in desk.instruments(names)}
    cash, lots, marks, found = 10**12, dict.fromkeys(tick_values, 0), dict.fromkeys(tick_values, 0), []
    for record in records:
        marks.update({bar.instrument: bar.close for bar in record.bars})
        for one in record.fills:
            cash -= one.signed_quantity * one.price * tick_values[one.instrument] + one.fee_micros
            lots[one.instrument] += one.signed_quantity
        equity = cash + sum(lots[name] * marks[name] * tick_values[name] for name in tick_values)
        found.append(msgspec.structs.replace(record, equity_micros=equity))
    return found


def _report(records: list[Record]) -> RiskReport:
    return build_risk_report("r1", _accounted(records), desk.instruments(NAMES), SETTINGS, "USD")


@pytest.mark.parametrize("joint", [True, False])
def test_var_is_the_gates_and_the_result_is_that_of_the_positions_held_at_the_close(joint: bool) -> None:
    report = _report(_records(joint=joint))
    running = RunningRisk(SETTINGS.var, desk.instruments(NAMES))
    expected, made = [], []
    for k in range(ROWS):
        for bar in desk.bars(desk.START + k * desk.WIDTH, CLOSES[k].tolist(), NAMES):
            running.on_bar(bar)
        running.take_row()
        if FILLED_AT < k <= CLOSED_AT:
            expected.append(running.value_at_risk([3, -2], [1_000_000] * 2) / 1e6)
            move = CLOSES[k + 1] - CLOSES[k]
            made.append(3 * 5.0 * move[0] - 2 * 10.0 * move[1])
    np.testing.assert_allclose(report.var_horizon, expected, rtol=1e-12)
    np.testing.assert_allclose(report.var_average, np.array(expected) / math.sqrt(46.0), rtol=1e-12)
    np.testing.assert_allclose(report.pnl_held, made)
    # The account made the same, but for the last bar: the position was closed right after its VaR was stated.
    np.testing.assert_allclose(report.pnl_bar, [*made[:-1], 0.0])
    assert report.held_exceptions == int((np.array(made) < -np.array(report.var_bar)).sum())
    assert report.times[0] == desk.START + (FILLED_AT + 1) * desk.WIDTH
    assert report.observations == len(expected)
    assert report.exceptions == int((np.array(report.pnl_bar) < -np.array(report.var_bar)).sum())
    assert sum(report.mean_components.values()) == pytest.approx(np.mean(expected), rel=1e-12)
    assert report.zone == ""
    assert report.zone_absent.startswith("not enough days")
    assert report.kupiec_p is not None
    assert report.correlation[0][0] == 1.0


def test_the_var_of_a_bar_has_the_shape_of_the_day_as_it_was_known_at_the_close_before() -> None:
    report = _report(_records())
    running = RunningRisk(SETTINGS.var, desk.instruments(NAMES))
    shape = IntradayVolatility(2, desk.WIDTH)
    expected = []
    for k in range(ROWS):
        opens = desk.START + (k - 1) * desk.WIDTH
        if FILLED_AT + 1 < k <= CLOSED_AT + 1:
            expected.append(shape.value_at_risk(running, [3, -2], [1_000_000] * 2, opens) / 1e6)
        for bar in desk.bars(desk.START + k * desk.WIDTH, CLOSES[k].tolist(), NAMES):
            assert bar.ts_open == opens
            running.collect(bar)
        shape.take_row(running, running.money[RETURNS], opens)
        running.take_row()
    np.testing.assert_allclose(report.var_bar, expected, rtol=1e-12)
    assert not np.allclose(report.var_bar, report.var_average)
    held = np.array(report.pnl_held)
    assert report.average_exceptions == int((held < -np.array(report.var_average)).sum())
    assert report.held_exceptions == int((held < -np.array(report.var_bar)).sum())


def test_a_row_changes_no_var_that_was_stated_before_it() -> None:
    records = _records()
    whole, cut = _report(records), _report(records[:-5])
    assert whole.var_bar[: len(cut.var_bar)] == cut.var_bar


def test_few_bars_state_no_p_values() -> None:
    report = _report(_records()[: FILLED_AT + 10])
    assert 0 < report.observations < 20
    assert report.kupiec_p is report.independence_p is report.conditional_p is None
    assert report.zone == ""
    assert "not enough days, 2 of 250" in risk_page(report)


def test_refusals_and_breaker_moves_are_listed() -> None:
    check = RiskCheck(name="var", outcome=CheckOutcome.REFUSED, reason="var_limit")
    intent = DecidedIntent(
        number=1,
        agent="a",
        intent=PlaceOrder(instrument=InstrumentId("NQ"), side=Side.BUY, quantity=1),
        checks=(checked_order(1, check),),
        refused="var_limit",
    )
    alerts = (
        Alert(severity="medium", code="breaker_caution", text="normal to caution by latency"),
        Alert(severity="high", code="shock_volatility", text="x"),
    )
    records = [*_records(), _record(999, desk.START + ROWS * desk.WIDTH, intents=(intent, intent), alerts=alerts)]
    report = _report(records)
    assert report.refusals == RefusalCounts(
        refused=2, orders_refused=1, changes_refused=1, refused_by={"var: var_limit": 2}
    )  # the second time the order of that number works already
    assert [(move.state, move.text) for move in report.breaker] == [("caution", "normal to caution by latency")]
    assert report.alerts == {"breaker_caution": 1, "shock_volatility": 1}
    page = risk_page(report)
    for text in ("var: var_limit", "normal to caution by latency", "Correlation at the end", "exceptions"):
        assert text in page


def test_a_run_without_positions_has_a_page_too() -> None:
    report = _report([record for record in _records() if not record.fills])
    assert report.observations == 0
    page = risk_page(report)
    assert "No bar closed with a position" in page
    assert "The ladder never moved" in page
    assert msgspec.json.decode(msgspec.json.encode(report), type=RiskReport) == report


def test_other_currencies_are_converted() -> None:
    records = _records()
    one = _report(records)
    halved = [msgspec.structs.replace(one, equity_micros=one.equity_micros // 2) for one in _accounted(records)]
    two = build_risk_report("r1", halved, desk.instruments(NAMES), SETTINGS, "EUR", [500_000, 500_000])
    np.testing.assert_allclose(two.var_bar, np.array(one.var_bar) / 2)
    np.testing.assert_allclose(two.pnl_bar, np.array(one.pnl_bar) / 2)
    np.testing.assert_allclose(two.pnl_held, np.array(one.pnl_held) / 2)


HALF_DAY = 12 * 3_600 * 10**9
MIDNIGHT = desk.START // (2 * HALF_DAY) * 2 * HALF_DAY
LONG = RiskSettings(var=VarSettings(min_returns=10, width_ns=HALF_DAY, session_hours=24.0, degrees=None))


def _long_report(steps: np.ndarray, schedule: SessionSchedule | None = None) -> RiskReport:
    """One NQ held over bars of half a day with these ``steps`` in ticks, from the eleventh on."""
    records: list[Record] = []
    for k, close in enumerate(80_000 + np.cumsum(steps)):
        ts = MIDNIGHT + k * HALF_DAY
        (bar,) = desk.bars(ts, [int(close)], ("NQ",))
        bar = msgspec.structs.replace(bar, width_ns=HALF_DAY, ts_open=ts - HALF_DAY)
        records.append(_record(len(records), ts, bars=(bar,)))
        if k == 10:
            records.append(_record(len(records), ts + 1, fills=(desk.fill(1, 1, int(close), Side.BUY, "NQ", ts + 1),)))
    accounted = _accounted(records, ("NQ",))
    return build_risk_report("r1", accounted, desk.instruments(("NQ",)), LONG, "USD", schedule=schedule)


def _steps(seed: int = 3, rows: int = 620) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 200, rows).astype(np.int64)


def test_the_light_counts_days_by_the_sum_of_their_bars_against_the_vars_of_their_first() -> None:
    report = _long_report(_steps())
    by_day: dict[int, list[int]] = {}
    for place, ts in enumerate(report.times):
        by_day.setdefault(ts // (2 * HALF_DAY), []).append(place)
    hits = [
        sum(report.pnl_bar[place] for place in places) < -report.var_average[places[0]] * math.sqrt(2.0)
        for places in by_day.values()
    ]
    assert report.days == len(hits) == 305
    assert report.day_exceptions == sum(hits) > 0
    assert report.zone == traffic_light(sum(hits[-250:]), 250, 0.99).zone == "green"
    assert report.kupiec_p is not None
    assert report.kupiec_p > 0.01
    assert report.zone_absent == ""


def test_no_green_light_where_kupiec_rejects() -> None:
    report = _long_report(np.abs(_steps()) + 1)
    assert report.exceptions == report.day_exceptions == 0
    assert report.kupiec_p is not None
    assert report.kupiec_p < 0.01
    assert report.zone == ""
    assert "green by days, but Kupiec" in report.zone_absent
    assert p_text(report.kupiec_p) in report.zone_absent
    assert (p_text(0.04321), p_text(1e-9)) == ("0.0432", "below 0.0001")
    page = risk_page(report)
    assert "Kupiec&#x27;s test rejects" in page or "Kupiec's test rejects" in page


def test_days_end_where_the_schedule_says() -> None:
    """Sessions from noon to noon: the bar that closes at noon states the VaR of the day to come."""
    opens = MIDNIGHT - HALF_DAY + 2 * HALF_DAY * np.arange(400)
    report = _long_report(_steps(rows=40), SessionSchedule(opens, opens + 2 * HALF_DAY, opens + HALF_DAY))
    plain = _long_report(_steps(rows=40))
    assert report.times == plain.times
    assert report.times[0] % (2 * HALF_DAY) == HALF_DAY
    # Fourteen pairs from noon on; by UTC the first and the last row stand alone.
    assert (len(report.times), report.days, plain.days) == (28, 14, 15)


def test_times_of_the_tables_name_their_zone() -> None:
    alert = Alert(severity="medium", code="breaker_caution", text="normal to caution by latency")
    report = _report([*_records(), _record(999, 1_700_000_000 * 10**9, alerts=(alert,))])
    assert "2023-11-14 22:13:20 UTC" in risk_page(report)


def _exact(money: list[float]) -> int:
    return sum(round(one * 1e6) for one in money)


def _rolled(step: int, fee: int = 2_250_000) -> list[Record]:
    """Three NQ held over a roll in which the series jumps by ``step`` ticks, and left before a bad stretch of other prices."""
    found: list[Record] = []
    jump, bad, held = FILLED_AT + 60, CLOSED_AT - 20, 3
    for k in range(ROWS):
        ts = desk.START + k * desk.WIDTH
        close = int(CLOSES[k][0]) + (step if k >= jump else 0) + (50_000 if bad <= k < bad + 5 else 0)
        if k == jump:
            last = found[-1].bars[0].close
            fills = [desk.fill(-1, held, last, Side.SELL), desk.fill(-2, held, last + step, Side.BUY)]
            fills = [
                msgspec.structs.replace(one, fee_micros=fee * held, tag="roll", order_id=OrderId(0)) for one in fills
            ]
            found.append(_record(len(found), ts - desk.WIDTH, fills=tuple(fills)))
        if k == bad:
            leave = desk.fill(-3, held, found[-1].bars[0].close, Side.SELL)
            leave = msgspec.structs.replace(leave, fee_micros=fee * held, tag="bad_stretch", order_id=OrderId(0))
            found.append(_record(len(found), ts - desk.WIDTH, fills=(leave,)))
        flags = int(Flag.ROLL) if k == jump else int(Flag.BAD_STRETCH) if bad <= k < bad + 5 else 0
        (bar,) = desk.bars(ts, [close], ("NQ",), flags)
        if k == jump:
            bar = msgspec.structs.replace(bar, open=found[-2].bars[0].close + step)
        found.append(_record(len(found), ts, bars=(bar,)))
        if k == FILLED_AT:
            found.append(_record(len(found), ts + 1, fills=(desk.fill(1, held, close, Side.BUY),)))
    return found


@pytest.mark.parametrize("step", [0, 400, -900])
def test_neither_a_roll_s_step_nor_a_bad_stretch_counts_as_a_result(step: int) -> None:
    records = _accounted(_rolled(step), ("NQ",))
    report = build_risk_report("r1", records, desk.instruments(("NQ",)), SETTINGS, "USD")
    fees = sum(one.fee_micros for record in records for one in record.fills)
    expected = records[-1].equity_micros - records[0].equity_micros + fees
    assert _exact([*report.pnl_bar, report.profit_untested]) == round(report.profit_before_fees * 1e6) == expected
    level = build_risk_report("r1", _accounted(_rolled(0), ("NQ",)), desk.instruments(("NQ",)), SETTINGS, "USD")
    assert report.pnl_bar == level.pnl_bar
    assert report.pnl_held == report.pnl_bar
    assert report.hits == level.hits


def test_what_is_traded_inside_a_bar_counts_for_the_account_and_not_for_the_positions_held() -> None:
    """One NQ is bought at row 50's close; at row 200 nine more are bought and sold again inside the bar, 100 ticks lower."""
    records: list[Record] = []
    for k in range(ROWS):
        ts = desk.START + k * desk.WIDTH
        close = int(CLOSES[k][0])
        if k == 200:
            there_and_back = (
                desk.fill(2, 9, close, Side.BUY, "NQ", ts - 9),
                desk.fill(3, 9, close - 100, Side.SELL, "NQ", ts - 8),
            )
            records.append(_record(len(records), ts - 8, fills=there_and_back))
        records.append(_record(len(records), ts, bars=tuple(desk.bars(ts, [close], ("NQ",)))))
        if k == FILLED_AT:
            records.append(_record(len(records), ts + 1, fills=(desk.fill(1, 1, close, Side.BUY, "NQ", ts + 1),)))
    report = build_risk_report("r1", _accounted(records, ("NQ",)), desk.instruments(("NQ",)), SETTINGS, "USD")
    lost = np.array(report.pnl_held) - np.array(report.pnl_bar)
    (place,) = np.flatnonzero(lost)
    assert lost[place] == 9 * 100 * 5.0
    assert report.times[place] == desk.START + 199 * desk.WIDTH
    assert report.hits[place]
    assert report.exceptions == report.held_exceptions + 1


def test_a_day_of_four_hours_is_not_taken_for_one_of_23() -> None:
    """Eight half hours a day: the day's VaR is the root of 8 bars' variance, not of 46."""
    day = 86_400 * 10**9
    first = desk.START // day * day
    opens = first + day * np.arange(60) + 14 * 3_600 * 10**9
    schedule = SessionSchedule(opens, opens + 4 * 3_600 * 10**9, opens // day * day)
    records: list[Record] = []
    steps = np.random.default_rng(3).normal(0, 60, 480).astype(np.int64)
    steps[300] = -600
    for k, close in enumerate((80_000 + np.cumsum(steps)).tolist()):
        ts = int(opens[k // 8]) + (k % 8 + 1) * desk.WIDTH
        records.append(_record(len(records), ts, bars=tuple(desk.bars(ts, [close], ("NQ",)))))
        if k == 15:
            records.append(_record(len(records), ts + 1, fills=(desk.fill(1, 1, close, Side.BUY, "NQ", ts + 1),)))
    made = _accounted(records, ("NQ",))
    found = build_risk_report("r1", made, desk.instruments(("NQ",)), SETTINGS, "USD", schedule=schedule)
    by_day: dict[int, list[int]] = {}
    for place, ts in enumerate(found.times):
        session = int(np.searchsorted(schedule.close_ns, ts, side="right"))
        by_day.setdefault(session, []).append(place)
    hits = [
        sum(found.pnl_bar[place] for place in places) < -found.var_bar[places[0]] * math.sqrt(8)
        for places in by_day.values()
    ]
    assert found.day_exceptions == sum(hits) >= 1
    sleepy = [
        sum(found.pnl_bar[place] for place in places) < -found.var_bar[places[0]] * math.sqrt(46)
        for places in by_day.values()
    ]
    assert sum(sleepy) < sum(hits)
