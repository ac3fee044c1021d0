"""The log of the trials that the training commands begin, so that the statistics of luck count all of them.

The best of many trials looks good by luck alone; a deflated Sharpe ratio allows for that, if it knows how many there were. So a
trial is written down before its training starts, and what became of it afterwards: one that crashed, or was abandoned because
it looked bad, counts as well. The log is one file of JSON lines beside the registry (``models/trials.jsonl``); lines are only ever
appended.

    {"type": "started", "trial": 7, "at_ns": ..., "layer": "strategic", "settings_hash": ..., "seed": 3, "spans": ..., "data_hash": ...}
    {"type": "finished", "trial": 7, "at_ns": ..., "numbers": {"sharpe": 0.021, ...}, "model": "0f3a..."}
    {"type": "failed", "trial": 8, "at_ns": ..., "why": "DivergenceError: ..."}
    {"type": "last_fold", "layer": "strategic", "model": "0f3a...", "reason": "...", "at_ns": ...}

A line is on the disk before ``start`` returns. A kill in the middle of a line leaves a torn end without a line feed, whose writer
never went on: readers pass over it, and the next writer cuts it off. A full disk leaves the file as it was.

The library reads no clock: times are handed in. ``evaluation/statistics.py`` uses the numbers, and
``evaluation/walk_forward.py`` says what the last fold is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.models.model_file import DataSpan, Layer
from grandmodel.models.storage import wait_for_lock
from grandmodel.research.errors import LastFoldTouchedError
from grandmodel.training.errors import TrialLogError

LOG_NAME = "trials.jsonl"
SHARPE = "sharpe"
"""The number of a finished trial that ``sharpes`` gathers: per period (not annualised), after costs, on the validation span."""


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """One line of the log."""

    at_ns: int


class Started(Line, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="started"):
    """Training was about to begin."""

    trial: int
    """1, 2, 3 ... over both layers."""
    layer: Layer
    settings_hash: str
    seed: int
    spans: dict[str, DataSpan]
    """By use: train, validation, test."""
    data_hash: str
    note: str = ""
    """What was tried, in words."""


class Finished(Line, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="finished"):
    """Training came to its end."""

    trial: int
    numbers: dict[str, float]
    model: str = ""
    """Id of the model file, where one was kept."""


class Failed(Line, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="failed"):
    """Training ended with an error or was stopped."""

    trial: int
    why: str


class LastFold(Line, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="last_fold"):
    """Somebody looked at the last fold."""

    layer: Layer
    model: str
    reason: str


AnyLine: TypeAlias = Started | Finished | Failed | LastFold
L = TypeVar("L", Started, Finished | Failed, LastFold)


@dataclass(frozen=True, slots=True)
class Trial:
    """What the log knows of one trial."""

    started: Started
    ended: Finished | Failed | None
    """None: it is running, or was abandoned."""

    @property
    def outcome(self) -> str:
        """finished, failed or unfinished."""
        if self.ended is None:
            return "unfinished"
        return "finished" if isinstance(self.ended, Finished) else "failed"


def log_path(registry: str) -> Path:
    """The log beside a registry on disk; beside the working folder's models where it is in an object store, which cannot append."""
    is_elsewhere = "://" in registry and not registry.startswith("file://")
    return (Path("models") if is_elsewhere else Path(registry.removeprefix("file://"))) / LOG_NAME


class TrialLog:
    """The log in one file. Any number of processes may append to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # Reading

    def trials(self, layer: Layer | None = None) -> list[Trial]:
        """Every trial of a layer, or of both, in the order of their numbers. Raises ``TrialLogError`` where the log is damaged."""
        lines = self._read()
        ended = {line.trial: line for line in lines if isinstance(line, Finished | Failed)}
        started = [line for line in lines if isinstance(line, Started)]
        return [Trial(line, ended.get(line.trial)) for line in started if layer in (None, line.layer)]

    def count(self, layer: Layer | None = None) -> int:
        """Trials that were ever begun, the failed and the abandoned included."""
        return len(self.trials(layer))

    def sharpes(self, layer: Layer | None = None) -> NDArray[np.float64]:
        """Sharpe ratios per period of the finished trials that have one; fewer than ``count``, never more."""
        ended = [trial.ended for trial in self.trials(layer)]
        return np.array([end.numbers[SHARPE] for end in ended if isinstance(end, Finished) and SHARPE in end.numbers])

    def last_fold(self, layer: Layer) -> list[LastFold]:
        """Every look at the layer's last fold, in order; looks with one model count once."""
        return [line for line in self._read() if isinstance(line, LastFold) and line.layer == layer]

    # Writing

    def start(
        self,
        *,
        layer: Layer,
        settings_hash: str,
        seed: int,
        spans: Mapping[str, DataSpan],
        data_hash: str,
        at_ns: int,
        note: str = "",
    ) -> int:
        """Write down that a trial begins, and return its number. Training must not start before this has returned."""

        def line(lines: Sequence[AnyLine]) -> Started:
            return Started(
                at_ns=at_ns,
                trial=1 + sum(isinstance(one, Started) for one in lines),
                layer=layer,
                settings_hash=settings_hash,
                seed=seed,
                spans=dict(spans),
                data_hash=data_hash,
                note=note,
            )

        return self._append(line).trial

    def finish(self, trial: int, numbers: Mapping[str, float], *, at_ns: int, model: str = "") -> None:
        """Write down how a trial came out. Numbers must be finite: what could not be computed is left out."""
        bad = {name: value for name, value in numbers.items() if not np.isfinite(value)}
        if bad:
            raise TrialLogError(f"trial {trial}: found {bad}, expected finite numbers; leave out what is not known")
        self._end(Finished(at_ns=at_ns, trial=trial, numbers={k: float(v) for k, v in numbers.items()}, model=model))

    def fail(self, trial: int, why: str, *, at_ns: int) -> None:
        """Write down that a trial failed. It still counts."""
        self._end(Failed(at_ns=at_ns, trial=trial, why=why))

    @contextmanager
    def recorded(self, clock: Callable[[], int], **trial: Any) -> Iterator[dict[str, Any]]:
        """Run a trial inside ``with``: started before, finished or failed after. ``trial`` are ``start``'s arguments.

        What the body puts into the dictionary it is given goes on the record: ``numbers`` and ``model``. ``clock`` returns
        ns UTC; programs hand in theirs.
        """
        number = self.start(at_ns=clock(), **trial)
        result: dict[str, Any] = {"trial": number, "numbers": {}, "model": ""}
        try:
            yield result
        except BaseException as error:
            self.fail(number, f"{type(error).__name__}: {error}".rstrip(": "), at_ns=clock())
            raise
        self.finish(number, result["numbers"], at_ns=clock(), model=result["model"])

    def touch_last_fold(self, model: str, reason: str = "", *, layer: Layer, at_ns: int) -> LastFold:
        """Write down a look at the layer's last fold, before it is looked at.

        The first look is free, and so is looking again with the same ``model`` (making the same table again), which adds no line.
        Another model needs a ``reason``, which goes on the record. ``model`` is the id of a model, or one made of all that an
        evaluation compares. Raises ``LastFoldTouchedError``.
        """
        if not model:
            raise TrialLogError("found no model, expected the id of the one that the last fold is touched for")

        def line(lines: Sequence[AnyLine]) -> LastFold:
            looks = [one for one in lines if isinstance(one, LastFold) and one.layer == layer]
            same = next((one for one in looks if one.model == model), None)
            if same is not None:
                return same
            if looks and not reason.strip():
                raise LastFoldTouchedError(
                    f"{self.path}: found the last {layer} fold touched {len(looks)} time(s), last for {looks[-1].model[:12]}, "
                    f"expected none or the same model, not {model[:12]}: evaluate on earlier folds, or give a reason for the record"
                )
            return LastFold(at_ns=at_ns, layer=layer, model=model, reason=reason.strip())

        return self._append(line)

    def _end(self, end: Finished | Failed) -> None:
        def line(lines: Sequence[AnyLine]) -> Finished | Failed:
            if not any(isinstance(one, Started) and one.trial == end.trial for one in lines):
                raise TrialLogError(f"{self.path}: found no trial {end.trial}, expected one that was started")
            if any(isinstance(one, Finished | Failed) and one.trial == end.trial for one in lines):
                raise TrialLogError(f"{self.path}: found trial {end.trial} ended before, expected it to end once")
            return end

        self._append(line)

    # The file

    def _read(self) -> list[AnyLine]:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        return _parse(content, self.path)

    def _append(self, build: Callable[[Sequence[AnyLine]], L]) -> L:
        """Append what ``build`` makes of the lines so far, unless it is one of them, while nobody else appends."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b", buffering=0) as file:
            wait_for_lock(file.fileno(), self.path)
            file.seek(0)
            content = file.read()
            lines = _parse(content, self.path)
            line = build(lines)
            if any(line is one for one in lines):
                return line
            whole = content.rfind(b"\n") + 1
            try:
                file.truncate(whole)
                _write_whole(file.fileno(), msgspec.json.encode(line) + b"\n")
                os.fsync(file.fileno())
            except OSError:
                file.truncate(whole)
                raise
            return line


def _write_whole(descriptor: int, content: bytes) -> None:
    """All of ``content``: a disk that is nearly full takes a part of it, and refuses the rest only when asked again."""
    while content:
        content = content[os.write(descriptor, content) :]


def _parse(content: bytes, path: Path) -> list[AnyLine]:
    """The lines of a log, a torn end left out; numbers of trials must count up from 1."""
    lines: list[AnyLine] = []
    begun = 0
    for number, text in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            line = _DECODER.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise TrialLogError(f"{path}, line {number}: not a line of a trial log: {error}") from error
        if isinstance(line, Started):
            begun += 1
            if line.trial != begun:
                raise TrialLogError(
                    f"{path}, line {number}: found trial {line.trial}, expected {begun}: lines were taken out, or two logs joined"
                )
        lines.append(line)
    return lines


_DECODER: msgspec.json.Decoder[AnyLine] = msgspec.json.Decoder(AnyLine)
