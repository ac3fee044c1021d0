"""A matrix as colours, with its scale beside it. Read ``page.py`` next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from grandmodel.charts.errors import ChartError
from grandmodel.charts.frame import FULL_WIDTH, Drawing, label, plural, shown_label, text_width
from grandmodel.charts.markup import Attributes, Markup, element, text
from grandmodel.charts.numbers import axis_labels, format_value
from grandmodel.charts.scales import Floats, drawable, nice_axis

_MOST_CELLS = 120
_LABEL_ROOM = 170.0
_SCALE_ROOM = 76.0
_PALEST, _STRONG = 0.04, 0.62


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """A matrix ``values`` (R, C) with ``rows`` (R,) and ``columns`` (C,) as labels; row 0 is on top.

    ``center`` is the value without colour: below it one hue, above it another. None takes the smallest value, for one
    hue only. ``limit`` is the distance from the centre at full colour (None: the largest there is; values beyond it keep
    full colour and are counted under the picture). ``show_values`` writes numbers into the cells (None: where they fit).
    A matrix of more than 120 rows or columns is drawn in blocks, each showing its value farthest from the centre.
    Drawing raises ``ChartError`` where the labels do not fit the matrix.
    """

    title: str
    values: npt.ArrayLike
    rows: Sequence[str]
    columns: Sequence[str]
    unit: str = ""
    center: float | None = 0.0
    limit: float | None = None
    show_values: bool | None = None
    decimals: int | None = 2
    note: str = ""
    cell_height: int | None = None

    def draw(self, width: int = FULL_WIDTH, identifier: str = "chart") -> Markup:
        """The picture as one ``<svg>``."""
        matrix = self._checked()
        known = drawable(matrix)
        missing = int((~known).sum())
        named = max((min(text_width(name), _LABEL_ROOM) for name in self.rows), default=30.0)
        if not known.any():
            drawing = Drawing(title=self.title, identifier=identifier, width=width, plot_height=120, left=named + 20.0)
            drawing.add_no_data(
                f"{plural(missing, 'cell')}, none that can be drawn" if missing else "the matrix is empty"
            )
            return drawing.finish(f"{self.title}: no data to draw.")
        center = float(matrix[known].min()) if self.center is None else self.center
        farthest = float(np.abs(matrix[known] - center).max())
        limit = self.limit if self.limit is not None else farthest
        notes = [f"{plural(missing, 'cell')} without a value (grey, crossed)."] if missing else []
        beyond = int((np.abs(matrix[known] - center) > limit * (1 + 1e-12)).sum())
        notes += [f"{plural(beyond, 'cell')} beyond the scale, drawn at full colour."] if beyond else []
        drawn, rows, columns = _in_blocks(matrix, self.rows, self.columns, center)
        if drawn.shape != matrix.shape:
            notes.append(
                f"{matrix.shape[0]:,} by {matrix.shape[1]:,} cells drawn in blocks; each shows its value farthest from the centre."
            )
        height = self.cell_height or (
            26 if len(rows) <= 16 else 18 if len(rows) <= 40 else 13 if len(rows) <= 64 else 7
        )
        cell_width = (width - named - 20.0 - _SCALE_ROOM - 18.0) / len(columns)
        is_slanted = max(text_width(name) for name in columns) + 6 > cell_width
        below = 24.0 if not is_slanted else min(max(text_width(name) for name in columns), _LABEL_ROOM) * 0.72 + 22.0
        drawing = Drawing(
            title=self.title, identifier=identifier, width=width, plot_height=max(height * len(rows), 90 if len(rows) < 4 else 0),
            left=named + 20.0, right=_SCALE_ROOM + 18.0, below=below, notes=[*notes, *([self.note] if self.note else [])],
        )  # fmt: skip
        self._draw_cells(drawing, drawn, rows, columns, center, limit)
        _draw_column_names(drawing, columns, is_slanted)
        self._draw_scale(drawing, center, limit)
        lowest, highest = np.unravel_index(
            [np.where(known, matrix, np.inf).argmin(), np.where(known, matrix, -np.inf).argmax()], matrix.shape
        )
        low_at, high_at = (lowest[0], highest[0]), (lowest[1], highest[1])
        return drawing.finish(
            f"{plural(len(self.rows), 'row')} by {plural(len(self.columns), 'column')}. Lowest {self._shown(float(matrix[low_at]))} at "
            f"{self.rows[low_at[0]]}, {self.columns[low_at[1]]}; highest {self._shown(float(matrix[high_at]))} at "
            f"{self.rows[high_at[0]]}, {self.columns[high_at[1]]}."
        )

    def _checked(self) -> Floats:
        """The values as (rows, columns); raises ``ChartError`` where they are not, or a bound is not a number."""
        matrix = np.asarray(self.values, np.float64)
        if matrix.size == 0:
            matrix = (
                matrix.reshape(len(self.rows), len(self.columns)) if len(self.rows) * len(self.columns) == 0 else matrix
            )
        if matrix.shape != (len(self.rows), len(self.columns)):
            raise ChartError(
                f"chart {self.title!r}: values have shape {matrix.shape}, labels say ({len(self.rows)}, {len(self.columns)}); expected the same"
            )
        if self.limit is not None and not 0 < self.limit < math.inf:
            raise ChartError(f"chart {self.title!r}: limit is {self.limit}; expected a finite number above zero")
        if self.center is not None and not math.isfinite(self.center):
            raise ChartError(f"chart {self.title!r}: center is {self.center}; expected a finite number or None")
        return matrix

    def _draw_cells(
        self, drawing: Drawing, matrix: Floats, rows: Sequence[str], columns: Sequence[str], center: float, limit: float
    ) -> None:
        box = drawing.box
        wide, tall = box.width / len(columns), box.height / len(rows)
        words = [[self._shown(value) if abs(value) < 1e300 else "" for value in line] for line in matrix.tolist()]
        fits = tall >= 14 and max(text_width(word, 11.0) for line in words for word in line) + 4 <= wide
        show = fits if self.show_values is None else self.show_values
        gap = 1.0 if wide > 6 and tall > 6 else 0.0
        every = max(1, int(np.ceil(13.0 / tall)))
        for r, name in enumerate(rows):
            top = box.top + r * tall
            if r % every == 0:
                drawing.add(label(box.left - 7, top + tall / 2 + 4, shown_label(name, _LABEL_ROOM), "name", "end"))
            for c, column in enumerate(columns):
                value = float(matrix[r, c])
                left = box.left + c * wide
                tip = element(
                    "title", {}, text(f"{name}, {column}: {self._shown(value) if words[r][c] else 'no value'}")
                )
                area: Attributes = {"x": left, "y": top, "width": wide - gap, "height": tall - gap}
                if not words[r][c]:
                    drawing.add(element("rect", {"class": "cell-none", **area}, tip), _cross(left, top, wide, tall))
                    continue
                strength = cell_strength(value, center, limit)
                hue = "cell-high" if value >= center else "cell-low"
                drawing.add(
                    element("rect", {"class": hue, "fill-opacity": _PALEST + (1 - _PALEST) * strength, **area}, tip)
                )
                if show:
                    kind = "cell-text strong" if strength > _STRONG else "cell-text"
                    drawing.add(label(left + (wide - gap) / 2, top + tall / 2 + 4, words[r][c], kind, "middle"))

    def _draw_scale(self, drawing: Drawing, center: float, limit: float) -> None:
        """The colour bar: full colour at ``limit`` from the centre, at its top and (for two hues) its bottom."""
        box = drawing.box
        low = center if self.center is None else center - limit
        high = center + limit
        left, steps = box.right + 16.0, 40
        tall = min(box.height, 240.0)
        for k in range(steps):
            value = high - (k + 0.5) * (high - low) / steps
            hue = "cell-high" if value >= center else "cell-low"
            strength = cell_strength(value, center, limit)
            area: Attributes = {"x": left, "y": box.top + k * tall / steps, "width": 12, "height": tall / steps}
            drawing.add(
                element("rect", {"class": f"{hue} crisp", "fill-opacity": _PALEST + (1 - _PALEST) * strength, **area})
            )
        if high <= low:
            drawing.add(label(left + 17, box.top + tall / 2 + 4, self._shown(center), "context"))
            return
        _, _, ticks, step = nice_axis(low, high, max(3, int(tall // 45)))
        for tick, written in zip(ticks, axis_labels(ticks, step, self.unit), strict=True):
            if low - 1e-9 * (high - low) <= tick <= high + 1e-9 * (high - low):
                y = box.top + (high - tick) / (high - low) * tall
                drawing.add(label(left + 17, y + 4, written, "context"))

    def _shown(self, value: float) -> str:
        return format_value(value, self.unit, self.decimals)


def cell_strength(value: float, center: float, limit: float) -> float:
    """How strongly a cell is coloured, in [0, 1]: its distance from the centre over the limit."""
    if limit <= 0:
        return 0.0
    return min(abs(value - center) / limit, 1.0)


def _cross(left: float, top: float, wide: float, tall: float) -> Markup:
    """The mark of a cell without a value."""
    x, y, half = left + wide / 2, top + tall / 2, min(wide, tall) * 0.22
    strokes = f"M{x - half:.2f} {y - half:.2f}L{x + half:.2f} {y + half:.2f}M{x - half:.2f} {y + half:.2f}L{x + half:.2f} {y - half:.2f}"
    return element("path", {"class": "cell-cross", "d": strokes})


def _draw_column_names(drawing: Drawing, columns: Sequence[str], is_slanted: bool) -> None:
    box = drawing.box
    wide = box.width / len(columns)
    every = max(1, int(np.ceil(15.0 / wide)))
    for c, name in enumerate(columns):
        if c % every:
            continue
        x, y = box.left + (c + 0.5) * wide, box.bottom + 15.0
        if not is_slanted:
            drawing.add(label(x, y, name, "name", "middle"))
            continue
        turned: Attributes = {
            "class": "name",
            "text-anchor": "end",
            "transform": f"translate({x + 4:.2f} {y:.2f}) rotate(-42)",
        }
        drawing.add(element("text", turned, text(shown_label(name, _LABEL_ROOM))))


def _in_blocks(
    matrix: Floats, rows: Sequence[str], columns: Sequence[str], center: float
) -> tuple[Floats, Sequence[str], Sequence[str]]:
    """The matrix with no side above ``_MOST_CELLS``: blocks of neighbours become the one farthest from the centre."""
    by_row, by_column = -(-matrix.shape[0] // _MOST_CELLS), -(-matrix.shape[1] // _MOST_CELLS)
    if by_row == 1 and by_column == 1:
        return matrix, rows, columns
    new_rows, new_columns = -(-matrix.shape[0] // by_row), -(-matrix.shape[1] // by_column)
    padded = np.full((new_rows * by_row, new_columns * by_column), np.nan)
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    blocks = (
        padded.reshape(new_rows, by_row, new_columns, by_column)
        .transpose(0, 2, 1, 3)
        .reshape(new_rows, new_columns, -1)
    )
    distance = np.where(drawable(blocks), np.abs(blocks - center), -1.0)
    chosen = np.take_along_axis(blocks, distance.argmax(axis=2)[..., None], axis=2)[..., 0]
    return chosen, list(rows)[::by_row], list(columns)[::by_column]
