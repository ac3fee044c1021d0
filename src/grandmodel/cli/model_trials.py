"""``grandmodel model trials``: the trials that were trained with this log, and the looks at the last fold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from grandmodel.cli.output import JsonFlag, print_json, stdout
from grandmodel.cli.registries import RegistryOption, open_registry
from grandmodel.domain.time import text_from_ns

if TYPE_CHECKING:
    from pathlib import Path

    from grandmodel.research.trials import LastFold, Trial

MAIN_NUMBERS = 3
"""Numbers of a trial in the table; ``--json`` has all."""


def trials_command(
    registry: RegistryOption = None,
    layer: Annotated[str | None, typer.Option("--layer", help="strategic or tactical; default: both.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """The trials that were trained with this log, the failed and abandoned ones too, and the looks at the last fold."""
    from grandmodel.models.registry import LAYERS, as_layer
    from grandmodel.research.trials import TrialLog, log_path

    log = TrialLog(log_path(open_registry(registry).location))
    layers = LAYERS if layer is None else (as_layer(layer),)
    trials = [trial for trial in log.trials() if trial.started.layer in layers]
    looks = [look for one in layers for look in log.last_fold(one)]
    if as_json:
        told = [{"outcome": trial.outcome, "started": trial.started, "ended": trial.ended} for trial in trials]
        print_json({"log": str(log.path), "trials": told, "looks": looks})
    else:
        _show(log.path, trials, looks)


def _show(path: Path, trials: list[Trial], looks: list[LastFold]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from grandmodel.models.registry import SHORT_ID

    if not trials:
        stdout.print(f"{path} holds no trials", soft_wrap=True)
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("trial", "layer", "begun", "seed", "outcome"):
        table.add_column(name, no_wrap=True, justify="right" if name in {"trial", "seed"} else "left")
    table.add_column("result")
    for trial in trials:
        began = trial.started
        cells = (str(began.trial), began.layer, text_from_ns(began.at_ns)[:16], str(began.seed), trial.outcome)
        table.add_row(*cells, "; ".join(filter(None, [began.note, _result(trial)])))
    stdout.print(table)
    counts = {name: sum(trial.outcome == name for trial in trials) for name in ("finished", "failed", "unfinished")}
    stdout.print(f"{len(trials)} trials: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    for look in looks:
        why = look.reason or "the first look"
        stdout.print(
            f"last {look.layer} fold: {text_from_ns(look.at_ns)[:16]} with {look.model[:SHORT_ID]} ({why})",
            soft_wrap=True,
        )


def _result(trial: Trial) -> str:
    from grandmodel.research.trials import Failed

    if trial.ended is None:
        return ""
    if isinstance(trial.ended, Failed):
        return trial.ended.why
    numbers = list(trial.ended.numbers.items())
    rest = [f"and {len(numbers) - MAIN_NUMBERS} more"] if len(numbers) > MAIN_NUMBERS else []
    return ", ".join([f"{name} {value:.4g}" for name, value in numbers[:MAIN_NUMBERS]] + rest)
