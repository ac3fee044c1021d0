"""What a belief is trained to say, and the windows that it is trained on.

The outcome of a decision is the move over the horizon in units of scale x sqrt(horizon) (``market.TrainingMarket.outcome``). It is
bullish, neutral or bearish by two thresholds, the terciles of the training decisions (``models.calibration.fit_class_outcomes``): so the
three classes are about equally frequent there, whatever the market's drift. A window is gathered only when it is asked for: all
windows of four years at once would be 48 times the rows.

Read next: ``warm_start.py``, which learns from these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from grandmodel.features.normaliser import Normaliser
from grandmodel.models.architecture import TrunkSpec
from grandmodel.training.errors import TrainingDataError
from grandmodel.training.market import Span, TrainingMarket, check_one_layer

Floats: TypeAlias = NDArray[np.float64]
Singles: TypeAlias = NDArray[np.float32]
Integers: TypeAlias = NDArray[np.int64]


def signs_of(outcomes: Floats) -> Integers:
    """0 where the price rose, else 1: the auxiliary task of the tactical trunk."""
    return np.where(outcomes > 0.0, 0, 1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Windows:
    """The normalised rows of some markets, one after the other, from which windows are gathered. A bar is named by its row here."""

    rows: Singles
    """(G, C)"""
    offsets: Integers
    """(M,) row of each market's first bar."""

    @staticmethod
    def of(markets: Sequence[TrainingMarket], normaliser: Normaliser) -> Windows:
        """Normalise ``markets``, which must share the normaliser's schema."""
        normaliser.schema.check_same(check_one_layer(markets).hash, "markets")
        rows = np.concatenate([normaliser.apply(market.rows).astype(np.float32) for market in markets])
        lengths = [len(market.rows) for market in markets]
        return Windows(rows, np.cumsum([0, *lengths[:-1]]).astype(np.int64))

    def gather(self, trunk: TrunkSpec, places: Integers) -> Singles:
        """The windows (B, rows * columns) of ``trunk`` that end at the rows ``places`` (B,), oldest row first.

        Raises ``TrainingDataError`` where a window would hold a value that is not known.
        """
        rows = places[:, None] + np.arange(1 - trunk.rows, 1)
        if rows.size and rows.min() < 0:
            raise TrainingDataError(f"window of row {int(places.min())}: found no {trunk.rows} rows up to it")
        found: Singles = self.rows[rows[:, :, None], np.array(trunk.columns)].reshape(len(places), -1)
        if np.isnan(found).any():
            raise TrainingDataError(f"windows: found {int(np.isnan(found).sum())} unknown values, expected none")
        return found


@dataclass(frozen=True, slots=True)
class Examples:
    """Decisions with a known outcome. All arrays have one entry per decision, markets one after the other."""

    places: Integers
    """Rows of ``Windows``."""
    outcomes: Floats
    market: Integers
    """Number of the market."""
    ts_event: Integers

    def __len__(self) -> int:
        return len(self.places)


def find_examples(
    markets: Sequence[TrainingMarket], windows: Windows, span: Span, *, embargo_bars: int = 0
) -> Examples:
    """All usable decisions of ``span`` whose outcome is known inside it, less ``embargo_bars`` at its end."""
    own = [market.decisions(span, embargo_bars=embargo_bars) for market in markets]
    return Examples(
        places=np.concatenate([windows.offsets[m] + places for m, places in enumerate(own)]),
        outcomes=np.concatenate([market.outcome[places] for market, places in zip(markets, own, strict=True)]),
        market=np.repeat(np.arange(len(markets)), [len(places) for places in own]),
        ts_event=np.concatenate([market.ts_event[places] for market, places in zip(markets, own, strict=True)]),
    )


def hold_back(span: Span, share: float) -> tuple[Span, Span]:
    """``span`` cut in two, the last ``share`` of its time apart. Embargo is the caller's: see ``find_examples``."""
    cut = span.end_ns - round((span.end_ns - span.start_ns) * share)
    return Span(span.start_ns, cut), Span(cut, span.end_ns)
