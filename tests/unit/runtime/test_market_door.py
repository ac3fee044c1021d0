"""Rows that no market makes, at the engine's door: counted, told of, not traded on, and none of them stops the clock."""

import msgspec
import numpy as np
import pytest

from engine_runs import Scripted, build_engine, encoded, fills_of, note_of, open_risk, records_of, run
from grandmodel.data.market.soundness import LAST_STAMP_NS
from grandmodel.domain.blocks import BOOK, UNDEFINED_PRICE, Action, BookSide, Flag
from grandmodel.domain.decisions import PlaceOrder, TargetPosition
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import Advance, Cause
from grandmodel.domain.orders import OrderType, Side
from grandmodel.journal.format import JournalReader
from grandmodel.risk.breakers import BreakerState
from grandmodel.risk.settings import Thresholds
from grandmodel.runtime.market_step import Stop
from grandmodel.runtime.session import Session
from grandmodel.runtime.settings import AgentSettings, Mode, RunSettings
from strategies import ALL_DAY, CL, MINUTE, NQ, START, bar_row, quote_row, stack, tick_row, trade_row

SECOND = 10**9


def trades(count, price=1_000, **more):
    return [trade_row(k * SECOND, price, sequence=k, **more) for k in range(count)]


def changed(rows, place, **values):
    for name, value in values.items():
        rows[place][name] = value
    return rows


def bad_rows(engine, instrument=0):
    return int(engine.market.instruments[instrument]["bad_rows"])


MINUTES = {"widths_ns": (MINUTE,), "risk": open_risk(MINUTE)}
FIVE = {"widths_ns": (5 * MINUTE,)}


def at(call, *wishes):
    def script(number, bars, account):
        return wishes if number == call else ()

    return script


BUYS = at(3, TargetPosition(instrument=NQ.id, lots=1))


@pytest.mark.parametrize("stamp", [2**63 - 1, 2**63 - 2, -(2**63), -1, LAST_STAMP_NS + 1])
@pytest.mark.parametrize("kind", ["trade", "bar", "book"])
def test_a_row_with_a_stamp_that_cannot_be_neither_hangs_nor_moves_time(stamp, kind):
    """A row stamped 2^63 - 1 once ran for ever: nothing was due, and that is what it asked for."""
    if kind == "trade":
        rows = trades(6)
    elif kind == "bar":
        rows = [bar_row(5 * k, 1_000, 1_001, 999, 1_000, sequence=k) for k in range(6)]
    else:
        rows = [book_row(k, Action.TRADE, 1_000, 1) for k in range(6)]
    expected = int(rows[-1]["ts_init"])
    engine = build_engine()
    records = records_of(engine, changed(rows, 2, ts_init=stamp))
    assert bad_rows(engine) == 1
    assert records[-1].ts == expected
    assert "a stamp that cannot be" in next(one for record in records for one in record.alerts).text


def test_to_let_time_pass_to_the_end_of_all_time_ends():
    engine = build_engine()
    records_of(engine, trades(3))
    while engine.market.advance(2**63 - 1) is Stop.BARS:
        pass
    assert engine.market.advance(2**63 - 1) is Stop.END


def test_a_time_that_no_clock_shows_is_refused():
    engine = build_engine()
    with pytest.raises(UsageError, match="expected one before 2100"):
        list(engine.on_advance(Advance(ts=2**63 - 1)))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"price": 0}, "cannot have"),
        ({"price": -5}, "cannot have"),
        ({"price": UNDEFINED_PRICE}, "cannot have"),
        ({"price": 2**41}, "cannot have"),
        ({"price": 100_000}, "100 times away"),
        ({"price": 10}, "100 times away"),
        ({"size": -1}, "size"),
        ({"bid_price": 0}, "cannot have"),
        ({"ask_size": -2}, "size"),
    ],
)
def test_a_trade_that_cannot_be_makes_no_mark_no_bar_and_no_fill(values, why):
    rows = trades(400)
    sound, engine = run(rows, BUYS, **MINUTES)
    records, spoilt = run(changed(trades(401), 350, **values), BUYS, **MINUTES)
    assert fills_of(records) == fills_of(sound) != []
    assert spoilt.equity_micros == engine.equity_micros
    assert {bar.low for record in records for bar in record.bars} == {1_000}
    assert {bar.high for record in records for bar in record.bars} == {1_000}
    assert note_of(records[-1])["quality"]["NQ"]["bad_rows"] == 1
    assert "bad_rows" not in note_of(sound[-1])["quality"]["NQ"]
    (record,) = [record for record in records if record.cause is Cause.QUALITY]
    (alert,) = record.alerts
    assert (alert.code, alert.severity, alert.value) == ("bad_rows", "high", 1)
    assert why in alert.text
    assert record.ts == START + 350 * SECOND


@pytest.mark.parametrize(
    "values",
    [
        {"high": 999},
        {"low": 1_001},
        {"close": 1_004},
        {"low": 0},
        {"open": -7},
        {"high": 100_000},
        {"volume": -2},
        {"ts_open": START + 60 * 5 * MINUTE},
    ],
)
def test_a_bar_that_cannot_be_makes_no_mark_no_bar_and_no_fill(values):
    rows = [bar_row(5 * k, 1_000, 1_002, 998, 1_000, sequence=k) for k in range(12)]
    stop = PlaceOrder(instrument=NQ.id, side=Side.BUY, quantity=1, order_type=OrderType.STOP, stop_price=1_003)
    records, engine = run(changed(rows, 6, **values), at(3, stop), **FIVE)
    assert bad_rows(engine) == 1
    assert fills_of(records) == []
    closed = [bar for record in records for bar in record.bars]
    assert len(closed) == 11
    assert {(bar.open, bar.high, bar.low, bar.close) for bar in closed} == {(1_000, 1_002, 998, 1_000)}


def test_oil_may_settle_below_zero():
    """CL settled at -37.63 on 2020-04-20."""
    prices = [1_020, 400, 1, -1_500, -3_763, -1_300, 10, 110]
    rows = [bar_row(5 * k, p, p + 2, p - 2, p, sequence=k, instrument=0) for k, p in enumerate(prices)]
    records, engine = run(rows, instruments=(CL,), **FIVE)
    assert bad_rows(engine) == 0
    assert [bar.close for record in records for bar in record.bars] == prices


def test_a_quote_that_cannot_be_leaves_the_book_as_it_was():
    rows = [quote_row(k * SECOND, 999, 1_001, sequence=k) for k in range(4)]
    rows.append(quote_row(5 * SECOND, 0, 1_001, sequence=5))
    rows.append(quote_row(6 * SECOND, 150_000, 150_002, sequence=6))
    _, engine = run(rows, mark_on_quotes=True)
    market = engine.market.instruments[0]
    assert (market["bid"], market["ask"], market["mark"], market["bad_rows"]) == (999, 1_001, 1_000, 2)


def test_a_crossed_quote_moves_nothing_though_its_source_did_not_say_so():
    rows = [quote_row(k * SECOND, 999, 1_001, sequence=k) for k in range(4)]
    rows.append(quote_row(5 * SECOND, 1_005, 1_001, sequence=5))
    rows.append(tick_row(6 * SECOND, Action.TRADE, price=1_002, size=1, bid=1_005, ask=1_001, sequence=6))
    _, engine = run(rows)
    market = engine.market.instruments[0]
    assert (market["bid"], market["ask"], market["crossed"], market["last"]) == (999, 1_001, 1, 1_002)


def test_a_flood_of_bad_rows_makes_few_records_and_halts():
    rows = trades(1)
    rows += [trade_row(k * 1_000, 0, sequence=k) for k in range(1, 1_001)]
    records, engine = run(
        rows, widths_ns=(MINUTE,), risk=open_risk(MINUTE, data_quality=Thresholds(caution=5.0, halt=50.0))
    )
    told = [record for record in records if record.cause is Cause.QUALITY]
    assert [record.alerts[0].value for record in told] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert engine.gate.state is BreakerState.HALT
    moved = [alert.text for record in told for alert in record.alerts[1:]]
    assert [text.rpartition(" by ")[0] for text in moved[:2]] == ["normal to caution", "caution to halt"]


def test_the_count_of_bad_rows_starts_anew_after_its_window():
    window = open_risk().breakers.event_window_ns
    rows = trades(1) + [trade_row(k * window, 0, sequence=k) for k in range(1, 6)]
    records, _ = run(rows)
    assert [one.value for record in records for one in record.alerts] == [1, 1, 1, 1, 1]


def test_a_roll_on_a_row_that_cannot_be_leaves_at_the_last_good_price():
    rows = trades(400)
    changed(rows, 350, price=-9, flags=int(Flag.ROLL))
    for k in range(351, 400):
        rows[k]["price"] = 2_000
    records, engine = run(rows, BUYS, **MINUTES)
    assert fills_of(records)[-1] == (-1, 1, 1_000, "bad_stretch")
    assert engine.books.lots(NQ.id) == 0
    # The new contract begins with the next row: no return is made across the step.
    flagged = [bar for record in records for bar in record.bars if bar.flags & Flag.ROLL]
    assert len(flagged) == 1
    assert engine.market.instruments[0]["rolls"] == 1


def test_a_new_contract_may_stand_a_hundred_times_higher():
    rows = trades(20)
    for k in range(10, 20):
        rows[k]["price"] = 200_000
    _, plain = run(rows)
    assert bad_rows(plain) == 10
    _, rolled = run(changed(rows, 10, flags=int(Flag.ROLL)))
    assert bad_rows(rolled) == 0
    assert rolled.books.mark(NQ.id) == 200_000


def book_row(number, action, price, size, side=BookSide.BID, order=1):
    row = np.zeros(1, BOOK)[0]
    row["ts_event"] = row["ts_init"] = START + number * SECOND
    row["sequence"], row["action"], row["side"], row["flags"] = number, action, side, 1
    row["order_id"], row["price"], row["size"] = order, price, size
    return row


def test_book_events_that_cannot_be_do_not_reach_the_book():
    rows = [
        book_row(1, Action.ADD, 1_000, 5, BookSide.BID, 1),
        book_row(2, Action.ADD, 1_002, 5, BookSide.ASK, 2),
        book_row(3, Action.TRADE, 1_001, 1),
        book_row(4, Action.ADD, 0, 5, BookSide.BID, 3),
        book_row(5, Action.ADD, 2**41, 5, BookSide.ASK, 4),
        book_row(6, Action.ADD, 1_001, -5, BookSide.BID, 5),
        book_row(7, Action.MODIFY, -3, 5, BookSide.BID, 1),
        book_row(8, Action.CANCEL, 1_000, -5, BookSide.BID, 1),
        book_row(9, Action.TRADE, 500_000, 1),
    ]
    _, engine = run(rows)
    market = engine.market.instruments[0]
    assert (market["bid"], market["bid_size"], market["ask"], market["mark"]) == (1_000, 5, 1_002, 1_001)
    assert bad_rows(engine) == 6


def test_a_resting_order_far_beyond_the_window_leaves_the_book_whole():
    """Its level once wrapped in 32 bits, and its cancel took lots from another level."""
    far = 1_000 + 2**32
    rows = [
        book_row(1, Action.ADD, 1_000, 5, BookSide.BID, 1),
        book_row(2, Action.ADD, far, 5, BookSide.BID, 2),
        book_row(3, Action.CANCEL, far, 5, BookSide.BID, 2),
    ]
    _, engine = run(rows)
    assert engine.market.instruments[0]["bid_size"] == 5


def test_a_block_of_unknown_instruments_is_refused_before_it_is_journalled(tmp_path):
    settings = RunSettings(mode=Mode.BACKTEST, agents=(AgentSettings(kind="random"),), risk=open_risk())
    with Session.start(
        tmp_path / "run", settings, (NQ,), (ALL_DAY,), data="made by a test", clock_ns=lambda: 0
    ) as session:
        with pytest.raises(UsageError, match="found instrument number 7 in a block"):
            session.feed([stack(changed(trades(3), 1, instrument=7))])
        session.feed([stack(trades(3))])
        session.end()
    with JournalReader.open(tmp_path / "run") as reader:
        assert [type(given).__name__ for _, given in reader.inputs()] == ["Begin", "MarketData", "End"]


def test_an_agent_is_not_asked_about_rows_that_were_refused():
    rows = changed(trades(3), 1, price=0)
    engine = build_engine([at(0)])
    records = records_of(engine, rows)
    assert isinstance(engine.asking.agents[0], Scripted)
    assert engine.asking.agents[0].calls == sum(record.cause is Cause.BAR for record in records)
    assert all(msgspec.json.decode(body) for body in encoded(records))
