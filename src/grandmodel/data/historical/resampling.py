"""Longer bars from shorter ones.

A bar of the longer width holds the short bars that opened inside it, its stamp is the end of the period, aligned to midnight UTC. Its
volume is unknown where one of theirs is, and it carries every mark that one of them carries. The last bar is left out where its
period had not ended by the last short bar: a bar is whole or it is not there.
"""

from __future__ import annotations

import numpy as np

from grandmodel.domain.blocks import BAR, UNKNOWN_VOLUME, Block, freeze
from grandmodel.domain.errors import UsageError


def resample_bars(bars: Block, width_ns: int) -> Block:
    """Bars of ``width_ns`` from shorter bars of one instrument, in order.

    Raises ``UsageError`` where a bar is longer than ``width_ns`` or crosses the end of a period.
    """
    if bars.dtype != BAR:
        raise UsageError(f"found rows of {bars.dtype.names}, expected bars")
    if not len(bars):
        return bars
    period = bars["ts_open"] // width_ns
    ends = (period + 1) * width_ns
    crossing = np.flatnonzero(bars["ts_event"] > ends)
    if len(crossing):
        lengths = (bars["ts_event"] - bars["ts_open"])[crossing]
        raise UsageError(
            f"found a bar of {int(lengths[0]) / 60e9:g} minutes across a period of {width_ns / 60e9:g}, expected shorter ones"
        )
    starts = np.flatnonzero(np.concatenate([[True], period[1:] != period[:-1]]))
    lasts = np.concatenate([starts[1:], [len(bars)]]) - 1
    out = np.zeros(len(starts), BAR)
    out["ts_open"], out["ts_event"] = period[starts] * width_ns, ends[starts]
    # What was known late stays late: the longer bar is not known before the last of its parts.
    out["ts_init"] = np.maximum(out["ts_event"], bars["ts_init"][lasts])
    out["open"], out["close"] = bars["open"][starts], bars["close"][lasts]
    out["high"] = np.maximum.reduceat(bars["high"], starts)
    out["low"] = np.minimum.reduceat(bars["low"], starts)
    out["flags"] = np.bitwise_or.reduceat(bars["flags"], starts)
    unknown = np.logical_or.reduceat(bars["volume"] == UNKNOWN_VOLUME, starts)
    out["volume"] = np.where(unknown, UNKNOWN_VOLUME, np.add.reduceat(bars["volume"], starts))
    out["instrument"] = bars["instrument"][starts]
    out["sequence"] = np.arange(len(out), dtype=np.uint32)
    if bars["ts_event"][-1] < out["ts_event"][-1]:
        out = out[:-1]
    return freeze(out)
