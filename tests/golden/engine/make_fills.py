"""The fills of one small fixed run, and the command that writes them down again:

    PYTHONPATH=tests .venv/bin/python tests/golden/engine/make_fills.py

A changed line here is a changed result for users: say in CHANGELOG.md why it changed.
"""

from pathlib import Path

import numpy as np

from engine_runs import Restless, run
from grandmodel.simulation.models import ConstantLatency, FixedSlippage, PerLotFee, VenueSettings
from strategies import ALL_DAY, CL, NQ, bar_row

GOLDEN = Path(__file__).parent / "fills.txt"


def lines():
    """One line a fill: time, order, instrument, side, lots, price in ticks, fee in micros, tag; then the last equity."""
    generator = np.random.Generator(np.random.PCG64(20240701))
    rows, price = [], [1_000, 2_000]
    for k in range(160):
        i = k % 2
        open_ = price[i] + int(generator.integers(-3, 4))
        close = open_ + int(generator.integers(-6, 7))
        high, low = max(open_, close) + int(generator.integers(0, 4)), min(open_, close) - int(generator.integers(0, 4))
        rows.append(bar_row(5 * (k // 2), open_, high, low, close, 40, instrument=i, sequence=k))
        price[i] = close
    venue = VenueSettings(
        fees=PerLotFee(), latency=ConstantLatency(order=1_000_000, report=1_000_000), slippage=FixedSlippage(),
        participation_ppm=100_000,
    )  # fmt: skip
    records, _ = run(rows, Restless, instruments=(NQ, CL), schedules=[ALL_DAY] * 2, venue=venue, seed=3)
    found = [
        f"{f.ts_event} {f.order_id} {f.instrument} {f.side.name} {f.quantity} {f.price} {f.fee_micros} {f.tag}"
        for record in records
        for f in record.fills
    ]
    return [*found, f"equity {records[-1].equity_micros}"]


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(lines()) + "\n", encoding="utf-8")
