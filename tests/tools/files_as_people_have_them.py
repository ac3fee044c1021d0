"""Real market files renamed and re-saved as people's programs do it, checked and imported as a new user would.

``python -m tests.tools.files_as_people_have_them`` from the root of the repository; ``--only WORD`` runs the cases whose name
holds it. Every case takes rows of a file in ``../shared``, writes them as some program would (a spreadsheet of another
country, a charting site, a broker's terminal, a zip of another system), and asks ``grandmodel data check`` and ``data
import``. The truth is the tool's own plain parsing of the source: the bars in the store must be those, to the tick. A case
may also expect a refusal, whose words must name what is wrong and the flag that settles it. Prints one line per question;
exit code 1 where an outcome differs from what is expected.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import datetime as dt
import functools
import gzip
import io
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from grandmodel.cli.main import main as command
from grandmodel.data.historical.store import Store
from grandmodel.domain.blocks import UNKNOWN_VOLUME, Schema
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
NEW_YORK = "America/New_York"


@dataclass(frozen=True)
class Row:
    """One bar of a source: its open in UTC, and its numbers as the source writes them."""

    at: dt.datetime
    prices: tuple[Decimal, Decimal, Decimal, Decimal]
    volume: int | None


@dataclass(frozen=True)
class Question:
    """One call and what must come of it."""

    flags: tuple[str, ...]
    says: tuple[str, ...] = ()
    """Words of the refusal; none: the file must be read."""
    finds: tuple[str, ...] = ()
    """Findings that the report must name."""
    rows: Callable[[], list[Row]] | None = None
    """The bars that must be in the store."""
    count: int | None = None
    """How many rows must be in it, where they are no bars."""
    volume_within: float = 0.0
    """How far a volume may be from the source's, as a share: shortened volumes lose digits."""


@dataclass(frozen=True)
class Case:
    """One file as somebody has it."""

    name: str
    what: str
    instrument: str
    write: Callable[[Path], Path]
    questions: tuple[Question, ...]


# Plain reading of the sources


def source(relative: str, start: int, count: int) -> list[Row]:
    """``count`` bars of a shared CSV from row ``start``, by the layout that its data sheet states."""
    zone, pattern, width, is_close = {
        "futures_30m": ("Asia/Jerusalem", "%d/%m/%Y %H:%M", 30, False),
        "futures_5m/CFFEX": ("Asia/Shanghai", "%Y/%m/%d %H:%M", 5, True),
        "futures_5m": ("America/Los_Angeles", "%Y-%m-%d %H:%M", 5, False),
        "futures_1m": ("UTC", "%Y-%m-%d %H:%M", 1, True),
        "index_cfd_1h": ("UTC", "%Y-%m-%d %H:%M", 60, False),
        "crypto_30m": ("UTC", "%Y-%m-%d %H:%M", 30, False),
    }[
        next(
            key
            for key in ("futures_30m", "futures_5m/CFFEX", "futures_5m", "futures_1m", "index_cfd_1h", "crypto_30m")
            if key in relative
        )
    ]
    rows = []
    with gzip.open(SHARED / "bars" / relative, "rt", encoding="utf-8") as file:
        lines = csv.reader(file, delimiter="\t" if ".tsv" in relative else ",")
        next(lines)
        for place, cells in enumerate(lines):
            if place < start:
                continue
            if place >= start + count:
                break
            stamp, values = (f"{cells[0]} {cells[1]}", cells[2:]) if "CFFEX" in relative else (cells[0], cells[1:])
            local = dt.datetime.strptime(stamp.strip().rsplit(":", stamp.count(":") - 1)[0], pattern).replace(tzinfo=ZoneInfo(zone))  # fmt: skip
            at = local.astimezone(dt.UTC) - dt.timedelta(minutes=width if is_close else 0)
            prices = tuple(Decimal(value.strip()) for value in values[:4])
            rows.append(
                Row(
                    at, (prices[0], prices[1], prices[2], prices[3]), int(float(values[4])) if len(values) > 4 else None
                )
            )
    return rows


def cached(relative: str, start: int, count: int) -> Callable[[], list[Row]]:
    """``source``, read at the first call."""
    return functools.cache(functools.partial(source, relative, start, count))


def by_day(rows: list[Row]) -> list[tuple[dt.date, Row]]:
    """Whole trading days (18:00 to 17:00 New York) of ``rows``."""
    days: dict[dt.date, list[Row]] = {}
    for row in rows:
        days.setdefault((row.at.astimezone(ZoneInfo(NEW_YORK)) + dt.timedelta(hours=6)).date(), []).append(row)
    found = []
    for day, bars in sorted(days.items())[1:-1]:
        prices = (
            bars[0].prices[0],
            max(bar.prices[1] for bar in bars),
            min(bar.prices[2] for bar in bars),
            bars[-1].prices[3],
        )
        found.append((day, Row(bars[0].at, prices, sum(bar.volume or 0 for bar in bars))))
    return found


def local(row: Row, zone: str, pattern: str, minutes: int = 0) -> str:
    """The stamp of a bar on a clock in ``zone``, ``minutes`` after its open."""
    return (row.at + dt.timedelta(minutes=minutes)).astimezone(ZoneInfo(zone)).strftime(pattern)


def shortened(volume: int) -> str:
    """``315.24K``."""
    for factor, letter in ((10**6, "M"), (10**3, "K")):
        if volume >= factor:
            return f"{volume / factor:.2f}{letter}"
    return str(volume)


def with_comma(value: Decimal, group: str = "") -> str:
    """A price as Germany (``group`` ".") or France (" ") writes it."""
    whole, _, rest = f"{value:,}".partition(".")
    return whole.replace(",", group) + ("," + rest if rest else "")


def text(path: Path, lines: Iterable[str], *, encoding: str = "utf-8", end: str = "\n") -> Path:
    path.write_bytes((end.join([*lines, ""])).encode(encoding))
    return path


def packed(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def plain_csv(rows: list[Row], zone: str = NEW_YORK, symbol: str = "") -> list[str]:
    heading = "Date,Time,Open,High,Low,Close,Volume" + (",Symbol" if symbol else "")
    return [heading] + [
        f"{local(row, zone, '%Y-%m-%d,%H:%M')},{','.join(map(str, row.prices))},{row.volume or 0}"
        + (f",{symbol}" if symbol else "")
        for row in rows
    ]


def copied(relative: str, name: str) -> Callable[[Path], Path]:
    """A shared file under a name that says nothing about it."""

    def write(folder: Path) -> Path:
        (folder / name).write_bytes((SHARED / relative).read_bytes())
        return folder / name

    return write


# The cases


def cases() -> list[Case]:
    """Every case; the rows of a source are read when a case first needs them."""
    nq = cached("futures_30m/NQ_30m_eth_20200629_20240628.csv.gz", 20_000, 3_000)
    cl = cached("futures_30m/CL_30m_eth_20200629_20240628.csv.gz", 20_000, 3_000)
    nq5 = cached("futures_5m/NQ_5m_20190101_20191031.csv.gz", 0, 5_000)
    gold = cached("futures_5m/GC_5m_20190101_20191031.csv.gz", 10_000, 5_000)
    euro = cached("futures_1m/6EH4_1m_202401.csv.gz", 0, 6_000)
    china = cached("futures_5m/CFFEX_IF_5m_20140102_20181031.csv.gz", 0, 3_000)
    cfd = cached("index_cfd_1h/USATECHIDXUSD_1h_2013_2023.tsv.gz", 20_000, 2_000)
    coin = cached("crypto_30m/BTCUSD_30m_2017_2023.tsv.gz", 0, 3_000)

    def days() -> list[tuple[dt.date, Row]]:
        return by_day(cl())

    def daily() -> list[Row]:
        return [row for _, row in days()]

    def gold_without_volume() -> list[Row]:
        return [Row(row.at, row.prices, None) for row in gold()]

    york = ("--time-zone", NEW_YORK, "--label", "open")
    utc = ("--time-zone", "UTC", "--label", "open")

    def german(folder: Path) -> Path:
        lines = ["Datum;Uhrzeit;Eröffnung;Hoch;Tief;Schluss;Volumen"]
        for row in nq():
            prices = ";".join(with_comma(price, ".") for price in row.prices)
            lines.append(f"{local(row, 'Europe/Berlin', '%d.%m.%Y;%H:%M')};{prices};{row.volume}")
        lines += ["Summe;;;;;;" + str(sum(row.volume or 0 for row in nq())), ";;;;;;"]
        return text(folder / "Kopie von NQ (2).csv", lines, encoding="cp1252", end="\r\n")

    def french(folder: Path) -> Path:
        lines = ["Export du 28/06/2024", "Contrat: NQ", "", "Date;Heure;Ouverture;Plus haut;Plus bas;Clôture;Volume"]
        for row in nq():
            prices = ";".join(with_comma(price, "\u202f") for price in row.prices)
            lines.append(f"{local(row, 'Europe/Paris', '%d/%m/%Y;%H:%M:%S')};{prices};{row.volume}")
        return text(folder / "nasdaq.csv", lines, encoding="utf-8-sig", end="\r\n")

    def investing(folder: Path) -> Path:
        lines = ['"Date","Price","Open","High","Low","Vol.","Change %"']
        for day, row in reversed(days()):
            opens, high, low, close = row.prices
            lines.append(
                f'"{day:%m/%d/%Y}","{close}","{opens}","{high}","{low}","{shortened(row.volume or 0)}","-0.42%"'
            )
        return text(folder / "Crude Oil WTI Futures Historical Data.csv", lines, encoding="utf-8-sig")

    def yahoo(folder: Path) -> Path:
        lines = ["Date,Open,High,Low,Close,Adj Close,Volume"]
        for day, row in days():
            lines.append(f"{day:%Y-%m-%d},{','.join(map(str, row.prices))},{row.prices[3]},{row.volume}")
        lines.insert(20, f"{days()[18][0] + dt.timedelta(days=400):%Y-%m-%d},null,null,null,null,null,null")
        return text(folder / "CL=F.csv", lines)

    def yahoo_page(folder: Path) -> Path:
        lines = ["Date\tOpen\tHigh\tLow\tClose*\tAdj Close**\tVolume"]
        for day, row in reversed(days()):
            prices = "\t".join(map(str, row.prices))
            lines.append(f"{day:%b %d, %Y}\t{prices}\t{row.prices[3]}\t{row.volume:,}")
        return text(folder / "copied from the page.txt", lines, encoding="utf-16")

    def yfinance(folder: Path) -> Path:
        lines = ["Price,Close,High,Low,Open,Volume", "Ticker" + ",CL=F" * 5, "Datetime,,,,,"]
        for row in cl():
            opens, high, low, close = row.prices
            lines.append(f"{row.at:%Y-%m-%d %H:%M:%S}+00:00,{close},{high},{low},{opens},{row.volume}")
        return text(folder / "data.csv", lines)

    def tradingview(folder: Path) -> Path:
        lines = ["time,open,high,low,close,Volume,Volume MA,EMA 20"]
        lines += [f"{int(row.at.timestamp())},{','.join(map(str, row.prices))},{row.volume},1234.5," for row in nq()]
        return text(folder / "CME_MINI_DL_NQ1!, 30.csv", lines)

    def metatrader5(folder: Path) -> Path:
        lines = ["<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>"]
        for row in nq():
            prices = "\t".join(map(str, row.prices))
            lines.append(
                f"{local(row, 'Europe/Athens', '%Y.%m.%d')}\t{local(row, 'Europe/Athens', '%H:%M:%S')}\t{prices}\t{(row.volume or 0) // 3}\t{row.volume}\t1"
            )
        return text(folder / "NAS100_M30_202112.csv", lines, encoding="utf-16", end="\r\n")

    def metatrader4(folder: Path) -> Path:
        lines = [f"{local(row, NEW_YORK, '%Y.%m.%d,%H:%M')},{','.join(map(str, row.prices))},0" for row in gold()]
        return text(folder / "XAUUSD5.csv", lines, end="\r\n")

    def ninjatrader(folder: Path) -> Path:
        lines = [
            f"{local(row, 'UTC', '%Y%m%d %H%M%S', 1)};{';'.join(map(str, row.prices))};{row.volume}" for row in euro()
        ]
        return text(folder / "6E 03-24.Last.txt", lines, end="\r\n")

    def barchart(folder: Path) -> Path:
        lines = ['"Time","Open","High","Low","Last","Change","%Chg","Volume"']
        lines += [
            f"{local(row, 'America/Chicago', '%m/%d/%Y %H:%M')},{','.join(map(str, row.prices))},-1.25,-0.01%,{row.volume}"
            for row in reversed(nq())
        ]
        lines.append('"Downloaded from Barchart.com as of 06-28-2024 05:04pm CDT"')
        return text(folder / "nqm24_intraday-30min_historical-data-06-28-2024.csv", lines)

    def macos(folder: Path) -> Path:
        inner = gzip.compress("\n".join(plain_csv(nq())).encode())
        return packed(
            folder / "Archive.zip",
            {
                "bars/NQ.csv.gz": inner,
                "__MACOSX/bars/._NQ.csv.gz": b"\x00\x05\x16\x07",
                "bars/.DS_Store": b"\x00\x00\x00\x01Bud1",
            },
        )

    def windows(folder: Path) -> Path:
        lines = plain_csv(cl())
        content = "".join(line + ("\r\n" if place % 3 else "\n") for place, line in enumerate(lines)).encode()
        return packed(
            folder / "CL - Copy.zip",
            {"CL\\CL 30 min.csv": content, "CL\\Thumbs.db": b"\xd0\xcf\x11\xe0", "CL\\desktop.ini": b"[.Shell]"},
        )

    def chinese(folder: Path) -> Path:
        lines = ["日期,时间,开盘,最高,最低,收盘,成交量"]
        lines += [
            f"{local(row, 'Asia/Shanghai', '%Y/%m/%d,%H:%M', 5)},{','.join(map(str, row.prices))},{row.volume}"
            for row in china()
        ]
        return text(folder / "IF主力.csv", lines, encoding="gbk", end="\r\n")

    def workbook(folder: Path) -> Path:
        return packed(folder / "NQ.xlsx", {"[Content_Types].xml": b"<Types/>", "xl/workbook.xml": b"<workbook/>"})

    def two_symbols(folder: Path) -> Path:
        lines = [*plain_csv(nq(), symbol="NQH2"), *plain_csv(cl(), symbol="CLG2")[1:]]
        return text(folder / "futures.csv", lines)

    def as_es(folder: Path) -> Path:
        return text(folder / "NQ.csv", plain_csv(nq(), symbol="ES 03-22"))

    def cfd_hours(folder: Path) -> Path:
        lines = ["Symbol;Gmt time;Open;High;Low;Close;Volume"]
        for row in cfd():
            rounded = [(price * 4).to_integral_value() / 4 for price in row.prices]
            lines.append(
                f"USATECHIDXUSD;{local(row, 'UTC', '%d.%m.%Y %H:%M:%S.000')};{';'.join(map(str, rounded))};{row.volume}"
            )
        return text(folder / "nasdaq_h1.csv", lines)

    def json_lines(folder: Path) -> Path:
        lines = [json.dumps({"t": row.at.isoformat(), "o": str(row.prices[0]), "v": row.volume}) for row in nq()]
        return text(folder / "NQ.csv", lines)

    def slipped(folder: Path) -> Path:
        changed = list(cl())
        for place, column, factor in ((700, 1, Decimal(10)), (1_500, 2, Decimal("0.1"))):
            prices = list(changed[place].prices)
            prices[column] = (prices[column] * factor).quantize(Decimal("0.01"))
            changed[place] = Row(changed[place].at, (prices[0], prices[1], prices[2], prices[3]), changed[place].volume)
        return text(folder / "CL.csv", plain_csv(changed))

    def coins(folder: Path) -> Path:
        lines = ["Time;Open;High;Low;Close;Volume"]
        lines += [
            f"{local(row, 'UTC', '%Y-%m-%d %H:%M')};{';'.join(map(with_comma, row.prices))};{row.volume}"
            for row in coin()
        ]
        path = text(folder / "Mappe1.txt", lines, encoding="utf-16-be")
        path.write_bytes(b"\xfe\xff" + path.read_bytes())
        return path

    def odd_name(folder: Path) -> Path:
        return text(Path(os.fsdecode(os.fsencode(folder) + b"/\xcd\xc5\xc4\xd1 2021.csv")), plain_csv(nq()))

    def cut(folder: Path) -> Path:
        (folder / "CL.csv.gz").write_bytes(
            (SHARED / "bars/futures_30m/CL_30m_eth_20200629_20240628.csv.gz").read_bytes()[:200_000]
        )
        return folder / "CL.csv.gz"

    def ticks_zip(folder: Path) -> Path:
        content = (SHARED / "ticks/histdata/EURUSD_quotes_20200101.csv").read_bytes()
        return packed(folder / "HISTDATA_COM_ASCII_EURUSD_T202001.zip", {"DAT_ASCII_EURUSD_T_202001.csv": content})

    def shuffled(folder: Path) -> Path:
        lines = ["vol|lo|Close|hi|Open|stamp"]
        for row in nq5():
            opens, high, low, close = row.prices
            lines.append(f"|{low}|{close}|{high}|{opens}|{row.at:%Y-%m-%dT%H:%M:%SZ}")
        return text(folder / "x", lines)

    columns = "date,clock,open,high,low,close,volume"
    quantity = (SHARED / "ticks/histdata/EURUSD_quotes_20200101.csv").read_bytes().count(b"\n")
    lean = "bars/futures_1m_lean/es/20131007_{}.zip"
    return [
        Case("german-excel", "NQ, semicolons, 1.234,5, Windows-1252, a total", "NQ", german, (
            Question(("--label", "open", "--time-zone", "Europe/Berlin"), rows=nq, finds=("unreadable_stamps",)),)),
        Case("french-excel", "NQ, lines above, thin spaces, UTF-8 mark", "NQ", french, (
            Question(("--label", "open", "--time-zone", "Europe/Paris"), rows=nq, finds=("lines_above_the_table",)),)),
        Case("investing.com", "CL daily, quoted, newest first, volumes 315.24K", "CL", investing, (
            Question((), rows=daily, volume_within=0.005, finds=("shortened_volumes",)),)),
        Case("yahoo-download", "CL daily, Adj Close, a row of null", "CL", yahoo, (
            Question((), rows=daily, finds=("non_finite_prices",)),)),
        Case("yahoo-page", "CL daily, tabs, Jan 02, 2024, Close*, UTF-16", "CL", yahoo_page, (Question((), rows=daily),)),
        Case("yfinance", "CL, three heading lines with the ticker CL=F", "CL", yfinance, (
            Question(("--label", "open"), rows=cl), Question(("--label", "open", "--instrument", "NQ"), says=("the symbol CL=F", "--map"))),),
        Case("tradingview", "NQ, seconds since 1970, other columns behind", "NQ", tradingview, (Question(("--label", "open"), rows=nq),)),
        Case("metatrader-5", "NQ, <DATE> <TIME>, two volumes, UTF-16, Athens", "NQ", metatrader5, (
            Question(("--time-zone", "Europe/Athens", "--label", "open"), rows=nq),)),
        Case("metatrader-4", "GC, no heading", "GC", metatrader4, (
            Question(york, says=("no heading line", "--columns")),
            Question((*york, "--columns", columns), rows=gold_without_volume, finds=("volume_always_zero",)))),
        Case("ninjatrader", "6E, no heading, 20240101 230100, close", "6E", ninjatrader, (
            Question((), says=("--columns",)),
            Question(("--columns", "stamp,open,high,low,close,volume", "--time-zone", "UTC", "--label", "close"), rows=euro))),
        Case("barchart", "NQ, newest first, Last, a line at the end", "NQ", barchart, (
            Question(("--time-zone", "America/Chicago", "--label", "open"), rows=nq, finds=("broken_rows",)),)),
        Case("macos-zip", "NQ, __MACOSX, .DS_Store, gz inside", "NQ", macos, (Question(york, rows=nq),)),
        Case("windows-zip", "CL, backslashes, Thumbs.db, mixed line ends", "CL", windows, (Question(york, rows=cl),)),
        Case("chinese-heading", "IF, GBK, a heading in Chinese", "IF", chinese, (
            Question((), says=("--columns",)), Question(("--columns", columns), rows=china))),
        Case("workbook", "NQ.xlsx", "NQ", workbook, (Question(york, says=("Excel workbook", "CSV")),)),
        Case("two-symbols", "NQH2 and CLG2 in one table", "NQ", two_symbols, (
            Question(york, says=("CLG2 (3,000 rows), NQH2 (3,000 rows)", "--symbol")), Question((*york, "--symbol", "NQH2"), rows=nq))),
        Case("another-symbol", "a file NQ.csv whose rows say ES 03-22", "NQ", as_es, (
            Question(york, says=("the symbol ES 03-22", "--map")), Question((*york, "--map", "ES 03-22=NQ"), rows=nq))),
        Case("cfd", "USATECHIDXUSD by the hour, as NQ", "NQ", cfd_hours, (
            Question(utc, says=("USATECHIDXUSD", "--map")), Question((*utc, "--map", "USATECHIDXUSD=NQ"), count=2_000))),
        Case("lean-trades", "ES, every expiry, renamed", "ES", copied(lean.format("trade"), "download.zip"), (
            Question((), says=("--time-zone",)),
            Question(("--time-zone", "UTC"), says=("ES201312 (1,344 rows)", "--symbol")),
            Question(("--time-zone", "UTC", "--symbol", "ES201312"), count=1_344),
            Question(("--time-zone", "UTC", "--instrument", "NQ"), says=("ES201312", "--map")))),
        Case("lean-quotes", "ES quotes of every expiry", "ES", copied(lean.format("quote"), "q.zip"), (
            Question(("--time-zone", "UTC"), says=("--profile lean-minute-bid",)),
            Question(("--time-zone", "UTC", "--profile", "lean-minute-bid", "--symbol", "ES201312"), count=None))),
        Case("databento", "ESU4 trades, renamed", "ES", copied("orderbook/databento_es/ESU4_trades_20240701_4min.dbn.zst", "trades.csv"), (
            Question((), count=120), Question(("--instrument", "CL"), says=("the symbol ESU4", "--map")))),
        Case("tardis", "BTCUSDT trades, renamed", "BTCUSD", copied("ticks/tardis_binance_futures/BTCUSDT_trades_20200222.csv.gz", "t.txt"), (
            Question((), says=("BTCUSDT", "--map")), Question(("--map", "BTCUSDT=BTCUSD"), count=9_999))),
        Case("snapshots", "CFFEX snapshots: more rows than the file has", "IF", copied("ticks/cffex_if/IF2101_ticks_20210104.parquet", "IF.pq"), (
            Question((), count=48_933),)),
        Case("histdata-zip", "EURUSD quotes in a zip", "EURUSD", ticks_zip, (Question((), count=quantity),)),
        Case("json-lines", "NQ as JSON, one object a line", "NQ", json_lines, (Question(york, says=("found JSON", "CSV")),)),
        Case("slipped-decimals", "CL, one high tenfold, one low a tenth", "CL", slipped, (Question(york, count=3_000, finds=("price_spikes",)),)),
        Case("utf-16-be", "BTC, semicolons, decimal commas", "BTCUSD", coins, (Question(utc, rows=coin),)),
        Case("odd-name", "NQ, a name in KOI8-R", "NQ", odd_name, (Question(york, rows=nq),)),
        Case("cut-off", "CL, a gz of which a part arrived", "CL", cut, (Question(york, says=("damaged or cut off",)),)),
        Case("shuffled", "NQ 5 minutes, bars, odd names, no ending", "NQ", shuffled, (
            Question(("--label", "open"), says=("--columns",)),
            Question(("--label", "open", "--columns", "-,low,close,high,open,stamp"), rows=nq5))),
    ]  # fmt: skip


# Asking


def ask(arguments: list[str]) -> tuple[int, str, str]:
    """What the command answers: its exit code, stdout and stderr."""
    out, err = (
        io.TextIOWrapper(io.BytesIO(), "utf-8"),
        io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace"),
    )
    before = sys.argv
    sys.argv = ["grandmodel", *arguments]
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            command()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.argv = before
    for stream in (out, err):
        stream.flush()
    return code, out.buffer.getvalue().decode(), " ".join(err.buffer.getvalue().decode().split())  # type: ignore[attr-defined]


def problems_of(question: Question, case: Case, path: Path, folder: Path) -> tuple[str, list[str]]:
    """What was answered, in words, and what is wrong about it."""
    instrument = (
        question.flags[question.flags.index("--instrument") + 1]
        if "--instrument" in question.flags
        else case.instrument
    )
    flags = [
        flag
        for place, flag in enumerate(question.flags)
        if flag != "--instrument" and (place == 0 or question.flags[place - 1] != "--instrument")
    ]
    asked = [str(path), "--instrument", instrument, *flags, "--json"]
    checked = ask(["data", "check", *asked, "--no-page"])
    store = folder / "store"
    imported = ask(["data", "import", *asked, "--store", str(store)])
    if question.says:
        wrong = [f"missing in the refusal: {word}" for word in question.says if word not in imported[2]]
        if imported[0] not in {1, 2}:
            wrong.append(f"was read (exit {imported[0]})")
        if "Traceback" in imported[2] or "Traceback" in checked[2]:
            wrong.append("a traceback")
        return "refused: " + imported[2].removeprefix("failed: ").removeprefix("error: ").replace(
            str(path), path.name
        ), wrong
    if checked[0] or imported[0]:
        return f"exit {checked[0]} and {imported[0]}: {imported[2]}", ["was refused"]
    report = json.loads(imported[1])[0]
    kinds = [finding["kind"] for series in report["series"] for finding in series["findings"]]
    wrong = [f"finding {kind} is missing" for kind in question.finds if kind not in kinds]
    if question.count is not None and report["rows_added"] != question.count:
        wrong.append(f"{report['rows_added']} rows, expected {question.count}")
    if question.rows is not None:
        wrong += differences(store, instrument, question)
    return f"{report['rows_added']:,} rows; " + ", ".join(dict.fromkeys(kinds)), wrong


def differences(store: Path, instrument: str, question: Question) -> list[str]:
    """How the bars in the store differ from the plain reading of the source."""
    known = BUILT_IN[InstrumentId(instrument)]
    block = np.concatenate(list(Store(store).blocks([known], Schema.BARS, 0, 2**62)))
    rows = question.rows() if question.rows else []
    if len(block) != len(rows):
        return [f"{len(block)} bars, expected {len(rows)}"]
    wrong = []
    is_daily = question.volume_within or len(rows) < 100
    opens = np.array([int(row.at.timestamp()) for row in rows]) * 10**9
    if not is_daily and (block["ts_open"] != opens).any():
        wrong.append("other times")
    for place, name in enumerate(("open", "high", "low", "close")):
        ticks = np.array([int((row.prices[place] / known.tick_size).to_integral_value()) for row in rows])
        if (block[name] != ticks).any():
            wrong.append(f"other {name}")
    volume = np.array([UNKNOWN_VOLUME if row.volume is None else int(row.volume / known.lot_size) for row in rows])
    if (np.abs(block["volume"] - volume) > question.volume_within * np.abs(volume)).any():
        wrong.append("other volumes")
    return wrong


def run(only: str = "", show: Callable[[str], None] = print) -> int:
    """Ask every case whose name holds ``only``; returns how many answers are wrong."""
    failures = 0
    show("| file | what it is | asked | what happened | |")
    show("| --- | --- | --- | --- | --- |")
    for case in cases():
        if only not in case.name:
            continue
        for question in case.questions:
            with tempfile.TemporaryDirectory() as folder:
                path = case.write(Path(folder))
                answer, wrong = problems_of(question, case, path, Path(folder))
                failures += bool(wrong)
                name = os.fsencode(path.name).decode("utf-8", "backslashreplace").replace("|", "/")
                asked = (
                    " ".join(("--instrument", case.instrument, *question.flags))
                    if "--instrument" not in question.flags
                    else " ".join(question.flags)
                )
                verdict = "WRONG: " + "; ".join(wrong) if wrong else "right"
                show(f"| {name} | {case.what} | {asked} | {answer[:260].replace('|', '/')} | {verdict} |")
    return failures


def main() -> None:
    parser = argparse.ArgumentParser(description="Import real files as people's programs save them.")
    parser.add_argument("--only", default="", help="Only the cases whose name holds this.")
    failures = run(parser.parse_args().only)
    print(f"{failures} answers are wrong" if failures else "every answer is right")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
