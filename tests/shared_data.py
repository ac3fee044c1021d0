"""Where the project's shared market data lies beside a checkout, for the tests that read it."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared(relative: str) -> Path:
    """The path of one shared file or folder; skips the calling test, with the reason, where it is absent."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"shared data is absent: ../shared/{relative}")
    return path
