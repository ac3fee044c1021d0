"""Numbers as people's programs write them: ``16,543.25``, ``16.543,25``, ``16 543,25``, ``16'543.25``, volumes of ``559.63K``.

Whether a comma parts decimals or thousands is proven by the prices of the whole file or refused; it is never decided value by
value. Spaces (also those that do not break) and apostrophes between digits are thousands separators everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from grandmodel.data.errors import AmbiguousError, ReadError
from grandmodel.data.historical.stamps import first_lines

_MOST_DIGITS = 64
_SHOWS_COMMA = r"^[-+]?(\d{1,3}(\.\d{3})+,\d+|\d+,(\d{1,2}|\d{4,})|\d{4,},\d+|0\d*,\d+)$"
"""Only a decimal comma writes such a number: not three digits behind it, or more than three (or a zero) before it."""
_SHOWS_POINT = r"^[-+]?(\d{1,3}(,\d{3})+\.\d*|\d{1,3}(,\d{3}){2,}|\d*\.(\d{1,2}|\d{4,})|\d{4,}\.\d+|0*\.\d+)$"
_EITHER = r"^[-+]?\d{1,3},\d{3}$"
"""1,250 is one and a quarter or twelve hundred and fifty."""
_GROUPED = r"^[-+]?\d{1,3}(,\d{3})+(\.\d*)?$"
_SHORTENED = r"^([-+]?[\d.,]+)([KMBT])$"
_FACTORS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_UNDEFINED = 9_223_372_036.0
"""Databento writes a price that there is not as 2^63 - 1 billionths, in text too."""


@dataclass(frozen=True, slots=True)
class NumberStyle:
    """How the numbers of a file are written."""

    decimal_comma: bool = False
    evidence: list[str] = field(default_factory=list)


def number_style(
    prices: Mapping[str, pl.Series], lines: NDArray[np.int64] | None, stated: bool | None, where: str
) -> NumberStyle:
    """The style that the ``prices`` (T,) by name prove, or the ``stated`` one.

    Raises ``AmbiguousError`` where every comma could be either, ``ReadError`` where some prices prove one style and some the
    other; both name a line of ``lines`` (T,).
    """
    if stated is not None:
        return NumberStyle(stated)
    columns = [_plain(column) for column in prices.values() if column.dtype == pl.String]
    if not any(column.str.contains(",", literal=True).any() for column in columns):
        return NumberStyle()
    rows = lines if lines is not None else np.arange(1, len(columns[0]) + 1)
    comma, point, either = (_any_match(columns, pattern) for pattern in (_SHOWS_COMMA, _SHOWS_POINT, _EITHER))
    if comma.any() and point.any():
        raise ReadError(
            f"{where}: found prices with a decimal comma ({int(comma.sum())} rows, first: line {first_lines(rows, comma)[0]}) and "
            f"with a decimal point ({int(point.sum())} rows, first: line {first_lines(rows, point)[0]}), expected one of them; "
            "split the file or correct the rows"
        )
    if comma.any():
        shown = first_lines(rows, comma)[0]
        return NumberStyle(True, [f"decimal comma: {int(comma.sum())} rows allow nothing else (first: line {shown})"])
    if either.any() and not point.any():
        raise AmbiguousError(
            f"{where}: line {first_lines(rows, either)[0]}: every comma in the prices stands before three digits, so it may part "
            "decimals or thousands; say --decimal-comma or --decimal-point"
        )
    return NumberStyle()


def numbers_of(column: pl.Series, style: NumberStyle) -> NDArray[np.float64]:
    """A column (T,) as float64, NaN where there is no number."""
    if column.dtype == pl.String:
        numbers = _parsed(_plain(column), decimal_comma=style.decimal_comma)
    elif column.dtype.is_numeric():
        numbers = column.cast(pl.Float64, strict=False)
    else:
        return np.full(len(column), np.nan)
    values = numbers.fill_null(np.nan).to_numpy().astype(np.float64, copy=True)
    with np.errstate(invalid="ignore"):
        values[np.floor(np.abs(values)) == _UNDEFINED] = np.nan
    return values


def volumes_of(column: pl.Series, style: NumberStyle) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A column of volumes (T,) as ``numbers_of`` gives it, with ``1.2K`` multiplied out, and which rows were so shortened."""
    values = numbers_of(column, style)
    shortened = np.zeros(len(values), dtype=np.bool_)
    if column.dtype != pl.String:
        return values, shortened
    parts = _plain(column).str.to_uppercase().str.extract_groups(_SHORTENED)
    units = parts.struct[1]
    if units.null_count() == len(units):
        return values, shortened
    mantissas = parts.struct[0]
    is_comma = mantissas.str.contains(_SHOWS_COMMA).fill_null(value=False)
    plain = _parsed(mantissas, decimal_comma=style.decimal_comma)
    numbers = plain.zip_with(~is_comma, _parsed(mantissas, decimal_comma=True))
    factors = units.replace_strict(_FACTORS, default=None, return_dtype=pl.Float64)
    products = (numbers * factors).fill_null(np.nan).to_numpy()
    shortened = np.isfinite(products)
    whole = np.rint(np.where(shortened, products, 0.0))
    # 559.63 x 1,000 misses 559,630 by float noise only.
    products = np.where(np.abs(products - whole) <= 1e-6 * np.maximum(1.0, np.abs(whole)), whole, products)
    return np.where(shortened, products, values), shortened


def _plain(column: pl.Series) -> pl.Series:
    """Without blanks around and the separators that are never decimals."""
    text = column.str.slice(0, _MOST_DIGITS).str.strip_chars()
    if text.str.contains(r"\d[\s\u00a0\u202f\u2009'\u2019]").any():
        text = text.str.replace_all(r"(\d)[\s\u00a0\u202f\u2009'\u2019](\d{3})", "${1}${2}")
        text = text.str.replace_all(r"(\d)[\s\u00a0\u202f\u2009'\u2019](\d{3})", "${1}${2}")
        text = text.str.replace_all(r"(\d)[\s\u00a0\u202f]+([KkMmBbTt])$", "${1}${2}")
    if text.str.contains("\u2212", literal=True).any():
        text = text.str.replace("\u2212", "-", literal=True)  # the minus sign of typesetters
    return text


def _any_match(columns: list[pl.Series], pattern: str) -> NDArray[np.bool_]:
    found = np.zeros(len(columns[0]), dtype=np.bool_)
    for column in columns:
        found |= column.str.contains(pattern).fill_null(value=False).to_numpy()
    return found


def _parsed(text: pl.Series, *, decimal_comma: bool) -> pl.Series:
    if decimal_comma:
        text = text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    numbers = text.cast(pl.Float64, strict=False)
    if not decimal_comma and numbers.null_count() > text.null_count():
        grouped = text.str.contains(_GROUPED).fill_null(value=False)
        numbers = text.zip_with(~grouped, text.str.replace_all(",", "", literal=True)).cast(pl.Float64, strict=False)
    return numbers
