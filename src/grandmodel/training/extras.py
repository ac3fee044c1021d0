"""Optional packages: a missing one says which extra brings it."""

from __future__ import annotations

from importlib.util import find_spec

from grandmodel.training.errors import TrainingSettingsError


def require_extra(package: str, extra: str) -> None:
    """Raise ``TrainingSettingsError`` unless ``package`` is installed."""
    if find_spec(package) is None:
        first = "torch==2.13.0 " if extra == "train" else ""
        raise TrainingSettingsError(
            f"the package {package} is not installed; install it with: pip install {first}'grandmodel[{extra}]'"
        )
