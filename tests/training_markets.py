"""Made-up half-hour markets to learn from, quickly built, for tests of training."""

import numpy as np

from grandmodel.domain.blocks import BAR
from grandmodel.domain.time import THIRTY_MINUTES_NS
from grandmodel.runtime.feeds import instruments_named

NQ, CL = instruments_named(["NQ", "CL"])
START = 1_600_000_200 * 10**9 - (1_600_000_200 * 10**9) % THIRTY_MINUTES_NS


def some_bars(count, seed, marks=(), width=THIRTY_MINUTES_NS, persistence=0.0):
    """``count`` bars without a pause; ``persistence`` of each move goes on into the next (0: a random walk)."""
    generator = np.random.default_rng(seed)
    moves = generator.normal(0, 40, count)
    for t in range(1, count):
        moves[t] += persistence * moves[t - 1]
    close = 60_000 + moves.cumsum().round().astype(np.int64)
    bars = np.zeros(count, BAR)
    bars["ts_event"] = bars["ts_init"] = START + width * np.arange(1, count + 1)
    bars["ts_open"] = bars["ts_event"] - width
    bars["close"] = close
    bars["open"] = np.concatenate([close[:1], close[:-1]])
    reach = generator.integers(0, 30, (2, count))
    bars["high"] = np.maximum(bars["open"], close) + reach[0]
    bars["low"] = np.minimum(bars["open"], close) - reach[1]
    bars["volume"] = generator.integers(100, 5_000, count)
    for place, flag in marks:
        bars["flags"][place] |= int(flag)
    return bars
