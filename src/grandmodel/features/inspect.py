"""Looking at features: the matrix an agent would see at a moment, and a check of whole histories. Behind ``features show`` and
``features check``.

Each answer comes as data (for a terminal or ``--json``) and as a page of its own with pictures. Beside the columns of
``bars.py`` a frame may hold ``ts_open`` (int64 ns, the open of the bar), by which its width is checked, and ``bad_stretch``
(boolean), by which the bars of marked bad stretches are counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from grandmodel.charts import Cell, Column, HeatMap, Histogram, Page, Sample, Tile, format_time
from grandmodel.domain.time import FIVE_MINUTES_NS, NS_PER_MINUTE, THIRTY_MINUTES_NS
from grandmodel.features.arrays import Floats, Integers
from grandmodel.features.bars import bar_arrays
from grandmodel.features.batch import Matrix
from grandmodel.features.errors import FeatureError
from grandmodel.features.schema import STRATEGIC_SCHEMA, TACTICAL_SCHEMA, FeatureSchema
from grandmodel.features.sessions import TradingDays
from grandmodel.features.strategic import strategic_rows
from grandmodel.features.tactical import tactical_rows

# Two periods whose distributions differ by more than this share of their rows are marked.
DRIFT_TO_NOTICE = 0.2
# Two columns that move together more than this are marked.
CORRELATION_TO_NOTICE = 0.9
# The widths that the matrices are made for.
STRATEGIC_WIDTH_NS, TACTICAL_WIDTH_NS = THIRTY_MINUTES_NS, FIVE_MINUTES_NS
# A moment that lies more bar widths behind the last bar than this is refused.
LATE_BARS = 3
# A heat map colours at most so many deviations.
COLOUR_LIMIT = 3.0


@dataclass(frozen=True, slots=True)
class MatrixView:
    """What an agent would see at ``at_ns``: the newest rows that had closed by then, oldest first.

    ``ts_event`` (R,), ``values`` (R, C), and ``usual_middle`` and ``usual_spread`` (C,), median and standard deviation of each
    column over the history before, to tell a high value from a low one. R is ``schema.rows``, or fewer where history begins later.
    """

    schema: FeatureSchema
    at_ns: int
    ts_event: Integers
    values: Floats
    usual_middle: Floats
    usual_spread: Floats
    bad_bars: int = 0
    """Rows inside a marked bad stretch."""

    @property
    def age_ns(self) -> int:
        """How long before ``at_ns`` the newest row closed."""
        return self.at_ns - int(self.ts_event[-1])

    @property
    def cautions(self) -> tuple[str, ...]:
        """What must be said beside the values: an old newest row, bars of bad stretches."""
        width_ns = matrix_width_ns("strategic" if self.schema.name == STRATEGIC_SCHEMA.name else "tactical")
        said = []
        if self.age_ns > LATE_BARS * width_ns:
            said.append(
                f"The newest bar closed {_span_text(self.age_ns)} before this time: the market was closed, or bars are missing."
            )
        return (*said, *_bad_caution(self.bad_bars, len(self.values)))

    @property
    def is_whole(self) -> bool:
        """Whether a decision could be taken on it: all rows are there and no known column is NaN."""
        full = len(self.values) == self.schema.rows
        return full and not bool(np.isnan(self.values[:, list(self.schema.known_columns)]).any())


@dataclass(frozen=True, slots=True)
class ColumnCheck:
    """One column over a history: how often it is missing, how its values lie, and how far it drifted.

    ``drift`` is the largest difference between the shares of the two periods that lie below any value (Kolmogorov and
    Smirnov's distance, 0 the same to 1 apart). ``missing`` counts NaN behind the column's own warm-up.
    """

    name: str
    meaning: str
    unit: str
    rows: int
    missing: int
    first_known: int | None
    mean: float
    deviation: float
    quantiles: tuple[float, float, float, float, float]
    drift: float

    @property
    def missing_share(self) -> float:
        """Missing rows over all rows behind the warm-up."""
        return self.missing / self.rows if self.rows else 0.0


@dataclass(frozen=True, slots=True)
class FeatureCheck:
    """A history checked: each column, the correlation of all, and where values are missing behind the warm-up.

    ``gaps`` lists (column, first ns, last ns, rows). ``split_ns`` is where the second period begins.
    """

    schema: FeatureSchema
    ts_event: Integers
    rows: Floats
    split_ns: int
    columns: tuple[ColumnCheck, ...]
    correlation: Floats
    gaps: tuple[tuple[str, int, int, int], ...]
    bad_bars: int = 0
    """Rows inside a marked bad stretch."""

    @property
    def cautions(self) -> tuple[str, ...]:
        """What must be said beside the figures: bars of bad stretches."""
        return _bad_caution(self.bad_bars, len(self.rows))


def matrix_width_ns(matrix: Matrix) -> int:
    """The width of the bars that ``matrix`` is made for, ns."""
    return STRATEGIC_WIDTH_NS if matrix == "strategic" else TACTICAL_WIDTH_NS


def check_width(bars: pl.DataFrame, matrix: Matrix) -> None:
    """Refuse (``FeatureError``) bars whose commonest width is not the one of ``matrix``; without ``ts_open`` nothing is known."""
    if "ts_open" not in bars.columns or not len(bars):
        return
    widths, counts = np.unique((bars["ts_event"] - bars["ts_open"]).to_numpy(), return_counts=True)
    width, expected = int(widths[counts.argmax()]), matrix_width_ns(matrix)
    if width != expected:
        raise FeatureError(
            f"bars: found bars of {_span_text(width)}, expected {_span_text(expected)} for the {matrix} matrix: "
            f"give other bars, or the other matrix (strategic takes 30 minutes, tactical 5)"
        )


def count_bad_bars(bars: pl.DataFrame) -> int:
    """How many bars lie in a marked bad stretch; 0 where the frame does not say."""
    return int(bars["bad_stretch"].sum()) if "bad_stretch" in bars.columns else 0


def matrix_at(bars: pl.DataFrame, matrix: Matrix, at_ns: int, sessions: TradingDays | None = None) -> MatrixView:
    """The matrix as it was at ``at_ns``, from the bars that had closed by then.

    Raises ``FeatureError`` where none had, where ``at_ns`` lies more than ``LATE_BARS`` bar widths behind the last bar of all
    (a matrix of long ago would be shown), and where the bars have another width than the matrix is made for.
    """
    check_width(bars, matrix)
    last_ns = int(bars["ts_event"][-1]) if len(bars) else at_ns
    if at_ns > last_ns + LATE_BARS * matrix_width_ns(matrix):
        raise FeatureError(
            f"time: found {format_time(at_ns)} UTC, {_span_text(at_ns - last_ns)} after the last bar; "
            f"expected a time until {format_time(last_ns)} UTC, or newer bars"
        )
    known = bars.filter(pl.col("ts_event") <= at_ns)
    if not len(known):
        raise FeatureError(f"time: found no bar that had closed by {format_time(at_ns)}; expected a later time")
    schema, rows = _rows(known, matrix, sessions)
    known_values = [column[~np.isnan(column)] for column in rows.T]
    middle = np.array([_or_nan(np.median, values) for values in known_values])
    spread = np.array([_or_nan(np.std, values) for values in known_values])
    stamps = known["ts_event"].to_numpy()
    newest = slice(-schema.rows, None)
    bad_bars = count_bad_bars(known.tail(schema.rows))
    return MatrixView(schema, at_ns, stamps[newest], rows[newest], middle, spread, bad_bars)


def matrix_page(view: MatrixView, instrument: str) -> str:
    """The matrix as one HTML page: a heat map, the table, and each column explained."""
    schema = view.schema
    page = Page(
        f"{instrument}: the {schema.name} matrix",
        f"as known at {format_time(view.at_ns)}",
        f"schema {schema.hash[:16]}",
    )
    page.lead.add_tiles(
        [
            Tile("Rows", len(view.values), more=f"of {schema.rows}"),
            Tile("Columns", len(schema.columns), more=f"{len(schema.unknown_columns)} unknown here"),
            Tile("Whole", "yes" if view.is_whole else "no", tone="good" if view.is_whole else "caution"),
        ]
    )
    if not view.is_whole:
        page.lead.add_note("Some values are not known yet. No decision would be taken on this matrix.", "caution")
    for caution in view.cautions:
        page.lead.add_note(caution, "caution")
    if schema.unknown_columns:
        names = ", ".join(schema.names[place] for place in schema.unknown_columns)
        page.lead.add_note(f"The volume of these bars is unknown, and so are {names}.")
    with np.errstate(invalid="ignore"):
        deviations = (view.values - view.usual_middle) / np.where(view.usual_spread > 0, view.usual_spread, 1.0)
    labels = [format_time(int(stamp)) for stamp in view.ts_event]
    colours = HeatMap(
        title="How unusual each value is",
        values=deviations,
        rows=labels,
        columns=schema.names,
        limit=COLOUR_LIMIT,
        show_values=False,
        note="Deviations from the column's median over the history before; missing values are crossed out.",
    )
    page.section("Picture").add_chart(colours)
    columns = page.section("Columns")
    newest = view.values[-1]
    columns.add_table(
        ["column", "meaning", "unit", Column("newest", decimals=4), Column("usual", decimals=4)],
        [
            [column.name, column.meaning, column.unit, float(newest[place]), float(view.usual_middle[place])]
            for place, column in enumerate(schema.columns)
        ],
        is_sortable=False,
    )
    table = page.section("Values", "Newest row last.")
    table.add_table(
        ["bar closed", *(Column(name, decimals=4) for name in schema.names)],
        [[label, *(float(value) for value in row)] for label, row in zip(labels, view.values, strict=True)],
        is_sortable=False,
    )
    return page.render()


def check_features(
    bars: pl.DataFrame, matrix: Matrix, split_ns: int | None = None, sessions: TradingDays | None = None
) -> FeatureCheck:
    """Check a whole history: distribution, missing values, drift between two periods, correlation.

    The periods meet at ``split_ns``, by default at the middle row behind the warm-up. Raises ``FeatureError`` where a period is empty, and where
    the bars have another width than the matrix is made for.
    """
    check_width(bars, matrix)
    schema, rows = _rows(bars, matrix, sessions)
    stamps = bars["ts_event"].to_numpy()
    warm = schema.warm_up_bars
    if len(rows) < warm + 2:
        raise FeatureError(f"bars: found {len(rows)}, expected at least {warm + 2} to check what follows the warm-up")
    split = int(stamps[(warm + len(rows)) // 2]) if split_ns is None else split_ns
    before, after = rows[warm:][stamps[warm:] < split], rows[warm:][stamps[warm:] >= split]
    if not len(before) or not len(after):
        raise FeatureError(f"split: found {format_time(split)}, expected a time within the rows behind the warm-up")
    columns, gaps = [], []
    for place, column in enumerate(schema.columns):
        values = rows[:, place]
        known = values[~np.isnan(values)]
        first = int(np.flatnonzero(~np.isnan(values))[0]) if len(known) else None
        behind = np.isnan(values[(first if first is not None else column.warm_up_bars) :])
        if place not in schema.unknown_columns:
            gaps += [(column.name, *run) for run in _runs(behind, stamps[len(stamps) - len(behind) :])]
        quantiles = np.quantile(known, [0, 0.01, 0.5, 0.99, 1]) if len(known) else np.full(5, np.nan)
        columns.append(
            ColumnCheck(
                name=column.name,
                meaning=column.meaning,
                unit=column.unit,
                rows=len(behind),
                missing=int(behind.sum()),
                first_known=first,
                mean=_or_nan(np.mean, known),
                deviation=_or_nan(np.std, known),
                quantiles=(
                    float(quantiles[0]),
                    float(quantiles[1]),
                    float(quantiles[2]),
                    float(quantiles[3]),
                    float(quantiles[4]),
                ),
                drift=_drift(before[:, place], after[:, place]),
            )
        )
    correlation = _correlation(rows[warm:])
    return FeatureCheck(schema, stamps, rows, split, tuple(columns), correlation, tuple(gaps), count_bad_bars(bars))


def check_page(check: FeatureCheck, instrument: str) -> str:
    """The check as one HTML page: the table of columns, correlations, missing values, and a histogram per column."""
    schema, warm = check.schema, check.schema.warm_up_bars
    span = f"{format_time(int(check.ts_event[0]))} to {format_time(int(check.ts_event[-1]))}"
    page = Page(f"{instrument}: the {schema.name} features", span, f"schema {schema.hash[:16]}")
    drifting = [column for column in check.columns if column.drift > DRIFT_TO_NOTICE]
    missing = sum(count for *_, count in check.gaps)
    page.lead.add_tiles(
        [
            Tile("Rows", len(check.rows), more=f"warm-up {warm}"),
            Tile(
                "Values missing",
                missing,
                more="behind the warm-up, in known columns",
                tone="good" if missing == 0 else "caution",
            ),
            Tile("Columns that drift", len(drifting), more=f"distance above {DRIFT_TO_NOTICE}"),
            Tile("Columns unknown", len(schema.unknown_columns), more="their volume is not given"),
        ]
    )
    for caution in check.cautions:
        page.lead.add_note(caution, "caution")
    headings: list[str | Column] = ["column", Column("missing", "%", 2)]
    headings += [Column(name, decimals=4) for name in ("mean", "deviation", "least", "1 %", "median", "99 %", "most")]
    headings.append(Column("drift", decimals=3))
    page.section(
        "Columns", f"Drift compares the rows before {format_time(check.split_ns)} with those from then on."
    ).add_table(
        headings,
        [
            [
                column.name,
                column.missing_share,
                column.mean,
                column.deviation,
                *column.quantiles,
                Cell(column.drift, "caution") if column.drift > DRIFT_TO_NOTICE else column.drift,
            ]
            for column in check.columns
        ],
    )
    related = page.section("Correlation", "Over the rows behind the warm-up.")
    related.add_chart(
        HeatMap(
            title="Correlation of the columns",
            values=check.correlation,
            rows=schema.names,
            columns=schema.names,
            limit=1.0,
        )
    )
    for first, second, value in _close_pairs(check):
        related.add_note(f"{first} and {second} move together: {value:.2f}.", "caution")
    holes = page.section("Missing values")
    if check.gaps:
        holes.add_table(
            ["column", "from", "to", "rows"],
            [[name, format_time(begin), format_time(end), count] for name, begin, end, count in check.gaps],
        )
    else:
        holes.add_text("None behind the warm-up.")
    pictures = page.section("Distributions", "The first period beside the second.")
    is_late = check.ts_event[warm:] >= check.split_ns
    for place in schema.known_columns:
        values = check.rows[warm:, place]
        # The outermost values would press all others into a few bars; the picture counts them.
        low, high = np.nanquantile(values, [0.005, 0.995]) if not np.isnan(values).all() else (0.0, 0.0)
        pictures.add_chart(
            Histogram(
                title=schema.names[place],
                samples=[Sample("first period", values[~is_late]), Sample("second period", values[is_late])],
                x_label=schema.columns[place].unit,
                value_range=(float(low), float(high)) if low < high else None,
            ),
            is_half=True,
        )
    return page.render()


def _rows(bars: pl.DataFrame, matrix: Matrix, sessions: TradingDays | None) -> tuple[FeatureSchema, Floats]:
    knows_volume = bool(np.isfinite(bar_arrays(bars).volume).any())
    schema = STRATEGIC_SCHEMA if matrix == "strategic" else TACTICAL_SCHEMA
    rows = strategic_rows(bars, sessions) if matrix == "strategic" else tactical_rows(bars)
    return schema if knows_volume else schema.without_volume(), rows


def _bad_caution(bad_bars: int, rows: int) -> tuple[str, ...]:
    if not bad_bars:
        return ()
    return (f"{bad_bars:,} of these {rows:,} bars lie in a marked bad stretch: their values describe a faulty feed.",)


def _span_text(span_ns: int) -> str:
    """A span for people: minutes below two hours, hours below two days, else days."""
    minutes = span_ns / NS_PER_MINUTE
    if minutes < 120:
        return f"{minutes:g} minutes" if minutes == round(minutes) else f"{minutes:.1f} minutes"
    hours = minutes / 60
    return f"{hours:.3g} hours" if hours < 48 else f"{hours / 24:,.0f} days"


def _or_nan(statistic: Callable[[Floats], np.floating], values: Floats) -> float:
    """A statistic of the values; NaN where there are none."""
    return float(statistic(values)) if len(values) else float("nan")


def _runs(missing: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], stamps: Integers) -> list[tuple[int, int, int]]:
    """First stamp, last stamp and length of each run of missing values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]).astype(np.int8)))
    return [(int(stamps[a]), int(stamps[b - 1]), int(b - a)) for a, b in edges.reshape(-1, 2)]


def _drift(before: Floats, after: Floats) -> float:
    """Kolmogorov and Smirnov's distance of two samples; NaN where one is empty."""
    first, second = np.sort(before[~np.isnan(before)]), np.sort(after[~np.isnan(after)])
    if not len(first) or not len(second):
        return float("nan")
    values = np.concatenate([first, second])
    below_first = np.searchsorted(first, values, side="right") / len(first)
    below_second = np.searchsorted(second, values, side="right") / len(second)
    return float(np.abs(below_first - below_second).max())


def _correlation(rows: Floats) -> Floats:
    """Pearson's correlation over the rows where both columns are known; NaN where one does not vary."""
    columns = rows.shape[1]
    out = np.full((columns, columns), np.nan)
    for i in range(columns):
        for j in range(i, columns):
            known = ~np.isnan(rows[:, i]) & ~np.isnan(rows[:, j])
            a, b = rows[known, i], rows[known, j]
            if len(a) > 1 and a.std() > 0 and b.std() > 0:
                out[i, j] = out[j, i] = np.mean((a - a.mean()) * (b - b.mean())) / (a.std() * b.std())
    return out


def _close_pairs(check: FeatureCheck) -> list[tuple[str, str, float]]:
    names, matrix = check.schema.names, check.correlation
    return [
        (names[i], names[j], float(matrix[i, j]))
        for i in range(len(names))
        for j in range(i)
        if abs(matrix[i, j]) > CORRELATION_TO_NOTICE
    ]
