"""Calls into compiled decoders, so that damaged bytes end as an error of ours whatever the decoder does about them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import databento_dbn
import polars as pl
import pyarrow as pa

from grandmodel.data.historical.readers.errors import CorruptFileError

T = TypeVar("T")

_FAULTS = (
    databento_dbn.DBNError,
    pl.exceptions.PolarsError,
    pa.ArrowException,
    OSError,
    ValueError,
    OverflowError,
    TypeError,
    MemoryError,
)


def decoded(decode: Callable[[], T], path: Path, what: str) -> T:
    """What ``decode`` (a call into the compiled code of Databento, polars or pyarrow) returns.

    Its faults, a panic included, become ``CorruptFileError`` about ``what`` in ``path``.
    """
    try:
        return decode()
    except FileNotFoundError:
        raise
    except _FAULTS as error:
        raise CorruptFileError(f"{path}: {what} ({_reason(error)})") from error
    except BaseException as error:
        # A panic of compiled code on impossible bytes is no Exception and has no public type.
        if type(error).__name__ != "PanicException":
            raise
        raise CorruptFileError(f"{path}: {what} ({_reason(error)})") from None


def _reason(error: BaseException) -> str:
    return str(error).split("\n", 1)[0][:300]
