"""Lanes: what they refuse, what the market arrays know, where walks end, and episodes on the engine beside them."""

import msgspec
import numpy as np
import pytest

from grandmodel.domain.blocks import Flag
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.risk.distributions import loss_quantile
from grandmodel.risk.settings import FlowLimits, InstrumentLimits, RiskSettings, Thresholds
from grandmodel.risk.sizing import lots_of_full_exposure
from grandmodel.simulation.exchange import trading_day_around
from grandmodel.simulation.models import ConstantLatency, ProportionalFee, RandomSlippage, VenueSettings
from grandmodel.training.engine_episode import SNAPSHOT_BARS, EngineEpisode
from grandmodel.training.errors import TrainingDataError, TrainingError, TrainingSettingsError
from grandmodel.training.lanes import (
    AGGRESSIVE,
    WAIT,
    LaneSettings,
    build_lanes,
    build_market_arrays,
    market_schedule,
    pursue_target,
    run_settings,
    settle_lane,
    start_lane,
    view_lane,
    walk_bar,
    walk_targets,
)
from lane_markets import bare_market, wild_bars, wild_market

SETTINGS = LaneSettings()
NQ = BUILT_IN["NQ"]
FEE = 2_250_000


def calm_market(count=300, marks=(), **changes):
    """A market without halts; ``marks`` are (row, flag)."""
    bars = wild_bars(
        np.random.default_rng(3), NQ, 30, count, missing=0.0, start_price=60_000, move=20.0, **changes
    ).copy()
    bars["flags"] = 0
    for row, flag in marks:
        bars["flags"][row] |= int(flag)
    return bare_market(bars, NQ)


def change_breakers(**triggers):
    return msgspec.structs.replace(SETTINGS.risk, breakers=msgspec.structs.replace(SETTINGS.risk.breakers, **triggers))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"capital_micros": 0}, "capital_micros"),
        ({"venue": VenueSettings(latency=ConstantLatency(order=1))}, "venue.latency"),
        ({"venue": VenueSettings(fees=ProportionalFee())}, "venue.fees"),
        ({"venue": VenueSettings(slippage=RandomSlippage())}, "venue.slippage"),
        ({"venue": VenueSettings(participation_ppm=10_000)}, "venue.participation_ppm"),
        ({"risk": RiskSettings()}, "risk.breakers"),
        ({"risk": change_breakers(loss_streak=Thresholds(halt=9.0))}, "risk.breakers.loss_streak"),
        ({"risk": msgspec.structs.replace(SETTINGS.risk, restricted=("NQ",))}, "risk.instruments"),
        ({"risk": msgspec.structs.replace(SETTINGS.risk, flow=FlowLimits(max_orders=1))}, "risk.flow"),
        ({"risk": msgspec.structs.replace(SETTINGS.risk, limits=InstrumentLimits(max_long_lots=10**6))}, "risk.limits"),
        ({"volatility_target": 0.0}, "volatility_target"),
    ],
)
def test_what_lanes_do_not_model_is_refused_by_name(changes, name):
    with pytest.raises(TrainingSettingsError, match=name):
        LaneSettings(**changes)


def test_a_run_of_the_settings_is_what_a_lane_follows():
    run = run_settings(SETTINGS, 5 * 60 * 10**9, "CNY")
    assert run.risk.var.width_ns == run.widths_ns[0] == 5 * 60 * 10**9
    assert (run.account.capital_micros, run.account.base_currency) == (SETTINGS.capital_micros, "CNY")
    assert msgspec.structs.replace(run.risk, var=SETTINGS.risk.var) == SETTINGS.risk


@pytest.mark.parametrize("name", ["NQ", "CL", "GC"])
def test_a_full_exposure_passes_the_gate_and_three_times_as_much_does_not(name):
    """At 20 % annual volatility, whatever the price: the limits leave room for what agents may want, and not for all."""
    instrument = BUILT_IN[name]
    price = {"NQ": 60_000, "CL": 7_500, "GC": 15_000}[name]
    move = 0.2 * price / np.sqrt(252 * 46)
    market = wild_market(
        7, count=600, instrument=instrument, start_price=price, move=move / 1.8, marks=0.0, missing=0.0
    )
    arrays, lanes = build_market_arrays(market, SETTINGS), build_lanes(1, SETTINGS)
    passed = refused = 0
    for row in range(200, 590, 13):
        if not arrays.bars["in_session"][row]:
            continue
        full = lots_of_full_exposure(
            float(market.scale[row]),
            float(instrument.tick_value_micros),
            float(SETTINGS.capital_micros),
            252.0 * 46.0,
            46.0,
            SETTINGS.volatility_target,
            loss_quantile(0.99, 5.0),
            SETTINGS.var_budget,
        )
        for share in (1.0, -1.0, 4.0):
            start_lane(lanes, 0, arrays, 0, row)
            pursue_target(lanes, 0, arrays, int(share * full), AGGRESSIVE, 0)
            cut = view_lane(lanes, 0).refused_lots > 0
            passed += share != 4.0 and not cut
            refused += share == 4.0 and cut
            assert share == 4.0 or not cut, (row, full)
    assert passed > 40
    assert refused > 10


def test_the_market_arrays_say_what_venue_and_gate_would():
    market = wild_market(11, count=500)
    bars = build_market_arrays(market, SETTINGS).bars
    schedule = market_schedule(market)
    for k, ts in enumerate(bars["ts_close"].tolist()):
        assert bars["expires"][k] == trading_day_around(schedule, ts)[1]
        assert bool(bars["in_session"][k]) == (schedule.index_at(ts) >= 0)
        place = int(np.searchsorted(schedule.close_ns, ts, side="right"))
        assert bars["day"][k] == schedule.day_ns[place]
        place = int(np.searchsorted(schedule.close_ns, bars["expires"][k], side="right"))
        assert bars["day_after"][k] == schedule.day_ns[place]
    assert (~np.isnan(bars["variance"][60:])).all()
    assert np.isnan(bars["variance"][:40]).all()


def test_var_of_one_lot_is_the_textbook_number():
    """An EWMA of squared moves, bias-corrected, times quantile and horizon; stressed: twice that, or the largest so far."""
    market = calm_market()
    bars = build_market_arrays(market, SETTINGS).bars
    decay = 0.94 ** (1 / 46)
    moves = np.diff(market.bars["close"]).astype(float) * NQ.tick_value_micros
    weights = decay ** np.arange(len(moves))[::-1]
    variance = (weights * moves**2).sum() / weights.sum()
    expected = loss_quantile(0.99, 5.0) * np.sqrt(46 * variance)
    assert np.sqrt(bars["variance"][-1]) == pytest.approx(expected, rel=1e-12)
    highest = np.sqrt(np.nanmax(bars["variance"]))
    assert bars["stressed"][-1] == pytest.approx(max(2 * expected, highest), rel=1e-12)


def test_bars_that_do_not_close_on_their_grid_are_refused():
    bars = calm_market().bars.copy()
    bars["ts_event"][200] -= 60 * 10**9  # A minute short: it closes with its half hour.
    bars["ts_init"][200] -= 60 * 10**9
    with pytest.raises(TrainingDataError, match="expected every bar to close alone at its own stamp"):
        build_market_arrays(bare_market(bars, NQ), SETTINGS)
    with pytest.raises(TrainingDataError, match="found no market"):
        build_market_arrays((), SETTINGS)


def test_lanes_of_several_markets_walk_as_each_alone():
    markets = [wild_market(21, count=200), wild_market(22, count=300, instrument=BUILT_IN["CL"])]
    both, alone = build_market_arrays(markets, SETTINGS), build_market_arrays(markets[1], SETTINGS)
    lanes = build_lanes(2, SETTINGS)
    start = int(np.flatnonzero(markets[1].segment[100:150] >= 0)[0]) + 100
    start_lane(lanes, 0, both, 1, 200 + start)
    start_lane(lanes, 1, alone, 0, start)
    for step in range(40):
        for n, arrays in ((0, both), (1, alone)):
            pursue_target(lanes, n, arrays, step % 5 - 2, AGGRESSIVE, 30)
            walk_bar(lanes, n, arrays)
        found, expected = view_lane(lanes, 0), view_lane(lanes, 1)
        assert found.row == expected.row + 200
        assert found.equity_micros == expected.equity_micros
        assert found.lots == expected.lots


def test_a_walk_ends_with_the_segment_and_nothing_happens_behind_it():
    market = calm_market(marks=[(150, Flag.ROLL)])
    arrays, lanes = build_market_arrays(market, SETTINGS), build_lanes(1, SETTINGS)
    episode = EngineEpisode(market, SETTINGS)
    start_lane(lanes, 0, arrays, 0, 147)
    episode.start(147)
    assert [walk_bar(lanes, 0, arrays) for _ in range(4)] == [True, True, False, False]
    assert [episode.advance() for _ in range(4)] == [True, True, False, False]
    assert view_lane(lanes, 0).row == episode.view.row == 149
    for row in (300, -1):
        with pytest.raises(ValueError, match="outside of the market"):
            start_lane(lanes, 0, arrays, 0, row)


def test_a_bad_stretch_is_no_place_to_start():
    market = calm_market(marks=[(150, Flag.BAD_STRETCH)])
    with pytest.raises(ValueError, match="bad stretch"):
        start_lane(build_lanes(1, SETTINGS), 0, build_market_arrays(market, SETTINGS), 0, 150)
    with pytest.raises(TrainingError, match="bad stretch"):
        EngineEpisode(market, SETTINGS).start(150)


def test_settling_pays_slippage_and_fee():
    market = calm_market()
    arrays, lanes = build_market_arrays(market, SETTINGS), build_lanes(1, SETTINGS)
    start_lane(lanes, 0, arrays, 0, 100)
    pursue_target(lanes, 0, arrays, 3, AGGRESSIVE, 0)
    walk_bar(lanes, 0, arrays)
    before = view_lane(lanes, 0)
    settle_lane(lanes, 0, arrays)
    after = view_lane(lanes, 0)
    assert before.lots == 3
    assert after.lots == after.open_profit_micros == 0
    assert after.equity_micros == after.cash_micros == before.equity_micros - 3 * (NQ.tick_value_micros + FEE)
    assert (after.fees_micros, after.traded_lots) == (6 * FEE, 6)


def test_waiting_only_notes_what_was_asked():
    market = calm_market()
    arrays, lanes = build_market_arrays(market, SETTINGS), build_lanes(1, SETTINGS)
    start_lane(lanes, 0, arrays, 0, 100)
    pursue_target(lanes, 0, arrays, 3, WAIT, 40)
    walk_bar(lanes, 0, arrays)
    view = view_lane(lanes, 0)
    assert (view.asked_lots, view.lots, view.refused_lots, view.bars_held) == (3, 0, 0, 1)


def test_a_lane_that_needs_more_orders_than_it_has_says_so():
    market = calm_market()
    arrays, lanes = build_market_arrays(market, SETTINGS), build_lanes(1, SETTINGS, orders=4)
    start_lane(lanes, 0, arrays, 0, 100)
    for lots in (1, 2):
        pursue_target(lanes, 0, arrays, lots, AGGRESSIVE, 4_000)
        walk_bar(lanes, 0, arrays)
    with pytest.raises(RuntimeError, match=r"build_lanes\(orders"):
        pursue_target(lanes, 0, arrays, 3, AGGRESSIVE, 4_000)
    with pytest.raises(TrainingSettingsError, match="at least 4"):
        build_lanes(1, SETTINGS, orders=2)


def test_an_episode_starts_alike_from_a_snapshot_and_from_the_first_bar():
    market = wild_market(31, count=SNAPSHOT_BARS + 200, marks=0.0)
    through, direct = EngineEpisode(market, SETTINGS), EngineEpisode(market, SETTINGS)
    row = SNAPSHOT_BARS + 50
    through.start(row)
    assert through.start(row) == direct.start(row)  # the second time from the snapshot
    for lots in (2, -3, -3, 9, 0, 4):
        for episode in (through, direct):
            episode.pursue(lots, AGGRESSIVE, 20)
            episode.advance()
        assert through.view == direct.view


def test_an_episode_takes_one_wish_a_bar_and_has_a_beginning():
    episode = EngineEpisode(calm_market(), SETTINGS)
    with pytest.raises(TrainingError, match="found no beginning"):
        episode.advance()
    episode.start(100)
    episode.pursue(1, AGGRESSIVE)
    with pytest.raises(TrainingError, match="a second wish"):
        episode.pursue(2, AGGRESSIVE)
    episode.advance()
    episode.settle()
    assert not episode.advance()


class TestWalkTargets:
    def test_it_is_the_sum_that_one_does_by_hand(self):
        market = calm_market()
        walk = walk_targets(market, np.full(50, 2), SETTINGS, first=100)
        entered = int(market.bars["open"][101]) + 1
        out = int(market.bars["close"][149]) - 1
        gained = (out - entered) * 2 * NQ.tick_value_micros - 4 * FEE
        assert walk.equity_micros[-1] == SETTINGS.capital_micros + gained
        assert walk.lots.tolist() == [0] + [2] * 48 + [0]
        assert (walk.traded_lots[-1], walk.fees_micros[-1], walk.refused_lots) == (4, 4 * FEE, 0)
        held = (market.bars["close"][130] - entered) * 2 * NQ.tick_value_micros - 2 * FEE
        assert walk.equity_micros[30] == SETTINGS.capital_micros + held

    def test_nothing_is_held_across_a_mark_or_in_a_bad_stretch(self):
        marks = [(120, Flag.ROLL), (130, Flag.BAD_STRETCH), (131, Flag.BAD_STRETCH)]
        market = calm_market(marks=marks)
        bars = market.bars.copy()
        for name in ("open", "high", "low", "close"):
            bars[name][120:] += 5_000  # the step between contracts must not be gained
        stepped = walk_targets(bare_market(bars, NQ), np.full(60, 2), SETTINGS, first=100)
        plain = walk_targets(market, np.full(60, 2), SETTINGS, first=100)
        assert stepped.equity_micros.tolist() == plain.equity_micros.tolist()
        assert np.flatnonzero(plain.lots == 0).tolist() == [0, 19, 20, 29, 30, 31, 32, 59]
        assert plain.traded_lots[-1] == 12

    def test_a_crossed_line_closes_the_position_until_the_next_trading_day(self):
        market = calm_market()
        nervous = msgspec.structs.replace(SETTINGS, risk=change_breakers(daily_loss=Thresholds(caution=0.0002)))
        walk = walk_targets(market, np.full(250, 4), nervous, first=50)
        assert len(walk.breaches) > 0
        days = build_market_arrays(market, nervous).bars["day"][50:]
        for place in walk.breaches:
            same_day = np.flatnonzero(days == days[place])
            assert (walk.lots[same_day[same_day >= place]] == 0).all()
        later = walk.lots[walk.breaches[0] :]
        assert (later != 0).any()

    def test_targets_beyond_the_bars_are_refused(self):
        market = calm_market()
        for first, count in ((0, 301), (290, 11), (-1, 5), (0, 0)):
            with pytest.raises(TrainingDataError, match="targets from bar"):
                walk_targets(market, np.ones(count, np.int64), SETTINGS, first=first)
