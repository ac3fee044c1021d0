"""Which instrument a symbol in a file means: the one rule for all readers.

A file's symbol belongs to an instrument where both have the same **root**: the product's code, without what says which
contract or which continuous series of it is meant. All of these have the root ``NQ``:

========================================  ============================================================
``NQ``                                    the product
``NQU4``, ``NQU24``, ``NQU2024``          a contract: month letter and year
``NQ202409``, ``NQ 09-24``, ``NQ SEP24``  a contract: year and month, as LEAN, NinjaTrader and others write it
``NQ.FUT``, ``NQ.c.0``, ``NQ.v.1``        all contracts, and Databento's continuous series
``NQ1!``, ``NQ1``, ``NQc1``, ``NQ=F``     the continuous series of TradingView, Bloomberg, Reuters, Yahoo
``@NQ``, ``/NQ``, ``NQ#``, ``@NQ#C``      of TradeStation, thinkorswim, IQFeed
``CME:NQ1!``, ``NQU4.CME``, ``NQ Index``  with the name of an exchange or of a kind before or after it
========================================  ============================================================

Pairs are one code however they are parted (``EUR/USD``, ``EUR-USD``, ``EURUSD=X`` are ``EURUSD``). An instrument that is itself
one contract (``ESU4``) takes that contract's symbols and the continuous ones, no other contract's. Everything else is another
instrument: a micro (``MNQ``) is not its larger sister, an index (``^NDX``) not its future, ``BTCUSDT`` not ``BTCUSD``. A number is
no symbol. What is not the same is refused unless a person says that it is (``--map SYMBOL=INSTRUMENT``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from grandmodel.data.errors import AmbiguousError, ReadError
from grandmodel.domain.errors import UsageError
from grandmodel.domain.instruments import Instrument

_MONTHS = "FGHJKMNQUVXZ"
_MONTH_WORDS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_EXCHANGES = "CME|CBT|CBOT|NYM|NYMEX|CMX|COMEX|CEC|XCME|XCBT|XNYM|XCEC|GLBX|GLOBEX|EUREX|XEUR|ICE|CFE|CCFX|CFFEX"
_KINDS = r"\s+(INDEX|COMDTY|CURNCY|EQUITY|FUTURES?|CONT(INUOUS)?)$"
_CONTRACT = re.compile(rf"^(?P<root>[A-Z0-9]{{2,4}}?)(?P<letter>[{_MONTHS}])(?P<year>\d{{4}}|\d{{1,2}})$")
_DATED = re.compile(
    r"^(?P<root>[A-Z0-9]*[A-Z][A-Z0-9]*?)[ _\-.]?(?P<year>20\d{2})[-.]?(?P<month>0[1-9]|1[0-2])(\d{2})?$"
)
_SHORT_DATED = re.compile(r"^(?P<root>[A-Z]{1,3})(?P<year>\d{2})(?P<month>0[1-9]|1[0-2])$")
_MONTH_YEAR = re.compile(r"^(?P<root>[A-Z0-9]{1,4})[ _](?P<month>0[1-9]|1[0-2])[-/](?P<year>\d{2}|\d{4})$")
_WORD_YEAR = re.compile(
    rf"^(?P<root>[A-Z0-9]{{1,4}})[ _]?(?P<word>{'|'.join(_MONTH_WORDS)})[ -]?(?P<year>\d{{2}}|\d{{4}})$"
)
_CONTINUOUS = (
    re.compile(r"^(.+?)\.(?:FUT|[CVN]\.\d{1,2})$"),
    re.compile(r"^(.+?)=[FX]$"),
    re.compile(r"^(.+?)#C?$"),
    re.compile(r"^(.+?)\*\d$"),
    re.compile(r"^(.+?)_(?:F|CONT|CONTINUOUS)$"),
    re.compile(r"^([A-Z0-9]{0,2}[A-Z])\d{0,2}!$"),
    re.compile(r"^([A-Z0-9]{0,2}[A-Z])\d{1,2}$"),
)
_REUTERS = re.compile(r"^([A-Z0-9]{1,4})cv?\d{1,2}$")
_PAIR = re.compile(r"^([A-Z]{3,4})[/\-_ ]([A-Z]{3,4})$")
_SHOWN = 12


def root_and_expiry(symbol: str) -> tuple[str, tuple[int, int] | None]:
    """The root of ``symbol`` and the (last digit of the year, month) of its contract, where it names one."""
    reuters = _REUTERS.match(symbol.strip())
    if reuters:
        return reuters.group(1), None
    text = " ".join(symbol.upper().split())
    text = re.sub(r"^[A-Z_]{1,12}:", "", text)  # the exchange before the symbol
    text = re.sub(_KINDS, "", text).lstrip("@/")
    text = re.sub(rf"[.\-]({_EXCHANGES})$", "", text)
    pair = _PAIR.match(re.sub(r"\.[A-Z]{2,8}$", "", text))  # AUD/USD.SIM
    if pair:
        return pair.group(1) + pair.group(2), None
    for pattern in (_CONTRACT, _MONTH_YEAR, _WORD_YEAR, _DATED, _SHORT_DATED):
        match = pattern.match(text)
        if match:
            found = match.groupdict()
            if found.get("letter"):
                month = _MONTHS.index(found["letter"]) + 1
            elif found.get("word"):
                month = _MONTH_WORDS.index(found["word"]) + 1
            else:
                month = int(found["month"])
            return found["root"], (int(found["year"][-1]), month)
    for pattern in _CONTINUOUS:
        match = pattern.match(text)
        if match:
            return match.group(1), None
    return re.sub(r"\.[A-Z]{2,5}$", "", text), None  # SPY.US


def is_symbol_of(symbol: str, instrument: Instrument) -> bool:
    """Whether ``symbol`` means ``instrument`` by the rule of the module."""
    name = str(instrument.id)
    if symbol.strip().upper() == name.upper():
        return True
    root, expiry = root_and_expiry(symbol)
    own_root, own_expiry = root_and_expiry(name)
    if not root or root.isdigit() or root != own_root:
        return False
    return own_expiry is None or expiry is None or expiry == own_expiry


def counted(rows: Mapping[str, int]) -> str:
    """The symbols and their rows for people: ``ESH4 (1,200 rows), NQH4 (1,180 rows)``, the largest first."""
    largest = sorted(rows.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{name} ({count:,} rows)" for name, count in largest[:_SHOWN])
    return shown + (f", and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else "")


def check_symbols(
    path: Path | str,
    rows: Mapping[str, int],
    instrument: Instrument,
    mapped: Mapping[str, str],
    chosen: tuple[str, ...] = (),
) -> list[str]:
    """Refuse a file whose symbols (``rows``: how many rows each has) are not those of ``instrument``.

    ``mapped`` says which instrument a symbol stands for, whatever its root; ``chosen`` are the symbols asked for (all where
    empty). Returns a sentence for each mapping that was used. Raises ``ReadError`` where one symbol is another instrument's
    and ``AmbiguousError`` where the file has symbols of several instruments.
    """
    looked_at = [name for name in rows if not chosen or name in chosen]
    if rows and not looked_at:
        raise UsageError(f"{path}: found none of the symbols {', '.join(chosen)}, expected one of: {counted(rows)}")
    sentences = []
    foreign = []
    for name in looked_at:
        if mapped.get(name) == str(instrument.id):
            sentences.append(
                f"the file's symbol {name} is taken for {instrument.id}: stated (--map {name}={instrument.id})"
            )
        elif name in mapped or not is_symbol_of(name, instrument):
            foreign.append(name)
    if not foreign:
        return sentences
    if len(foreign) < len(looked_at):
        raise AmbiguousError(
            f"{path}: found {len(rows)} symbols, {counted(rows)}, expected those of {instrument.id}; say which with --symbol"
        )
    first = foreign[0]
    what = "the number" if first.isdigit() else "the symbol"
    listed = first if len(rows) == 1 else counted(rows)
    raise ReadError(
        f"{path}: found {what if len(foreign) == 1 else 'the symbols'} {listed}, expected {instrument.id}: ticks, lots and "
        f"sessions would be another instrument's. Give the right --instrument, or say that it is the same with --map "
        f"{first}={instrument.id}"
    )
