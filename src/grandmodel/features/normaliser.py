"""Shifting and scaling of the columns, fitted on the training stretch alone and saved with the model.

A column is shifted by its median and divided by the spread of its middle half (as much as a standard deviation, for a
normal one), so that a few wild values do not set the scale; then it is held to 10 such units. Flags and fractions stay as they are.
Columns that the schema calls unknown become 0 everywhere: the model never sees them, and the schema's hash keeps it from
meeting a market where they are known. Any other NaN stays NaN, and no decision is taken on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from grandmodel.features.arrays import Floats
from grandmodel.features.errors import FeatureError
from grandmodel.features.schema import FeatureSchema

# Values are held to this many units on either side.
LIMIT = 10.0
# The middle half of a normal distribution is this many standard deviations wide.
NORMAL_MIDDLE_HALF = 1.3489795003921634
# Fewer rows than this fit nothing.
FEWEST_ROWS = 100


class NormaliserData(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A normaliser as plain data, for a model file: ``msgspec.json.encode`` writes it, ``decode`` reads it, exactly."""

    schema_hash: str
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    train_from_ns: int
    train_to_ns: int
    rows: int


@dataclass(frozen=True, slots=True)
class Normaliser:
    """The shift and scale of each column, shape (C,), and the stretch of time they were fitted on."""

    schema: FeatureSchema
    centre: Floats
    scale: Floats
    train_from_ns: int
    train_to_ns: int
    rows: int

    @classmethod
    def fit(
        cls,
        rows: Floats,
        ts_event: npt.NDArray[np.int64],
        schema: FeatureSchema,
        *,
        train_from_ns: int,
        train_to_ns: int,
    ) -> Normaliser:
        """Fit on the whole rows with ``train_from_ns <= ts_event <= train_to_ns``, and on no other.

        ``rows`` (T, C) as the matrices give them, ``ts_event`` (T,). Raises ``FeatureError`` where fewer than 100 rows are whole.
        """
        if rows.shape != (len(ts_event), len(schema.columns)):
            raise FeatureError(f"rows: found shape {rows.shape}, expected ({len(ts_event)}, {len(schema.columns)})")
        known = list(schema.known_columns)
        inside = (ts_event >= train_from_ns) & (ts_event <= train_to_ns)
        train = rows[inside & ~np.isnan(rows[:, known]).any(axis=1)]
        if len(train) < FEWEST_ROWS:
            raise FeatureError(
                f"rows: found {len(train)} whole rows in the training stretch, expected at least {FEWEST_ROWS}"
            )
        centre, scale = np.zeros(len(schema.columns)), np.ones(len(schema.columns))
        for place in known:
            if schema.columns[place].rescale:
                lower, middle, upper = np.quantile(train[:, place], [0.25, 0.5, 0.75])
                # A column that is one number most of the time has no middle half; its deviation serves, if it has any.
                spread = (upper - lower) / NORMAL_MIDDLE_HALF or float(np.std(train[:, place])) or 1.0
                centre[place], scale[place] = middle, spread
        return cls(schema, centre, scale, train_from_ns, train_to_ns, len(train))

    def apply(self, rows: Floats) -> Floats:
        """The rows, shape (..., C), in the units of the training stretch."""
        if rows.shape[-1:] != self.centre.shape:
            raise FeatureError(f"rows: found shape {rows.shape}, expected {len(self.centre)} columns")
        out: Floats = np.clip((rows - self.centre) / self.scale, -LIMIT, LIMIT)
        out[..., list(self.schema.unknown_columns)] = 0.0
        return out

    def to_data(self) -> NormaliserData:
        """As plain data."""
        return NormaliserData(
            schema_hash=self.schema.hash,
            centre=tuple(self.centre.tolist()),
            scale=tuple(self.scale.tolist()),
            train_from_ns=self.train_from_ns,
            train_to_ns=self.train_to_ns,
            rows=self.rows,
        )

    @classmethod
    def from_data(cls, data: NormaliserData, schema: FeatureSchema) -> Normaliser:
        """From plain data. Raises ``SchemaMismatch`` where it was fitted on another schema than ``schema``."""
        schema.check_same(data.schema_hash, "normaliser")
        columns = len(schema.columns)
        if len(data.centre) != columns or len(data.scale) != columns or not all(s > 0 for s in data.scale):
            raise FeatureError(
                f"normaliser: found {len(data.centre)} and {len(data.scale)} numbers, expected {columns}, scales above 0"
            )
        centre, scale = np.array(data.centre), np.array(data.scale)
        return cls(schema, centre, scale, data.train_from_ns, data.train_to_ns, data.rows)
