"""The one way from a file to blocks, whatever reader the file needs."""

from datetime import date
from pathlib import Path
from types import SimpleNamespace

import databento_dbn as dbn
import numpy as np
import pytest

from bar_files import random_bars, rows_text, session_opens, write_csv
from grandmodel.data.errors import ReadError
from grandmodel.data.historical.importing import import_file, read_file
from grandmodel.data.historical.profile import ImportProfile, Label, Role
from grandmodel.data.historical.readers.options import TickOptions
from grandmodel.data.historical.store import Store
from grandmodel.domain.errors import UsageError
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import NS_PER_MINUTE

ES = BUILT_IN[InstrumentId("ES")]


def _dbn_bars(path: Path, opens: list[int], undefined: int | None = None, *, mapped: bool = True) -> Path:
    """A DBN file of one-minute bars of ESH4, one of them before its predecessor and one twice.

    The bar ``undefined`` has no high; without ``mapped`` the metadata name the contract by its number only.
    """
    values = random_bars(len(opens))
    records = [
        dbn.OHLCVMsg(
            rtype=dbn.RType.OHLCV_1M.value, publisher_id=1, instrument_id=118, ts_event=ns,
            open=int(row[0] * 1e9), high=int(row[1] * 1e9), low=int(row[2] * 1e9), close=int(row[3] * 1e9), volume=int(row[4]),
        )
        for ns, row in zip(opens, values, strict=True)
    ]  # fmt: skip
    if undefined is not None:
        records[undefined].high = dbn.UNDEF_PRICE
    records[5], records[6] = records[6], records[5]
    records.append(records[-1])
    interval = SimpleNamespace(start_date=date(2024, 1, 1), end_date=date(2024, 3, 1), symbol="118")
    metadata = dbn.Metadata(
        dataset="GLBX.MDP3", start=opens[0], stype_in=dbn.SType.RAW_SYMBOL, stype_out=dbn.SType.INSTRUMENT_ID,
        schema=dbn.Schema.from_str("ohlcv-1m"), symbols=["ESH4"] if mapped else ["118"],
        mappings=[SimpleNamespace(raw_symbol="ESH4", intervals=[interval])] if mapped else [], version=3,
    )  # fmt: skip
    path.write_bytes(metadata.encode() + b"".join(bytes(record) for record in records))
    return path


def test_bars_of_a_databento_file_get_the_checks_of_all_bars(tmp_path: Path) -> None:
    opens = session_opens("2024-01-08", "2024-01-09", ES, NS_PER_MINUTE)
    blocks, report = read_file(_dbn_bars(tmp_path / "a.dbn", opens), ES)
    (series,) = report.series
    assert blocks["ESH4"]["ts_open"].tolist() == opens
    assert (blocks["ESH4"]["close"] == random_bars(len(opens))[:, 3] * 4).all()
    assert {finding.kind: finding.count for finding in series.findings} == {
        "open_stamped_bars": len(opens) + 1,
        "unsorted_rows": 1,
        "duplicate_rows": 1,
        "unchecked_stretches": 2,
    }
    assert (series.bar_width, len(series.sessions)) == ("1m", 2)


def test_a_databento_bar_without_a_price_is_left_out(tmp_path: Path) -> None:
    opens = session_opens("2024-01-08", "2024-01-09", ES, NS_PER_MINUTE)
    blocks, report = read_file(_dbn_bars(tmp_path / "a.dbn", opens, undefined=20), ES)
    block = blocks["ESH4"]
    assert block["ts_open"].tolist() == [*opens[:20], *opens[21:]]
    assert block["high"].max() < 4 * 20_000
    (finding,) = [finding for finding in report.series[0].findings if finding.kind == "undefined_prices"]
    assert (finding.treatment, finding.count, finding.lines) == ("dropped", 1, (21,))


def test_a_databento_file_of_another_instrument_is_refused_until_mapped(tmp_path: Path) -> None:
    opens = session_opens("2024-01-08", "2024-01-09", ES, NS_PER_MINUTE)
    path = _dbn_bars(tmp_path / "a.dbn", opens)
    for name in ("CL", "NQ", "6E", "MES"):
        with pytest.raises(ReadError, match=rf"found the symbol ESH4, expected {name}.*--map ESH4={name}"):
            read_file(path, BUILT_IN[InstrumentId(name)])
    _, report = read_file(path, BUILT_IN[InstrumentId("MES")], options=TickOptions(mapped={"ESH4": "MES"}))
    assert report.mapped == {"ESH4": "MES"}
    assert report.series[0].count("mapped_symbols") == 1


def test_a_databento_file_that_names_a_number_only_is_refused_until_mapped(tmp_path: Path) -> None:
    opens = session_opens("2024-01-08", "2024-01-09", ES, NS_PER_MINUTE)
    path = _dbn_bars(tmp_path / "a.dbn", opens, mapped=False)
    with pytest.raises(ReadError, match=r"found the number 118, expected ES.*--map 118=ES"):
        read_file(path, ES)
    assert list(read_file(path, ES, options=TickOptions(mapped={"118": "ES"}))[0]) == ["118"]


def test_the_report_names_the_file_and_what_it_holds(tmp_path: Path) -> None:
    opens = session_opens("2024-01-08", "2024-01-12")
    path = write_csv(tmp_path / "nq.csv", rows_text(opens, random_bars(len(opens))))
    profile = ImportProfile(time_zone="UTC", label=Label.OPEN)
    report = import_file(Store(tmp_path / "store"), path, ES, profile)
    assert (report.instrument, report.bytes, report.imported) == ("ES", path.stat().st_size, ("nq",))
    assert report.source == f"nq.csv#{report.sha256[:16]}"
    assert report.rows_added == len(opens)


def test_a_changed_file_of_the_same_name_is_another_source(tmp_path: Path) -> None:
    opens = session_opens("2024-01-08", "2024-01-12")
    lines = rows_text(opens, random_bars(len(opens)))
    profile = ImportProfile(time_zone="UTC", label=Label.OPEN)
    store = Store(tmp_path / "store")
    import_file(store, write_csv(tmp_path / "nq.csv", lines[:100]), ES, profile)
    grown = import_file(store, write_csv(tmp_path / "nq.csv", lines), ES, profile)
    assert (grown.rows_added, grown.rows_known) == (len(lines) - 100, 100)
    assert len(store.catalogue()[0].sources) == 2


def test_a_symbol_that_the_file_has_not_is_refused(tmp_path: Path) -> None:
    opens = session_opens("2024-01-08", "2024-01-12")
    path = write_csv(tmp_path / "nq.csv", rows_text(opens, random_bars(len(opens))))
    profile = ImportProfile(time_zone="UTC", label=Label.OPEN)
    with pytest.raises(UsageError, match="none of the symbols ESH4"):
        import_file(Store(tmp_path / "store"), path, ES, profile, symbol="ESH4")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_file(tmp_path / "nothing.csv", ES)
    with pytest.raises(UsageError, match="found a folder"):
        read_file(tmp_path, ES)


def test_columns_in_the_profile_make_a_file_of_numbers_bars(tmp_path: Path) -> None:
    opens = session_opens("2024-01-08", "2024-01-12")
    path = write_csv(tmp_path / "x.csv", rows_text(opens, random_bars(len(opens))), heading="")
    roles = (Role.STAMP, Role.OPEN, Role.HIGH, Role.LOW, Role.CLOSE, Role.VOLUME)
    blocks, _ = read_file(path, ES, ImportProfile(columns=roles, time_zone="UTC", label=Label.OPEN))
    assert np.concatenate(list(blocks.values()))["ts_open"].tolist() == opens
