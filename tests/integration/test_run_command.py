"""``grandmodel run`` and ``backtest run``: what they refuse, and that a resumed run never continues another."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from grandmodel.domain.errors import UsageError
from grandmodel.domain.time import ns_from_text
from grandmodel.risk.settings import RiskSettings, VarSettings
from grandmodel.runtime.feeds import SimulatedFeed, instruments_named
from grandmodel.runtime.runs import resume_feed, run_feed
from grandmodel.runtime.session import Session
from grandmodel.runtime.settings import AgentSettings, RunSettings, changed, load_settings

SPAN = (ns_from_text("2024-07-08T22:00:00+00:00"), ns_from_text("2024-07-09T21:00:00+00:00"))
SETTINGS = RunSettings(
    agents=(AgentSettings(parameters={"fast": 2, "slow": 5}),), risk=RiskSettings(var=VarSettings(min_returns=2))
)


def feed(**changes: float) -> SimulatedFeed:
    return SimulatedFeed(instruments_named(["NQ", "CL"]), *SPAN, **({"seed": 3, "row_scale": 0.5} | changes))


def cut_off(folder: Path) -> None:
    """A run whose process died after its first block."""
    source = feed()
    with Session.start(
        folder, SETTINGS, source.instruments, source.schedules, data=source.description, clock_ns=int
    ) as session:
        session.feed([next(source.blocks())], where=source.where)
        session.journal.commit()


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "grandmodel.cli.main", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=300,
    )


def test_a_resumed_run_ends_as_the_undisturbed_one(tmp_path: Path) -> None:
    cut_off(tmp_path / "cut")
    resumed = resume_feed(tmp_path / "cut", feed(), settings=SETTINGS, clock_ns=int)
    whole = run_feed(tmp_path / "whole", SETTINGS, feed(), clock_ns=int)
    assert resumed.fills > 0
    assert (resumed.records, resumed.equity_micros) == (whole.records, whole.equity_micros)


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({"row_scale": 0.4}, SETTINGS, "expected the feed that it began with"),
        ({"seed": 4}, SETTINGS, "expected the feed that it began with"),
        ({}, changed(SETTINGS, {"seed": 8}), r"other settings than the run began with \(seed\)"),
        ({}, changed(SETTINGS, {"agents": ()}), r"\(agents\)"),
    ],
)
def test_a_run_is_not_continued_as_another(
    tmp_path: Path, changes: dict[str, float], settings: RunSettings, message: str
) -> None:
    cut_off(tmp_path / "cut")
    with pytest.raises(UsageError, match=message):
        resume_feed(tmp_path / "cut", feed(**changes), settings=settings, clock_ns=int)


def test_data_that_changed_since_the_run_began_is_refused(tmp_path: Path) -> None:
    cut_off(tmp_path / "cut")
    other = feed()
    made = other.blocks
    other.blocks = lambda: (block[:-1] for block in made())  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="block 0 of"):
        resume_feed(tmp_path / "cut", other, settings=SETTINGS, clock_ns=int)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--seed", "-1"], "seed"),
        (["run", "--row-scale", "0"], "row scale"),
        (["run", "--agent", "nowhere:Agent"], "nowhere"),
        (["run", "--set", "mode=live"], "mode live"),
        (["run", "--set", "account.capital_micros=-5"], "capital_micros"),
        (["run", "--set", "venue.latency.order=-1"], "order"),
        (["run", "--name", "../elsewhere"], "plain name"),
        (["run", "--day", "2024-07-06"], "trading day"),
        (["backtest", "run"], "found no data"),
    ],
)
def test_what_cannot_begin_leaves_no_folder(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = command(tmp_path, *arguments)
    assert done.returncode == 2, done.stderr
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not [path for path in (tmp_path / "runs").glob("*") if path.is_dir()]


def test_an_agent_in_the_working_folder_runs_and_its_fault_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from grandmodel.domain.agents import Agent\n"
        "class Faulty(Agent):\n"
        "    name = 'faulty'\n"
        "    def on_bars(self, bars, account):\n"
        "        return 1 / 0\n"
    )
    done = command(tmp_path, "run", "--agent", "mine:Faulty")
    assert done.returncode == 1
    assert "agent faulty failed at 2024-06-19T22:05" in " ".join(done.stderr.split())


def test_a_model_of_the_venue_may_be_given_by_its_values_alone() -> None:
    settings = load_settings(
        None, ["venue.fees.per_lot_micros=3000000", "venue.slippage.ticks=2", "account.capital_micros=5e11"]
    )
    tree = json.loads(msgspec.json.encode(settings))
    assert (tree["venue"]["fees"], tree["venue"]["slippage"]) == (
        {"type": "per_lot", "per_lot_micros": 3_000_000},
        {"type": "fixed", "ticks": 2},
    )
    assert settings.account.capital_micros == 500_000_000_000
