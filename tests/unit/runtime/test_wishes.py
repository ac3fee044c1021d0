"""What an agent returns, raises, keeps and reaches: the door refuses what the record could not hold, and names who, where and what."""

import msgspec
import numpy as np
import pytest

from engine_runs import Scripted, build_engine, encoded, open_risk, records_of, run
from grandmodel.domain.agents import Agent
from grandmodel.domain.decisions import (
    Belief,
    CancelIntent,
    NoDecision,
    PlaceOrder,
    ReplaceIntent,
    StrategicDecision,
    TargetPosition,
)
from grandmodel.domain.errors import InvariantError, UsageError
from grandmodel.domain.learnt import LearntFrom
from grandmodel.domain.ledger import Ledger
from grandmodel.domain.orders import OrderType, Side
from grandmodel.execution.order_life import OrderLives
from grandmodel.journal.format import decode_record
from grandmodel.risk.gate import RiskGate
from grandmodel.risk.settings import InstrumentLimits
from grandmodel.runtime.agents import OwnAgents, build_agent
from grandmodel.runtime.engine import Engine
from grandmodel.runtime.errors import AgentChoiceError, AgentError, WishError
from grandmodel.runtime.feature_book import FeatureBook
from grandmodel.runtime.market_step import MarketStep
from grandmodel.runtime.wishes import MAX_WISHES, admitted
from strategies import NQ, bar_row

DECISION = StrategicDecision(
    instrument=NQ.id, ts=0, belief=Belief(bullish=0.2, neutral=0.3, bearish=0.5), weights=(1.0,), agents=("one",),
    purity=1.0, entropy=0.0, expected_entropy=0.1, mutual_information=0.0, target_exposure=0.5,
)  # fmt: skip
TEXT = "a\ud800"


def flat_bars(count):
    return [bar_row(5 * k, 1_000, 1_002, 998, 1_000, sequence=k) for k in range(count)]


def asks(*wishes):
    def script(number, bars, account):
        return wishes if number == 2 else ()

    return script


def place(**changes):
    return PlaceOrder(**({"instrument": NQ.id, "side": Side.BUY, "quantity": 1} | changes))


def target(**changes):
    return TargetPosition(**({"instrument": NQ.id, "lots": 1} | changes))


def decides(**changes):
    return msgspec.structs.replace(DECISION, **changes)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (place(side=5), r"PlaceOrder.side: found 5 \(int\), expected one of Side.BUY, Side.SELL"),
        (place(side=2), r"PlaceOrder.side: found 2 \(int\)"),
        (place(side=1), r"PlaceOrder.side: found 1 \(int\), expected one of Side.BUY"),
        (place(side=True), r"PlaceOrder.side: found True \(bool\)"),
        (place(side="buy"), r"PlaceOrder.side: found 'buy'"),
        (place(quantity=0), r"PlaceOrder.quantity: found 0 \(int\), expected int >= 1"),
        (place(quantity=-3), r"PlaceOrder.quantity: found -3"),
        (place(quantity=1.0), r"PlaceOrder.quantity: found 1.0 \(float\), expected int"),
        (place(quantity=True), r"PlaceOrder.quantity: found True \(bool\), expected int"),
        (place(quantity=2**31), r"PlaceOrder.quantity: found 2147483648 \(int\), expected int <= 2147483647"),
        (place(quantity=np.int64(1)), r"PlaceOrder.quantity: found np.int64\(1\) \(int64\), expected int"),
        (place(order_type=9), r"PlaceOrder.order_type: found 9 \(int\), expected one of OrderType.MARKET"),
        (place(order_type=OrderType.LIMIT, price=1e3), r"PlaceOrder.price: found 1000.0 \(float\), expected int or None"),
        (place(order_type=OrderType.LIMIT, price=2**41), r"PlaceOrder.price: found 2199023255552"),
        (place(expire_ts=2**63), r"PlaceOrder.expire_ts: found 9223372036854775808"),
        (place(oco_group=-1), r"PlaceOrder.oco_group: found -1"),
        (place(instrument=7), r"PlaceOrder.instrument: found 7 \(int\), expected str"),
        (place(instrument="ZZ"), r"PlaceOrder.instrument: found instrument 'ZZ', expected one of NQ"),
        (place(reasons=["a"]), r"PlaceOrder.reasons: found \['a'\] \(list\), expected tuple\[str, ...\]"),
        (place(reasons="abc"), r"PlaceOrder.reasons: found 'abc' \(str\), expected array"),
        (place(reasons=(b"a",)), r"PlaceOrder.reasons: found \(b'a',\) \(tuple\), expected tuple\[str, ...\]"),
        (place(reasons=(TEXT,)), r"PlaceOrder.reasons: found .*, expected tuple\[str, ...\] that can be written"),
        (place(reasons=("x" * 70_000,)), r"PlaceOrder: found 7\d+ bytes, expected at most 65536"),
        (place(bracket_stop=object()), r"PlaceOrder.bracket_stop: found <object object"),
        (target(lots=0.5), r"TargetPosition.lots: found 0.5 \(float\), expected int"),
        (target(lots=float("nan")), r"TargetPosition.lots: found nan"),
        (target(lots="1"), r"TargetPosition.lots: found '1'"),
        (target(lots=None), r"TargetPosition.lots: found None"),
        (target(lots=2**40), r"TargetPosition.lots: found 1099511627776"),
        (target(stop_ticks=-4), r"TargetPosition.stop_ticks: found -4"),
        (target(urgency="now"), r"TargetPosition.urgency: found 'now' \(str\), expected one of Urgency.WAIT"),
        (target(urgency="passive"), r"TargetPosition.urgency: found 'passive' \(str\)"),
        (CancelIntent(instrument=NQ.id, order_id=-1), r"CancelIntent.order_id: found -1"),
        (ReplaceIntent(instrument=NQ.id, order_id=1, quantity=0), r"ReplaceIntent.quantity: found 0"),
        (decides(purity=float("nan")), r"StrategicDecision.purity: found nan \(float\), expected float"),
        (decides(interval=(0.0, float("inf"))), r"StrategicDecision.interval: found \(0.0, inf\).* expected float at \[1\]"),
        (decides(belief=Belief(bullish=True, neutral=0.0, bearish=0.0)), r"StrategicDecision.belief: .* at .bullish"),
        (decides(ts=2**63), r"StrategicDecision.ts: found 9223372036854775808"),
        (decides(instrument="ZZ"), r"StrategicDecision.instrument: found instrument 'ZZ'"),
        (NoDecision(instrument=NQ.id, ts=0, layer=3, reasons=()), r"NoDecision.layer: found 3"),
        ("buy", r"found 'buy' \(str\), expected one of TargetPosition, PlaceOrder"),
        (TargetPosition, r"found <class .*, expected one of TargetPosition"),
    ],
)  # fmt: skip
def test_a_wish_that_is_not_valid_names_agent_file_line_field_and_value(wish, message):
    line = Scripted.on_bars.__code__.co_firstlineno
    found = rf"agent scripted \(on_bars, .*engine_runs.py:{line}\) at 2022-01-08T00:10.*: {message}"
    with pytest.raises(AgentError, match=found):
        run(flat_bars(4), asks(wish), risk=open_risk())


def test_a_wrong_side_does_not_trade_beyond_a_limit():
    """Side 5 once bought fifteen lots where five were allowed, and side 2, FIX's own SELL, bought."""
    limits = msgspec.structs.replace(open_risk(), limits=InstrumentLimits(max_long_lots=5))
    engine = build_engine([asks(place(side=5, quantity=3))], risk=limits)
    with pytest.raises(AgentError):
        records_of(engine, flat_bars(4))
    assert engine.ledger.positions[0].lots == 0
    assert engine.lives.open == {}


def test_one_wish_that_is_not_valid_stops_all_of_the_answer():
    engine = build_engine([asks(target(lots=1), target(lots=0.5))])
    with pytest.raises(AgentError):
        records_of(engine, flat_bars(4))
    assert not engine.lives.open


class Stolen(TargetPosition, tag="stolen"):
    """A wish of an agent's own kind, which no reader knows."""


def test_a_kind_of_ones_own_is_no_wish():
    with pytest.raises(WishError, match="expected one of TargetPosition"):
        admitted(Stolen(instrument=NQ.id, lots=1))


@pytest.mark.parametrize(
    "wish",
    [
        target(),
        place(order_type=OrderType.STOP_LIMIT, price=5, stop_price=4, oco_group=3, reasons=("a", "é")),
        CancelIntent(instrument=NQ.id),
        ReplaceIntent(instrument=NQ.id, order_id=3, quantity=4, price=-5),
        DECISION,
        NoDecision(instrument=NQ.id, ts=-(2**63), layer="strategic", reasons=("warm_up",)),
    ],
)
def test_a_valid_wish_comes_back_equal_and_its_own(wish):
    assert admitted(wish) == wish
    assert admitted(wish) is not wish


def test_a_whole_number_may_stand_for_a_float():
    read = admitted(decides(purity=1, weights=(1,)))
    assert type(read.purity) is float
    assert type(read.weights[0]) is float


@pytest.mark.parametrize("answer", [None, 3, "wishes", {1: 2}, iter(()), (k for k in ())])
def test_an_answer_that_is_no_list_is_named(answer):
    class Odd(Agent):
        name = "odd"

        def on_bars(self, bars, account):  # noqa: ARG002
            return answer

    with pytest.raises(AgentError, match=r"agent odd \(on_bars, .*returned, expected a list or tuple of wishes"):
        run(flat_bars(3), Odd)


def test_an_answer_without_end_is_refused():
    with pytest.raises(AgentError, match=f"expected at most {MAX_WISHES} at a time"):
        run(flat_bars(3), asks(*[target()] * (MAX_WISHES + 1)))


class UnprintableError(Exception):
    """An error that cannot even be shown."""

    def __repr__(self):
        raise SystemExit(0)


@pytest.mark.parametrize(
    "raised",
    [
        SystemExit(0), SystemExit(), GeneratorExit(), BaseException("x"), RecursionError("deep"), MemoryError(),
        UsageError("mine"), ZeroDivisionError("x"), UnprintableError(), StopIteration(),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["on_bars", "on_reports"])
def test_whatever_an_agent_raises_is_named_and_ends_the_run_as_failed(raised, method):
    class Raising(Agent):
        name = "raising"

        def on_bars(self, bars, account):  # noqa: ARG002
            if method == "on_bars":
                raise raised
            return [target()] if account.now < 2**62 else []

        def on_reports(self, reports, fills, account):  # noqa: ARG002
            raise raised

    with pytest.raises(AgentError, match=r"agent raising failed at 2022-01-08T00.*test_wishes.py:\d+\): ") as caught:
        run(flat_bars(4), Raising)
    assert not isinstance(caught.value, UsageError)  # The command then ends with 1, not 2.


def test_a_wish_that_ends_the_process_while_it_is_looked_at_is_named():
    class Ending(str):
        __slots__ = ()

        def __eq__(self, other):
            raise SystemExit(0)

        __hash__ = str.__hash__

    with pytest.raises(AgentError, match="agent scripted"):
        run(flat_bars(4), asks(target(reasons=(Ending("a"),))))


def test_a_persons_interruption_is_not_taken_for_the_agents_fault():
    def interrupted(number, bars, account):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(flat_bars(4), interrupted)


def test_a_fault_of_the_program_stays_one():
    def broken(number, bars, account):
        raise InvariantError("the chain is broken")

    with pytest.raises(InvariantError, match="the chain"):
        run(flat_bars(4), broken)


def test_clearing_what_one_is_handed_erases_nothing():
    """Fills came as the record's own list."""

    class Clearing(Agent):
        name = "clearing"
        heard = 0

        def on_bars(self, bars, account):
            for given in (bars, account.working(NQ.id)):
                assert type(given) is tuple
            return [target(lots=1)]

        def on_reports(self, reports, fills, account):  # noqa: ARG002
            assert type(reports) is tuple
            assert type(fills) is tuple
            Clearing.heard += len(fills)
            return ()

    records, _ = run(flat_bars(6), Clearing)
    assert Clearing.heard == sum(len(record.fills) for record in records) == 1


INSIDE = (Engine, MarketStep, Ledger, RiskGate, OrderLives, FeatureBook)


def reached(thing, depth=4, seen=None):
    """Everything that ordinary attributes lead to."""
    seen = set() if seen is None else seen
    if depth == 0 or id(thing) in seen or isinstance(thing, type | str | int | float | np.dtype):
        return
    seen.add(id(thing))
    yield thing
    for name in dir(thing):
        if name.startswith("__"):
            continue
        value = getattr(thing, name, None)
        yield from reached(value, depth - 1, seen)


def test_no_attribute_of_the_account_leads_to_the_engine():
    found = []

    def look(number, bars, account):
        found.extend(reached(account))
        with pytest.raises(AttributeError):
            account.gate  # noqa: B018
        with pytest.raises(AttributeError):
            account.lots = 5
        return ()

    run(flat_bars(2), look)
    assert len(found) > 5
    assert not [thing for thing in found if isinstance(thing, INSIDE)]


def test_instruments_and_windows_are_read_only():
    class Featured(Scripted):
        needs_features = True

        def __init__(self, instruments, generator):
            super().__init__(instruments, generator, look)

    def look(number, bars, account):
        for window in (account.strategic_window(NQ.id), account.tactical_window(NQ.id)):
            assert window.base is None
            with pytest.raises(ValueError, match="read-only"):
                window[0, 0] = 1.0
        return ()

    engine = build_engine([Featured])
    records_of(engine, flat_bars(3))
    with pytest.raises(TypeError):
        engine.asking.agents[0].instruments["ZZ"] = NQ


@pytest.mark.parametrize("name", [None, 5, "", "a\ud800", "x" * 300, "line\nbreak"])
def test_a_name_that_cannot_stand_on_a_record_is_refused(name):
    named = type("Named", (Scripted,), {"name": name, "__init__": Agent.__init__})
    with pytest.raises(AgentChoiceError, match="expected a printable text"):
        build_engine([named])


def test_the_record_keeps_the_name_that_an_agent_began_with():
    def renames(number, bars, account):
        engine.asking.agents[0].name = object()
        return [target()]

    engine = build_engine([renames])
    records = records_of(engine, flat_bars(3))
    assert {one.agent for record in records for one in record.intents} == {"scripted"}
    assert encoded(map(decode_record, encoded(records))) == encoded(records)


@pytest.mark.parametrize("line", ["raise SystemExit(0)", "raise ValueError('x')", "import nowhere_to_be_found"])
def test_a_module_that_fails_to_import_is_named(tmp_path, monkeypatch, line):
    (tmp_path / "failing_agent.py").write_text(line)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AgentChoiceError, match="agent failing_agent:X: it cannot be imported"):
        build_agent("failing_agent:X", {}, {}, 1)


def test_an_agent_that_ends_the_process_while_it_is_built_is_named(tmp_path, monkeypatch):
    (tmp_path / "ending_agent.py").write_text(
        "from grandmodel.domain.agents import Agent\n"
        "class X(Agent):\n    def __init__(self, *given):\n        raise SystemExit(0)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AgentChoiceError, match="agent ending_agent:X: it cannot be built: SystemExit"):
        build_agent("ending_agent:X", {}, {}, 1)


def ends(*given):
    raise SystemExit(0)


@pytest.mark.parametrize("name", ["name", "carries_over", "needs_features"])
def test_an_agent_that_ends_the_process_while_it_says_what_it_is_is_named(name):
    ending = type("Ending", (Scripted,), {name: property(ends), "__init__": Agent.__init__})
    with pytest.raises(AgentChoiceError, match=f"agent Ending: its {name} cannot be read: SystemExit"):
        build_engine([ending])


@pytest.mark.parametrize("question", ["on_bars", "on_reports"])
def test_an_agent_whose_very_method_ends_the_process_is_named(question):
    ending = type("Ending", (Agent,), {"name": "ending", "on_bars": lambda *_: [target()], question: property(ends)})
    with pytest.raises(AgentError, match="agent ending failed"):
        run(flat_bars(4), ending)


@pytest.mark.parametrize("answer", [5, None, ("x",), (True,), iter((1,)), ends])
def test_widths_that_are_none_are_named(answer):
    odd = type("Odd", (Agent,), {"name": "odd", "widths_needed": ends if answer is ends else lambda _: answer})
    with pytest.raises(AgentError, match=r"agent odd .*before the run began"):
        build_engine([odd]).asking.widths_needed()


@pytest.mark.parametrize(
    "answer",
    [5, ("x",), (LearntFrom(layer=5, model="m", instruments=(), train_ns=(0, 1)),), (LearntFrom(layer="a", model=TEXT, instruments=(), train_ns=(0, 1)),), ends],
)  # fmt: skip
def test_what_an_agent_learnt_from_is_what_the_record_can_hold(answer):
    odd = type("Odd", (Agent,), {"name": "odd", "learnt_from": ends if answer is ends else lambda _: answer})
    with pytest.raises(AgentError, match=r"agent odd .*before the run began"):
        build_engine([odd]).asking.learnt()


def test_a_class_whose_hash_or_name_ends_the_process_is_no_wish():
    class Hashless(type):
        __hash__ = ends

    class Nameless(type):
        __name__ = property(ends)

    class Shout(str):
        __slots__ = ()
        encode = ends

    class Loud:
        def __repr__(self):
            return Shout("loud")

    for kind in (Hashless("One", (), {}), Nameless("Two", (), {}), Loud):
        with pytest.raises(WishError, match="expected one of TargetPosition"):
            admitted(kind())


def test_a_module_that_ends_the_process_is_named_where_it_lies_in_a_folder(tmp_path):
    (tmp_path / "leaving_agent.py").write_text("raise SystemExit(0)")
    build = OwnAgents(kinds={"leaving_agent:X"}, folder=tmp_path)
    with pytest.raises(AgentChoiceError, match="agent leaving_agent: it cannot be imported: SystemExit"):
        build("leaving_agent:X", {}, {}, 1)
