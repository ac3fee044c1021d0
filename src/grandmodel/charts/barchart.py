"""Bars by category, upright or lying. Read ``heatmap.py`` next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from grandmodel.charts.errors import ChartError
from grandmodel.charts.frame import (
    FULL_WIDTH,
    Drawing,
    LegendEntry,
    axis_room,
    label,
    plural,
    series_colour,
    shown_label,
    text_width,
)
from grandmodel.charts.markup import Attributes, Markup, element, text
from grandmodel.charts.numbers import format_value
from grandmodel.charts.scales import Floats, LinearScale, drawable, nice_axis, value_range

_LABEL_ROOM = 220.0


@dataclass(frozen=True, slots=True)
class Bars:
    """One bar per category: ``values`` (L,). A missing value leaves its place empty."""

    name: str
    values: npt.ArrayLike
    colour: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BarChart:
    """Bars from zero, one group per label.

    ``is_horizontal`` lays the bars down, for long labels (reasons of refusal). ``by_sign`` colours one series by the sign of
    its values (profit and loss by month). ``show_values`` writes each value beside its bar (None: while there is room).
    Drawing raises ``ChartError`` where a series has not one value per label.
    """

    title: str
    labels: Sequence[str]
    bars: Sequence[Bars]
    unit: str = ""
    is_horizontal: bool = False
    by_sign: bool = False
    show_values: bool | None = None
    y_label: str = ""
    note: str = ""
    height: int = 220

    def draw(self, width: int = FULL_WIDTH, identifier: str = "chart") -> Markup:
        """The picture as one ``<svg>``."""
        arrays = [np.asarray(bars.values, np.float64).ravel() for bars in self.bars]
        for bars, array in zip(self.bars, arrays, strict=True):
            if array.size != len(self.labels):
                raise ChartError(
                    f"{bars.name!r}: {array.size} values for {len(self.labels)} labels; expected one per label"
                )
        limits = value_range(arrays, include_zero=True)
        missing = sum(int((~drawable(array)).sum()) for array in arrays)
        notes = [f"{plural(missing, 'missing or infinite value')} left out."] if missing and limits is not None else []
        low, high, ticks, step = nice_axis(*(limits or (0.0, 1.0)), 5)
        named = max((min(text_width(name), _LABEL_ROOM) for name in self.labels), default=0.0)
        row = 12.0 + 14.0 * max(len(self.bars), 1)
        drawing = Drawing(
            title=self.title, identifier=identifier, width=width,
            plot_height=max(len(self.labels), 1) * row if self.is_horizontal else self.height,
            left=named + 20.0 if self.is_horizontal else axis_room(ticks, step, self.unit), below=28.0,
            right=64.0 if self.is_horizontal else 18.0,
            legend=[LegendEntry(b.name, "block", b.colour or series_colour(k)) for k, b in enumerate(self.bars)] if len(self.bars) > 1 else [],
            notes=[*notes, *([self.note] if self.note else [])], y_label=self.y_label,
        )  # fmt: skip
        if limits is None:
            drawing.add_no_data(f"{plural(missing, 'value')}, none that can be drawn" if missing else "no categories")
            return drawing.finish(f"{self.title}: no data to draw.")
        if self.is_horizontal:
            self._draw_lying(
                drawing, arrays, LinearScale(low, high, drawing.box.left, drawing.box.right), ticks, step, row
            )
        else:
            self._draw_upright(
                drawing, arrays, LinearScale(low, high, drawing.box.bottom, drawing.box.top), ticks, step
            )
        return drawing.finish(self._description(arrays))

    def _draw_upright(
        self, drawing: Drawing, arrays: Sequence[Floats], scale: LinearScale, ticks: Sequence[float], step: float
    ) -> None:
        box = drawing.box
        drawing.add_value_axis(scale, ticks, step, self.unit)
        slot = box.width / len(self.labels)
        thick = min(slot * 0.76 / len(arrays), 46.0)
        every = max(1, int(np.ceil(max(text_width(name) for name in self.labels) * 1.15 / slot))) if slot < 90 else 1
        longest = max((text_width(self._shown(v)) for array in arrays for v in array.tolist()), default=0.0)
        show = self.show_values if self.show_values is not None else longest + 4 < slot / len(arrays)
        for place, name in enumerate(self.labels):
            middle = box.left + (place + 0.5) * slot
            if place % every == 0:
                drawing.add(
                    label(middle, box.bottom + 17, shown_label(name, max(slot * every, 60.0)), "tick", "middle")
                )
            for k, array in enumerate(arrays):
                value = float(array[place])
                if not abs(value) < 1e300:
                    continue
                x, y, zero = middle + (k - len(arrays) / 2) * thick, scale.at(value), scale.at(0.0)
                area: Attributes = {
                    "class": f"block {self._colour(k, value)}",
                    "x": x + 0.5,
                    "y": min(y, zero),
                    "width": thick - 1,
                    "height": abs(y - zero),
                }
                drawing.add(element("rect", area, self._tip(k, name, value)))
                if show:
                    drawing.add(
                        label(x + thick / 2, y - 4 if value >= 0 else y + 13, self._shown(value), "context", "middle")
                    )
        drawing.add(
            element(
                "line", {"class": "axis", "x1": box.left, "x2": box.right, "y1": scale.at(0.0), "y2": scale.at(0.0)}
            )
        )

    def _draw_lying(
        self,
        drawing: Drawing,
        arrays: Sequence[Floats],
        scale: LinearScale,
        ticks: Sequence[float],
        step: float,
        row: float,
    ) -> None:
        box = drawing.box
        drawing.add_bottom_axis(scale, ticks, step, self.unit)
        zero = scale.at(0.0)
        for place, name in enumerate(self.labels):
            top = box.top + place * row + 6.0
            drawing.add(label(box.left - 8, top + (row - 12.0) / 2 + 4, shown_label(name, _LABEL_ROOM), "name", "end"))
            for k, array in enumerate(arrays):
                value = float(array[place])
                if not abs(value) < 1e300:
                    continue
                x, y = scale.at(value), top + k * 14.0
                area: Attributes = {
                    "class": f"block {self._colour(k, value)}",
                    "x": min(x, zero),
                    "y": y,
                    "width": abs(x - zero),
                    "height": 13.0,
                }
                drawing.add(element("rect", area, self._tip(k, name, value)))
                if self.show_values is not False:
                    # Beside the end of the bar; a negative one has its label on the right of zero, where there is room.
                    drawing.add(label(max(x, zero) + 5, y + 11, self._shown(value), "context"))
        drawing.add(element("line", {"class": "axis", "x1": zero, "x2": zero, "y1": box.top, "y2": box.bottom}))

    def _colour(self, place: int, value: float) -> str:
        if self.by_sign:
            return "s0" if value >= 0 else "s1"
        return self.bars[place].colour or series_colour(place)

    def _shown(self, value: float) -> str:
        return format_value(value, self.unit)

    def _tip(self, place: int, name: str, value: float) -> Markup:
        series = f", {self.bars[place].name}" if len(self.bars) > 1 else ""
        return element("title", {}, text(f"{name}{series}: {self._shown(value)}"))

    def _description(self, arrays: Sequence[Floats]) -> str:
        said = []
        for bars, array in zip(self.bars, arrays, strict=True):
            known = np.flatnonzero(drawable(array))
            if known.size:
                least, most = known[array[known].argmin()], known[array[known].argmax()]
                said.append(
                    f"{bars.name}: {plural(known.size, 'bar')}, lowest {self._shown(float(array[least]))} at {self.labels[least]}, "
                    f"highest {self._shown(float(array[most]))} at {self.labels[most]}."
                )
        return " ".join(said)
