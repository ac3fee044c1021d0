"""Telling a path of this machine from an address of another: ``Path("s3://bucket")`` is a folder called ``s3:``."""

from __future__ import annotations

import re
from pathlib import Path

from grandmodel.domain.errors import UsageError

_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/+(?P<rest>.*)", re.DOTALL)
"""Two letters or more, so that a drive letter is none; ``Path`` makes one slash of two."""


def local_path(given: str | Path, what: str) -> Path:
    """``given`` as a path of this machine. Raises ``UsageError``, naming ``what``, where it is an address such as ``s3://bucket/x``."""
    found = _ADDRESS.match(str(given))
    if found is None:
        return Path(given)
    raise UsageError(
        f"{what}: found the address {found['scheme']}://{found['rest']}, expected a folder or a file of this machine: nothing is read "
        "from or written to an address here"
    )
