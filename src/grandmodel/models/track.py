"""What a layer remembers of one instrument from bar to bar, and when it may decide: the rules of both layers.

``strategic/agent.py`` and ``tactical/agent.py`` keep one ``Track`` an instrument.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import Flag
from grandmodel.domain.decisions import ReasonCode
from grandmodel.domain.events import ClosedBar
from grandmodel.models.loaded import Inputs, LoadedModel
from grandmodel.models.scale import MoveScale

_BREAK = int(Flag.ROLL | Flag.BAD_STRETCH)
_BAD = int(Flag.BAD_STRETCH)
_NEVER = 2**31


class Unready(ReasonCode):
    """Why a layer takes no decision at a close. ``meaning`` says it in a sentence."""

    INSTRUMENT_NOT_IN_MODEL = "instrument_not_in_model", "no decision: the model's file does not name this instrument"
    BAD_STRETCH = "bad_stretch", "no decision: the bar lies in a stretch of data that is marked bad"
    WARM_UP = (
        "warm_up",
        "no decision: a column of the window is not known yet, or too few bars have passed since the last bad stretch",
    )
    FEATURE_UNKNOWN = (
        "feature_unknown",
        "no decision: a column that the model needs is not known, long after the warm-up (a volume that is missing)",
    )
    SCALE_UNKNOWN = "scale_unknown", "no decision: fewer than 48 moves of the price are known, or it has not moved"
    NO_ROOM = "no_room", "no decision: the account is worth nothing, so no exposure stands for any lots"


class SavedTrack(msgspec.Struct, array_like=True):
    """A track as plain values."""

    scale: list[float]
    bars: int
    since_bad: int
    lots: int
    bars_held: int


@dataclass(slots=True, kw_only=True)
class Track:
    """What is remembered of one instrument."""

    scale: MoveScale
    tail: NDArray[np.float32]
    bars: int = 0
    """Bars of the layer's width seen."""
    since_bad: int = _NEVER
    """Bars since the last one inside a bad stretch."""
    lots: int = 0
    """Held at the bar before."""
    bars_held: int = 0
    inputs: Inputs | None = None

    def take_in(self, bar: ClosedBar, lots: int) -> float:
        """Count ``bar``, at whose close ``lots`` are held; the scale of moves after it, NaN while not known."""
        self.bars += 1
        self.since_bad = 0 if bar.flags & _BAD else min(self.since_bad + 1, _NEVER)
        self.bars_held = self.bars_held + 1 if lots == self.lots else 0
        self.lots = lots
        return self.scale.update(bar.close, is_break=is_break(bar))

    def unready(
        self, bar: ClosedBar, window: NDArray[np.float64], scale: float, model: LoadedModel, clean_bars: int
    ) -> Unready | None:
        """Why ``model`` may not decide on ``window`` (R, C) at the close of ``bar``; None where it may.

        ``scale`` is what ``take_in`` gave. For ``clean_bars`` after a bad stretch the window still holds some of it.
        """
        if not model.knows(bar.instrument):
            return Unready.INSTRUMENT_NOT_IN_MODEL
        if bar.flags & _BAD:
            return Unready.BAD_STRETCH
        if self.since_bad < clean_bars:
            return Unready.WARM_UP
        if not model.is_whole(window):
            return Unready.WARM_UP if self.bars < clean_bars else Unready.FEATURE_UNKNOWN
        return None if scale > 0.0 else Unready.SCALE_UNKNOWN

    def take_back(self, saved: SavedTrack) -> None:
        """Go on from ``saved``, which holds what ``SavedTrack`` names of another track."""
        self.scale.restore(saved.scale)
        self.bars, self.since_bad, self.lots, self.bars_held = (
            saved.bars, saved.since_bad, saved.lots, saved.bars_held
        )  # fmt: skip


def is_break(bar: ClosedBar) -> bool:
    """True where no move is made from the bar before: a new contract, or a bad stretch."""
    return bool(bar.flags & _BREAK)
