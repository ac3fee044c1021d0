"""``grandmodel features`` on a file of bars, as a user would call it."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from grandmodel.cli.features import app
from grandmodel.features import STRATEGIC_SCHEMA

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def bars_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight hundred half-hour bars of NQ inside its sessions, stamps with their zone."""
    generator = np.random.default_rng(4)
    starts = pl.datetime_range(
        pl.datetime(2024, 1, 8), pl.datetime(2024, 2, 10), interval="30m", time_zone="America/New_York", eager=True
    )
    starts = starts.filter((starts.dt.hour() != 17) & (starts.dt.weekday() <= 4))[:800]
    closes = 17_000 + 0.25 * np.cumsum(generator.integers(-60, 61, len(starts)))
    opens = np.concatenate([closes[:1], closes[:-1]])
    frame = pl.DataFrame(
        {
            "timestamp": starts.dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "open": opens,
            "high": np.maximum(opens, closes) + 2,
            "low": np.minimum(opens, closes) - 2,
            "close": closes,
            "volume": generator.integers(100, 900, len(starts)),
        }
    )
    path = tmp_path_factory.mktemp("bars") / "nq.csv"
    frame.write_csv(path)
    return path


def options(bars_file: Path) -> list[str]:
    return ["--data", f"NQ={bars_file}", "--label", "open"]


def test_show_prints_the_matrix_and_writes_the_page(bars_file: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = RUNNER.invoke(
        app, ["show", *options(bars_file), "--at", "2024-01-30T15:00:00+00:00", "--page", str(page), "--json"]
    )
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert shown["columns"] == list(STRATEGIC_SCHEMA.names)
    assert (len(shown["values"]), len(shown["values"][0])) == (48, 13)
    assert page.read_text(encoding="utf-8").count("<svg") >= 1


def test_check_lists_every_column(bars_file: Path, tmp_path: Path) -> None:
    done = RUNNER.invoke(app, ["check", *options(bars_file), "--page", str(tmp_path / "page.html"), "--json"])
    assert done.exit_code == 0, done.output
    assert [column["name"] for column in json.loads(done.stdout)["columns"]] == list(STRATEGIC_SCHEMA.names)


def test_compute_takes_the_second_time_from_the_cache(bars_file: Path, tmp_path: Path) -> None:
    arguments = ["compute", str(tmp_path / "rows"), *options(bars_file), "--cache", str(tmp_path / "cache"), "--json"]
    first, second = (json.loads(RUNNER.invoke(app, arguments).stdout)[0] for _ in range(2))
    assert first["from_cache"] == []
    assert second["from_cache"] == second["years"] == first["years"]
    rows = pl.read_parquet(second["file"])
    assert rows.height == 800
    assert np.isfinite(rows["mmd_score"].to_numpy()[-1])


def test_a_time_without_a_zone_is_refused(bars_file: Path) -> None:
    done = RUNNER.invoke(app, ["show", *options(bars_file), "--at", "2024-01-30 15:00"])
    assert "zone" in str(done.exception)
