"""Accounts below one another in the engine: what each does alone it does among others, sums hold, and no limit above is ever passed."""

from itertools import chain

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine_runs import FREE, Restless, build_engine, encoded, open_risk, records_of
from grandmodel.domain.agents import Agent
from grandmodel.domain.blocks import Flag
from grandmodel.domain.decisions import PlaceOrder, TargetPosition
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import Advance, CashFlow, CashKind, Command, CommandKind, End, Settlement
from grandmodel.domain.moments import expanded
from grandmodel.domain.orders import Side
from grandmodel.risk.settings import AccountLimits, Thresholds
from grandmodel.runtime.settings import AccountSettings
from grandmodel.runtime.snapshot import restore_engine, save_engine
from grandmodel.simulation.models import (
    ConstantLatency,
    FillRuleName,
    FixedSlippage,
    LiquidityName,
    LognormalLatency,
    PerLotFee,
    ProportionalFee,
    RandomSlippage,
    VenueSettings,
)
from strategies import CL, MINUTE, NQ, bar_row, quote_row, stack, trade_row

SLOW = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
CAPITAL = 1_000_000 * 10**6
PAIR = (NQ, CL)
IN_EUR = msgspec.structs.replace(CL, id="EURO", currency="EUR")


class Deaf(Restless):
    """Hears no report: the compiled loop takes them all."""

    name = "deaf"
    on_reports = Agent.on_reports

    def on_bars(self, bars, account):
        return super().on_bars(bars, account) if self.generator.random() < 0.4 else ()


def market(seed: int, *, ticks: bool = False, marks: bool = True):
    """Two instruments: bars with a roll or a bad stretch now and then, or quotes and trades."""
    rng = np.random.default_rng(seed)
    rows, middle, seconds = [], [1_000, 1_000], 0
    for k in range(300 if ticks else 160):
        i = int(rng.integers(0, 2)) if ticks else k % 2
        middle[i] += int(rng.integers(-3, 4)) if ticks else int(rng.integers(-9, 10))
        m = middle[i]
        if not ticks:
            draw = rng.random()
            flags = int(Flag.ROLL) if draw < 0.02 else int(Flag.BAD_STRETCH) if draw < 0.03 else 0
            high, low = m + int(rng.integers(1, 9)), m - int(rng.integers(1, 9))
            rows.append(
                bar_row(5 * (k // 2), m, high, low, m + int(rng.integers(-1, 2)), instrument=i, sequence=k, flags=flags if marks else 0)
            )  # fmt: skip
            continue
        seconds += int(rng.integers(0, 40)) * 10**9
        if rng.random() < 0.6:
            sizes = int(rng.integers(1, 6)), int(rng.integers(1, 6))
            rows.append(quote_row(seconds, m - 1, m + 1, *sizes, instrument=i, sequence=k))
        else:
            rows.append(trade_row(seconds, m, int(rng.integers(1, 9)), instrument=i, sequence=k))
    return rows


def venue_of(seed: int) -> VenueSettings:
    slow = ConstantLatency(order=2 * 10**9, report=70 * 10**9)
    uneven = LognormalLatency(floor=0, median=60 * 10**9, sigma=1.0)
    return VenueSettings(
        fees=PerLotFee() if seed % 4 else ProportionalFee(maker_ppm=-20, taker_ppm=50),
        latency=(ConstantLatency(), slow, uneven)[seed % 3],
        slippage=(FixedSlippage(), RandomSlippage())[seed % 2],
        fill_rule=list(FillRuleName)[seed % 2],
        liquidity=list(LiquidityName)[(seed // 2) % 2],
    )


def held_to(*, lots=(6, 4), overall=9, width=5 * MINUTE, **breakers):
    """Tight limits on lots, and a ladder that moves."""
    risk = open_risk(width, **breakers)
    limits = msgspec.structs.replace(risk.limits, max_long_lots=lots[0], max_short_lots=lots[1])
    portfolio = msgspec.structs.replace(risk.portfolio, max_overall_lots=overall)
    return msgspec.structs.replace(risk, limits=limits, portfolio=portfolio)


def desk_of(names, capital=CAPITAL, **of_the_desk):
    """``names`` below a desk, with equal parts of the capital."""
    parts = [capital // len(names)] * len(names)
    parts[0] += capital - sum(parts)
    below = {name: AccountLimits(parent="desk", capital_micros=part) for name, part in zip(names, parts, strict=True)}
    return {"desk": AccountLimits(**of_the_desk), **below}


def nameless(record):
    """``record`` as a run of one account has it."""
    intents = tuple(msgspec.structs.replace(one, account="", above=()) for one in record.intents)
    orders = tuple(msgspec.structs.replace(one, account="") for one in record.orders)
    fills = tuple(msgspec.structs.replace(one, account="") for one in record.fills)
    alerts = tuple(msgspec.structs.replace(one, text=one.text.removeprefix("only: ")) for one in record.alerts)
    return msgspec.structs.replace(
        record, intents=intents, orders=orders, fills=fills, alerts=alerts, note=msgspec.UNSET
    )


@given(st.integers(0, 2**31 - 1), st.booleans(), st.booleans())
@SLOW
def test_the_only_account_below_the_runs_own_does_what_a_run_of_one_account_does(seed, ticks, tight) -> None:
    width = MINUTE if ticks else 5 * MINUTE
    risk = held_to(width=width) if tight else open_risk(width)
    given_both = {
        "instruments": PAIR,
        "venue": venue_of(seed),
        "seed": seed % 1_000,
        "risk": risk,
        "widths_ns": (width,),
    }
    rows = market(seed, ticks=ticks)
    alone = build_engine((Restless, Deaf), **given_both)
    below = build_engine(
        (Restless, Deaf),
        accounts={"only": AccountLimits(capital_micros=CAPITAL)},
        traders=("only", "only"),
        **given_both,
    )
    expected = records_of(alone, rows)
    found = records_of(below, rows)
    assert encoded(map(nameless, found)) == encoded(map(nameless, expected))
    assert below.ledger.cash_micros == alone.ledger.cash_micros


@given(st.integers(0, 2**31 - 1), st.integers(2, 4))
@SLOW
def test_accounts_that_meet_no_common_limit_do_what_each_does_alone(seed, count) -> None:
    """Orders of different accounts do not meet at this venue, nothing is drawn, nothing rests that another account's order could meet.

    Reports take no time: one session carries those of all accounts, and each waits for those before it.
    """
    venue = VenueSettings(
        fees=PerLotFee(), latency=ConstantLatency(order=10**9, report=0), liquidity=LiquidityName.UNLIMITED
    )
    names = [f"a{k}" for k in range(count)]
    rows = market(seed)
    common = {"instruments": PAIR, "venue": venue, "risk": held_to()}
    wide = open_risk()
    accounts = desk_of(names, limits=wide.limits, portfolio=wide.portfolio)
    tight = held_to()
    accounts = {
        name: one if name == "desk" else msgspec.structs.replace(one, limits=tight.limits, portfolio=tight.portfolio)
        for name, one in accounts.items()
    }
    many = build_engine(
        [script_of(seed + k) for k in range(count)], accounts=accounts, traders=names, **common | {"risk": wide}
    )
    records = records_of(many, rows)
    for k, name in enumerate(names):
        capital = accounts[name].capital_micros
        one = build_engine(
            [script_of(seed + k)],
            account=msgspec.structs.replace(many.settings.account, capital_micros=capital),
            **common,
        )
        alone = records_of(one, rows)
        assert done(records, name) == done(alone, "")
        trader = next(trader for trader in many.books.accounts if trader.name == name)
        assert trader.equity_micros == one.equity_micros
        assert trader.ledger.cash_micros == one.ledger.cash_micros
    assert many.equity_micros == sum(trader.equity_micros for trader in many.books.accounts)


def script_of(seed: int):
    """Positions with stops, drawn from a generator of its own, whatever the run's seed and its place among the agents."""

    class Own(Agent):
        name = "own"

        def __init__(self, instruments, generator):  # noqa: ARG002
            super().__init__(instruments, np.random.default_rng(seed))

        def on_bars(self, bars, account):  # noqa: ARG002
            draw = self.generator
            return [
                TargetPosition(
                    instrument=bar.instrument, lots=int(draw.integers(-8, 9)), stop_ticks=int(draw.integers(0, 9))
                )
                for bar in bars
                if draw.random() < 0.5
            ]

    return Own


def done(records, name):
    """What one account was filled, in order."""
    return [
        (fill.instrument, int(fill.side), fill.quantity, fill.price, fill.fee_micros, fill.ts_event, fill.tag)
        for record in records
        for fill in record.fills
        if fill.account == name
    ]


class Reckoning:
    """Positions and open orders by account, from the records alone."""

    def __init__(self, names) -> None:
        self.lots = {name: dict.fromkeys((one.id for one in PAIR), 0) for name in names}

    def take(self, record) -> None:
        for fill in record.fills:
            self.lots[fill.account][fill.instrument] += fill.signed_quantity

    def of(self, names, instrument):
        return sum(self.lots[name][instrument] for name in names)


@given(st.integers(0, 2**31 - 1), st.booleans())
@SLOW
def test_no_limit_of_any_account_is_passed_and_every_sum_is_right(seed, ticks) -> None:
    width = MINUTE if ticks else 5 * MINUTE
    names = ["trend", "carry", "value"]
    own = held_to(lots=(9, 7), overall=16, width=width)
    on_the_desk = held_to(lots=(5, 3), overall=8, width=width)
    accounts = {
        "desk": AccountLimits(limits=on_the_desk.limits, portfolio=on_the_desk.portfolio),
        "trend": AccountLimits(parent="desk", capital_micros=CAPITAL // 2),
        "carry": AccountLimits(parent="desk", capital_micros=CAPITAL // 4, limits=held_to(lots=(2, 2)).limits),
        "value": AccountLimits(capital_micros=CAPITAL // 4),
    }
    engine = build_engine(
        (Restless, Deaf, Restless), instruments=PAIR, accounts=accounts, traders=names, risk=own, venue=venue_of(seed),
        seed=seed % 1_000, widths_ns=(width,),
    )  # fmt: skip
    rows, reckoning = market(seed, ticks=ticks, marks=False), Reckoning(names)
    spans = {"": (names, own), "desk": (["trend", "carry"], on_the_desk), "carry": (["carry"], held_to(lots=(2, 2)))}
    for record in engine.on_block(stack(rows)):
        reckoning.take(record)
        books = engine.books
        worth = {gate.name: engine.market.equity_of(gate.n) for gate in books.by_row}
        assert worth["desk"] == worth["trend"] + worth["carry"]
        assert worth[""] == record.equity_micros == worth["desk"] + worth["value"]
        for name, (below, risk) in spans.items():
            for one in PAIR:
                lots = reckoning.of(below, one.id)
                assert -risk.limits.max_short_lots <= lots <= risk.limits.max_long_lots, (name, one.id)
            overall = sum(abs(reckoning.of(below, one.id)) for one in PAIR)
            assert overall <= risk.portfolio.max_overall_lots
    engine.books.check_equity()
    for trader in engine.books.accounts:
        assert {one.id: trader.lots(one.id) for one in PAIR} == reckoning.lots[trader.name]
        for i, one in enumerate(PAIR):
            row = engine.market.instruments[trader.n * len(PAIR) + i]
            assert row["position"] == trader.lots(one.id)
    for i, one in enumerate(PAIR):
        assert engine.market.instruments[i]["position"] == reckoning.of(names, one.id) == engine.books.lots(one.id)


def tree_run(seed, *, ticks=False, most=1, agents=(Deaf, Deaf, Deaf), risk=None):
    width = MINUTE if ticks else 5 * MINUTE
    tight = risk or held_to(width=width, drawdown=Thresholds(caution=0.0005, reduce=0.001, halt=0.002))
    return build_engine(
        agents, instruments=(NQ, IN_EUR), accounts=desk_of(["a", "b", "c"], CAPITAL), traders=("a", "b", "c"), venue=venue_of(seed),
        seed=seed % 1_000, widths_ns=(width,), quiet_moments=most, risk=tight, account=account_in_euro(),
    )  # fmt: skip


def account_in_euro():
    return AccountSettings(capital_micros=CAPITAL, rates={"EUR": 1_083_331})


@given(st.integers(0, 2**31 - 1), st.booleans())
@SLOW
def test_moments_that_share_a_record_say_the_same(seed, ticks) -> None:
    rows = market(seed, ticks=ticks)
    each = records_of(tree_run(seed, ticks=ticks), rows)
    shared = records_of(tree_run(seed, ticks=ticks, most=64), rows)
    assert [bare(one) for one in expanded(shared)] == [bare(one) for one in each]


def bare(record):
    """A record without its number, which says how moments share records."""
    return encoded([msgspec.structs.replace(record, number=0)])


@given(st.integers(0, 2**31 - 1), st.integers(1, 159))
@SLOW
def test_a_run_goes_on_from_a_snapshot_as_it_would_have_without(seed, cut) -> None:
    rows = stack(market(seed))
    whole = tree_run(seed, most=16)
    expected = list(whole.on_block(rows[:cut]))
    saved = save_engine(whole)
    expected_after = [*whole.on_block(rows[cut:]), *whole.on_end(End(ts=whole.now))]
    again = tree_run(seed, most=16)
    restore_engine(again, saved)
    found = [*again.on_block(rows[cut:]), *again.on_end(End(ts=again.now))]
    assert encoded(found) == encoded(expected_after)
    assert expected or cut < 160


@pytest.mark.parametrize("seed", range(6))
def test_what_happens_to_accounts_without_orders_is_booked_in_each(seed) -> None:
    """Cash in one, a settlement in all, and a person who closes one desk: the books agree after each."""
    rows, free = stack(market(seed, marks=False)), FREE
    engine = build_engine(
        (Restless, Restless, Restless), instruments=PAIR, accounts={**desk_of(["a", "b"], CAPITAL // 2), "c": AccountLimits(capital_micros=CAPITAL // 2)},
        traders=("a", "b", "c"), venue=free, seed=seed,
    )  # fmt: skip
    list(chain(engine.on_block(rows[:80]), engine.on_advance(Advance(ts=int(rows[79]["ts_init"]) + 1))))
    books, now = engine.books, engine.now
    flow = CashFlow(
        ts=now, id="1", kind=CashKind.WITHDRAWAL, amount_micros=-(10**9), currency="USD", source="s", why="w", account="b"
    )  # fmt: skip
    before = {trader.name: trader.equity_micros for trader in books.accounts}
    capital = {name: gate.capital_micros for name, gate in books.gates.items()}
    list(engine.book(flow))
    after = {trader.name: trader.equity_micros for trader in books.accounts}
    assert after == before | {"b": before["b"] - 10**9}
    assert books.gates["b"].capital_micros < capital["b"]
    assert books.gates["desk"].capital_micros < capital["desk"]
    assert books.gates["c"].capital_micros == capital["c"]
    price = int(engine.market.instruments[0]["mark"])
    list(engine.book(Settlement(ts=now, instrument=NQ.id, price=price, final=False, source="s", why="w")))
    assert {trader.name: trader.equity_micros for trader in books.accounts} == after
    said = Command(kind=CommandKind.FLATTEN, ts=now, who="ann/risk_officer", why="drill", account="desk")
    records = [*engine.on_command(said), *engine.on_block(rows[80:])]
    books.check_equity()
    held = {trader.name: [trader.lots(one.id) for one in PAIR] for trader in books.accounts}
    assert held["a"] == held["b"] == [0, 0]
    assert any(fill.account == "c" for record in records for fill in record.fills)
    assert not books.gates["desk"].standing.flattening
    list(chain(engine.on_advance(Advance(ts=engine.now + MINUTE)), engine.on_end(End(ts=engine.now + MINUTE))))


def test_a_limit_of_the_desk_that_is_broken_in_spite_of_every_check_stops_the_desk() -> None:
    engine = tree_run(3, risk=open_risk())
    row = engine.books.by_row.index(engine.books.gates["desk"])
    engine.books.limits.tops[row] = 1
    records = records_of(engine, market(3, marks=False))
    said = [alert.text for record in records for alert in record.alerts if alert.code == "limit_broken"]
    assert said
    assert all(text.startswith("desk: ") for text in said)
    assert engine.books.gates["desk"].state.name == "HALT"
    assert engine.books.gates[""].state.name == "NORMAL"
    assert [trader.lots(NQ.id) for trader in engine.books.accounts] == [0, 0, 0]


def test_the_lots_of_one_account_close_only_what_is_its_own() -> None:
    """``a`` is long and ``b`` short: a reduce-only order of each closes its own, though the run holds nothing."""

    def script(lots):
        def wishes(call, bars, account):
            if call == 4:
                return [TargetPosition(instrument=NQ.id, lots=lots)]
            if call == 6:
                side = Side.SELL if lots > 0 else Side.BUY
                return [PlaceOrder(instrument=NQ.id, side=side, quantity=9, reduce_only=True)]
            return ()

        return wishes

    engine = build_engine((script(3), script(-3)), accounts=desk_of(["a", "b"]), traders=("a", "b"))
    rows = [bar_row(5 * k, 1_000, 1_009, 991, 1_000 + k % 3, sequence=k) for k in range(9)]
    records = records_of(engine, rows)
    filled = [(fill.account, fill.signed_quantity) for record in records for fill in record.fills]
    assert filled == [("a", 3), ("b", -3), ("a", -3), ("b", 3)]
    assert engine.books.lots(NQ.id) == 0


def test_names_that_are_none_are_refused() -> None:
    with pytest.raises(UsageError, match=r"agents\.0\.account: found none, expected one of a, b"):
        build_engine((Deaf,), accounts=desk_of(["a", "b"]), traders=("",))
    with pytest.raises(UsageError, match=r"agents\.0\.account: found x, expected none"):
        build_engine((Deaf,), traders=("x",))
    engine = tree_run(1)
    command = Command(kind=CommandKind.PAUSE, ts=0, who="ann/trader", why="w", account="x")
    with pytest.raises(UsageError, match="found account x, expected one of"):
        engine.gate_of(command)
    with pytest.raises(UsageError, match="the agents stop all at once"):
        engine.gate_of(msgspec.structs.replace(command, kind=CommandKind.STOP, account="a"))


@given(st.integers(0, 2**31 - 1))
@SLOW
def test_what_a_person_says_of_one_account_holds_for_all_below_it_and_for_no_other(seed) -> None:
    rng = np.random.default_rng(seed)
    engine = build_engine(
        (Restless,) * 3, instruments=PAIR, accounts={**desk_of(["a", "b"], CAPITAL // 2), "c": AccountLimits(capital_micros=CAPITAL // 2)},
        traders=("a", "b", "c"), seed=seed % 1_000, venue=venue_of(seed),
    )  # fmt: skip
    rows, below = stack(market(seed, marks=False)), {"": "abc", "desk": "ab", "a": "a", "b": "b", "c": "c"}
    killed, paused, sent = set(), set(), set()
    for start in range(0, 160, 20):
        for record in engine.on_block(rows[start : start + 20]):
            for order in record.orders:
                assert order.account not in killed
                sent.add(order.account)
                if order.account in paused:
                    assert order.tag != "entry" or order.reduce_only or _only_reduces(engine, order)
        if rng.random() < 0.4:
            name = list(below)[int(rng.integers(0, 5))]
            kind = (CommandKind.PAUSE, CommandKind.FLATTEN, CommandKind.KILL)[int(rng.integers(0, 3))]
            list(
                engine.on_command(Command(kind=kind, ts=engine.now, who="ann/risk_officer", why="drill", account=name))
            )
            (killed if kind is CommandKind.KILL else paused).update(below[name])
            stopped = paused | killed
            for trader in engine.books.accounts:
                assert (trader.gate.size_scale == 0.0) == (trader.name in stopped)
    engine.books.check_equity()
    assert sent


def _only_reduces(engine, order) -> bool:
    """True where an order is on the closing side of what its account holds."""
    trader = next(one for one in engine.books.accounts if one.name == order.account)
    held = trader.lots(order.instrument)
    return held != 0 and (held > 0) != (int(order.side) > 0)
