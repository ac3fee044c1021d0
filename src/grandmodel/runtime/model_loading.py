"""Finding and reading the model files of a run: at the edge, before the engine is built or between two of its events.

Whoever starts a run names a model as people do: a path, a stage of the registry (``live``), or the beginning of an id.
``find_model`` turns that into a ``ModelSource``, the place and the SHA-256, which the run's first input carries; from then on
``load_model`` reads just that content and refuses any other. A replay years later therefore runs the same networks or none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from grandmodel.domain.agents import Agent
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import ModelRefresh
from grandmodel.models.errors import ModelError, ModelMismatchError
from grandmodel.models.loaded import LoadedModel
from grandmodel.models.model_file import Model, model_from_bytes, read_model
from grandmodel.models.registry import Registry, choose_location
from grandmodel.runtime.settings import AgentSettings, RunSettings, changed

Layer = Literal["strategic", "tactical"]
LEARNING_AGENT = "grandmodel"
"""The agent kind whose parameters name models."""
FOUND = "found"
"""The parameter that holds what ``find_model`` found; people do not write it."""
_REGISTRY = "registry:"


class ModelSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a model's bytes are, and which bytes they must be."""

    path: str
    """A file, or ``registry:`` and the registry's location."""
    sha256: str


def find_model(layer: Layer, reference: str) -> ModelSource:
    """The model that ``reference`` names: a path, or a stage, id or beginning of an id in the registry.

    Raises ``UsageError`` where there is none, saying how to get one.
    """
    path = Path(reference)
    if path.suffix or path.is_file():
        if not path.is_file():
            raise _missing(layer, f"found no file {reference}")
        return ModelSource(path=str(path.resolve()), sha256=read_model(path, expect_layer=layer).id)
    location = choose_location(None, os.environ, Path.cwd())
    try:
        _, model = Registry(location).resolve(reference, layer)
    except (ModelError, OSError) as error:
        raise _missing(layer, str(error)) from error
    return ModelSource(path=_REGISTRY + location, sha256=model)


def load_model(layer: Layer, source: ModelSource) -> LoadedModel:
    """Read the model of ``source``, compiled and ready.

    Raises ``ModelError`` where it is missing, damaged, of another layer, or not the content that ``source`` names.
    """
    content = _read(layer, source)
    if content.id != source.sha256:
        raise ModelMismatchError(
            f"{source.path}: found model {content.id[:12]}, expected {source.sha256[:12]}, with which this run was made: "
            "put that file back, or start a new run"
        )
    return LoadedModel(content, source.path)


def find_models(settings: RunSettings) -> RunSettings:
    """``settings`` with the source of every model that an agent names, for the run's first input."""
    return changed(settings, {"agents": tuple(_with_sources(agent) for agent in settings.agents)})


def without_sources(settings: dict[str, Any]) -> dict[str, Any]:
    """A settings tree as people wrote it, for comparing two: without what ``find_models`` added."""
    agents = [
        agent | {"parameters": {key: value for key, value in agent.get("parameters", {}).items() if key != FOUND}}
        for agent in settings.get("agents", [])
    ]
    return settings | {"agents": agents}


def refresh_of(
    layer: Layer, reference: str, *, ts: int, who: str, why: str, agents: Iterable[Agent] = ()
) -> tuple[ModelRefresh, LoadedModel | None]:
    """Load the model that ``reference`` names beside the one that decides: the input that hands it over, and the model.

    A file that is refused, by ``agents`` perhaps, gives an input that says why, and no model.
    """
    source = ModelSource(path=reference, sha256="")
    refused: str = ""
    model: LoadedModel | None = None
    try:
        source = find_model(layer, reference)
        model = load_model(layer, source)
        for agent in agents:
            agent.check_model(layer, model)
    except (UsageError, OSError) as error:
        refused, model = str(error), None
    refresh = ModelRefresh(
        ts=ts,
        layer=layer,
        model="" if model is None else model.name,
        sha256=source.sha256,
        path=source.path,
        who=who,
        why=why,
        refused=refused,
    )
    return refresh, model


def model_of(refresh: ModelRefresh) -> LoadedModel | None:
    """The model that a journalled refresh handed over; None where it was refused then."""
    if refresh.refused:
        return None
    return load_model(check_layer(refresh.layer), ModelSource(path=refresh.path, sha256=refresh.sha256))


def check_layer(layer: str) -> Layer:
    """``layer`` as one of the two. Raises ``UsageError``."""
    if layer == "strategic":
        return "strategic"
    if layer == "tactical":
        return "tactical"
    raise UsageError(f"found layer {layer!r}, expected strategic or tactical")


def _read(layer: Layer, source: ModelSource) -> Model:
    if not source.path.startswith(_REGISTRY):
        return read_model(Path(source.path), expect_layer=layer)
    registry = Registry(source.path.removeprefix(_REGISTRY))
    found = registry.get(source.sha256, layer)
    return model_from_bytes(found.content, f"{layer}/{found.id[:12]}", expect_layer=layer)


def _with_sources(agent: AgentSettings) -> AgentSettings:
    if agent.kind != LEARNING_AGENT:
        return agent
    found = {
        layer: msgspec.to_builtins(find_model(check_layer(layer), str(agent.parameters[layer])))
        for layer in ("strategic", "tactical")
        if agent.parameters.get(layer)
    }
    return AgentSettings(kind=agent.kind, parameters={**agent.parameters, FOUND: found})


def _missing(layer: Layer, what: str) -> UsageError:
    return UsageError(
        f"{layer} model: {what}; a model file is named by its path, one of the registry by a stage (live) or its id: "
        f"`grandmodel model train {layer}` makes one, `grandmodel model list` shows those there are"
    )
