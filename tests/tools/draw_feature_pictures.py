"""Draw the pictures of ``docs/concepts/features.md`` from the shared market bars: features only, no prices.

python tests/tools/draw_feature_pictures.py
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import market_files  # noqa: E402 - found only after the path is set
from grandmodel.charts import Chart, HeatMap, Level, LineChart, Markers, Series, picture  # noqa: E402
from grandmodel.features import STRATEGIC_SCHEMA, TACTICAL_SCHEMA, strategic_rows, tactical_rows  # noqa: E402
from grandmodel.features.averages import wma  # noqa: E402
from grandmodel.features.inspect import check_features  # noqa: E402

FOLDER = ROOT / "docs" / "concepts" / "img"
HOUR_NS = 3600 * 10**9


def ns(*day: int) -> int:
    return int(datetime(*day, tzinfo=UTC).timestamp()) * 10**9  # type: ignore[misc]


def main() -> None:
    half_hours, five_minutes = market_files.nq_30m(), market_files.nq_5m()
    strategic = Drawn(half_hours, strategic_rows(half_hours), STRATEGIC_SCHEMA.names, ns(2022, 3, 7), ns(2022, 3, 19))
    tactical = Drawn(
        five_minutes, tactical_rows(five_minutes), TACTICAL_SCHEMA.names, ns(2019, 8, 1, 13), ns(2019, 8, 2, 20)
    )
    years = Drawn(half_hours, strategic.rows, STRATEGIC_SCHEMA.names, ns(2021, 6, 1), ns(2022, 12, 1))
    mean = wma(strategic.rows[:, 0], 20)
    pictures: dict[str, Chart] = {
        "mlmi": strategic.chart(
            "mlmi_value and its 20-bar weighted mean, NQ, March 2022",
            "mlmi_value",
            extra=(strategic.series("weighted mean", mean, dashed=True),),
            markers=strategic.signals("mlmi_signal", "mlmi_value"),
        ),
        "nwrqk": strategic.chart("nwrqk_value and nwrqk_slope, NQ, March 2022", "nwrqk_value", "nwrqk_slope"),
        "lvn": strategic.chart("lvn_distance and lvn_strength, NQ, March 2022", "lvn_distance", "lvn_strength"),
        "time": strategic.chart("time_of_day and day_of_week, NQ, March 2022", "time_of_day", "day_of_week"),
        "mmd": years.chart("mmd_score, NQ, June 2021 to November 2022", "mmd_score"),
        "momentum": strategic.chart("momentum_20 and momentum_50, NQ, March 2022", "momentum_20", "momentum_50"),
        "volatility": years.chart(
            "volatility_30, NQ, June 2021 to November 2022", "volatility_30", level=(1.0, "as usual")
        ),
        "skew": strategic.chart("volume_profile_skew, NQ, March 2022", "volume_profile_skew"),
        "gaps": tactical.chart("fvg_nearest_level, NQ, five minutes, 1 and 2 August 2019", "fvg_nearest_level"),
        "gap-flags": tactical.chart(
            "Gaps alive and their age, NQ, 1 and 2 August 2019",
            "fvg_bullish_active",
            "fvg_bearish_active",
            "fvg_age",
            step=True,
        ),
        "price-momentum": tactical.chart("price_momentum_5, NQ, 1 and 2 August 2019", "price_momentum_5"),
        "volume-ratio": volume_ratio(half_hours),
        "matrix": matrix(strategic),
        "correlation": correlation(half_hours),
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, chart in pictures.items():
        (FOLDER / f"features-{name}.svg").write_text(picture(chart), encoding="utf-8")
        print(FOLDER / f"features-{name}.svg")


class Drawn:
    """The rows of a matrix over one stretch of time."""

    def __init__(self, bars: pl.DataFrame, rows: np.ndarray, names: tuple[str, ...], begin: int, end: int) -> None:
        self.stamps = bars["ts_event"].to_numpy()
        self.rows = rows
        self.names = names
        self.part = (self.stamps >= begin) & (self.stamps <= end)

    def series(self, name: str, values: np.ndarray, *, dashed: bool = False, step: bool = False) -> Series:
        # Longer breaks than the daily one are weekends; they are not joined.
        return Series(name, self.stamps[self.part], values[self.part], dashed=dashed, step=step, max_gap_ns=6 * HOUR_NS)

    def column(self, name: str) -> np.ndarray:
        return self.rows[:, self.names.index(name)]

    def signals(self, signal: str, at: str) -> tuple[Markers, ...]:
        made = []
        for kind, side, name in (("buy", 1.0, "crosses above"), ("sell", -1.0, "crosses below")):
            hits = self.part & (self.column(signal) == side)
            made.append(Markers(name, self.stamps[hits], self.column(at)[hits], kind=kind))  # type: ignore[arg-type]
        return tuple(made)

    def chart(
        self,
        title: str,
        *names: str,
        extra: tuple[Series, ...] = (),
        markers: tuple[Markers, ...] = (),
        level: tuple[float, str] | None = None,
        step: bool = False,
    ) -> LineChart:
        series = [*(self.series(name, self.column(name), step=step) for name in names), *extra]
        levels = (Level(*level),) if level else ()
        return LineChart(title=title, series=series, markers=markers, levels=levels, include_zero=True, height=180)


def volume_ratio(bars: pl.DataFrame) -> LineChart:
    drawn = Drawn(bars, tactical_rows(bars), TACTICAL_SCHEMA.names, ns(2022, 3, 7), ns(2022, 3, 12))
    return drawn.chart(
        "volume_ratio on half-hour bars, NQ, March 2022 (the five-minute bars have no volume)", "volume_ratio"
    )


def matrix(drawn: Drawn) -> HeatMap:
    last = int(np.flatnonzero(drawn.part)[-1])
    rows = drawn.rows[last - 47 : last + 1]
    usual = np.nanmedian(drawn.rows[:last], axis=0)
    spread = np.nanstd(drawn.rows[:last], axis=0)
    return HeatMap(
        title="The 48 rows that an agent sees, NQ, 18 March 2022",
        values=(rows - usual) / spread,
        rows=[f"{back} bars ago" if back else "newest" for back in range(47, -1, -1)],
        columns=drawn.names,
        limit=3.0,
        show_values=False,
        note="Deviations of each column from its median in the history before.",
    )


def correlation(bars: pl.DataFrame) -> HeatMap:
    check = check_features(bars, "strategic")
    return HeatMap(
        title="Correlation of the strategic columns, NQ, 2020 to 2024",
        values=check.correlation,
        rows=check.schema.names,
        columns=check.schema.names,
        limit=1.0,
    )


if __name__ == "__main__":
    main()
