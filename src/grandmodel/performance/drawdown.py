"""How far equity stands below its running peak, as a fraction of that peak.

The fraction is 0 at a new peak and 1 where nothing is left. Beyond 1 the account owes money: 1.5 is a loss of one and a half times
the peak. It needs no logarithm, so it holds there too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel
from grandmodel.performance.errors import PerformanceError

Floats = NDArray[np.float64]


def drawdown_of(equity: float, peak: float) -> float:
    """The fraction that ``equity`` stands below ``peak``, both in one unit; 0 where there is no peak above 0.

    The one rule for one moment: ``compiled_drawdown_of`` is the same for kernels, ``drawdown_curve`` for a whole series.
    """
    return 1.0 - equity / peak if peak > 0 else 0.0


compiled_drawdown_of = kernel(drawdown_of)


def drawdown_curve(equity: NDArray[Any]) -> Floats:
    """(T,) fraction below the running peak, 0 or more, of ``equity`` (T,) in any unit.

    Raises ``PerformanceError`` where the first value is not above 0: there is then no peak to be a fraction of.
    """
    if not len(equity):
        return np.zeros(0)
    if not equity[0] > 0:
        raise PerformanceError(f"drawdown: found a first equity of {equity[0]}, expected one above 0")
    fall: Floats = 1.0 - equity / np.maximum.accumulate(equity)
    return fall


def deepest_drawdown(equity: NDArray[Any]) -> tuple[float, int, int]:
    """(depth, peak, end): the largest fall from a running peak as a share of it, the place of that peak, that of the recovery.

    ``equity`` (T,) begins with the capital; ``end`` is the last place where it never recovered. (0, 0, 0) where it never fell.
    """
    fall = drawdown_curve(equity)
    bottom = int(fall.argmax()) if len(fall) else 0
    if not len(fall) or fall[bottom] <= 0.0:
        return 0.0, 0, 0
    peak = equity[: bottom + 1].max()
    top = int(np.flatnonzero(equity[: bottom + 1] == peak)[-1])
    back = np.flatnonzero(equity[bottom:] >= peak)
    return float(fall[bottom]), top, bottom + int(back[0]) if len(back) else len(equity) - 1
