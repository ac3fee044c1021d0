"""Four years of real NQ and CL bars: the engine's fills and money against a second reckoning that shares no code with it."""

import gzip

import pytest

from grandmodel.domain.orders import Side
from grandmodel.runtime.settings import RollPolicy
from shared_data import shared
from tools.baseline_run import CAPITAL_MICROS, FEE_CENTS, FILES, TICK_CENTS, TICKS, baseline_run
from tools.plain_reckoning import HALF_HOUR_NS, PlainFill, plain_cross, read_plain_bars

MICROS_PER_CENT = 10_000

pytestmark = [pytest.mark.shared, pytest.mark.slow]


def paths():
    return tuple((name, shared(file)) for name, file in FILES.items())


def reckoned(run, policy):
    """Bars and result of the plain reckoning, by instrument."""
    both = {}
    for name, path in paths():
        bars = read_plain_bars(path, TICKS[name])
        rolls = frozenset(run.rolls[name]) if policy is RollPolicy.ROLL else frozenset()
        both[name] = bars, plain_cross(bars, tick_cents=TICK_CENTS[name], fee_cents=FEE_CENTS, rolls=rolls)
    return both


def plain(fill):
    return PlainFill(fill.ts_event, fill.signed_quantity, fill.price, fill.tag == "roll")


def cents_of_trades(fills, tick_cents):
    """Gain of each closed position, from the engine's own fills and fees."""
    gains, held, entry = [], 0, None
    for fill in fills:
        if held:
            fees = fill.fee_micros + entry.fee_micros
            gains.append((fill.price - entry.price) * held * tick_cents - fees // MICROS_PER_CENT)
        entry = fill
        held += fill.signed_quantity
        assert fill.side is (Side.BUY if fill.signed_quantity > 0 else Side.SELL)
    return gains


@pytest.mark.parametrize("policy", [RollPolicy.IGNORE, RollPolicy.ROLL])
def test_a_run_of_four_years_replays_to_the_same_bytes(policy):
    run = baseline_run(paths(), policy)
    assert run.replayed.equal
    assert run.replayed.records == run.records > 50_000


@pytest.mark.parametrize("policy", [RollPolicy.IGNORE, RollPolicy.ROLL])
def test_every_fill_and_every_trade_agrees_with_the_plain_reckoning_to_the_cent(policy):
    run = baseline_run(paths(), policy)
    for name, (_, result) in reckoned(run, policy).items():
        assert len(result.fills) > 2_000
        assert [plain(fill) for fill in run.fills[name]] == result.fills
        assert {fill.fee_micros for fill in run.fills[name]} == {FEE_CENTS * MICROS_PER_CENT}
        assert cents_of_trades(run.fills[name], TICK_CENTS[name]) == result.trade_cents
        rolled = [fill for fill in result.fills if fill.is_roll]
        assert bool(rolled) is (policy is RollPolicy.ROLL)


@pytest.mark.parametrize("policy", [RollPolicy.IGNORE, RollPolicy.ROLL])
def test_equity_agrees_with_the_plain_reckoning_at_every_bar_to_the_cent(policy):
    run = baseline_run(paths(), policy)
    expected = {}
    for name, (bars, result) in reckoned(run, policy).items():
        for bar, cents in zip(bars, result.equity_cents, strict=True):
            expected.setdefault(bar.opened + HALF_HOUR_NS, {})[name] = cents
    latest = dict.fromkeys(FILES, 0)
    for at in sorted(expected):
        latest |= expected[at]
        assert run.equity[at] - CAPITAL_MICROS == sum(latest.values()) * MICROS_PER_CENT, at
    assert len(expected) > 47_000


def test_the_plain_reckoning_answers_a_case_worked_by_hand(tmp_path):
    """Three bars of averages 1 and 2: long at the third open, sold at the last."""
    path = tmp_path / "bars.csv.gz"
    lines = ["Timestamp,Open,High,Low,Close,Volume"]
    closes = ["10.00", "11.00", "12.00", "10.00", "9.00"]
    opens = ["10.00", "10.25", "11.25", "12.50", "9.50"]
    for number, (opened, closed) in enumerate(zip(opens, closes, strict=True)):
        lines.append(f"1/7/2020 {number}:30,{opened},13,9,{closed},5")
    path.write_bytes(gzip.compress("\r\n".join(lines).encode()))
    bars = read_plain_bars(path, "0.25")
    assert bars[0].opened == 1_593_552_600_000_000_000  # 2020-06-30 21:30 UTC: summer time, three hours.
    assert bars[0].session == "2020-06-30"
    result = plain_cross(bars, tick_cents=500, fee_cents=225, fast=1, slow=2)
    assert [(fill.lots, fill.price) for fill in result.fills] == [(1, 45), (-1, 38), (-1, 38)]
    assert result.trade_cents == [-7 * 500 - 450]
    assert result.equity_cents == [0, 0, 3 * 500 - 225, -5 * 500 - 225, -3_950 - 225 + 2 * 500]
