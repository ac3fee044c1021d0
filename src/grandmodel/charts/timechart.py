"""Charts over time: lines and areas with bands, trade marks, shaded spans and levels; states as blocks on a ladder.

Time is int64 nanoseconds UTC. Read ``xychart.py`` next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from grandmodel.charts.downsample import Reduced, reduce_to_columns, thin_to_pixels
from grandmodel.charts.errors import ChartError
from grandmodel.charts.frame import (
    FULL_WIDTH,
    Box,
    Drawing,
    LegendEntry,
    Tone,
    axis_room,
    label,
    path_data,
    plural,
    series_colour,
    shown_label,
    symbol_mark,
    text_width,
)
from grandmodel.charts.markup import Attributes, Markup, element, join, text
from grandmodel.charts.numbers import format_time, format_value
from grandmodel.charts.scales import (
    Floats,
    LinearScale,
    Times,
    TimeScale,
    axis_within,
    check_range,
    drawable,
    value_range,
)
from grandmodel.charts.style import SERIES_COLOURS

MarkKind = Literal["buy", "sell", "event", "cross"]
_MARK_COLOURS: Mapping[MarkKind, str] = {"buy": "s2", "sell": "s1", "event": "s7", "cross": "bad"}
_MARK_SIZE = 5.0
_FARTHEST_NS = 2**62
_MOST_MARKS = 1_500
_LADDER: Mapping[int, Sequence[Tone]] = {
    1: ("good",),
    2: ("good", "bad"),
    3: ("good", "caution", "bad"),
    4: ("good", "caution", "warn", "bad"),
    5: ("good", "caution", "warn", "bad", "bad"),
}


@dataclass(frozen=True, slots=True)
class Series:
    """One line over time.

    ``time_ns`` (T,) int64 in order, ``values`` (T,) in the unit of the chart (NaN is a gap). ``step`` holds each value
    until the next (positions, limits); ``area`` fills to zero (drawdown); ``dashed`` sets a reference apart; points more
    than ``max_gap_ns`` apart are not joined. ``colour`` overrides the colour of its place (``s0`` ... ``s7`` or a tone).
    """

    name: str
    time_ns: npt.ArrayLike
    values: npt.ArrayLike
    step: bool = False
    area: bool = False
    dashed: bool = False
    max_gap_ns: int | None = None
    colour: str | None = None


@dataclass(frozen=True, slots=True)
class Band:
    """The space between two lines over time, both (T,): an interval, a range. Drawn behind the series."""

    name: str
    time_ns: npt.ArrayLike
    low: npt.ArrayLike
    high: npt.ArrayLike
    colour: str = "s0"


@dataclass(frozen=True, slots=True)
class Markers:
    """Points in time at a value, both (K,): ``buy`` and ``sell`` triangles whose tip is at the value, ``event``, ``cross``."""

    name: str
    time_ns: npt.ArrayLike
    values: npt.ArrayLike
    kind: MarkKind = "event"


@dataclass(frozen=True, slots=True)
class ShadedSpan:
    """A stretch of time to shade from top to bottom: a session, a gap in the data, a halt. Equal labels share a legend entry."""

    start_ns: int
    end_ns: int
    label: str = ""
    tone: Tone = "neutral"


@dataclass(frozen=True, slots=True)
class Level:
    """A dashed line across the plot at one value of the vertical axis, with its name: a limit, a threshold."""

    value: float
    name: str
    tone: Tone = "neutral"


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChart:
    """Lines, areas and marks over time.

    ``unit`` as in ``numbers.py`` (``"%"`` shows fractions as percent). ``time_range_ns`` and ``value_range`` fix the axes;
    left None they hold all the data, and charts of one page with the same ``time_range_ns`` share their crosshair.
    ``include_zero`` keeps zero in view. What could not be drawn is counted under the picture.

    Drawing raises ``ChartError`` where arrays differ in length or time runs backwards.
    """

    title: str
    series: Sequence[Series]
    unit: str = ""
    bands: Sequence[Band] = ()
    markers: Sequence[Markers] = ()
    spans: Sequence[ShadedSpan] = ()
    levels: Sequence[Level] = ()
    y_label: str = ""
    note: str = ""
    height: int = 240
    include_zero: bool = False
    time_range_ns: tuple[int, int] | None = None
    value_range: tuple[float, float] | None = None

    def draw(self, width: int = FULL_WIDTH, identifier: str = "chart") -> Markup:
        """The picture as one ``<svg>``."""
        check_range(self.value_range, "value_range", self.title)
        check_range(self.time_range_ns, "time_range_ns", self.title)
        lines = [_Line(series, place) for place, series in enumerate(self.series)]
        bands = [_Between(band) for band in self.bands]
        marks = [_Marks(marker) for marker in self.markers]
        span = self.time_range_ns or _time_span(
            [p.time_ns for p in lines] + [p.time_ns for p in bands] + [p.time_ns for p in marks]
        )
        limits = self.value_range or self._value_limits(lines, bands, marks, span)
        notes = [*_notes(lines), *([self.note] if self.note else [])]
        reduced: list[Reduced] = []
        if span is not None and limits is not None:
            low, high, ticks, step = axis_within(limits, self.value_range)
            left = axis_room(ticks, step, self.unit)
            columns = max(int(width - left - 18.0), 1)
            reduced = [reduce_to_columns(ln.time_ns, ln.values, *span, columns, ln.series.max_gap_ns) for ln in lines]
            notes = [*_reduction_notes(lines, reduced), *notes]
        else:
            left = 60.0
        drawing = Drawing(
            title=self.title, identifier=identifier, width=width, plot_height=self.height, left=left, legend=self._legend(),
            notes=notes, y_label=self.y_label,
        )  # fmt: skip
        if span is None or limits is None:
            drawing.add_no_data(_why_empty(lines))
            return drawing.finish(f"{self.title}: no data to draw.")
        box = drawing.box
        x_scale = TimeScale(*span, box.left, box.right)
        y_scale = LinearScale(low, high, box.bottom, box.top)
        drawing.add(*(_shade(part, x_scale, box) for part in self.spans))
        drawing.add_value_axis(y_scale, ticks, step, self.unit)
        drawing.add_time_axis(x_scale)
        parts = [band.drawn(x_scale, y_scale, columns) for band in bands]
        parts += [line.drawn(kept, x_scale, y_scale) for line, kept in zip(lines, reduced, strict=True)]
        parts += [_level_line(level, y_scale, box) for level in self.levels]
        parts += [mark.drawn(x_scale, y_scale, self.unit) for mark in marks]
        drawing.add(drawing.clipped(*parts))
        drawing.add(*(_level_name(level, y_scale, box) for level in self.levels if low <= level.value <= high))
        hover = self._hover(lines, reduced, x_scale, y_scale, box)
        return drawing.finish(self._description(lines, marks, span), hover)

    def _value_limits(
        self, lines: Sequence[_Line], bands: Sequence[_Between], marks: Sequence[_Marks], span: tuple[int, int] | None
    ) -> tuple[float, float] | None:
        if span is None:
            return None
        parts = [_within(line.time_ns, line.values, span) for line in lines]
        parts += [_within(band.time_ns, edge, span) for band in bands for edge in (band.low, band.high)]
        parts += [_within(mark.time_ns, mark.values, span) for mark in marks]
        if value_range(parts) is None:
            return None
        parts.append(np.array([level.value for level in self.levels], np.float64))
        return value_range(parts, include_zero=self.include_zero or any(line.series.area for line in lines))

    def _legend(self) -> list[LegendEntry]:
        entries = [
            LegendEntry(
                series.name,
                "dash" if series.dashed or k >= SERIES_COLOURS else "area" if series.area else "line",
                series.colour or series_colour(k),
            )
            for k, series in enumerate(self.series)
        ]
        entries += [LegendEntry(band.name, "area", band.colour) for band in self.bands]
        entries += [LegendEntry(mark.name, mark.kind, _MARK_COLOURS[mark.kind]) for mark in self.markers]
        entries += [
            LegendEntry(name, "span", tone)
            for name, tone in dict.fromkeys((s.label, s.tone) for s in self.spans)
            if name
        ]
        return entries if len(entries) > 1 else []

    def _description(self, lines: Sequence[_Line], marks: Sequence[_Marks], span: tuple[int, int]) -> str:
        said = [f"From {format_time(span[0])} to {format_time(span[1])} UTC."]
        for line in lines:
            kept = line.values[drawable(line.values)]
            if kept.size:
                first, last, low, high = (
                    format_value(float(v), self.unit) for v in (kept[0], kept[-1], kept.min(), kept.max())
                )
                said.append(f"{line.series.name}: first {first}, last {last}, lowest {low}, highest {high}.")
        said += [f"{mark.markers.name}: {plural(mark.values.size, 'mark')}." for mark in marks]
        return " ".join(said)

    def _hover(
        self, lines: Sequence[_Line], reduced: Sequence[Reduced], x_scale: TimeScale, y_scale: LinearScale, box: Box
    ) -> Mapping[str, object]:
        resolution_ns = _hover_resolution(x_scale.end_ns - x_scale.start_ns)
        series: list[Mapping[str, object]] = []
        previous: npt.NDArray[np.int64] | None = None
        for line, kept in zip(lines, reduced, strict=True):
            times = line.time_ns[kept.column_last]
            shared = previous is not None and np.array_equal(previous, times)
            previous = times
            values = line.values[kept.column_last]
            shown = [format_value(value, self.unit) for value in values.tolist()]
            for place in np.flatnonzero(kept.column_count > 1).tolist():
                low, high = kept.column_low[place], kept.column_high[place]
                if low < high:
                    shown[place] += (
                        f"  ({format_value(float(low), self.unit)} to {format_value(float(high), self.unit)})"
                    )
            heights = y_scale.pixels(values)
            inside = (heights >= box.top - 2) & (heights <= box.bottom + 2)
            series.append({
                "n": line.series.name,
                "c": line.colour,
                "step": int(line.series.step),
                "x": 0 if shared else [round(x, 1) for x in x_scale.pixels(times).tolist()],
                "t": 0 if shared else [format_time(time, resolution_ns) for time in times.tolist()],
                "y": [round(y, 1) if seen else None for y, seen in zip(heights.tolist(), inside.tolist(), strict=True)],
                "v": shown,
            })  # fmt: skip
        edges = [round(edge, 1) for edge in (box.left, box.top, box.right, box.bottom)]
        return {"box": edges, "span": f"{x_scale.start_ns}:{x_scale.end_ns}", "series": series}


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChart:
    """Which state held when: one row per state, the first at the bottom (a ladder of circuit breakers, a market regime).

    ``states`` (T,) names out of ``ladder`` and ``time_ns`` (T,) when each began; the last holds until ``end_ns``. With
    ``ladder_tones`` (one per state) left None, a ladder of up to five is coloured from good to bad; False colours states
    as equals. A state shorter than a pixel is drawn a pixel wide. Raises ``ChartError`` for a state not on the ladder.
    """

    title: str
    time_ns: npt.ArrayLike
    states: Sequence[str]
    ladder: Sequence[str]
    end_ns: int | None = None
    ladder_tones: Sequence[Tone] | Literal[False] | None = None
    time_range_ns: tuple[int, int] | None = None
    note: str = ""
    row_height: int = 26

    def draw(self, width: int = FULL_WIDTH, identifier: str = "chart") -> Markup:
        """The picture as one ``<svg>``."""
        check_range(self.time_range_ns, "time_range_ns", self.title)
        times = _times(self.time_ns, self.title)
        place_of = {state: place for place, state in enumerate(self.ladder)}
        unknown = sorted({state for state in self.states if state not in place_of})
        if unknown:
            raise ChartError(f"chart {self.title!r}: states {unknown} are not on the ladder {list(self.ladder)}")
        if len(self.states) != times.size:
            raise ChartError(
                f"chart {self.title!r}: {len(self.states)} states at {times.size} times; expected one state per time"
            )
        left = max(18.0 + max((min(text_width(state), 170.0) for state in self.ladder), default=0.0), 66.0)
        drawing = Drawing(
            title=self.title, identifier=identifier, width=width, plot_height=max(len(self.ladder), 1) * self.row_height, left=left,
            notes=[self.note] if self.note else [],
        )  # fmt: skip
        box = drawing.box
        if times.size == 0 or not self.ladder:
            drawing.add_no_data("no state was recorded")
            return drawing.finish(f"{self.title}: no state was recorded.")
        end_ns = int(times[-1]) if self.end_ns is None else self.end_ns
        if end_ns < times[-1]:
            raise ChartError(
                f"chart {self.title!r}: end_ns {end_ns} lies before the last change of state at {int(times[-1])}"
            )
        ends = np.append(times[1:], np.int64(end_ns))
        places = np.array([place_of[state] for state in self.states], np.int64)
        start, end = self.time_range_ns or (int(times[0]), end_ns)
        scale = TimeScale(start, end if end > start else start + 1, box.left, box.right)
        drawing.add_time_axis(scale)
        for place, state in enumerate(self.ladder):
            bottom = box.bottom - place * self.row_height
            line: Attributes = {
                "class": "grid",
                "x1": box.left,
                "x2": box.right,
                "y1": bottom - self.row_height,
                "y2": bottom - self.row_height,
            }
            named = label(box.left - 7, bottom - self.row_height / 2 + 4, shown_label(state, 170.0), "name", "end")
            drawing.add(element("line", line), named)
        blocks: list[Markup] = []
        said = [f"From {format_time(start)} to {format_time(end)} UTC."]
        total_ns = max(end_ns - int(times[0]), 1)
        for place, state in enumerate(self.ladder):
            held = places == place
            from_x, to_x = scale.pixels(times[held]), scale.pixels(ends[held])
            share = float((ends[held] - times[held]).astype(np.float64).sum()) / total_ns
            fact = f"{state}: {share:.1%} of the time, entered {plural(int(held.sum()), 'time')}"
            said.append(fact + ".")
            top = box.bottom - (place + 1) * self.row_height + 4
            for x, right in merged_intervals(from_x, to_x):
                area: Attributes = {
                    "class": f"block {self._tone(place)}",
                    "x": x,
                    "y": top,
                    "width": right - x,
                    "height": self.row_height - 8,
                    "rx": 1.5 if right - x > 4 else None,
                }
                blocks.append(element("rect", area, element("title", {}, text(fact))))
        drawing.add(drawing.clipped(*blocks))
        return drawing.finish(" ".join(said))

    def _tone(self, place: int) -> str:
        if self.ladder_tones is False or (self.ladder_tones is None and len(self.ladder) not in _LADDER):
            return series_colour(place)
        tones = self.ladder_tones or _LADDER[len(self.ladder)]
        if len(tones) != len(self.ladder):
            raise ChartError(
                f"chart {self.title!r}: {len(tones)} tones for {len(self.ladder)} states; expected one per state"
            )
        return tones[place]


def merged_intervals(starts: Floats, ends: Floats, pixel: float = 1.0) -> list[tuple[float, float]]:
    """Intervals in pixels, each at least ``pixel`` wide, joined where less than half a pixel lies between them."""
    merged: list[tuple[float, float]] = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        end = max(end, start + pixel)
        if merged and start - merged[-1][1] < pixel / 2:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


class _Line:
    """A series with its arrays checked."""

    def __init__(self, series: Series, place: int) -> None:
        self.series = series
        self.colour = series.colour or series_colour(place)
        self.dash = "6 4" if series.dashed else "2 3" if place >= SERIES_COLOURS else None
        self.time_ns = _times(series.time_ns, series.name)
        self.values = _values(series.values, series.name, self.time_ns)

    def drawn(self, kept: Reduced, x_scale: TimeScale, y_scale: LinearScale) -> Markup:
        x = x_scale.pixels(self.time_ns[kept.indices])
        y = y_scale.pixels(self.values[kept.indices])
        breaks = kept.breaks.tolist()
        parts: list[Markup] = []
        if self.series.area:
            base = y_scale.at(min(max(0.0, y_scale.low), y_scale.high))
            filled = _area_data(x, y, breaks, base, step=self.series.step)
            parts.append(element("path", {"class": f"area {self.colour}", "d": filled}))
        kind = "line" if kept.is_complete else "line thin"
        data = path_data(x, y, breaks, step=self.series.step)
        parts.append(element("path", {"class": f"{kind} {self.colour}", "d": data, "stroke-dasharray": self.dash}))
        # A point alone between two gaps is a dot of a line's width: too small to be seen, so it gets a larger one.
        alone = kept.breaks & np.append(kept.breaks[1:], True)
        if kept.is_complete and alone.any():
            dots = path_data(x[alone], y[alone], [True] * int(alone.sum()))
            parts.append(element("path", {"class": f"lone {self.colour}", "d": dots}))
        return join(parts)


class _Between:
    """A band with its arrays checked."""

    def __init__(self, band: Band) -> None:
        self.band = band
        self.time_ns = _times(band.time_ns, band.name)
        self.low = _values(band.low, band.name, self.time_ns)
        self.high = _values(band.high, band.name, self.time_ns)

    def drawn(self, x_scale: TimeScale, y_scale: LinearScale, columns: int) -> Markup:
        # Both edges are reduced over the points where both are known, so that the columns agree.
        known = drawable(self.low) & drawable(self.high)
        low = reduce_to_columns(
            self.time_ns, np.where(known, self.low, np.nan), x_scale.start_ns, x_scale.end_ns, columns
        )
        high = reduce_to_columns(
            self.time_ns, np.where(known, self.high, np.nan), x_scale.start_ns, x_scale.end_ns, columns
        )
        x = x_scale.pixels(self.time_ns[low.column_last])
        y_low, y_high = y_scale.pixels(low.column_low), y_scale.pixels(high.column_high)
        pieces: list[str] = []
        starts = np.flatnonzero(low.column_breaks).tolist()
        for a, b in zip(starts, [*starts[1:], x.size] if starts else [], strict=True):
            # A value alone between two gaps gets a pixel of width, so that it is seen.
            grace = 0.5 if b - a == 1 else 0.0
            around_x = np.concatenate([x[a:b] - grace, x[a:b][::-1] + grace])
            around_y = np.concatenate([y_low[a:b], y_high[a:b][::-1]])
            pieces.append(path_data(around_x, around_y) + "Z")
        return element("path", {"class": f"band {self.band.colour}", "d": "".join(pieces)})


class _Marks:
    """Markers with their arrays checked."""

    def __init__(self, markers: Markers) -> None:
        self.markers = markers
        self.time_ns = _times(markers.time_ns, markers.name, in_order=False)
        self.values = _values(markers.values, markers.name, self.time_ns)

    def drawn(self, x_scale: TimeScale, y_scale: LinearScale, unit: str) -> Markup:
        known = drawable(self.values) & (self.time_ns >= x_scale.start_ns) & (self.time_ns <= x_scale.end_ns)
        times, values = self.time_ns[known], self.values[known]
        x, y = x_scale.pixels(times), y_scale.pixels(values)
        size = _MARK_SIZE if x.size <= 200 else 3.5
        kept = thin_to_pixels(x, y, 1.0 if x.size <= _MOST_MARKS else 3.0)
        name, kind = self.markers.name, self.markers.kind
        colour = _MARK_COLOURS[kind]
        tips = [f"{name}, {format_time(int(times[k]))}, {format_value(float(values[k]), unit)}" for k in kept.tolist()]
        return join(
            symbol_mark(kind, float(x[k]), float(y[k]), size, colour, tip)
            for k, tip in zip(kept.tolist(), tips, strict=True)
        )


def _times(time_ns: npt.ArrayLike, name: str, *, in_order: bool = True) -> Times:
    array = np.asarray(time_ns)
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ChartError(
            f"{name!r}: time_ns has shape {array.shape} and type {array.dtype}; expected int64 nanoseconds, shape (T,)"
        )
    first, last = int(array.min()), int(array.max())
    if first < -_FARTHEST_NS or last > _FARTHEST_NS:
        # An "undefined" time of a feed is the largest integer of its type; a difference to it would wrap around silently.
        raise ChartError(
            f"{name!r}: time_ns runs from {first} to {last}; expected UTC nanoseconds of the years 1823 to 2116"
        )
    times = array.astype(np.int64)
    if in_order and bool((times[1:] < times[:-1]).any()):
        place = int(np.argmax(times[1:] < times[:-1])) + 1
        raise ChartError(
            f"{name!r}: time_ns runs backwards at index {place} ({times[place]} after {times[place - 1]}); sort it by time"
        )
    return times


def _values(values: npt.ArrayLike, name: str, times: Times) -> Floats:
    array = np.asarray(values, np.float64)
    if array.shape != times.shape:
        raise ChartError(f"{name!r}: values have shape {array.shape}, time_ns {times.shape}; expected the same")
    return array


def _within(times: Times, values: Floats, span: tuple[int, int]) -> Floats:
    return values[(times >= span[0]) & (times <= span[1])]


def _time_span(parts: Sequence[Times]) -> tuple[int, int] | None:
    known = [part for part in parts if part.size]
    if not known:
        return None
    start, end = min(int(part.min()) for part in known), max(int(part.max()) for part in known)
    # A single moment gets half a minute on either side, so that it stands in the middle.
    return (start, end) if end > start else (start - 30_000_000_000, end + 30_000_000_000)


def _notes(lines: Sequence[_Line]) -> list[str]:
    found: list[str] = []
    for line in lines:
        missing = int(np.isnan(line.values).sum())
        outside = int((~drawable(line.values)).sum()) - missing
        said = [plural(missing, "missing value") + " left as gaps"] if missing else []
        said += [plural(outside, "infinite value") + " not drawn"] if outside else []
        if said:
            found.append(f"{line.series.name}: {', '.join(said)}.")
    return found


def _reduction_notes(lines: Sequence[_Line], reduced: Sequence[Reduced]) -> list[str]:
    names = [
        f"{line.series.name} ({plural(line.values.size, 'point')})"
        for line, kept in zip(lines, reduced, strict=True)
        if not kept.is_complete
    ]
    return [f"Drawn as first, lowest, highest and last of each pixel column: {', '.join(names)}."] if names else []


def _why_empty(lines: Sequence[_Line]) -> str:
    count = sum(line.values.size for line in lines)
    return f"{plural(count, 'value')}, none that can be drawn" if count else "nothing was recorded"


def _hover_resolution(span_ns: int) -> int:
    """The part of a second worth showing in the tip of a chart that spans this long."""
    day_ns = 86_400_000_000_000
    if span_ns > 900 * day_ns:
        return day_ns
    if span_ns > 2 * day_ns:
        return 60_000_000_000
    return 1_000_000_000 if span_ns > 60_000_000_000 else 1_000_000 if span_ns > 1_000_000 else 1


def _shade(span: ShadedSpan, scale: TimeScale, box: Box) -> Markup:
    left = min(max(scale.at(span.start_ns), box.left), box.right)
    right = max(min(scale.at(span.end_ns), box.right), box.left)
    if span.end_ns < scale.start_ns or span.start_ns > scale.end_ns or right < left:
        return join([])
    words = f"{span.label or 'shaded'}: {format_time(span.start_ns)} to {format_time(span.end_ns)}"
    area: Attributes = {
        "class": f"span {span.tone}",
        "x": left,
        "y": box.top,
        "width": max(right - left, 1.0),
        "height": box.height,
    }
    return element("rect", area, element("title", {}, text(words)))


def _level_line(level: Level, scale: LinearScale, box: Box) -> Markup:
    if not abs(level.value) < 1e300:
        return join([])
    y = scale.at(level.value)
    return element("line", {"class": f"level {level.tone}", "x1": box.left, "x2": box.right, "y1": y, "y2": y})


def _level_name(level: Level, scale: LinearScale, box: Box) -> Markup:
    return label(box.right - 4, scale.at(level.value) - 5, level.name, f"level-name {level.tone}", "end")


def _area_data(x: Floats, y: Floats, breaks: Sequence[bool], base: float, *, step: bool) -> str:
    pieces: list[str] = []
    starts = [k for k, lifted in enumerate(breaks) if lifted]
    for a, b in zip(starts, [*starts[1:], len(breaks)], strict=True):
        pieces.append(f"{path_data(x[a:b], y[a:b], step=step)}V{base:.2f}H{x[a]:.2f}Z")
    return "".join(pieces)
