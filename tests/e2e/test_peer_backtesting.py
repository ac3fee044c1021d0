"""Four years of real NQ and CL bars: the engine's trades against backtesting.py under the same rules, to the cent.

Both are given the same signals, as target positions at a bar's close. Both fill at the next bar's open, one lot, the same fee a
lot and side, no margin limit, no rolls, one session without an end. backtesting.py counts units, so a lot is as many
units as a point is worth (20 for NQ, 1,000 for CL). What its prices in floating point leave behind the cent is rounded away.
"""

import pandas as pd
import pytest
from backtesting import Backtest, Strategy

from grandmodel.runtime.settings import RollPolicy
from shared_data import shared
from tools.baseline_run import FEE_CENTS, FILES, TICK_CENTS, TICKS, baseline_run
from tools.plain_reckoning import read_plain_bars

pytestmark = [
    pytest.mark.shared,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:DatetimeIndex.dayofweek is deprecated"),  # Its statistics, not ours.
]


def peer_run(name, bars, *, fast=10, slow=40):
    """The closed trades and the end of a run of the cross in backtesting.py, which also computes the signals."""
    size = float(TICKS[name])
    units = round(TICK_CENTS[name] / 100 / size)
    frame = pd.DataFrame(
        {
            "Open": [bar.open * size for bar in bars],
            "High": [bar.high * size for bar in bars],
            "Low": [bar.low * size for bar in bars],
            "Close": [bar.close * size for bar in bars],
        },
        index=pd.to_datetime([bar.opened for bar in bars], utc=True),
    )
    # Sums of whole ticks: the means of floating-point prices can tie or not tie by a rounding.
    closes = pd.Series([bar.close for bar in bars])
    lead = (closes.rolling(fast).sum() * slow - closes.rolling(slow).sum() * fast).to_numpy()

    class Cross(Strategy):
        def init(self):
            self.target = 0

        def next(self):
            now = lead[len(self.data) - 1]
            if now != now or now == 0:  # noqa: PLR0124  # Not known yet, or a tie: as before.
                return
            target = 1 if now > 0 else -1
            if target == self.target:
                return
            self.target = target
            self.position.close()
            if target > 0:
                self.buy(size=units)
            else:
                self.sell(size=units)

    def commission(size, price):
        return abs(size) / units * FEE_CENTS / 100

    test = Backtest(frame, Cross, cash=1e9, commission=commission, finalize_trades=False)
    with pytest.warns(UserWarning, match="remain open at the end"):  # As ours does: it is compared marked, not closed.
        return test.run(), units


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
    stats, units = peer_run(name, bars)
    theirs = stats["_trades"]
    ours, last = engine_trades(fills)
    assert len(ours) == len(theirs) > 1_000
    assert last is not None
    size = float(TICKS[name])
    for (entry, leave), trade in zip(ours, theirs.itertuples(), strict=True):
        lots = entry.signed_quantity
        assert (bars[trade.EntryBar].opened, bars[trade.ExitBar].opened) == (entry.ts_event, leave.ts_event)
        assert trade.Size == lots * units
        assert (round(trade.EntryPrice / size), round(trade.ExitPrice / size)) == (entry.price, leave.price)
        cents = (leave.price - entry.price) * lots * TICK_CENTS[name] - 2 * FEE_CENTS
        assert round(trade.PnL * 100) == cents
        assert abs(trade.PnL * 100 - cents) < 1e-3
    marked = (bars[-1].close - last.price) * last.signed_quantity * TICK_CENTS[name]
    gain = sum((b.price - a.price) * a.signed_quantity * TICK_CENTS[name] for a, b in ours) + marked
    fees = FEE_CENTS * len(fills)
    assert round((stats["Equity Final [$]"] - 1e9) * 100) == gain - fees
