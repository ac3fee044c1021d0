"""What a model had seen before a run: the ground for saying which part of a run is in-sample."""

from __future__ import annotations

import msgspec


class LearntFrom(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The data behind one trained model. Spans are [start, end), int64 ns UTC."""

    layer: str
    """``strategic``, ``tactical``, or a word of the agent's own."""
    model: str
    """What a decision carries as its model."""
    instruments: tuple[str, ...]
    train_ns: tuple[int, int]
    """What its weights were fitted on."""
    calibration_ns: tuple[int, int] | None = None
    """What settled its temperature, intervals and other choices."""


class AgentLearnt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One agent of a run, as its first record names it."""

    agent: str
    learnt_from: tuple[LearntFrom, ...] | None = None
    """Of each of its models; empty for a rule without one, None where the agent does not say."""
