"""Stands in for ``grandmodel.kernels`` in the copy of the package that ``mutate.py`` makes: kernels run as the Python they are written in.

A changed kernel would take a minute to compile; here it takes nothing, and a step through it is a step through Python. Rows of structured
arrays answer by the names of their fields and give Python's numbers, as they do in compiled code. What differs from compiled code: whole
numbers that leave 64 bits raise where they are put into an array, and a place outside an array raises.
"""

from __future__ import annotations

import ctypes
import math
from collections import namedtuple
from collections.abc import Iterable
from functools import cache, wraps
from typing import Any

import numba
import numpy as np

from grandmodel import vectors

config: Any = numba.config

np.seterr(over="ignore")  # Numpy's own whole numbers wrap, as they do in compiled code.


def kernel(function: Any = None, *, inline: bool = False, borrows: bool = False) -> Any:
    """``function`` itself, with structured arrays among its arguments made ``Rows`` and numpy's numbers made Python's."""

    def keep_function(python_function: Any) -> Any:
        @wraps(python_function)
        def run(*given: Any, **named: Any) -> Any:
            if named:
                named = {name: _as_kernel_sees(one) for name, one in named.items()}
            return _as_kernel_sees(python_function(*[_as_kernel_sees(one) for one in given], **named))

        run.py_func = python_function  # type: ignore[attr-defined]
        return run

    return keep_function if function is None else keep_function(function)


def table_of(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Addresses, steps and lengths of ``arrays``, as the package's own writes them down."""
    words: list[int] = []
    for array in arrays:
        step = 0 if array.ndim > 1 and array.strides[0] == 0 else array.itemsize * math.prod(array.shape[1:])
        words += (array.ctypes.data, step, *array.shape)
    return np.array(words, np.int64)


def table_reader(name: str, fields: Iterable[tuple[str, Any, int]]) -> Any:
    """What opens a ``table_of``: the arrays of ``fields`` (name, dtype, dimensions) where the table says that they stand."""
    known = tuple(fields)
    made = namedtuple(name, [field for field, _, _ in known])  # noqa: PYI024  its fields are not known here

    def open_table(table: np.ndarray) -> Any:
        words, arrays = iter(table.tolist()), []
        for _, dtype, dimensions in known:
            address, step = next(words), next(words)
            shape = tuple(next(words) for _ in range(dimensions))
            own = shape if step or dimensions == 1 else (1, *shape[1:])
            size = math.prod(own) * np.dtype(dtype).itemsize
            found = (
                np.frombuffer((ctypes.c_char * size).from_address(address), dtype).reshape(own)
                if size
                else np.zeros(own, dtype)
            )
            arrays.append(_as_kernel_sees(found if own == shape else np.broadcast_to(found, shape)))
        return made(*arrays)

    return open_table


class Rows:
    """A structured array whose rows are read and written by the names of their fields."""

    __slots__ = ("_array", "_row", "shape")

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self._row = _row_class(array.dtype)
        self.shape = array.shape

    def __len__(self) -> int:
        """How many there are along the first axis."""
        return len(self._array)

    def __getitem__(self, place: Any) -> Any:
        """The row at ``place``, or the part of the array."""
        found = self._array[place]
        return self._row(found) if type(found) is np.void else Rows(found)

    def __setitem__(self, place: Any, given: Any) -> None:
        """Copy a row, or rows, to ``place``."""
        self._array[place] = given._array if isinstance(given, Rows) else getattr(given, "_record", given)


@cache
def _row_class(dtype: np.dtype) -> type:
    """A row of ``dtype``: one property a field."""

    def field(name: str) -> property:
        def read(self: Any) -> Any:
            found = self._record[name]
            return found.item() if found.ndim == 0 else found

        def write(self: Any, given: Any) -> None:
            self._record[name] = given

        return property(read, write)

    def begin(self: Any, record: np.void) -> None:
        self._record = record

    return type("Row", (), {"__slots__": ("_record",), "__init__": begin} | {name: field(name) for name in dtype.names})


def _as_kernel_sees(given: Any) -> Any:
    kind = type(given)
    if kind is int or kind is Rows or kind is bool or kind is float:
        return given
    if kind is np.ndarray:
        return Rows(given) if given.dtype.names else given
    if isinstance(given, np.void):
        return _row_class(given.dtype)(given)
    if isinstance(given, np.generic):
        return given.item()
    if isinstance(given, tuple):
        if given and type(given[0]) is Rows:  # The rows of an account, on their way from kernel to kernel.
            return given
        made = [_as_kernel_sees(one) for one in given]
        return kind._make(made) if hasattr(kind, "_make") else tuple(made)
    return given


def _load(array: np.ndarray, at: int) -> np.ndarray:
    return array.reshape(-1)[at : at + vectors.DOUBLES].copy()


def _store(array: np.ndarray, at: int, vector: np.ndarray) -> None:
    array.reshape(-1)[at : at + vectors.DOUBLES] = vector


# Instructions of the compiler's own have no Python: these stand for those that risk uses, on float64. ``fma`` rounds twice here.
vectors.load, vectors.store = _load, _store
vectors.splat = lambda array, at: np.full(vectors.DOUBLES, array.reshape(-1)[at])
vectors.filled = lambda value: np.full(vectors.DOUBLES, value)
vectors.fma = lambda x, y, z: x * y + z
vectors.sum_of_lanes = lambda vector: float(vector.sum())
