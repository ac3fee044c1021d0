"""The store: what is written comes back, twice the same changes nothing, and damage is found."""

import hashlib
from pathlib import Path

import duckdb
import msgspec
import numpy as np
import polars as pl
import pytest

from bar_files import CL, NQ, random_bars, session_opens
from grandmodel.data.errors import StoreError
from grandmodel.data.historical.store import Store
from grandmodel.domain.blocks import Action, Block, Schema, check_order, empty_block, freeze
from grandmodel.domain.errors import UsageError
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.time import FIVE_MINUTES_NS, NS_PER_HOUR, THIRTY_MINUTES_NS, ns_from_text

EVER = 2**62


def bars(start: str, end: str, instrument: Instrument = NQ, seed: int = 1, width_ns: int = THIRTY_MINUTES_NS) -> Block:
    """Whole sessions of bars."""
    opens = session_opens(start, end, instrument, width_ns)
    values = random_bars(len(opens), seed)
    block = empty_block(Schema.BARS, len(opens))
    block["ts_open"] = opens
    block["ts_event"] = block["ts_init"] = block["ts_open"] + width_ns
    for column, name in enumerate(("open", "high", "low", "close")):
        block[name] = values[:, column] * 4
    block["volume"] = values[:, 4]
    return freeze(block)


def trades(start: str, count: int, step_ns: int, seed: int = 2) -> Block:
    """Trades one ``step_ns`` apart, several in one instant now and then."""
    rng = np.random.default_rng(seed)
    block = empty_block(Schema.TRADES, count)
    block["ts_event"] = ns_from_text(start) + np.cumsum(rng.integers(0, 2, count)) * step_ns
    block["ts_init"] = block["ts_event"]
    block["price"] = 60_000 + np.cumsum(rng.integers(-1, 2, count))
    block["size"] = rng.integers(1, 5, count)
    block["sequence"] = np.arange(count)
    block["action"] = int(Action.TRADE)
    return freeze(block)


def _all(
    store: Store, instruments: list[Instrument], schema: Schema = Schema.BARS, rows: int = 1_000, **more: str
) -> Block:
    parts = list(store.blocks(instruments, schema, 0, EVER, rows, **more))
    assert all(not part.flags.writeable for part in parts)
    assert all(0 < len(part) <= rows for part in parts)
    assert len(parts) <= 2 * sum(map(len, parts)) / rows + 2 + len(list(store.root.rglob("*.parquet")))
    return np.concatenate(parts)


def _bytes(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_what_is_written_comes_back_row_for_row(store: Store) -> None:
    block = bars("2024-01-02", "2024-03-28")
    written = store.write(NQ, Schema.BARS, block, "a.csv")
    assert (written.rows_added, written.rows_known, written.files_changed) == (len(block), 0, 3)
    assert (_all(store, [NQ], rows=97) == block).all()
    (entry,) = store.catalogue()
    assert (entry.instrument, entry.schema, entry.rows, entry.days) == ("NQ", "bars-30m", len(block), 63)
    assert (entry.first_ns, entry.last_ns) == (int(block["ts_init"][0]), int(block["ts_init"][-1]))
    assert store.check() == []


def test_writing_twice_changes_no_byte(store: Store) -> None:
    block = bars("2024-01-02", "2024-02-28")
    store.write(NQ, Schema.BARS, block, "a.csv")
    before = _bytes(store.root)
    again = store.write(NQ, Schema.BARS, block, "a.csv")
    assert (again.rows_added, again.rows_known, again.files_changed) == (0, len(block), 0)
    assert _bytes(store.root) == before


def test_the_same_rows_give_the_same_bytes_in_another_store(tmp_path: Path) -> None:
    block = bars("2024-01-02", "2024-01-31")
    for name in ("a", "b"):
        Store(tmp_path / name).write(NQ, Schema.BARS, block, "a.csv")
    assert _bytes(tmp_path / "a") == _bytes(tmp_path / "b")


def test_an_overlapping_file_adds_only_what_is_new(store: Store) -> None:
    whole = bars("2024-01-02", "2024-03-28")
    store.write(NQ, Schema.BARS, whole[:1500], "a.csv")
    written = store.write(NQ, Schema.BARS, whole[1000:], "b.csv")
    assert (written.rows_added, written.rows_known) == (len(whole) - 1500, 500)
    assert (_all(store, [NQ]) == whole).all()


def test_a_source_that_grew_replaces_its_own_rows(store: Store) -> None:
    whole = bars("2024-01-02", "2024-01-31")
    store.write(NQ, Schema.BARS, whole[:500], "a.csv")
    store.write(NQ, Schema.BARS, whole, "a.csv")
    assert (_all(store, [NQ]) == whole).all()
    assert len(list(store.root.rglob("*.parquet"))) == 1


def test_bars_that_contradict_the_store_are_refused_and_nothing_changes(store: Store) -> None:
    block = bars("2024-01-02", "2024-02-28")
    store.write(NQ, Schema.BARS, block, "a.csv")
    before = _bytes(store.root)
    other = block.copy()
    other["close"][900] += 1
    with pytest.raises(StoreError, match=r"close .* 'a.csv' has already brought .*\(1 such bars\)"):
        store.write(NQ, Schema.BARS, other, "b.csv")
    assert _bytes(store.root) == before


def test_trades_of_two_sources_at_one_time_are_refused(store: Store) -> None:
    store.write(NQ, Schema.TRADES, trades("2024-01-10T15:00:00+00:00", 500, NS_PER_HOUR // 3600), "a.dbn")
    with pytest.raises(StoreError, match="overlaps"):
        store.write(NQ, Schema.TRADES, trades("2024-01-10T15:01:00+00:00", 500, NS_PER_HOUR // 3600), "b.dbn")
    store.write(NQ, Schema.TRADES, trades("2024-01-10T18:00:00+00:00", 500, NS_PER_HOUR // 3600), "b.dbn")
    assert len(_all(store, [NQ], Schema.TRADES)) == 1_000


def test_trades_lie_in_a_folder_per_trading_day(store: Store) -> None:
    block = trades("2024-01-10T20:00:00+00:00", 4_000, 5 * 10**9)
    store.write(NQ, Schema.TRADES, block, "a.dbn")
    folders = sorted(path.parent.name for path in store.root.rglob("*.parquet"))
    assert folders == ["day=2024-01-10", "day=2024-01-11"]  # 18:00 New York begins the 11th
    assert (_all(store, [NQ], Schema.TRADES, rows=333) == block).all()


@pytest.mark.parametrize("rows", [1, 7, 46, 10_000])
def test_instruments_are_merged_in_order_however_they_are_cut(store: Store, rows: int) -> None:
    first, second = bars("2024-01-08", "2024-02-09"), bars("2024-01-10", "2024-02-20", CL, seed=9)
    store.write(NQ, Schema.BARS, first, "nq.csv")
    store.write(CL, Schema.BARS, second, "cl.csv")
    merged = _all(store, [CL, NQ], rows=rows)
    check_order(merged)
    ties = merged["ts_init"][1:] == merged["ts_init"][:-1]
    assert ties.sum() > 500
    assert (merged["instrument"][1:][ties] > merged["instrument"][:-1][ties]).all()
    for place, block in enumerate((second, first)):
        mine = merged[merged["instrument"] == place].copy()
        mine["instrument"] = 0
        assert (mine == block).all()


def test_instruments_whose_files_begin_at_different_times_are_merged_in_order(store: Store) -> None:
    long, late = bars("2024-01-08", "2024-04-26"), bars("2024-03-04", "2024-03-28", CL, seed=9)
    store.write(NQ, Schema.BARS, long, "nq.csv")
    store.write(CL, Schema.BARS, late, "cl.csv")
    merged = _all(store, [NQ, CL], rows=100)
    check_order(merged)
    assert len(merged) == len(long) + len(late)


def test_equal_instants_across_days_and_instruments_keep_the_order_of_sequence(store: Store) -> None:
    block = trades("2024-01-10T21:59:00+00:00", 3_000, 10**9)
    other = block.copy()
    other["sequence"] += 1
    store.write(NQ, Schema.TRADES, block, "a")
    store.write(CL, Schema.TRADES, freeze(other), "b")
    merged = _all(store, [NQ, CL], Schema.TRADES, rows=11)
    assert len(merged) == 6_000
    check_order(merged)


def test_only_the_span_asked_for_is_given(store: Store) -> None:
    block = bars("2024-01-08", "2024-02-09")
    store.write(NQ, Schema.BARS, block, "a.csv")
    start, end = int(block["ts_init"][100]), int(block["ts_init"][300])
    assert (np.concatenate(list(store.blocks([NQ], Schema.BARS, start, end))) == block[100:300]).all()
    assert list(store.blocks([NQ], Schema.BARS, end, end)) == []


def test_bars_of_two_widths_live_side_by_side_and_must_be_chosen(store: Store) -> None:
    wide, narrow = bars("2024-01-08", "2024-01-12"), bars("2024-01-08", "2024-01-12", width_ns=FIVE_MINUTES_NS)
    store.write(NQ, Schema.BARS, wide, "30.csv")
    store.write(NQ, Schema.BARS, narrow, "5.csv")
    with pytest.raises(UsageError, match="bars-30m, bars-5m"):
        store.blocks([NQ], Schema.BARS, 0, EVER)
    assert (_all(store, [NQ], bar_width="5m") == narrow).all()


def test_what_is_not_there_is_refused_with_what_is(store: Store) -> None:
    store.write(NQ, Schema.BARS, bars("2024-01-08", "2024-01-12"), "a.csv")
    with pytest.raises(UsageError, match=r"no trades of NQ \(it has bars-30m\)"):
        store.blocks([NQ], Schema.TRADES, 0, EVER)
    with pytest.raises(UsageError, match="nothing of this instrument"):
        store.blocks([CL], Schema.BARS, 0, EVER)


def test_polars_and_duckdb_read_the_files_without_this_program(store: Store) -> None:
    block = bars("2024-01-08", "2024-02-09")
    store.write(NQ, Schema.BARS, block, "a.csv")
    pattern = f"{store.root}/instrument=*/**/*.parquet"
    frame = pl.scan_parquet(pattern, hive_partitioning=True).sort("ts_event").collect()
    assert frame["close"].to_list() == block["close"].tolist()
    assert frame["instrument"].unique().to_list() == ["NQ"]
    days = frame.group_by("day").len()["len"].unique().to_list()
    assert sorted(days) == [38, 46]  # 15 January was short
    table = duckdb.read_parquet(pattern, hive_partitioning=True)
    assert table.filter("day = date '2024-01-15'").aggregate("count(*)").fetchall() == [(38,)]


def test_a_changed_byte_and_a_missing_file_are_found(store: Store) -> None:
    store.write(NQ, Schema.BARS, bars("2024-01-08", "2024-02-28"), "a.csv")
    first, second = sorted(store.root.rglob("*.parquet"))
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    first.write_bytes(content)
    with pytest.raises(StoreError, match="other bytes"):
        _all(store, [NQ])
    second.unlink()
    (store.root / "instrument=NQ" / "stray.parquet").write_bytes(b"")
    assert [problem.split(": ", 1)[1][:11] for problem in store.check()] == [
        "found other",
        "found no su",
        "not in the ",
    ]


def test_a_damaged_manifest_is_refused(store: Store) -> None:
    store.write(NQ, Schema.BARS, bars("2024-01-08", "2024-01-12"), "a.csv")
    manifest = store.root / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text[: len(text) // 2])
    with pytest.raises(StoreError, match="not a manifest"):
        store.catalogue()
    manifest.write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(StoreError, match="format 2"):
        store.catalogue()


def test_an_instrument_with_other_units_is_refused(store: Store) -> None:
    block = bars("2024-01-08", "2024-01-12")
    store.write(NQ, Schema.BARS, block, "a.csv")
    from decimal import Decimal

    finer = msgspec.structs.replace(NQ, tick_size=Decimal("0.05"))
    with pytest.raises(StoreError, match=r"tick size 0.05 .* expected 0.25"):
        list(store.blocks([finer], Schema.BARS, 0, EVER))
    with pytest.raises(StoreError, match="tick size"):
        store.write(finer, Schema.BARS, block, "b.csv")


def test_rows_out_of_order_or_of_another_layout_are_refused(store: Store) -> None:
    block = bars("2024-01-08", "2024-01-12")
    with pytest.raises(UsageError, match="rows in order"):
        store.write(NQ, Schema.BARS, block[::-1], "a.csv")
    with pytest.raises(UsageError, match="expected trades"):
        store.write(NQ, Schema.TRADES, block, "a.csv")
    assert not (store.root / "manifest.json").exists()


def test_a_second_writer_is_refused_while_one_writes(store: Store) -> None:
    import fcntl

    store.write(NQ, Schema.BARS, bars("2024-01-08", "2024-01-12"), "a.csv")
    with (store.root / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="another process"):
            store.write(NQ, Schema.BARS, bars("2024-02-05", "2024-02-09"), "b.csv")
        assert len(_all(Store(store.root), [NQ])) > 0  # reading goes on


def test_a_folder_that_cannot_be_written_is_an_error_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        Store(tmp_path / "file" / "store").write(NQ, Schema.BARS, bars("2024-01-08", "2024-01-12"), "a.csv")


def test_an_empty_store_has_nothing(tmp_path: Path) -> None:
    assert Store(tmp_path / "nothing").catalogue() == []
    assert not (tmp_path / "nothing").exists()
    assert list(tmp_path.iterdir()) == []
