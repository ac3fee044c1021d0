"""What an account books without an order, against a plain ledger in fractions, after every single event."""

from fractions import Fraction

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine_runs import Restless, build_engine, encoded, note_of
from grandmodel.account.ledger import Ledger, nearest_ratio
from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.events import CashFlow, CashKind, Cause, End, ExchangeRate, Settlement, Split
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.runtime.inputs import InputEngine
from grandmodel.runtime.settings import AccountSettings
from grandmodel.runtime.snapshot import restore_engine, save_engine
from grandmodel.simulation.models import LognormalLatency, ProportionalFee, RandomSlippage, VenueSettings
from plain_ledger import PlainLedger
from strategies import ALL_DAY, NQ, START, bars, stack
from strategies import SHARE as A_SHARE

IF = BUILT_IN[InstrumentId("IF")]
SHARE = msgspec.structs.replace(A_SHARE, currency="EUR", mic="XETR", calendar="XETR")
INSTRUMENTS = (NQ, IF, SHARE)
RATES = {"CNY": 137_893, "EUR": 1_081_313}
CAPITAL = 1_000_000_000_000
FUTURES = (0, 1)

prices = st.integers(1, 9_000)
currencies = st.sampled_from(("USD", "CNY", "EUR"))
fills = st.tuples(
    st.just("fill"), st.integers(0, 2), st.integers(-40, 40).filter(bool), prices, st.integers(-5_000_000, 9_000_000)
)
marks = st.tuples(st.just("mark"), st.integers(0, 2), prices)
flows = st.tuples(st.just("flow"), currencies, st.integers(-(10**13), 10**13).filter(bool))
rates = st.tuples(st.just("rate"), st.sampled_from(("CNY", "EUR", "JPY")), st.integers(1, 3_000_000))
settlements = st.tuples(st.just("settle"), st.sampled_from(FUTURES), prices)
splits = st.tuples(st.just("split"), st.integers(1, 12), st.integers(1, 12), st.integers(1, 9_000)).filter(
    lambda one: one[1] != one[2]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(fills, marks, flows, rates, settlements, splits), min_size=1, max_size=60))
def test_the_ledger_is_that_of_exact_fractions(happened):
    ledger, plain = Ledger(INSTRUMENTS, CAPITAL, "USD", RATES), PlainLedger(INSTRUMENTS, CAPITAL, "USD", RATES)
    for kind, *rest in happened:
        if kind == "fill":
            ledger.apply_fill(*rest)
            plain.fill(*rest)
        elif kind == "mark":
            ledger.mark(*rest)
            plain.marks[rest[0]] = rest[1]
        elif kind == "flow":
            ledger.move_cash(*rest)
            plain.flow(*rest)
        elif kind == "rate":
            ledger.set_rate(*rest)
            plain.rate(*rest)
        elif kind == "settle":
            before = ledger.equity_micros()
            ledger.settle(*rest)
            plain.settle(*rest)
            assert abs(ledger.equity_micros() - before) <= 1  # Two amounts of one currency are rounded apart.
            assert ledger.positions[rest[0]].cost_micros == plain.value(rest[0], rest[1], plain.lots[rest[0]])
        else:
            ledger.split(2, *rest)
            plain.split(2, *rest)
        assert ledger.cash_micros == plain.cash
        assert [one.lots for one in ledger.positions] == plain.lots
        assert [one.cost_micros for one in ledger.positions] == plain.cost
        assert [
            None if one.mark_ticks == UNDEFINED_PRICE else one.mark_ticks for one in ledger.positions
        ] == plain.marks
        assert ledger.equity_micros() == plain.equity()


@given(st.integers(-(2**40), 2**40), st.integers(1, 10**4))
def test_the_nearest_tick_is_that_of_round(numerator, denominator):
    assert nearest_ratio(numerator, denominator) == round(Fraction(numerator, denominator))


@st.composite
def told(draw):
    """An account event without its time; ids repeat."""
    number = str(draw(st.integers(0, 5)))
    said = {"source": "test", "why": "drawn"}
    kind = draw(st.sampled_from(("flow", "transfer", "rate", "settlement", "split")))
    if kind == "flow":
        other = draw(st.sampled_from([one for one in CashKind if one not in (CashKind.DEPOSIT, CashKind.WITHDRAWAL)]))
        amount = draw(st.integers(-(10**10), 10**10).filter(bool))
        return CashFlow(ts=0, id=number, kind=other, amount_micros=amount, currency=draw(currencies), **said)
    if kind == "transfer":
        amount = draw(st.integers(-(10**12), 10**12).filter(bool))
        way = CashKind.DEPOSIT if amount > 0 else CashKind.WITHDRAWAL
        return CashFlow(ts=0, id=number, kind=way, amount_micros=amount, currency=draw(currencies), **said)
    if kind == "rate":
        name, rate = draw(st.sampled_from(("CNY", "EUR", "JPY"))), draw(st.integers(1, 3_000_000))
        return ExchangeRate(ts=0, currency=name, rate_micros=rate, **said)
    if kind == "settlement":
        index, final = draw(st.integers(0, 2)), draw(st.integers(0, 3)) == 0
        name = INSTRUMENTS[index].id
        return Settlement(ts=0, instrument=name, price=draw(st.integers(900, 1_100)), final=final or index == 2, **said)
    into, of = draw(st.sampled_from(((2, 1), (1, 2), (3, 2), (1, 10), (5, 4))))
    return Split(
        ts=0, id=f"s{number}", instrument=SHARE.id, into=into, of=of, price=draw(st.integers(400, 2_000)), **said
    )


def fresh(seed):
    return build_engine(
        (Restless,),
        instruments=INSTRUMENTS,
        schedules=[ALL_DAY] * 3,
        seed=seed,
        account=AccountSettings(rates=RATES, capital_micros=CAPITAL),
        venue=VenueSettings(
            fees=ProportionalFee(maker_ppm=-20, taker_ppm=70),
            latency=LognormalLatency(median=30 * 10**9, sigma=1.5),
            slippage=RandomSlippage(),
        ),
    )


def take(engine, given):
    return list(engine.book(msgspec.structs.replace(given, ts=max(engine.now, START))))


def feed(engine, stream):
    """Records of ``stream``: rows and account events as they come."""
    made = []
    for one in stream:
        made += take(engine, one) if isinstance(one, msgspec.Struct) else list(engine.on_block(stack([one])))
    return made


def book_note(plain, record):
    """Let the plain ledger book what the record says came in."""
    note = note_of(record)
    if note.get("repeated"):
        return
    if record.cause is Cause.CASH:
        plain.flow(note["cash_flow"]["currency"], note["cash_flow"]["amount_micros"])
    elif record.cause is Cause.RATE:
        plain.rate(note["rate"]["currency"], note["rate"]["rate_micros"])
    elif record.cause is Cause.SPLIT:
        plain.split(2, note["split"]["into"], note["split"]["of"], note["split"]["price"])
    elif not note["settlement"]["final"]:
        index = [one.id for one in INSTRUMENTS].index(note["settlement"]["instrument"])
        plain.settle(index, note["settlement"]["price"])


BOOKED = (Cause.CASH, Cause.RATE, Cause.SPLIT, Cause.SETTLEMENT)
SLOW = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@st.composite
def streams(draw):
    """Bars with account events between them."""
    rows = draw(bars(instruments=3, min_size=12, max_size=36))
    stream = []
    for row in rows:
        stream.append(row)
        if draw(st.integers(0, 3)) == 0:
            stream.append(draw(told()))
    return stream


@SLOW
@given(streams(), st.integers(0, 2**20))
def test_the_engine_holds_the_equity_of_exact_fractions(stream, seed):
    engine, plain = fresh(seed), PlainLedger(INSTRUMENTS, CAPITAL, "USD", RATES)
    rows = [one for one in stream if not isinstance(one, msgspec.Struct)]
    walked, ended, seen = 0, {}, set()
    for record in [*feed(engine, stream), *engine.on_end(End(ts=engine.now))]:
        for row in rows[walked : record.position]:
            plain.marks[row["instrument"]] = int(row["close"])
        walked = record.position
        if record.cause in BOOKED:
            note = note_of(record)
            given_id = (note.get("cash_flow") or note.get("split") or {}).get("id")
            assert bool(note.get("repeated")) == (
                given_id in seen or (note.get("settlement") or {}).get("instrument") in ended
            )
            if given_id:
                seen.add(given_id)
            book_note(plain, record)
        for fill in record.fills:
            index = [one.id for one in INSTRUMENTS].index(fill.instrument)
            plain.fill(index, fill.signed_quantity, fill.price, fill.fee_micros)
        assert record.equity_micros == plain.equity()
        for order in record.orders:
            assert order.instrument not in ended
        if record.cause is Cause.SETTLEMENT and note["settlement"]["final"]:
            ended[note["settlement"]["instrument"]] = record.ts
        for name in ended:
            assert plain.lots[[one.id for one in INSTRUMENTS].index(name)] == 0
    assert [position.lots for position in engine.ledger.positions] == plain.lots
    assert engine.ledger.cash_micros == plain.cash


@SLOW
@given(streams(), st.integers(0, 60), st.integers(0, 2**20))
def test_a_run_with_account_events_goes_on_from_a_snapshot(stream, at, seed):
    whole = fresh(seed)
    expected = encoded([*feed(whole, stream), *whole.on_end(End(ts=whole.now))])
    first, second = fresh(seed), fresh(seed)
    begun = feed(first, stream[:at])
    data = save_engine(first)
    restore_engine(second, data)
    assert save_engine(second) == data
    assert encoded([*begun, *feed(second, stream[at:]), *second.on_end(End(ts=second.now))]) == expected


def test_an_input_engine_knows_every_account_event():
    """The names that the journal uses find their handler."""
    engine = InputEngine()
    engine.engine = fresh(1)
    said = {"ts": START, "source": "test", "why": "here"}
    given = (
        CashFlow(id="1", kind=CashKind.INTEREST, amount_micros=5, currency="USD", **said),
        ExchangeRate(currency="EUR", rate_micros=1_100_000, **said),
        Settlement(instrument=NQ.id, price=100, final=False, **said),
        Split(id="2", instrument=SHARE.id, into=2, of=1, price=50, **said),
    )
    causes = [record.cause for number, one in enumerate(given) for record in engine.on_input(number, one)]
    assert causes == [Cause.CASH, Cause.RATE, Cause.SETTLEMENT, Cause.SPLIT]
    with pytest.raises(ValueError, match="rate_micros 0"):
        ExchangeRate(currency="EUR", rate_micros=0, **said)
    with pytest.raises(ValueError, match="rate_micros -5"):
        ExchangeRate(currency="EUR", rate_micros=-5, **said)
