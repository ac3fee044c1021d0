# ruff: noqa: INP001 (a script beside the page that it makes)
"""Remake ``docs/risk/var-backtests.md``: every VaR method, rolled over real prices and backtested, and the shock replay.

``python docs/risk/make_var_backtests.py [FOLDER]``, where FOLDER holds the shared market data (default ``../shared/data``).
"""

from __future__ import annotations

import gzip
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from grandmodel.data.historical.importing import read_file
from grandmodel.domain.blocks import Flag
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import NS_PER_DAY, NS_PER_HOUR
from grandmodel.risk.correlation import EwmaCovariance, FloatArray
from grandmodel.risk.rolling import METHODS, WINDOW, RollingBacktest, backtest_rolling, rolling_var
from grandmodel.risk.shocks import KINDS, ShockDetector

HERE = Path(__file__).resolve().parent
LEVEL = 0.99
SHORTFALL_LEVEL = 0.975
CALM_YEARS = (1993, 1994, 1995, 2004, 2005, 2006, 2013, 2014, 2017, 2019)


def panel(folder: Path) -> tuple[list[str], FloatArray]:
    """Dates and simple returns (T, 20) of the panel of 20 US shares."""
    with gzip.open(folder / "daily" / "sp500_20stocks_1990_2022.csv.gz") as file:
        frame = pl.read_csv(file.read())
    prices = frame.drop("Date").to_numpy()
    return frame["Date"].to_list()[1:], prices[1:] / prices[:-1] - 1.0


def daily_future(folder: Path, name: str, file: str) -> tuple[list[str], FloatArray]:
    """Days and returns of a future: its half-hour returns of one trading day multiplied up, rolls and bad stretches left out."""
    blocks, _ = read_file(folder / "bars" / "futures_30m" / file, BUILT_IN[InstrumentId(name)])
    (block,) = blocks.values()
    close = block["close"].astype(np.float64)
    unusable = (block["flags"][1:] & int(Flag.ROLL | Flag.BAD_STRETCH)) != 0
    unusable |= (block["flags"][:-1] & int(Flag.BAD_STRETCH)) != 0
    returns = np.where(unusable, 0.0, close[1:] / close[:-1] - 1.0)
    # 17:00 in New York is 21:00 or 22:00 UTC; both lie in the daily pause or at its edge, so two hours later is a new date.
    day = (block["ts_open"][1:] + 2 * NS_PER_HOUR) // NS_PER_DAY
    frame = pl.DataFrame({"day": day, "growth": 1.0 + returns, "bad": unusable & (returns == 0.0)})
    grouped = (
        frame.group_by("day", maintain_order=True)
        .agg(pl.col("growth").product(), pl.col("bad").mean())
        .filter(pl.col("bad") < 0.5)
    )
    days = [datetime.fromtimestamp(d * 86_400, UTC).date().isoformat() for d in grouped["day"].to_list()]
    return days, grouped["growth"].to_numpy() - 1.0


def table(pnl: FloatArray) -> list[RollingBacktest]:
    """Every method on one series, over the same days."""
    return [backtest_rolling(pnl, rolling_var(pnl, method, LEVEL), WINDOW) for method in METHODS]


def shortfalls(pnl: FloatArray) -> dict[str, float]:
    """Acerbi and Szekely's statistic of each method at the level that Basel states for the shortfall."""
    return {
        method: backtest_rolling(pnl, rolling_var(pnl, method, SHORTFALL_LEVEL), WINDOW).shortfall.statistic
        for method in METHODS
    }


def markdown(title: str, dates: list[str], pnl: FloatArray) -> tuple[list[str], list[RollingBacktest]]:
    """One section of the page."""
    rows = table(pnl)
    z2 = shortfalls(pnl)
    lines = [
        f"## {title}",
        "",
        f"{dates[WINDOW]} to {dates[-1]}, {rows[0].days:,} days; {rows[0].coverage.expected:.1f} exceptions expected.",
        "",
        "| method | exceptions | Kupiec p | independence p | conditional p | green / yellow / red days | ES: Z2 at 97.5 % | mean VaR |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        (
            f"| {row.method} | {row.coverage.exceptions} | {row.coverage.p_value:.4f} | "
            f"{row.independence.independence.p_value:.4f} | {row.independence.conditional.p_value:.4f} | "
            f"{row.green_days} / {row.yellow_days} / {row.red_days} | {z2[row.method]:+.3f} | {100 * row.mean_value:.3f} % |"
        )
        for row in rows
    ]
    return [*lines, ""], rows


def replay(dates: list[str], returns: FloatArray) -> list[tuple[str, str, float]]:
    """(date, kind, deviations) of every shock on the panel with the default settings."""
    tracker, detector = EwmaCovariance(returns.shape[1], 0.94), ShockDetector(returns.shape[1])
    found: list[tuple[str, str, float]] = []
    for date, row in zip(dates, returns, strict=True):
        tracker.update(row)
        if tracker.updates > 60:
            found += [(date, shock.kind, shock.deviations) for shock in detector.update(tracker.covariance)]
    return found


def shock_section(dates: list[str], returns: FloatArray) -> list[str]:
    """The replay: how often, when, and in which years not at all."""
    shocks = replay(dates, returns)
    years = sorted({date[:4] for date in dates})
    per_year = {year: sum(date.startswith(year) for date, _, _ in shocks) for year in years}
    calm = [per_year[str(year)] for year in CALM_YEARS]
    lines = [
        "## Shock detection on the panel of 20 shares",
        "",
        "EWMA 0.94 covariance, one update a day, the detector's default settings, 60 days of warm-up before its history.",
        "",
        (
            f"{len(shocks)} shocks in {len(dates):,} days ({len(shocks) / len(years):.2f} a year); in the calm years "
            f"{', '.join(map(str, CALM_YEARS))} together {sum(calm)} ({sum(calm) / len(calm):.2f} a year)."
        ),
        "",
        "| year | " + " | ".join(KINDS) + " | dates |",
        "|---|" + "---|" * (len(KINDS) + 1),
    ]
    for year in years:
        here = [shock for shock in shocks if shock[0].startswith(year)]
        if here:
            counts = " | ".join(str(sum(kind == k for _, kind, _ in here)) for k in KINDS)
            lines.append(f"| {year} | {counts} | {', '.join(dict.fromkeys(date for date, _, _ in here))} |")
    return [*lines, ""]


def verdict(results: dict[str, list[RollingBacktest]]) -> list[str]:
    """The methods by how many of the tests they pass at 5 %, then by red days, then by cost."""
    scores: list[tuple[int, int, float, str]] = []
    for method in METHODS:
        rows = [row for table_rows in results.values() for row in table_rows if row.method == method]
        passed = sum(
            (row.coverage.p_value >= 0.05)
            + (row.independence.independence.p_value >= 0.05)
            + (row.independence.conditional.p_value >= 0.05)
            for row in rows
        )
        red = sum(row.red_days for row in rows)
        scores.append((-passed, red, sum(row.mean_value for row in rows) / len(rows), method))
    total = 3 * len(results)
    lines = [
        "## Which method",
        "",
        f"Of {total} tests (Kupiec, independence, conditional, on {len(results)} series), passed at 5 %; then red days:",
        "",
        "| method | passed | red days | mean VaR |",
        "|---|---|---|---|",
    ]
    lines += [f"| {m} | {-p} of {total} | {r} | {100 * c:.3f} % |" for p, r, c, m in sorted(scores)]
    return [*lines, ""]


def main() -> None:
    """Write the page."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parents[2] / "shared" / "data"
    dates, returns = panel(folder)
    parts: list[str] = []
    results: dict[str, list[RollingBacktest]] = {}
    for title, (days, pnl) in {
        "20 US shares, equal weights": (dates, returns.mean(axis=1)),
        "NQ": daily_future(folder, "NQ", "NQ_30m_eth_20200629_20240628.csv.gz"),
        "CL": daily_future(folder, "CL", "CL_30m_eth_20200629_20240628.csv.gz"),
    }.items():
        section, results[title] = markdown(title, days, pnl)
        parts += section
    body = [*verdict(results), *parts, *shock_section(dates, returns)]
    intro = (HERE / "var-backtests.head.md").read_text(encoding="utf-8").rstrip().split("\n")
    (HERE / "var-backtests.md").write_text("\n".join([*intro, "", *body]).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
