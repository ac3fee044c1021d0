"""Train and evaluate the models of this folder anew: ``python models/make_models.py DATA`` (or ``make models DATA=...``).

DATA is a folder with ``bars/futures_30m``, ``bars/futures_5m`` and ``bars/etf_1m``: half-hour bars of NQ and CL for the strategic layer,
five-minute bars of NQ and GC and one-minute bars of two ETFs for the tactical one. Each step is a ``grandmodel`` command, printed
before it runs, so this file is also the answer to "how were these models made?". Nothing is drawn without a seed: the same
data and the same code give the same files, byte for byte, on one machine.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMMAND = (sys.executable, "-m", "grandmodel")

FUTURES_30M = {"NQ": "NQ_30m_eth_20200629_20240628.csv.gz", "CL": "CL_30m_eth_20200629_20240628.csv.gz"}
FUTURES_5M = {"NQ": "NQ_5m_20190101_20191031.csv.gz", "GC": "GC_5m_20190101_20191031.csv.gz"}
ETFS = {"QQQ": "QQQ_1m_2014_2015.zip", "SPY": "SPY_1m_2014_2015.zip"}


def run(*arguments: str) -> None:
    """One command, shown first; its failure ends everything."""
    print("$ grandmodel " + " ".join(arguments), flush=True)
    subprocess.run([*COMMAND, *arguments], check=True)


def import_bars(store: Path, files: dict[str, str], folder: Path, *options: str) -> None:
    """Import one file for each instrument."""
    for instrument, name in files.items():
        run("data", "import", str(folder / name), "--instrument", instrument, "--store", str(store), *options)


def named(files: dict[str, str]) -> list[str]:
    """The instruments as options."""
    return [part for instrument in files for part in ("--instrument", instrument)]


def make_layer(layer: str, data: list[str], work: Path, given: argparse.Namespace) -> None:
    """Train every fold with every seed, evaluate all, and ship one model of the last fold."""
    folder = ["--registry", str(work), "--trials", str(given.registry / "trials.jsonl")]
    run("model", "train", layer, *data, *folder, "--folds", "--seeds", "5", "--workers", str(given.workers))
    page = ["--page", str(given.registry / layer / "evaluation.html")]
    again = ["--again", given.again] if given.again else []
    run("model", "evaluate", layer, *data, *folder, *page, *again, *(["--comparisons"] if layer == "strategic" else []))
    ship(layer, work, given.registry)


def ship(layer: str, work: Path, registry: Path) -> None:
    """Of the five models of the last fold take the one that did best on the stretch held back before the test, and make it live.

    Strategic: the smallest calibration error; tactical: the highest return in training. Neither number knows the test.
    """
    listed = json.loads(
        subprocess.run(
            [*COMMAND, "model", "list", "--layer", layer, "--registry", str(work), "--json"],
            check=True, capture_output=True,
        ).stdout
    )  # fmt: skip
    newest = max(model["data"]["train"]["end_ns"] for model in listed["models"])
    last = [model for model in listed["models"] if model["data"]["train"]["end_ns"] == newest]
    name, sign = ("validation.calibration_error", 1) if layer == "strategic" else ("mappo.episode_return", -1)
    chosen = min(last, key=lambda model: sign * model["metrics"][name])["id"]
    file = work / layer / f"{chosen}.safetensors"
    to = ["--registry", str(registry)]
    why = f"of five seeds of the last fold the best {name}"
    run("model", "add", str(file), *to, "--card", str(work / layer / f"{chosen}.card.md"), "--why", why)
    for stage in ("shadow", "live"):
        run("model", "promote", chosen, stage, *to, "--why", why)


def main() -> None:
    """Import into a store that is thrown away, then make both layers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that holds bars/")
    parser.add_argument("--registry", type=Path, default=HERE, help="where the models go; this folder by default")
    parser.add_argument("--work", type=Path, help="keep the models of all folds and seeds here; default: thrown away")
    parser.add_argument("--layer", choices=("strategic", "tactical", "both"), default="both")
    parser.add_argument("--workers", type=int, default=2, help="trainings side by side")
    parser.add_argument("--again", default="", help="why the last fold is looked at once more, where it was already")
    given = parser.parse_args()
    bars = given.data / "bars"
    with tempfile.TemporaryDirectory() as scratch:
        half_hours, minutes = Path(scratch) / "half-hours", Path(scratch) / "minutes"
        work = given.work or Path(scratch) / "models"
        if given.layer in ("strategic", "both"):
            import_bars(half_hours, FUTURES_30M, bars / "futures_30m")
            make_layer("strategic", ["--store", str(half_hours), *named(FUTURES_30M)], work, given)
        if given.layer in ("tactical", "both"):
            import_bars(
                minutes, FUTURES_5M, bars / "futures_5m", "--time-zone", "America/Los_Angeles", "--label", "open"
            )
            etfs = ["--instruments", str(HERE / "etfs.json")]
            options = [
                "--time-zone",
                "America/Chicago",
                "--label",
                "open",
                "--conflicts",
                "last",
                "--off-tick",
                "round",
            ]
            import_bars(minutes, ETFS, bars / "etf_1m", *etfs, *options)
            make_layer("tactical", ["--store", str(minutes), *named(FUTURES_5M | ETFS), *etfs], work, given)


if __name__ == "__main__":
    main()
