"""Strategies below a desk, walked together: alone they are plain walks, together they keep to the limits of the desk."""

import msgspec
import numpy as np
import pytest

from grandmodel.domain.instruments import BUILT_IN
from grandmodel.risk.errors import RiskInputError
from grandmodel.risk.settings import AccountLimits, BreakerSettings, InstrumentLimits, PortfolioLimits, Thresholds
from grandmodel.training.account_walk import walk_accounts
from grandmodel.training.errors import TrainingDataError, TrainingSettingsError
from grandmodel.training.lanes import LaneSettings, WalkResult, build_market_arrays, walk_targets
from lane_markets import bare_market, wild_bars, wild_market

NQ = BUILT_IN["NQ"]
SETTINGS = LaneSettings()
WHOLE = SETTINGS.capital_micros
NEVER = dict.fromkeys(
    (trigger for trigger in BreakerSettings.__struct_fields__ if trigger in ("drawdown", "daily_loss")), Thresholds()
)
CALM_DESK = msgspec.structs.replace(SETTINGS.risk.breakers, **NEVER)


def below_a_desk(shares: dict[str, int], **of_the_desk: object) -> dict[str, AccountLimits]:
    """A desk with strategies of these shares of the capital, in millionths; its ladder does not move."""
    accounts = {"desk": AccountLimits(**{"breakers": CALM_DESK, **of_the_desk})}
    return accounts | {
        name: AccountLimits(parent="desk", capital_micros=WHOLE // 10**6 * share, breakers=SETTINGS.risk.breakers)
        for name, share in shares.items()
    }


def settings(**changes: object) -> LaneSettings:
    """The run's own ladder does not move."""
    return msgspec.structs.replace(SETTINGS, risk=msgspec.structs.replace(SETTINGS.risk, breakers=CALM_DESK, **changes))


def assert_equal(one: WalkResult, two: WalkResult) -> None:
    for name in ("equity_micros", "lots", "fees_micros", "traded_lots", "breaches"):
        assert getattr(one, name).tolist() == getattr(two, name).tolist(), name
    assert one.refused_lots == two.refused_lots


def wishes(seed: int, count: int, most: int = 12) -> np.ndarray:
    """Positions that stay for some bars."""
    rng = np.random.default_rng(seed)
    return np.repeat(rng.integers(-most, most + 1, count), 3)[:count]


@pytest.mark.parametrize("seed", range(4))
def test_below_limits_that_never_bind_each_walks_as_if_alone(seed):
    market = wild_market(seed, count=400)
    shares = {"trend": 300_000, "carry": 600_000, "small": 100_000}
    lots = {name: wishes(seed + 10 * k, 300) for k, name in enumerate(shares)}
    found = walk_accounts(market, lots, settings(), below_a_desk(shares), first=60)
    alone = {}
    for name, share in shares.items():
        own = msgspec.structs.replace(SETTINGS, capital_micros=WHOLE // 10**6 * share)
        alone[name] = walk_targets(market, lots[name], own, first=60)
        assert_equal(found[name], alone[name])
        assert found[name].traded_lots[-1] > 50
    for above in ("desk", ""):
        for part in ("equity_micros", "lots", "fees_micros", "traded_lots"):
            total = np.sum([getattr(one, part) for one in alone.values()], axis=0)
            assert getattr(found[above], part).tolist() == total.tolist(), part


def test_one_strategy_below_the_run_is_a_plain_walk_with_every_line_crossed():
    market = wild_market(7, count=400)
    nervous = msgspec.structs.replace(
        SETTINGS.risk, breakers=msgspec.structs.replace(SETTINGS.risk.breakers, daily_loss=Thresholds(caution=0.0001))
    )
    lots = wishes(3, 300)
    own = AccountLimits(capital_micros=WHOLE, breakers=nervous.breakers)
    found = walk_accounts(market, {"only": lots}, settings(), {"only": own}, first=60)
    plain = walk_targets(market, lots, msgspec.structs.replace(SETTINGS, risk=nervous), first=60)
    assert_equal(found["only"], plain)
    assert len(plain.breaches) > 1
    assert found[""].equity_micros.tolist() == plain.equity_micros.tolist()


@pytest.mark.parametrize("seed", range(4))
def test_the_desk_is_never_beyond_its_limits_whoever_asks(seed):
    market = wild_market(seed, count=400, marks=0.02)
    shares = {"trend": 300_000, "carry": 600_000, "small": 100_000}
    lots = {name: wishes(seed + 10 * k, 300) for k, name in enumerate(shares)}
    tight = InstrumentLimits(max_long_lots=9, max_short_lots=5)
    own = {"desk": AccountLimits(parent="firm", breakers=CALM_DESK, limits=tight), "firm": AccountLimits()}
    found = walk_accounts(market, lots, settings(), below_a_desk(shares) | own, first=60)
    assert found["desk"].lots.max() == 9
    assert found["desk"].lots.min() == -5
    assert found["desk"].refused_lots > 20
    together = np.sum([found[name].lots for name in shares], axis=0)
    worth = np.sum([found[name].equity_micros for name in shares], axis=0)
    for above in ("desk", "firm", ""):
        assert found[above].lots.tolist() == together.tolist()
        assert found[above].equity_micros.tolist() == worth.tolist()


def test_who_is_declared_first_gets_the_room_and_the_others_what_is_left():
    market = bare_market(calm_bars(), NQ)
    limit = InstrumentLimits(max_long_lots=7)
    lots = {"a": np.full(20, 5), "b": np.full(20, 5)}
    shares = {"a": 500_000, "b": 500_000}
    found = walk_accounts(market, lots, settings(), below_a_desk(shares, limits=limit), first=100)
    assert (found["a"].lots[5], found["b"].lots[5]) == (5, 2)
    other = walk_accounts(
        market, {"a": -lots["a"], "b": lots["b"]}, settings(), below_a_desk(shares, limits=limit), first=100
    )
    assert (other["a"].lots[5], other["b"].lots[5], other["desk"].lots[5]) == (-5, 5, 0)
    assert other["desk"].refused_lots == 0


def calm_bars() -> np.ndarray:
    bars = wild_bars(np.random.default_rng(3), NQ, 30, 300, missing=0.0, start_price=60_000, move=20.0).copy()
    bars["flags"] = 0
    return bars


def test_losses_of_all_close_all_until_the_next_trading_day():
    market = bare_market(calm_bars(), NQ)
    shares = {"a": 500_000, "b": 500_000}
    ladder = msgspec.structs.replace(CALM_DESK, daily_loss=Thresholds(caution=0.0004))
    accounts = below_a_desk(shares, breakers=ladder)
    found = walk_accounts(market, {name: np.full(240, 6) for name in shares}, settings(), accounts, first=50)
    assert len(found["desk"].breaches) > 0
    days = build_market_arrays(market, SETTINGS).bars["day"][50:290]
    for place in found["desk"].breaches:
        same_day = np.flatnonzero(days == days[place])
        for name in shares:
            assert (found[name].lots[same_day[same_day >= place]] == 0).all()
    assert (found["a"].lots[found["desk"].breaches[0] :] != 0).any()


def test_the_value_at_risk_of_the_desk_is_that_of_what_it_holds_in_all():
    market = bare_market(calm_bars(), NQ)
    shares = {"a": 500_000, "b": 500_000}
    tight = below_a_desk(shares, portfolio=PortfolioLimits(max_var=0.002))
    same = {name: np.full(30, 6) for name in shares}
    against = {"a": np.full(30, 6), "b": np.full(30, -6)}
    held = {
        way: walk_accounts(market, lots, settings(), tight, first=100)
        for way, lots in (("same", same), ("against", against))
    }
    assert 0 < held["same"]["desk"].lots[10] < 12
    assert (held["against"]["a"].lots[10], held["against"]["b"].lots[10]) == (held["same"]["a"].lots[10], -6)


def test_what_does_not_fit_is_refused():
    market = bare_market(calm_bars(), NQ)
    accounts = below_a_desk({"a": 500_000, "b": 500_000})
    one, two = np.ones(5, np.int64), np.ones(6, np.int64)
    with pytest.raises(TrainingSettingsError, match="those of the accounts that trade"):
        walk_accounts(market, {"a": one}, settings(), accounts)
    with pytest.raises(TrainingSettingsError, match="those of the accounts that trade"):
        walk_accounts(market, {"": one}, settings(), {})
    with pytest.raises(RiskInputError, match="in those that trade"):
        walk_accounts(market, {"a": one, "desk": one}, settings(), below_a_desk({"a": 500_000}))
    with pytest.raises(TrainingDataError, match="targets from bar"):
        walk_accounts(market, {"a": one, "b": one}, settings(), accounts, first=299)
    with pytest.raises(TrainingDataError, match="as many lots"):
        walk_accounts(market, {"a": one, "b": two}, settings(), accounts)
    wide = AccountLimits(capital_micros=WHOLE, limits=InstrumentLimits(max_long_lots=10**6))
    with pytest.raises(TrainingSettingsError, match=r"risk\.limits"):
        walk_accounts(market, {"a": one}, settings(), {"a": wide})
