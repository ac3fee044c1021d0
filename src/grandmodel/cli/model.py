"""``grandmodel model``: the models there are, what each says of itself, and which one may trade."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grandmodel.cli.model_evaluation import evaluate_command
from grandmodel.cli.model_training import train_command
from grandmodel.cli.model_trials import trials_command
from grandmodel.cli.output import JsonFlag, console, print_json, stdout
from grandmodel.cli.registries import RegistryOption, open_registry, user_name
from grandmodel.domain.files import document_text
from grandmodel.domain.time import text_from_ns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grandmodel.models.model_file import DataSpan
    from grandmodel.models.registry import Change, Entry

app = typer.Typer(
    help="Models: train and evaluate them, what is in the registry, their cards, and which one may trade.",
    no_args_is_help=True,
)
app.command("train")(train_command)
app.command("evaluate")(evaluate_command)
app.command("trials")(trials_command)

MAIN_METRICS = 4
"""Metrics of a model in a list; ``show`` has all."""

ModelReference = Annotated[
    str, typer.Argument(metavar="MODEL", help="An id or its first digits, or LAYER/live, LAYER/shadow.")
]
LayerOption = Annotated[str | None, typer.Option("--layer", help="strategic or tactical; default: both.")]
WhoOption = Annotated[str | None, typer.Option("--who", help="Who goes on the record; default: the user's name.")]


@app.command("list")
def list_command(registry: RegistryOption = None, layer: LayerOption = None, as_json: JsonFlag = False) -> None:
    """The models, with stage, spans of data and main metrics; a damaged file is listed as such. Exit code 1 where one is."""
    found = open_registry(registry)
    entries = found.entries(layer)
    if as_json:
        print_json({"registry": found.location, "models": [_as_line(entry) for entry in entries]})
    else:
        _show_list(found.location, entries)
    raise typer.Exit(1 if any(entry.problem for entry in entries) else 0)


@app.command("show")
def show_command(
    model: ModelReference,
    registry: RegistryOption = None,
    layer: LayerOption = None,
    as_json: JsonFlag = False,
) -> None:
    """A model's card, everything its file says of itself, and its moves from stage to stage."""
    found = open_registry(registry)
    stored = found.get(model, layer)
    manifest = found.load(stored.id, stored.layer).manifest
    card = found.card(stored.id, stored.layer)
    moves = [change for change in found.state(stored.layer).history if any(x.model == stored.id for x in change.moves)]
    if as_json:
        print_json(
            {
                "id": stored.id,
                "layer": stored.layer,
                "stage": stored.stage,
                "bytes": len(stored.content),
                "file": stored.name,
                "manifest": manifest,
                "card": card,
                "history": moves,
            }
        )
        return
    stdout.print(f"{stored.layer} model {stored.id}", soft_wrap=True)
    stdout.print(f"{stored.stage.value}; {len(stored.content):,} bytes in {stored.name}\n", soft_wrap=True)
    if card:
        from rich.markdown import Markdown

        stdout.print(Markdown(card))
        stdout.print()
    else:
        stdout.print("no card came with it\n")
    _show_manifest(manifest)
    stdout.print("\nmoves")
    for change in moves:
        _show_change(change, "  ")


@app.command("add")
def add_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A model file, as training writes it.")],
    why: Annotated[str, typer.Option("--why", help="Why it is added; goes on the record.")],
    card: Annotated[Path | None, typer.Option("--card", help="Its model card, Markdown.")] = None,
    who: WhoOption = None,
    registry: RegistryOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Put a model file into the registry as a candidate; prints its id."""
    found = open_registry(registry)
    text = document_text(card, "model card") if card else ""
    model = found.add(file, who=who or user_name(), why=why, at_ns=time.time_ns(), card=text)
    layer, _ = found.resolve(model)
    if as_json:
        print_json({"id": model, "layer": layer, "registry": found.location})
    else:
        stdout.print(f"{layer} model {model} is in {found.location}", soft_wrap=True)


@app.command("promote")
def promote_command(
    model: ModelReference,
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="candidate, shadow or live: up by one, or down.")],
    why: Annotated[str, typer.Option("--why", help="Why; goes on the record.")],
    who: WhoOption = None,
    registry: RegistryOption = None,
    layer: LayerOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Move a model one stage up (candidate, shadow, live), or down. Live needs metrics and a file that can be read."""
    found = open_registry(registry)
    change = found.promote(model, stage, who=who or user_name(), why=why, at_ns=time.time_ns(), layer=layer)
    if as_json:
        print_json({"registry": found.location, "change": change})
    elif change is None:
        stdout.print(f"it is {stage} already: nothing was changed")
    else:
        _show_change(change, "")


def _as_line(entry: Entry) -> dict[str, Any]:
    """An entry for programs: of the manifest what a list is read for; ``show`` has the whole."""
    manifest = entry.manifest
    return {
        "id": entry.id,
        "layer": entry.layer,
        "stage": entry.stage,
        "added": text_from_ns(entry.added_ns),
        "bytes": entry.bytes,
        "data": manifest and manifest.data,
        "seeds": manifest and manifest.seeds,
        "code_version": manifest and manifest.code_version,
        "metrics": manifest and manifest.metrics,
        "problem": entry.problem,
    }


def _show_list(location: str, entries: list[Entry]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from grandmodel.models.registry import SHORT_ID

    if not entries:
        stdout.print(
            f"{location} holds no models; `grandmodel model train` makes one, `grandmodel model add FILE` takes one in",
            soft_wrap=True,
        )
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("layer", "stage", "id"):
        table.add_column(name, no_wrap=True)
    table.add_column("trained on")
    table.add_column("metrics")
    for entry in entries:
        style = {"live": "bold green", "shadow": "cyan"}.get(entry.stage.value)
        manifest = entry.manifest
        if manifest is None:
            told = ("", "damaged: see below")
        else:
            spans = f"{' '.join(manifest.data.instruments)}, {_span(manifest.data.train)}"
            told = (spans, _main_metrics(manifest.metrics))
        table.add_row(entry.layer, entry.stage.value, entry.id[:SHORT_ID], *told, style=style)
    stdout.print(table)
    for entry in entries:
        if entry.problem:
            console.print(entry.problem, soft_wrap=True)


def _main_metrics(metrics: Mapping[str, float]) -> str:
    shown = [f"{name} {value:.4g}" for name, value in list(metrics.items())[:MAIN_METRICS]]
    rest = len(metrics) - len(shown)
    return ", ".join([*shown, *([f"and {rest} more"] if rest else [])]) or "not evaluated"


def _span(span: DataSpan | None) -> str:
    if span is None:
        return "none"
    return f"{text_from_ns(span.start_ns)[:10]} to {text_from_ns(span.end_ns)[:10]}"


def _show_manifest(manifest: Any) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    data = manifest.data
    rows: list[tuple[str, str]] = [
        ("instruments", ", ".join(data.instruments)),
        ("trained on", _span(data.train)),
        ("validated on", _span(data.validation)),
        ("tested on", _span(data.test)),
        ("seeds", ", ".join(map(str, manifest.seeds))),
        ("features", f"{manifest.schema_hash[:12]}, volume {manifest.volume}"),
        ("horizon", f"{manifest.horizon_bars} bars"),
        ("temperature", f"{manifest.temperature:.4g}"),
        ("dropout", f"{manifest.architecture.dropout:g}"),
        ("agents", ", ".join(head.agent for head in manifest.architecture.heads)),
        ("code version", manifest.code_version),
    ]
    rows += [(f"setting {name}", str(value)) for name, value in sorted(manifest.settings.items())]
    rows += [(f"metric {name}", f"{value:.6g}") for name, value in sorted(manifest.metrics.items())]
    for name, value in rows:
        table.add_row(name, value)
    stdout.print(table)


def _show_change(change: Change, indent: str) -> None:
    from grandmodel.models.registry import SHORT_ID

    moves = ", ".join(f"{x.model[:SHORT_ID]} {x.before or 'added'} -> {x.after}" for x in change.moves)
    stdout.print(
        f"{indent}{change.number}  {text_from_ns(change.at_ns)[:19]}  {change.who}: {moves} ({change.why})",
        soft_wrap=True,
    )
