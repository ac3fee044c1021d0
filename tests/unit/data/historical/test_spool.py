"""Spools: the same rows from memory and from files, in order, and their median."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandmodel.data.historical import spool as spools
from grandmodel.data.historical.spool import Columns, Spool, in_order, median_of
from grandmodel.domain.errors import OperatingError


def _filled(parts: list[Columns], bytes_in_memory: int) -> Spool:
    spool = Spool({"key": np.int64, "size": np.float64, "flag": np.bool_}, bytes_in_memory)
    for part in parts:
        spool.append(part)
    return spool


def _rows(keys: list[int]) -> Columns:
    values = np.array(keys, dtype=np.int64)
    return {"key": values, "size": np.abs(values) / 3, "flag": values % 2 == 0}


@given(keys=st.lists(st.lists(st.integers(-20, 20), max_size=30), max_size=8), memory=st.sampled_from((0, 200, 10**6)))
def test_rows_come_back_whatever_lies_in_files(keys: list[list[int]], memory: int) -> None:
    spool = _filled([_rows(part) for part in keys], memory)
    flat = [key for part in keys for key in part]
    assert spool.rows == len(flat)
    assert [key for _, rows in spool.pieces(("key",), 7) for key in rows["key"].tolist()] == flat
    assert spool.read(3, 9)["flag"].tolist() == [key % 2 == 0 for key in flat[3:9]]


@given(
    keys=st.lists(st.integers(-15, 15), min_size=1, max_size=200),
    piece=st.integers(1, 40),
    memory=st.sampled_from((0, 10**6)),
)
def test_pieces_in_order_never_part_equal_keys(keys: list[int], piece: int, memory: int) -> None:
    spool = _filled([_rows(keys)], memory)
    pieces = [
        rows["key"] for rows in in_order(spool, "key", lambda rows: np.argsort(rows["key"], kind="stable"), piece)
    ]
    assert np.concatenate(pieces).tolist() == sorted(keys)
    assert all(before[-1] < after[0] for before, after in pairwise(pieces))


@given(sizes=st.lists(st.floats(0, 1e300), max_size=60), same=st.booleans())
def test_the_median_of_many_is_numpys(sizes: list[float], same: bool) -> None:
    values = np.array([sizes[0]] * len(sizes) if same and sizes else sizes)
    spool = Spool({"size": np.float64})
    spool.append({"size": values})
    before = spools.PIECE_ROWS
    spools.PIECE_ROWS = 4
    try:
        found = median_of(spool, "size")
    finally:
        spools.PIECE_ROWS = before
    assert np.array_equal(found, np.median(values) if sizes else np.nan, equal_nan=True)


def test_a_full_temporary_folder_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spools.tempfile, "TemporaryFile", refuse)
    with pytest.raises(OperatingError, match=r"No space left.*TMPDIR"):
        _filled([_rows([1, 2, 3])], 0)
