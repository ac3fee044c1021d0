"""The one way this package compiles a function.

``@kernel`` is ``numba.njit`` without fast-math and without the GIL, cached on disk. Numba's own cache looks only at the
file a function stands in, so editing a kernel that *another* file's kernel calls would leave a stale machine-code copy
behind. Here the cache folder of a module carries a hash of the module and of every ``grandmodel`` module it imports,
directly or not: changed source never meets old machine code.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast, overload

import numba

P = ParamSpec("P")
R = TypeVar("R")

config: Any = numba.config

_PACKAGE_ROOT = Path(__file__).resolve().parent
_IMPORT = re.compile(
    r"^\s*(?:from\s+(grandmodel[\w.]*)\s+import\s+(?:\(([^)]*)\)|([^#\n(]*))|import\s+(grandmodel[\w.]*))", re.MULTILINE
)
_COMMENT = re.compile(r"#[^\n]*")


@overload
def kernel(function: Callable[P, R]) -> Callable[P, R]: ...
@overload
def kernel(*, inline: bool) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def kernel(function: Callable[P, R] | None = None, *, inline: bool = False) -> Any:
    """Compile ``function`` with numba (nopython, no fast-math, GIL released), cached on disk by source content.

    ``inline=True`` asks numba to paste the function into its callers, for leaves that run once per tick. Compilation
    happens at the first call with a given set of types; ``grandmodel doctor`` and the start of a session do it up front.
    """

    def compile_function(python_function: Callable[P, R]) -> Callable[P, R]:
        previous = config.CACHE_DIR
        config.CACHE_DIR = str(_cache_folder(Path(python_function.__code__.co_filename)))
        try:
            compiled = numba.njit(cache=True, nogil=True, inline="always" if inline else "never")(python_function)
        finally:
            config.CACHE_DIR = previous
        return cast("Callable[P, R]", compiled)

    return compile_function if function is None else compile_function(function)


def _cache_folder(source: Path) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "grandmodel" / "kernels"
    folder = base / f"{source.stem}-{_source_hash(source)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        # A read-only home (a hardened container): compile into a folder of our own below the temporary one.
        folder = _own_temporary_folder() / folder.name
        folder.mkdir(exist_ok=True)
    return folder


def _own_temporary_folder() -> Path:
    """A folder that nobody else can write: machine code is loaded from it, so another user's would run with our rights."""
    folder = Path(tempfile.gettempdir()) / f"grandmodel-kernels-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        return Path(tempfile.mkdtemp(prefix="grandmodel-kernels-"))  # Somebody else's: compile anew for this process.
    return folder


@cache
def _source_hash(source: Path) -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(_imported_sources(source)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _imported_sources(source: Path) -> set[Path]:
    """``source`` and every package module it imports, directly or through another."""
    found: set[Path] = set()
    waiting = [source.resolve()]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for match in _IMPORT.finditer(path.read_text(encoding="utf-8")):
            module = match.group(1) or match.group(4)
            waiting.extend(_module_files(module))
            for name in _COMMENT.sub("", match.group(2) or match.group(3) or "").split(","):
                waiting.extend(_module_files(f"{module}.{name.strip().split(' ')[0]}"))
    return found


def _module_files(module: str) -> list[Path]:
    relative = Path(*module.split(".")[1:])
    candidates = [(_PACKAGE_ROOT / relative).with_suffix(".py"), _PACKAGE_ROOT / relative / "__init__.py"]
    return [path for path in candidates if path.is_file()]
