"""Commands and signals from a file: how a line is read, where it comes between the blocks of a feed, and what is refused."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import (
    CashFlow,
    CashKind,
    Command,
    CommandKind,
    ExchangeRate,
    Settlement,
    Signal,
    SignalTrigger,
    Split,
)
from grandmodel.runtime.account_events import check_account_events
from grandmodel.runtime.commands import Part, check_within, described, in_time_order, read_commands
from strategies import MINUTE, NQ, START, bar_row, stack

FLATTEN = b'{"ts": "2024-07-10T15:00:00Z", "kind": "flatten", "who": "ann/risk_officer", "why": "news"}\n'
LOST = b'{"ts": 1720620000000000000, "trigger": "disconnect", "value": 1, "source": "drill"}\n'


def read(tmp_path, content):
    path = tmp_path / "told.jsonl"
    path.write_bytes(content)
    return read_commands(path, [NQ])


def pause(ts):
    return Command(kind=CommandKind.PAUSE, ts=ts, who="ann/risk_officer", why="test")


def test_lines_are_read_by_time_and_those_of_one_time_as_they_stand(tmp_path):
    again = FLATTEN.replace(b"flatten", b"stop")
    told = read(tmp_path, FLATTEN + b"\n" + LOST + again)
    assert told == (
        Signal(ts=1720620000000000000, trigger=SignalTrigger.DISCONNECT, value=1.0, source="drill"),
        Command(kind=CommandKind.FLATTEN, ts=1720623600000000000, who="ann/risk_officer", why="news"),
        Command(kind=CommandKind.STOP, ts=1720623600000000000, who="ann/risk_officer", why="news"),
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"flatten now", "malformed"),
        (b"\xff\xfe", "line 2"),
        (b"[" * 100_000, "line 2"),
        (b'{"ts": 1, "kind": "explode", "who": "a", "why": "b"}', "explode"),
        (b'{"ts": 1, "kind": "stop", "who": "a", "why": "b", "now": 1}', "now"),
        (b'{"ts": 1, "kind": "stop", "why": "b"}', "who"),
        (b'{"ts": 1, "kind": "stop", "who": " ", "why": "b"}', "found nobody"),
        (b'{"ts": true, "kind": "stop", "who": "a", "why": "b"}', "ts"),
        (b'{"ts": -1, "kind": "stop", "who": "a", "why": "b"}', "found ts -1"),
        (b'{"ts": 1e400, "kind": "stop", "who": "a", "why": "b"}', "line 2"),
        (b'{"ts": "2024-07-10T15:00:00", "kind": "stop", "who": "a", "why": "b"}', "without a zone"),
        (b'{"ts": "soon", "kind": "stop", "who": "a", "why": "b"}', "soon"),
        (b'{"ts": 1, "trigger": "drawdown", "value": 1, "source": "s"}', "drawdown"),
        (b'{"ts": 1, "trigger": "latency", "value": 1e999, "source": "s"}', "line 2"),
        (b'{"ts": 1, "trigger": "latency", "value": null, "source": "s"}', "value"),
    ],
)
def test_a_line_that_cannot_be_meant_is_refused_with_its_number(tmp_path, line, message):
    with pytest.raises(UsageError, match=r"told\.jsonl, line 2") as refused:
        read(tmp_path, FLATTEN + line + b"\n")
    assert message in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_commands(tmp_path / "none.jsonl")


def test_what_lies_outside_the_data_is_refused():
    check_within([pause(5), pause(9)], (5, 9))
    for ts in (4, 10):
        with pytest.raises(UsageError, match="found pause at"):
            check_within([pause(ts)], (5, 9))


@given(
    times=st.lists(st.integers(0, 8), min_size=1, max_size=12),
    told=st.lists(st.integers(-1, 9), max_size=5),
    cuts=st.lists(st.integers(0, 12), max_size=3),
)
def test_a_command_comes_after_every_row_of_its_time_and_before_the_next(times, told, cuts):
    rows = stack([bar_row(5 * t, 1, 1, 1, 1, sequence=k) for k, t in enumerate(sorted(times))])
    stamps = rows["ts_init"]
    edges = sorted({0, len(rows), *(cut for cut in cuts if cut <= len(rows))})
    blocks = [rows[a:b] for a, b in pairwise(edges)]
    wanted = [pause(START + 5 * t * MINUTE) for t in sorted(told)]
    parts = list(in_time_order(blocks, wanted))
    assert [one for one in parts if not isinstance(one, Part)] == wanted
    walked = [one for one in parts if isinstance(one, Part)]
    assert np.concatenate([part.rows for part in walked]).tobytes() == rows.tobytes()
    seen = 0
    for one in parts:
        if isinstance(one, Part):
            block = blocks[one.number]
            assert one.rows.tobytes() == block[one.start : one.start + len(one.rows)].tobytes()
            assert one.whole == (len(one.rows) == len(block))
            seen += len(one.rows)
        else:
            assert seen == int((stamps <= one.ts).sum())


def test_a_run_that_is_told_something_else_has_another_description():
    plain, told, other = (described("files", tuple(map(pause, ts))) for ts in ((), (5,), (6,)))
    assert plain == "files"
    assert told.startswith("files; told 1 times")
    assert told != other


def test_the_operator_s_page_shows_lines_that_are_read(tmp_path):
    page = (Path(__file__).parents[3] / "docs/concepts/operating.md").read_text()
    lines = [line.strip() for line in page.splitlines() if line.strip().startswith('{"ts"')]
    told = read(tmp_path, "\n".join(lines).encode())
    assert [one.kind if isinstance(one, Command) else one.trigger for one in told] == [
        CommandKind.FLATTEN, CommandKind.RESUME, SignalTrigger.DISCONNECT, CommandKind.RELEASE,
    ]  # fmt: skip


def test_a_file_without_end_is_refused():
    """A device or a pipe has no size beforehand."""
    with pytest.raises(UsageError, match="expected at most so many in a commands file"):
        read_commands(Path("/dev/zero"))


SAID = {"source": "statement", "why": "told"}
CASH = b'{"ts": 1, "cash": "%s", "id": "a", "amount": "%s", "currency": "USD", "source": "statement", "why": "told"}'


def test_what_an_account_books_is_read_in_decimal_text(tmp_path):
    told = read(
        tmp_path,
        CASH % (b"dividend", b"240.000001")
        + b"""
        {"ts": 2, "rate": "0.137893", "currency": "CNY", "source": "statement", "why": "told"}
        {"ts": 3, "settlement": "daily", "instrument": "NQ", "price": "20530.25", "source": "statement", "why": "told"}
        {"ts": 4, "settlement": "final", "instrument": "NQ", "price": "20530.5", "source": "statement", "why": "told"}
        {"ts": 5, "split": [4, 1], "id": "s", "instrument": "NQ", "price": "120", "source": "statement", "why": "told"}
        """,
    )
    assert told == (
        CashFlow(ts=1, id="a", kind=CashKind.DIVIDEND, amount_micros=240_000_001, currency="USD", **SAID),
        ExchangeRate(ts=2, currency="CNY", rate_micros=137_893, **SAID),
        Settlement(ts=3, instrument=NQ.id, price=82_121, final=False, **SAID),
        Settlement(ts=4, instrument=NQ.id, price=82_122, final=True, **SAID),
        Split(ts=5, id="s", instrument=NQ.id, into=4, of=1, price=480, **SAID),
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (CASH % (b"dividend", b"1.0000001"), "at most six places"),
        (CASH % (b"dividend", b"much"), "decimal number"),
        (CASH % (b"dividend", b"NaN"), "decimal number"),
        (CASH % (b"dividend", b"0"), "amount_micros 0"),
        (CASH % (b"deposit", b"-5"), "a deposit of -5000000"),
        (CASH % (b"withdrawal", b"5"), "a withdrawal of 5000000"),
        (CASH % (b"gift", b"5"), "gift"),
        ((CASH % (b"fee", b"-5")).replace(b'"told"', b'" "'), "found no why"),
        (b'{"ts": 1, "rate": "0", "currency": "CNY", "source": "s", "why": "w"}', "rate_micros 0"),
        (b'{"ts": 1, "rate": 0.5, "currency": "CNY", "source": "s", "why": "w"}', "rate"),
        (b'{"ts": 1, "settlement": "daily", "instrument": "ES", "price": "1", "source": "s", "why": "w"}', "'ES'.*NQ"),
        (b'{"ts": 1, "settlement": "daily", "instrument": "NQ", "price": "1.1", "source": "s", "why": "w"}', "tick"),
        (b'{"ts": 1, "settlement": "weekly", "instrument": "NQ", "price": "1", "source": "s", "why": "w"}', "weekly"),
        (
            b'{"ts": 1, "split": [2, 2], "id": "a", "instrument": "NQ", "price": "1", "source": "s", "why": "w"}',
            "2 for 2",
        ),
        (b'{"ts": 1, "split": [2], "id": "a", "instrument": "NQ", "price": "1", "source": "s", "why": "w"}', "split"),
    ],
)
def test_a_booking_that_cannot_be_meant_is_refused_with_file_and_line(tmp_path, line, message):
    with pytest.raises(UsageError, match=message) as refused:
        read(tmp_path, FLATTEN + line)
    assert f"{tmp_path / 'told.jsonl'}, line 2" in str(refused.value)


def test_a_currency_without_a_rate_is_refused_before_the_run():
    fee = CashFlow(ts=2, id="a", kind=CashKind.FEE, amount_micros=-5, currency="CHF", **SAID)
    rate = ExchangeRate(ts=1, currency="CHF", rate_micros=5, **SAID)
    check_account_events((rate, fee), [NQ], "USD", ())
    check_account_events((fee,), [NQ], "USD", ("CHF",))
    with pytest.raises(UsageError, match=r"currency CHF.*account\.rates\.CHF"):
        check_account_events((fee, rate), [NQ], "USD", ())


def test_what_lies_outside_the_data_is_named():
    said = {"ts": START, **SAID}
    for one, name in (
        (CashFlow(id="a", kind=CashKind.FEE, amount_micros=-5, currency="USD", **said), "fee"),
        (ExchangeRate(currency="CNY", rate_micros=5, **said), "the rate of CNY"),
        (Settlement(instrument=NQ.id, price=5, final=True, **said), "the settlement of NQ"),
        (Split(id="a", instrument=NQ.id, into=2, of=1, price=5, **said), "the split of NQ"),
    ):
        with pytest.raises(UsageError, match=f"found {name} at"):
            check_within((one,), (START + 1, START + 2))
