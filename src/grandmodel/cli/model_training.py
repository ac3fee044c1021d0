"""``grandmodel model train``: from bars to a model file in the registry, each training a trial on the log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grandmodel.cli.options import grouped
from grandmodel.cli.output import JsonFlag, console, print_json, stdout
from grandmodel.cli.registries import RegistryOption, open_registry, user_name
from grandmodel.cli.sources import SourceOptions, file_feed, store_feed
from grandmodel.domain.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grandmodel.research.campaign import Job
    from grandmodel.research.trials import TrialLog
    from grandmodel.training.market import Layer, Span, TrainingMarket
    from grandmodel.training.pipeline import LayerTrainingSettings, OnProgress, TrainingProgress

LayerArgument = Annotated[
    str, typer.Argument(metavar="LAYER", help="strategic (30-minute bars) or tactical (5-minute).")
]
TrialsOption = Annotated[
    Path | None,
    typer.Option(help="The log of trials; default: trials.jsonl beside the registry, in models/ for a remote one."),
]
HELD_BACK = 0.15
"""Share of the data, at its end, that calibrates a model where --validation-from names no day."""


@grouped
def train_command(
    layer: LayerArgument,
    source: SourceOptions,
    validation_from: Annotated[
        str | None,
        typer.Option(help="First day that calibrates instead of teaching; default: the last 15 % of the span."),
    ] = None,
    folds: Annotated[
        bool, typer.Option("--folds", help="Train for every fold of the walk-forward evaluation instead of one span.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the training; with --folds the first of --seeds.")] = 0,
    seeds: Annotated[int, typer.Option(help="With --folds: trainings per fold.")] = 5,
    frames: Annotated[int | None, typer.Option(help="Environment steps of the MAPPO part.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that train side by side.")] = 1,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Also write every update to TensorBoard files in this folder.")
    ] = None,
    registry: RegistryOption = None,
    trials: TrialsOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Train a layer and add the model to the registry as a candidate.

    Every training is written to the log of trials before it begins, so that `model evaluate` can allow for all of them. The same data,
    settings and seed give the same file, byte for byte.
    """
    from grandmodel.models.registry import as_layer
    from grandmodel.training.extras import require_extra

    require_extra("torch", "train")
    from grandmodel.research.campaign import Job, jobs_of_folds, run_jobs
    from grandmodel.research.walk_forward import default_folds
    from grandmodel.training.pipeline import default_settings

    wanted = as_layer(layer)
    found = open_registry(registry)
    markets = training_markets(wanted, source)
    settings = default_settings(wanted)
    if frames is not None:
        settings = with_frames(settings, frames)
    if folds:
        jobs = jobs_of_folds(wanted, default_folds(wanted), seeds, settings)
    else:
        train, validation = _spans(markets, source.start, source.end, validation_from)
        jobs = [Job(f"seed {seed}", wanted, train, validation, seed, settings)]
    for market in markets:
        console.print(
            f"{market.instrument.id}: {len(market.bars):,} bars, {int(market.usable.sum()):,} decisions, volume {market.schema.volume}"
        )
    lines: list[dict[str, Any]] = []
    with _progress(jobs, workers, tensorboard) as on_progress:
        for done in run_jobs(
            jobs, markets, trial_log(trials, found.location), time.time_ns, workers=workers, on_progress=on_progress
        ):
            added = found.add(
                done.content, who=user_name(), why=f"model train {wanted}, {done.job.name}", at_ns=time.time_ns()
            )
            lines.append({"name": done.job.name, "id": added, "metrics": done.metrics})
            console.print(f"{done.job.name}: {added[:12]} ({len(lines)} of {len(jobs)})")
    if as_json:
        print_json({"layer": wanted, "registry": found.location, "models": lines})
        return
    from rich.table import Table

    table = Table(
        "training",
        "model",
        "log loss held back",
        "of a constant forecast",
        "calibration error",
        title=f"{wanted} models",
    )
    for line in lines:
        metrics = line["metrics"]
        names = ("validation.log_loss", "validation.log_loss_constant", "validation.calibration_error")
        shown = (f"{metrics[name]:.4f}" if name in metrics else "-" for name in names)
        table.add_row(str(line["name"]), str(line["id"])[:12], *shown)
    stdout.print(table)


def training_markets(layer: Layer, source: SourceOptions) -> list[TrainingMarket]:
    """The markets that the data options describe, with their features."""
    from grandmodel.training.market import build_markets

    blocks: list[Any] = []
    chosen: list[Any] = []
    if source.data and not source.store:
        feed = file_feed(source, source.start, source.end)
        chosen, blocks = list(feed.instruments), list(feed.blocks())
    elif source.store and source.instrument:
        # One at a time: their bars may be of different widths.
        for place, name in enumerate(source.instrument):
            feed = store_feed(source, source.store, [name])
            chosen.extend(feed.instruments)
            for block in feed.blocks():
                own = block.copy()
                own["instrument"] = place
                blocks.append(own)
    else:
        raise UsageError("found no data: give --data INSTRUMENT=FILE, or --store DIR with --instrument")
    console.print(f"computing the {layer} features of {', '.join(str(one.id) for one in chosen)}")
    return build_markets(blocks, chosen, layer)


def trial_log(given: Path | None, registry: str) -> TrialLog:
    """The log that ``--trials`` names, else the one that belongs to the registry."""
    from grandmodel.research.trials import TrialLog, log_path

    return TrialLog(given or log_path(registry))


def _spans(
    markets: Sequence[TrainingMarket], start: str | None, end: str | None, validation_from: str | None
) -> tuple[Span, Span]:
    """What teaches, and what calibrates behind it."""
    from grandmodel.domain.time import ns_from_text
    from grandmodel.training.market import Span

    first = min(int(market.ts_event[0]) for market in markets) if start is None else ns_from_text(start)
    last = max(int(market.ts_event[-1]) for market in markets) + 1 if end is None else ns_from_text(end)
    try:
        middle = ns_from_text(validation_from) if validation_from else last - int(HELD_BACK * (last - first))
    except ValueError as error:
        raise UsageError(f"--validation-from {validation_from}: {error}") from error
    if not first < middle < last:
        raise UsageError(f"--validation-from {validation_from}: expected a day inside the span of the data")
    return Span(first, middle), Span(middle, last)


def with_frames(settings: LayerTrainingSettings, frames: int) -> LayerTrainingSettings:
    """``settings`` with other environment steps of the MAPPO part."""
    import msgspec

    return msgspec.structs.replace(settings, mappo=msgspec.structs.replace(settings.mappo, frames=frames))


@contextmanager
def _progress(jobs: Sequence[Job], workers: int, tensorboard: Path | None) -> Iterator[OnProgress | None]:
    """A line with the stage, return, entropy, KL, clip share and explained variance; nothing where several processes train."""
    if tensorboard is not None and (workers > 1 or len(jobs) > 1):
        raise UsageError("--tensorboard: found several trainings, expected one, in this process")
    if workers > 1:
        console.print(f"{len(jobs)} trainings in {workers} processes")
        yield None
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    from grandmodel.training.mappo import Update
    from grandmodel.training.progress import TensorBoardLog, format_update

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
    )
    with ExitStack() as stack:
        listeners = [] if tensorboard is None else [stack.enter_context(closing(TensorBoardLog(tensorboard)))]
        bar = stack.enter_context(Bar(*columns, console=console, transient=False))
        task = bar.add_task("preparing", total=None, said="")

        def tell(progress: TrainingProgress) -> None:
            report, said = progress.report, ""
            if isinstance(report, Update):
                said = format_update(report)
                for listener in listeners:
                    listener(report)
            elif report is not None:
                said = f"{report.agent}: log loss {report.log_loss:.4f}, of a constant {report.constant_log_loss:.4f}"
            bar.update(task, description=progress.stage, completed=progress.done, total=progress.total, said=said)

        yield tell
