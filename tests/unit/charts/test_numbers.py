import math

import pytest

from grandmodel.charts.numbers import axis_labels, format_duration, format_time, format_value

DAY_NS = 86_400_000_000_000


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "sign", "expected"),
    [
        (1234567, "", None, False, "1,234,567"),
        (1234.5, "", None, False, "1,234.50"),
        (0.0123, "%", None, False, "1.23%"),
        (0.0123, "%", 1, False, "1.2%"),
        (-0.0123, "%", 1, True, "-1.2%"),
        (12345.678, "$", 2, True, "+$12,345.68"),
        (-12345.678, "$", 2, False, "-$12,345.68"),
        (-0.001, "$", 2, False, "$0.00"),
        (3.25, "bps", 2, False, "3.25 bps"),
        (None, "$", None, False, "–"),
        (math.nan, "%", None, False, "–"),
        (math.inf, "", None, False, "+inf"),
        (-math.inf, "ns", None, False, "-inf"),
        (1e300, "", None, False, "1e300"),
        (0.00004, "%", None, False, "0.0040%"),
        (2.5e-9, "", None, False, "2.5e-9"),
        (0, "", None, True, "0"),
        (2**53 + 1, "", None, False, "9,007,199,254,740,993"),
        (812_000, "ns", None, False, "812 µs"),
        (0, "time", None, False, "1970-01-01 00:00:00"),
    ],
)
def test_a_value_is_written_for_people(value, unit, decimals, sign, expected):
    assert format_value(value, unit, decimals, sign=sign) == expected


@pytest.mark.parametrize(
    ("duration_ns", "expected"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_500, "1.5 µs"),
        (-1_500, "-1.5 µs"),
        (2_000_000, "2 ms"),
        (90 * 10**9, "1.5 min"),
        (36 * 3600 * 10**9, "1.5 d"),
        (math.nan, "–"),
    ],
)
def test_a_duration_takes_the_unit_of_its_size(duration_ns, expected):
    assert format_duration(duration_ns) == expected


def test_a_time_is_written_to_the_resolution_asked_for():
    time_ns = 1_583_764_200_123_456_789  # 2020-03-09 14:30:00.123456789 UTC
    assert format_time(time_ns, DAY_NS) == "2020-03-09"
    assert format_time(time_ns, 60 * 10**9) == "2020-03-09 14:30"
    assert format_time(time_ns) == "2020-03-09 14:30:00"
    assert format_time(time_ns, 10**6) == "2020-03-09 14:30:00.123"
    assert format_time(time_ns, 1) == "2020-03-09 14:30:00.123456789"
    assert format_time(-1) == "1969-12-31 23:59:59"


def test_the_labels_of_an_axis_share_their_scale_and_decimals():
    assert axis_labels([0, 5000, 10000, 15000], 5000, "$") == ["$0", "$5k", "$10k", "$15k"]
    assert axis_labels([-0.02, 0.0, 0.02], 0.02, "%") == ["-2%", "0%", "2%"]
    assert axis_labels([0.0, 0.25, 0.5], 0.25) == ["0.00", "0.25", "0.50"]
    assert axis_labels([9000, 9020], 20) == ["9,000", "9,020"]
    assert axis_labels([0, 2_500_000, 5_000_000], 2_500_000) == ["0.0", "2.5M", "5.0M"]
    assert axis_labels([0, 1e18], 1e18) == ["0", "1e18"]
    assert axis_labels([], 1.0) == []
