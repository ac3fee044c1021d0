"""Many trainings: every fold with every seed, in several processes, each one a trial on the log before it begins.

``Job`` says what is trained, ``run_jobs`` trains them and hands back the model files as they are done. The order in which processes
finish changes nothing but the order of lines in the log: each training depends on its own job alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from typing import Any

import msgspec

from grandmodel.models.model_file import DataSpan, model_bytes
from grandmodel.research.trials import SHARPE, TrialLog
from grandmodel.research.walk_forward import Fold
from grandmodel.training.market import Layer, Span, TrainingMarket
from grandmodel.training.pipeline import LayerTrainingSettings, OnProgress, TrainedLayer, default_settings, train_layer
from grandmodel.training.workers import spawned_workers

VALIDATION_SHARPE = "validation.sharpe_per_bar"
"""Metric of a model, where it has one, that the log keeps as the trial's Sharpe ratio."""


@dataclass(frozen=True, slots=True)
class Job:
    """One training."""

    name: str
    """``2022H1 seed 3``, for people."""
    layer: Layer
    train: Span
    validation: Span
    seed: int
    settings: LayerTrainingSettings
    fold: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a job."""

    job: Job
    content: bytes
    """The model file."""
    model: str
    """Its id."""
    metrics: dict[str, float]


def jobs_of_folds(
    layer: Layer, folds: Sequence[Fold], seeds: int, settings: LayerTrainingSettings | None = None
) -> list[Job]:
    """Every fold with seeds 0 to ``seeds`` - 1; the last fold first, so that what is shipped is there soon."""
    chosen = settings or default_settings(layer)
    return [
        Job(f"{fold.name} seed {seed}", layer, fold.train, fold.calibration, seed, chosen, fold.name)
        for fold in reversed(folds)
        for seed in range(seeds)
    ]


def run_jobs(
    jobs: Sequence[Job],
    markets: Sequence[TrainingMarket],
    trials: TrialLog,
    clock: Callable[[], int],
    *,
    workers: int = 1,
    on_progress: OnProgress | None = None,
) -> Iterator[Done]:
    """Train ``jobs``; each is yielded when it is done. ``clock`` returns ns UTC, for the log.

    With one worker everything happens in this process and ``on_progress`` is called; with more, in processes of their own. The first
    job that fails ends everything, as a failed trial on the log.
    """
    if workers == 1:
        for job in jobs:
            with trials.recorded(clock, **_trial(job, markets)) as trial:
                done = _train(job, markets, on_progress)
                trial["numbers"], trial["model"] = _numbers(done), done.model
            yield done
        return
    with spawned_workers(workers, _begin_worker, (tuple(markets),)) as pool:
        waiting = {}
        for job in jobs:
            number = trials.start(**_trial(job, markets), at_ns=clock())
            waiting[pool.submit(_train_in_worker, job)] = (job, number)
        try:
            for future in as_completed(waiting):
                _, number = waiting[future]
                error = future.exception()
                if error is not None:
                    trials.fail(number, f"{type(error).__name__}: {error}", at_ns=clock())
                    raise error
                done = future.result()
                trials.finish(number, _numbers(done), at_ns=clock(), model=done.model)
                yield done
        finally:
            pool.shutdown(cancel_futures=True)


def data_hash(markets: Sequence[TrainingMarket]) -> str:
    """SHA-256 over instruments and bars of all markets, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for market in markets:
        digest.update(f"{market.instrument.id} {market.layer}".encode())
        digest.update(market.bars.tobytes())
    return digest.hexdigest()[:16]


def settings_hash(settings: LayerTrainingSettings) -> str:
    """SHA-256 over all training settings, 16 hexadecimal digits."""
    return hashlib.sha256(msgspec.json.encode(settings, order="deterministic")).hexdigest()[:16]


def _trial(job: Job, markets: Sequence[TrainingMarket]) -> dict[str, Any]:
    """``TrialLog.start``'s arguments."""
    spans = {"train": job.train, "validation": job.validation}
    return {
        "layer": job.layer,
        "settings_hash": settings_hash(job.settings),
        "seed": job.seed,
        "spans": {name: DataSpan(start_ns=span.start_ns, end_ns=span.end_ns) for name, span in spans.items()},
        "data_hash": data_hash(markets),
        "note": job.name,
    }


def _numbers(done: Done) -> dict[str, float]:
    numbers = {name: value for name, value in done.metrics.items() if name.startswith("validation.")}
    if VALIDATION_SHARPE in done.metrics:
        numbers[SHARPE] = done.metrics[VALIDATION_SHARPE]
    return numbers


_worker_markets: tuple[TrainingMarket, ...] = ()


def _begin_worker(markets: tuple[TrainingMarket, ...]) -> None:
    """The markets cross to each process once, not with every job."""
    global _worker_markets  # noqa: PLW0603 - what a process pool offers to share
    _worker_markets = markets


def _train_in_worker(job: Job) -> Done:
    return _train(job, _worker_markets, None)


def _train(job: Job, markets: Sequence[TrainingMarket], on_progress: OnProgress | None) -> Done:
    trained: TrainedLayer = train_layer(
        job.layer, markets, job.train, job.validation, job.settings, job.seed, on_progress
    )
    content = model_bytes(trained.manifest, trained.tensors)
    return Done(job, content, hashlib.sha256(content).hexdigest(), trained.manifest.metrics)
