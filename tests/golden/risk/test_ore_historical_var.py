"""Open Source Risk Engine's own historical VaR example, row by row, exactly as printed."""

import csv
from collections import defaultdict
from decimal import Decimal

import numpy as np
import pytest

from grandmodel.risk import var
from shared_data import shared

Key = tuple[str, str, str]


def _pnl() -> dict[Key, np.ndarray]:
    series: dict[Key, list[float]] = defaultdict(list)
    with shared("reference/ore/histsimvar_historical_PnL.csv").open() as lines:
        for row in csv.reader(lines):
            if not row[0].startswith("#"):
                series[row[0], row[1], row[2]].append(float(row[5]))
    return {key: np.array(values) for key, values in series.items()}


def _printed(value: float) -> str:
    return str(Decimal(value).quantize(Decimal("0.000001")))


@pytest.mark.shared
def test_every_quantile_and_shortfall_is_the_printed_one() -> None:
    pnl = _pnl()
    with shared("reference/ore/histsimvar_var.csv").open() as lines:
        rows = list(csv.reader(lines))
    header = rows[0]
    checked = 0
    for row in rows[1:]:
        values = pnl[row[0], row[1], row[2]]
        for name, text in zip(header[3:], row[3:], strict=True):
            kind, probability = name.split("_")
            found = var.historical(values, float(1 - Decimal(probability)))
            assert _printed(-found.value if kind == "Quantile" else -found.expected_shortfall) == text
            checked += 1
        found = var.historical(values, 0.99)
        assert _printed(-found.value) == row[3]
        assert _printed(-found.expected_shortfall) == row[7]
    assert checked == 48
