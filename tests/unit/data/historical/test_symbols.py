"""Which instrument a symbol means: every spelling of one product is it, and nothing else is."""

import pytest

from grandmodel.data.errors import AmbiguousError, ReadError
from grandmodel.data.historical.symbols import check_symbols, is_symbol_of, root_and_expiry
from grandmodel.domain.errors import UsageError
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN, Instrument

NQ, ES, EURO, SPOT = (BUILT_IN[InstrumentId(name)] for name in ("NQ", "ES", "6E", "EURUSD"))


def _called(name: str) -> Instrument:
    return Instrument(
        id=InstrumentId(name), name=name, tick_size=NQ.tick_size, tick_value_micros=1, currency="USD", mic="XCME", calendar="CMES"
    )  # fmt: skip


@pytest.mark.parametrize(
    "symbol",
    [
        "NQ", "nq", " NQ ", "NQU4", "NQU24", "NQU2024", "NQ202409", "NQ20240920", "NQ 09-24", "NQ SEP24", "NQ.FUT", "NQ.c.0",
        "NQ.v.1", "NQ.n.0", "NQ1!", "NQ2!", "NQ1", "NQc1", "NQcv1", "NQ=F", "@NQ", "/NQ", "/NQU24", "NQ#", "@NQ#C", "NQ*0",
        "CME:NQ1!", "CME_MINI:NQ1!", "NQU4.CME", "NQU24-CME", "NQ Index", "NQU4 Index", "NQ_F",
    ],
)  # fmt: skip
def test_every_spelling_of_one_product_is_that_instrument(symbol: str) -> None:
    assert is_symbol_of(symbol, NQ)
    assert not is_symbol_of(symbol, ES)


@pytest.mark.parametrize(
    "symbol",
    ["MNQ", "MNQU4", "ES", "ESH4", "ENQ", "^NDX", "NDX", "QQQ", "118", "", "NQH4-NQM4", "NQX", "N", "USATECHIDXUSD"],
)
def test_what_is_another_product_is_not_the_instrument(symbol: str) -> None:
    assert not is_symbol_of(symbol, NQ)


def test_pairs_and_roots_with_digits() -> None:
    assert all(
        is_symbol_of(name, SPOT)
        for name in ("EUR/USD", "EUR-USD", "EUR_USD", "EURUSD=X", "eurusd", "C:EURUSD", "EUR/USD.SIM")
    )
    assert all(is_symbol_of(name, EURO) for name in ("6EH4", "6E", "6EZ13", "6E=F", "6E1!"))
    assert not is_symbol_of("EURUSD", EURO)
    assert root_and_expiry("IF2101") == ("IF", (1, 1))
    assert root_and_expiry("GC201312") == ("GC", (3, 12))
    assert root_and_expiry("M2KZ3") == ("M2K", (3, 12))


def test_an_instrument_that_is_one_contract_takes_no_other_contract() -> None:
    contract = _called("ESU4")
    assert is_symbol_of("ESU24", contract)
    assert is_symbol_of("ES.c.0", contract)
    assert not is_symbol_of("ESZ4", contract)
    assert not is_symbol_of("ESU5", contract)


def test_another_instruments_symbol_is_refused_until_it_is_said_to_be_the_same() -> None:
    with pytest.raises(ReadError, match=r"found the symbol ESH4, expected NQ.*--map ESH4=NQ"):
        check_symbols("a.csv", {"ESH4": 9}, NQ, {})
    (sentence,) = check_symbols("a.csv", {"ESH4": 9}, NQ, {"ESH4": "NQ"})
    assert "--map ESH4=NQ" in sentence
    with pytest.raises(ReadError):  # said to be yet another
        check_symbols("a.csv", {"NQH4": 9}, NQ, {"NQH4": "ES"})
    assert check_symbols("a.csv", {"NQH4": 9, "NQM4": 3}, NQ, {}) == []


def test_several_instruments_are_listed_with_their_rows_and_one_can_be_chosen() -> None:
    rows = {"ESH4": 1_200, "NQH4": 1_180}
    with pytest.raises(AmbiguousError, match=r"ESH4 \(1,200 rows\), NQH4 \(1,180 rows\).*--symbol"):
        check_symbols("a.csv", rows, NQ, {})
    assert check_symbols("a.csv", rows, NQ, {}, ("NQH4",)) == []
    with pytest.raises(ReadError, match="found the symbol"):
        check_symbols("a.csv", rows, NQ, {}, ("ESH4",))
    with pytest.raises(UsageError, match="none of the symbols NQZ4"):
        check_symbols("a.csv", rows, NQ, {}, ("NQZ4",))
