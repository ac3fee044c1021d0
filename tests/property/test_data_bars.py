"""Properties of the bar importer: random bytes never crash it, and what is written in any layout comes back exactly."""

import datetime as dt
import gzip
import itertools
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bar_files import NQ, session_opens
from grandmodel.data.historical.importing import read_file
from grandmodel.data.historical.profile import DateOrder, ImportProfile, Label
from grandmodel.data.historical.rolls import Adjustment, back_adjust
from grandmodel.data.historical.store import Store
from grandmodel.domain.blocks import Block, Schema, check_order, empty_block, freeze
from grandmodel.domain.errors import GrandModelError
from grandmodel.domain.time import THIRTY_MINUTES_NS

_COUNTER = itertools.count()
_SETTINGS = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

_cells = st.one_of(
    st.sampled_from(
        ["2024-01-08 10:00:00", "8/1/2024 10:30", "13/01/2024 11:00", "1704708000", "nan", "inf", "-inf", "1e308", "5e-324",
         "0", "-1", "100.25", "99.9", "", " ", '"', "'", "Open", "Low", "\x1f", "é", "1,000", "-0", "1_0", "0x10", "12:30"]
    ),
    st.text(max_size=6),
    st.floats(allow_nan=True, allow_infinity=True).map(str),
)  # fmt: skip
_headings = st.sampled_from(
    ["Timestamp,Open,High,Low,Close,Volume", "Date,Time,Open,High,Low,Close", "DT,O,H,L,C", "Date,Open,High,Llow,Close",
     "date,open,high,low,close,close", "", "a,b,c", "<Date>, <Time>, <Open>, <High>, <Low>, <Close>, <Volume>", "Date,Price"]
)  # fmt: skip


def _try(path: Path, content: bytes, profile: ImportProfile) -> None:
    path.write_bytes(content)
    try:
        blocks, report = read_file(path, NQ, profile)
    except GrandModelError:
        return
    for block in blocks.values():
        check_order(block)
        assert not block.flags.writeable
        if block.dtype == Schema.BARS.dtype:
            assert (block["low"] <= np.minimum(block["open"], block["close"])).all()
            assert (block["high"] >= np.maximum(block["open"], block["close"])).all()
            assert (block["low"] > 0).all()
            assert (np.diff(block["ts_open"]) > 0).all()
    assert sum(series.rows_kept for series in report.series) == sum(map(len, blocks.values()))


_STATED = ImportProfile(time_zone="America/New_York", label=Label.OPEN, bar_width="30m", max_dropped=0.9)


@_SETTINGS
@given(content=st.binary(max_size=400))
@example(content=b"PK\x03\x04")
@example(content=b"PAR1PAR1")
@example(content=b"\x1f\x8b\x08\x00")
@example(content=b"\xfd7zXZ\x00")
@example(content=b"Date,Open,High,Low,Close\n\xff\xfe,1,1,1,1\n")
@example(content=b'Date,Open\n"2024')
@example(content=b"\r\r\r,\r")
@example(content=b"\x1c")
def test_any_bytes_are_read_or_refused_with_a_message(tmp_path: Path, content: bytes) -> None:
    _try(tmp_path / "f.csv", content, ImportProfile())


@_SETTINGS
@given(
    heading=_headings,
    rows=st.lists(st.lists(_cells, min_size=1, max_size=8), max_size=12),
    delimiter=st.sampled_from([",", ";", "\t"]),
    is_stated=st.booleans(),
    is_packed=st.booleans(),
)
def test_any_table_is_read_or_refused_with_a_message(
    tmp_path: Path, heading: str, rows: list[list[str]], delimiter: str, is_stated: bool, is_packed: bool
) -> None:
    text = "\n".join([heading.replace(",", delimiter), *(delimiter.join(row) for row in rows)])
    content = text.encode("utf-8", "replace")
    _try(
        tmp_path / "f.csv", gzip.compress(content) if is_packed else content, _STATED if is_stated else ImportProfile()
    )


@st.composite
def _bars(draw: st.DrawFn) -> Block:
    """Bars in real sessions: a random part of a year's half hours, any prices on the tick."""
    opens = session_opens("2024-03-04", "2024-03-15")
    picked = sorted(draw(st.sets(st.sampled_from(opens), min_size=3, max_size=40)))
    block = empty_block(Schema.BARS, len(picked))
    block["ts_open"] = picked
    block["ts_event"] = block["ts_init"] = block["ts_open"] + THIRTY_MINUTES_NS
    for k in range(len(picked)):
        low, first, second, high = sorted(draw(st.tuples(*[st.integers(1, 2**38)] * 4)))
        block[k]["low"], block[k]["high"] = low, high
        block[k]["open"], block[k]["close"] = (first, second) if draw(st.booleans()) else (second, first)
        block[k]["volume"] = draw(st.integers(0, 2**40))
    block["volume"][0] = 1  # a file whose volume is always zero has none
    return freeze(block)


_PATTERNS = {
    DateOrder.YEAR_FIRST: "%Y-%m-%d %H:%M:%S",
    DateOrder.DAY_FIRST: "%d/%m/%Y %H:%M",
    DateOrder.MONTH_FIRST: "%m.%d.%Y %I:%M:%S %p",
}


@_SETTINGS
@given(
    block=_bars(),
    zone=st.sampled_from(["UTC", "America/New_York", "Asia/Jerusalem", "Asia/Kolkata", "Australia/Sydney"]),
    order=st.sampled_from(DateOrder),
    label=st.sampled_from(Label),
    delimiter=st.sampled_from([",", "\t", ";"]),
    end=st.sampled_from(["\n", "\r\n"]),
    is_shuffled=st.booleans(),
)
def test_what_is_written_in_any_layout_comes_back_exactly(
    tmp_path: Path, block: Block, zone: str, order: DateOrder, label: Label, delimiter: str, end: str, is_shuffled: bool
) -> None:
    stamps = block["ts_open"] if label is Label.OPEN else block["ts_event"]
    lines = []
    for row, stamp in zip(block, stamps.tolist(), strict=True):
        local = dt.datetime.fromtimestamp(stamp // 10**9, tz=ZoneInfo(zone))
        prices = [str(NQ.price_from_ticks(int(row[name]))) for name in ("open", "high", "low", "close")]
        lines.append(delimiter.join([local.strftime(_PATTERNS[order]), *prices, str(int(row["volume"]))]))
    if is_shuffled:
        lines = [lines[k] for k in np.random.default_rng(len(lines)).permutation(len(lines))]
    heading = delimiter.join(["Timestamp", "Open", "High", "Low", "Close", "Volume"])
    path = tmp_path / "f.csv"
    path.write_bytes((end.join([heading, *lines]) + end).encode())
    profile = ImportProfile(date_order=order, time_zone=zone, label=label, bar_width="30m")
    blocks, _ = read_file(path, NQ, profile)
    ((_, read),) = blocks.items()
    for name in ("ts_open", "ts_event", "ts_init", "open", "high", "low", "close", "volume"):
        assert read[name].tolist() == block[name].tolist(), name


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(block=_bars(), cuts=st.lists(st.integers(0, 40), max_size=4), rows=st.integers(1, 50))
def test_the_store_gives_back_what_several_overlapping_writes_brought(
    tmp_path: Path, block: Block, cuts: list[int], rows: int
) -> None:
    store = Store(tmp_path / f"store{next(_COUNTER)}")
    edges = sorted({0, len(block), *(cut % (len(block) + 1) for cut in cuts)})
    for number, (start, end) in enumerate(itertools.pairwise(edges)):
        store.write(NQ, Schema.BARS, block[max(0, start - 2) : end], f"source {number}")
    parts = list(store.blocks([NQ], Schema.BARS, 0, 2**62, rows))
    assert all(0 < len(part) <= rows for part in parts)
    assert (np.concatenate(parts) == block).all()


@_SETTINGS
@given(block=_bars(), data=st.data())
def test_adjusting_takes_out_the_steps_and_nothing_else(block: Block, data: st.DataObject) -> None:
    rolls = sorted(data.draw(st.sets(st.integers(1, len(block) - 1), max_size=5)))
    adjusted = back_adjust(block, rolls)
    moves = np.diff(adjusted["close"])
    plain = np.diff(block["close"])
    steps = np.zeros(len(plain), dtype=np.int64)
    for row in rolls:
        steps[row - 1] = block["open"][row] - block["close"][row - 1]
    assert moves.tolist() == (plain - steps).tolist()
    last = rolls[-1] if rolls else 0
    assert (adjusted[last:] == block[last:]).all()


def test_an_empty_adjustment_of_ratios_is_the_block_itself() -> None:
    opens = session_opens("2024-03-04", "2024-03-05")
    block = empty_block(Schema.BARS, len(opens))
    assert (back_adjust(block, [], Adjustment.RATIO) == block).all()
    with pytest.raises(GrandModelError):
        back_adjust(block, [1], Adjustment.RATIO)
