# ruff: noqa: INP001, T201 (a script beside the page that it makes, which says how far it is)
"""Remake ``docs/risk/var-backtests.md``: every VaR method, rolled over real prices and backtested, and the shock replay.

``python docs/risk/make_var_backtests.py [FOLDER]``, where FOLDER holds the shared market data (default ``../shared/data``).
"""

from __future__ import annotations

import gzip
import math
import sys
import time
import zipfile
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from grandmodel.data.historical.importing import read_file
from grandmodel.data.historical.resampling import resample_bars
from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.blocks import Block, Flag
from grandmodel.domain.events import ClosedBar
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN, Instrument
from grandmodel.domain.time import NS_PER_DAY, NS_PER_HOUR, THIRTY_MINUTES_NS
from grandmodel.risk.backtests import christoffersen, holm, quantile_loss
from grandmodel.risk.correlation import PAIR_WEIGHTS, PAIRED, TRIANGLE, EwmaCovariance, FloatArray
from grandmodel.risk.intraday import IntradayVolatility
from grandmodel.risk.rolling import DEFAULT_METHOD, METHODS, WINDOW, RollingBacktest, backtest_rolling, rolling_var
from grandmodel.risk.running import RETURNS, RunningRisk
from grandmodel.risk.settings import VarSettings
from grandmodel.risk.shocks import KINDS, ShockDetector

HERE = Path(__file__).resolve().parent
LEVEL = 0.99
SHORTFALL_LEVEL = 0.975
SIGNIFICANCE = 0.05
CLOSED_FORM = ("parametric_ewma", "parametric_ewma_t5")
"""Methods whose value after one more order costs a few multiplications: what the gate can use."""
CALM_YEARS = (1993, 1994, 1995, 2004, 2005, 2006, 2013, 2014, 2017, 2019)
_LONGEST_GAP = timedelta(days=7)
"""A return over a longer gap is not one day's: the series was not listed, or is another company's."""
_FIRST_DAYS = {"uso": "2006-04-10", "eem": "2003-04-11"}
"""Tickers that were another company's before."""


@dataclass(frozen=True)
class Panel:
    """One series of profit and loss. Shapes: ``days`` and ``pnl`` (T,)."""

    title: str
    what: str
    days: list[str]
    pnl: FloatArray
    unit: str = "%"


def panel(folder: Path) -> tuple[list[str], FloatArray]:
    """Dates and simple returns (T, 20) of the panel of 20 US shares."""
    with gzip.open(folder / "daily" / "sp500_20stocks_1990_2022.csv.gz") as file:
        frame = pl.read_csv(file.read())
    prices = frame.drop("Date").to_numpy()
    return frame["Date"].to_list()[1:], prices[1:] / prices[:-1] - 1.0


def mean_of_listed(series: dict[str, dict[str, float]], first: str = "") -> tuple[list[str], FloatArray]:
    """Days and the mean return of what is listed on each: a member counts from its first day on, and not in its gaps."""
    days = sorted({day for returns in series.values() for day in returns if day >= first})
    held = [[returns[day] for returns in series.values() if day in returns] for day in days]
    return days, np.array([sum(row) / len(row) for row in held])


def returns_of(days: list[str], prices: FloatArray, first: str = "") -> dict[str, float]:
    """Simple returns by day, without those over a gap of more than a week or from a price that is missing."""
    dates = [date.fromisoformat(day) for day in days]
    found = {}
    for k in range(1, len(days)):
        if days[k - 1] >= first and dates[k] - dates[k - 1] <= _LONGEST_GAP and prices[k - 1] > 0.0 and prices[k] > 0.0:
            found[days[k]] = float(prices[k] / prices[k - 1] - 1.0)
    return found


def zipped_closes(path: Path, column: int, scale: float) -> tuple[list[str], FloatArray]:
    """Days and prices of one of LEAN's daily files."""
    with zipfile.ZipFile(path) as archive:
        rows = [row.split(",") for row in archive.read(archive.namelist()[0]).decode().split("\n") if row.strip()]
    days = [f"{row[0][:4]}-{row[0][4:6]}-{row[0][6:8]}" for row in rows]
    return days, np.array([float(row[column]) * scale for row in rows])


def late_members(folder: Path) -> dict[str, dict[str, float]]:
    """Shares and funds of which some are listed years after the others, adjusted for splits and dividends."""
    series = {}
    for path in sorted((folder / "daily" / "lean_equity").glob("*.zip")):
        days, prices = zipped_closes(path, 4, 1e-4)
        rows = (folder / "reference" / "lean_equity_factor_files" / f"{path.stem}.csv").read_text().split()
        until = [f"{row[:4]}-{row[4:6]}-{row[6:8]}" for row in rows]
        factor = [float(row.split(",")[1]) * float(row.split(",")[2]) for row in rows]
        place = np.minimum(np.searchsorted(until, days), len(rows) - 1)  # a factor holds up to and with its day
        series[path.stem] = returns_of(days, prices * np.array(factor)[place], _FIRST_DAYS.get(path.stem, ""))
    return series


def adjusted_shares(folder: Path) -> tuple[list[str], FloatArray]:
    """Twelve US shares of 2012 to 2017."""
    series = {}
    for path in sorted((folder / "daily" / "stocknet_prices").glob("*.csv")):
        frame = pl.read_csv(path)
        series[path.stem] = returns_of(frame["Date"].to_list(), frame["Adj Close"].cast(pl.Float64).to_numpy())
    return mean_of_listed(series)


def currency_members(folder: Path) -> dict[str, dict[str, float]]:
    """Every currency with data, held against the dollar."""
    with gzip.open(folder / "daily" / "fed_h10_fx_daily_1971_2017.csv.gz") as file:
        frame = pl.read_csv(file.read(), infer_schema_length=None).drop_nulls("Data")
    series = {}
    for name in frame.columns[1:]:
        known = frame.select("Data", pl.col(name).cast(pl.Float64, strict=False)).drop_nulls()
        if len(known):  # quoted per dollar: a currency that rises costs fewer units
            series[name] = returns_of(known["Data"].to_list(), 1.0 / known[name].to_numpy())
    return series


def factor_funds(folder: Path) -> tuple[list[str], FloatArray]:
    """Five funds of US shares by factor."""
    with gzip.open(folder / "daily" / "us_factor_etfs_2014_2022.csv.gz") as file:
        frame = pl.read_csv(file.read())
    days = frame["Date"].to_list()
    return mean_of_listed({name: returns_of(days, frame[name].to_numpy()) for name in frame.columns[1:]})


def oil(folder: Path) -> tuple[list[str], FloatArray]:
    """Dollars made by half a barrel of WTI and half of Brent: prices below zero have no returns."""
    frames = [
        pl.read_csv(folder / "daily" / f"{name}_spot_daily_to_20240630.csv").cast({"Price": pl.Float64})
        for name in ("wti", "brent")
    ]
    both = frames[0].join(frames[1], on="Date", suffix="_brent").drop_nulls().sort("Date")
    mean = 0.5 * (both["Price"] + both["Price_brent"]).to_numpy()
    return both["Date"].to_list()[1:], np.diff(mean)


def gold(folder: Path) -> tuple[list[str], FloatArray]:
    """Spot gold in dollars, bid side, without the short Sundays."""
    days, prices = zipped_closes(folder / "daily" / "lean_fx" / "xauusd.zip", 4, 1.0)
    kept = np.array([date.fromisoformat(day).weekday() < 5 for day in days])
    return mean_of_listed({"gold": returns_of([d for d, k in zip(days, kept, strict=True) if k], prices[kept])})


def daily_future(folder: Path, name: str, file: str) -> tuple[list[str], FloatArray]:
    """Days and returns of a future: the returns of its bars of one trading day multiplied up, rolls and bad stretches left out."""
    blocks, _ = read_file(folder / "bars" / file, BUILT_IN[InstrumentId(name)])
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


def panels(folder: Path) -> list[Panel]:
    """Every series that the methods are held against."""
    dates, returns = panel(folder)
    half_hours = "futures_30m/{}_30m_eth_20200629_20240628.csv.gz"
    return [
        Panel("20 US shares", "equal weights; survivors, adjusted prices", dates, returns.mean(axis=1)),
        Panel(
            "9 US shares and funds with late listings",
            "equal weights of those listed; adjusted",
            *mean_of_listed(late_members(folder)),
        ),
        Panel("12 US shares, 2012 to 2017", "equal weights; adjusted", *adjusted_shares(folder)),
        Panel("5 US factor funds", "equal weights; adjusted", *factor_funds(folder)),
        Panel(
            "22 currencies",
            "held in equal parts against the dollar, of those listed",
            *mean_of_listed(currency_members(folder), "1990-01-01"),
        ),
        Panel("Gold", "spot, in dollars", *gold(folder)),
        Panel("Crude oil", "spot, dollars made by half a barrel of WTI and of Brent", *oil(folder), "$"),
        Panel("NQ", "continuous future, half-hour bars", *daily_future(folder, "NQ", half_hours.format("NQ"))),
        Panel("CL", "continuous future, half-hour bars", *daily_future(folder, "CL", half_hours.format("CL"))),
        Panel(
            "IF",
            "continuous future, 5-minute bars",
            *daily_future(folder, "IF", "futures_5m/CFFEX_IF_5m_20140102_20181031.csv.gz"),
        ),
    ]


@dataclass(frozen=True)
class Row:
    """How one method did on one series."""

    backtest: RollingBacktest
    z2: float
    """Acerbi and Szekely's statistic at the level that Basel states for the shortfall."""
    score: float
    """Mean quantile loss of the stated VaR, against that of the plain historical method on the same days."""

    @property
    def p_values(self) -> dict[str, float]:
        """Of the three tests."""
        chain = self.backtest.independence
        return {
            "Kupiec": self.backtest.coverage.p_value,
            "independence": chain.independence.p_value,
            "conditional": chain.conditional.p_value,
        }


def rows_of(series: Panel) -> dict[str, Row]:
    """Every method on one series, over the same days."""
    pnl, losses, found = series.pnl, {}, {}
    for method in METHODS:
        rolled = rolling_var(pnl, method, LEVEL)
        losses[method] = quantile_loss(pnl[WINDOW:], rolled.value[WINDOW:], LEVEL)
        tail = backtest_rolling(pnl, rolling_var(pnl, method, SHORTFALL_LEVEL), WINDOW).shortfall.statistic
        found[method] = (backtest_rolling(pnl, rolled, WINDOW), tail)
        print(".", end="", flush=True)
    return {method: Row(*found[method], losses[method] / losses["historical"]) for method in METHODS}


def markdown(series: Panel, rows: dict[str, Row]) -> list[str]:
    """One section of the page."""
    first = next(iter(rows.values())).backtest
    lines = [
        f"## {series.title}",
        "",
        (
            f"{series.what[:1].upper()}{series.what[1:]}. {series.days[WINDOW]} to {series.days[-1]}, {first.days:,} days; "
            f"{first.coverage.expected:.1f} exceptions expected."
        ),
        "",
        "| method | exceptions | Kupiec p | independence p | conditional p | green / yellow / red days | ES: Z2 at 97.5 % | score | mean VaR |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for method, row in rows.items():
        test = row.backtest
        mean = f"{100 * test.mean_value:.3f} %" if series.unit == "%" else f"{test.mean_value:.2f} {series.unit}"
        p_values = " | ".join(f"{p:.4f}" for p in row.p_values.values())
        lines.append(
            f"| {method} | {test.coverage.exceptions} | {p_values} | "
            f"{test.green_days} / {test.yellow_days} / {test.red_days} | {row.z2:+.3f} | {row.score:.3f} | {mean} |"
        )
    return [*lines, ""]


def replay(dates: list[str], returns: FloatArray) -> list[tuple[str, str, float]]:
    """(date, kind, deviations) of every shock on the panel with the default settings."""
    tracker, detector = EwmaCovariance(returns.shape[1], 0.94), ShockDetector(returns.shape[1])
    found: list[tuple[str, str, float]] = []
    for day, row in zip(dates, returns, strict=True):
        tracker.update(row)
        if tracker.updates > 60:
            found += [(day, shock.kind, shock.deviations) for shock in detector.update(tracker.covariance)]
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


def mean_change(pairs: list[tuple[float, float]]) -> str:
    """The largest fall and rise of the VaR of equal weights, for (before, after)."""
    ratios = [after / before - 1.0 for before, after in pairs]
    return f"{100 * min(ratios):+.1f} % to {100 * max(ratios):+.1f} %"


def missing_section(folder: Path) -> list[str]:
    """What missing returns do to the running covariance, on the panels whose members are listed late or closed on other days."""
    lines = [
        "## Missing returns",
        "",
        (
            "EWMA covariances (0.94) of the members, each pair on its own clock. A day counts as broken where the matrix as the pairs give it is "
            "not positive semi-definite: some book then has a negative variance. The covariance is repaired on those days (`correlation.py`); "
            "the VaR of one member alone stays. Members count from their 46th return on, as in the gate."
        ),
        "",
        (
            "| members | days | broken | smallest eigenvalue | largest change of a correlation | VaR of equal weights, repaired against raw | "
            "VaR of the worst book, raw | repaired |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for title, series, first in (
        ("9 US shares and funds with late listings", late_members(folder), ""),
        ("22 currencies", currency_members(folder), "1990-01-01"),
    ):
        lines.append(missing_row(title, series, first))
    return [
        *lines,
        "",
        (
            "The worst book is the one with the smallest raw variance for its size (weights of length 1): raw it has none, so a limit on VaR "
            "would never have stopped it. The gate refuses an order where a pair was never seen together at all."
        ),
        "",
    ]


def missing_row(title: str, series: dict[str, dict[str, float]], first: str) -> str:
    """One line of the table of missing returns."""
    days = sorted({day for returns in series.values() for day in returns if day >= first})
    table = np.array([[returns.get(day, math.nan) for returns in series.values()] for day in days])
    tracker, seen = EwmaCovariance(table.shape[1], 0.94), np.zeros(table.shape[1], dtype=np.int64)
    looked, smallest, change, worst = 0, 0.0, 0.0, math.inf
    equal: list[tuple[float, float]] = []
    for row in table:
        tracker.update(row)
        seen += np.isfinite(row)
        members = np.flatnonzero(seen >= VarSettings().min_returns)
        if not len(members):
            continue
        looked += 1
        with np.errstate(invalid="ignore", divide="ignore"):
            lower = (
                tracker.tables[TRIANGLE] / tracker.tables[PAIR_WEIGHTS] if tracker.clock[PAIRED] else np.eye(len(row))
            )
        raw = (np.tril(lower) + np.tril(lower, -1).T)[np.ix_(members, members)]
        if not (np.isfinite(raw).all() and (np.diagonal(raw) > 0.0).all()):
            continue
        scale = np.sqrt(np.diagonal(raw))
        values, vectors = np.linalg.eigh(raw / np.outer(scale, scale))
        if values[0] < -1e-12:
            repaired = tracker.covariance[np.ix_(members, members)]
            weights, book = np.ones(len(members)), vectors[:, 0] / scale
            equal.append((math.sqrt(weights @ raw @ weights), math.sqrt(weights @ repaired @ weights)))
            change, smallest = max(change, tracker.repair), min(smallest, float(values[0]))
            worst = min(worst, math.sqrt(book @ repaired @ book))
    return (
        f"| {title} | {looked:,} | {len(equal)} | {smallest:.3f} | {change:.2f} | {mean_change(equal)} | none (variance below 0) | "
        f"{worst:.2f} of one member's |"
    )


@dataclass(frozen=True)
class BarTest:
    """Bars of one series and the VaR stated for each. Shapes: (B,)."""

    place: NDArray[np.int64]
    pnl: FloatArray
    average: FloatArray
    """VaR of the average bar."""
    shaped: FloatArray
    """With the time of day and the pace of the last bars."""


def bar_test(instrument: Instrument, block: Block, hours: float) -> BarTest:
    """One lot held through ``block`` (half-hour bars): the gate's running estimate, and what each bar made, both by bar."""
    settings = VarSettings(session_hours=hours)
    schedule = session_schedule(instrument, int(block["ts_open"][0]), int(block["ts_open"][-1]) + 1)
    running, shape = RunningRisk(settings, [instrument]), IntradayVolatility(1, settings.width_ns, schedule)
    found: list[tuple[int, float, float, float]] = []
    names = ("ts_open", "ts_event", "open", "high", "low", "close", "volume", "flags")
    last: int | None = None
    for values in zip(*(block[name].tolist() for name in names), strict=True):
        bar = ClosedBar(instrument=instrument.id, width_ns=settings.width_ns, **dict(zip(names, values, strict=True)))
        is_break = bar.flags & int(Flag.ROLL | Flag.BAD_STRETCH) != 0
        average = running.value_at_risk([1], [1_000_000]) / math.sqrt(settings.bars_per_day)
        if last is not None and not is_break and average > 0.0:
            shaped = shape.value_at_risk(running, [1], [1_000_000], bar.ts_open)
            made = instrument.value_micros(bar.close - last, 1)
            found.append((shape.place_of(bar.ts_open), made / 1e6, average / 1e6, shaped / 1e6))
        running.on_bar(bar)
        shape.take_row(running, running.money[RETURNS], bar.ts_open)
        running.take_row()
        last = None if bar.flags & int(Flag.BAD_STRETCH) else bar.close
    place, pnl, average_bar, shaped_bar = (np.array(column) for column in zip(*found, strict=True))
    return BarTest(place, pnl, average_bar, shaped_bar)


def intraday_section(folder: Path) -> list[str]:
    """The bar-level backtest of one lot held, with the average bar's VaR and with the shape of the day."""
    lines = [
        "## Time of day",
        "",
        (
            "One lot held through every half-hour bar at 99 %: the gate's running estimate (EWMA 0.94 a day, Student t) spread evenly over "
            "the bars of a day, and the same with the shape of the day (`intraday.py`): the causal mean squared return of each place in the "
            "session, and the pace of the last bars. Its two constants were chosen on NQ and CL 2020 to 2024; the series of other years and "
            "markets were not looked at for it. Steps of rolls and the bad stretch are left out."
        ),
        "",
        "| series | VaR of | bars | exceptions | expected | Kupiec p | independence p | most exceptions at one place | mean quantile loss |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    sources = (
        ("NQ 2020-2024", "NQ", "futures_30m/NQ_30m_eth_20200629_20240628.csv.gz", 23.0),
        ("CL 2020-2024", "CL", "futures_30m/CL_30m_eth_20200629_20240628.csv.gz", 23.0),
        ("NQ 2019", "NQ", "futures_5m/NQ_5m_20190101_20191031.csv.gz", 23.0),
        ("GC 2019", "GC", "futures_5m/GC_5m_20190101_20191031.csv.gz", 23.0),
        ("IF 2014-2018", "IF", "futures_5m/CFFEX_IF_5m_20140102_20181031.csv.gz", 4.0),
    )
    for title, name, file, hours in sources:
        instrument = BUILT_IN[InstrumentId(name)]
        blocks, _ = read_file(folder / "bars" / file, instrument)
        (block,) = blocks.values()
        test = bar_test(instrument, resample_bars(block, THIRTY_MINUTES_NS), hours)
        scale = quantile_loss(test.pnl, test.average, LEVEL)
        for what, stated in (("the average bar", test.average), ("this bar", test.shaped)):
            hits = test.pnl < -stated
            chain = christoffersen(hits, LEVEL)
            shares = [
                hits[test.place == place].mean() for place in np.unique(test.place) if (test.place == place).sum() > 50
            ]
            lines.append(
                f"| {title} | {what} | {len(hits):,} | {int(hits.sum())} | {(1.0 - LEVEL) * len(hits):.1f} | {chain.coverage.p_value:.4f} | "
                f"{chain.independence.p_value:.4f} | {100 * max(shares):.1f} % | {quantile_loss(test.pnl, stated, LEVEL) / scale:.3f} |"
            )
    return [*lines, ""]


def verdict(results: dict[str, dict[str, Row]]) -> list[str]:
    """The methods by the stated rule: rejections after Holm, then the mean score; and what the rule chooses."""
    ranked = []
    for method in METHODS:
        tests = [(title, test, p) for title, rows in results.items() for test, p in rows[method].p_values.items()]
        rejected = holm([p for _, _, p in tests], SIGNIFICANCE)
        where = [
            f"{title} ({test})" for (title, test, _), is_rejected in zip(tests, rejected, strict=True) if is_rejected
        ]
        rows = [results[title][method] for title in results]
        ranked.append(
            (
                len(where),
                float(np.mean([row.score for row in rows])),
                method,
                sum(p < SIGNIFICANCE for _, _, p in tests),
                sum(row.backtest.red_days for row in rows),
                where,
            )
        )
    ranked.sort()
    count = 3 * len(results)
    closed = next(method for _, _, method, _, _, _ in ranked if method in CLOSED_FORM)
    lines = [
        "## Which method",
        "",
        (
            f"{count} tests of each method (Kupiec, independence, conditional, on {len(results)} series), {count * len(METHODS)} in all. "
            f"Of {count} tests of a right method {SIGNIFICANCE * count:.1f} fail at 5 % by chance, so what counts is what Holm's "
            f"step-down over the {count} tests still rejects: the smallest p-value is held against 5 % / {count}, the next against "
            f"5 % / {count - 1}, and so on. The three tests of one series hang together; Holm allows for that."
        ),
        "",
        "| method | rejected after Holm | below 5 % before it | mean score | red days | where |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {method} | {bad} of {count} | {plain} | {score:.3f} | {red} | {', '.join(where) or '-'} |"
        for bad, score, method, plain, red, where in ranked
    ]
    lines += [
        "",
        (
            f"By the rule: reports use `{ranked[0][2]}`, the gate, which needs a closed form, `{closed}`. "
            f"In the code: `{DEFAULT_METHOD}` and Student t ({VarSettings().degrees or math.inf:g})."
        ),
        "",
    ]
    return lines


def main() -> None:
    """Write the page."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parents[2] / "shared" / "data"
    began = time.monotonic()
    parts: list[str] = []
    results: dict[str, dict[str, Row]] = {}
    for series in panels(folder):
        print(f"{time.monotonic() - began:6.0f} s  {series.title}, {len(series.pnl):,} days ", end="", flush=True)
        results[series.title] = rows_of(series)
        parts += markdown(series, results[series.title])
        print()
    print(f"{time.monotonic() - began:6.0f} s  missing returns, time of day, shocks")
    dates, returns = panel(folder)
    body = [
        *verdict(results),
        *parts,
        *missing_section(folder),
        *intraday_section(folder),
        *shock_section(dates, returns),
    ]
    intro = (HERE / "var-backtests.head.md").read_text(encoding="utf-8").rstrip().split("\n")
    (HERE / "var-backtests.md").write_text("\n".join([*intro, "", *body]).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
