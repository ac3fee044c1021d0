"""Charts of one number against another: scatter, reliability and QQ plots, and histograms. Read ``barchart.py`` next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from grandmodel.charts.downsample import thin_to_pixels
from grandmodel.charts.errors import ChartError
from grandmodel.charts.frame import (
    FULL_WIDTH,
    Box,
    Drawing,
    LegendEntry,
    axis_room,
    label,
    path_data,
    plural,
    series_colour,
)
from grandmodel.charts.markup import Attributes, Markup, element, text
from grandmodel.charts.numbers import format_value
from grandmodel.charts.scales import Floats, LinearScale, axis_within, check_range, drawable, nice_axis, value_range

_MOST_POINTS = 4_000
_MOST_BINS = 200


@dataclass(frozen=True, slots=True)
class Points:
    """One set of points ``x`` (K,), ``y`` (K,): dots, or joined in the order given where ``line`` is set.

    ``names`` (K,), where given, are shown when the pointer rests on a dot. Pairs with a missing value are left out.
    """

    name: str
    x: npt.ArrayLike
    y: npt.ArrayLike
    line: bool = False
    dots: bool = True
    names: Sequence[str] = ()
    colour: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class XYChart:
    """Points and lines of y against x.

    ``diagonal`` draws y = x, the line of a calibrated forecast (reliability) or of equal quantiles (QQ). Units as in
    ``numbers.py``. ``x_range`` and ``y_range`` fix the axes. Drawing raises ``ChartError`` where x and y differ in length.
    """

    title: str
    points: Sequence[Points]
    x_label: str = ""
    y_label: str = ""
    x_unit: str = ""
    y_unit: str = ""
    diagonal: str = ""
    note: str = ""
    height: int = 280
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None

    def draw(self, width: int = FULL_WIDTH, identifier: str = "chart") -> Markup:
        """The picture as one ``<svg>``."""
        check_range(self.x_range, "x_range", self.title)
        check_range(self.y_range, "y_range", self.title)
        pairs = [_pairs(points) for points in self.points]
        left_out = sum(np.asarray(points.x).size for points in self.points) - sum(x.size for x, _ in pairs)
        notes = [f"{plural(left_out, 'pair')} with a missing or infinite value left out."] if left_out else []
        x_limits = self.x_range or value_range(x for x, _ in pairs)
        y_limits = self.y_range or value_range(y for _, y in pairs)
        is_empty = x_limits is None or y_limits is None or not any(x.size for x, _ in pairs)
        low, high, ticks, step = axis_within(y_limits or (0.0, 1.0), self.y_range)
        drawing = Drawing(
            title=self.title, identifier=identifier, width=width, plot_height=self.height, left=axis_room(ticks, step, self.y_unit),
            below=42.0 if self.x_label else 28.0, legend=self._legend(), notes=[*notes, *([self.note] if self.note else [])],
            y_label=self.y_label,
        )  # fmt: skip
        if is_empty or x_limits is None:
            drawing.add_no_data(f"{plural(left_out, 'pair')}, none that can be drawn" if left_out else "no points")
            return drawing.finish(f"{self.title}: no data to draw.")
        box = drawing.box
        x_low, x_high, x_ticks, x_step = axis_within(x_limits, self.x_range, max(2, int(box.width // 65)))
        x_scale = LinearScale(x_low, x_high, box.left, box.right)
        y_scale = LinearScale(low, high, box.bottom, box.top)
        drawing.add_value_axis(y_scale, ticks, step, self.y_unit)
        drawing.add_bottom_axis(x_scale, x_ticks, x_step, self.x_unit, self.x_label)
        ends = np.array([max(x_low, low), min(x_high, high)])
        parts: list[Markup] = []
        if self.diagonal and ends[0] < ends[1]:
            diagonal = path_data(x_scale.pixels(ends), y_scale.pixels(ends))
            parts.append(element("path", {"class": "level neutral", "d": diagonal}))
        for place, (points, (x, y)) in enumerate(zip(self.points, pairs, strict=True)):
            parts += self._drawn(points, x, y, points.colour or series_colour(place), x_scale, y_scale)
        drawing.add(drawing.clipped(*parts))
        return drawing.finish(self._description(pairs))

    def _drawn(
        self, points: Points, x: Floats, y: Floats, colour: str, x_scale: LinearScale, y_scale: LinearScale
    ) -> list[Markup]:
        parts: list[Markup] = []
        at_x, at_y = x_scale.pixels(x), y_scale.pixels(y)
        if points.line:
            parts.append(element("path", {"class": f"line {colour}", "d": path_data(at_x, at_y)}))
        if not points.dots:
            return parts
        kept = np.arange(x.size) if x.size <= _MOST_POINTS else thin_to_pixels(at_x, at_y, 1.0)
        if x.size > 500:
            # One path of short round strokes is a third of the size of as many circles.
            dots = "".join(f"M{at_x[k]:.1f} {at_y[k]:.1f}h0" for k in kept.tolist())
            return [*parts, element("path", {"class": f"cloud {colour}", "d": dots})]
        names = _known_names(points)
        shape = "point ring" if points.line else "point"
        for k in kept.tolist():
            name = f"{names[k]}: " if names else ""
            tip = f"{name}{format_value(float(x[k]), self.x_unit)}, {format_value(float(y[k]), self.y_unit)}"
            circle: Attributes = {"class": f"{shape} {colour}", "cx": float(at_x[k]), "cy": float(at_y[k]), "r": 3.5}
            parts.append(element("circle", circle, element("title", {}, text(tip))))
        return parts

    def _legend(self) -> list[LegendEntry]:
        entries = [
            LegendEntry(points.name, "line" if points.line else "dot", points.colour or series_colour(place))
            for place, points in enumerate(self.points)
        ]
        if self.diagonal:
            entries.append(LegendEntry(self.diagonal, "dash", "neutral"))
        return entries if len(entries) > 1 else []

    def _description(self, pairs: Sequence[tuple[Floats, Floats]]) -> str:
        said = [f"{self.y_label or 'y'} against {self.x_label or 'x'}."]
        for points, (x, y) in zip(self.points, pairs, strict=True):
            if x.size:
                from_x, to_x = format_value(float(x.min()), self.x_unit), format_value(float(x.max()), self.x_unit)
                from_y, to_y = format_value(float(y.min()), self.y_unit), format_value(float(y.max()), self.y_unit)
                said.append(f"{points.name}: {plural(x.size, 'point')}, x {from_x} to {to_x}, y {from_y} to {to_y}.")
        return " ".join(said)


@dataclass(frozen=True, slots=True)
class Sample:
    """Values (N,) whose distribution is shown."""

    name: str
    values: npt.ArrayLike
    colour: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How values are distributed: counts of one sample, or shares of several laid over each other.

    ``bins``: how many (None: by the rule of Freedman and Diaconis, 1981, between 5 and 200). ``value_range`` cuts the axis;
    what lies outside is counted under the picture. ``references`` are (value, name) lines, a VaR or a mean.
    """

    title: str
    samples: Sequence[Sample]
    unit: str = ""
    x_label: str = ""
    bins: int | None = None
    value_range: tuple[float, float] | None = None
    references: Sequence[tuple[float, str]] = ()
    note: str = ""
    height: int = 220

    def draw(self, width: int = FULL_WIDTH, identifier: str = "chart") -> Markup:
        """The picture as one ``<svg>``."""
        check_range(self.value_range, "value_range", self.title)
        arrays = [np.asarray(sample.values, np.float64).ravel() for sample in self.samples]
        known = [array[drawable(array)] for array in arrays]
        limits = self.value_range or value_range(known)
        edges = np.array([0.0, 1.0]) if limits is None else self._edges(np.concatenate(known), limits)
        counted, notes = ([], []) if limits is None else self._counts(known, edges)
        notes = [*self._left_out(arrays, known), *notes]
        is_empty = not any(counts.any() for counts in counted)
        highest = max((float(counts.max()) for counts in counted), default=0.0) or 1.0
        low, high, ticks, step = nice_axis(0.0, highest, 4)
        y_unit = "" if len(self.samples) == 1 else "%"
        drawing = Drawing(
            title=self.title, identifier=identifier, width=width, plot_height=self.height, left=axis_room(ticks, step, y_unit),
            below=42.0 if self.x_label else 28.0, notes=[*notes, *([self.note] if self.note else [])],
            y_label="values in a bin" if len(self.samples) == 1 else "share of the sample in a bin",
            legend=[LegendEntry(s.name, "block", s.colour or series_colour(k)) for k, s in enumerate(self.samples)] if len(self.samples) > 1 else [],
        )  # fmt: skip
        if is_empty:
            total = sum(array.size for array in arrays)
            drawing.add_no_data(f"{plural(total, 'value')}, none that can be drawn" if total else "no values")
            return drawing.finish(f"{self.title}: no data to draw.")
        box = drawing.box
        _, _, x_ticks, x_step = nice_axis(float(edges[0]), float(edges[-1]), max(2, int(box.width // 65)))
        x_scale = LinearScale(float(edges[0]), float(edges[-1]), box.left, box.right)
        y_scale = LinearScale(low, high, box.bottom, box.top)
        drawing.add_value_axis(y_scale, ticks, step, y_unit)
        drawing.add_bottom_axis(
            x_scale, [t for t in x_ticks if edges[0] <= t <= edges[-1]], x_step, self.unit, self.x_label
        )
        for place, (sample, counts) in enumerate(zip(self.samples, counted, strict=True)):
            colour = sample.colour or series_colour(place)
            if len(self.samples) == 1:
                drawing.add(*self._bars(counts, edges, x_scale, y_scale, colour))
            else:
                drawing.add(_outline(counts, edges, x_scale, y_scale, sample.name, colour))
        inside = [(value, name) for value, name in self.references if edges[0] <= value <= edges[-1]]
        drawing.add(*self._reference_lines(inside, x_scale, box))
        return drawing.finish(self._description(known))

    def _left_out(self, arrays: Sequence[Floats], known: Sequence[Floats]) -> list[str]:
        return [
            f"{sample.name}: {plural(array.size - kept.size, 'missing or infinite value')} left out."
            for sample, array, kept in zip(self.samples, arrays, known, strict=True)
            if array.size > kept.size
        ]

    def _counts(self, known: Sequence[Floats], edges: Floats) -> tuple[list[Floats], list[str]]:
        """How many values, or which share of them, lie in each bin, a row a sample; and notes on those outside."""
        counted: list[Floats] = []
        notes: list[str] = []
        for sample, kept in zip(self.samples, known, strict=True):
            counts = np.histogram(kept, edges)[0].astype(np.float64)
            outside = kept.size - int(counts.sum())
            if outside:
                notes.append(f"{sample.name}: {plural(outside, 'value')} of {kept.size:,} outside the axis.")
            counted.append(counts if len(known) == 1 else counts / max(kept.size, 1))
        return counted, notes

    def _reference_lines(self, inside: Sequence[tuple[float, str]], x_scale: LinearScale, box: Box) -> list[Markup]:
        """A line at each reference, then their names, so that no line crosses a name."""
        parts: list[Markup] = []
        for value, _ in inside:
            x = x_scale.at(value)
            line: Attributes = {"class": "level neutral", "x1": x, "x2": x, "y1": box.top, "y2": box.bottom}
            parts.append(element("line", line))
        for k, (value, name) in enumerate(inside):
            x, y, words = x_scale.at(value), box.top + 12 + 15 * (k % 4), f"{name} {format_value(value, self.unit)}"
            far_right = x > box.left + 0.7 * box.width
            parts.append(label(x + (-5 if far_right else 5), y, words, "level-name", "end" if far_right else "start"))
        return parts

    def _edges(self, values: Floats, limits: tuple[float, float]) -> Floats:
        low, high = limits
        if high - low <= max(abs(low), abs(high)) * 1e-11 or high <= low:
            margin = abs(low) * 0.05 or 0.5
            low, high = low - margin, high + margin
        bins = self.bins
        if bins is None:
            bins = _bin_count(values[(values >= low) & (values <= high)], high - low)
        if bins < 1:
            raise ChartError(f"chart {self.title!r}: bins is {bins}; expected 1 or more")
        return np.linspace(low, high, bins + 1)

    def _bars(
        self, counts: Floats, edges: Floats, x_scale: LinearScale, y_scale: LinearScale, colour: str
    ) -> list[Markup]:
        parts: list[Markup] = []
        at_x = x_scale.pixels(edges)
        gap = 1.0 if at_x[1] - at_x[0] > 5 else 0.0
        for k in np.flatnonzero(counts).tolist():
            top = y_scale.at(float(counts[k]))
            tip = f"{format_value(float(edges[k]), self.unit)} to {format_value(float(edges[k + 1]), self.unit)}: {format_value(float(counts[k]))}"
            area: Attributes = {
                "class": f"bin {colour}",
                "x": float(at_x[k]) + gap / 2,
                "y": top,
                "width": float(at_x[k + 1] - at_x[k]) - gap,
                "height": y_scale.start - top,
            }
            parts.append(element("rect", area, element("title", {}, text(tip))))
        return parts

    def _description(self, known: Sequence[Floats]) -> str:
        said = []
        for sample, kept in zip(self.samples, known, strict=True):
            if kept.size:
                low, middle, high = (format_value(float(v), self.unit) for v in np.quantile(kept, [0.05, 0.5, 0.95]))
                said.append(
                    f"{sample.name}: {plural(kept.size, 'value')}, median {middle}, nine tenths between {low} and {high}."
                )
        return " ".join(said)


def _outline(
    counts: Floats, edges: Floats, x_scale: LinearScale, y_scale: LinearScale, name: str, colour: str
) -> Markup:
    """The silhouette of a histogram, so that several can be seen through each other."""
    x = np.repeat(x_scale.pixels(edges), 2)
    y = np.concatenate([[y_scale.start], np.repeat(y_scale.pixels(counts), 2), [y_scale.start]])
    tip = element("title", {}, text(name))
    return element("path", {"class": f"bin over {colour}", "d": path_data(x, y)}, tip)


def _pairs(points: Points) -> tuple[Floats, Floats]:
    x, y = np.asarray(points.x, np.float64).ravel(), np.asarray(points.y, np.float64).ravel()
    if x.shape != y.shape:
        raise ChartError(f"{points.name!r}: x has shape {x.shape}, y {y.shape}; expected the same")
    if points.names and len(points.names) != x.size:
        raise ChartError(f"{points.name!r}: {len(points.names)} names for {x.size} points; expected one per point")
    known = drawable(x) & drawable(y)
    return x[known], y[known]


def _known_names(points: Points) -> list[str]:
    """The names of the pairs that ``_pairs`` kept."""
    known = drawable(np.asarray(points.x, np.float64).ravel()) & drawable(np.asarray(points.y, np.float64).ravel())
    return [name for name, is_known in zip(points.names, known.tolist(), strict=False) if is_known]


def _bin_count(values: Floats, width: float) -> int:
    lower, upper = np.quantile(values, [0.25, 0.75]) if values.size else (0.0, 0.0)
    bin_width = 2.0 * float(upper - lower) / max(values.size, 1) ** (1 / 3)
    if bin_width <= 0:
        # An odd number, so that the bar of a constant stands around its value.
        return 21
    return int(min(max(math.ceil(width / bin_width), 5), _MOST_BINS))
