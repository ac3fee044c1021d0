"""Money for compiled code: the rules of ``domain.instruments`` where Python's integers are not at hand."""

from __future__ import annotations

from grandmodel.kernels import kernel


@kernel(inline=True)
def converted(micros: int, rate: int) -> int:
    """``instruments.convert_micros``: rounded down, and no product leaves 64 bits while the result does not come near."""
    return micros if rate == 1_000_000 else micros // 1_000_000 * rate + micros % 1_000_000 * rate // 1_000_000
