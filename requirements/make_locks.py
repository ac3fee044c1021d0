"""Resolve every package anew and write the locks of this folder, with the sha256 of each file, and ``sbom.cdx.json``.

``make lock`` runs it in an environment of its own (``supply.txt``). What a lock holds already stays as it is where it still
fits; ``ARGS=--upgrade`` takes the newest instead. The development lock is resolved first, with every extra, and the
runtime's is cut out of it, so that an extra can always be added to a runtime. torch is left out: see ``without-torch.in``.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PEER = ROOT / "benchmarks" / "peers"
PYTHON = "3.11"
NAME = re.compile(r"^([A-Za-z0-9][\w.-]*)==", re.MULTILINE)


START = (
    "annotated-doc", "annotated-types", "llvmlite", "markdown-it-py", "mdurl", "msgspec", "numba", "numpy", "pydantic",
    "pydantic-core", "pygments", "rich", "safetensors", "setuptools", "shellingham", "typer", "typing-extensions",
    "typing-inspection", "tzdata",
)  # fmt: skip
"""What compiling needs: while pip installs the other packages, the compiler is at work."""


def resolve(output: Path, *inputs: str, more: tuple[str, ...] = ()) -> None:
    """One ``uv pip compile`` with hashes into ``output``."""
    command = [
        str(Path(sys.executable).with_name("uv")), "pip", "compile", *inputs, "--output-file", str(output), *more,
        "--generate-hashes", "--no-emit-index-url", "--no-header", "--no-annotate", "--quiet", "--python-version", PYTHON,
    ]  # fmt: skip
    subprocess.run(command, check=True, cwd=ROOT)
    print(f"{output.relative_to(ROOT)}: {len(NAME.findall(output.read_text()))} packages")


def first_part() -> None:
    """``start.txt``: the part of the runtime's lock that ``grandmodel run`` imports, which a set-up installs first."""
    locked = re.findall(r"^[A-Za-z0-9][^\n]*(?:\n    [^\n]*)*", (HERE / "runtime.txt").read_text(), re.MULTILINE)
    kept = [entry for entry in locked if NAME.match(entry)[1] in START]  # type: ignore[index]
    (HERE / "start.txt").write_text("\n".join(kept) + "\n", encoding="utf-8")
    print(f"requirements/start.txt: {len(kept)} packages")


def components() -> None:
    """The runtime's list of components as CycloneDX, with the sha256 of every file; the same bytes for the same lock."""
    tool = str(Path(sys.executable).with_name("cyclonedx-py"))
    done = subprocess.run(
        [tool, "requirements", "requirements/runtime.txt", "--pyproject", "pyproject.toml", "--output-reproducible"],
        check=True, cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    for component in found["components"]:
        files = component.pop("externalReferences", ())
        component["hashes"] = [entry for file in files for entry in file.get("hashes", ())]
        component.pop("description", None)
        component["bom-ref"] = component["purl"]
    known = {component["name"]: component["purl"] for component in found["components"]}
    found["dependencies"] = [{"ref": purl} for purl in sorted(known.values())]
    found["metadata"].pop("tools", None)
    (HERE / "sbom.cdx.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"requirements/sbom.cdx.json: {len(found['components'])} components")


def main() -> None:
    """Write every lock."""
    upgrade = tuple(sys.argv[1:])
    project = ("pyproject.toml", "requirements/build.in")
    dev = ("--extra", "train", "--extra", "dev", "--override", "requirements/without-torch.in")
    resolve(HERE / "dev.txt", *project, "requirements/torch.in", more=dev + upgrade)
    versions = HERE / "versions.tmp"
    versions.write_text("\n".join(re.findall(r"^[A-Za-z0-9][^ \\]*", (HERE / "dev.txt").read_text(), re.MULTILINE)))
    try:
        resolve(HERE / "runtime.txt", *project, more=("--constraint", str(versions)))
    finally:
        versions.unlink()
    first_part()
    resolve(HERE / "supply.txt", "requirements/supply.in", more=upgrade)
    resolve(PEER / "backtesting.txt", "benchmarks/peers/backtesting.in", more=upgrade)
    components()


if __name__ == "__main__":
    main()
