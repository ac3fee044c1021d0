"""What the columns of the two matrices are: names in their fixed order, meaning, range, warm-up, what they need.

A schema has a hash of all that. Model files, normalisers and caches carry it, and refuse to work with another. A market whose
volume is unknown has a schema of its own, ``schema.without_volume()``, with another hash: a model learns there that those
columns are unknown, and cannot be used by mistake where they are known, nor the other way round.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from grandmodel.features.errors import FeatureError, SchemaMismatch

# Raise when a definition changes in a way that changes values: old models and caches then refuse the new rows.
DEFINITIONS_VERSION = 1


@dataclass(frozen=True, slots=True)
class FeatureColumn:
    """One column of a matrix.

    ``low`` and ``high`` bound it where it has bounds. ``warm_up_bars`` is how many bars are NaN before the first value (for
    mlmi columns at the least: they also wait for two crosses). ``needs_volume``: NaN where the volume is unknown.
    ``rescale``: whether a normaliser shifts and scales it; flags and fractions are fed as they are.
    """

    name: str
    meaning: str
    unit: str
    warm_up_bars: int
    low: float | None = None
    high: float | None = None
    needs_volume: bool = False
    rescale: bool = True


@dataclass(frozen=True, slots=True)
class FeatureSchema:
    """The columns of one matrix, and how many rows of them an agent sees."""

    name: str
    rows: int
    bar_minutes: int
    columns: tuple[FeatureColumn, ...]
    volume: Literal["known", "unknown"] = "known"
    definitions_version: int = DEFINITIONS_VERSION

    @property
    def names(self) -> tuple[str, ...]:
        """The column names, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def warm_up_bars(self) -> int:
        """How many bars pass before a row can be whole."""
        return max(column.warm_up_bars for column in self.columns)

    @property
    def unknown_columns(self) -> tuple[int, ...]:
        """The places of the columns that are never known here: those that need volume, where that is unknown."""
        return tuple(i for i, column in enumerate(self.columns) if column.needs_volume and self.volume == "unknown")

    @property
    def known_columns(self) -> tuple[int, ...]:
        """The places of all others. A row is whole when these are not NaN."""
        return tuple(i for i in range(len(self.columns)) if i not in self.unknown_columns)

    @property
    def hash(self) -> str:
        """SHA-256 over everything above, as 64 hexadecimal digits."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()

    def without_volume(self) -> FeatureSchema:
        """The schema of a market whose volume is unknown."""
        return replace(self, volume="unknown")

    def place(self, name: str) -> int:
        """Where a column stands. Raises ``FeatureError`` for a name that the schema does not have."""
        if name not in self.names:
            raise FeatureError(f"column: found {name!r}, expected one of {', '.join(self.names)}")
        return self.names.index(name)

    def check_same(self, other_hash: str, what: str) -> None:
        """Raise ``SchemaMismatch`` unless ``what`` (a model, a cache) was made for this schema."""
        if other_hash != self.hash:
            raise SchemaMismatch(
                f"{what}: found feature schema {other_hash[:12]}, expected {self.hash[:12]} "
                f"({self.name}, volume {self.volume}, definitions {self.definitions_version}); train or compute it anew"
            )


STRATEGIC_SCHEMA = FeatureSchema(
    name="strategic",
    rows=48,
    bar_minutes=30,
    columns=(
        FeatureColumn(
            "mlmi_value", "mean outcome (+1 rose, -1 not) of the 200 most similar past crosses", "share", 40, -1, 1
        ),
        FeatureColumn(
            "mlmi_signal",
            "+1 where mlmi_value crosses above its 20-bar weighted mean, -1 below",
            "flag",
            60,
            -1,
            1,
            rescale=False,
        ),
        FeatureColumn("nwrqk_value", "close less the kernel regression of the last 113 closes", "ATR(14)", 112),
        FeatureColumn("nwrqk_slope", "rise of that regression since the bar before", "ATR(14)", 113),
        FeatureColumn(
            "lvn_distance",
            "close less the nearest low-volume node of 48 bars; 0 where there is none",
            "ATR(14)",
            47,
            needs_volume=True,
        ),
        FeatureColumn(
            "lvn_strength",
            "how empty that node is beside the fullest price; 0 where there is none",
            "share",
            47,
            0,
            1,
            True,
            False,
        ),
        FeatureColumn("time_of_day", "share of the trading day elapsed", "share", 0, 0, 1, rescale=False),
        FeatureColumn("day_of_week", "trading day, Monday 0 to Sunday 1", "share", 0, 0, 1, rescale=False),
        FeatureColumn("mmd_score", "how unlike the 480 returns before them the last 48 are", "MMD squared", 528),
        FeatureColumn(
            "momentum_20", "log return of 20 bars over what 20 independent bars would give", "deviations", 20
        ),
        FeatureColumn(
            "momentum_50", "log return of 50 bars over what 50 independent bars would give", "deviations", 50
        ),
        FeatureColumn("volatility_30", "volatility of 30 bars over its own median of 480 bars", "ratio", 509, 0),
        FeatureColumn(
            "volume_profile_skew", "skewness of volume by price over 48 bars", "skewness", 47, needs_volume=True
        ),
    ),
)

TACTICAL_SCHEMA = FeatureSchema(
    name="tactical",
    rows=60,
    bar_minutes=5,
    columns=(
        FeatureColumn(
            "fvg_bullish_active", "1 while a bullish fair value gap is alive", "flag", 21, 0, 1, rescale=False
        ),
        FeatureColumn(
            "fvg_bearish_active", "1 while a bearish fair value gap is alive", "flag", 21, 0, 1, rescale=False
        ),
        FeatureColumn(
            "fvg_nearest_level", "close less the level of the nearest gap; 0 where none is alive", "ATR(14)", 21
        ),
        FeatureColumn(
            "fvg_age", "age of the nearest gap over 50 bars; 0 where none is alive", "share", 21, 0, 1, rescale=False
        ),
        FeatureColumn(
            "fvg_mitigation_signal",
            "1 where price traded back through a gap on this bar",
            "flag",
            21,
            0,
            1,
            rescale=False,
        ),
        FeatureColumn("price_momentum_5", "tanh of the move of 5 bars in percent over 5", "tanh", 5, -1, 1),
        FeatureColumn("volume_ratio", "tanh of the log of volume over its EMA20", "tanh", 19, -1, 1, needs_volume=True),
    ),
)

# Which strategic columns each agent sees; all of them also see the time columns.
TIME_COLUMNS = (6, 7)
AGENT_COLUMNS = {"mlmi": (0, 1, 9, 10), "nwrqk": (2, 3, 4, 5), "regime": (8, 11, 12)}
