"""``grandmodel model evaluate``: the models of the walk-forward folds against simple rules and against luck, with page and card."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grandmodel.cli.model_training import LayerArgument, TrialsOption, training_markets, trial_log
from grandmodel.cli.options import grouped
from grandmodel.cli.output import JsonFlag, console, print_json, print_table, say
from grandmodel.cli.registries import RegistryOption, open_registry, user_name
from grandmodel.cli.sources import SourceOptions
from grandmodel.domain.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from grandmodel.models.loaded import LoadedModel
    from grandmodel.models.registry import Registry
    from grandmodel.research.evaluate import Evaluation, Forecasters, Trials
    from grandmodel.research.tactical import TacticalEvaluation
    from grandmodel.research.trials import TrialLog
    from grandmodel.research.walk_forward import Fold
    from grandmodel.training.market import Layer, TrainingMarket


@grouped
def evaluate_command(
    layer: LayerArgument,
    source: SourceOptions,
    without_last: Annotated[
        bool, typer.Option("--without-last", help="Leave the last fold alone: for all looks but the final one.")
    ] = False,
    again: Annotated[
        str, typer.Option(help="Why the last fold is looked at once more with other models; goes on the record.")
    ] = "",
    comparisons: Annotated[
        bool,
        typer.Option(
            "--comparisons",
            help="Strategic: also train a single agent and one big network per fold and seed, and hold it against them.",
        ),
    ] = False,
    workers: Annotated[int, typer.Option(help="With --comparisons: processes that train side by side.")] = 1,
    page: Annotated[
        Path | None, typer.Option(help="Where to write the page; default: evaluation-LAYER.html here.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the whole evaluation as JSON to this file.")] = None,
    registry: RegistryOption = None,
    trials: TrialsOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Honest evaluation: walk-forward on data the models never saw, after costs, with the statistics of luck.

    Takes the registry's models of the folds (`model train LAYER --folds`) and gives each model of the last evaluated fold its card. The
    last fold is for one look: it is written to the log of trials, and a second one with other models needs --again.
    """
    from grandmodel.models.registry import as_layer
    from grandmodel.research.decisions import models_trained_for
    from grandmodel.research.walk_forward import default_folds

    wanted = as_layer(layer)
    found = open_registry(registry)
    folds = [fold for fold in default_folds(wanted) if not (fold.is_last and without_last)]
    ids = models_trained_for(found.entries(wanted), folds)
    markets = training_markets(wanted, source)
    models = _load(found, wanted, ids, markets)
    log = trial_log(trials, found.location)
    forecasters = (
        _train_comparisons(markets, folds, models, log, workers) if comparisons and wanted == "strategic" else None
    )
    looks = _touch(log, wanted, folds, models, again)
    counted = _trials(log, wanted, markets, sum(len(kept) for kept in models.values()))
    console.print(f"{len(folds)} folds, {len(next(iter(models.values())))} seeds, {counted.count} trials on the log")
    result = _evaluate(wanted, markets, folds, models, counted, looks, forecasters)
    target = page or Path(f"evaluation-{wanted}.html")
    _write(target, _page(result))
    if out is not None:
        import msgspec

        _write(out, msgspec.json.format(msgspec.json.encode(result, order="deterministic"), indent=2).decode())
    _give_cards(found, result, models[folds[-1].name])
    if as_json:
        print_json(result)
    else:
        _show(result, target)


def _load(
    registry: Registry, layer: Layer, ids: Mapping[str, Sequence[str]], markets: Sequence[TrainingMarket]
) -> dict[str, list[LoadedModel]]:
    """The models by fold, each refused unless it sees the features of ``markets``."""
    from grandmodel.models.loaded import LoadedModel

    schema = markets[0].schema
    return {
        fold: [LoadedModel(registry.load(model, layer, expect_schema=schema), model) for model in kept]
        for fold, kept in ids.items()
    }


def _touch(
    log: TrialLog, layer: Layer, folds: Sequence[Fold], models: Mapping[str, Sequence[LoadedModel]], again: str
) -> int:
    """Note the look at the last fold, where it is among ``folds``, before anything is looked at; how many looks there are."""
    from grandmodel.research.evaluate import content_of

    if not any(fold.is_last for fold in folds):
        return len(log.last_fold(layer))
    log.touch_last_fold(content_of(models), again, layer=layer, at_ns=time.time_ns())
    return len(log.last_fold(layer))


def _train_comparisons(
    markets: Sequence[TrainingMarket],
    folds: Sequence[Fold],
    models: Mapping[str, Sequence[LoadedModel]],
    log: TrialLog,
    workers: int,
) -> Forecasters:
    """A single agent and one big network for every fold and seed, trained on the fold's training stretch; each is on the log."""
    from contextlib import ExitStack

    from grandmodel.models.model_file import DataSpan
    from grandmodel.training.extras import require_extra

    require_extra("torch", "train")
    from grandmodel.research.campaign import data_hash, settings_hash
    from grandmodel.research.comparisons import train_comparison
    from grandmodel.research.evaluate import BeliefsAt
    from grandmodel.training.pipeline import default_settings
    from grandmodel.training.workers import spawned_workers

    settings = default_settings("strategic")
    trained: dict[str, dict[str, list[BeliefsAt]]] = {
        name: {fold.name: [] for fold in folds} for name in ("single-agent PPO", "one big network")
    }
    jobs = [(name, fold, seed) for name in trained for fold in folds for seed in range(len(models[fold.name]))]
    # Processes of their own, one a core: each training is one thread.
    with spawned_workers(workers) as pool, ExitStack() as noted:
        waiting = []
        for name, fold, seed in jobs:
            trial = {
                "layer": "strategic",
                "settings_hash": settings_hash(settings),
                "seed": seed,
                "spans": {"train": DataSpan(start_ns=fold.train.start_ns, end_ns=fold.train.end_ns)},
                "data_hash": data_hash(markets),
                "note": f"comparison, {name}, {fold.name} seed {seed}",
            }
            noted.enter_context(log.recorded(time.time_ns, **trial))
            waiting.append(pool.submit(train_comparison, name, markets, fold.train, settings, seed))
        for done, ((name, fold, seed), future) in enumerate(zip(jobs, waiting, strict=True), 1):
            trained[name][fold.name].append(future.result().beliefs)
            console.print(f"{name}, {fold.name} seed {seed} ({done} of {len(jobs)})")
    return trained


def _trials(log: TrialLog, layer: Layer, markets: Sequence[TrainingMarket], evaluated: int) -> Trials:
    """What is known of the trials; the log keeps ratios per bar, here they are per day."""
    import numpy as np

    from grandmodel.research.evaluate import Trials
    from grandmodel.risk.sizing import ExposureSettings

    root = float(np.sqrt(ExposureSettings().session_hours * 3_600e9 / markets[0].width_ns))
    return Trials(count=max(log.count(layer), evaluated), sharpes=(log.sharpes(layer) * root).tolist())


def _evaluate(
    layer: Layer,
    markets: Sequence[TrainingMarket],
    folds: Sequence[Fold],
    models: Mapping[str, Sequence[LoadedModel]],
    trials: Trials,
    looks: int,
    forecasters: Forecasters | None,
) -> Evaluation | TacticalEvaluation:
    from grandmodel.research.evaluate import evaluate_strategic
    from grandmodel.research.tactical import evaluate_tactical

    if layer == "tactical":
        with console.status("working the same positions in every way"):
            return evaluate_tactical(markets, folds, models, trials, looks=looks)
    with console.status("walking") as status:
        return evaluate_strategic(
            markets,
            folds,
            models,
            trials,
            looks=looks,
            forecasters=forecasters,
            on_walk=lambda walk: status.update(f"walked {walk.competitor}, seed {walk.seed}, fold {walk.fold}"),
        )


def _page(result: Evaluation | TacticalEvaluation) -> str:
    from grandmodel.research.report import evaluation_page, tactical_page
    from grandmodel.research.tactical import TacticalEvaluation

    return tactical_page(result) if isinstance(result, TacticalEvaluation) else evaluation_page(result)


def _give_cards(registry: Registry, result: Evaluation | TacticalEvaluation, models: Sequence[LoadedModel]) -> None:
    """Every model of the newest fold gets the evaluation's card."""
    from grandmodel.research.card import strategic_card, tactical_card
    from grandmodel.research.tactical import TacticalEvaluation

    for model in models:
        if isinstance(result, TacticalEvaluation):
            card = tactical_card(result, model.manifest, model.id)
        else:
            card = strategic_card(result, model.manifest, model.id)
        content = registry.get(model.id, model.manifest.layer).content
        registry.add(content, who=user_name(), why="model evaluate: its card", at_ns=time.time_ns(), card=card)


def _write(target: Path, text: str) -> None:
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{target}: cannot be written ({error.strerror}); choose another place") from error


def _show(result: Any, page: Path) -> None:
    from grandmodel.research.evaluate import verdict_of
    from grandmodel.research.report import main_competitors
    from grandmodel.research.tactical import TacticalEvaluation, tactical_verdict

    if isinstance(result, TacticalEvaluation):
        heads = ["competitor", "shortfall, bp", "saved", "low", "high", "Sharpe"]
        rows = [
            [
                row.name,
                f"{row.shortfall_bps:.3f}",
                *(["", "", ""] if row.saved_bps is None else _three(row.saved_bps)),
                f"{row.sharpe.value:.2f}",
            ]
            for row in result.competitors
        ]
        sentences = tactical_verdict(result)
    else:
        heads = ["competitor", "net return", "Sharpe", "low", "high", "deflated"]
        rows = [
            [
                row.name,
                f"{row.net_return:.2%}",
                f"{row.sharpe.value:.2f}",
                f"{row.sharpe.low:.2f}",
                f"{row.sharpe.high:.2f}",
                f"{row.deflated.probability:.1%}",
            ]
            for row in main_competitors(result)
        ]
        sentences = verdict_of(result).sentences
    print_table("", heads, rows, set(heads[1:]))
    for sentence in sentences:
        say(sentence)
    say(f"page: {page}")


def _three(difference: Any) -> list[str]:
    return [f"{difference.value:+.3f}", f"{difference.low:+.3f}", f"{difference.high:+.3f}"]
