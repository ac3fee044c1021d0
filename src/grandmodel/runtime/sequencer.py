"""One stream out of several: blocks merged in order of (``ts_init``, ``sequence``), the only order the engine knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from grandmodel.domain.blocks import Block, Schema, freeze, schema_of

_SCHEMA_ORDER = (Schema.BARS, Schema.BOOK, Schema.QUOTES)
"""At one moment a finished bar comes before what happens next."""


def merge_blocks(blocks: Sequence[Block]) -> Block:
    """Blocks of one layout as one block in order of (``ts_init``, ``sequence``, ``instrument``); equal rows keep their order."""
    together = np.concatenate(blocks) if len(blocks) > 1 else blocks[0].copy()
    order = np.lexsort((together["instrument"], together["sequence"], together["ts_init"]))
    return freeze(together[order])


def sequence(blocks: Sequence[Block], rows_per_block: int = 65_536) -> Iterator[Block]:
    """All rows of ``blocks`` in the engine's order, cut into blocks of one layout and at most ``rows_per_block`` rows.

    Rows of different layouts cannot share a block, so where they alternate the blocks become short.
    """
    streams = []
    for schema in _SCHEMA_ORDER:
        same = [block for block in blocks if len(block) and schema_of(block) is schema]
        if same:
            streams.append(merge_blocks(same))
    starts = [0] * len(streams)
    while True:
        alive = [k for k in range(len(streams)) if starts[k] < len(streams[k])]
        if not alive:
            return
        first = min(alive, key=lambda k: (int(streams[k]["ts_init"][starts[k]]), k))
        stream, start = streams[first], starts[first]
        stop = min(len(stream), start + rows_per_block)
        for other in alive:
            if other != first:
                limit = int(streams[other]["ts_init"][starts[other]])
                side = "right" if first < other else "left"
                stop = min(stop, int(np.searchsorted(stream["ts_init"], limit, side=side)))  # type: ignore[call-overload]  # numpy wants literals
        starts[first] = max(stop, start + 1)
        yield stream[start : starts[first]]
