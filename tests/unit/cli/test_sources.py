"""What a command says of a data file that it cannot take."""

import pytest

from grandmodel.cli.sources import FileOptions, SourceOptions, file_feed, store_feed
from grandmodel.domain.errors import GrandModelError, UsageError

ROWS = "Symbol,Date,Open,High,Low,Close,Volume\n" + "".join(
    f"ES,2024-07-{day:02d},18000,18010,17990,18005,10\n" for day in (1, 2, 3, 5, 8, 9, 10, 11, 12)
)


def test_an_answer_that_only_an_import_or_a_profile_can_give_is_said_to_be_so(tmp_path, capsys):
    (tmp_path / "es.csv").write_text(ROWS, encoding="utf-8")
    with pytest.raises(GrandModelError, match="--map ES=NQ"):
        file_feed(FileOptions(data=[f"NQ={tmp_path / 'es.csv'}"]))
    assert "those of `grandmodel data import`" in capsys.readouterr().err


def test_a_store_that_is_not_there_is_not_an_empty_one(tmp_path):
    with pytest.raises(UsageError, match="found no such store"):
        store_feed(SourceOptions(), tmp_path / "nothere", ["NQ"])
