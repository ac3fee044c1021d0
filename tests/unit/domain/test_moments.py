"""Quiet moments as bytes, and back."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandmodel.domain.events import Cause, ClosedBar, QuietMoments, Record
from grandmodel.domain.moments import expanded, moments_of, packed, unpacked
from grandmodel.journal.format import decode_record, encode_record

words_64 = st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 300)
a_bar = st.tuples(st.integers(0, 2), *[words_64] * 9)
moments = st.lists(st.tuples(words_64, words_64, words_64, st.lists(a_bar, max_size=3)), max_size=6)


def words_of(drawn):
    flat = []
    for ts, position, equity, bars in drawn:
        flat += [ts, position, equity, len(bars), *(word for bar in bars for word in bar)]
    return np.array(flat, dtype=np.int64)


def plain_varints(words_in):
    """What ``packed`` says it writes, with Python's own integers."""
    data, words_in, at, moment, last = bytearray(), words_in.tolist(), 0, [0] * 4, [0] * 10

    def put(value):
        value = (value + 2**63) % 2**64 - 2**63
        left = 2 * value if value >= 0 else -2 * value - 1
        while left >= 128:
            data.append(left % 128 + 128)
            left //= 128
        data.append(left)

    while at < len(words_in):
        head = words_in[at : at + 4]
        for word, before in zip(head, moment, strict=True):
            put(word - before)
        moment, at = head, at + 4
        for _ in range(head[3]):
            bar = [word - head[0] if k in (2, 3) else word for k, word in enumerate(words_in[at : at + 10])]
            for word, before in zip(bar, last, strict=True):
                put(word - before)
            last, at = bar, at + 10
    return bytes(data)


@given(moments)
def test_words_are_packed_as_the_text_says_and_come_back(drawn):
    words_in = words_of(drawn)
    rows = packed(words_in)
    assert rows == plain_varints(words_in)
    assert unpacked(rows).tolist() == words_in.tolist()


@given(moments)
def test_the_moments_of_a_record_are_those_that_went_in(drawn):
    record = Record(number=7, ts=1, cause=Cause.QUIET, position=1, equity_micros=1,
                    quiet=QuietMoments(instruments=("A", "B", "C"), rows=packed(words_of(drawn))))  # fmt: skip
    again = decode_record(encode_record(record))
    assert again == record
    assert [
        (m.ts, m.position, m.equity_micros, [msgspec.structs.astuple(bar) for bar in m.bars]) for m in moments_of(again)
    ] == [(ts, position, equity, [("ABC"[bar[0]], *bar[1:]) for bar in bars]) for ts, position, equity, bars in drawn]
    assert [one.number for one in expanded([again])] == [7] * len(drawn)


def test_a_record_of_one_moment_is_its_own():
    bar = ClosedBar("A", 1, 2, 3, 4, 5, 6, 7, 8)
    record = Record(number=1, ts=5, cause=Cause.BAR, position=2, equity_micros=3, bars=(bar,))
    (moment,) = moments_of(record)
    assert (moment.ts, moment.position, moment.equity_micros, moment.bars) == (5, 2, 3, (bar,))
    assert list(expanded([record])) == [record]


@pytest.mark.parametrize("cut", [1, 3, 5, 9])
def test_bytes_that_are_cut_off_are_refused(cut):
    rows = packed(np.array([10**18, 5, 10**12, 1, 0, 60, 1, 2, 3, 4, 5, 6, 7, 0], dtype=np.int64))
    with pytest.raises(ValueError, match="not whole moments"):
        unpacked(rows[:-cut])
    with pytest.raises(ValueError, match="not whole moments"):
        unpacked(b"\xff" * 11)
    with pytest.raises(ValueError, match="not whole moments"):
        unpacked(b"\x00\x00\x00\x01")
