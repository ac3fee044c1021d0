"""IEX market data captures: TOPS 1.6 and DEEP 1.0 inside UDP packets of a pcap file.

A capture is a row of packets; each holds an IEX-TP segment (a 40-byte header and its messages). Two compiled walks find
every message, then each kind is gathered into one array and viewed with its layout, so the cost per message is small.
``ts_event`` is IEX's stamp on the message, ``ts_init`` the capture's stamp on the packet.

- TOPS: quote updates (best bid and ask) and trades become one ``quotes`` block per symbol, interleaved.
- DEEP: price-level updates and trades become one ``book`` block per symbol. A price level is treated as one resting
  order whose ``order_id`` is ``2 x ticks + (1 for asks)``; its size is the level's whole size. What a level update leaves
  unknown (the orders behind it, queue places) stays unknown.

Trading halts and resumptions become rows of their own. Layouts: IEX TOPS Specification 1.6, IEX DEEP Specification 1.0,
IEX Transport Specification 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.data.errors import AmbiguousError
from grandmodel.data.historical.readers.compressed import load_bytes
from grandmodel.data.historical.readers.errors import CorruptFileError
from grandmodel.data.historical.readers.local_time import check_stamps
from grandmodel.data.historical.readers.options import TickOptions
from grandmodel.data.historical.readers.units import UnitConversion
from grandmodel.data.historical.reading import Finding, Reading, Treatment
from grandmodel.domain.blocks import UNDEFINED_PRICE, Action, Block, BookSide, Flag, Schema, empty_block
from grandmodel.domain.errors import UsageError
from grandmodel.domain.instruments import Instrument
from grandmodel.kernels import kernel

PCAP_MAGICS = (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d")
"""Classic pcap: little or big endian, stamps in microseconds or nanoseconds."""

PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"
PRICE_DECIMALS = 4
TOPS_PROTOCOL = 0x8003
DEEP_PROTOCOL = 0x8004

_GLOBAL_HEADER = 24
_ETHERNET = 1
_QUOTE = np.dtype([("kind", "u1"), ("flags", "u1"), ("ts", "<i8"), ("symbol", "S8"), ("bid_size", "<u4"),
                   ("bid_price", "<i8"), ("ask_price", "<i8"), ("ask_size", "<u4")])  # fmt: skip
_TRADE = np.dtype([("kind", "u1"), ("flags", "u1"), ("ts", "<i8"), ("symbol", "S8"), ("size", "<u4"),
                   ("price", "<i8"), ("trade_id", "<i8")])  # fmt: skip
_LEVEL = np.dtype([("kind", "u1"), ("flags", "u1"), ("ts", "<i8"), ("symbol", "S8"), ("size", "<u4"), ("price", "<i8")])
_STATUS = np.dtype([("kind", "u1"), ("status", "u1"), ("ts", "<i8"), ("symbol", "S8"), ("reason", "S4")])
_LAYOUTS = {ord("Q"): _QUOTE, ord("T"): _TRADE, ord("B"): _TRADE, ord("8"): _LEVEL, ord("5"): _LEVEL, ord("H"): _STATUS}
_BUY_LEVEL, _SELL_LEVEL = ord("8"), ord("5")
_SYMBOL_HALTED = 0x80
_EVENT_COMPLETE = 0x01
_TRADING = ord("T")

# Slots of the statistics that the walk over packets fills.
_PACKETS, _CUT, _OTHER, _DAMAGED, _GAPS, _MISSING, _REPEATED, _PROTOCOL, _MIXED, _RESTARTS = range(10)
_SLOTS = 10


@dataclass(frozen=True, slots=True)
class _Messages:
    """Every message of a capture, in file order; arrays are (M,)."""

    content: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    captured_ns: NDArray[np.int64]
    sequence: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    protocol: int
    findings: list[Finding]


def read_iex_pcap(path: Path, instrument: Instrument, options: TickOptions) -> Reading:
    """The market data of an IEX TOPS or DEEP capture, one block per symbol (``options.symbols`` to read only some).

    All symbols are read with ``instrument``'s tick size; IEX prices have four decimals, so an instrument with a tick
    of 0.0001 fits every one. Raises ``CorruptFileError`` where the file is no classic pcap with such packets. A last
    packet that was cut off is left out and counted.
    """
    messages = _messages(load_bytes(path, options.limits), path)
    is_tops = messages.protocol == TOPS_PROTOCOL
    schema = Schema.QUOTES if is_tops else Schema.BOOK
    kinds = (ord("Q"), ord("T")) if is_tops else (_BUY_LEVEL, _SELL_LEVEL, ord("T"))
    reading = Reading(schema, {}, messages.findings, int(np.isin(messages.kinds, kinds).sum()), names_symbols=True)
    conversion = UnitConversion(path, instrument, options)
    rows = _tops_rows(messages, conversion) if is_tops else _deep_rows(messages, conversion)
    reading.findings.extend(conversion.findings)
    _note_breaks(messages, reading.findings)
    reading.blocks = _by_symbol(*rows, options)
    reading.check_symbols(path, {symbol: len(block) for symbol, block in reading.blocks.items()}, instrument, options)
    if options.symbols and not reading.blocks:
        raise UsageError(f"{path}: found none of the symbols {', '.join(options.symbols)} in this capture")
    return reading


def iex_message_counts(path: Path) -> dict[str, int]:
    """How many messages of each kind a capture holds, by IEX's letter, and ``packets``; for reports and tests."""
    content = np.frombuffer(load_bytes(path), dtype=np.uint8)
    little, nanos = _endianness(content, path)
    statistics = np.zeros(_SLOTS, dtype=np.int64)
    empty = np.empty(0, dtype=np.int64)
    _walk_packets(content, little, nanos, empty, empty, empty, empty, statistics)
    messages = _messages(content.tobytes(), path)
    letters, counts = np.unique(messages.kinds, return_counts=True)
    found = {chr(letter): int(count) for letter, count in zip(letters.tolist(), counts.tolist(), strict=True)}
    return {"packets": int(statistics[_PACKETS]), **found}


def _endianness(content: NDArray[np.uint8], path: Path) -> tuple[bool, bool]:
    """(little endian, stamps in nanoseconds); raises where this is no classic pcap of Ethernet frames."""
    magic = content[:4].tobytes()
    if magic == PCAPNG_MAGIC:
        raise AmbiguousError(
            f"{path}: found a pcapng file, expected a classic pcap: convert it first (editcap -F pcap IN OUT)"
        )
    if magic not in PCAP_MAGICS or len(content) < _GLOBAL_HEADER:
        raise CorruptFileError(f"{path}: found no pcap header, expected one of 24 bytes")
    little = magic in {PCAP_MAGICS[0], PCAP_MAGICS[2]}
    link = int.from_bytes(content[20:24].tobytes(), "little" if little else "big") & 0x0FFFFFFF
    if link != _ETHERNET:
        raise CorruptFileError(f"{path}: found link type {link}, expected {_ETHERNET} (Ethernet)")
    return little, magic in {PCAP_MAGICS[2], PCAP_MAGICS[3]}


def _messages(raw: bytes, path: Path) -> _Messages:
    content = np.frombuffer(raw, dtype=np.uint8)
    little, nanos = _endianness(content, path)
    statistics = np.zeros(_SLOTS, dtype=np.int64)
    empty = np.empty(0, dtype=np.int64)
    count = _walk_packets(content, little, nanos, empty, empty, empty, empty, statistics)
    protocol = int(statistics[_PROTOCOL])
    if protocol not in {TOPS_PROTOCOL, DEEP_PROTOCOL}:
        raise CorruptFileError(
            f"{path}: found {int(statistics[_PACKETS])} packets and no IEX-TP segment of TOPS 1.6 or DEEP 1.0 in them"
            + (f" (protocol {protocol:#06x})" if protocol else "")
        )
    if statistics[_MIXED]:
        raise UsageError(f"{path}: found segments of several protocols or channels, expected one feed a file")
    offsets, lengths, captured, sequence = (np.empty(count, dtype=np.int64) for _ in range(4))
    _walk_packets(content, little, nanos, offsets, lengths, captured, sequence, statistics)
    kinds = content[offsets]
    return _Messages(
        content, offsets, lengths, captured, sequence, kinds, protocol, _packet_findings(statistics.tolist())
    )


def _packet_findings(statistics: list[int]) -> list[Finding]:
    told = (
        (_CUT, "truncated_packet", Treatment.DROPPED, "the last packet is cut off; it is left out"),
        (_OTHER, "other_packets", Treatment.NOTED, "packets are not UDP with an IEX segment; they are passed over"),
        (
            _DAMAGED,
            "damaged_packets",
            Treatment.DROPPED,
            "segments do not add up to their own length; they are left out",
        ),
        (_GAPS, "sequence_gaps", Treatment.NOTED, "message numbers are missing: packets were lost before the capture"),
        (_MISSING, "missing_messages", Treatment.NOTED, "messages are missing in those gaps"),
        (_REPEATED, "repeated_packets", Treatment.DROPPED, "packets repeat message numbers already seen; left out"),
        (
            _RESTARTS,
            "feed_restarts",
            Treatment.NOTED,
            "the sender began its message numbers anew: its books start empty",
        ),
    )
    return [
        Finding(kind, treatment, statistics[slot], text) for slot, kind, treatment, text in told if statistics[slot]
    ]


@kernel(inline=True)
def _unsigned(content: NDArray[np.uint8], at: int, width: int, little: bool) -> int:
    """An unsigned integer of ``width`` bytes."""
    value = 0
    for i in range(width):
        place = i if little else width - 1 - i
        value |= int(content[at + i]) << (8 * place)
    return value


@kernel
def _segment_start(content: NDArray[np.uint8], frame: int, end: int) -> int:
    """Where the IEX-TP segment of an Ethernet frame (one VLAN tag allowed, IPv4, UDP) begins, or -1."""
    ip = frame + 14
    if ip + 24 > end:
        return -1
    ether_type = _unsigned(content, frame + 12, 2, False)
    if ether_type == 0x8100:
        ether_type = _unsigned(content, frame + 16, 2, False)
        ip += 4
    header = (int(content[ip]) & 15) * 4
    segment = ip + header + 8
    if ether_type != 0x0800 or content[ip] >> 4 != 4 or header < 20 or segment + 40 > end or content[ip + 9] != 17:
        return -1
    protocol = _unsigned(content, segment + 2, 2, True)
    return segment if content[segment] == 1 and 0x8000 <= protocol <= 0x80FF else -1


@kernel
def _is_whole(content: NDArray[np.uint8], body: int, stop: int, messages: int) -> bool:
    """Whether ``messages`` length-prefixed messages fill the bytes from ``body`` to ``stop`` exactly."""
    place = body
    for _ in range(messages):
        if place + 2 > stop:
            return False
        size = _unsigned(content, place, 2, True)
        if size < 1 or place + 2 + size > stop:
            return False
        place += 2 + size
    return place == stop


@kernel
def _walk_packets(
    content: NDArray[np.uint8],
    little: bool,
    nanos: bool,
    offsets: NDArray[np.int64],
    lengths: NDArray[np.int64],
    captured: NDArray[np.int64],
    sequence: NDArray[np.int64],
    statistics: NDArray[np.int64],
) -> int:
    """The number of messages; fills the four arrays (M,) where they have room, and ``statistics`` by slot.

    A segment counts only if its messages end exactly where its header says. Numbers already seen are passed over, so a
    capture with both lines of a redundant feed gives every message once; numbers that fall in a segment sent later than
    the one before are a restart of the sender.
    """
    statistics[:] = 0
    count = 0
    at = 24
    total = len(content)
    next_sequence = -1
    channel_session = -1
    last_sent = -1
    while at < total:
        statistics[0] += 1
        if at + 16 > total:
            statistics[1] += 1
            break
        seconds = _unsigned(content, at, 4, little)
        fraction = _unsigned(content, at + 4, 4, little)
        held = _unsigned(content, at + 8, 4, little)
        at += 16
        if at + held > total:
            statistics[1] += 1
            break
        end = at + held
        ts = seconds * 1_000_000_000 + (fraction if nanos else fraction * 1_000)
        frame = at
        at = end
        segment = _segment_start(content, frame, end)
        if segment < 0:
            statistics[2] += 1
            continue
        protocol = _unsigned(content, segment + 2, 2, True)
        feed = _unsigned(content, segment + 4, 8, True)
        if statistics[7] == 0:
            statistics[7] = protocol
            channel_session = feed
        elif statistics[7] != protocol or feed != channel_session:
            statistics[8] += 1
            continue
        length = _unsigned(content, segment + 12, 2, True)
        messages = _unsigned(content, segment + 14, 2, True)
        first = _unsigned(content, segment + 24, 8, True)
        body = segment + 40
        stop = body + length
        if stop > end or first < 0 or first > 4_611_686_018_427_387_904:
            statistics[3] += 1
            continue
        if not _is_whole(content, body, stop, messages):
            statistics[3] += 1
            continue
        if messages == 0:
            continue
        sent = _unsigned(content, segment + 32, 8, True)
        if next_sequence >= 0 and first < next_sequence:
            if sent <= last_sent:
                statistics[6] += 1
                continue
            statistics[9] += 1
            next_sequence = first
        last_sent = sent
        if next_sequence >= 0 and first > next_sequence:
            statistics[4] += 1
            statistics[5] += first - next_sequence
        next_sequence = first + messages
        place = body
        for i in range(messages):
            size = _unsigned(content, place, 2, True)
            if count < len(offsets):
                offsets[count] = place + 2
                lengths[count] = size
                captured[count] = ts
                sequence[count] = first + i
            count += 1
            place += 2 + size
    return count


def _gathered(messages: _Messages, *kinds: int) -> tuple[NDArray[np.void], NDArray[np.int64]]:
    """The messages of some kinds of one layout as an array, and their places among all messages."""
    layout = _LAYOUTS[kinds[0]]
    places = np.flatnonzero(np.isin(messages.kinds, kinds) & (messages.lengths >= layout.itemsize))
    if not len(places):
        return np.empty(0, dtype=layout), places
    rows = messages.content[messages.offsets[places][:, None] + np.arange(layout.itemsize)]
    return rows.reshape(-1).view(layout), places


def _tops_rows(messages: _Messages, conversion: UnitConversion) -> tuple[Block, NDArray[np.bytes_]]:
    """Quotes, trades and halts of all symbols in message order, and the symbol of each row."""
    quotes, quote_places = _gathered(messages, ord("Q"))
    trades, trade_places = _gathered(messages, ord("T"))
    halts, halt_places, halted = _halts(messages)
    n_q, n_t = len(quotes), len(trades)
    rows = n_q + n_t + len(halts)
    block = empty_block(Schema.QUOTES, rows)
    is_quote, is_trade = slice(0, n_q), slice(n_q, n_q + n_t)
    prices: dict[str, NDArray[np.int64]] = {
        name: np.zeros(rows, dtype=np.int64) for name in ("price", "bid_price", "ask_price")
    }
    sizes = {name: np.zeros(rows, dtype=np.int64) for name in ("size", "bid_size", "ask_size")}
    prices["price"][is_trade], sizes["size"][is_trade] = trades["price"], trades["size"]
    for side in ("bid", "ask"):
        prices[f"{side}_price"][is_quote] = quotes[f"{side}_price"]
        sizes[f"{side}_size"][is_quote] = quotes[f"{side}_size"]
    missing = {name: values == 0 for name, values in prices.items()}
    for name, values in conversion.prices(prices, decimals=PRICE_DECIMALS, missing=missing).items():
        block[name] = values
    for name, lots in conversion.lots(sizes).items():
        block[name] = lots
    block["action"][is_quote] = Action.QUOTE
    block["action"][is_trade] = Action.TRADE
    block["flags"][is_quote] = np.where(quotes["flags"] & _SYMBOL_HALTED, np.uint32(Flag.HALTED), np.uint32(0))
    places = np.concatenate((quote_places, trade_places, halt_places))
    symbols = np.concatenate((quotes["symbol"], trades["symbol"], halts["symbol"]))
    block["ts_event"] = np.concatenate((quotes["ts"], trades["ts"], halts["ts"]))
    return _finished(block, symbols, places, halted, messages, conversion)[:2]


def _deep_rows(messages: _Messages, conversion: UnitConversion) -> tuple[Block, NDArray[np.bytes_]]:
    """Level changes, trades and halts of all symbols in message order, and the symbol of each row."""
    levels, level_places = _gathered(messages, _BUY_LEVEL, _SELL_LEVEL)
    trades, trade_places = _gathered(messages, ord("T"))
    halts, halt_places, halted = _halts(messages)
    n_l, n_t = len(levels), len(trades)
    rows = n_l + n_t + len(halts)
    block = empty_block(Schema.BOOK, rows)
    is_level, is_trade, is_priced = slice(0, n_l), slice(n_l, n_l + n_t), slice(0, n_l + n_t)
    prices, sizes = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64)
    prices[is_priced] = np.concatenate((levels["price"], trades["price"]))
    sizes[is_priced] = np.concatenate((levels["size"], trades["size"]))
    absent = np.ones(rows, dtype=np.bool_)
    absent[is_priced] = False
    ticks = conversion.prices({"price": prices}, decimals=PRICE_DECIMALS, missing={"price": absent})["price"]
    lots = conversion.lots({"size": sizes})["size"]
    block["price"], block["size"] = ticks, lots
    is_ask = levels["kind"] == _SELL_LEVEL
    level_ticks = ticks[is_level]
    order_id = level_ticks * 2 + is_ask
    block["order_id"][is_level] = order_id.astype(np.uint64)
    block["side"][is_level] = np.where(is_ask, np.uint8(BookSide.ASK), np.uint8(BookSide.BID))
    session = np.concatenate(([0], np.cumsum(np.diff(messages.sequence) < 0))) if rows else np.zeros(0, dtype=np.int64)
    before = _size_before(levels["symbol"], order_id, session[level_places], lots[is_level])
    now = lots[is_level]
    block["action"][is_level] = np.where(
        now == 0, np.uint8(Action.CANCEL), np.where(before == 0, np.uint8(Action.ADD), np.uint8(Action.MODIFY))
    )
    # A cancel carries the size that leaves, as in DBN.
    block["size"][is_level] = np.where(now == 0, before, now)
    complete = (levels["flags"] & _EVENT_COMPLETE) != 0
    block["flags"][is_level] = np.where(complete, np.uint32(Flag.LAST), np.uint32(0))
    block["action"][is_trade] = Action.TRADE
    block["flags"][is_trade] = Flag.LAST
    unknown = np.zeros(rows, dtype=np.bool_)
    unknown[is_level] = (now == 0) & (before == 0)
    conversion.found(
        "unknown_level_removals",
        Treatment.NOTED,
        unknown,
        "levels are removed that were never added: the capture began after they were; size 0 leaves",
    )
    places = np.concatenate((level_places, trade_places, halt_places))
    symbols = np.concatenate((levels["symbol"], trades["symbol"], halts["symbol"]))
    block["ts_event"] = np.concatenate((levels["ts"], trades["ts"], halts["ts"]))
    finished, of_row, kept_places = _finished(block, symbols, places, halted, messages, conversion)
    return _with_clears(finished, of_row, session[kept_places])


def _with_clears(
    block: Block, symbols: NDArray[np.bytes_], session: NDArray[np.int64]
) -> tuple[Block, NDArray[np.bytes_]]:
    """``block`` with a row that empties the book before a symbol's first row of each later session of the feed."""
    if not len(block) or session[-1] == 0:
        return block, symbols
    keys = _symbol_keys(symbols)
    order = np.lexsort((session, keys))
    of_symbol, of_session = keys[order], session[order]
    begins = (of_symbol[1:] == of_symbol[:-1]) & (of_session[1:] != of_session[:-1])
    firsts = np.sort(order[1:][begins])
    clears = block[firsts]
    clears["action"], clears["side"], clears["flags"] = Action.CLEAR, BookSide.NONE, Flag.LAST
    clears["price"], clears["size"], clears["order_id"] = UNDEFINED_PRICE, 0, 0
    return np.insert(block, firsts, clears), np.insert(symbols, firsts, symbols[firsts])


def _size_before(
    symbols: NDArray[np.bytes_], order_id: NDArray[np.int64], session: NDArray[np.int64], sizes: NDArray[np.int32]
) -> NDArray[np.int32]:
    """The size (L,) of each level just before its update; 0 where it was not there. Updates are in message order."""
    keys = _symbol_keys(symbols)
    order = np.lexsort((order_id, session, keys))
    same = (keys[order][1:] == keys[order][:-1]) & (order_id[order][1:] == order_id[order][:-1])
    same &= session[order][1:] == session[order][:-1]
    before = np.zeros(len(sizes), dtype=np.int32)
    before[order[1:]] = np.where(same, sizes[order][:-1], 0)
    return before


def _halts(messages: _Messages) -> tuple[NDArray[np.void], NDArray[np.int64], NDArray[np.bool_]]:
    """Status messages that change whether a symbol trades, their places, and whether trading stops there."""
    statuses, places = _gathered(messages, ord("H"))
    stopped = statuses["status"] != _TRADING
    keys = _symbol_keys(statuses["symbol"])
    order = np.lexsort((places, keys))
    of_symbol = keys[order]
    # A symbol counts as trading until a message says otherwise, so the usual list of all symbols at the start is no news.
    was_stopped = np.zeros(len(statuses), dtype=np.bool_)
    was_stopped[order[1:]] = np.where(of_symbol[1:] == of_symbol[:-1], stopped[order][:-1], False)
    changes = stopped != was_stopped
    return statuses[changes], places[changes], stopped[changes]


def _finished(
    block: Block,
    symbols: NDArray[Any],
    places: NDArray[np.int64],
    halted: NDArray[np.bool_],
    messages: _Messages,
    conversion: UnitConversion,
) -> tuple[Block, NDArray[np.bytes_], NDArray[np.int64]]:
    """``block`` with stamps, sequence and halts filled in, without impossible rows, in message order; symbols, places."""
    halts = slice(len(block) - len(halted), len(block))
    block["action"][halts] = np.where(halted, np.uint8(Action.HALT), np.uint8(Action.RESUME))
    block["flags"][halts] = np.where(halted, np.uint32(Flag.HALTED), np.uint32(0))
    block["side"][block["side"] == 0] = BookSide.NONE
    block["ts_init"] = messages.captured_ns[places]
    sequence = messages.sequence[places]
    fits = len(sequence) == 0 or int(sequence.max()) < 2**32
    block["sequence"] = sequence if fits else places % 2**32
    if conversion.repaired is not None:
        block["flags"][conversion.repaired] |= np.uint32(Flag.REPAIRED)
    keep = np.ones(len(block), dtype=np.bool_) if conversion.impossible is None else ~conversion.impossible
    order = np.argsort(places[keep], kind="stable")
    for name in ("ts_event", "ts_init"):
        check_stamps(block[name][keep][order], conversion.path, 1)
    return block[keep][order], symbols[keep][order], places[keep][order]


def _note_breaks(messages: _Messages, findings: list[Finding]) -> None:
    breaks, _ = _gathered(messages, ord("B"))
    if len(breaks):
        findings.append(
            Finding(
                "trade_breaks",
                Treatment.NOTED,
                len(breaks),
                "IEX cancelled trades after the fact; the trades stay, as everyone saw them when they happened",
            )
        )


def _symbol_keys(symbols: NDArray[Any]) -> NDArray[np.uint64]:
    """Symbols (R,) of eight bytes as numbers in the order of their letters: sorting numbers is several times faster."""
    return np.ascontiguousarray(symbols).view(">u8").astype(np.uint64)


def _by_symbol(block: Block, symbols: NDArray[np.bytes_], options: TickOptions) -> dict[str, Block]:
    """The rows of each symbol, in message order; symbols in the order of their names."""
    if not len(block):
        return {}
    keys, which = np.unique(_symbol_keys(symbols), return_inverse=True)
    names = keys.astype(">u8").view("S8")
    order = np.argsort(which, kind="stable")
    ends = np.cumsum(np.bincount(which, minlength=len(names)))
    found: dict[str, Block] = {}
    for index, name in enumerate(names.tolist()):
        text = name.decode("latin-1").strip()
        if not options.symbols or text in options.symbols:
            start = int(ends[index - 1]) if index else 0
            found[text] = block[order[start : int(ends[index])]]
    return found
