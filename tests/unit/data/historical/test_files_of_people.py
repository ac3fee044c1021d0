"""Tables of bars as people's programs write them: what is read, how, and what is refused with which words."""

import gzip
import lzma
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from bar_files import NQ, random_bars, rows_text, session_opens, write_csv
from grandmodel.data.errors import AmbiguousError, ReadError
from grandmodel.data.historical.importing import import_file, read_file
from grandmodel.data.historical.profile import ImportProfile, Label, Members, Role
from grandmodel.data.historical.readers.bars import RawBars, read_bars
from grandmodel.data.historical.readers.limits import ReadLimits, limits_from_texts
from grandmodel.data.historical.readers.options import TickOptions
from grandmodel.data.historical.reports import ImportReport
from grandmodel.data.historical.store import Store
from grandmodel.domain.blocks import Block, Flag
from grandmodel.domain.errors import UsageError

HEADING = "Time,Open,High,Low,Close,Volume\n"
ROWS = "2024-01-02 10:00,16543.25,16550,16540.5,16545.75,559630\n2024-01-02 10:30,16545.75,16560,16541,16550.25,1200\n"
CLOSES = [16_545.75, 16_550.25]
VOLUMES = [559_630.0, 1_200.0]
STATED = ImportProfile(time_zone="America/New_York", label=Label.OPEN, bar_width="30m")


def _raw(path: Path, content: bytes | str, **profile: object) -> RawBars:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    ((_, raw),) = read_bars(path, ImportProfile(**profile)).items()
    return raw


def _values(raw: RawBars) -> tuple[list[float], list[float]]:
    assert raw.volume is not None
    return raw.prices[Role.CLOSE].tolist(), raw.volume.tolist()


def _kinds(raw: RawBars) -> list[str]:
    return [finding.kind for finding in raw.findings]


# How text is written


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_text_in_any_unicode_is_read(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    assert _values(_raw(tmp_path / "a.csv", (mark + HEADING + ROWS).encode(encoding))) == (CLOSES, VOLUMES)


def test_text_of_an_older_code_page_is_read_and_named(tmp_path: Path) -> None:
    german = "Datum;Eröffnung;Hoch;Tief;Schluss;Volumen\n" + ROWS.replace(",", ";").replace(".", ",")
    raw = _raw(tmp_path / "a.csv", german.encode("cp1252"))
    assert _values(raw) == (CLOSES, VOLUMES)
    assert any("Windows-1252" in sentence for sentence in raw.evidence)


def test_text_in_utf_16_that_breaks_off_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"UTF-16-LE that breaks at byte"):
        _raw(tmp_path / "a.csv", (HEADING + ROWS).encode("utf-16")[:-1])


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('{"time": 1, "open": 2}\n{"time": 2, "open": 3}\n', "JSON"),
        ('[\n{"time": 1}]', "JSON"),
        ("<!DOCTYPE html><html></html>", "web page"),
        ("<html><table>", "web page"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(64), "Excel"),
        (b"%PDF-1.4", "PDF"),
        (b"BZh91AY", "bzip2"),
        (b"\r\r\r,\r", "nothing between them"),
    ],
)
def test_what_is_no_table_is_named(tmp_path: Path, content: bytes | str, named: str) -> None:
    with pytest.raises(ReadError, match=named):
        _raw(tmp_path / "a.csv", content)


def test_metatraders_brackets_are_no_web_page(tmp_path: Path) -> None:
    text = (
        "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
        "2024.01.02\t10:00:00\t16543.25\t16550\t16540.5\t16545.75\t812\t559630\t1\n"
        "2024.01.02\t10:30:00\t16545.75\t16560\t16541\t16550.25\t31\t1200\t1\n"
    )
    assert _values(_raw(tmp_path / "a.csv", text)) == (CLOSES, VOLUMES)
    without = text.replace("559630", "0").replace("1200", "0")
    assert _values(_raw(tmp_path / "a.csv", without))[1] == [812.0, 31.0]


# Numbers


@pytest.mark.parametrize(
    "rows",
    [
        ROWS.replace(",", ";").replace(".", ","),
        ROWS.replace(",", ";").replace("165", "16.5").replace(".25", ",25").replace(".75", ",75").replace(".5;", ",5;"),
        ROWS.replace(",", ";").replace("165", "16 5").replace(".25", ",25").replace(".75", ",75").replace(".5;", ",5;"),
        ROWS.replace(",", ";").replace("165", "16\u202f5").replace(".25", ",25").replace(".75", ",75").replace(".5;", ",5;"),
        ROWS.replace(",", ";").replace("165", "16'5"),
        ROWS.replace(",", ";").replace("165", "16,5"),
        ROWS.replace("165", "16,5").replace(",16,5", '","16,5').replace(",559630", '","559,630').replace(",1200", '","1,200')
        .replace("2024", '"2024').replace("\n", '"\n'),
    ],
    ids=["comma", "points-and-comma", "spaces", "thin-spaces", "apostrophes", "commas-and-point", "quoted"],
)  # fmt: skip
def test_prices_of_every_country_are_read_as_they_prove(tmp_path: Path, rows: str) -> None:
    heading = HEADING if '"' in rows else HEADING.replace(",", ";")
    assert _values(_raw(tmp_path / "a.csv", heading + rows)) == (CLOSES, VOLUMES)


def test_a_comma_before_three_digits_everywhere_is_refused_until_said(tmp_path: Path) -> None:
    text = "Time;Open;High;Low;Close\n2024-01-02 10:00;3,250;3,260;3,240;3,255\n"
    with pytest.raises(AmbiguousError, match=r"line 2: every comma.*--decimal-comma or --decimal-point"):
        _raw(tmp_path / "a.csv", text)
    assert _raw(tmp_path / "a.csv", text, decimal_comma=True).prices[Role.CLOSE].tolist() == [3.255]
    assert _raw(tmp_path / "a.csv", text, decimal_comma=False).prices[Role.CLOSE].tolist() == [3255.0]


def test_prices_in_two_styles_are_refused_with_the_lines(tmp_path: Path) -> None:
    text = "Time;Open;High;Low;Close\n2024-01-02 10:00;3,25;3,26;3,24;3,25\n2024-01-02 10:30;3.25;3.26;3.24;3.25\n"
    with pytest.raises(
        ReadError, match=r"decimal comma \(1 rows, first: line 2\) and with a decimal point \(1 rows, first: line 3\)"
    ):
        _raw(tmp_path / "a.csv", text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1.2K", 1_200.0), ("559.63K", 559_630.0), ("1.05M", 1_050_000.0), ("2B", 2e9), ("1,234", 1_234.0), ("12 K", 12_000.0),
     ("1.2k", 1_200.0), ("0", 0.0)],
)  # fmt: skip
def test_shortened_volumes_are_multiplied_out(tmp_path: Path, text: str, value: float) -> None:
    row = ROWS.splitlines()[0].rsplit(",", 1)[0].replace(",", ";")
    raw = _raw(tmp_path / "a.csv", HEADING.replace(",", ";").replace("Volume", "Vol.") + f"{row};{text}\n")
    assert raw.volume is not None
    assert raw.volume.tolist() == [value]
    assert ("shortened_volumes" in _kinds(raw)) == text.strip()[-1].isalpha()


def test_a_missing_volume_stays_unknown_and_a_decimal_comma_reaches_the_volume(tmp_path: Path) -> None:
    text = "Time;Open;High;Low;Close;Vol.\n2024-01-02 10:00;3,2;3,3;3,1;3,2;1,2K\n2024-01-02 10:30;3,2;3,3;3,1;3,2;-\n"
    raw = _raw(tmp_path / "a.csv", text)
    assert raw.volume is not None
    assert raw.volume[0] == 1_200.0
    assert np.isnan(raw.volume[1])


def test_an_undefined_price_of_databentos_text_is_no_price(tmp_path: Path) -> None:
    raw = _raw(tmp_path / "a.csv", HEADING + ROWS.replace("16550,", "9223372036.854775807,"))
    assert np.isnan(raw.prices[Role.HIGH]).tolist() == [True, False]


# Headings


def test_lines_above_the_heading_are_passed_over_and_listed(tmp_path: Path) -> None:
    text = "My export\nSymbol: NQ\nfrom 2024-01-02, to 2024-01-03\n\n" + HEADING + ROWS
    raw = _raw(tmp_path / "a.csv", text)
    assert _values(raw) == (CLOSES, VOLUMES)
    (finding,) = raw.findings
    assert (finding.kind, finding.count, finding.lines) == ("lines_above_the_table", 3, (1, 2, 3))
    assert (raw.symbol, raw.lines.tolist()) == ("NQ", [6, 7])


def test_the_three_heading_lines_of_yfinance_are_understood(tmp_path: Path) -> None:
    text = (
        "Price,Close,High,Low,Open,Volume\nTicker,NQ=F,NQ=F,NQ=F,NQ=F,NQ=F\nDatetime,,,,,\n"
        "2024-01-02 15:00:00+00:00,16545.75,16550,16540.5,16543.25,559630\n"
    )
    raw = _raw(tmp_path / "a.csv", text)
    assert (raw.prices[Role.CLOSE].tolist(), raw.prices[Role.OPEN].tolist(), raw.symbol) == (
        [16_545.75],
        [16_543.25],
        "NQ=F",
    )
    assert str(raw.stamps.wall_ns.astype("datetime64[ns]")[0])[:16] == "2024-01-02T15:00"
    with pytest.raises(AmbiguousError, match=r"several symbols side by side \(ES=F, NQ=F\)"):
        _raw(tmp_path / "b.csv", text.replace("NQ=F,NQ=F\n", "NQ=F,ES=F\n"))


def test_blank_rows_of_a_spreadsheet_and_a_delimiter_at_the_end_of_every_row(tmp_path: Path) -> None:
    rows = ROWS.replace("\n", ",\n")
    raw = _raw(tmp_path / "a.csv", "sep=,\n" + HEADING + rows + ",,,,,,\n,,,,,,\n")
    assert _values(raw) == (CLOSES, VOLUMES)
    assert _kinds(raw) == ["lines_above_the_table"]


def test_totals_below_the_table_are_left_out_and_counted(tmp_path: Path) -> None:
    raw = _raw(tmp_path / "a.csv", HEADING + ROWS + "Downloaded from somewhere as of 01-03-2024\n")
    assert _values(raw) == (CLOSES, VOLUMES)
    assert [(finding.kind, finding.count, finding.lines) for finding in raw.findings] == [("broken_rows", 1, (4,))]


@pytest.mark.parametrize(
    "stamp", ["Jan 02, 2024", "January 2, 2024", "2 Jan 2024", "02-Jan-2024", "Tue, Jan 02 2024", "2 January 2024"]
)
def test_months_in_words_are_read(tmp_path: Path, stamp: str) -> None:
    for clock in ("", " 18:30"):
        raw = _raw(tmp_path / "a.csv", HEADING.replace(",", ";") + f"{stamp}{clock};1;3;0.5;2;7\n")
        wall = str(raw.stamps.wall_ns.astype("datetime64[ns]")[0])[:16]
        assert wall == "2024-01-02T18:30" if clock else wall == "2024-01-02T00:00"


# Symbols


def _two_symbols(path: Path) -> Path:
    opens = session_opens("2024-01-08", "2024-01-09")
    lines = rows_text(opens, random_bars(len(opens)), "America/New_York")
    both = [
        f"{line},{symbol}" for symbol in ("NQH4", "ESH4") for line in lines[: len(lines) if symbol == "NQH4" else 40]
    ]
    return write_csv(path, both, "Timestamp,Open,High,Low,Close,Volume,Symbol")


def test_two_symbols_in_one_file_are_two_series_and_one_is_chosen(tmp_path: Path) -> None:
    path = _two_symbols(tmp_path / "a.csv")
    rows = len(session_opens("2024-01-08", "2024-01-09"))
    with pytest.raises(AmbiguousError, match=rf"found 2 symbols, NQH4 \({rows} rows\), ESH4 \(40 rows\), .*--symbol"):
        read_file(path, NQ, STATED)
    report = import_file(Store(tmp_path / "store"), path, NQ, STATED, symbol="NQH4")
    assert (report.rows_added, report.imported) == (rows, ("NQH4",))
    with pytest.raises(ReadError, match="found the symbol"):
        import_file(Store(tmp_path / "store"), path, NQ, STATED, symbol="ESH4")
    assert read_file(path, NQ, STATED, TickOptions(symbols=("NQH4",)))[1].series[0].rows_kept == rows


def test_another_instruments_symbol_column_is_refused_and_a_mapping_is_on_the_report(tmp_path: Path) -> None:
    opens = session_opens("2024-01-08", "2024-01-09")
    lines = [f"{line},USATECHIDXUSD" for line in rows_text(opens, random_bars(len(opens)), "America/New_York")]
    path = write_csv(tmp_path / "a.csv", lines, "Timestamp,Open,High,Low,Close,Volume,Ticker")
    with pytest.raises(ReadError, match=r"found the symbol USATECHIDXUSD, expected NQ"):
        read_file(path, NQ, STATED)
    for report in (
        read_file(path, NQ, STATED, TickOptions(mapped={"USATECHIDXUSD": "NQ"}))[1],
        read_file(
            path, NQ, ImportProfile(time_zone="America/New_York", label=Label.OPEN, symbols={"USATECHIDXUSD": "NQ"})
        )[1],
    ):
        assert report.mapped == {"USATECHIDXUSD": "NQ"}
        assert any("--map USATECHIDXUSD=NQ" in sentence for sentence in report.series[0].evidence)


# Zips


def _zip(path: Path, members: dict[str, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_what_systems_add_to_a_zip_is_no_part_of_it(tmp_path: Path) -> None:
    path = _zip(
        tmp_path / "a.zip",
        {"bars/nq.csv": HEADING + ROWS, "__MACOSX/bars/._nq.csv": b"\x00\x05\x16\x07", "bars/.DS_Store": b"\x00\x00\x00\x01Bud1",
         "Thumbs.db": b"\xd0\xcf\x11\xe0", "bars/desktop.ini": "[.ShellClassInfo]"},
    )  # fmt: skip
    ((name, raw),) = read_bars(path, ImportProfile()).items()
    assert (name, _values(raw)) == ("a", (CLOSES, VOLUMES))


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_packed_file_inside_a_zip_is_read_and_a_zip_inside_one_is_named(tmp_path: Path, pack: object) -> None:
    path = _zip(tmp_path / "a.zip", {"nq.csv.gz": pack((HEADING + ROWS).encode())})  # type: ignore[operator]
    ((_, raw),) = read_bars(path, ImportProfile()).items()
    assert _values(raw) == (CLOSES, VOLUMES)
    outer = _zip(tmp_path / "b.zip", {"a.zip": path.read_bytes()})
    with pytest.raises(ReadError, match="a zip inside the zip"):
        read_bars(outer, ImportProfile())


def test_a_workbook_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"Excel workbook.*save the sheet as CSV"):
        read_bars(
            _zip(tmp_path / "a.xlsx", {"[Content_Types].xml": "<x/>", "xl/workbook.xml": "<x/>"}), ImportProfile()
        )


def test_files_of_different_names_in_a_zip_are_no_one_series(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.zip", {"ES_2024-01.csv": HEADING + ROWS, "NQ_2024-01.csv": HEADING + ROWS})
    with pytest.raises(AmbiguousError, match=r"2 files of different names \(ES_2024-01, NQ_2024-01\).*--members each"):
        read_bars(path, ImportProfile())
    assert list(read_bars(path, ImportProfile(members=Members.EACH))) == ["ES_2024-01", "NQ_2024-01"]
    contracts = _zip(tmp_path / "b.zip", {"NQH4.csv": HEADING + ROWS, "NQM4.csv": HEADING + ROWS})
    with pytest.raises(AmbiguousError, match="--members each"):
        read_bars(contracts, ImportProfile())
    pieces = _zip(tmp_path / "c.zip", {"nq_jan_2024.csv": HEADING + ROWS, "nq_feb_2024_part2.csv": HEADING + ROWS})
    assert len(read_bars(pieces, ImportProfile())) == 1


def _lean(path: Path, thin: str) -> Path:
    minutes = [f"{minute * 60_000},4000,4001,3999,4000.25,{minute + 1}" for minute in range(60, 200)]
    return _zip(
        path, {"20240103_nq_minute_trade_202403.csv": "\n".join(minutes), "20240103_nq_minute_trade_202409.csv": thin}
    )


def test_leans_bars_are_told_by_their_names_and_expiries_are_not_merged(tmp_path: Path) -> None:
    path = _lean(tmp_path / "20240103_trade.zip", "3600000,4100,4101,4099,4100.25,1")
    _, report = read_file(path, NQ, ImportProfile(time_zone="UTC"))
    assert [(series.symbol, series.rows_kept, series.bar_width) for series in report.series] == [
        ("NQ202403", 140, "1m"), ("NQ202409", 1, "1m"),
    ]  # fmt: skip
    assert "profile lean-minute" in report.series[0].evidence[0]
    with pytest.raises(ReadError, match=r"found the symbols NQ202403 \(140 rows\)"):
        read_file(path, _es(), ImportProfile(time_zone="UTC"))
    quotes = _zip(tmp_path / "20240103_quote.zip", {"20240103_nq_minute_quote_202403.csv": "0,1,1,1,1,1,1,1,1,1,1"})
    with pytest.raises(AmbiguousError, match="--profile lean-minute-bid"):
        read_file(quotes, NQ, ImportProfile(time_zone="UTC"))


def _es() -> object:
    from grandmodel.domain.ids import InstrumentId
    from grandmodel.domain.instruments import BUILT_IN

    return BUILT_IN[InstrumentId("ES")]


def test_one_thin_expiry_does_not_refuse_the_good_ones(tmp_path: Path) -> None:
    path = _lean(tmp_path / "20240103_trade.zip", "3600000,4100.1,4101.1,4099.1,4100.1,1")
    blocks, report = read_file(path, NQ, ImportProfile(time_zone="UTC"))
    assert list(blocks) == ["NQ202403"]
    ((refused,),) = (report.refused,)
    assert refused.symbol == "NQ202409"
    assert "multiples of the tick size" in refused.reason
    stored = import_file(Store(tmp_path / "store"), path, NQ, ImportProfile(time_zone="UTC"), symbol="NQ202403")
    assert stored.rows_added == 140
    with pytest.raises(AmbiguousError, match=r"NQ202403 \(140 rows\); 1 more cannot be read"):
        import_file(Store(tmp_path / "store"), path, NQ, ImportProfile(time_zone="UTC"))
    with pytest.raises(ReadError, match="multiples of the tick size"):
        import_file(Store(tmp_path / "store"), path, NQ, ImportProfile(time_zone="UTC"), symbol="NQ202409")


# Bounds


def _zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, _zstd])
def test_unpacking_stops_at_its_bound_and_says_how_to_raise_it(tmp_path: Path, pack: object) -> None:
    content = (HEADING + ROWS).encode() + b"\n" * 200_000
    (tmp_path / "a.csv").write_bytes(pack(content))  # type: ignore[operator]
    for name in ("a.csv", "a.zip"):
        if name == "a.zip":
            _zip(tmp_path / name, {"a.csv": content})
        with pytest.raises(ReadError, match=r"expected at most 100,000 \(bytes\).*--limit bytes=400000 reads it"):
            read_bars(tmp_path / name, ImportProfile(), ReadLimits(bytes=100_000))
        assert len(read_bars(tmp_path / name, ImportProfile(), limits_from_texts(["bytes=400000"]))) == 1


def test_a_content_far_larger_than_its_packing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grandmodel.data.historical.readers.limits._RATIO_FROM", 10_000)
    (tmp_path / "a.csv").write_bytes(gzip.compress(b"\n" * 3_000_000))
    with pytest.raises(ReadError, match=r"packed bytes that unpack to more than .*--limit ratio=1100"):
        read_bars(tmp_path / "a.csv", ImportProfile())


def test_a_packing_that_is_cut_off_is_named_not_shortened(tmp_path: Path) -> None:
    for pack in (gzip.compress, lzma.compress, _zstd):
        (tmp_path / "a.csv").write_bytes(pack((HEADING + ROWS * 500).encode())[:-12])
        with pytest.raises(ReadError, match="damaged or cut off"):
            read_bars(tmp_path / "a.csv", ImportProfile())


def test_a_table_of_very_many_columns_and_a_zip_of_very_many_files_are_refused_at_once(tmp_path: Path) -> None:
    wide = HEADING.strip() + ",x" * 300_000 + "\n" + ROWS.splitlines()[0] + ",1" * 300_000 + "\n"
    with pytest.raises(
        ReadError, match=r"line 1: found 300,006 columns, expected at most 2,000 .*--limit columns=300006"
    ):
        _raw(tmp_path / "a.csv", wide)
    many = _zip(tmp_path / "b.zip", {f"{place}.csv": "" for place in range(30)})
    with pytest.raises(ReadError, match=r"a zip of 30 files, expected at most 20 .*--limit members=30"):
        read_bars(many, ImportProfile(), ReadLimits(members=20))


def test_a_parquet_table_of_endless_equal_rows_is_refused_by_its_footer(tmp_path: Path) -> None:
    import polars as pl

    frame = pl.DataFrame(
        {name: pl.Series([1.0]).new_from_index(0, 200_000) for name in ("open", "high", "low", "close")}
    )
    frame.write_parquet(tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 20_000
    with pytest.raises(ReadError, match=r"200,000 rows .*--limit bytes="):
        read_bars(tmp_path / "a.parquet", ImportProfile(), ReadLimits(bytes=1_000_000))


@pytest.mark.parametrize(
    "text", ["bytes", "bytes=", "bytes=0", "bytes=much", "files=3", "bytes=-1", "bytes=1.5GiB", "bytes=999999999TiB"]
)
def test_a_limit_that_is_none_is_misuse(text: str) -> None:
    with pytest.raises(UsageError, match="--limit"):
        limits_from_texts([text])
    assert limits_from_texts(["bytes=8GiB", "columns=5000"]) == ReadLimits(bytes=8 * 2**30, columns=5_000)


# Prices


def _spiked(tmp_path: Path, column: int, factor: float) -> tuple[Block, ImportReport]:
    opens = session_opens("2024-01-08", "2024-01-12")
    bars = random_bars(len(opens))
    bars[100, column] = np.rint(bars[100, column] * factor / 0.25) * 0.25
    path = write_csv(tmp_path / "a.csv", rows_text(opens, bars, "America/New_York"))
    ((_, block),), report = (read_file(path, NQ, STATED)[0].items(), read_file(path, NQ, STATED)[1])
    return block, report


@pytest.mark.parametrize(("column", "factor"), [(1, 10.0), (2, 0.1)])
def test_a_high_or_low_that_slipped_a_decimal_is_marked(tmp_path: Path, column: int, factor: float) -> None:
    block, report = _spiked(tmp_path, column, factor)
    (finding,) = [finding for finding in report.series[0].findings if finding.kind == "price_spikes"]
    assert (finding.treatment, finding.count, finding.lines) == ("marked", 1, (102,))
    assert np.flatnonzero(block["flags"] & int(Flag.BAD_STRETCH)).tolist() == [100]


def test_a_high_that_is_a_tenth_too_high_is_noted_only(tmp_path: Path) -> None:
    block, report = _spiked(tmp_path, 1, 1.1)
    assert [
        (finding.treatment, finding.count) for finding in report.series[0].findings if finding.kind == "price_spikes"
    ] == [("noted", 1)]
    assert not (block["flags"] & int(Flag.BAD_STRETCH)).any()


def test_a_real_crash_through_zero_is_no_spike(tmp_path: Path) -> None:
    from bar_files import CL

    # 20 April 2020 in half hours, from 12:00 to 16:00 New York: crude oil fell from 11 to -40 and came back to -13.
    closes = [
        13.0,
        12.0,
        11.0,
        10.0,
        7.5,
        4.0,
        1.5,
        0.5,
        -1.4,
        -37.6,
        -13.1,
        -14.0,
        -7.5,
        -4.5,
        -2.0,
        0.5,
        1.2,
        1.5,
        1.8,
        1.4,
    ]
    opens = session_opens("2020-04-20", "2020-04-20", CL)[: len(closes)]
    lines = []
    for ns, before, after in zip(opens, [13.5, *closes[:-1]], closes, strict=True):
        bar = np.array(
            [[before, max(before, after) + 0.4, min(before, after) - (2.7 if after < -30 else 0.4), after, 900]]
        )
        lines += rows_text([ns], bar, "America/New_York")
    path = write_csv(tmp_path / "a.csv", lines)
    _, report = read_file(path, CL, STATED)
    assert report.series[0].count("price_spikes") == 0
    assert report.series[0].rows_kept == len(closes)


def test_ties_of_rounding_are_decided_on_the_decimal_text_and_go_to_the_even_tick() -> None:
    from decimal import Decimal

    from grandmodel.domain.ids import InstrumentId
    from grandmodel.domain.instruments import BUILT_IN

    gold = BUILT_IN[InstrumentId("GC")]  # ticks of 0.1
    prices = np.array([place + half for place in (0.0, 1800.0, 1900.0) for half in (0.05, 0.15, 0.25, 0.35, 0.45)])
    expected = [
        int((Decimal(repr(float(price))) / Decimal("0.1")).to_integral_value(rounding="ROUND_HALF_EVEN"))
        for price in prices
    ]
    ticks, on_tick = gold.ticks_from_prices(prices)
    assert ticks.tolist() == expected
    assert not on_tick.any()
    # The same in whole numbers: 0.15 and 0.25 in units of 10^-9.
    from grandmodel.data.historical.readers.units import UnitConversion

    conversion = UnitConversion(Path("a"), gold, TickOptions(off_tick_share=1.0))
    scaled = np.array([150_000_000, 250_000_000, 350_000_000, -150_000_000], dtype=np.int64)
    assert conversion.prices({"price": scaled}, decimals=9)["price"].tolist() == [2, 2, 4, -2]


# Names


def test_a_name_that_is_no_utf_8_goes_through_report_and_store(tmp_path: Path) -> None:
    import os

    import msgspec

    opens = session_opens("2024-01-08", "2024-01-09")
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/nq\xff\xe9.csv"))
    write_csv(path, rows_text(opens, random_bars(len(opens)), "America/New_York"))
    store = Store(tmp_path / "store")
    report = import_file(store, path, NQ, STATED)
    assert report.source.startswith(r"nq\xff\xe9.csv#")
    assert msgspec.json.encode(report)
    assert store.catalogue()[0].rows == len(opens)
    assert store.check() == []
