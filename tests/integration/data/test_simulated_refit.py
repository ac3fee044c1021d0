"""The parameters in the package are what the command makes of the real bars; the command's page and table."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from grandmodel.domain.errors import UsageError
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.simulation.market_fit import fit_market, load_series
from grandmodel.simulation.market_parameters import built_in_parameters, encode_parameters
from shared_data import shared

NQ, CL = (BUILT_IN[InstrumentId(name)] for name in ("NQ", "CL"))


def _files() -> list[tuple[Path, str]]:
    return [
        (shared("data/bars/futures_30m/NQ_30m_eth_20200629_20240628.csv.gz"), "NQ"),
        (shared("data/bars/futures_30m/CL_30m_eth_20200629_20240628.csv.gz"), "CL"),
        (shared("data/bars/futures_5m/NQ_5m_20190101_20191031.csv.gz"), "NQ"),
    ]


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "grandmodel.cli.main", "market", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.shared
@pytest.mark.slow
def test_the_command_makes_the_built_in_parameters_again_to_the_byte(tmp_path: Path) -> None:
    files = _files()
    out = tmp_path / "parameters.json"
    names = [part for _, name in files for part in ("--instrument", name)]
    done = _command("fit", *(str(path) for path, _ in files), *names, "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == encode_parameters(built_in_parameters())
    assert "2944 bars" in done.stdout


@pytest.mark.shared
@pytest.mark.slow
def test_the_table_and_the_page_set_real_beside_simulated(tmp_path: Path) -> None:
    files = _files()[:2]
    page = tmp_path / "market.html"
    names = [part for _, name in files for part in ("--instrument", name)]
    chosen = ("--from", "2023-01-01", "--to", "2023-05-01", "--seeds", "2")
    done = _command("show", *(str(path) for path, _ in files), *names, *chosen, "--page", str(page), "--json")
    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout)
    row = next(row for row in table if row["instrument"] == "NQ" and row["statistic"] == "volatility of a bar, bp")
    assert 18 < row["real"] < 22
    assert row["low"] <= row["median"] <= row["high"]
    assert row["is_in_band"] == (row["low"] <= row["real"] <= row["high"])
    html = page.read_text(encoding="utf-8")
    assert "not market data" in html
    assert html.count("<svg") == 12


@pytest.mark.shared
def test_files_that_do_not_make_a_market_are_refused() -> None:
    fine = shared("data/bars/futures_5m/NQ_5m_20190101_20191031.csv.gz")
    with pytest.raises(UsageError, match="no file of 30-minute bars"):
        load_series([(fine, NQ)])
    with pytest.raises(UsageError, match="second file of 5m bars"):
        load_series([(fine, NQ), (fine, NQ)])


def test_a_file_without_its_instrument_is_misuse(tmp_path: Path) -> None:
    done = _command("fit", str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), "--instrument", "NQ")
    assert done.returncode == 2
    assert "2 files and 1 --instrument" in " ".join(done.stderr.split())


def test_no_bars_make_no_market() -> None:
    with pytest.raises(UsageError, match="no series"):
        fit_market([])
