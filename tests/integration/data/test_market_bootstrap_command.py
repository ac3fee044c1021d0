"""``grandmodel market bootstrap`` from a store into a store, and what it refuses."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from grandmodel.cli.main import main
from grandmodel.data.historical.store import Store
from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.blocks import Schema
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import NS_PER_DAY, THIRTY_MINUTES_NS, ns_from_text
from grandmodel.simulation.market import SimulatedMarket
from grandmodel.simulation.market_parameters import built_in_parameters

INSTRUMENTS = [BUILT_IN[InstrumentId(name)] for name in ("NQ", "CL")]
START = ns_from_text("2024-03-03")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with 40 days of simulated half-hour bars of both instruments."""
    span = (START, START + 40 * NS_PER_DAY)
    schedules = [session_schedule(one, *span) for one in INSTRUMENTS]
    market = SimulatedMarket(built_in_parameters(), INSTRUMENTS, schedules, 2)
    root = tmp_path_factory.mktemp("bootstrap") / "source"
    for instrument, bars in zip(INSTRUMENTS, market.bars(*span, THIRTY_MINUTES_NS), strict=True):
        Store(root).write(instrument, Schema.BARS, bars, "simulated")
    return root


def _said(capsysbinary, monkeypatch, *words: str, code: int = 0) -> bytes:
    monkeypatch.setattr(sys, "argv", ["grandmodel", "market", "bootstrap", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code or 0) == code
    captured = capsysbinary.readouterr()
    return captured.out if code == 0 else captured.err


def _stored(root: Path) -> list[bytes]:
    return [np.concatenate(list(Store(root).blocks([one], Schema.BARS, 0, 2**62))).tobytes() for one in INSTRUMENTS]


def test_a_store_of_drawn_sessions_is_written_and_can_be_written_again(
    source: Path, tmp_path: Path, capsysbinary, monkeypatch
) -> None:
    words = ("--store", str(source), "--instrument", "NQ", "--instrument", "CL", "--sessions", "60", "--seed", "5")
    first = json.loads(_said(capsysbinary, monkeypatch, *words, "--out", str(tmp_path / "a"), "--json"))
    assert first["sessions"] == 60
    assert first["bars"] == [60 * 46, 60 * 46]
    assert first["first_day"] == "2024-03-04"
    text = _said(capsysbinary, monkeypatch, *words, "--out", str(tmp_path / "b")).decode()
    assert "60 sessions of" in text
    assert "not market data" in text
    assert _stored(tmp_path / "a") == _stored(tmp_path / "b")
    assert Store(tmp_path / "a").check() == []
    _said(capsysbinary, monkeypatch, *words, "--out", str(tmp_path / "a"))
    assert _stored(tmp_path / "a") == _stored(tmp_path / "b")
    sources = {name for entry in Store(tmp_path / "a").catalogue() for name in entry.sources}
    assert all(name.startswith("bootstrap (seed 5, 60 sessions, mean block 10)") for name in sources)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--store", "SOURCE", "--instrument", "NQ", "--out", "SOURCE"], "expected another"),
        (["--out", "o"], "expected one of them"),
        (["--store", "SOURCE", "--instrument", "NQ", "--out", "o", "--first-day", "soon"], "--first-day soon"),
        (["--store", "SOURCE", "--instrument", "NQ", "--out", "o", "--mean-block", "99"], "mean block of 99"),
        (["--store", "SOURCE", "--instrument", "NQ", "--out", "o", "--to", "2024-03-09"], "20 or more"),
    ],
)
def test_misuse_is_refused_and_writes_nothing(
    source: Path, tmp_path: Path, capsysbinary, monkeypatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = _stored(source)
    told = _said(
        capsysbinary, monkeypatch, *[str(source) if word == "SOURCE" else word for word in words], code=2
    ).decode()
    assert said in " ".join(told.split())
    assert not (tmp_path / "o").exists()
    assert _stored(source) == before
