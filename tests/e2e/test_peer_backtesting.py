"""Four years of real NQ and CL bars: the engine's trades against backtesting.py under the same rules, to the cent.

Both are given the same signals, as target positions at a bar's close. Both fill at the next bar's open, one lot, the same fee a
lot and side, no margin limit, no rolls, one session without an end. backtesting.py counts units, so a lot is as many
units as a point is worth (20 for NQ, 1,000 for CL). What its prices in floating point leave behind the cent is rounded away.

backtesting.py is AGPL-3, so it runs in a process and an environment of its own (``make setup-dev`` makes it), driven by
``tests/tools/peer_backtesting.py``; numbers alone cross the pipe.
"""

import json
import subprocess
from pathlib import Path

import pytest

from grandmodel.runtime.settings import RollPolicy
from shared_data import shared
from tools.baseline_run import FEE_CENTS, FILES, TICK_CENTS, TICKS, baseline_run
from tools.plain_reckoning import read_plain_bars

pytestmark = [pytest.mark.shared, pytest.mark.slow]

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = REPOSITORY / ".venv-peer-backtesting" / "bin" / "python"
SCRIPT = REPOSITORY / "tests" / "tools" / "peer_backtesting.py"


def peer_run(name, bars, *, fast=10, slow=40):
    """The closed trades and the final equity of the cross in backtesting.py; units of one lot."""
    if not PYTHON.exists():
        pytest.skip("the environment of backtesting.py is absent: make setup-dev")
    size = float(TICKS[name])
    units = round(TICK_CENTS[name] / 100 / size)
    asked = {
        "bars": [(bar.opened, bar.open, bar.high, bar.low, bar.close) for bar in bars],
        "tick_size": size,
        "units": units,
        "fee": FEE_CENTS / 100,
        "fast": fast,
        "slow": slow,
    }
    done = subprocess.run(
        [str(PYTHON), str(SCRIPT)], input=json.dumps(asked), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return json.loads(done.stdout), units


def engine_trades(fills):
    """Positions opened and closed: when and at what price each began and ended, lots with a sign, and all its fees."""
    trades, entry = [], None
    for fill in fills:
        if entry is None:
            entry = fill
            continue
        assert fill.signed_quantity == -entry.signed_quantity
        trades.append((entry, fill))
        entry = None
    return trades, entry


@pytest.mark.parametrize("name", list(FILES))
def test_every_trade_agrees_with_backtesting_py_to_the_cent(name):
    paths = tuple((each, shared(file)) for each, file in FILES.items())
    fills = baseline_run(paths, RollPolicy.IGNORE).fills[name]
    bars = read_plain_bars(dict(paths)[name], TICKS[name])
    peer, units = peer_run(name, bars)
    theirs = peer["trades"]
    ours, last = engine_trades(fills)
    assert len(ours) == len(theirs) > 1_000
    assert last is not None
    size = float(TICKS[name])
    for (entry, leave), trade in zip(ours, theirs, strict=True):
        lots = entry.signed_quantity
        assert (bars[trade["entry_bar"]].opened, bars[trade["exit_bar"]].opened) == (entry.ts_event, leave.ts_event)
        assert trade["size"] == lots * units
        assert (round(trade["entry_price"] / size), round(trade["exit_price"] / size)) == (entry.price, leave.price)
        cents = (leave.price - entry.price) * lots * TICK_CENTS[name] - 2 * FEE_CENTS
        assert round(trade["pnl"] * 100) == cents
        assert abs(trade["pnl"] * 100 - cents) < 1e-3
    marked = (bars[-1].close - last.price) * last.signed_quantity * TICK_CENTS[name]
    gain = sum((b.price - a.price) * a.signed_quantity * TICK_CENTS[name] for a, b in ours) + marked
    fees = FEE_CENTS * len(fills)
    assert round((peer["equity"] - 1e9) * 100) == gain - fees
