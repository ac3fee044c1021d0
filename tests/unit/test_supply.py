"""What the project is built from: every package pinned by version and hash, under a licence that we may use, and listed."""

import importlib.metadata
import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.licenses import canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKS = REPOSITORY / "requirements"
HASHED = [
    LOCKS / "runtime.txt",
    LOCKS / "dev.txt",
    LOCKS / "supply.txt",
    REPOSITORY / "benchmarks/peers/backtesting.txt",
]
ENTRY = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>\S+)(?P<hashes>(?: \\\n    --hash=sha256:[0-9a-f]{64})*)", re.MULTILINE
)

PERMISSIVE = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT", "MIT-0",
    "MIT-CMU", "NCSA", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib",
}  # fmt: skip
WEAK_COPYLEFT = {"MPL-2.0", "LGPL-2.1-or-later"}
"""For development only: nothing of it is linked into or shipped with the product."""

WORDS = {
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "BSD-3": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "2-clause BSD": "BSD-2-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "LGPL v2.1": "LGPL-2.1-or-later",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL-2.1-or-later",
    "Python Software Foundation License": "PSF-2.0",
}
"""What metadata of before SPDX says, and what is meant."""

READ_BY_HAND = {
    "ta-lib": "BSD-2-Clause",  # LICENSE in its source archive.
    "torchrl": "MIT",  # LICENSE in its source archive.
}
"""Packages whose metadata names no licence; a person read the licence text."""


NOT_LOCKED = {"torch", "grandmodel", "keyring"}
"""torch comes by version; keyring is for a person's own machine, where there is a key store (tests put one in its place)."""


def entries(path):
    """(name, version, hashes) of every package of one lock."""
    text = path.read_text(encoding="utf-8")
    found = [(m["name"], m["version"], re.findall(r"sha256:(\w+)", m["hashes"])) for m in ENTRY.finditer(text)]
    assert len(found) == len(re.findall(r"^[^\s#-]", text, re.MULTILINE))
    return found


def versions(path):
    return {canonicalize_name(name): version for name, version, _ in entries(path)}


def licence_of(name):
    """The SPDX expression of an installed package, from its metadata or from the tables above; fails where none is known."""
    if name in READ_BY_HAND:
        return READ_BY_HAND[name]
    metadata = importlib.metadata.metadata(name)
    if metadata.get("License-Expression"):
        return canonicalize_license_expression(metadata["License-Expression"])
    classifiers = [c.split(" :: ")[-1] for c in metadata.get_all("Classifier") or () if c.startswith("License :: ")]
    said = [c for c in classifiers if c != "OSI Approved"] or [metadata.get("License") or ""]
    return " OR ".join(WORDS.get(words, words) or "unknown" for words in said)


def is_allowed(expression, allowed):
    """One choice of ``OR`` is enough; every part of ``AND`` counts."""
    python = []
    for part in re.findall(r"[()]|\bAND\b|\bOR\b|(?:(?!\bAND\b|\bOR\b)[^()])+", expression):
        word = part.strip()
        if word in {"AND", "OR"}:
            python.append(word.lower())
        elif word:
            python.append(word if word in "()" else str(word in allowed))
    return bool(eval(" ".join(python)))  # noqa: S307  only True, False, and, or and brackets are left


@pytest.mark.parametrize("lock", HASHED, ids=lambda path: path.stem)
def test_every_package_of_a_lock_has_one_version_and_its_hashes(lock):
    found = entries(lock)
    assert len(found) > 10
    assert [name for name, _, hashes in found if not hashes] == []


def test_set_up_installs_by_hash_and_nothing_else():
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert "--require-hashes --no-deps" in text
    installs = re.findall(r"(?:\$\(PIP\)|pip install --quiet) (.+)", text)
    by_hash = [line for line in installs if "$(HASHED)" in line]
    others = {line for line in installs if "$(HASHED)" not in line and not line.startswith("--disable")}
    assert len(by_hash) >= 4
    assert others == {"torch==2.13.0", "--no-deps --no-build-isolation --editable ."}


def test_the_locks_hold_what_the_project_asks_for_and_agree():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    runtime, dev = versions(LOCKS / "runtime.txt"), versions(LOCKS / "dev.txt")
    assert runtime.items() <= dev.items()
    extras = [line for name in project["optional-dependencies"] for line in project["optional-dependencies"][name]]
    for lock, asked in ((runtime, project["dependencies"]), (dev, extras)):
        for line in asked:
            wanted = Requirement(line)
            name = canonicalize_name(wanted.name)
            if name not in NOT_LOCKED:
                assert lock[name] in wanted.specifier, line


def test_the_licence_is_spdx_text_and_its_file_is_named():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert canonicalize_license_expression(project["license"]) == "Apache-2.0"
    assert [REPOSITORY / name for name in project["license-files"]] == [REPOSITORY / "LICENSE"]


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("AGPL-3.0-or-later", False),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("BSD-2-Clause AND Apache-2.0 WITH LLVM-exception", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", False),
        ("unknown", False),
    ],
)
def test_an_expression_is_read_as_spdx_means_it(expression, allowed):
    assert is_allowed(expression, PERMISSIVE) is allowed


def test_the_runtime_is_permissive_throughout():
    found = {name: licence_of(name) for name in versions(LOCKS / "runtime.txt")}
    assert {name: text for name, text in found.items() if not is_allowed(text, PERMISSIVE)} == {}


def test_development_tools_add_no_strong_copyleft():
    installed = {canonicalize_name(d.name) for d in importlib.metadata.distributions()}
    known = [name for name in versions(LOCKS / "dev.txt") if name in installed]
    assert len(known) > 100
    assert "backtesting" not in installed
    found = {name: licence_of(name) for name in known}
    assert {n: text for n, text in found.items() if not is_allowed(text, PERMISSIVE | WEAK_COPYLEFT)} == {}


def test_the_list_of_components_is_the_runtime_lock():
    listed = json.loads((LOCKS / "sbom.cdx.json").read_text(encoding="utf-8"))
    assert (listed["bomFormat"], listed["specVersion"]) == ("CycloneDX", "1.6")
    components = {
        canonicalize_name(c["name"]): (c["version"], sorted(h["content"] for h in c["hashes"]))
        for c in listed["components"]
    }
    locked = {canonicalize_name(n): (v, sorted(hashes)) for n, v, hashes in entries(LOCKS / "runtime.txt")}
    assert components == locked
