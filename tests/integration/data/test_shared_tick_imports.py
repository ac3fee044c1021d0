"""Files of trades, quotes and orders go the same way into the store as bars do, and come back in order."""

from pathlib import Path

import numpy as np
import pytest

from grandmodel.data.errors import AmbiguousError
from grandmodel.data.historical.importing import import_file, read_file
from grandmodel.data.historical.profile import ImportProfile
from grandmodel.data.historical.store import Store
from grandmodel.domain.blocks import Schema, check_order
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from shared_data import shared

pytestmark = pytest.mark.shared

ES, GC = BUILT_IN[InstrumentId("ES")], BUILT_IN[InstrumentId("GC")]


@pytest.mark.parametrize(
    ("name", "schema", "rows"),
    [
        ("ESH4_mbo_20231225.dbn.zst", Schema.BOOK, 68_792),
        ("ESU4_trades_20240701_4min.dbn.zst", Schema.TRADES, 120),
        ("ESU4_mbp1_20240701_4min.dbn.zst", Schema.QUOTES, 2_288),
    ],
)
def test_databento_files_come_back_from_the_store(tmp_path: Path, name: str, schema: Schema, rows: int) -> None:
    path = shared(f"data/orderbook/databento_es/{name}")
    store = Store(tmp_path / "store")
    report = import_file(store, path, ES)
    assert (report.rows_added, report.series[0].schema) == (rows, schema)
    assert import_file(store, path, ES).files_changed == 0
    read, _ = read_file(path, ES)
    ((_, block),) = read.items()
    stored = np.concatenate(list(store.blocks([ES], schema, 0, 2**62, rows_per_block=1_000)))
    check_order(stored)
    assert (stored == block).all()


def test_one_expiry_of_many_is_chosen_by_its_symbol(tmp_path: Path) -> None:
    path = shared("data/ticks/lean_gc/20131007_trade.zip")
    profile = ImportProfile(time_zone="UTC")
    store = Store(tmp_path / "store")
    with pytest.raises(AmbiguousError, match="GC201312"):
        import_file(store, path, GC, profile)
    assert store.catalogue() == []
    report = import_file(store, path, GC, profile, symbol="GC201312")
    assert report.imported == ("GC201312",)
    assert store.catalogue()[0].rows == report.series[0].rows_kept == report.rows_added
