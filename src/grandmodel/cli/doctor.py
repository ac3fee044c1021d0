"""``grandmodel doctor`` and ``grandmodel bench``: is this machine ready, and how fast is it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from grandmodel.cli.output import JsonFlag, print_json, stdout
from grandmodel.domain.errors import UsageError

OPTIONAL = {
    "train": ("torch", "pettingzoo", "safetensors"),
    "s3": ("s3fs",),
    "keyring": ("keyring",),
    "ray": ("ray",),
    "dev": ("pytest", "hypothesis", "scipy", "talib"),
}
"""Extras and the modules that show that they are installed."""

LEAST_FREE_BYTES = 1 << 30


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing looked at."""

    name: str
    status: str
    """``ok``, ``absent`` (an optional part) or ``failed``."""
    found: str


def doctor_command(as_json: JsonFlag = False) -> None:
    """Look whether this machine can run GrandModel, and which optional parts are there. Exit 1 where something failed."""
    checks = [_python(), *_packages(), _kernels(), _disk(), _commit_time(), *_extras()]
    if as_json:
        print_json(checks)
    else:
        from rich.table import Table
        from rich.text import Text

        table = Table("check", "status", "found")
        for check in checks:
            colour = {"ok": "green", "absent": "yellow"}.get(check.status, "red")
            table.add_row(check.name, Text(check.status, colour), Text(check.found))
        stdout.print(table)
    if any(check.status == "failed" for check in checks):
        raise typer.Exit(1)


def bench_command(
    topics: Annotated[
        list[str] | None, typer.Argument(help="Which: engine, features, risk, ...; all by default.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Fewer rows and repeats: a check that they run.")] = False,
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder of the benchmarks; default: that of the checkout this command comes from."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run the benchmarks of the checkout, each in a process of its own. They check their results before they time them."""
    folder = (
        folder or Path(__file__).resolve().parents[3] / "benchmarks"
    )  # Never the current folder: these are programs.
    found = {path.stem.removeprefix("bench_"): path for path in sorted(folder.glob("bench_*.py"))}
    if not found:
        raise UsageError(
            f"found no benchmarks in {folder}, expected bench_*.py: install the command from a checkout, or give --folder"
        )
    unknown = [topic for topic in topics or () if topic not in found]
    if unknown:
        raise UsageError(f"found no benchmark {', '.join(unknown)}, expected some of: {', '.join(found)}")
    failed, reports = [], []
    for topic in topics or list(found):
        command = [sys.executable, str(found[topic]), *(["--quick"] if quick else [])]
        if as_json:
            done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603  our own script
            lines = tuple(line.rstrip() for line in done.stdout.splitlines() if line.strip())
            reports.append({"topic": topic, "passed": done.returncode == 0, "lines": lines, "errors": done.stderr})
        else:
            stdout.rule(topic)
            done = subprocess.run(command, check=False)  # type: ignore[assignment]  # noqa: S603  our own script
        if done.returncode:
            failed.append(topic)
    if as_json:
        print_json(
            {
                "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
                "benchmarks": reports,
            }
        )
    elif failed:
        stdout.print(f"failed: {', '.join(failed)}")
    if failed:
        raise typer.Exit(1)


def _python() -> Check:
    version = platform.python_version()
    return Check(
        name="python",
        status="ok" if sys.version_info >= (3, 11) else "failed",
        found=f"{version}, 3.11 or newer is needed",
    )


def _packages() -> list[Check]:
    checks = []
    for requirement in importlib.metadata.requires("grandmodel") or []:
        if "extra ==" in requirement:
            continue
        name = requirement.split(">")[0].split("=")[0].split("<")[0].split(";")[0].strip()
        try:
            checks.append(Check(name=name, status="ok", found=importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            checks.append(Check(name=name, status="failed", found="not installed: make setup"))
    return checks


def _kernels() -> Check:
    import numpy as np

    from grandmodel.risk.correlation import EwmaCovariance

    began = time.perf_counter()
    tracker = EwmaCovariance(2, 0.94)
    tracker.update(np.array([1.0, 2.0]))
    works = bool(np.isfinite(tracker.covariance).all())
    took = time.perf_counter() - began
    return Check(
        name="compiled code",
        status="ok" if works else "failed",
        found=f"a kernel compiled or came from the cache in {took:.2f} s",
    )


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free
    return Check(
        name="disk",
        status="ok" if free > LEAST_FREE_BYTES else "failed",
        found=f"{free / 1e9:.1f} GB free here, 1 GB is needed",
    )


def _commit_time() -> Check:
    """How long the disk takes to hold a small write: the wait of every order in paper and live trading."""
    try:
        median_s = _median_sync_s()
    except OSError as error:
        return Check(name="disk sync", status="failed", found=f"nothing can be written here ({error.strerror})")
    return Check(name="disk sync", status="ok", found=f"{median_s * 1e3:.2f} ms, median of 11")


def _median_sync_s() -> float:
    """Median of eleven small writes that the disk holds, in this folder."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        path = Path(folder) / "probe"
        times = []
        with path.open("wb") as stream:
            for _ in range(11):
                stream.write(b"x" * 512)
                stream.flush()
                began = time.perf_counter()
                os.fsync(stream.fileno())
                times.append(time.perf_counter() - began)
    return sorted(times)[5]


def _extras() -> list[Check]:
    checks = []
    for extra, modules in OPTIONAL.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        found = f"missing {', '.join(missing)}: pip install 'grandmodel[{extra}]'" if missing else ", ".join(modules)
        checks.append(Check(name=f"extra {extra}", status="absent" if missing else "ok", found=found))
    return checks
