"""Full revaluation by price ladders: each position is priced once on a grid of moves, scenarios interpolate between them.

Pricing an option in every scenario costs a logarithm and an exponential each; the ladder costs two multiplications. Its
error is at most gamma times the square of the grid's step over eight: with 801 steps from -50 % to +50 % about 1e-6 of
the notional for a three-month option at the money. A move beyond the grid is refused, not extended. Read next: ``var.py``.
"""

from __future__ import annotations

import math

import numpy as np

from grandmodel.kernels import kernel
from grandmodel.risk.correlation import FloatArray
from grandmodel.risk.errors import RiskInputError
from grandmodel.risk.var import Revaluation

_BLOCK = 64


def revalue_on_ladder(moves: FloatArray, pnl: FloatArray) -> Revaluation:
    """A revaluation for ``var.monte_carlo`` from P&L on a grid.

    ``moves`` (m,), m >= 2, evenly spaced and rising, are returns of the underlying; ``pnl`` (n, m) is what each of the n
    positions makes after each move. The result maps returns (scenarios, n) to the book's P&L (scenarios,) and raises
    ``RiskInputError`` where a return lies outside the grid.
    """
    grid = np.asarray(moves, dtype=np.float64)
    table = np.ascontiguousarray(pnl, dtype=np.float64)
    if grid.ndim != 1 or len(grid) < 2 or table.ndim != 2 or table.shape[1] != len(grid):
        raise RiskInputError(f"found moves {grid.shape} and P&L {table.shape}, expected (m,) and (n, m) with m >= 2")
    step = float(grid[-1] - grid[0]) / (len(grid) - 1)
    if not (step > 0.0 and np.allclose(np.diff(grid), step, rtol=1e-9) and np.isfinite(table).all()):
        raise RiskInputError("found an uneven grid or P&L that is not finite, expected evenly rising moves and numbers")
    first = float(grid[0])

    def revalue(returns: FloatArray) -> FloatArray:
        made = _interpolate(np.ascontiguousarray(returns, dtype=np.float64), table, first, step)
        if np.isnan(made).any():
            raise RiskInputError(
                f"found a return outside the ladder of {grid[0]:g} to {grid[-1]:g}, or NaN: expected all within; widen it"
            )
        return made

    return revalue


@kernel
def _interpolate(returns: FloatArray, table: FloatArray, first: float, step: float) -> FloatArray:
    """The sum over positions of linear interpolation; NaN for a scenario with a return outside the grid.

    Scenarios go in blocks, so that one position's ladder and the block's returns stay in the cache.
    """
    made = np.zeros(len(returns))
    last = table.shape[1] - 1
    scale = 1.0 / step
    for block in range(0, len(returns), _BLOCK):
        end = min(block + _BLOCK, len(returns))
        for i in range(table.shape[0]):
            for k in range(block, end):
                place = (returns[k, i] - first) * scale
                if not 0.0 <= place <= last:
                    made[k] = math.nan
                    continue
                low = min(int(place), last - 1)
                made[k] += table[i, low] + (place - low) * (table[i, low + 1] - table[i, low])
    return made
