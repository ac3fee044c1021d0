"""From a belief to an exposure: the arithmetic of the strategic decision, and the codes that say what bound it.

    full lots  = the smaller of what the volatility target and the VaR budget allow          (``risk.sizing``)
    Kelly lots = kelly_fraction x edge / variance x equity, over the horizon of the belief
    trust      = (1 - mutual information / ln 3) x what is left of it where the window is novel
    support    = how far held-back data support the model's directions, from its file, in [0, 1] (``models.calibration``)
    exposure   = direction x smaller of (Kelly lots, full lots) / full lots x trust x support  in [-1, 1]

Trust and support come last, so that ignorance, novelty and an unproven direction make every position smaller, also one that risk's own limits had cut already.

The direction is the belief collapsed by its mode; where the expected move does not point the same way there is no edge and
nothing is held. Read next: ``agent.py``, which calls this at each 30-minute close.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.decisions import ReasonCode
from grandmodel.domain.errors import UsageError
from grandmodel.models.architecture import BELIEF, DIRECTIONS
from grandmodel.models.superposition import collapse_to_mode
from grandmodel.risk.sizing import ExposureSettings

Floats = NDArray[np.float64]

WELL_SUPPORTED = 0.5
"""A support below this is put on the record."""
LARGEST_MUTUAL_INFORMATION = math.log(len(BELIEF))
"""Nats: samples that are each sure of one direction, and spread evenly over the three."""


class StrategicReason(ReasonCode):
    """Why a strategic decision is what it is, or why there was none. ``meaning`` says it in a sentence."""

    LONG = "long", "the likeliest direction is up"
    SHORT = "short", "the likeliest direction is down"
    NEUTRAL = "neutral", "the likeliest direction is neither up nor down"
    NO_EDGE = "no_edge", "the expected move does not point where the likeliest direction does"
    KELLY = "kelly", "the Kelly share set the size: the edge asks for less than risk would allow"
    KELLY_SMALL = "kelly_small", "the Kelly share asks for less than the dead band"
    VOLATILITY_TARGET = "volatility_target", "the volatility target set the size"
    VAR_BUDGET = "var_budget", "the value-at-risk budget set the size"
    UNPROVEN = "unproven", "held-back data support the direction of this model's forecasts by less than half"
    NOVEL = "novel", "the window lies outside what training saw; the size was cut for it"
    DISAGREE = "disagree", "the agents' joint state is far from pure"
    IGNORANT = "ignorant", "mutual information took more than a tenth of the size"
    NOT_COVERED = (
        "zero_in_interval",
        "the conformal interval of the move holds zero: the direction is not established at that coverage",
    )


_BINDING = {reason.value: reason for reason in (StrategicReason.VOLATILITY_TARGET, StrategicReason.VAR_BUDGET)}


class StrategicSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a belief becomes an exposure."""

    full: ExposureSettings = ExposureSettings()
    """What an exposure of 1 stands for."""
    kelly_fraction: float = 0.25
    """Share of the Kelly position that is asked for: full Kelly is right only for a known edge."""
    dead_band: float = 0.1
    """A position is left as it is while the exposure asked for lies within this of it, as a share of full exposure."""
    pure_enough: float = 0.9
    """A purity below this is called disagreement."""

    def __post_init__(self) -> None:
        """Refuse what no decision can be made with."""
        if not 0.0 < self.kelly_fraction <= 1.0:
            raise UsageError(f"kelly_fraction: found {self.kelly_fraction}, expected a share above 0, at most 1")
        if not 0.0 <= self.dead_band < 1.0:
            raise UsageError(f"dead_band: found {self.dead_band}, expected a share of full exposure from 0 to below 1")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a size follows from. Moves in ticks over the horizon, money in micros."""

    belief: Floats
    """Calibrated (3,)."""
    expected_move: float
    deviation: float
    """Standard deviation of the move over the horizon."""
    mutual_information: float
    """Nats."""
    purity: float
    novelty: float
    support: float
    """In [0, 1]: how far the model's held-back data support its directions (``ModelManifest.direction_support``)."""
    interval: tuple[float, float]
    equity_micros: float
    tick_value_micros: float


def trust_in(mutual_information: float, novelty: float) -> tuple[float, float]:
    """Shares of the size left by the model's ignorance, and by a window unlike the training data; each in [0, 1].

    Up to a novelty of 1 (the edge of what training saw) nothing is cut; from 2 on nothing is left.
    """
    ignorance = min(max(mutual_information / LARGEST_MUTUAL_INFORMATION, 0.0), 1.0)
    return 1.0 - ignorance, min(max(2.0 - novelty, 0.0), 1.0)


def kelly_lots(edge: float, deviation: float, tick_value_micros: float, equity_micros: float, fraction: float) -> float:
    """Lots of the fractional Kelly position for an expected gain of ``edge`` ticks with that deviation; 0 without an edge."""
    if not (edge > 0.0 and deviation > 0.0 and tick_value_micros > 0.0 and equity_micros > 0.0):
        return 0.0
    return fraction * edge / (deviation * deviation) * equity_micros / tick_value_micros


def size_exposure(
    evidence: Evidence, full_lots: float, settings: StrategicSettings
) -> tuple[float, tuple[StrategicReason, ...]]:
    """The target exposure in [-1, 1], and the codes of what led to it: direction first, then what bound, then cautions.

    ``full_lots``: what an exposure of 1 stands for (``risk.sizing.FullExposureRule``).
    """
    direction = DIRECTIONS[collapse_to_mode(evidence.belief)]
    reasons = [{1: StrategicReason.LONG, 0: StrategicReason.NEUTRAL, -1: StrategicReason.SHORT}[direction]]
    known, familiar = trust_in(evidence.mutual_information, evidence.novelty)
    edge = direction * evidence.expected_move
    exposure = 0.0
    if direction and edge > 0.0:
        lots = kelly_lots(
            edge,
            evidence.deviation,
            evidence.tick_value_micros,
            evidence.equity_micros,
            settings.kelly_fraction,
        )
        share = lots / full_lots
        exposure = min(share, 1.0) * known * familiar * evidence.support
        reasons.append(
            _BINDING[settings.full.binding]
            if share >= 1.0
            else StrategicReason.KELLY_SMALL
            if share < settings.dead_band
            else StrategicReason.KELLY
        )
    elif direction:
        reasons.append(StrategicReason.NO_EDGE)
    if direction and evidence.support < WELL_SUPPORTED:
        reasons.append(StrategicReason.UNPROVEN)
    if familiar < 1.0:
        reasons.append(StrategicReason.NOVEL)
    if known < 0.9:
        reasons.append(StrategicReason.IGNORANT)
    if evidence.purity < settings.pure_enough:
        reasons.append(StrategicReason.DISAGREE)
    if direction and evidence.interval[0] <= 0.0 <= evidence.interval[1]:
        reasons.append(StrategicReason.NOT_COVERED)
    return direction * exposure if exposure else 0.0, tuple(reasons)
