"""Stamps of one form: what is taken is what polars reads, everything else is left to it."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandmodel.data.historical.readers.fixed_stamps import wall_clock_ns
from grandmodel.data.historical.readers.tables import _FORMS

ALPHABET = "0123456789-.: TZ"


@given(ns=st.lists(st.integers(-(10**18), 6 * 10**18), min_size=1, max_size=5), form=st.sampled_from(sorted(_FORMS)))
def test_written_stamps_come_back(ns: list[int], form: str) -> None:
    texts = pl.Series(ns).cast(pl.Datetime("ns")).dt.strftime(form)
    found = wall_clock_ns(texts, _FORMS[form])
    assert found is not None
    assert found.tolist() == texts.str.to_datetime(form, time_unit="ns").dt.timestamp("ns").to_list()


@given(
    text=st.one_of(
        st.text(ALPHABET, max_size=30),
        st.builds(
            "{:04d}-{:02d}-{:02d}T{:02d}:{:02d}:{:02d}{}".format,
            st.integers(1800, 2300), st.integers(0, 13), st.integers(0, 32), st.integers(0, 24), st.integers(0, 60),
            st.integers(0, 61), st.sampled_from(("", ".", ".5", ".123456789", ".1234567890", "Z", " ")),
        ),
    )
)  # fmt: skip
def test_what_is_taken_is_what_polars_reads(text: str) -> None:
    for pattern, form in _FORMS.items():
        found = wall_clock_ns(pl.Series([text]), form)
        if found is not None:
            expected = pl.Series([text]).str.to_datetime(pattern, time_unit="ns", strict=False)
            assert expected.dt.timestamp("ns").to_list() == found.tolist()


@pytest.mark.parametrize(
    "texts", [[], [None], ["2024-01-02T03:04:05", None], ["2024-02-30T00:00:00"], ["1899-01-01T00:00:00"]]
)
def test_a_column_with_anything_else_is_left_alone(texts: list[str | None]) -> None:
    assert wall_clock_ns(pl.Series(texts, dtype=pl.String), "YYYY-MM-DDThh:mm:ss*") is None
