"""``grandmodel features`` on a file of bars, as a user would call it."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from grandmodel.cli.features import app
from grandmodel.cli.sources import file_feed
from grandmodel.domain.blocks import Flag
from grandmodel.domain.errors import UsageError
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


def refusal(*arguments: object) -> str:
    done = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert isinstance(done.exception, UsageError), done.exception
    return str(done.exception)


def test_a_plain_date_is_its_midnight_and_a_late_one_is_refused(bars_file: Path, tmp_path: Path) -> None:
    show = ["show", *options(bars_file), "--page", str(tmp_path / "page.html"), "--json", "--at"]
    day, midnight = (RUNNER.invoke(app, [*show, at]) for at in ("2024-01-30", "2024-01-30T00:00:00+00:00"))
    assert day.exit_code == 0, day.output
    assert day.stdout == midnight.stdout
    assert "after the last bar" in refusal(*show, "2025-01-30")
    assert "--at" in refusal(*show, "soon")


def test_half_hour_bars_make_no_tactical_matrix(bars_file: Path, tmp_path: Path) -> None:
    for command in (["show", "--at", "2024-01-30"], ["check"], ["compute", tmp_path / "rows"]):
        said = refusal(*command, *options(bars_file), "--matrix", "tactical")
        assert "found bars of 30 minutes, expected 5 minutes for the tactical matrix" in said


@pytest.mark.parametrize("verb", ["check", "compute"])
def test_a_span_that_cannot_be_is_refused(verb: str, bars_file: Path, tmp_path: Path) -> None:
    command = [verb, *([tmp_path / "rows"] if verb == "compute" else []), *options(bars_file)]
    assert "expected --from before --to" in refusal(*command, "--from", "2024-02-01", "--to", "2024-01-10")
    assert "--from foo" in refusal(*command, "--from", "foo")
    assert "no rows" in refusal(*command, "--from", "2030-01-01")
    assert "read as asked" in refusal(*command, "--label", "middle")


def test_an_output_of_the_wrong_kind_is_refused(bars_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    assert "expected a folder" in refusal("compute", tmp_path / "file", *options(bars_file))
    assert "cannot be made" in refusal("compute", tmp_path / "file" / "rows", *options(bars_file))
    assert "cannot be written" in refusal("check", *options(bars_file), "--page", tmp_path)


def test_bars_of_a_bad_stretch_are_said(bars_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def marked(*arguments: object) -> object:
        feed = file_feed(*arguments)
        rows = np.concatenate(list(feed.blocks()))
        rows["flags"][-7:] |= int(Flag.BAD_STRETCH)
        feed.blocks = lambda: iter([rows])
        return feed

    monkeypatch.setattr("grandmodel.cli.features.file_feed", marked)
    page = tmp_path / "page.html"
    end = datetime.fromisoformat(pl.read_csv(bars_file)["timestamp"][-1]) + timedelta(minutes=30)
    for command, rows in (["check"], 800), (["show", "--at", end.isoformat()], 48):
        arguments = [*command, *options(bars_file), "--page", str(page)]
        done = RUNNER.invoke(app, arguments)
        assert done.exit_code == 0, done.output
        said = f"7 of these {rows} bars lie in a marked bad stretch"
        assert said in done.stderr
        assert said in page.read_text(encoding="utf-8")
        assert json.loads(RUNNER.invoke(app, [*arguments, "--json"]).stdout)["bad_stretch_bars"] == 7
