"""The registry: which models there are, which one may trade, and who let it.

A model is known by the SHA-256 of its file, and every read checks it. Per layer it stands in one of three stages:

    candidate    any number; where every model begins
    shadow       at most one: next in line; no run lets it decide yet
    live         at most one: trades

It goes up one stage at a time and down any number; whoever stood in its place steps down one stage. Each change is one small
file, numbered and chained to the one before, that is created and never changed again:

    strategic/<sha256>.safetensors     the model
    strategic/<sha256>.card.md         its model card
    strategic/history/00000001.json    who moved what, when, why

The state is what these changes add up to, so there is nothing that could be half written: a change exists or it does not. Two
writers that decide on the same state try to create the same number; one wins, the other reads again and checks again.

The library reads no clock: the time of a change is handed in. Where files lie is in ``storage.py``; the model's own format is
in ``model_file.py``; ``grandmodel model`` is the command, ``docs/models/registry.md`` the page.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NewType

import msgspec

from grandmodel.features.schema import FeatureSchema
from grandmodel.models.errors import ModelError, ModelFileError, RegistryError
from grandmodel.models.model_file import Layer, Model, ModelManifest, model_from_bytes
from grandmodel.models.storage import Storage, open_storage

ModelId = NewType("ModelId", str)
"""SHA-256 of a model's file, 64 hexadecimal digits."""

LAYERS: tuple[Layer, ...] = ("strategic", "tactical")
SHORT_ID = 12
"""Digits of an id that people are shown."""
LEAST_PREFIX = 4
RACES = 50
"""So often a change is tried again because another writer came first."""
FOLDER_VARIABLE = "GRANDMODEL_MODELS"

_HEX = re.compile(r"[0-9a-f]+")


class Stage(enum.StrEnum):
    """How far a model is trusted."""

    CANDIDATE = "candidate"
    SHADOW = "shadow"
    LIVE = "live"


_RANK = {stage: rank for rank, stage in enumerate(Stage)}


class Move(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model's change of stage."""

    model: ModelId
    before: Stage | None
    """None: it was added."""
    after: Stage


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of a layer's history."""

    number: int
    """1, 2, 3 ..."""
    at_ns: int
    who: str
    why: str
    moves: tuple[Move, ...]
    """What was asked for first, then who made room for it."""
    previous: str
    """SHA-256 of the entry before, empty for the first."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A model as a list shows it."""

    id: ModelId
    layer: Layer
    stage: Stage
    added_ns: int
    bytes: int
    manifest: ModelManifest | None
    """What the file says of itself; None where it cannot be read."""
    problem: str
    """Why the file cannot be used; empty where it can."""


class StoredModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model's file as read, which is what its id says."""

    id: ModelId
    layer: Layer
    stage: Stage
    content: bytes
    name: str
    """Where it lies, for messages."""


@dataclass(frozen=True, slots=True)
class LayerState:
    """What a layer's history adds up to."""

    layer: Layer
    history: tuple[Change, ...]
    stages: Mapping[ModelId, Stage]
    """In the order in which the models were added."""
    head: str
    """SHA-256 of the last entry; empty where there is none."""

    def standing(self, stage: Stage) -> ModelId | None:
        """The model in shadow or live, if any."""
        return next((model for model, found in self.stages.items() if found is stage), None)


class Registry:
    """The models under one folder or address."""

    def __init__(self, location: str | Path | Storage) -> None:
        self._storage = open_storage(location) if isinstance(location, str | Path) else location

    @property
    def location(self) -> str:
        """The folder or address."""
        return self._storage.location

    # Reading

    def state(self, layer: str) -> LayerState:
        """The stages and the history of ``layer``. Raises ``RegistryError`` where the history is damaged."""
        layer = as_layer(layer)
        names = self._storage.names(f"{layer}/history")
        return _add_up(self.location, layer, names, self._storage.read_all(names))

    def entries(self, layer: str | None = None) -> list[Entry]:
        """Every model of a layer, or of both, in the order added; a damaged file is listed with what is wrong."""
        layers = LAYERS if layer is None else (layer,)
        return [entry for one in layers for entry in self._entries(self.state(one))]

    def resolve(self, reference: str, layer: str | None = None) -> tuple[Layer, ModelId]:
        """(layer, id) of the model that ``reference`` names.

        A reference is an id, the beginning of one (four digits or more, unique), a stage (``live``, with ``layer``), or either
        of them after its layer (``strategic/live``, ``tactical/9c4e``). Raises ``RegistryError``.
        """
        state, model = self._find(reference, layer)
        return state.layer, model

    def get(self, reference: str, layer: str | None = None) -> StoredModel:
        """Read a model's file and check that it is what its id says.

        Raises ``RegistryError`` where there is none, ``ModelFileError`` where the file is missing or damaged.
        """
        state, model = self._find(reference, layer)
        return StoredModel(
            id=model,
            layer=state.layer,
            stage=state.stages[model],
            content=self._read(state.layer, model),
            name=self._where(_file_name(state.layer, model)),
        )

    def load(self, reference: str, layer: str | None = None, *, expect_schema: FeatureSchema | None = None) -> Model:
        """Read a model, ready to be used; refused as ``get`` and ``model_file.read_model`` refuse."""
        found = self.get(reference, layer)
        return model_from_bytes(found.content, found.name, expect_layer=found.layer, expect_schema=expect_schema)

    def card(self, reference: str, layer: str | None = None) -> str:
        """The model card; empty where none came with the model."""
        where, model = self.resolve(reference, layer)
        try:
            return self._storage.read(_card_name(where, model)).decode("utf-8")
        except FileNotFoundError:
            return ""

    # Writing

    def add(self, model: bytes | Path, *, who: str, why: str, at_ns: int, card: str = "") -> ModelId:
        """Put a model's file into the registry as a candidate; return its id.

        Adding a model again changes neither stage nor history, but mends a damaged file and replaces the card where one is
        given. Raises ``ModelFileError`` or ``ModelMismatchError`` where it is not a model that this code can read.
        """
        content = model.read_bytes() if isinstance(model, Path) else model
        layer = model_from_bytes(content, str(model) if isinstance(model, Path) else "model").manifest.layer
        found = ModelId(hashlib.sha256(content).hexdigest())
        if not self._holds(layer, found, content):
            self._storage.replace(_file_name(layer, found), content)
        if card:
            self._storage.replace(_card_name(layer, found), card.encode("utf-8"))

        def move(state: LayerState) -> tuple[Move, ...]:
            if found in state.stages:
                return ()
            return (Move(model=found, before=None, after=Stage.CANDIDATE),)

        self._change(layer, move, who=who, why=why, at_ns=at_ns)
        return found

    def promote(
        self, reference: str, stage: Stage | str, *, who: str, why: str, at_ns: int, layer: str | None = None
    ) -> Change | None:
        """Move a model to ``stage``: up by one, or down; return what went on the record, None where it stood there already.

        Going up needs a file that can be read; going live also needs metrics in it. Raises ``RegistryError`` or
        ``ModelFileError``; nothing has changed then.
        """
        named, model = self.resolve(reference, layer)
        target = _stage(stage)

        def move(state: LayerState) -> tuple[Move, ...]:
            moves = _moves(state, model, target)
            if _RANK[target] > _RANK[state.stages[model]]:
                self._check_fit(named, model, target)
            return moves

        return self._change(named, move, who=who, why=why, at_ns=at_ns)

    def _check_fit(self, layer: Layer, model: ModelId, target: Stage) -> None:
        manifest = self._manifest(layer, model, self._read(layer, model))
        if target is Stage.LIVE and not manifest.metrics:
            raise RegistryError(
                f"{layer}/{model[:SHORT_ID]}: found no metrics in the model, expected those of its evaluation: "
                "a model goes live only when it was evaluated"
            )

    def _change(
        self, layer: Layer, decide: Callable[[LayerState], tuple[Move, ...]], *, who: str, why: str, at_ns: int
    ) -> Change | None:
        """Append what ``decide(state)`` wants; where another writer came first, decide again on the new state."""
        if not who.strip() or not why.strip():
            raise RegistryError(f"found who {who!r} and why {why!r}, expected both: they go on the record")
        for _ in range(RACES):
            state = self.state(layer)
            moves = decide(state)
            if not moves:
                return None
            change = Change(
                number=len(state.history) + 1,
                at_ns=at_ns,
                who=who.strip(),
                why=why.strip(),
                moves=moves,
                previous=state.head,
            )
            try:
                self._storage.create(_history_name(layer, change.number), _to_bytes(change))
            except FileExistsError:
                continue
            return change
        raise RegistryError(f"{self.location}: other writers came first {RACES} times; try again")

    # Parts

    def _entries(self, state: LayerState) -> list[Entry]:
        added = {move.model: change.at_ns for change in state.history for move in change.moves if move.before is None}
        entries = []
        for model, stage in state.stages.items():
            size, manifest, problem = 0, None, ""
            try:
                content = self._read(state.layer, model)
                size = len(content)
                manifest = self._manifest(state.layer, model, content)
            except ModelError as error:
                problem = str(error)
            entries.append(
                Entry(
                    id=model,
                    layer=state.layer,
                    stage=stage,
                    added_ns=added[model],
                    bytes=size,
                    manifest=manifest,
                    problem=problem,
                )
            )
        return entries

    def _find(self, reference: str, layer: str | None) -> tuple[LayerState, ModelId]:
        named, sign, rest = reference.partition("/")
        if sign:
            if layer is not None and named != layer:
                raise RegistryError(f"found {reference!r}, expected a model of the {layer} layer")
            reference, layer = rest, named
        layers = LAYERS if layer is None else (as_layer(layer),)
        states = [self.state(one) for one in layers]
        if reference in (Stage.SHADOW, Stage.LIVE):
            return self._standing(states, Stage(reference))
        if len(reference) < LEAST_PREFIX or not _HEX.fullmatch(reference):
            raise RegistryError(
                f"found {reference!r}, expected an id or its first {LEAST_PREFIX} digits or more, or LAYER/live, LAYER/shadow"
            )
        found = [(state, model) for state in states for model in state.stages if model.startswith(reference)]
        if len(found) != 1:
            known = ", ".join(f"{state.layer}/{model[:SHORT_ID]}" for state, model in found)
            what = f"{len(found)} models ({known})" if found else "no model"
            raise RegistryError(
                f"{self.location}: {reference!r} begins {what}, expected one; `grandmodel model list` shows all"
            )
        return found[0]

    def _standing(self, states: Sequence[LayerState], stage: Stage) -> tuple[LayerState, ModelId]:
        if len(states) != 1:
            raise RegistryError(f"found {stage.value!r}, expected its layer too, such as strategic/{stage.value}")
        model = states[0].standing(stage)
        if model is None:
            raise RegistryError(
                f"{self.location}: found no {stage.value} {states[0].layer} model; "
                f"`grandmodel model promote ID {stage.value}` makes one"
            )
        return states[0], model

    def _manifest(self, layer: Layer, model: ModelId, content: bytes) -> ModelManifest:
        name = self._where(_file_name(layer, model))
        return model_from_bytes(content, name, expect_layer=layer).manifest

    def _where(self, name: str) -> str:
        return f"{self.location.rstrip('/')}/{name}"

    def _read(self, layer: Layer, model: ModelId) -> bytes:
        name = _file_name(layer, model)
        try:
            content = self._storage.read(name)
        except FileNotFoundError as error:
            raise ModelFileError(
                f"{self._where(name)}: the registry has this model on record, but its file is missing; add it again"
            ) from error
        found = hashlib.sha256(content).hexdigest()
        if found != model:
            raise ModelFileError(
                f"{self._where(name)}: found content of SHA-256 {found}; the file is damaged, add it again"
            )
        return content

    def _holds(self, layer: str, model: ModelId, content: bytes) -> bool:
        try:
            return self._storage.read(_file_name(layer, model)) == content
        except FileNotFoundError:
            return False


def choose_location(given: str | None, environment: Mapping[str, str], working_folder: Path) -> str:
    """Where the registry is: as ``given``, else as GRANDMODEL_MODELS says, else ``models/`` here, else that of the checkout.

    Where there is none yet, it is ``models/`` in the working folder.
    """
    named = given or environment.get(FOLDER_VARIABLE)
    if named:
        return named
    here = working_folder / "models"
    checkout = Path(__file__).parents[3] / "models"
    for folder in (here, checkout):
        if any((folder / layer).is_dir() for layer in LAYERS):
            return str(folder)
    return str(here)


def as_layer(layer: str) -> Layer:
    """``layer``, where it is one of the two. Raises ``RegistryError``."""
    for known in LAYERS:
        if layer == known:
            return known
    raise RegistryError(f"found layer {layer!r}, expected {' or '.join(LAYERS)}")


def _stage(stage: Stage | str) -> Stage:
    try:
        return Stage(stage)
    except ValueError as error:
        raise RegistryError(f"found stage {str(stage)!r}, expected {', '.join(Stage)}") from error


def _moves(state: LayerState, model: ModelId, target: Stage) -> tuple[Move, ...]:
    """The moves that bring ``model`` to ``target``, those who make room included; none where it stands there."""
    stages = dict(state.stages)
    before = stages[model]
    if before is target:
        return ()
    if _RANK[target] > _RANK[before] + 1:
        raise RegistryError(
            f"{state.layer}/{model[:SHORT_ID]}: found a {before.value}, expected a {Stage.SHADOW.value}: "
            f"a model goes up one stage at a time"
        )
    moves: list[Move] = []
    moving: ModelId | None = model
    while moving is not None:
        moves.append(Move(model=moving, before=stages[moving], after=target))
        stages.pop(moving)
        if target is Stage.CANDIDATE:
            break
        moving = next((one for one, stage in stages.items() if stage is target), None)
        target = Stage.SHADOW if target is Stage.LIVE else Stage.CANDIDATE
    return tuple(moves)


def _add_up(location: str, layer: Layer, names: Sequence[str], contents: Sequence[bytes]) -> LayerState:
    """Play the changes one after the other, checking number, chain and stages."""
    stages: dict[ModelId, Stage] = {}
    history: list[Change] = []
    head = ""
    for number, (name, content) in enumerate(zip(names, contents, strict=True), start=1):
        where = f"{location}/{name}"
        if name != _history_name(layer, number):
            raise RegistryError(
                f"{where}: found this file, expected {_history_name(layer, number)}: the history has a gap"
            )
        try:
            change = msgspec.json.decode(content, type=Change)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RegistryError(f"{where}: not an entry of the history: {error}") from error
        if change.number != number or change.previous != head:
            raise RegistryError(
                f"{where}: found number {change.number} after {change.previous[:SHORT_ID] or 'nothing'}, expected {number} "
                f"after {head[:SHORT_ID] or 'nothing'}: the history was changed"
            )
        for move in change.moves:
            if stages.get(move.model) is not move.before:
                raise RegistryError(f"{where}: {move.model[:SHORT_ID]} was not {move.before}: the history was changed")
            stages[move.model] = move.after
        history.append(change)
        head = hashlib.sha256(content).hexdigest()
    return LayerState(layer, tuple(history), stages, head)


def _to_bytes(change: Change) -> bytes:
    return msgspec.json.format(msgspec.json.encode(change), indent=1) + b"\n"


def _file_name(layer: str, model: ModelId) -> str:
    return f"{layer}/{model}.safetensors"


def _card_name(layer: str, model: ModelId) -> str:
    return f"{layer}/{model}.card.md"


def _history_name(layer: str, number: int) -> str:
    return f"{layer}/history/{number:08d}.json"
