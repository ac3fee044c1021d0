"""The simulated market: its draws, its order, its sessions, its prices, and what it refuses."""

import itertools
import math

import msgspec
import numpy as np
import pytest

from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.blocks import TICK, UNDEFINED_PRICE, Action, Block, BookSide, check_order
from grandmodel.domain.errors import UsageError
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import FIVE_MINUTES_NS, NS_PER_DAY, NS_PER_HOUR, NS_PER_SECOND, ns_from_text
from grandmodel.kernels import kernel
from grandmodel.simulation import market as simulated
from grandmodel.simulation.market import MAX_ROW_SCALE, SimulatedMarket, stationary
from grandmodel.simulation.market_parameters import (
    SimulatedParameters,
    Tail,
    built_in_parameters,
    encode_parameters,
    load_parameters,
)

NQ, CL, ES = (BUILT_IN[InstrumentId(name)] for name in ("NQ", "CL", "ES"))
BUILT_IN_MARKET = built_in_parameters()
MONDAY = ns_from_text("2024-03-04")
"""A week in winter time: sessions open at 23:00 and close at 22:00 UTC."""


def _market(
    seed: int = 7, parameters: SimulatedParameters = BUILT_IN_MARKET, row_scale: float = 0.2
) -> SimulatedMarket:
    span = (MONDAY - 3 * NS_PER_DAY, MONDAY + 30 * NS_PER_DAY)
    return SimulatedMarket(
        parameters, [NQ, CL], [session_schedule(one, *span) for one in (NQ, CL)], seed, row_scale=row_scale
    )


def _rows(market: SimulatedMarket, start_ns: int, end_ns: int, rows_per_block: int = 65_536) -> Block:
    return np.concatenate([np.zeros(0, TICK), *market.blocks(start_ns, end_ns, rows_per_block)])


def _with_model(name: str, **changes: object) -> SimulatedParameters:
    """The built-in parameters with fields of one instrument changed."""
    instruments = dict(BUILT_IN_MARKET.instruments)
    key = InstrumentId(name)
    instruments[key] = msgspec.structs.replace(instruments[key], **changes)
    return msgspec.structs.replace(BUILT_IN_MARKET, instruments=instruments)


def _changed_deep(path: str, value: object) -> bytes:
    """The built-in file with the value at a dotted ``path`` changed."""
    document = msgspec.json.decode(encode_parameters(BUILT_IN_MARKET))
    place = document
    *parents, last = path.split(".")
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place[part]
    if isinstance(place, list):
        place[int(last)] = value
    else:
        place[last] = value
    return msgspec.json.encode(document)


@pytest.fixture(scope="module")
def week() -> Block:
    return _rows(_market(), MONDAY, MONDAY + 7 * NS_PER_DAY)


def test_splitmix64_gives_the_published_sequence_for_seed_1234567() -> None:
    # The sequence that implementations of SplitMix64 publish for this seed.
    @kernel
    def draw(words: np.ndarray, count: int) -> np.ndarray:
        out = np.empty(count, np.uint64)
        for k in range(count):
            out[k] = simulated._draw_word(words, 0)
        return out

    drawn = draw(np.array([1234567], np.uint64), 5)
    assert drawn.tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_uniform_and_bell_draws_have_the_moments_they_claim() -> None:
    @kernel
    def draw(words: np.ndarray, count: int) -> np.ndarray:
        out = np.empty((2, count))
        for k in range(count):
            out[0, k] = simulated._draw_unit(words, 0)
            out[1, k] = simulated._draw_bell(words, 0)
        return out

    unit, bell = draw(np.array([99], np.uint64), 400_000)
    assert unit.min() > 0
    assert unit.max() <= 1
    assert abs(unit.mean() - 0.5) < 4 * math.sqrt(1 / 12 / 400_000)
    assert abs(bell.mean()) < 4 * math.sqrt(1 / 3 / 400_000)
    assert abs(bell.var() * 3 - 1) < 0.01


def test_the_same_seed_gives_the_same_rows_and_another_seed_others(week: Block) -> None:
    assert _rows(_market(), MONDAY, MONDAY + 7 * NS_PER_DAY).tobytes() == week.tobytes()
    other = _rows(_market(seed=8), MONDAY, MONDAY + 7 * NS_PER_DAY)
    assert other[:1000].tobytes() != week[:1000].tobytes()


def test_blocks_are_full_frozen_and_in_order(week: Block) -> None:
    blocks = list(_market().blocks(MONDAY, MONDAY + 7 * NS_PER_DAY, 10_000))
    assert {len(block) for block in blocks[:-1]} == {10_000}
    assert 0 < len(blocks[-1]) <= 10_000
    assert all(not block.flags.writeable and block.dtype == TICK for block in blocks)
    whole = np.concatenate(blocks)
    check_order(whole)
    assert whole.tobytes() == week.tobytes()
    assert (whole["sequence"] == np.arange(1, len(whole) + 1)).all()
    assert (whole["ts_event"] == whole["ts_init"]).all()


def test_a_later_end_only_appends(week: Block) -> None:
    cut = MONDAY + 2 * NS_PER_DAY + 3 * NS_PER_HOUR + 123_456_789
    part = _rows(_market(), MONDAY, cut)
    assert 0 < len(part) < len(week)
    assert part.tobytes() == week[: len(part)].tobytes()
    assert week["ts_event"][len(part)] >= cut > part["ts_event"][-1]


def test_rows_lie_inside_sessions_and_both_instruments_trade_in_each(week: Block) -> None:
    market = _market()
    for i, schedule in enumerate(market.schedules):
        times = week["ts_event"][week["instrument"] == i]
        session = np.searchsorted(schedule.open_ns, times, side="right") - 1
        assert (times < schedule.close_ns[session]).all()
        inside = (schedule.close_ns > MONDAY) & (schedule.open_ns < MONDAY + 7 * NS_PER_DAY)
        assert set(np.flatnonzero(inside)) == set(session.tolist())
    assert week["ts_event"].min() >= MONDAY


def test_quotes_are_never_crossed_and_sizes_are_positive(week: Block) -> None:
    assert (week["bid_price"] >= 1).all()
    assert (week["bid_price"] < week["ask_price"]).all()
    assert (week["bid_size"] >= 1).all()
    assert (week["ask_size"] >= 1).all()
    is_trade = week["action"] == int(Action.TRADE)
    assert (week["size"][is_trade] >= 1).all()
    assert (week["size"][~is_trade] == 0).all()
    assert (week["price"][~is_trade] == UNDEFINED_PRICE).all()
    assert set(np.unique(week["action"])) == {int(Action.TRADE), int(Action.QUOTE)}


def test_a_trade_takes_place_at_the_quote_before_it_on_the_aggressors_side(week: Block) -> None:
    for i in range(2):
        rows = week[week["instrument"] == i]
        assert rows["action"][0] == int(Action.QUOTE)
        is_trade = rows["action"] == int(Action.TRADE)
        trades, before = rows[1:][is_trade[1:]], rows[:-1][is_trade[1:]]
        buys = trades["side"] == int(BookSide.BID)
        assert (trades["side"][~buys] == int(BookSide.ASK)).all()
        assert (trades["price"] == np.where(buys, before["ask_price"], before["bid_price"])).all()
        assert (trades["bid_price"] == before["bid_price"]).all()
        assert 0.4 < buys.mean() < 0.6


def test_the_spread_widens_with_volatility() -> None:
    calm, wild = (
        _rows(
            _market(
                parameters=_with_model(
                    "NQ", volatility_by_bucket=[v * 1e-3 for v in [factor] * 46], jump_probability=[0.0] * 46
                )
            ),
            MONDAY + NS_PER_HOUR,
            MONDAY + 5 * NS_PER_HOUR,
        )
        for factor in (0.5, 8.0)
    )
    spread = [float((rows["ask_price"] - rows["bid_price"])[rows["instrument"] == 0].mean()) for rows in (calm, wild)]
    assert 1.0 <= spread[0] < 2.0
    assert spread[1] > spread[0] + 2.0


def test_a_session_has_a_moderate_number_of_rows_by_default_and_ten_million_by_scale() -> None:
    market = _market(row_scale=1.0)
    session = slice(MONDAY + 23 * NS_PER_HOUR, MONDAY + 46 * NS_PER_HOUR)
    rows = sum(len(block) for block in market.blocks(session.start, session.stop))
    assert 100_000 < rows < 900_000
    scaled = _market(row_scale=40.0)
    hour = slice(MONDAY + 38 * NS_PER_HOUR, MONDAY + 38 * NS_PER_HOUR + 5 * 60 * NS_PER_SECOND)
    few = sum(len(block) for block in market.blocks(hour.start, hour.stop))
    many = sum(len(block) for block in scaled.blocks(hour.start, hour.stop))
    assert 25 < many / few < 60


def test_instruments_alone_have_their_own_index_and_no_others() -> None:
    span = (MONDAY, MONDAY + NS_PER_DAY)
    alone = SimulatedMarket(BUILT_IN_MARKET, [CL], [session_schedule(CL, *span)], 3, row_scale=0.1)
    rows = _rows(alone, *span)
    assert len(rows) > 1000
    assert set(np.unique(rows["instrument"])) == {0}
    price = float(rows["bid_price"].mean()) * 0.01
    assert abs(math.log(price / BUILT_IN_MARKET.instruments[CL.id].start_price)) < 0.2


def test_prices_stay_above_zero_however_wild() -> None:
    wild = _with_model(
        "CL",
        start_price=0.05,
        volatility_by_bucket=[0.5] * 46,
        jump_probability=[0.9] * 46,
    )
    rows = _rows(_market(parameters=wild), MONDAY, MONDAY + 2 * NS_PER_DAY)
    assert (rows["bid_price"] >= 1).all()
    assert (rows["ask_price"] > rows["bid_price"]).all()


def test_jumps_come_as_often_as_the_parameters_say() -> None:
    quiet = _with_model(
        "NQ",
        volatility_by_bucket=[1e-6] * 46,
        jump_probability=[0.5] * 46,
        jump=Tail(threshold=4.0, mean_excess=0.0),
        volatility_slow_sd=0.0,
        volatility_noise_sd=0.0,
    )
    market = _market(parameters=quiet)
    planner = simulated._Planner(market, MONDAY, MONDAY + 28 * NS_PER_DAY)
    jumps = opened = 0
    for slots, _starts, _regimes in planner.days():
        first = slots[:: simulated.SLOTS_PER_BUCKET, 0]
        last = slots[simulated.SLOTS_PER_BUCKET - 1 :: simulated.SLOTS_PER_BUCKET, 0]
        is_open = (first["open_to"] > first["open_from"]) & (last["open_to"] > last["open_from"])
        opened += int(is_open.sum())
        jumps += int((first["jump_ns"][is_open] >= 0).sum())
    assert opened > 800
    assert abs(jumps / opened - 0.5) < 4 * math.sqrt(0.25 / opened)


def test_shocks_of_two_instruments_are_correlated_as_their_regime_says() -> None:
    tied = msgspec.structs.replace(BUILT_IN_MARKET, correlation=[[[1.0, 0.9], [0.9, 1.0]]] * 3)
    free = msgspec.structs.replace(BUILT_IN_MARKET, correlation=[[[1.0, 0.0], [0.0, 1.0]]] * 3)
    found = []
    for parameters in (tied, free):
        rows = _rows(_market(parameters=parameters), MONDAY + 2 * NS_PER_HOUR, MONDAY + 5 * NS_PER_DAY)
        middle = []
        for i in range(2):
            own = rows[rows["instrument"] == i]
            grid = np.arange(MONDAY + 3 * NS_PER_HOUR, MONDAY + 21 * NS_PER_HOUR, FIVE_MINUTES_NS)
            place = np.searchsorted(own["ts_event"], grid) - 1
            middle.append(np.diff(np.log((own["bid_price"] + own["ask_price"])[place] / 2)))
        found.append(float(np.corrcoef(np.sign(middle[0]), np.sign(middle[1]))[0, 1]))
    # The signs of normal variables with correlation 0.9 have 2/pi arcsin 0.9 = 0.71; stale quotes take a little.
    assert found[0] > 0.5
    assert abs(found[1]) < 0.3


def _plan(parameters: SimulatedParameters, days: int) -> tuple[np.ndarray, np.ndarray]:
    """The slots (S, I) of some days, and the correlation of the first two instruments' shocks in each (S,)."""
    planner = simulated._Planner(_market(parameters=parameters), MONDAY, MONDAY + days * NS_PER_DAY)
    slots, correlation = [], []
    for some, _starts, regimes in planner.days():
        factors = planner.factors[regimes]
        slots.append(some)
        correlation.append(factors[:, 1, 0])
        assert np.abs((factors**2).sum(axis=2) - 1).max() < 1e-9
    return np.concatenate(slots), np.concatenate(correlation)


def test_a_weekday_multiplies_volatility_and_volume_of_its_half_hours_and_nothing_else() -> None:
    # The half hour from 10:30 New York on Wednesdays.
    log_table = [[math.log(2.0) if (day, bucket) == (2, 33) else 0.0 for bucket in range(46)] for day in range(5)]
    plain, _ = _plan(BUILT_IN_MARKET, 26)
    for changes, names in (
        ({"weekday_volatility": log_table}, ("sigma",)),
        ({"weekday_volume": log_table}, ("wait_ns", "trade_share")),
    ):
        made, _ = _plan(_with_model("CL", **changes), 26)
        is_open = plain["open_to"][:, 1] > plain["open_from"][:, 1]
        # 10:30 New York is 15:30 UTC in winter and 14:30 in summer, which begins on 10 March.
        hours = (plain["open_from"][:, 1] - MONDAY) / NS_PER_HOUR
        day, hour = hours // 24, hours % 24
        at = np.where(day < 6, 15.5, 14.5)
        chosen = is_open & (day % 7 == 2) & (hour >= at) & (hour < at + 0.5)
        assert chosen.sum() == 4 * 6
        for name in names:
            assert (made[name][:, 0] == plain[name][:, 0]).all()
            assert (made[name][~chosen, 1] == plain[name][~chosen, 1]).all()
        if "sigma" in names:
            assert made["sigma"][chosen, 1] == pytest.approx(2.0 * plain["sigma"][chosen, 1])
        else:
            trades = [(one["trade_share"] / one["wait_ns"])[chosen, 1] for one in (made, plain)]
            assert trades[0] == pytest.approx(2.0 * trades[1])


def test_correlation_moves_by_trading_day_with_the_law_stated() -> None:
    moving = msgspec.structs.replace(
        BUILT_IN_MARKET,
        correlation=[[[1.0, 0.2], [0.2, 1.0]]] * 3,
        correlation_sd=0.5,
        correlation_persistence=0.5,
    )
    found = []
    for seed in range(40):
        planner = simulated._Planner(_market(seed=seed, parameters=moving), MONDAY, MONDAY + 26 * NS_PER_DAY)
        days = [np.arctanh(planner.factors[regimes][::12, 1, 0]) for _slots, _starts, regimes in planner.days()]
        daily = np.concatenate(days)
        changes = daily[np.append(True, np.diff(daily) != 0)]
        assert 17 <= len(changes) <= 21
        found.append(changes[:17] - math.atanh(0.2))
    shifts = np.array(found)
    assert abs(shifts.mean()) < 0.12
    assert shifts.std() == pytest.approx(0.5, rel=0.15)
    assert np.mean(shifts[:, 1:] * shifts[:, :-1]) / shifts.var() == pytest.approx(0.5, abs=0.12)
    still, _ = _plan(BUILT_IN_MARKET, 5)
    moved, _ = _plan(moving, 5)
    assert moved.tobytes() == still.tobytes()


def test_strongly_opposed_correlations_of_three_are_still_correlations() -> None:
    factors = simulated._shock_factors(np.full((1, 3, 3), 0.1) + 0.9 * np.eye(3), -2.0)
    matrix = factors[0] @ factors[0].T
    assert np.diag(matrix) == pytest.approx(np.ones(3))
    assert -0.5 <= matrix[0, 1] < -0.3


def test_a_sessions_volume_has_the_law_stated() -> None:
    law = msgspec.structs.replace(BUILT_IN_MARKET.instruments[NQ.id].volume, session_sd=0.6, session_persistence=0.3)
    made, plain = _plan(_with_model("NQ", volume=law), 28)[0], _plan(BUILT_IN_MARKET, 28)[0]
    trades = [one["trade_share"] / one["wait_ns"] for one in (made, plain)]
    with np.errstate(invalid="ignore"):
        logs = np.log(trades[0] / trades[1])
    own = logs[plain["open_to"][:, 0] > plain["open_from"][:, 0], 0]
    levels = own[np.append(True, np.abs(np.diff(own)) > 1e-9)]
    assert 19 <= len(levels) <= 21
    assert 0.3 < levels.std() < 1.0
    other = logs[plain["open_to"][:, 1] > plain["open_from"][:, 1], 1]
    assert np.abs(other).max() < 1e-12


def test_the_long_run_of_a_chain_is_the_left_eigenvector() -> None:
    share = stationary(np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.0, 0.5, 0.5]]))
    assert share == pytest.approx(np.array([10, 5, 1]) / 16, abs=1e-12)


def test_no_session_no_rows() -> None:
    saturday = ns_from_text("2024-03-09")
    assert list(_market().blocks(saturday, saturday + NS_PER_DAY)) == []
    assert list(_market().blocks(MONDAY, MONDAY)) == []


def test_parameters_survive_their_file(tmp_path) -> None:
    file = tmp_path / "parameters.json"
    file.write_bytes(encode_parameters(BUILT_IN_MARKET))
    assert load_parameters(file) == BUILT_IN_MARKET
    assert encode_parameters(load_parameters(file)) == file.read_bytes()
    assert "simulated" in BUILT_IN_MARKET.model


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("transition.0.0", 0.5, "transition"),
        ("correlation.1.0.1", 2.0, "normal"),
        ("instruments.NQ.start_price", 0.0, "start_price"),
        ("instruments.NQ.volatility_by_bucket.3", -1.0, "volatility_by_bucket"),
        ("instruments.CL.jump_probability.0", 1.5, "jump_probability"),
        ("instruments.CL.volatility_persistence", 1.0, "volatility_persistence"),
        ("instruments.CL.regime_volatility", [1.0], "regime_volatility"),
        ("instruments.CL.gap_long.scale", 0.0, "gap_long"),
        ("instruments.NQ.assumed.sign_persistence", 0.7, "sign_persistence"),
        ("instruments.NQ.weekday_volatility", [[0.0] * 46], "weekday_volatility"),
        ("instruments.NQ.weekday_volume", [[None] * 46] * 5, "weekday_volume"),
        ("instruments.CL.volume.session_persistence", 1.0, "session_persistence"),
        ("correlation_persistence", 1.0, "correlation_persistence"),
        ("correlation_sd", -0.1, "correlation_sd"),
        ("surplus", 1, "surplus"),
    ],
)
def test_a_parameters_file_that_cannot_be_is_refused(tmp_path, path: str, value: object, message: str) -> None:
    file = tmp_path / "bad.json"
    file.write_bytes(_changed_deep(path, value))
    with pytest.raises(UsageError, match=message):
        load_parameters(file)


def test_misuse_is_refused_with_what_was_found() -> None:
    schedules = [session_schedule(one, MONDAY, MONDAY + NS_PER_DAY) for one in (NQ, ES)]
    with pytest.raises(UsageError, match="no parameters for ES"):
        SimulatedMarket(BUILT_IN_MARKET, [NQ, ES], schedules, 1)
    with pytest.raises(UsageError, match="1 instruments and 2 schedules"):
        SimulatedMarket(BUILT_IN_MARKET, [NQ], schedules, 1)
    with pytest.raises(UsageError, match="seed -1"):
        SimulatedMarket(BUILT_IN_MARKET, [NQ], schedules[:1], -1)
    for scale in itertools.chain((0.0, -1.0, math.nan), (MAX_ROW_SCALE * 1.01,)):
        with pytest.raises(UsageError, match="row scale"):
            SimulatedMarket(BUILT_IN_MARKET, [NQ], schedules[:1], 1, row_scale=scale)
    with pytest.raises(UsageError, match="0 rows per block"):
        list(_market().blocks(MONDAY, MONDAY + NS_PER_DAY, 0))


def test_the_draws_of_neighbouring_half_hours_share_nothing() -> None:
    planner = simulated._Planner(_market(), MONDAY, MONDAY + NS_PER_DAY)
    drawn = [planner._generator(1, half_hour).random(64) for half_hour in range(470_000, 470_020)]
    assert len(np.unique(np.concatenate(drawn))) == 20 * 64
