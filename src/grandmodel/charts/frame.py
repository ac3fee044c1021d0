"""What every chart has around its data: title, legend, axes, grid, notes, and the text for those who cannot see it.

``Drawing`` collects the pieces of one picture. Charts compute, and hand it markup; it alone knows where the plot lies.
Read ``timechart.py`` next.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol

import numpy as np

from grandmodel.charts.markup import EMPTY, Attributes, Markup, element, join, text
from grandmodel.charts.numbers import axis_labels
from grandmodel.charts.scales import Floats, LinearScale, TimeScale, TimeTick, time_ticks
from grandmodel.charts.style import PICTURE_STYLE, SERIES_COLOURS

Tone = Literal["good", "caution", "warn", "bad", "neutral"]
Symbol = Literal["line", "dash", "area", "block", "span", "buy", "sell", "event", "cross", "dot"]

FULL_WIDTH = 1080
HALF_WIDTH = 530
_RIGHT = 18.0
_TEXT_SIZE = 12.0
_HOVER = re.compile(' tabindex="0" data-hover="[^"]*"')


class Chart(Protocol):
    """Anything with a title that can draw itself at a width, as one ``<svg>`` element."""

    @property
    def title(self) -> str:
        """The heading of the picture, also its name for a screen reader."""

    def draw(self, width: int, identifier: str) -> Markup:
        """One ``<svg>``, ``width`` pixels wide at scale one; ``identifier`` is unique on its page."""


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """A name in the legend with its symbol; ``colour`` is a class of the style sheet (``s0``, ``good``)."""

    name: str
    symbol: Symbol
    colour: str


@dataclass(frozen=True, slots=True)
class Box:
    """The rectangle of the data, in pixels; ``top`` is the smaller y."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Pixels from left to right."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Pixels from top to bottom."""
        return self.bottom - self.top


def picture(chart: Chart, width: int = FULL_WIDTH) -> str:
    """One chart as an SVG file of its own (its style inside, light and dark), for documents."""
    drawn = _HOVER.sub("", chart.draw(width, "chart"), count=1)
    return drawn.replace(">", f"><style>{PICTURE_STYLE}</style>", 1) + "\n"


class Drawing:
    """One picture in the making: make it, ``add`` to it, ``finish`` it.

    The margins: ``left`` pixels for the labels of the vertical axis, ``below`` pixels under the plot for those of the
    horizontal one. Title, legend and notes take the lines they need.
    """

    def __init__(
        self,
        *,
        title: str,
        identifier: str,
        width: int,
        plot_height: float,
        left: float,
        below: float = 40.0,
        right: float = _RIGHT,
        legend: Sequence[LegendEntry] = (),
        notes: Sequence[str] = (),
        y_label: str = "",
    ) -> None:
        self._title = title
        self._identifier = identifier
        self._width = width
        self._parts: list[Markup] = []
        top = 12.0
        for line in wrap(title, width - 24.0, 8.0):
            top += 14.0
            self.add(label(12.0, top, line, "title"))
            top += 5.0
        top = self._draw_legend(legend, top)
        if y_label:
            top += 15.0
            self.add(label(12.0, top, y_label, "context"))
        self.box = Box(left, top + 10.0, width - right, top + 10.0 + plot_height)
        foot = self.box.bottom + below
        for note in notes:
            for line in wrap(note, width - 24.0, 5.9):
                self.add(label(12.0, foot + 8.0, line, "foot"))
                foot += 15.0
        self._height = foot + (4.0 if notes else 0.0)

    def add(self, *parts: Markup) -> None:
        """Draw these on top of what is there."""
        self._parts.extend(parts)

    def clipped(self, *parts: Markup) -> Markup:
        """These parts, cut off at the edge of the plot (with two pixels of grace for the width of a line)."""
        box, name = self.box, f"{self._identifier}-plot"
        area: Attributes = {"x": box.left - 2, "y": box.top - 2, "width": box.width + 4, "height": box.height + 4}
        clip = element("clipPath", {"id": name}, element("rect", area))
        return join([clip, element("g", {"clip-path": f"url(#{name})"}, *parts)])

    def add_no_data(self, reason: str) -> None:
        """Fill the plot with an honest nothing."""
        box = self.box
        area: Attributes = {
            "class": "void",
            "x": box.left,
            "y": box.top,
            "width": box.width,
            "height": box.height,
            "rx": 4,
        }
        middle_x, middle_y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
        self.add(element("rect", area), label(middle_x, middle_y + 5, f"no data: {reason}", "empty", "middle"))

    def add_value_axis(self, scale: LinearScale, ticks: Sequence[float], step: float, unit: str) -> None:
        """Grid lines across the plot and their labels to its left."""
        for tick, written in zip(ticks, axis_labels(ticks, step, unit), strict=True):
            y = scale.at(tick)
            line: Attributes = {
                "class": "axis" if tick == 0 else "grid",
                "x1": self.box.left,
                "x2": self.box.right,
                "y1": y,
                "y2": y,
            }
            self.add(element("line", line), label(self.box.left - 7, y + 4, written, "tick", "end"))

    def add_bottom_axis(
        self, scale: LinearScale, ticks: Sequence[float], step: float, unit: str, name: str = ""
    ) -> None:
        """Grid lines up the plot, their labels below it, and the name of the axis below these."""
        labels = axis_labels(ticks, step, unit)
        widest = max((text_width(written) for written in labels), default=0.0)
        every = max(1, math.ceil((widest + 8.0) * len(ticks) / max(self.box.width, 1.0)))
        for place, (tick, written) in enumerate(zip(ticks, labels, strict=True)):
            x = scale.at(tick)
            line: Attributes = {"class": "grid", "x1": x, "x2": x, "y1": self.box.top, "y2": self.box.bottom}
            self.add(element("line", line))
            if place % every == 0:
                self.add(label(self._inside(x, written), self.box.bottom + 17, written, "tick", "middle"))
        self.add_base_line()
        if name:
            self.add(label((self.box.left + self.box.right) / 2, self.box.bottom + 33, name, "context", "middle"))

    def add_time_axis(self, scale: TimeScale) -> None:
        """Ticks at round times; the day, month or year that they belong to on a second line."""
        for tick in self._fitting_ticks(scale):
            x = scale.at(tick.time_ns)
            line: Attributes = {"class": "grid", "x1": x, "x2": x, "y1": self.box.top, "y2": self.box.bottom + 5}
            self.add(element("line", line))
            for words, kind, below in ((tick.label, "tick", 18), (tick.context, "context", 32)):
                if words:
                    self.add(label(self._inside(x, words), self.box.bottom + below, words, kind, "middle"))
        self.add_base_line()

    def _inside(self, x: float, words: str) -> float:
        """Where to centre a label so that it does not run out of the picture."""
        half = text_width(words) / 2 + 4.0
        return max(min(x, self._width - half), half)

    def _fitting_ticks(self, scale: TimeScale) -> list[TimeTick]:
        """As many ticks as there is room for: a label of nanoseconds is three times as wide as one of minutes."""
        for count in range(max(int(self.box.width // 95), 1), 0, -1):
            ticks = time_ticks(scale.start_ns, scale.end_ns, count)
            widest = max((text_width(tick.label) for tick in ticks), default=0.0)
            places = [self._inside(scale.at(tick.time_ns), tick.label) for tick in ticks]
            apart = min((b - a for a, b in pairwise(places)), default=widest + 8.0)
            if widest + 8.0 <= apart:
                return ticks
        return ticks[:1]

    def add_base_line(self) -> None:
        """The line along the bottom of the plot."""
        box = self.box
        self.add(
            element("line", {"class": "axis", "x1": box.left, "x2": box.right, "y1": box.bottom, "y2": box.bottom})
        )

    def finish(self, description: str, hover: Mapping[str, object] | None = None) -> Markup:
        """The whole picture. ``description`` says in words what it shows; ``hover`` is the data of the crosshair."""
        title_id, description_id = f"{self._identifier}-title", f"{self._identifier}-desc"
        attributes: Attributes = {
            "xmlns": "http://www.w3.org/2000/svg",
            "class": "gm",
            "id": self._identifier,
            "viewBox": f"0 0 {self._width} {self._height:.0f}",
            "width": self._width,
            "height": round(self._height),
            "role": "img",
            "aria-labelledby": f"{title_id} {description_id}",
            "tabindex": "0" if hover is not None else None,
            "data-hover": None if hover is None else json.dumps(hover, separators=(",", ":"), allow_nan=False),
        }
        card: Attributes = {"class": "card", "x": 0, "y": 0, "width": self._width, "height": round(self._height)}
        return element(
            "svg",
            attributes,
            element("title", {"id": title_id}, text(self._title)),
            element("desc", {"id": description_id}, text(description)),
            element("rect", card),
            *self._parts,
        )

    def _draw_legend(self, legend: Sequence[LegendEntry], top: float) -> float:
        if not legend:
            return top
        x, y = 12.0, top + 14.0
        for entry in legend:
            needed = 24.0 + text_width(entry.name) + 18.0
            if x > 12.0 and x + needed > self._width - 12.0:
                x, y = 12.0, y + 18.0
            self.add(_legend_symbol(entry, x, y), label(x + 24.0, y, entry.name, "key"))
            x += needed
        return y + 4.0


def label(x: float, y: float, content: str, kind: str, anchor: Literal["start", "middle", "end"] = "start") -> Markup:
    """A line of text whose baseline is at ``y``."""
    where = None if anchor == "start" else anchor
    return element("text", {"class": kind, "x": x, "y": y, "text-anchor": where}, text(content))


def symbol_mark(kind: Symbol, x: float, y: float, size: float, colour: str, tip: str = "") -> Markup:
    """A mark at a point: triangles up (buy) and down (sell) with their tip at the point, a diamond, a cross or a dot."""
    described = element("title", {}, text(tip)) if tip else EMPTY
    if kind == "dot":
        return element("circle", {"class": f"mark {colour}", "cx": x, "cy": y, "r": size * 0.7}, described)
    corners: Sequence[tuple[float, float]]
    if kind == "buy":
        corners = ((0, 0), (size, 1.8 * size), (-size, 1.8 * size))
    elif kind == "sell":
        corners = ((0, 0), (size, -1.8 * size), (-size, -1.8 * size))
    elif kind == "cross":
        thin, far = size * 0.35, size
        corners = (
            (-far, -far + thin), (-far + thin, -far), (0, -thin), (far - thin, -far), (far, -far + thin), (thin, 0),
            (far, far - thin), (far - thin, far), (0, thin), (-far + thin, far), (-far, far - thin), (-thin, 0),
        )  # fmt: skip
    else:
        corners = ((0, -size), (size, 0), (0, size), (-size, 0))
    xs = np.array([x + dx for dx, _ in corners])
    ys = np.array([y + dy for _, dy in corners])
    return element("path", {"class": f"mark {colour}", "d": path_data(xs, ys) + "Z"}, described)


def path_data(x: Floats, y: Floats, breaks: Sequence[bool] | None = None, *, step: bool = False) -> str:
    """The ``d`` of a path through points (K,), lifted before those marked in ``breaks``; ``step`` holds each value.

    A point alone between two breaks becomes a dot (a line of no length with round ends).
    """
    xs, ys = [_written(value) for value in x.tolist()], [_written(value) for value in y.tolist()]
    commands: list[str] = []
    count = len(xs)
    for k in range(count):
        starts = k == 0 or (breaks is not None and bool(breaks[k]))
        if starts:
            alone = k + 1 == count or (breaks is not None and bool(breaks[k + 1]))
            commands.append(f"M{xs[k]} {ys[k]}" + ("h0" if alone else ""))
        elif step:
            commands.append(f"H{xs[k]}V{ys[k]}")
        else:
            commands.append(f"L{xs[k]} {ys[k]}")
    return "".join(commands)


def text_width(content: str, size: float = _TEXT_SIZE) -> float:
    """About how many pixels a line of text takes; a little too many rather than too few."""
    wide = sum(1 for character in content if ord(character) > 0x2E80)
    return size * (0.57 * (len(content) - wide) + 1.02 * wide)


def wrap(content: str, width: float, pixels_per_character: float) -> list[str]:
    """Words in lines of at most ``width`` pixels; a longer word is cut."""
    limit = max(int(width / pixels_per_character), 8)
    lines = [""]
    for word in content.split():
        pieces = [word[k : k + limit] for k in range(0, len(word), limit)]
        for piece in pieces:
            if lines[-1] and len(lines[-1]) + 1 + len(piece) > limit:
                lines.append(piece)
            else:
                lines[-1] = f"{lines[-1]} {piece}".strip()
    return lines


def axis_room(ticks: Sequence[float], step: float, unit: str) -> float:
    """The pixels that the labels of a vertical axis need to the left of the plot."""
    # Never less than this, so that the plots of charts one under the other begin at the same place.
    return max(18.0 + max((text_width(written) for written in axis_labels(ticks, step, unit)), default=20.0), 66.0)


def series_colour(place: int) -> str:
    """The colour class of a series by its place."""
    return f"s{place % SERIES_COLOURS}"


def shown_label(content: str, width: float) -> str:
    """``content`` cut, with an ellipsis, to about ``width`` pixels."""
    room = max(int(width / (_TEXT_SIZE * 0.57)), 2)
    return content if len(content) <= room else content[: room - 1].rstrip() + "…"


def plural(count: int, noun: str) -> str:
    """``1 value``, ``2,000 values``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _written(value: float) -> str:
    written = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if written == "-0" else written


def _legend_symbol(entry: LegendEntry, x: float, y: float) -> Markup:
    middle = y - 4.0
    if entry.symbol in {"line", "dash"}:
        dash = "4 3" if entry.symbol == "dash" else None
        return element(
            "path", {"class": f"line {entry.colour}", "d": f"M{x:.0f} {middle:.0f}h18", "stroke-dasharray": dash}
        )
    if entry.symbol in {"area", "block", "span"}:
        box: Attributes = {
            "class": f"{'band' if entry.symbol == 'area' else entry.symbol} {entry.colour}",
            "x": x + 2,
            "y": y - 9,
            "width": 14,
            "height": 10,
            "rx": 2,
        }
        return element("rect", box)
    shift = {"buy": -4.5, "sell": 4.5}.get(entry.symbol, 0.0)
    return join([symbol_mark(entry.symbol, x + 9, middle + shift, 5.0, entry.colour)])
