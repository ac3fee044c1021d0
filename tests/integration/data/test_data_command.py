"""``grandmodel data`` as a person calls it: reports, pages, exit codes."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bar_files import random_bars, rows_text, session_opens, write_csv
from grandmodel.cli.main import main


class Outcome:
    """What a command printed and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        """The report on stdout."""
        return json.loads(self.out)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Call the command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["grandmodel", *map(str, arguments)])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return call


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Four months of NQ on a clock in Los Angeles, with one bar twice, one split price and one session cut short."""
    opens = session_opens("2024-01-02", "2024-04-26")
    lines = rows_text(opens, random_bars(len(opens)), "America/Los_Angeles", "%d/%m/%Y %H:%M:%S")
    return write_csv(tmp_path / "nq.csv", [*lines[:500], lines[499], *lines[500:970], *lines[1004:]])


def test_import_list_and_import_again(run: Any, file: Path) -> None:
    done = run("data", "import", file, "--instrument", "NQ", "--json")
    assert done.code == 0, done.err
    ((report,), (series,)) = (done.json, done.json[0]["series"])
    assert report["rows_added"] == series["rows_kept"] == series["rows_read"] - 1
    assert (series["time_zone"], series["label"], series["bar_width"]) == ("America/Los_Angeles", "open", "30m")
    assert {finding["kind"]: finding["count"] for finding in series["findings"]}["duplicate_rows"] == 1
    again = run("data", "import", file, "--instrument", "NQ")
    assert again.code == 0
    assert "0 rows added" in again.out
    assert "duplicate_rows" in again.out
    (entry,) = run("data", "list", "--json").json
    assert (entry["instrument"], entry["schema"], entry["rows"]) == ("NQ", "bars-30m", series["rows_kept"])
    assert "bars-30m" in run("data", "list", "--verify").out


def test_check_prints_and_draws_and_imports_nothing(run: Any, file: Path, tmp_path: Path) -> None:
    done = run("data", "check", file, "--instrument", "NQ", "--page", "page.html")
    assert done.code == 0, done.err
    assert "truncated_sessions" in done.out
    page = (tmp_path / "page.html").read_text()
    for part in (
        "Data check: nq.csv",
        "<svg",
        "Volume by session",
        "Bars present in each session",
        "duplicate_rows",
        "The largest steps",
    ):
        assert part in page
    assert run("data", "list", "--json").json == []
    first = (tmp_path / "page.html").read_bytes()
    assert run("data", "check", file, "--instrument", "NQ", "--page", "page.html", "--json").json["sha256"]
    assert (tmp_path / "page.html").read_bytes() == first


def test_what_nothing_proves_ends_with_1_and_names_the_flag(run: Any, tmp_path: Path) -> None:
    lines = [f"0{day}/0{day}/2024 10:{minute}:00,100,101,99,100,5" for day in range(1, 5) for minute in ("00", "30")]
    path = write_csv(tmp_path / "a.csv", lines)
    refused = run("data", "import", path, "--instrument", "NQ")
    assert refused.code == 1
    assert "--date-order dmy or --date-order mdy" in " ".join(refused.err.split())
    refused = run("data", "import", path, "--instrument", "NQ", "--date-order", "dmy", "--bar-width", "30m")
    assert refused.code == 1
    assert "--time-zone ZONE and --label" in " ".join(refused.err.split())
    flags = ["--date-order", "dmy", "--bar-width", "30m", "--time-zone", "America/New_York", "--label", "open"]
    assert run("data", "import", path, "--instrument", "NQ", *flags).code == 0


def test_flags_win_over_the_profile_file(run: Any, file: Path, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(
        'time_zone = "Asia/Tokyo"\nlabel = "open"\nbar_width = "30m"\nforce_clock = true\n'
    )
    stated = run("data", "check", file, "--instrument", "NQ", "--profile", "p.toml", "--no-page", "--json").json
    assert stated["series"][0]["time_zone"] == "Asia/Tokyo"
    assert "bars_outside_sessions" in {finding["kind"] for finding in stated["series"][0]["findings"]}
    flagged = run(
        "data",
        "check",
        file,
        "--instrument",
        "NQ",
        "--profile",
        "p.toml",
        "--time-zone",
        "America/Los_Angeles",
        "--no-page",
        "--json",
    ).json
    assert flagged["series"][0]["time_zone"] == "America/Los_Angeles"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--instrument", "ZZ"),
        ("--instrument", "NQ", "--profile", "no-such-profile"),
        ("--instrument", "NQ", "--bar-width", "half an hour"),
        ("--instrument", "NQ", "--label", "middle"),
        ("--instrument", "NQ", "--price-multiplier", "-1"),
        ("--instrument", "NQ", "--columns", "stamp,open,open"),
        ("--instrument", "NQ", "--time-zone", "Mars/Olympus", "--label", "open"),
        ("--instrument", "NQ", "--max-dropped", "7"),
        ("--no-such-flag",),
    ],
)
def test_misuse_ends_with_2(run: Any, file: Path, arguments: tuple[str, ...]) -> None:
    done = run("data", "import", file, *arguments)
    assert done.code == 2, done.err
    assert done.out == ""
    assert done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("data", "import", "nothing.csv", "--instrument", "NQ"),
        ("data", "check", "nothing.csv", "--instrument", "NQ"),
        ("data", "instruments", "nothing.csv"),
        ("features", "check", "--data", "NQ=nothing.csv"),
        ("settings", "show", "--settings", "nothing.csv"),
    ],
)
def test_a_file_that_is_not_there_ends_with_2(run: Any, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.code == 2, done.err
    assert done.err.splitlines()[-1].startswith("error: nothing.csv: ")


@pytest.mark.parametrize("verb", ["import", "check"])
def test_a_folder_is_no_file(run: Any, tmp_path: Path, verb: str) -> None:
    (tmp_path / "folder").mkdir()
    done = run("data", verb, "folder", "--instrument", "NQ")
    assert done.code == 2
    assert "folder: found a folder, expected a file" in done.err
    assert run("data", "instruments", "folder").code == 2


def test_a_store_that_is_not_there_ends_with_2(run: Any, tmp_path: Path) -> None:
    done = run("data", "list", "--store", "typo")
    assert done.code == 2
    assert "typo: found no such store" in done.err
    (tmp_path / "file").write_text("x")
    done = run("data", "list", "--store", "file")
    assert done.code == 2
    assert "file: found a file" in done.err
    assert "nothing is in the store" in run("data", "list").out


def _series_of(report: Any) -> list[Any]:
    """The series of one report, or of the only one of a list."""
    return (report[0] if isinstance(report, list) else report)["series"]


@pytest.mark.parametrize("verb", ["import", "check"])
def test_another_clock_is_said_before_all_else(run: Any, file: Path, verb: str) -> None:
    flags = ["--instrument", "NQ", "--time-zone", "Asia/Tokyo", "--label", "open", *(["--no-page"] * (verb == "check"))]
    refused = run("data", verb, file, *flags)
    assert refused.code == 1
    assert "proves America/Los_Angeles" in " ".join(refused.err.split())
    flags.append("--force-clock")
    done = run("data", verb, file, *flags)
    assert done.code == 0, done.err
    first = done.out.splitlines()[0]
    assert first.startswith("warning: ")
    assert "proves America/Los_Angeles" in first
    table = [line for line in done.out.splitlines() if line.strip()]
    heading = next(place for place, line in enumerate(table) if line.strip().startswith("finding"))
    assert table[heading + 2].strip().startswith("another_clock_fits")
    done = run("data", verb, file, *flags, "--json")
    assert "warning: " in done.err
    assert done.json
    kinds = {finding["kind"] for series in _series_of(done.json) for finding in series["findings"]}
    assert "forced_clock" in kinds
    flags[3] = "America/Los_Angeles"
    done = run("data", "check", file, *flags[:6], "--no-page")
    assert "warning" not in done.out + done.err


def test_a_store_with_a_damaged_file_fails_verification(run: Any, file: Path, tmp_path: Path) -> None:
    run("data", "import", file, "--instrument", "NQ")
    (damaged, *_) = sorted((tmp_path / "data-store").rglob("*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    done = run("data", "list", "--verify")
    assert done.code == 1
    assert "other bytes" in " ".join(done.err.split())


def test_a_file_of_several_series_needs_a_symbol(run: Any, tmp_path: Path) -> None:
    import zipfile

    opens = session_opens("2024-01-02", "2024-01-05")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        for name, seed in (("mar.csv", 1), ("jun.csv", 2)):
            lines = ["Time,Open,High,Low,Close,Volume", *rows_text(opens, random_bars(len(opens), seed))]
            archive.writestr(name, "\n".join(lines))
    flags = ["--instrument", "NQ", "--members", "each", "--time-zone", "UTC", "--label", "open"]
    refused = run("data", "import", "two.zip", *flags)
    assert refused.code == 1
    assert "--symbol" in refused.err
    assert run("data", "import", "two.zip", *flags, "--symbol", "mar").code == 0
    assert run("data", "list", "--json").json[0]["rows"] == len(opens)


@pytest.mark.parametrize("verb", ["import", "check"])
def test_a_symbol_of_another_instrument_is_refused_and_a_mapping_is_reported(
    run: Any, tmp_path: Path, verb: str
) -> None:
    opens = session_opens("2024-01-02", "2024-01-05")
    lines = [f"{line},CL=F" for line in rows_text(opens, random_bars(len(opens)), "America/New_York")]
    path = write_csv(tmp_path / "nq.csv", lines, "Timestamp,Open,High,Low,Close,Volume,Symbol")
    flags = [
        "--instrument",
        "NQ",
        "--time-zone",
        "America/New_York",
        "--label",
        "open",
        *(["--no-page"] * (verb == "check")),
    ]
    refused = run("data", verb, path, *flags)
    assert refused.code == 1
    assert "found the symbol CL=F, expected NQ" in refused.err
    taken = run("data", verb, path, *flags, "--map", "CL=F=NQ", "--json")
    assert taken.code == 0, taken.err
    report = taken.json[0] if verb == "import" else taken.json
    assert report["mapped"] == {"CL=F": "NQ"}
    assert run("data", verb, path, *flags, "--map", "CL").code == 2


def test_rows_kept_are_never_more_than_the_rows_they_are_counted_of(run: Any) -> None:
    from shared_data import shared

    path = shared("data/ticks/cffex_if/IF2101_ticks_20210104.parquet")
    done = run("data", "check", path, "--instrument", "IF", "--no-page")
    assert done.code == 0, done.err
    assert "27,955 rows of the file give 48,933 rows of quotes," in done.out


def test_a_bound_is_raised_by_its_flag(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "nq.csv"
    heading = "Timestamp,Open,High,Low,Close,Volume" + ",x" * 2_000
    opens = session_opens("2024-01-02", "2024-01-02")
    write_csv(path, [line + ",1" * 2_000 for line in rows_text(opens, random_bars(len(opens)))], heading)
    flags = ["--instrument", "NQ", "--time-zone", "UTC", "--label", "open", "--no-page"]
    refused = run("data", "check", path, *flags)
    assert refused.code == 1
    assert "--limit columns=2006" in refused.err
    assert run("data", "check", path, *flags, "--limit", "columns=2006").code == 0
    assert run("data", "check", path, *flags, "--limit", "columns=many").code == 2


def test_a_name_that_is_no_utf_8_is_printed_listed_and_drawn(run: Any, tmp_path: Path) -> None:
    import os

    opens = session_opens("2024-01-02", "2024-01-05")
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/nq\xff.csv"))
    write_csv(path, rows_text(opens, random_bars(len(opens))))
    flags = ["--instrument", "NQ", "--time-zone", "UTC", "--label", "open"]
    done = run("data", "import", path, *flags)
    assert done.code == 0, done.err
    assert r"nq\xff.csv" in done.out
    (entry,) = run("data", "list", "--json").json
    assert entry["sources"][0].startswith(r"nq\xff.csv#")
    assert run("data", "check", path, *flags, "--page", "page.html").code == 0
    assert r"nq\xff.csv" in (tmp_path / "page.html").read_text()
    assert run("data", "check", path, "--instrument", "NQ", "--columns", "stamp,open").code == 1
