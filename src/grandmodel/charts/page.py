"""A page: one HTML file that needs nothing else, for reports that are opened, printed, mailed and kept.

It holds its style and one small script; a content policy in it forbids every other script and every request. Equal
content gives equal bytes. Text of any origin may be passed: everything is escaped. Read ``style.py`` and ``script.py`` next.

    page = Page("Backtest", "NQ, 2020")
    result = page.section("Result")
    result.add_tiles([Tile("Net profit", 12_345.6, "$", tone="good")])
    result.add_chart(LineChart(title="Equity", series=[Series("equity", time_ns, equity)], unit="$"))
    html = page.render()
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from grandmodel.charts.errors import ChartError
from grandmodel.charts.frame import FULL_WIDTH, HALF_WIDTH, Chart, Tone
from grandmodel.charts.markup import EMPTY, Attributes, Markup, element, join, text
from grandmodel.charts.numbers import MISSING, format_value
from grandmodel.charts.script import PAGE_SCRIPT
from grandmodel.charts.style import PAGE_STYLE

Value = str | int | float | np.integer | np.floating | np.bool_ | bool | None
MOST_ROWS = 500
_NOTE_WORDS: dict[Tone, str] = {
    "good": "Good",
    "caution": "Caution",
    "warn": "Warning",
    "bad": "Failed",
    "neutral": "Note",
}


@dataclass(frozen=True, slots=True)
class Tile:
    """One key figure: a text, or a number with its unit (``numbers.py``); ``more`` is a small line below it."""

    label: str
    value: Value
    unit: str = ""
    more: str = ""
    tone: Tone | None = None
    decimals: int | None = None
    sign: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """How a table writes one column: heading, unit, decimals; ``by_sign`` colours numbers above and below zero."""

    name: str
    unit: str = ""
    decimals: int | None = None
    sign: bool = False
    by_sign: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """A value of a table with a tone, a passed or failed check for instance."""

    value: Value
    tone: Tone


class Page:
    """One report. Add sections in reading order, then ``render``."""

    def __init__(self, title: str, subtitle: str = "", footer: str = "") -> None:
        self._title = title
        self._subtitle = subtitle
        self._footer = footer
        self._lead = Section("")
        self._sections: list[Section] = []

    @property
    def lead(self) -> Section:
        """What stands above the first section: the key figures and warnings of the whole page."""
        return self._lead

    def section(self, title: str, intro: str = "") -> Section:
        """A new section at the end of the page."""
        made = Section(title, intro)
        self._sections.append(made)
        return made

    def render(self) -> str:
        """The page as one HTML document."""
        numbers = _Counter()
        lead = self._lead.render("lead", numbers)
        sections = [section.render(f"section-{k}", numbers) for k, section in enumerate(self._sections, 1)]
        named = [(f"section-{k}", section.title) for k, section in enumerate(self._sections, 1) if section.title]
        links = [element("a", {"href": f"#{identifier}"}, text(title)) for identifier, title in named]
        # Style and script are our own constants; their hashes in the policy are what makes any other one inert.
        policy = f"default-src 'none'; style-src {_source_hash(PAGE_STYLE)}; script-src {_source_hash(PAGE_SCRIPT)}; base-uri 'none'; form-action 'none'"
        head = join([
            element("meta", {"charset": "utf-8"}),
            Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}"/>'),
            element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
            element("meta", {"name": "color-scheme", "content": "light dark"}),
            element("title", {}, text(self._title)),
            Markup(f"<style>{PAGE_STYLE}</style>"),
        ])  # fmt: skip
        subtitle = element("p", {"class": "subtitle"}, text(self._subtitle)) if self._subtitle else EMPTY
        body = join([
            element("header", {"class": "top"}, element("h1", {}, text(self._title)), subtitle),
            element("nav", {"class": "contents", "aria-label": "Contents"}, *links) if len(links) > 1 else EMPTY,
            element("main", {}, lead, *sections),
            element("footer", {}, text(self._footer)),
            Markup(f"<script>{PAGE_SCRIPT}</script>"),
        ])  # fmt: skip
        return f'<!DOCTYPE html>\n<html lang="en">{element("head", {}, head)}\n{element("body", {}, body)}</html>\n'


class Section:
    """A heading and what stands under it, in the order it was added. Made by ``Page.section``."""

    def __init__(self, title: str, intro: str = "") -> None:
        self.title = title
        self._intro = intro
        self._items: list[_Item] = []

    def add_text(self, paragraph: str) -> None:
        """A paragraph."""
        self._items.append(_Item(element("p", {}, text(paragraph))))

    def add_code(self, lines: str) -> None:
        """Text in a fixed-width face with its line breaks kept: a command, a settings tree."""
        self._items.append(_Item(element("pre", {}, text(lines))))

    def add_note(self, message: str, tone: Tone = "neutral", heading: str = "") -> None:
        """A set-off note; with ``tone`` a warning or a failure, which its heading also says in a word."""
        mark = element("b", {}, text(heading or _NOTE_WORDS[tone]))
        attributes: Attributes = {"class": f"note {tone}", "role": "note"}
        self._items.append(_Item(element("div", attributes, mark, text(message))))

    def add_tiles(self, tiles: Sequence[Tile]) -> None:
        """A row of key figures."""
        self._items.append(_Item(element("ul", {"class": "tiles"}, *(_tile(tile) for tile in tiles))))

    def add_table(
        self,
        columns: Sequence[str | Column],
        rows: Sequence[Sequence[Value | Cell]],
        caption: str = "",
        *,
        is_sortable: bool = True,
        most_rows: int = MOST_ROWS,
    ) -> None:
        """A table; clicking a heading sorts it.

        Numbers are written by their column's unit and stand to the right; None and NaN are a dash. Of more than
        ``most_rows`` rows the first ones are shown and the table says so. Raises ``ChartError`` for a row of the wrong length.
        """
        self._items.append(
            _Item(
                _table([Column(c) if isinstance(c, str) else c for c in columns], rows, caption, is_sortable, most_rows)
            )
        )

    def add_chart(self, chart: Chart, *, is_half: bool = False) -> None:
        """A chart across the page, or ``is_half`` as wide: two of those in a row stand side by side."""
        self._items.append(_Item(EMPTY, chart, is_half))

    def render(self, identifier: str, numbers: _Counter) -> Markup:
        """The section as markup; ``numbers`` hands out the identifiers of charts."""
        parts: list[Markup] = []
        row: list[Markup] = []
        for item in self._items:
            if item.chart is None:
                parts, row = [*parts, *_chart_row(row), item.markup], []
                continue
            width = HALF_WIDTH if item.is_half else FULL_WIDTH
            drawn = item.chart.draw(width, f"chart-{numbers.next()}")
            row.append(element("figure", {"class": "panel" if item.is_half else "panel full"}, drawn))
        parts += _chart_row(row)
        if not self.title and not parts:
            return EMPTY
        heading = element("h2", {}, text(self.title)) if self.title else EMPTY
        intro = element("p", {"class": "intro"}, text(self._intro)) if self._intro else EMPTY
        return element("section", {"id": identifier}, heading, intro, *parts)


@dataclass(frozen=True, slots=True)
class _Item:
    markup: Markup
    chart: Chart | None = None
    is_half: bool = False


class _Counter:
    """Numbers for identifiers, from 1."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        self._last += 1
        return self._last


def _chart_row(row: Sequence[Markup]) -> list[Markup]:
    return [element("div", {"class": "charts"}, *row)] if row else []


def _tile(tile: Tile) -> Markup:
    shown, _ = _shown(tile.value, Column("", tile.unit, tile.decimals, tile.sign))
    more = element("span", {"class": "more"}, text(tile.more)) if tile.more else EMPTY
    size = " longer" if max(map(len, shown.split()), default=0) > 12 else " long" if len(shown) > 9 else ""
    return element(
        "li",
        {"class": f"tile {tile.tone}" if tile.tone else "tile"},
        element("span", {"class": "label"}, text(tile.label)),
        element("span", {"class": f"value{size}"}, text(shown)),
        more,
    )


def _table(
    columns: Sequence[Column], rows: Sequence[Sequence[Value | Cell]], caption: str, is_sortable: bool, most_rows: int
) -> Markup:
    for place, row in enumerate(rows):
        if len(row) != len(columns):
            raise ChartError(
                f"table {caption!r}: row {place} has {len(row)} cells; expected {len(columns)}, one per column"
            )
    shown_rows = rows[:most_rows]
    is_number = [any(_sort_key(_value(row[c])) is not None for row in shown_rows) for c in range(len(columns))]
    headings = []
    for column, right in zip(columns, is_number, strict=True):
        name = text(column.name)
        inside = element("button", {"type": "button"}, name) if is_sortable and len(shown_rows) > 1 else name
        headings.append(element("th", {"scope": "col", "class": "number" if right else None}, inside))
    body = [
        element("tr", {}, *(_cell(cell, c, n) for cell, c, n in zip(row, columns, is_number, strict=True)))
        for row in shown_rows
    ]
    if not body:
        body = [element("tr", {}, element("td", {"colspan": str(max(len(columns), 1))}, text("no rows")))]
    cut = f"the first {most_rows:,} of {len(rows):,} rows" if len(rows) > most_rows else ""
    title = (
        element("caption", {}, text(caption), element("span", {"class": "more"}, text(cut)))
        if caption or cut
        else EMPTY
    )
    table = element(
        "table",
        {"data-sortable": "1" if is_sortable else None},
        title,
        element("thead", {}, element("tr", {}, *headings)),
        element("tbody", {}, *body),
    )
    # A table wider than the page scrolls by itself; the focus lets the keyboard do so.
    return element(
        "div", {"class": "scroll", "tabindex": "0", "role": "group", "aria-label": caption or "table"}, table
    )


def _cell(cell: Value | Cell, column: Column, is_number: bool) -> Markup:
    value = _value(cell)
    shown, key = _shown(value, column)
    tone = cell.tone if isinstance(cell, Cell) else _sign_tone(value) if column.by_sign else ""
    kind = f"{'number' if is_number else ''} {tone}".strip()
    return element("td", {"class": kind or None, "data-key": key}, text(shown))


def _value(cell: Value | Cell) -> Value:
    return cell.value if isinstance(cell, Cell) else cell


def _shown(value: Value, column: Column) -> tuple[str, str | None]:
    """A value as text, and the number to sort it by (None for text and for what is missing)."""
    if isinstance(value, str):
        return value, None
    if value is None:
        return MISSING, None
    if isinstance(value, bool | np.bool_):
        return ("yes" if value else "no"), None
    number = value.item() if isinstance(value, np.integer | np.floating) else value
    return format_value(number, column.unit, column.decimals, sign=column.sign), _sort_key(value)


def _sort_key(value: Value) -> str | None:
    if value is None or isinstance(value, str | bool | np.bool_) or math.isnan(value):
        return None
    return repr(value.item() if isinstance(value, np.integer | np.floating) else value).replace("inf", "Infinity")


def _sign_tone(value: Value) -> str:
    if value is None or isinstance(value, str | bool | np.bool_):
        return ""
    return "good" if value > 0 else "bad" if value < 0 else ""


def _source_hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
