"""Bars of trades gathered with numpy, a block at a time: the reference of the bars that the simulated market makes itself."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import Action, Block, Schema, empty_block


def trade_bars(blocks: Iterable[Block], instruments: int, width_ns: int) -> list[Block]:
    """Bars of ``width_ns``, on the clock, from the trades of ``blocks``; one block per instrument index."""
    rows = np.concatenate([np.asarray(block) for block in blocks])
    rows = rows[rows["action"] == int(Action.TRADE)]
    return [_bars(rows[rows["instrument"] == i], i, width_ns) for i in range(instruments)]


def _bars(rows: NDArray[np.void], instrument: int, width_ns: int) -> Block:
    keys, starts = np.unique(rows["ts_event"] // width_ns, return_index=True)
    parts = np.split(rows, starts[1:]) if len(rows) else []
    bars = empty_block(Schema.BARS, len(keys))
    bars["ts_open"] = keys * width_ns
    bars["ts_event"] = bars["ts_init"] = bars["ts_open"] + width_ns
    bars["open"] = [part["price"][0] for part in parts]
    bars["high"] = [part["price"].max() for part in parts]
    bars["low"] = [part["price"].min() for part in parts]
    bars["close"] = [part["price"][-1] for part in parts]
    bars["volume"] = [part["size"].sum() for part in parts]
    bars["instrument"] = instrument
    return bars
