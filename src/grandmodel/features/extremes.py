"""The larger and the smaller of two numbers, for kernels.

Compiled ``max`` and ``min`` also settle what NaN and the sign of zero should give, at several nanoseconds a call. Here a
NaN as the first argument gives the second; the kernels that call these have turned NaN away before.
"""

from __future__ import annotations

from grandmodel.kernels import kernel


@kernel(inline=True)
def larger(a: float, b: float) -> float:
    """The larger of two numbers, neither of them NaN."""
    if a > b:
        return a
    return b


@kernel(inline=True)
def smaller(a: float, b: float) -> float:
    """The smaller of two numbers, neither of them NaN."""
    if a < b:
        return a
    return b
