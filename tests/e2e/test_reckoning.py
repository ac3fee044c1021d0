"""Four years of real NQ and CL bars: the engine's fills and money against a second reckoning that shares no code with it."""

import gzip
import json
import sys

import pytest

from grandmodel.cli.main import main
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.orders import Side
from grandmodel.runtime.results import load_results
from grandmodel.runtime.settings import RollPolicy
from shared_data import shared
from tools.baseline_run import CAPITAL_MICROS, FEE_CENTS, FILES, TICK_CENTS, TICKS, baseline_run, engine_bars
from tools.plain_reckoning import HALF_HOUR_NS, PlainFill, plain_cross, read_plain_bars

MICROS_PER_CENT = 10_000


BAD_ROWS = {"NQ": frozenset(range(40_802 - 2, 43_745 - 1)), "CL": frozenset()}
"""The wrong contract, by the lines that the data's own README names."""

WIDE = (
    f"account.capital_micros={CAPITAL_MICROS}",
    'risk.breakers.loss_streak={"caution":1e9,"reduce":null,"halt":null}',
    'risk.breakers.volatility={"caution":1e9,"reduce":null,"halt":null}',
    'risk.breakers.correlation_shock={"caution":1e9,"reduce":null,"halt":null}',
    "risk.var.min_returns=1",
    "venue.half_spread_ticks=0",
)


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
    return PlainFill(fill.ts_event, fill.signed_quantity, fill.price, fill.tag in ("roll", "bad_stretch"))


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


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("policy", [RollPolicy.IGNORE, RollPolicy.ROLL])
def test_a_run_of_four_years_replays_to_the_same_bytes(policy):
    run = baseline_run(paths(), policy)
    assert run.replayed.equal
    assert run.replayed.records == run.records > 5_000  # Quiet bars share records.


@pytest.mark.shared
@pytest.mark.slow
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


@pytest.mark.shared
@pytest.mark.slow
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


def command(monkeypatch, capsys, *words):
    """Run ``grandmodel WORDS`` here; its exit status and what it printed as JSON."""
    monkeypatch.setattr(sys, "argv", ["grandmodel", *map(str, words), "--json"])
    status = 0
    try:
        main()
    except SystemExit as end:
        status = end.code or 0
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.shared
@pytest.mark.slow
def test_the_command_on_real_sessions_with_rolls_and_a_bad_stretch_agrees_and_replays(tmp_path, monkeypatch, capsys):
    """The session's last bar decides nothing, a bad stretch is not looked at, a roll is two fills."""
    words = ["backtest", "run", "--time-zone", "Asia/Jerusalem", "--label", "open", "--out", tmp_path, "--name", "real"]
    for name, path in paths():
        words += ["--data", f"{name}={path}"]
    for change in WIDE:
        words += ["--set", change]
    status, summary = command(monkeypatch, capsys, *words)
    assert status == 0
    fills = load_results(tmp_path / "real").fills
    told = {each["instrument"]: each for each in summary["instruments"]}
    for name, path in paths():
        result = plain_cross(
            read_plain_bars(path, TICKS[name]),
            tick_cents=TICK_CENTS[name],
            fee_cents=FEE_CENTS,
            rolls=frozenset(engine_bars(path, name)[1]),
            bad=BAD_ROWS[name],
            keeps_sessions=True,
        )
        assert [plain(fill) for fill in fills if fill.instrument == InstrumentId(name)] == result.fills
        assert told[name]["profit_micros"] == result.equity_cents[-1] * MICROS_PER_CENT
        assert told[name]["fees_micros"] == len(result.fills) * FEE_CENTS * MICROS_PER_CENT
    status, report = command(monkeypatch, capsys, "audit", "replay", tmp_path / "real")
    assert status == 0
    assert report["equal"]
    assert report["records"] > 5_000  # Quiet bars share records.
    check_risk_report(summary, command(monkeypatch, capsys, "risk", "report", tmp_path / "real")[1], fills)
    refused = command(monkeypatch, capsys, "audit", "show", tmp_path / "real", "--refused")[1]["refused"]
    assert len(refused) == summary["refusals"]["refused"] > 0


def check_risk_report(summary, risk, fills):
    """Its bars add up to the account's profit before fees, to the millionth, rolls and the way out of the bad stretch included."""
    assert {fill.tag for fill in fills} >= {"roll", "bad_stretch"}
    expected = summary["profit_micros"] + summary["fees_micros"]
    assert expected == sum(one["profit_micros"] + one["fees_micros"] for one in summary["instruments"])
    parts = [*risk["pnl_bar"], risk["profit_untested"]]
    assert sum(round(one * 1e6) for one in parts) == round(risk["profit_before_fees"] * 1e6) == expected
    assert len(risk["pnl_bar"]) == risk["observations"] > 40_000
    hits = [made < -stated for made, stated in zip(risk["pnl_bar"], risk["var_bar"], strict=True)]
    assert (hits, sum(hits)) == (risk["hits"], risk["exceptions"])
    assert risk["refusals"] == summary["refusals"]


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
