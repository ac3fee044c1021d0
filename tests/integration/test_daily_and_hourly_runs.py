"""Daily and hourly bars through the command: they trade, at the right time and price, and replay to the same bytes."""

import csv
import datetime as dt
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bar_files import random_bars, rows_text, session_opens, write_csv
from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import NS_PER_HOUR, ns_from_text
from grandmodel.runtime.results import load_results

NQ = BUILT_IN[InstrumentId("NQ")]


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "grandmodel.cli.main", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=300,
    )


def daily_file(path: Path, days: int = 120) -> Path:
    """Dates of NQ's sessions from January 2024 on, one bar each, with a trend that turns."""
    start = ns_from_text("2024-01-02")
    schedule = session_schedule(NQ, start, start + 2 * days * 24 * NS_PER_HOUR)
    dates = [dt.datetime.fromtimestamp(ns // 10**9, dt.UTC).date() for ns in schedule.day_ns.tolist()[:days]]
    draw = np.random.default_rng(3)
    closes = 17_000 + np.rint(400 * np.sin(np.arange(days) / 9) * 4 + draw.integers(-60, 61, days)) / 4
    opens = closes - draw.integers(-40, 41, days) / 4
    lines = [
        f"{date},{open_},{max(open_, close) + 5},{min(open_, close) - 5},{close},1000"
        for date, open_, close in zip(dates, opens, closes, strict=True)
    ]
    return write_csv(path, lines, "Date,Open,High,Low,Close,Volume")


@pytest.fixture(scope="module")
def daily(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on daily bars of the default agent, and the file beside it."""
    folder = tmp_path_factory.mktemp("daily")
    daily_file(folder / "nq.csv")
    done = command(folder, "backtest", "run", "--data", "NQ=nq.csv", "--agent-set", "fast=2", "--agent-set", "slow=5",
                   "--agent", "moving_average_cross", "--name", "d")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "bars of 23h: risk and the simple agents work on bars of 23h" in done.stderr
    return folder


def test_daily_bars_trade_at_the_opens_of_the_next_sessions(daily: Path) -> None:
    results = load_results(daily / "runs" / "d")
    with (daily / "nq.csv").open() as file:
        opens = {int(float(row["Open"]) * 4): row["Date"] for row in csv.DictReader(file)}
    assert len(results.fills) >= 5
    schedule = session_schedule(NQ, ns_from_text("2024-01-01"), ns_from_text("2024-12-01"))
    session_starts = set(schedule.open_ns.tolist())
    for fill in results.fills:
        assert fill.price - int(fill.side) * results.settings.venue.half_spread_ticks in opens
        assert fill.ts_event in session_starts
    assert "out_of_session" not in json.dumps(msgspec.to_builtins(results.refusals.counts()))


def test_a_daily_run_replays_to_the_same_bytes(daily: Path) -> None:
    done = command(daily, "audit", "replay", "runs/d")
    assert done.returncode == 0, done.stderr
    assert "byte for byte" in done.stdout


def test_settings_that_keep_no_bar_of_the_data_are_named_and_leave_no_folder(daily: Path) -> None:
    (daily / "s.toml").write_text("mode = 'backtest'\n")
    done = command(daily, "backtest", "run", "--data", "NQ=nq.csv", "--settings", "s.toml", "--name", "none")
    assert done.returncode == 2
    assert "risk.var.width_ns: found bars of 30m, expected 23h" in " ".join(done.stderr.split())
    assert not (daily / "runs" / "none").exists()


def test_hourly_bars_trade(tmp_path: Path) -> None:
    opens = session_opens("2024-01-08", "2024-01-19", width_ns=NS_PER_HOUR)
    write_csv(tmp_path / "nq.csv", rows_text(opens, random_bars(len(opens))))
    done = command(tmp_path, "backtest", "run", "--data", "NQ=nq.csv", "--time-zone", "UTC", "--label", "open",
                   "--agent", "moving_average_cross", "--agent-set", "fast=2", "--agent-set", "slow=5", "--name", "h")  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = load_results(tmp_path / "runs" / "h")
    assert len(results.fills) > 10
    assert {fill.ts_event % NS_PER_HOUR for fill in results.fills} == {0}
