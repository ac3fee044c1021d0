"""The ladder by itself, and what the gate does in each of its states."""

import math

import msgspec
import pytest

from grandmodel.domain.blocks import Flag
from grandmodel.domain.decisions import CancelIntent, Intent, TargetPosition
from grandmodel.domain.events import Command, CommandKind
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.orders import ExecType, OrderType, Side
from grandmodel.domain.time import NS_PER_DAY
from grandmodel.risk.breakers import BreakerLadder, BreakerState, Trigger
from grandmodel.risk.errors import RiskInputError
from grandmodel.risk.gate import NO_FLOOR
from grandmodel.risk.settings import BreakerSettings, RiskSettings, Thresholds
from risk import desk
from risk.desk import DeskGate, View

SECOND = 10**9
N, C, R, H, K = BreakerState


@pytest.mark.parametrize(
    ("value", "state"),
    [(0.0199, N), (0.02, C), (0.0299, C), (0.03, R), (0.0499, R), (0.05, H), (9.0, H), (math.nan, H)],
)
def test_each_threshold_moves_the_ladder_to_its_step(value: float, state: BreakerState) -> None:
    ladder = BreakerLadder()
    ladder.observe(Trigger.DAILY_LOSS, value, 1)
    assert ladder.state is state
    assert len(ladder.transitions) == (state is not N)


def test_a_step_that_is_not_configured_is_skipped() -> None:
    ladder = BreakerLadder(BreakerSettings(latency=Thresholds(halt=5.0)))
    assert ladder.observe(Trigger.LATENCY, 4.9, 1) is None
    assert ladder.observe(Trigger.LATENCY, 5.0, 2).after is H
    never = BreakerLadder(BreakerSettings(latency=Thresholds()))
    assert never.observe(Trigger.LATENCY, 1e9, 1) is None


def test_it_never_steps_back_by_a_better_value() -> None:
    ladder = BreakerLadder()
    ladder.observe(Trigger.DRAWDOWN, 0.5, 1)
    ladder.observe(Trigger.DRAWDOWN, 0.0, 2)
    ladder.observe(Trigger.DRAWDOWN, 0.09, 3)
    assert ladder.state is H
    assert len(ladder.transitions) == 1


def test_caution_relaxes_only_after_a_calm_time() -> None:
    ladder = BreakerLadder()
    ladder.observe(Trigger.LATENCY, 1.0, 100)
    ladder.observe(Trigger.LATENCY, 1.0, 200)
    assert ladder.relax(100 + NS_PER_DAY) is None
    assert ladder.relax(200 + NS_PER_DAY).after is N
    for settings, state in ((BreakerSettings(automatic_release="never"), C), (BreakerSettings(), R)):
        stays = BreakerLadder(settings)
        stays.observe(Trigger.MARKET_WIDE, 0.07 if state is C else 0.13, 0)
        assert stays.relax(10 * NS_PER_DAY) is None
        assert stays.state is state


@pytest.mark.parametrize("who", ["ada", "ada/trader", "/risk_officer", ""])
def test_a_release_needs_a_named_role(who: str) -> None:
    ladder = BreakerLadder()
    ladder.observe(Trigger.DRAWDOWN, 0.5, 1)
    with pytest.raises(RiskInputError, match="role"):
        ladder.release(N, who, "checked", 2)
    assert ladder.state is H


def test_a_release_needs_a_reason_and_is_a_step_back() -> None:
    ladder = BreakerLadder()
    ladder.observe(Trigger.DRAWDOWN, 0.13, 1)
    with pytest.raises(RiskInputError, match="reason"):
        ladder.release(N, "ada/risk_officer", "  ", 2)
    with pytest.raises(RiskInputError, match="step back"):
        ladder.release(H, "ada/risk_officer", "x", 2)
    moved = ladder.release(C, "ada/risk_officer", "limits reviewed", 2)
    assert (moved.before, moved.after, moved.who, moved.reason) == (R, C, "ada/risk_officer", "limits reviewed")


def test_killed_needs_two_people() -> None:
    ladder = BreakerLadder()
    ladder.kill("anyone", "smoke", 1)
    assert ladder.release(N, "ada/risk_officer", "fixed", 2) is None
    assert ladder.release(N, "ada/head_of_trading", "fixed", 3) is None
    assert ladder.state is K
    moved = ladder.release(N, "bob/risk_officer", "fixed", 4)
    assert moved.who == "ada and bob/risk_officer"
    assert ladder.state is N


def test_a_second_person_must_ask_for_the_same_step() -> None:
    ladder = BreakerLadder()
    ladder.kill("anyone", "smoke", 1)
    ladder.release(N, "ada/risk_officer", "fixed", 2)
    assert ladder.release(H, "bob/risk_officer", "fixed", 3) is None
    ladder.kill("anyone", "again", 4)
    assert ladder.release(H, "ada/risk_officer", "fixed", 5) is None


def test_thresholds_out_of_order_are_refused() -> None:
    with pytest.raises(RiskInputError, match="rising"):
        Thresholds(caution=0.3, halt=0.2)
    with pytest.raises(RiskInputError):
        Thresholds(caution=math.nan)
    with pytest.raises(RiskInputError):
        BreakerSettings(slice_share=0.0)
    with pytest.raises(msgspec.ValidationError, match="unknown"):
        msgspec.json.decode(b'{"breakers": {"drawdwn": {}}}', type=RiskSettings)


def test_the_ladder_is_saved_and_restored() -> None:
    ladder = BreakerLadder()
    ladder.kill("x", "y", 5)
    ladder.release(N, "ada/risk_officer", "fixed", 6)
    copy = BreakerLadder()
    copy.restore(ladder.save())
    assert copy.release(N, "bob/risk_officer", "fixed", 7).after is N
    assert copy.transitions[:1] == ladder.transitions[:1]


# -- in the gate ---------------------------------------------------------------------------------------------------


def _at(view: View, seconds: float = 0, **changes: object) -> View:
    view.ts += int(seconds * SECOND)
    view.mark_ts = [view.ts] * len(view.mark_ts)
    for name, value in changes.items():
        setattr(view, name, value)
    return view


def _alerts(gate: DeskGate, view: View) -> list[str]:
    return [a.code for a in gate.react(view)[1]]


def test_the_floor_is_the_next_line_and_moves_down_the_ladder() -> None:
    gate, view = desk.gate(), desk.view()
    gate.react(view)
    floor = gate.equity_floor_micros()
    assert floor == pytest.approx(0.98 * desk.CAPITAL, abs=1)
    assert _alerts(gate, _at(view, 1, equity_micros=floor + 1)) == []
    assert _alerts(gate, _at(view, 1, equity_micros=floor)) == ["breaker_caution"]
    assert gate.equity_floor_micros() == pytest.approx(0.97 * desk.CAPITAL, abs=1)
    assert _alerts(gate, _at(view, 1, equity_micros=int(0.96 * desk.CAPITAL))) == ["breaker_reduce"]
    assert _alerts(gate, _at(view, 1, equity_micros=int(0.94 * desk.CAPITAL))) == ["breaker_halt"]
    assert gate.equity_floor_micros() == NO_FLOOR


def test_the_drawdown_line_follows_the_peak_and_a_new_day_starts_anew() -> None:
    gate, view = desk.gate(), desk.view()
    gate.react(_at(view, equity_micros=2 * desk.CAPITAL))
    gate.react(_at(view, NS_PER_DAY / SECOND, equity_micros=2 * desk.CAPITAL))
    daily = 2 * desk.CAPITAL - 0.02 * desk.CAPITAL
    assert gate.equity_floor_micros() == pytest.approx(daily, abs=1)
    higher = int(2.14 * desk.CAPITAL)
    gate.react(_at(view, 1, peak_equity_micros=higher))
    assert gate.equity_floor_micros() == pytest.approx(daily, abs=1)
    higher = int(2.16 * desk.CAPITAL)
    gate.react(_at(view, 1, peak_equity_micros=higher))
    assert gate.equity_floor_micros() == pytest.approx(0.92 * higher, abs=1)


def test_a_day_given_by_the_engine_is_the_day() -> None:
    gate, view = desk.gate(), desk.view(day_ns=5)
    gate.react(view)
    gate.react(_at(view, 3 * 86_400, equity_micros=int(0.985 * desk.CAPITAL)))
    assert gate.check(desk.order(), view).checks[21].value == pytest.approx(0.015)
    gate.react(_at(view, 1, day_ns=6))
    assert gate.check(desk.order(), view).checks[21].value == pytest.approx(0.0)


def _kinds(intents: tuple[Intent, ...]) -> list[object]:
    return [
        ("cancel", i.instrument, i.order_id) if isinstance(i, CancelIntent) else ("target", i.instrument, i.lots)
        for i in intents
        if isinstance(i, CancelIntent | TargetPosition)
    ]


def test_halt_cancels_first_and_flattens_once_the_cancel_is_confirmed() -> None:
    gate, view = desk.gate(), desk.view(positions=[3, -2, 0])
    gate.on_order(desk.order(1, side=Side.SELL, order_type=OrderType.STOP, stop_price=79_000))
    gate.on_signal(Trigger.DISCONNECT, 1.0, view.ts)
    assert _kinds(gate.react(view)[0]) == [("cancel", "NQ", 1), ("target", "CL", 0)]
    assert gate.react(_at(view, 0.5))[0] == ()
    close = desk.order(2, instrument=InstrumentId("CL"), quantity=2, ts=view.ts)
    assert gate.check(close, view).reason == ""
    gate.on_order(close)
    desk.tell(gate, desk.report(1, ExecType.CANCELED))
    assert _kinds(gate.react(_at(view, 1))[0]) == [("target", "NQ", 0)]
    close = desk.order(3, side=Side.SELL, quantity=3, ts=view.ts)
    assert gate.check(close, view).reason == ""
    gate.on_order(close)
    assert gate.react(_at(view, 2))[0] == ()


def test_a_close_out_goes_at_the_very_report_that_confirms_the_cancel() -> None:
    """On bars, or on a slow feed, the next step after it may be minutes away."""
    gate, view = desk.gate(), desk.view(positions=[3, 0, 0])
    gate.on_order(desk.order(1, side=Side.SELL, order_type=OrderType.STOP, stop_price=79_000))
    assert _kinds(gate.on_command(_command(CommandKind.FLATTEN, view.ts), view)[0]) == [("cancel", "NQ", 1)]
    assert gate.react(view)[0] == ()
    desk.tell(gate, desk.report(1, ExecType.CANCELED))
    assert _kinds(gate.react(view)[0]) == [("target", "NQ", 0)]
    assert gate.react(view)[0] == (), "asked again only after the interval, should it have come to nothing"


def test_halt_flattens_without_a_confirmation_that_does_not_come() -> None:
    gate, view = desk.gate(), desk.view(positions=[3, 0, 0])
    gate.on_order(desk.order(1, side=Side.SELL, order_type=OrderType.STOP, stop_price=79_000))
    gate.on_signal(Trigger.DISCONNECT, 1.0, view.ts)
    assert _kinds(gate.react(view)[0]) == [("cancel", "NQ", 1)]
    assert _kinds(gate.react(_at(view, 6))[0]) == [("cancel", "NQ", 1), ("target", "NQ", 0)]


def test_halt_waits_for_the_session() -> None:
    gate, view = desk.gate(), desk.view(positions=[3, 0, 0], in_session=[False, True, True])
    gate.on_signal(Trigger.DISCONNECT, 1.0, view.ts)
    assert gate.react(view)[0] == ()
    assert _kinds(gate.react(_at(view, 60, in_session=[True] * 3))[0]) == [("target", "NQ", 0)]


def test_reduce_cuts_the_largest_component_in_slices_until_its_target() -> None:
    gate, view = desk.gate(), desk.view(positions=[8, 12, 0])
    components = gate.component_value_at_risk(view)
    first = components.index(max(components))
    start = gate.value_at_risk(view)
    gate.on_signal(Trigger.MARKET_WIDE, 0.14, view.ts)
    steps = 0
    while steps < 60:
        intents, _ = gate.react(_at(view, 2))
        if not intents:
            break
        (intent,) = intents
        assert isinstance(intent, TargetPosition)
        index = desk.NAMES.index(intent.instrument)
        if not steps:
            assert index == first
        lots = intent.lots - view.positions[index]
        side = Side.BUY if lots > 0 else Side.SELL
        sent = desk.order(100 + steps, instrument=intent.instrument, side=side, quantity=abs(lots), ts=view.ts)
        assert gate.check(sent, view).order == sent  # the reduction is itself checked
        gate.on_order(sent)
        assert gate.react(_at(view, 2))[0] == ()  # one slice at a time
        price = desk.MARKS[index]
        trade = desk.report(sent.order_id, ExecType.TRADE, steps, view.ts, last_quantity=abs(lots), last_price=price)
        desk.tell(gate, trade, desk.fill(sent.order_id, abs(lots), price, side, intent.instrument, view.ts))
        view.positions[index] = intent.lots
        steps += 1
    assert gate.value_at_risk(view) <= 0.5 * start
    assert any(view.positions)


def test_reduce_cancels_what_would_add_and_keeps_what_protects() -> None:
    gate, view = desk.gate(), desk.view(positions=[4, 0, 0])
    gate.on_order(desk.order(1, order_type=OrderType.LIMIT, price=79_900))
    gate.on_order(desk.order(2, side=Side.SELL, order_type=OrderType.STOP, stop_price=79_000, quantity=4))
    gate.on_signal(Trigger.MARKET_WIDE, 0.14, view.ts)
    assert _kinds(gate.react(view)[0]) == [("cancel", "NQ", 1), ("target", "NQ", 3)]


def test_reduce_goes_by_notional_where_value_at_risk_is_unknown() -> None:
    gate, view = desk.gate(warmed=False), desk.view(positions=[1, 20, 0])
    gate.on_signal(Trigger.MARKET_WIDE, 0.14, view.ts)
    assert _kinds(gate.react(view)[0]) == [("target", "CL", 15)]


def test_killed_cancels_everything_and_sends_nothing() -> None:
    gate, view = desk.gate(), desk.view(positions=[4, 0, 0])
    gate.on_order(desk.order(1))
    gate.kill("anyone", "smoke", view.ts)
    assert _kinds(gate.react(view)[0]) == [("cancel", "NQ", 1)]
    assert gate.size_scale == 0.0


def _command(kind: CommandKind, ts: int, who: str = "ada/risk_officer", why: str = "checked") -> Command:
    return Command(kind=kind, ts=ts, who=who, why=why)


def test_flatten_pauses_and_closes_and_resume_opens_again() -> None:
    gate, view = desk.gate(), desk.view(positions=[4, 0, 0])
    intents, alerts = gate.on_command(_command(CommandKind.FLATTEN, view.ts), view)
    assert _kinds(intents) == [("target", "NQ", 0)]
    assert [a.code for a in alerts] == ["flatten"]
    assert gate.size_scale == 0.0
    gate.react(_at(view, 2, positions=[0, 0, 0]))
    gate.on_command(_command(CommandKind.RESUME, view.ts), view)
    assert gate.size_scale == 1.0
    assert gate.react(_at(view, 2, positions=[1, 0, 0]))[0] == ()


def test_resume_releases_the_ladder_only_with_a_role() -> None:
    gate, view = desk.gate(), desk.view(equity_micros=int(0.9 * desk.CAPITAL))
    gate.react(desk.view())
    assert _alerts(gate, _at(view, 1)) == ["breaker_caution", "breaker_halt"]
    _, alerts = gate.on_command(_command(CommandKind.RESUME, view.ts, who="ada/trader"), view)
    assert [a.code for a in alerts] == ["release_refused"]
    assert gate.state is H
    _, alerts = gate.on_command(_command(CommandKind.RESUME, view.ts), view)
    assert [a.code for a in alerts] == ["breaker_normal", "resumed"]
    # The lines start anew from here, or the same loss would trip them at once.
    assert gate.equity_floor_micros() < view.equity_micros
    assert _alerts(gate, _at(view, 1)) == []


def test_where_the_settings_say_so_a_halt_releases_itself_once_flat_and_calm() -> None:
    gate = desk.gate(RiskSettings(breakers=BreakerSettings(automatic_release="halt")))
    view = desk.view(equity_micros=int(0.75 * desk.CAPITAL), positions=[1, 0, 0])
    gate.react(desk.view())
    assert _alerts(gate, _at(view, 1))[-1] == "breaker_halt"
    assert _alerts(gate, _at(view, 2 * 86_400)) == []  # still holding a loss: not calm
    assert _alerts(gate, _at(view, 3600, positions=[0, 0, 0])) == []
    assert _alerts(gate, _at(view, 86_400)) == ["breaker_normal"]
    assert _alerts(gate, _at(view, 1)) == []
    assert gate.equity_floor_micros() < view.equity_micros


def test_stop_kills_and_two_people_resume() -> None:
    gate, view = desk.gate(), desk.view()
    gate.on_command(_command(CommandKind.STOP, view.ts, who="console"), view)
    assert gate.state is K
    _, alerts = gate.on_command(_command(CommandKind.RESUME, view.ts), view)
    assert [a.code for a in alerts] == ["release_waits"]
    gate.on_command(_command(CommandKind.RESUME, view.ts, who="bob/head_of_trading"), view)
    assert gate.state is N


def test_losing_round_trips_in_a_row_trip_the_ladder() -> None:
    gate = desk.gate(RiskSettings(breakers=BreakerSettings(loss_streak=Thresholds(caution=3.0))))
    view = desk.view()
    number = 1
    for win in (False, False, True, False, False, False):
        for side, price in ((Side.SELL, 80_000), (Side.BUY, 79_990 if win else 80_010)):
            gate.on_order(desk.order(number, side=side, quantity=1))
            trade = desk.report(number, ExecType.TRADE, number, last_quantity=1, last_price=price)
            desk.tell(gate, trade, desk.fill(number, 1, price, side))
            number += 1
        if number <= 11:
            assert gate.state is N
    assert _alerts(gate, view) == ["breaker_caution"]


def test_a_flip_through_zero_ends_one_trade_and_starts_another() -> None:
    gate = desk.gate(RiskSettings(breakers=BreakerSettings(loss_streak=Thresholds(caution=2.0))))
    for number, (side, lots, price) in enumerate(((Side.BUY, 2, 100), (Side.SELL, 5, 90), (Side.BUY, 3, 91)), start=1):
        gate.on_order(desk.order(number, side=side, quantity=lots))
        trade = desk.report(number, ExecType.TRADE, number, last_quantity=lots, last_price=price)
        desk.tell(gate, trade, desk.fill(number, lots, price, side))
        assert gate.state is (C if number == 3 else N)


def test_venue_rejects_within_the_window_trip_the_ladder() -> None:
    gate = desk.gate()
    for k in range(5):
        gate.on_order(desk.order(k + 1))
        desk.tell(gate, desk.report(k + 1, ExecType.REJECTED, k, desk.START + k * SECOND))
        assert gate.state is (C if k == 4 else N)
    assert gate.working.orders == {}
    assert gate.working.buys == [0, 0, 0]


def test_bad_bars_trip_the_ladder_and_make_no_returns() -> None:
    gate = desk.gate()
    count = gate.running.covariance.updates
    for k in range(5):
        ts = desk.START + k * desk.WIDTH // 100
        gate.on_bars(desk.bars(ts, [1, 1, 1], flags=int(Flag.BAD_STRETCH)), desk.view())
    assert gate.state is C
    assert gate.running.covariance.updates == count


def test_value_at_risk_over_its_limit_trips_the_ladder_at_the_next_bar() -> None:
    gate = desk.gate()
    view = desk.view(positions=[300, 0, 0], ts=desk.START + desk.WIDTH)
    gate.on_bars(desk.bars(view.ts, [80_100, 7_510, 110_010]), view)
    assert gate.state is H
    moved = gate.ladder.transitions[-1]
    assert moved.trigger is Trigger.VAR_BREACH


def test_an_unknown_report_is_an_alert() -> None:
    gate = desk.gate()
    desk.tell(gate, desk.report(77, ExecType.CANCELED))
    assert _alerts(gate, desk.view()) == ["unknown_report"]
    assert _alerts(gate, desk.view()) == []


def test_every_transition_is_an_alert_with_its_cause() -> None:
    gate = desk.gate()
    gate.on_signal(Trigger.MARKET_WIDE, 0.08, desk.START)
    (alert,) = gate.react(desk.view())[1]
    assert (alert.code, alert.severity, alert.value, alert.limit) == ("breaker_caution", "medium", 0.08, 0.07)
    assert "market_wide" in alert.text
    gate.kill("ada/trader", "smoke", desk.START)
    (alert,) = gate.react(desk.view())[1]
    assert (alert.code, alert.severity) == ("breaker_killed", "critical")
    assert "ada/trader: smoke" in alert.text


def test_the_whole_gate_is_saved_and_restored() -> None:
    gate, view = desk.gate(), desk.view(positions=[2, -1, 0])
    gate.on_order(desk.order(1, quantity=3))
    gate.on_order(desk.order(2, side=Side.SELL, order_type=OrderType.STOP, stop_price=79_000, parent=1, quantity=3))
    gate.on_signal(Trigger.LATENCY, 1.0, view.ts)
    gate.on_bars(desk.bars(view.ts + desk.WIDTH, [80_001, 7_500, 110_000])[:1], view)
    copy = DeskGate(RiskSettings(), desk.instruments(), desk.CAPITAL)
    copy.restore(gate.save())
    assert copy.save() == gate.save()
    trade = desk.report(1, ExecType.TRADE, last_quantity=2, last_price=80_000, leaves=1, cumulative=2)
    for each in (gate, copy):
        desk.tell(each, trade, desk.fill(1, 2, 80_000))
        each.react(view)
    assert copy.check(desk.order(5, quantity=7), view) == gate.check(desk.order(5, quantity=7), view)
    assert copy.save() == gate.save()
    with pytest.raises(RiskInputError, match="instruments"):
        DeskGate(RiskSettings(), desk.instruments(("NQ",)), desk.CAPITAL).restore(gate.save())


def test_settings_that_name_a_foreign_instrument_are_refused() -> None:
    with pytest.raises(RiskInputError, match="GC"):
        DeskGate(RiskSettings(restricted=("GC",)), desk.instruments(), desk.CAPITAL)
    with pytest.raises(RiskInputError, match="capital"):
        DeskGate(RiskSettings(), desk.instruments(), 0)
