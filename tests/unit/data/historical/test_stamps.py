"""Stamps: the order of day and month is proven from the whole file, or the file is refused."""

import numpy as np
import polars as pl
import pytest

from grandmodel.data.errors import AmbiguousError, ReadError
from grandmodel.data.historical.profile import DateOrder
from grandmodel.data.historical.stamps import Stamps, parse_stamps


def _parse(values: list[str], order: DateOrder | None = None) -> Stamps:
    return parse_stamps(pl.Series(values), np.arange(2, len(values) + 2), order, "file.csv")


def _times(stamps: Stamps) -> list[str]:
    return [str(ns.astype("datetime64[s]")) for ns in stamps.wall_ns.astype("datetime64[ns]")]


def test_one_day_above_twelve_settles_both_spellings_of_the_file() -> None:
    stamps = _parse(["1/7/2020 1:00", "01/07/2020 01:30:00", "13/07/2020 01:00:00"])
    assert _times(stamps) == ["2020-07-01T01:00:00", "2020-07-01T01:30:00", "2020-07-13T01:00:00"]
    assert stamps.date_order is DateOrder.DAY_FIRST
    assert "line 4" in stamps.evidence[0]
    assert [(finding.kind, finding.count, finding.lines) for finding in stamps.findings] == [
        ("ambiguous_dates", 2, (2, 3))
    ]


def test_a_month_above_twelve_in_second_place_means_month_first() -> None:
    assert _times(_parse(["1/4/1999", "1/13/1999"])) == ["1999-01-04T00:00:00", "1999-01-13T00:00:00"]


def test_time_order_settles_a_file_without_any_number_above_twelve() -> None:
    days = [f"{day:02d}/{month:02d}/2020" for month in (1, 2, 3) for day in range(1, 13)]
    stamps = _parse(days)
    assert stamps.date_order is DateOrder.DAY_FIRST
    assert (np.diff(stamps.wall_ns) > 0).all()
    assert "goes back" in stamps.evidence[0]


def test_a_file_that_reads_either_way_is_refused_with_the_flag_that_settles_it() -> None:
    either = ["01/01/2020", "02/02/2020", "03/03/2020", "04/04/2020"]
    with pytest.raises(AmbiguousError, match=r"all 4 dates \(first: line 2\).*--date-order"):
        _parse(either)
    assert _parse(either, DateOrder.MONTH_FIRST).usable.all()


def test_two_dates_alone_prove_no_order_even_if_only_one_keeps_them_in_time() -> None:
    for either in (["01/02/2020", "01/03/2020"], ["02/01/2020", "01/02/2020"]):
        with pytest.raises(AmbiguousError):
            _parse(either)


def test_rows_that_prove_opposite_orders_are_refused_with_both_lines() -> None:
    with pytest.raises(ReadError, match=r"line 3.*line 4"):
        _parse(["1/2/2020", "13/2/2020", "2/13/2020"])


def test_a_stated_order_that_the_rows_contradict_is_refused() -> None:
    with pytest.raises(ReadError, match="line 3"):
        _parse(["1/2/2020", "13/2/2020"], DateOrder.MONTH_FIRST)


@pytest.mark.parametrize(
    ("text", "expected", "utc_known"),
    [
        ("2024-02-29 23:59:59.123456789", "2024-02-29T23:59:59", False),
        ("2014/1/2 09:35:00", "2014-01-02T09:35:00", False),
        ("2024-06-28T13:30:00Z", "2024-06-28T13:30:00", True),
        ("2024-06-28 13:30:00+02:00", "2024-06-28T11:30:00", True),
        ("2024-06-28 13:30:00 GMT-0500", "2024-06-28T18:30:00", True),
        ("20240628 133000", "2024-06-28T13:30:00", False),
        ("20240628", "2024-06-28T00:00:00", False),
        ("1719581400", "2024-06-28T13:30:00", True),
        ("1719581400000", "2024-06-28T13:30:00", True),
        ("1719581400000000000", "2024-06-28T13:30:00", True),
        ("28.06.2024 01:30 PM", "2024-06-28T13:30:00", False),
        ("28.06.2024 12:15 am", "2024-06-28T00:15:00", False),
    ],
)
def test_spellings_of_a_moment(text: str, expected: str, utc_known: bool) -> None:
    stamps = _parse([text])
    assert _times(stamps) == [expected]
    assert bool(stamps.utc_known[0]) is utc_known


@pytest.mark.parametrize(
    "text", ["2024-02-30", "2023-13-01", "2024-01-01 24:00", "2024-01-01 10:60", "", "Infinity", "1/2/24"]
)
def test_what_is_no_moment_is_not_usable(text: str) -> None:
    assert _parse(["2024-01-01", text]).usable.tolist() == [True, False]


def test_a_column_without_any_stamp_is_refused() -> None:
    with pytest.raises(ReadError, match="'AAPL', 'MSFT'"):
        _parse(["AAPL", "MSFT"])
