"""``grandmodel risk``: stress from the command line, and what it refuses."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from grandmodel.cli.risk import app
from grandmodel.domain.errors import UsageError

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
        (["report", "no-such-run"], "found no run"),
    ],
)
def test_misuse_says_what_to_change(arguments: list[str], message: str, tmp_path: Path) -> None:
    found = RUNNER.invoke(app, arguments)
    assert isinstance(found.exception, UsageError)
    assert message in str(found.exception)
