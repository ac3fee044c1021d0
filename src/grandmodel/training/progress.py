"""What training shows while it runs: one line on a terminal, and logs for TensorBoard and MLflow.

Each class here is called with every ``Update``; pass them to ``train(..., on_update=[...])`` inside a ``with``.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from grandmodel.domain.files import Closeable
from grandmodel.training.extras import require_extra
from grandmodel.training.mappo import Settings, Update

MEASURES = tuple(name for name in Update.__struct_fields__ if name not in {"update", "frames"})
"""What is logged of an update, each under ``train/<name>`` with the number of frames as its step."""


class ProgressLine(Closeable):
    """One line on ``console`` (standard error by default): bar, frames, and the numbers that tell how learning goes."""

    def __init__(self, settings: Settings, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=console,
        )
        total = settings.updates * settings.frames_per_update
        self._task = self._progress.add_task("mappo", total=total, numbers="")
        self._progress.start()

    def __call__(self, update: Update) -> None:
        """Show one update."""
        self._progress.update(self._task, completed=update.frames, numbers=format_update(update))

    def close(self) -> None:
        """Leave the last line standing."""
        self._progress.stop()


def format_update(update: Update) -> str:
    """The numbers of the progress line; a dash where one is not known."""
    return (
        f"{update.frames:,} frames  return {_number(update.episode_return, '.2f')}  entropy {update.entropy:.2f}  "
        f"KL {update.kl:.4f}  clipped {update.clip_share:.0%}  explained {_number(update.explained_variance, '.2f')}"
    )


class TensorBoardLog(Closeable):
    """Writes a TensorBoard event file into ``folder``. Raises ``TrainingSettingsError`` without the extra."""

    def __init__(self, folder: Path) -> None:
        require_extra("tensorboard", "tensorboard")
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an optional package

        self._writer = SummaryWriter(str(folder))

    def __call__(self, update: Update) -> None:
        """Log one update."""
        for name, value in measured(update).items():
            self._writer.add_scalar(name, value, update.frames)

    def close(self) -> None:
        """Write what is still buffered."""
        self._writer.close()


class MlflowLog(Closeable):
    """Logs to an MLflow run: the settings as parameters, every update as metrics. Needs the extra ``mlflow``."""

    def __init__(self, settings: Settings, tracking_uri: str, experiment: str) -> None:
        require_extra("mlflow", "mlflow")
        self._client: Any = import_module("mlflow").MlflowClient(tracking_uri=tracking_uri)
        found = self._client.get_experiment_by_name(experiment)
        experiment_id = found.experiment_id if found else self._client.create_experiment(experiment)
        self.run_id: str = self._client.create_run(experiment_id).info.run_id
        for name, value in msgspec.structs.asdict(settings).items():
            self._client.log_param(self.run_id, name, value)

    def __call__(self, update: Update) -> None:
        """Log one update."""
        for name, value in measured(update).items():
            self._client.log_metric(self.run_id, name, value, step=update.frames)

    def close(self) -> None:
        """End the MLflow run."""
        self._client.set_terminated(self.run_id)


def measured(update: Update) -> dict[str, float]:
    """Name and value of everything that an update knows."""
    values = {f"train/{name}": getattr(update, name) for name in MEASURES}
    return {name: float(value) for name, value in values.items() if value is not None}


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
