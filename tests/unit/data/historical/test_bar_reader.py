"""Tables of bars: what is proven about their columns, and what is refused."""

import datetime as dt
import gzip
import lzma
import zipfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from grandmodel.data.errors import AmbiguousError, ReadError
from grandmodel.data.historical.profile import ImportProfile, Members, Role
from grandmodel.data.historical.readers.bars import RawBars, read_bars

ROWS = "2024-01-02 10:00,1.0,3.0,0.5,2.0,7\n2024-01-02 10:30,2.0,4.0,1.5,3.0,9\n"
HEADING = "Time,Open,High,Low,Close,Volume\n"


def _read(path: Path, content: bytes | str, **profile: object) -> RawBars:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    ((_, raw),) = read_bars(path, ImportProfile(**profile)).items()
    return raw


def _closes(raw: RawBars) -> list[float]:
    return raw.prices[Role.CLOSE].tolist()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends_are_told_from_the_content(tmp_path: Path, delimiter: str, end: str) -> None:
    raw = _read(tmp_path / "a.csv", (HEADING + ROWS).replace(",", delimiter).replace("\n", end))
    assert _closes(raw) == [2.0, 3.0]
    assert raw.lines.tolist() == [2, 3]
    assert raw.volume is not None
    assert raw.volume.tolist() == [7.0, 9.0]


def test_packed_files_are_told_by_their_bytes_not_their_names(tmp_path: Path) -> None:
    text = (HEADING + ROWS).encode()
    for pack in (gzip.compress(text), lzma.compress(text)):
        assert _closes(_read(tmp_path / "plain.csv", pack)) == [2.0, 3.0]


def test_parquet_with_typed_stamps_is_read_with_its_zone(tmp_path: Path) -> None:
    stamps = pl.Series([1_704_189_600_000_000_000, 1_704_191_400_000_000_000]).cast(pl.Datetime("ns", "UTC"))
    pl.DataFrame(
        {"date": stamps, "open": [1.0, 2.0], "high": [3.0, 4.0], "low": [0.5, 1.5], "close": [2.0, 3.0]}
    ).write_parquet(tmp_path / "a.parquet")
    ((_, raw),) = read_bars(tmp_path / "a.parquet", ImportProfile()).items()
    assert raw.stamps.utc_known.all()
    assert raw.stamps.wall_ns.tolist() == [1_704_189_600_000_000_000, 1_704_191_400_000_000_000]
    assert raw.volume is None


@pytest.mark.parametrize(
    "stamps",
    [
        [[1], [2], [3]],
        [b"x", b"\xff", b"z"],
        [dt.timedelta(1)] * 3,
        [None] * 3,
        [True, False, True],
        [{"a": 1}] * 3,
        [float("nan"), float("inf"), 1e30],
        [2**63, 2**64 - 1, 0],
        [dt.time(1), dt.time(2), dt.time(3)],
    ],
    ids=["lists", "bytes", "spans", "nulls", "booleans", "structs", "floats", "huge", "clocks"],
)
def test_parquet_columns_that_hold_no_stamps_are_refused(tmp_path: Path, stamps: list[object]) -> None:
    prices = [1.0, 2.0, 3.0]
    table = {"date": stamps, "open": prices, "high": prices, "low": prices, "close": prices}
    pl.DataFrame(table, strict=False).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(ReadError):
        read_bars(tmp_path / "a.parquet", ImportProfile())


@pytest.mark.parametrize("prices", [[[1.0]] * 3, [b"1"] * 3, [dt.date(2024, 1, 1)] * 3, [None] * 3])
def test_parquet_columns_that_hold_no_numbers_are_not_a_number(tmp_path: Path, prices: list[object]) -> None:
    stamps = [dt.datetime(2024, 1, 8, hour) for hour in (1, 2, 3)]  # noqa: DTZ001  (a file without a zone)
    table = {"date": stamps, "open": prices, "high": prices, "low": prices, "close": prices}
    pl.DataFrame(table).write_parquet(tmp_path / "a.parquet")
    ((_, raw),) = read_bars(tmp_path / "a.parquet", ImportProfile()).items()
    assert np.isnan(raw.prices[Role.CLOSE]).all()


def test_decimal_and_integer_prices_of_parquet_are_read(tmp_path: Path) -> None:
    stamps = [dt.date(2024, 1, 8), dt.date(2024, 1, 9)]
    table = {"date": stamps, "open": [Decimal("1.25")] * 2, "high": [3, 3], "low": ["1", "1"], "close": [2.5, 2.5]}
    pl.DataFrame(table).write_parquet(tmp_path / "a.parquet")
    ((_, raw),) = read_bars(tmp_path / "a.parquet", ImportProfile()).items()
    assert [raw.prices[role][0] for role in (Role.OPEN, Role.HIGH, Role.LOW, Role.CLOSE)] == [1.25, 3.0, 1.0, 2.5]


def test_stamps_far_out_of_time_are_not_wrapped_into_it(tmp_path: Path) -> None:
    stamps = [dt.datetime(9999, 12, 31), dt.datetime(2024, 1, 8), dt.datetime(1, 1, 1)]  # noqa: DTZ001
    prices = [1.0, 2.0, 3.0]
    for zone in (None, "UTC"):
        column = pl.Series(stamps).dt.replace_time_zone(zone)
        table = {"date": column, "open": prices, "high": prices, "low": prices, "close": prices}
        pl.DataFrame(table).write_parquet(tmp_path / "a.parquet")
        ((_, raw),) = read_bars(tmp_path / "a.parquet", ImportProfile()).items()
        assert raw.stamps.usable.tolist() == [False, True, False]


def test_a_zip_of_overlapping_pieces_is_one_series_and_of_each_several(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("nq-01.02.csv", HEADING + ROWS)
        archive.writestr("nq-01.03.csv", HEADING + ROWS)
    assert [raw.rows for raw in read_bars(tmp_path / "a.zip", ImportProfile()).values()] == [4]
    each = read_bars(tmp_path / "a.zip", ImportProfile(members=Members.EACH))
    assert list(each) == ["nq-01.02", "nq-01.03"]


def test_a_piece_whose_dates_decide_nothing_is_read_as_its_siblings_prove(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", HEADING + "1/2/2024 10:00,1,3,0.5,2,7\n")
        archive.writestr("b.csv", HEADING + "13/2/2024 10:00,1,3,0.5,2,7\n")
    ((_, raw),) = read_bars(tmp_path / "a.zip", ImportProfile()).items()
    assert [str(ns)[:10] for ns in raw.stamps.wall_ns.astype("datetime64[ns]")] == ["2024-02-01", "2024-02-13"]


def test_a_misspelt_low_is_found_by_its_numbers(tmp_path: Path) -> None:
    raw = _read(tmp_path / "a.csv", HEADING.replace("Low", "Llow") + ROWS)
    assert raw.prices[Role.LOW].tolist() == [0.5, 1.5]
    assert [finding.kind for finding in raw.findings] == ["misspelt_column"]


def test_a_misspelt_low_that_is_not_always_the_lowest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"no low.*--columns"):
        _read(tmp_path / "a.csv", HEADING.replace("Low", "Llow") + ROWS.replace("1.5,3.0", "3.5,3.0"))


def test_brackets_and_spaces_in_a_heading_do_not_matter(tmp_path: Path) -> None:
    text = "<Date>, <Time>, <Open>, <High>, <Low>, <Close>, <Volume>\n2024/1/2,10:00,1,3,0.5,2,7\n"
    raw = _read(tmp_path / "a.csv", text)
    assert str(raw.stamps.wall_ns.astype("datetime64[ns]")[0])[:16] == "2024-01-02T10:00"


def test_a_heading_without_the_time_of_day_is_repaired_from_the_rows(tmp_path: Path) -> None:
    text = "Date,Open,High,Low,Close,Volume\n2006-01-02,09:01:00,1,3,0.5,2,7\n2006-01-02,09:02:00,1,3,0.5,2,7\n"
    raw = _read(tmp_path / "a.csv", text)
    assert raw.prices[Role.HIGH].tolist() == [3.0, 3.0]
    assert [finding.kind for finding in raw.findings] == ["heading_without_time"]


def test_a_heading_that_is_short_for_another_reason_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AmbiguousError, match="names 5 columns, the rows have 6"):
        _read(tmp_path / "a.csv", HEADING.replace(",Volume", "") + ROWS)


def test_rows_without_a_heading_are_refused_until_the_columns_are_said(tmp_path: Path) -> None:
    with pytest.raises(AmbiguousError, match="--columns"):
        _read(tmp_path / "a.csv", ROWS)
    roles = (Role.STAMP, Role.OPEN, Role.HIGH, Role.LOW, Role.CLOSE, Role.IGNORE)
    raw = _read(tmp_path / "a.csv", ROWS, columns=roles)
    assert raw.lines.tolist() == [1, 2]
    assert raw.volume is None


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AmbiguousError, match="one open column"):
        _read(tmp_path / "a.csv", HEADING.replace("Volume", "open") + ROWS)


def test_broken_rows_are_left_out_counted_and_named_by_line(tmp_path: Path) -> None:
    raw = _read(tmp_path / "a.csv", HEADING + "2024-01-02 09:30,1.0\n" + ROWS + "x,y,z,1,2,3,4\n")
    assert raw.lines.tolist() == [3, 4]
    assert [(finding.kind, finding.count, finding.lines) for finding in raw.findings] == [("broken_rows", 2, (2, 5))]


def test_quoted_fields_and_thousands_separators_are_read(tmp_path: Path) -> None:
    raw = _read(tmp_path / "a.csv", HEADING + '"2024-01-02 10:00","1,000.5","3,000","0.5","2,000.25","1,234,567"\n')
    assert _closes(raw) == [2000.25]
    assert raw.volume is not None
    assert raw.volume.tolist() == [1_234_567.0]


def test_a_decimal_comma_is_read_when_said(tmp_path: Path) -> None:
    text = "Time;Open;High;Low;Close\n2024-01-02 10:00;1,5;3;0,5;1.002,25\n"
    assert _closes(_read(tmp_path / "a.csv", text, decimal_comma=True)) == [1002.25]


def test_values_that_are_no_numbers_become_nan_not_zero(tmp_path: Path) -> None:
    raw = _read(tmp_path / "a.csv", HEADING + ROWS.replace("2.0,7", ",7").replace("3.0,9", "n/a,-"))
    assert np.isnan(raw.prices[Role.CLOSE]).all()
    assert raw.volume is not None
    assert np.isnan(raw.volume[1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (HEADING.encode(), "no row"),
        (b"\x00\x01\x02\x03", "binary"),
        (b"PAR1 this is not parquet", "Parquet"),
        (b"\x1f\x8bgarbage", "damaged"),
        (b"\xfd7zXZ\x00garbage", "damaged"),
        (b"PK\x03\x04garbage", "damaged"),
        (b"Time,Name\n2024-01-01,x\n", "no open, high, low, close"),
    ],
)
def test_what_is_no_table_of_bars_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    from grandmodel.domain.errors import GrandModelError

    with pytest.raises(GrandModelError, match=message):
        _read(tmp_path / "a.csv", content)
