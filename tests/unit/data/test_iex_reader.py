"""IEX captures: packets written by hand, read back against a slow parser, and damage of every kind."""

import itertools
import struct
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.data.errors import AmbiguousError
from grandmodel.data.historical.readers.errors import CorruptFileError
from grandmodel.data.historical.readers.iex import iex_message_counts, read_iex_pcap
from grandmodel.data.historical.readers.options import TickOptions
from grandmodel.data.historical.readers.registry import reader_for
from grandmodel.domain.blocks import UNDEFINED_PRICE, Action, BookSide, Flag, Schema, check_order
from grandmodel.domain.errors import GrandModelError, UsageError
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import Instrument

US_EQUITY = Instrument(
    id=InstrumentId("US"),
    name="US equities",
    tick_size=Decimal("0.0001"),
    tick_value_micros=100,
    currency="USD",
    mic="IEXG",
    calendar="XNYS",
)
NO_OPTIONS = TickOptions()
TOPS, DEEP = 0x8003, 0x8004
T0 = 1_499_697_158_000_000_000
"""The stamp of the first packet; a message inside is stamped a millisecond earlier."""


def _quote(symbol: str, bid: int, bid_size: int, ask: int, ask_size: int, ts: int = T0, flags: int = 0) -> bytes:
    return struct.pack("<cBq8sIqqI", b"Q", flags, ts, symbol.encode().ljust(8), bid_size, bid, ask, ask_size)


def _trade(symbol: str, price: int, size: int, ts: int = T0, kind: bytes = b"T") -> bytes:
    return struct.pack("<cBq8sIqq", kind, 0, ts, symbol.encode().ljust(8), size, price, 99)


def _level(side: bytes, symbol: str, price: int, size: int, complete: bool = True, ts: int = T0) -> bytes:
    return struct.pack("<cBq8sIq", side, int(complete), ts, symbol.encode().ljust(8), size, price)


def _status(symbol: str, status: bytes, ts: int = T0) -> bytes:
    return struct.pack("<ccq8s4s", b"H", status, ts, symbol.encode().ljust(8), b"")


def _packet(
    messages: Iterable[bytes],
    first: int,
    number: int,
    protocol: int = TOPS,
    sent: int | None = None,
    vlan: bool = False,
) -> bytes:
    body = b"".join(struct.pack("<H", len(message)) + message for message in messages)
    count = len(list(messages))
    segment = struct.pack(
        "<BBHIIHHqqq", 1, 0, protocol, 1, 7, len(body), count, 0, first, T0 + number if sent is None else sent
    )
    udp = struct.pack(">HHHH", 1, 2, 8 + len(segment) + len(body), 0)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + 8 + len(segment) + len(body), 0, 0, 1, 17, 0, b"abcd", b"efgh")
    ethernet = b"\0" * 12 + (b"\x81\x00\x00\x05" if vlan else b"") + b"\x08\x00"
    frame = ethernet + ip + udp + segment + body
    stamp_us = T0 // 1_000 + 1_000 * (number + 1)
    return struct.pack("<IIII", stamp_us // 10**6, stamp_us % 10**6, len(frame), len(frame)) + frame


HEADER = struct.pack("<4sHHiIII", b"\xd4\xc3\xb2\xa1", 2, 4, 0, 0, 65_535, 1)


def _capture(tmp_path: Path, *packets: bytes, header: bytes = HEADER) -> Path:
    path = tmp_path / "feed.pcapng"
    path.write_bytes(header + b"".join(packets))
    return path


def test_tops_quotes_and_trades_are_one_stream_per_symbol(tmp_path: Path) -> None:
    path = _capture(
        tmp_path,
        _packet([_quote("AA", 365_000, 100, 365_300, 200), _quote("ZIEXT", 0, 0, 100_000, 5, flags=0x80)], 1, 0),
        _packet([_trade("AA", 365_150, 50)], 3, 1, vlan=True),
        _packet([], 4, 2),
    )
    assert reader_for(path) is read_iex_pcap
    reading = read_iex_pcap(path, US_EQUITY, NO_OPTIONS)
    assert reading.schema is Schema.QUOTES
    assert list(reading.blocks) == ["AA", "ZIEXT"]
    quote, trade = reading.blocks["AA"]
    assert (quote["bid_price"], quote["ask_price"], quote["bid_size"], quote["ask_size"]) == (
        365_000,
        365_300,
        100,
        200,
    )
    assert (quote["price"], quote["action"]) == (UNDEFINED_PRICE, Action.QUOTE)
    assert (trade["price"], trade["size"], trade["action"], trade["sequence"]) == (365_150, 50, Action.TRADE, 3)
    assert (trade["bid_price"], trade["ask_price"]) == (UNDEFINED_PRICE, UNDEFINED_PRICE)
    assert (quote["ts_event"], quote["ts_init"], trade["ts_init"]) == (T0, T0 + 1_000_000, T0 + 2_000_000)
    halted = reading.blocks["ZIEXT"][0]
    assert (halted["bid_price"], halted["flags"]) == (UNDEFINED_PRICE, Flag.HALTED)
    assert reading.findings == []
    assert iex_message_counts(path) == {"packets": 3, "Q": 2, "T": 1}


def test_only_the_symbols_asked_for_are_read(tmp_path: Path) -> None:
    path = _capture(tmp_path, _packet([_trade("AA", 1, 1), _trade("BB", 1, 1)], 1, 0))
    assert list(read_iex_pcap(path, US_EQUITY, TickOptions(symbols=("BB",))).blocks) == ["BB"]
    with pytest.raises(UsageError, match="none of the symbols CC"):
        read_iex_pcap(path, US_EQUITY, TickOptions(symbols=("CC",)))


def test_deep_levels_are_added_changed_and_removed_as_one_order_each(tmp_path: Path) -> None:
    messages = [
        _level(b"8", "AA", 100_000, 300),
        _level(b"5", "AA", 100_000, 10, complete=False),
        _level(b"8", "AA", 100_000, 200),
        _trade("AA", 100_000, 100),
        _level(b"8", "AA", 100_000, 0),
        _level(b"8", "AA", 100_000, 50),
        _level(b"8", "BB", 100_000, 0),
    ]
    reading = read_iex_pcap(_capture(tmp_path, _packet(messages, 1, 0, DEEP)), US_EQUITY, NO_OPTIONS)
    block = reading.blocks["AA"]
    assert reading.schema is Schema.BOOK
    assert bytes(block["action"].tolist()) == b"AAMTCA"
    # A removal carries the size that was there.
    assert block["size"].tolist() == [300, 10, 200, 100, 200, 50]
    assert block["order_id"].tolist() == [200_000, 200_001, 200_000, 0, 200_000, 200_000]
    assert block["side"].tolist() == [
        BookSide.BID,
        BookSide.ASK,
        BookSide.BID,
        BookSide.NONE,
        BookSide.BID,
        BookSide.BID,
    ]
    assert block["flags"].tolist() == [1, 0, 1, 1, 1, 1]
    assert [(finding.kind, finding.count) for finding in reading.findings] == [("unknown_level_removals", 1)]


def test_a_restart_of_the_sender_empties_the_book(tmp_path: Path) -> None:
    path = _capture(
        tmp_path,
        _packet([_level(b"8", "AA", 100_000, 300)], 50, 0, DEEP),
        _packet([_level(b"8", "AA", 100_000, 200), _level(b"8", "BB", 1, 1)], 1, 1, DEEP),
    )
    reading = read_iex_pcap(path, US_EQUITY, NO_OPTIONS)
    block = reading.blocks["AA"]
    assert bytes(block["action"].tolist()) == b"ARA"
    assert (block["price"][1], block["ts_init"][1], block["sequence"][1]) == (UNDEFINED_PRICE, T0 + 2_000_000, 1)
    assert bytes(reading.blocks["BB"]["action"].tolist()) == b"A"
    assert [(finding.kind, finding.count) for finding in reading.findings] == [("feed_restarts", 1)]
    check_order(block)


def test_lost_and_repeated_packets_are_told_apart(tmp_path: Path) -> None:
    second = _packet([_trade("AA", 2, 1)], 10, 1)
    path = _capture(tmp_path, _packet([_trade("AA", 1, 1)], 1, 0), second, second, _packet([_trade("AA", 3, 1)], 11, 2))
    reading = read_iex_pcap(path, US_EQUITY, NO_OPTIONS)
    assert reading.blocks["AA"]["price"].tolist() == [1, 2, 3]
    assert {finding.kind: finding.count for finding in reading.findings} == {
        "sequence_gaps": 1,
        "missing_messages": 8,
        "repeated_packets": 1,
    }


def test_halts_and_resumptions_are_rows_and_the_opening_list_is_not(tmp_path: Path) -> None:
    messages = [_status("AA", b"T"), _status("BB", b"H"), _status("AA", b"P"), _status("AA", b"P"), _status("AA", b"T")]
    reading = read_iex_pcap(_capture(tmp_path, _packet(messages, 1, 0)), US_EQUITY, NO_OPTIONS)
    assert {name: bytes(block["action"].tolist()) for name, block in reading.blocks.items()} == {
        "AA": b"HU",
        "BB": b"H",
    }
    assert reading.blocks["AA"]["sequence"].tolist() == [3, 5]


def test_trade_breaks_are_noted(tmp_path: Path) -> None:
    path = _capture(tmp_path, _packet([_trade("AA", 1, 1), _trade("AA", 1, 1, kind=b"B")], 1, 0))
    reading = read_iex_pcap(path, US_EQUITY, NO_OPTIONS)
    assert len(reading.blocks["AA"]) == 1
    assert [(finding.kind, finding.count) for finding in reading.findings] == [("trade_breaks", 1)]


def test_the_last_packet_cut_off_is_left_out_and_counted(tmp_path: Path) -> None:
    for cut in (1, 30, 120):
        last = _packet([_trade("AA", 2, 1)], 2, 1)
        path = _capture(tmp_path, _packet([_trade("AA", 1, 1)], 1, 0), last[:-cut])
        reading = read_iex_pcap(path, US_EQUITY, NO_OPTIONS)
        assert reading.blocks["AA"]["price"].tolist() == [1]
        assert [(finding.kind, finding.count) for finding in reading.findings] == [("truncated_packet", 1)]


def test_packets_of_other_kinds_and_broken_segments_are_counted(tmp_path: Path) -> None:
    good = _packet([_trade("AA", 1, 1)], 1, 0)
    not_udp = bytearray(_packet([_trade("AA", 9, 1)], 2, 1))
    not_udp[16 + 14 + 9] = 6
    wrong_length = bytearray(_packet([_trade("AA", 9, 1)], 2, 2))
    wrong_length[16 + 42 + 40] += 1
    too_few = bytearray(_packet([_trade("AA", 9, 1), _trade("AA", 9, 1)], 2, 3))
    too_few[16 + 42 + 14] = 1
    path = _capture(tmp_path, good, bytes(not_udp), bytes(wrong_length), bytes(too_few))
    reading = read_iex_pcap(path, US_EQUITY, NO_OPTIONS)
    assert {finding.kind: finding.count for finding in reading.findings} == {"other_packets": 1, "damaged_packets": 2}
    assert len(reading.blocks["AA"]) == 1


def test_two_feeds_in_one_file_are_refused(tmp_path: Path) -> None:
    path = _capture(tmp_path, _packet([_trade("AA", 1, 1)], 1, 0), _packet([_trade("AA", 1, 1)], 1, 1, DEEP))
    with pytest.raises(UsageError, match="expected one feed"):
        read_iex_pcap(path, US_EQUITY, NO_OPTIONS)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", CorruptFileError, "no pcap header"),
        (HEADER[:20], CorruptFileError, "no pcap header"),
        (HEADER, CorruptFileError, "no IEX-TP segment"),
        (HEADER[:20] + struct.pack("<I", 101), CorruptFileError, "found link type 101"),
        (b"\x0a\x0d\x0d\x0a" + b"\0" * 100, AmbiguousError, "editcap -F pcap"),
        (HEADER + _packet([], 1, 0, protocol=0x8002), CorruptFileError, "protocol 0x8002"),
    ],
)
def test_what_is_no_iex_capture_is_refused(
    tmp_path: Path, content: bytes, error: type[Exception], message: str
) -> None:
    path = tmp_path / "feed.pcap"
    path.write_bytes(content)
    with pytest.raises(error, match=message):
        read_iex_pcap(path, US_EQUITY, NO_OPTIONS)


def test_a_big_endian_capture_with_nanoseconds_reads(tmp_path: Path) -> None:
    packet = bytearray(_packet([_trade("AA", 1, 1)], 1, 0))
    seconds, micros, held, full = struct.unpack_from("<IIII", packet)
    packet[:16] = struct.pack(">IIII", seconds, micros * 1_000 + 7, held, full)
    header = struct.pack(">IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65_535, 1)
    reading = read_iex_pcap(_capture(tmp_path, bytes(packet), header=header), US_EQUITY, NO_OPTIONS)
    assert reading.blocks["AA"]["ts_init"].tolist() == [T0 + 1_000_007]


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_damaged_bytes_raise_our_errors_only(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    feeds = [
        HEADER + _packet([_quote("AA", 1, 2, 3, 4), _trade("AA", 1, 1)], 1, 0) + _packet([_status("AA", b"H")], 3, 1),
        HEADER + _packet([_level(b"8", "AA", 1, 2), _trade("AA", 1, 1)], 1, 0, DEEP),
    ]
    content = bytearray(data.draw(st.sampled_from(feeds)))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255))
    end = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    path = tmp_path_factory.getbasetemp() / "damaged.pcap"
    path.write_bytes(bytes(content[:end]))
    try:
        reading = read_iex_pcap(path, US_EQUITY, NO_OPTIONS)
    except GrandModelError:
        return
    assert sum(len(block) for block in reading.blocks.values()) <= 5


symbols = st.sampled_from(["AA", "BRK.B", "ZVZZT"])
book_messages = st.lists(
    st.tuples(symbols, st.sampled_from([b"8", b"5"]), st.integers(1, 3), st.integers(0, 3)), min_size=1, max_size=40
)


@settings(deadline=None, max_examples=60)
@given(rows=book_messages, cuts=st.sets(st.integers(1, 39)))
def test_the_levels_of_a_feed_rebuild_the_same_book(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, bytes, int, int]], cuts: set[int]
) -> None:
    bounds = [0, *sorted(cut for cut in cuts if cut < len(rows)), len(rows)]
    packets = [
        _packet(
            [_level(side, name, price, size) for name, side, price, size in rows[start:stop]], start + 1, index, DEEP
        )
        for index, (start, stop) in enumerate(itertools.pairwise(bounds))
    ]
    expected: dict[tuple[str, bytes, int], int] = {}
    for name, side, price, size in rows:
        expected[name, side, price] = size
    path = tmp_path_factory.getbasetemp() / "levels.pcap"
    path.write_bytes(HEADER + b"".join(packets))
    reading = read_iex_pcap(path, US_EQUITY, NO_OPTIONS)
    for name, block in reading.blocks.items():
        resting: dict[int, int] = {}
        for row in block:
            order, size = int(row["order_id"]), int(row["size"])
            if row["action"] == Action.ADD:
                assert order not in resting
                resting[order] = size
            elif row["action"] == Action.MODIFY:
                assert order in resting
                resting[order] = size
            else:
                assert resting.pop(order, 0) == size
        wanted = {
            price * 2 + (side == b"5"): size for (of, side, price), size in expected.items() if of == name and size
        }
        assert resting == wanted
