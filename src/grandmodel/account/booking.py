"""What a fill does to a position: the one rule of the ledger, of the engine's market step and of training."""

from __future__ import annotations

from grandmodel.kernels import kernel


@kernel
def book_fill(lots: int, cost: int, signed_lots: int, price: int, tick_value: int) -> tuple[int, int, int]:
    """(lots, cost, realised profit) of a position of ``lots`` that cost ``cost`` after ``signed_lots`` filled at ``price`` ticks.

    Cost is the average cost, in micros, signed like the lots: what cannot be divided exactly stays with the lots that remain open, so
    nothing is lost. Profit is before fees. The caller sees to it that no product leaves 64 bits.
    """
    opening, realised = signed_lots, 0
    if lots != 0 and (lots > 0) != (signed_lots > 0):
        closed = min(abs(signed_lots), abs(lots)) * (1 if lots > 0 else -1)
        share, size = abs(closed), abs(lots)
        cost_closed = cost // size * share + cost % size * share // size
        realised = price * closed * tick_value - cost_closed
        cost -= cost_closed
        opening = signed_lots + closed
    return lots + signed_lots, cost + price * opening * tick_value, realised


@kernel
def marked_value(lots: int, cost: int, mark: int, tick_value: int, spot: int) -> int:
    """What a position adds to equity, micros: its market value where the whole price is paid, else its gain over cost."""
    if lots == 0:
        return 0
    value = lots * mark * tick_value
    return value if spot else value - cost
