"""``grandmodel risk``: stress from the command line, and what it refuses."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from grandmodel.cli.risk import _show_report, app
from grandmodel.domain.blocks import BAR, freeze
from grandmodel.domain.errors import UsageError
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.risk.report import BreakerMove, build_risk_report
from grandmodel.risk.settings import RiskSettings
from grandmodel.runtime.results import load_results
from grandmodel.runtime.session import Session
from grandmodel.runtime.settings import AgentSettings, RunSettings
from risk import desk

RUNNER = CliRunner()


def test_stress_as_json_holds_every_scenario_in_millionths() -> None:
    found = RUNNER.invoke(app, ["stress", "--positions", "NQ=3,CL=-2", "--prices", "NQ=20000,CL=18.31", "--json"])
    assert found.exit_code == 0
    rows = {row["scenario"]: row for row in json.loads(found.stdout)}
    oil = rows["2020-04-20"]
    assert oil["by_instrument"]["CL"] == 110_580 * 1_000_000
    assert oil["pnl_micros"] == sum(oil["by_instrument"].values())
    assert len(rows) == 11


def test_one_scenario_as_a_table_says_how_often_it_loses_a_sum() -> None:
    arguments = ["stress", "--positions", "NQ=1", "--prices", "NQ=20000", "--scenario", "2020-03-16", "--loss", "95840"]
    found = RUNNER.invoke(app, arguments)
    assert found.exit_code == 0
    assert "-47,920.00" in found.stdout
    assert "2.00" in found.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stress", "--positions", "NQ=1", "--prices", "NQ=20000.1"], "tick size"),
        (["stress", "--positions", "NQ=1", "--prices", "CL=70"], "no price for NQ"),
        (["stress", "--positions", "NQ", "--prices", "NQ=20000"], "INSTRUMENT=LOTS"),
        (["stress", "--positions", "NQ=1", "--prices", "NQ"], "INSTRUMENT=PRICE"),
        (["stress", "--positions", "NQ=1", "--prices", "NQ=20000", "--scenario", "1929"], "2008-09-29"),
        (["stress", "--positions", "NQ=1,IF=1", "--prices", "NQ=20000,IF=3500"], "one currency"),
        (["stress", "--positions", "NQ=1", "--prices", "NQ=0"], "above 0"),
        (["stress", "--positions", "NQ=1", "--prices", "NQ=20000", "--loss", "nan"], "--loss: found nan"),
        (["stress", "--positions", "NQ=1", "--prices", "NQ=20000", "--loss", "-5"], "--loss: found -5"),
        (["stress", "--positions", "NQ=1", "--prices", "NQ=20000", "--loss", "inf"], "--loss: found inf"),
        (["report", "no-such-run"], "found no run"),
    ],
)
def test_misuse_says_what_to_change(arguments: list[str], message: str, tmp_path: Path) -> None:
    found = RUNNER.invoke(app, arguments)
    assert isinstance(found.exception, UsageError)
    assert message in str(found.exception)


def test_the_report_of_a_run_agrees_with_its_records_and_writes_a_page(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    rows, names = 700, ("NQ", "CL")
    start = desk.START // desk.WIDTH * desk.WIDTH
    closes = np.array([80_000, 7_500]) + np.cumsum(
        np.random.default_rng(4).normal(size=(rows, 2)) * np.array([90.0, 18.0]), axis=0
    ).astype(np.int64)
    block = np.zeros((rows, 2), BAR)
    block["ts_open"] = (start + desk.WIDTH * np.arange(rows))[:, None]
    block["ts_event"] = block["ts_init"] = block["ts_open"] + desk.WIDTH
    block["open"] = block["high"] = block["low"] = block["close"] = closes
    block["volume"] = 100
    block["instrument"] = np.arange(2)[None, :]
    day = 86_400 * 10**9
    schedule = SessionSchedule(
        np.array([desk.START - day]),
        np.array([desk.START + rows * desk.WIDTH + day]),
        np.array([desk.START // day * day]),
    )
    settings = RunSettings(agents=(AgentSettings(kind="moving_average_cross"),))
    with Session.start(
        folder,
        settings,
        desk.instruments(names),
        [schedule] * 2,
        data="test",
        clock_ns=lambda: 0,
    ) as session:
        session.feed([freeze(block.reshape(-1))], where="test", keep_rows=False)
        session.end()
    found = RUNNER.invoke(app, ["report", str(folder), "--json"])
    assert found.exit_code == 0, found.exception
    report = json.loads(found.stdout)
    assert report["observations"] > 100
    assert report["exceptions"] == sum(report["hits"])
    assert report["instruments"] == list(names)
    results = load_results(folder)
    assert report["refusals"] == msgspec.to_builtins(results.refusals.counts())
    fees = sum(one.fee_micros for one in results.fills)
    made = sum(round(one * 1e6) for one in [*report["pnl_bar"], report["profit_untested"]])
    assert made == round(report["profit_before_fees"] * 1e6) == results.equity[-1] - results.equity[0] + fees
    page = (folder / "risk.html").read_text(encoding="utf-8")
    assert "Value at risk through time" in page
    table = RUNNER.invoke(app, ["report", str(folder), "--page", str(tmp_path / "other.html")])
    assert table.exit_code == 0
    assert (tmp_path / "other.html").is_file()
    assert "not enough days" in table.stdout
    missing = RUNNER.invoke(app, ["report", str(folder), "--page", str(tmp_path / "no" / "such.html")])
    assert isinstance(missing.exception, UsageError)


def test_the_terminal_shows_the_last_moves_and_their_count(capsys: pytest.CaptureFixture[str]) -> None:
    start = 1_700_000_000 * 10**9
    moves = [BreakerMove(ts=start + k * 10**9, state="halt", text=f"move [{k}]") for k in range(37)]
    report = msgspec.structs.replace(
        build_risk_report("r", [], desk.instruments(), RiskSettings(), "USD"), breaker=moves
    )
    _show_report(report, Path("page.html"))
    shown = capsys.readouterr().out
    assert "37; the last 10 follow" in shown
    assert shown.count("breaker halt") == 10
    assert "move [27]" in shown
    assert "move [26]" not in shown
    assert "2023-11-14 22:13:56 UTC" in shown
