"""Wall-clock stamps to UTC: against zoneinfo, and refused where the clock shows a time twice or never."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.data.errors import AmbiguousError
from grandmodel.data.historical.readers.errors import CorruptFileError
from grandmodel.data.historical.readers.local_time import day_start_ns, utc_from_local
from grandmodel.domain.errors import UsageError

FILE = Path("ticks.csv")


def _wall_ns(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 10**9  # type: ignore[misc,arg-type]


@settings(deadline=None, max_examples=100)
@given(
    zone=st.sampled_from(
        ["America/New_York", "Asia/Jerusalem", "Asia/Shanghai", "Europe/London", "Australia/Lord_Howe"]
    ),
    seconds=st.lists(st.integers(0, 1_700_000_000), min_size=1, max_size=10),
)
def test_conversion_agrees_with_zoneinfo(zone: str, seconds: list[int]) -> None:
    walls = np.array(seconds, dtype=np.int64) * 10**9 + 123
    expected = []
    for second in seconds:
        wall = datetime(1970, 1, 1) + timedelta(seconds=second)  # noqa: DTZ001
        options = {wall.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC) for fold in (0, 1)}
        # Two readings, or a reading that does not lead back, is a change of the clock.
        quarter = wall.replace(minute=wall.minute // 15 * 15, second=0)
        folds = {quarter.replace(tzinfo=ZoneInfo(zone), fold=fold).utcoffset() for fold in (0, 1)}
        expected.append(None if len(folds) > 1 else int(options.pop().timestamp()) * 10**9 + 123)
    if None in expected:
        with pytest.raises(AmbiguousError):
            utc_from_local(walls, zone, FILE)
    else:
        assert utc_from_local(walls, zone, FILE).tolist() == expected


@pytest.mark.parametrize("zone", ["-05:00", "UTC-5", "-5", "-0500", "gmt-05:00"])
def test_fixed_offsets_in_their_spellings(zone: str) -> None:
    wall = np.array([_wall_ns(2020, 7, 1, 12)], dtype=np.int64)
    assert utc_from_local(wall, zone, FILE)[0] == _wall_ns(2020, 7, 1, 17)


@pytest.mark.parametrize("hour", [(2020, 11, 1, 1, 30), (2020, 3, 8, 2, 30)])
def test_the_hour_of_a_clock_change_is_refused_with_its_line(hour: tuple[int, ...]) -> None:
    walls = np.array([_wall_ns(2020, 1, 1), _wall_ns(*hour)], dtype=np.int64)
    with pytest.raises(AmbiguousError, match=r"line 4: .*twice or never"):
        utc_from_local(walls, "America/New_York", FILE, first_line=3)


def test_unknown_zones_and_dates_are_refused() -> None:
    walls = np.array([_wall_ns(2020, 1, 1)], dtype=np.int64)
    for zone in ("Mars/Olympus", "../etc/passwd", ""):
        with pytest.raises(UsageError, match="--time-zone"):
            utc_from_local(walls, zone, FILE)
    with pytest.raises(UsageError, match="--date"):
        day_start_ns("20131340", FILE)


def test_stamps_that_are_no_time_of_a_market_are_refused() -> None:
    for stamp in (-1, 2**62):
        with pytest.raises(CorruptFileError, match="between 1970 and 2100"):
            utc_from_local(np.array([stamp], dtype=np.int64), "UTC", FILE)
