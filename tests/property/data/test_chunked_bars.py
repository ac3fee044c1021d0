"""Bars read chunk by chunk and checked piece by piece are those of the file read as a whole, dirt included."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bar_files import NQ, random_bars, session_opens
from grandmodel.data.errors import ReadError
from grandmodel.data.historical.profile import PRICE_ROLES, Conflicts, ImportProfile, Label, OffTick
from grandmodel.data.historical.quality import check_bars
from grandmodel.data.historical.readers.bars import read_bars
from grandmodel.data.historical.readers.raw_bars import BarRows, RawBars, SpooledBars

AS_A_WHOLE = 1 << 40
OPENS = session_opens("2024-03-04", "2024-03-15")
BARS = random_bars(len(OPENS), seed=5)
PATTERNS = (
    "%Y-%m-%d %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M",
    "%Y%m%d %H%M%S",
    "%Y-%m-%dT%H:%M:%SZ",
    "epoch",
    "%Y.%m.%d,%H:%M",
)
NUMBERS = (
    "{}",
    " {}",
    "{} ",
    "+{}",
    "{}0",
    "",
    "-",
    "nan",
    "1e4",
    ".5",
    "5.",
    "0x1",
    "12345678901234567890.5",
    "9223372036.854775",
    "-{}",
)
VOLUMES = ("{}", "1.5K", "2M", "", "-5", "1 000", "0", "{}.25")
STAMPS = ("", "yesterday", "2024-03-05", "2024-13-45 10:00", "2024-03-05 25:00", "5/3/2024 10:00 PM", "Mar 05, 2024 10:00", "1709632800",
          "1709632800000", "2024-03-05 10:00+02:00", " 2024-03-05 10:00", "2024-03-05 10:00:00.123456789", "20240305", "31/12/2031 10:00")  # fmt: skip
LINES = ("", "   ", ",,,,,", "a,b", "1,2,3,4,5,6,7,8,9", "Downloaded from a site", "\x00", "\xe9t\xe9,1,2,3,4,5")


def _stamp(ns: int, pattern: str) -> str:
    if pattern == "epoch":
        return str(ns // 10**9)
    return np.datetime64(ns, "ns").astype("datetime64[s]").item().strftime(pattern)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A CSV of half hours with dirt in some rows."""
    pattern = draw(st.sampled_from(PATTERNS))
    delimiter = "," if "," in pattern else draw(st.sampled_from((",", ";", "\t")))
    start, count = draw(st.integers(0, 300)), draw(st.integers(30, 120))
    rows = []
    for place in range(start, start + count):
        prices = [f"{value:.2f}" for value in BARS[place, :4]]
        rows.append([_stamp(OPENS[place], pattern), *prices, str(int(BARS[place, 4]))])
    for _ in range(draw(st.integers(0, 6))):
        row = draw(st.integers(0, count - 1))
        field = draw(st.integers(0, 5))
        if field == 0:
            rows[row][0] = draw(st.sampled_from(STAMPS))
        else:
            forms = VOLUMES if field == 5 else NUMBERS
            rows[row][field] = draw(st.sampled_from(forms)).format(rows[row][field])
    lines = [delimiter.join(row) for row in rows]
    for _ in range(draw(st.integers(0, 3))):
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(LINES)))
    for _ in range(draw(st.integers(0, 2))):  # rows out of order, and rows met twice
        first, second = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
        lines.insert(first, lines[second])
    heading = "Date,Time," if "," in pattern else "Time" + delimiter
    low = draw(st.sampled_from(("Low", "Low", "Llow")))
    heading += delimiter.join(("Open", "High", low, "Close", "Volume"))
    end = draw(st.sampled_from(("\n", "\r\n", "\r")))
    above = draw(st.sampled_from(([], ["Symbol: NQ"], [""])))
    return end.join([*above, heading, *lines]).encode("utf-8") + draw(st.sampled_from((b"", end.encode())))


def _read(path: Path, profile: ImportProfile, **sizes: int) -> dict[str, BarRows] | str:
    try:
        return read_bars(path, profile, **sizes)
    except ReadError as error:
        return f"{type(error).__name__}: {error}"


def _held(raw: BarRows) -> RawBars:
    return raw.held() if isinstance(raw, SpooledBars) else raw


def _assert_same_rows(found: RawBars, expected: RawBars) -> None:
    for name in ("wall_ns", "usable", "utc_known", "has_clock"):
        assert (getattr(found.stamps, name) == getattr(expected.stamps, name)).all(), name
    assert found.lines.tolist() == expected.lines.tolist()
    for role in PRICE_ROLES:
        np.testing.assert_array_equal(found.prices[role], expected.prices[role])
    assert found.has_volume == expected.has_volume
    if found.volume is not None and expected.volume is not None:
        np.testing.assert_array_equal(found.volume, expected.volume)
    for name in ("findings", "evidence", "symbol", "is_utc_by_name"):
        assert getattr(found, name) == getattr(expected, name), name


@settings(max_examples=150, deadline=None)
@given(content=files(), packed=st.booleans(), chunk=st.sampled_from((1, 7, 1_000)), head=st.sampled_from((400, 1_500)))
def test_a_file_read_in_chunks_is_the_file_read_as_a_whole(content: bytes, packed: bool, chunk: int, head: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bars.csv"
        path.write_bytes(gzip.compress(content) if packed else content)
        whole = _read(path, ImportProfile(), head_bytes=AS_A_WHOLE)
        found = _read(path, ImportProfile(), chunk_bytes=chunk, head_bytes=head)
    if isinstance(whole, str) or isinstance(found, str):
        assert found == whole
        return
    assert list(found) == list(whole)
    for name, rows in found.items():
        _assert_same_rows(_held(rows), _held(whole[name]))


def test_a_clean_file_and_one_with_a_few_dirty_rows_are_read_in_chunks(tmp_path: Path) -> None:
    lines = [
        f"{_stamp(ns, PATTERNS[0])},{','.join(f'{value:.2f}' for value in bar[:4])},{int(bar[4])}"
        for ns, bar in zip(OPENS, BARS.tolist(), strict=True)
    ]
    for dirt in ((), (" 2024-03-05 10:00:00 ,1.0,2.0,0.5,1.0,1.5K", "broken")):
        path = tmp_path / "bars.csv"
        path.write_text("\n".join(["Time,Open,High,Low,Close,Volume", *lines, *dirt]) + "\n")
        ((_, raw),) = read_bars(path, ImportProfile(), chunk_bytes=1_000, head_bytes=1_500).items()
        assert isinstance(raw, SpooledBars)
        assert raw.rows == len(OPENS) + bool(dirt)
        assert [finding.kind for finding in raw.findings] == (["broken_rows", "shortened_volumes"] if dirt else [])


def _checked(path: Path, profile: ImportProfile, piece_rows: int) -> object:
    """Everything that a check of the file gives, or the words of its refusal."""
    try:
        ((_, raw),) = read_bars(path, profile).items()
        checked = check_bars(raw, NQ, profile, "bars.csv", piece_rows=piece_rows)
    except ReadError as error:
        return f"{type(error).__name__}: {error}"
    pieces = np.concatenate(list(checked.pieces(piece_rows)))
    assert (pieces == checked.block).all()
    report = (checked.findings, checked.evidence, checked.sessions, checked.rolls, checked.time_zone, checked.label)
    return checked.block.tolist(), report


@settings(max_examples=40, deadline=None)
@given(
    content=files(),
    policy=st.sampled_from(Conflicts),
    side=st.sampled_from(Label),
    zone=st.sampled_from(("UTC", "America/New_York")),
)
def test_where_a_piece_ends_changes_no_result(content: bytes, policy: Conflicts, side: Label, zone: str) -> None:
    profile = ImportProfile(
        time_zone=zone, label=side, conflicts=policy, off_tick=OffTick.ROUND, max_dropped=0.9, force_clock=True
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bars.csv"
        path.write_bytes(content)
        whole = _checked(path, profile, 1 << 20)
        for piece_rows in (1, 7, 50):
            assert _checked(path, profile, piece_rows) == whole


def test_a_shuffled_year_with_repeats_is_put_in_order_piece_by_piece(tmp_path: Path) -> None:
    opens = session_opens("2023-01-02", "2023-12-29")
    bars = random_bars(len(opens), seed=9)
    lines = [
        f"{_stamp(ns, PATTERNS[0])},{','.join(map(str, bar[:4]))},{int(bar[4])}"
        for ns, bar in zip(opens, bars.tolist(), strict=True)
    ]
    rng = np.random.default_rng(4)
    mixed = [lines[place] for place in rng.permutation(len(lines))] + lines[::50]
    path = tmp_path / "bars.csv"
    path.write_text("\n".join(["Time,Open,High,Low,Close,Volume", *mixed]) + "\n")
    profile = ImportProfile(time_zone="UTC", label=Label.OPEN)
    whole = _checked(path, profile, 1 << 20)
    assert isinstance(whole, tuple)
    assert len(whole[0]) == len(opens)
    assert _checked(path, profile, 700) == whole


@pytest.mark.parametrize("piece_rows", [1, 7, 1_000])
def test_the_hour_that_a_clock_shows_twice_is_told_apart_across_pieces(tmp_path: Path, piece_rows: int) -> None:
    start = np.datetime64("2023-11-03T22:00", "ns").astype(np.int64)
    moments = [int(start) + k * 1_800 * 10**9 for k in range(120)]
    walls = [ns - (4 if ns < 1_699_164_000 * 10**9 else 5) * 3_600 * 10**9 for ns in moments]
    lines = [f"{_stamp(ns, PATTERNS[0])},100,101,99,100,5" for ns in walls]
    path = tmp_path / "bars.csv"
    path.write_text("\n".join(["Time,Open,High,Low,Close,Volume", *lines]) + "\n")
    profile = ImportProfile(time_zone="America/New_York", label=Label.OPEN, force_clock=True, bar_width="30m")
    found = _checked(path, profile, piece_rows)
    assert isinstance(found, tuple)
    assert [row[2] for row in found[0]] == moments
