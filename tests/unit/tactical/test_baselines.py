"""The simple agents against plain restatements of their rules."""

import numpy as np
import pytest

from grandmodel.data.market.bar_building import BUILDER
from grandmodel.domain.blocks import Flag
from grandmodel.domain.decisions import TargetPosition
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import ClosedBar
from grandmodel.tactical.baselines import BuyAndHold, MovingAverageCross, RandomAgent
from strategies import CL, MINUTE, NQ

HALF_HOUR = 30 * MINUTE


class Holding:
    """An account that holds what it was last asked to."""

    now, equity_micros = 0, 0

    def __init__(self):
        self.held = {}

    def lots(self, instrument):
        return self.held.get(instrument, 0)

    def mark(self, instrument):  # noqa: ARG002  part of the protocol
        return None

    def working(self, instrument):  # noqa: ARG002  part of the protocol
        return ()


def bar(close, instrument=NQ, flags=0, width=HALF_HOUR):
    return ClosedBar(
        instrument=instrument.id, width_ns=width, ts_open=0, ts_event=width, open=close, high=close, low=close, close=close,
        volume=1, flags=flags,
    )  # fmt: skip


def known():
    return {one.id: one for one in (NQ, CL)}


def generator(seed=1):
    return np.random.default_rng(seed)


def ask(agent, bars, account):
    """What the agent wishes, asked as the engine asks it: through its wake rule, which must not keep it from a wish."""
    if agent.wake is None:
        return agent.on_bars(bars, account)
    names = list(agent.instruments)
    rows = np.zeros(len(bars), BUILDER)
    for row, one in zip(rows, bars, strict=True):
        row["width"], row["close"], row["flags"] = one.width_ns, one.close, one.flags
        row["instrument"] = names.index(one.instrument)
    lots = np.array([account.lots(name) for name in names], dtype=np.int64)
    wakes = agent.wake.condition(rows, len(rows), lots, agent.wake.memory)
    wishes = agent.on_bars(bars, account)
    assert wakes or not wishes
    return wishes if wakes else ()


def targets(agent, bars, account=None):
    """The position asked for after each bar."""
    account = account or Holding()
    asked = []
    for one in bars:
        for wish in ask(agent, [one], account):
            assert isinstance(wish, TargetPosition)
            account.held[wish.instrument] = wish.lots
        asked.append(account.lots(one.instrument))
    return asked


def plain_cross(closes, fast, slow, lots, short):
    held, asked = 0, []
    for k in range(len(closes)):
        if k + 1 >= slow:
            quick, calm = (sum(closes[k + 1 - n : k + 1]) / n for n in (fast, slow))
            if abs(quick - calm) > 1e-9:
                held = lots if quick > calm else short
        asked.append(held)
    return asked


@pytest.mark.parametrize("long_only", [False, True])
def test_the_cross_is_the_plain_rule(long_only):
    draw = generator(3)
    for fast, slow in ((1, 2), (3, 7), (10, 40)):
        closes = [int(value) for value in 1_000 + np.cumsum(draw.integers(-2, 3, 300))]
        agent = MovingAverageCross(known(), generator(), fast=fast, slow=slow, lots=3, long_only=long_only)
        expected = plain_cross(closes, fast, slow, 3, 0 if long_only else -3)
        assert targets(agent, [bar(close) for close in closes]) == expected


def test_a_tie_keeps_what_was_held():
    agent = MovingAverageCross(known(), generator(), fast=1, slow=2)
    assert targets(agent, [bar(close) for close in (10, 11, 11, 11, 9, 9)]) == [0, 1, 1, 1, -1, -1]


def test_instruments_are_averaged_apart_and_other_widths_passed_over():
    agent = MovingAverageCross(known(), generator(), fast=1, slow=2)
    account = Holding()
    targets(agent, [bar(10), bar(50, CL), bar(11), bar(1, width=MINUTE), bar(49, CL)], account)
    assert account.held == {NQ.id: 1, CL.id: -1}


def test_a_roll_starts_the_averages_anew_and_a_bad_stretch_is_not_used():
    agent = MovingAverageCross(known(), generator(), fast=1, slow=3)
    rows = [bar(10), bar(11), bar(12), bar(99, flags=Flag.ROLL), bar(98), bar(97)]
    assert targets(agent, rows) == [0, 0, 1, 1, 1, -1]
    agent = MovingAverageCross(known(), generator(), fast=1, slow=3)
    rows = [bar(10), bar(11), bar(5_000, flags=Flag.BAD_STRETCH), bar(12), bar(13), bar(14)]
    assert targets(agent, rows) == [0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(("fast", "slow"), [(0, 3), (3, 3), (4, 3)])
def test_a_cross_that_cannot_be_is_refused(fast, slow):
    with pytest.raises(UsageError, match="0 < fast < slow"):
        MovingAverageCross(known(), generator(), fast=fast, slow=slow)


def test_a_saved_cross_goes_on_as_if_it_had_not_stopped():
    draw = generator(7)
    closes = [int(value) for value in 1_000 + np.cumsum(draw.integers(-2, 3, 80))]
    whole = MovingAverageCross(known(), generator(), fast=2, slow=9)
    expected = targets(whole, [bar(close) for close in closes])
    first = MovingAverageCross(known(), generator(), fast=2, slow=9)
    account = Holding()
    begun = targets(first, [bar(close) for close in closes[:33]], account)
    second = MovingAverageCross(known(), generator(), fast=2, slow=9)
    second.restore(first.save())
    second.wake.memory[:] = first.wake.memory  # As the engine does with a snapshot.
    assert begun + targets(second, [bar(close) for close in closes[33:]], account) == expected


def test_the_random_agent_draws_from_its_generator_alone_and_at_its_rate():
    rows = [bar(10) for _ in range(4_000)]

    class Never(Holding):
        def lots(self, instrument):  # noqa: ARG002  part of the protocol
            return 99  # never what it asks for, so that every draw is seen

    def wishes(seed):
        agent = RandomAgent(known(), generator(seed), lots=2, probability=0.3)
        return [[wish.lots for wish in agent.on_bars([one], Never())] for one in rows]

    first = wishes(1)
    assert first == wishes(1) != wishes(2)
    asked = [lots for one in first for lots in one]
    assert abs(len(asked) / len(rows) - 0.3) < 0.03
    assert set(asked) == {-2, 0, 2}
    assert all(abs(asked.count(lots) / len(asked) - 1 / 3) < 0.05 for lots in (-2, 0, 2))


def test_the_random_agent_asks_for_nothing_in_a_bad_stretch():
    agent = RandomAgent(known(), generator(), probability=1.0)
    assert all(not agent.on_bars([bar(10, flags=Flag.BAD_STRETCH)], Holding()) for _ in range(50))


def test_buy_and_hold_asks_until_it_holds():
    agent, account = BuyAndHold(known(), generator(), lots=2), Holding()
    assert [wish.lots for wish in agent.on_bars([bar(10), bar(10, CL)], account)] == [2, 2]
    account.held = {NQ.id: 2}
    assert [wish.instrument for wish in agent.on_bars([bar(10), bar(10, CL)], account)] == [CL.id]
