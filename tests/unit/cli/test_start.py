"""What a start must not load: a library takes from tenths of a second to a whole one, whether it is used or not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HEAVY = {
    "duckdb", "exchange_calendars", "databento_dbn", "fsspec", "matplotlib", "pandas", "polars", "torch",
    "pyarrow.parquet", "pyarrow.compute",
}  # fmt: skip
"""Never loaded by a default run; the journal alone loads pyarrow, for its rows. numba's compiler loads scipy, where it is installed."""
FOR_HELP = HEAVY | {"numba", "numpy", "pyarrow", "cryptography", "safetensors", "sqlite3", "asyncio"}

LOADED = """
import sys
def tell(): print("LOADED", *sorted(sys.modules), file=sys.stderr)
import atexit; atexit.register(tell)
sys.argv[0] = "grandmodel"
from grandmodel.cli.main import main
main()
"""


def loaded(*arguments, folder):
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments], capture_output=True, text=True, cwd=folder, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.rpartition("LOADED")[2].split())


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("version",), ("data", "--help")])
def test_help_loads_nothing_heavy(arguments, tmp_path):
    assert loaded(*arguments, folder=tmp_path) & FOR_HELP == set()


@pytest.mark.slow
def test_a_default_run_loads_nothing_that_it_does_not_use(tmp_path):
    found = loaded("run", "--row-scale", "0.01", "--unsigned", folder=tmp_path)
    assert found & HEAVY == set()
    assert {"numba", "pyarrow", "sqlite3"} <= found


def test_the_parts_of_compile_are_all_of_a_default_run_s():
    from grandmodel.domain.errors import UsageError
    from grandmodel.runtime.compiling import PARTS, compile_part

    assert set(PARTS) == {"engine", "risk", "models", "features"}
    with pytest.raises(UsageError, match="expected one of engine, risk"):
        compile_part("nothing")


@pytest.mark.slow
def test_after_compile_a_run_compiles_little_more(tmp_path):
    """What `compile` leaves to the run: a few small functions that only some paths of a run meet."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "grandmodel"]
    done = subprocess.run(
        [*command, "compile", "--json"], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    before = sum(1 for _ in (tmp_path / "cache").rglob("*.nbc"))
    run = [*command, "run", "--row-scale", "0.1", "--unsigned", "--json"]
    done = subprocess.run(run, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    after = sum(1 for _ in (tmp_path / "cache").rglob("*.nbc"))
    assert before > 20
    assert after - before <= 4


def test_the_first_packages_of_a_set_up_are_what_compiling_loads():
    started = {
        line.split("==")[0] for line in (ROOT / "requirements/start.txt").read_text().splitlines() if "==" in line
    }
    code = (
        "import sys; import grandmodel.runtime.compiling; from importlib.metadata import packages_distributions as p\n"
        "known = p(); print(*{name for m in sys.modules for name in known.get(m.split('.')[0], ())})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    optional = {"scipy", "PyYAML", "cffi", "pycparser", "setuptools", "grandmodel"}  # numba takes them where they are
    found = {name.replace("_", "-") for name in done.stdout.split()}
    assert found - optional <= started
