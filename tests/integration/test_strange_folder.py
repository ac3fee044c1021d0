"""A stranger's folder: no command runs a file that lies there, whatever it is called, nor code that a run's settings name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from command_tree import commands
from grandmodel.cli import main as command
from grandmodel.domain.time import ns_from_text
from grandmodel.risk.settings import RiskSettings, VarSettings
from grandmodel.runtime.agents import OwnAgents
from grandmodel.runtime.errors import AgentError, UntrustedAgentError
from grandmodel.runtime.feeds import SimulatedFeed, instruments_named
from grandmodel.runtime.runs import run_feed
from grandmodel.runtime.settings import AgentSettings, RunSettings

SPAN = (ns_from_text("2024-07-08T22:00:00+00:00"), ns_from_text("2024-07-09T02:00:00+00:00"))
HOSTILE = (
    "json", "typing_extensions", "numpy", "numba", "msgspec", "typer", "rich", "polars", "pyarrow", "keyring", "mlflow", "torch",
    "ray", "sitecustomize", "usercustomize", "exchange_calendars", "cryptography", "fsspec", "pickle", "hostile_agent",
)  # fmt: skip
AGENT = """
from pathlib import Path
from grandmodel.domain.agents import Agent
with Path({mark!r}).open("a") as mark:
    mark.write("hostile_agent\\n")
class Quiet(Agent):
    name = "quiet"
    def on_bars(self, bars, account):
        return []
"""


def plant(folder: Path, mark: Path) -> Path:
    """A folder full of modules that leave a mark when they are imported."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in HOSTILE:
        (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write({name!r} + '\\n')\n")
    (folder / "hostile_agent.py").write_text(AGENT.format(mark=str(mark)))
    (folder / "benchmarks").mkdir()
    (folder / "benchmarks" / "bench_engine.py").write_text(f"open({str(mark)!r}, 'a').write('benchmark\\n')\n")
    return folder


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """(folder, mark): modules of every kind, and the run of a stranger whose settings name one of them."""
    base = tmp_path_factory.mktemp("strange")
    made, mark = plant(base / "made", base / "before"), base / "mark"
    feed = SimulatedFeed(instruments_named(["NQ"]), *SPAN, seed=3, row_scale=0.05)
    risk = RiskSettings(var=VarSettings(min_returns=2))
    settings = RunSettings(agents=(AgentSettings(kind="hostile_agent:Quiet"),), risk=risk)
    agents = OwnAgents(kinds={"hostile_agent:Quiet"}, folder=made)
    run_feed(base / "folder" / "runs" / "theirs", settings, feed, clock_ns=int, build_agent=agents)
    assert (base / "before").read_text() == "hostile_agent\n"
    sys.modules.pop("hostile_agent")
    sys.path.remove(str(made.resolve()))
    folder = plant(base / "folder", mark)
    plant(folder / "runs" / "theirs", mark)
    return folder, mark


def given_to(words):
    """Arguments with which the command does as much as it can of its work in the folder."""
    run = ["runs/theirs"]
    known = {
        ("audit", "check-proof"): ["bars.csv", "--expect", f"1:{'0' * 64}"],
        ("audit", "key"): [],
        ("audit", "prove"): [*run, "1"],
        ("audit", "trust"): ["bars.csv", "--name", "x"],
        ("backtest", "run"): ["--data", "NQ=bars.csv"],
        ("bench",): ["--quick", "no_such_benchmark"],
        ("run",): ["--data", "NQ=bars.csv"],
    }
    if words in known:
        return known[words]
    takes_run = words[0] == "audit" or words in {("explain",), ("risk", "report"), ("backtest", "report")}
    return run if takes_run else []


def left(mark):
    return mark.read_text() if mark.exists() else ""


def test_no_command_imports_anything_from_the_current_folder(strange):
    """All of them in one process whose current folder is the stranger's, begun as the installed command begins."""
    folder, mark = strange
    (folder / "bars.csv").write_text("time,open,high,low,close,volume\n2024-07-08 10:00,1,1,1,1,1\n")
    lines = [[*words, *given_to(words)] for words in sorted({words for words, _ in commands()})]
    assert len(lines) > 25
    assert ["audit", "verify", "runs/theirs"] in lines
    script = folder.parent / "bin" / "walk.py"
    script.parent.mkdir(exist_ok=True)
    script.write_text(
        "import sys\n"
        "from grandmodel.cli.main import main\n"
        f"for line in {lines!r}:\n"
        "    sys.argv = ['grandmodel', *line]\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as ended:\n"
        "        print(ended.code, *line)\n"
    )
    done = subprocess.run([sys.executable, script], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert "0 backtest report runs/theirs" in done.stdout
    assert "2 explain runs/theirs" in done.stdout
    assert "2 audit replay runs/theirs" in done.stdout
    assert "1 audit verify runs/theirs" in done.stdout
    assert left(mark) == ""


@pytest.mark.parametrize("how", [["-m", "grandmodel"], ["-m", "grandmodel.cli.main"]])
def test_the_package_as_a_module_imports_nothing_from_the_current_folder(strange, how):
    folder, mark = strange
    done = subprocess.run(
        [sys.executable, *how, "audit", "verify", "runs/theirs"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, left(mark)) == (1, ""), done.stderr


def test_a_worker_process_imports_nothing_from_the_current_folder(strange):
    folder, mark = strange
    script = folder.parent / "spawn.py"
    script.write_text(
        "from grandmodel.training.workers import spawned_workers\n"
        "if __name__ == '__main__':\n"
        "    with spawned_workers(1) as pool:\n"
        "        assert pool.submit(abs, -3).result() == 3\n"
    )
    done = subprocess.run([sys.executable, script], cwd=folder, capture_output=True, text=True, timeout=300)
    assert (done.returncode, left(mark)) == (0, ""), done.stderr


def test_with_trust_a_strangers_run_is_replayed_by_its_own_agent(strange, monkeypatch, capfd):
    folder, mark = strange
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["grandmodel", "audit", "replay", "theirs", "--trust-agents", "--json"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 0
    assert json.loads(capfd.readouterr().out)["equal"]
    assert left(mark) == "hostile_agent\n"  # The agent, and none of what else lies there under the names of libraries.
    mark.unlink()
    sys.modules.pop("hostile_agent")


def test_only_the_agents_that_were_asked_for_are_imported(tmp_path, monkeypatch):
    (tmp_path / "asked_for.py").write_text("from grandmodel.tactical.baselines import BuyAndHold as Mine\n")
    (tmp_path / "not_asked_for.py").write_text("raise SystemExit\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = {one.id: one for one in instruments_named(["NQ"])}
    agents = OwnAgents(kinds={"asked_for:Mine"}, folder=tmp_path)
    assert agents("asked_for:Mine", {}, known, 1)
    for kind in ("not_asked_for:Mine", "asked_for:Other"):
        with pytest.raises(UntrustedAgentError, match=f"agent {kind}: .* was not imported"):
            agents(kind, {}, known, 1)
    with pytest.raises(AgentError, match="cannot be imported"):
        OwnAgents(kinds=None, folder=tmp_path)("absent:Mine", {}, known, 1)
    sys.modules.pop("asked_for")


def test_an_agent_that_only_a_settings_file_names_needs_its_folder_named(strange, monkeypatch, capfd):
    folder, mark = strange
    (folder / "settings.toml").write_text('[[agents]]\nkind = "hostile_agent:Quiet"\n')
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["grandmodel", "run", "--settings", "settings.toml", "--row-scale", "0.05"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert "hostile_agent:Quiet, which is code: say where it lies with --agents-from FOLDER" in capfd.readouterr().err
    assert left(mark) == ""
    assert not (folder / "runs" / "paper-0001").exists()


def test_a_run_is_not_taken_up_with_an_agent_that_the_command_does_not_name(strange, monkeypatch, capfd):
    folder, mark = strange
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["grandmodel", "run", "--resume", "runs/theirs", "--agent", "own:Agent"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert (ended.value.code, left(mark)) == (2, ""), capfd.readouterr().err


def test_no_test_uses_the_keys_of_whoever_runs_it():
    assert not Path(os.environ["XDG_CONFIG_HOME"]).is_relative_to(Path.home() / ".config")
