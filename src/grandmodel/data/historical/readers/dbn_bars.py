"""DBN's ohlcv bars handed to the same checks as bars of any other file.

DBN states what other bar files leave open: stamps are UTC, a bar is stamped at its open, its width is the record's type.
Read next: ``dbn.py`` (the records), ``quality.py`` (the checks).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from grandmodel.data.historical.profile import PRICE_ROLES, DateOrder, ImportProfile, Label, text_from_width
from grandmodel.data.historical.readers.raw_bars import RawBars
from grandmodel.data.historical.stamps import Stamps
from grandmodel.domain.blocks import Block
from grandmodel.domain.errors import UsageError
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.time import NS_PER_DAY


def raw_bars_of(block: Block, instrument: Instrument, path: Path) -> tuple[RawBars, ImportProfile]:
    """``block`` (T,) of bars read by ``read_dbn`` as rows for ``check_bars``, and the profile that settles them.

    Raises ``UsageError`` for daily bars: DBN's days end at midnight UTC, which is no session's close.
    """
    width_ns = int(block["ts_event"][0] - block["ts_open"][0])
    if width_ns == NS_PER_DAY:
        raise UsageError(
            f"{path}: found DBN bars of whole UTC days, whose close is no session's; import hourly or minute bars"
        )
    rows = len(block)
    stated = np.ones(rows, dtype=np.bool_)
    stamps = Stamps(block["ts_open"].copy(), stated, stated.copy(), stated.copy(), DateOrder.YEAR_FIRST)
    prices = {role: instrument.prices_from_ticks(block[str(role)]) for role in PRICE_ROLES}
    volume = block["volume"].astype(np.float64) * float(instrument.lot_size)
    raw = RawBars(stamps, prices, volume, np.arange(1, rows + 1, dtype=np.int64))
    return raw, ImportProfile(label=Label.OPEN, bar_width=text_from_width(width_ns))
