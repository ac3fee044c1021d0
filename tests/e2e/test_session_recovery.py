"""A paper session of the product, cut off at any moment and resumed, ends as if nothing had happened."""

import msgspec
import numpy as np
import pytest

from grandmodel.domain.blocks import BAR
from grandmodel.domain.time import FIVE_MINUTES_NS
from grandmodel.journal.format import JournalReader
from grandmodel.journal.replay import replay
from grandmodel.journal.verification import verify_run
from grandmodel.risk.settings import RiskSettings, VarSettings
from grandmodel.runtime.agents import build_agent
from grandmodel.runtime.inputs import InputEngine
from grandmodel.runtime.session import Session
from grandmodel.runtime.settings import AgentSettings, Mode, RunSettings
from tools.real_engine import NQ, SCHEDULE, BusyAgent, build_blocks

BLOCKS = [
    np.frombuffer(b"".join(given.rows for given in build_blocks(5, 120)[at : at + 6]), dtype=BAR)
    for at in range(0, 120, 6)
]


def start(folder, mode):
    settings = RunSettings(
        mode=mode,
        agents=(AgentSettings(kind=f"{BusyAgent.__module__}:BusyAgent"),),
        risk=RiskSettings(var=VarSettings(width_ns=FIVE_MINUTES_NS, min_returns=8)),
    )
    return Session.start(folder, settings, [NQ], [SCHEDULE], data="random bars", clock_ns=lambda: 0)


def finish(session):
    at = session.recovered.feed_inputs if session.recovered else 0
    session.feed(BLOCKS[at:], first=at)
    session.end()


class CutOffError(Exception):
    """Stands for the end of the process: what was not committed is gone."""


def cut_after(records):
    left = [records]

    def on_record(_):
        left[0] -= 1
        if left[0] == 0:
            raise CutOffError

    return on_record


@pytest.mark.slow
@pytest.mark.parametrize("mode", [Mode.PAPER, Mode.BACKTEST])
def test_a_session_cut_off_after_any_record_ends_the_same(tmp_path, mode):
    with start(tmp_path / "calm" / "run", mode) as session:
        finish(session)
    calm = verify_run(tmp_path / "calm" / "run")
    assert (calm.intact, calm.ended) == (True, True)
    assert calm.records > 100
    for records in (1, 2, 7, 40, 41, 90, calm.records - 1):
        folder = tmp_path / f"cut{records}" / "run"
        session = start(folder, mode)
        session.on_record = cut_after(records)
        with session, pytest.raises(CutOffError):
            finish(session)
        assert verify_run(folder).intact
        with Session.resume(folder, clock_ns=lambda: 0, build_agent=build_agent) as session:
            assert session.recovered.records < calm.records
            finish(session)
        report = verify_run(folder)
        assert (report.intact, report.ended) == (True, True)
        assert (report.record_head, report.root) == (calm.record_head, calm.root)


def test_a_session_replays_to_the_same_bytes_and_holds_orders_of_every_kind(tmp_path):
    with start(tmp_path / "run", Mode.PAPER) as session:
        finish(session)
    made = []
    with JournalReader.open(tmp_path / "run") as reader:
        report = replay(reader, InputEngine(build_agent), made.append)
    assert (report.equal, report.difference) == (True, None)
    assert report.records == len(made) > 150
    kinds = {(order.order_type.name, order.tag) for record in made for order in record.orders}
    assert len(kinds) >= 4
    assert any(record.cancels for record in made)
    assert any(record.fills for record in made)
    assert msgspec.json.decode(made[-1].note)
