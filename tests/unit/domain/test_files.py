"""Files that a person hands over: whatever is wrong with one is a sentence that names it."""

import os
from pathlib import Path
from typing import Any

import pytest

from grandmodel.domain.errors import UsageError
from grandmodel.domain.files import document_text, load_document, path_text, read_document


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'{"seed": "\xff"}', r"a.json: line 1: found the byte 0xff, expected UTF-8"),
        ("a.json", '{"seed": 1}'.encode("utf-16"), r"a.json: line 1: found UTF-16, expected UTF-8"),
        ("a.json", b'{"a":' * 100_000, r"a.json: not a settings file: found values nested too deep"),
        ("a.toml", b"a = " + b"[" * 100_000, r"a.toml: not a settings file: found values nested too deep"),
        ("a.json", b"", r"a.json: not a settings file"),
        ("a.toml", b"a = \nb = 1\n", r"a.toml: not a settings file: .*line 1"),
        ("a.json", b"[1]", r"a.json: not a settings file: Expected `object`"),
        ("a.json", b'{"a": ' + b"9" * 10_000 + b"}", r"a.json: not a settings file"),
        ("a.toml", b"a = " + b"9" * 10_000, r"a.toml: not a settings file"),
    ],
    ids=["latin", "utf-16", "deep-json", "deep-toml", "empty", "broken", "list", "digits-json", "digits-toml"],
)
def test_what_is_wrong_with_a_document_is_said(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        load_document(tmp_path / name, "settings file", dict[str, Any])


def test_a_mark_of_utf_8_is_passed_over_and_json_says_the_same_as_toml(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + b'{"a": {"b": 1}}')
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbf" + b"[a]\nb = 1\n")
    assert load_document(tmp_path / "a.json", "settings file", dict[str, Any]) == {"a": {"b": 1}}
    assert load_document(tmp_path / "a.toml", "settings file", dict[str, Any]) == {"a": {"b": 1}}


def test_reading_has_a_bound_even_where_the_size_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b" " * 101)
    with pytest.raises(UsageError, match="more than 100 bytes"):
        read_document(tmp_path / "a.json", "proof", 100)
    with pytest.raises(UsageError, match="more than"):
        document_text(Path("/dev/zero"), "proof", 1_000)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing: the proof cannot be read"):
        read_document(tmp_path / "nothing", "proof")
    with pytest.raises(UsageError, match="cannot be read"):
        read_document(tmp_path, "proof")
    with pytest.raises(UsageError, match="cannot be read"):
        read_document(Path("a\x00b"), "proof")


def test_the_name_of_a_file_is_text_whatever_its_bytes() -> None:
    assert path_text(Path(os.fsdecode(b"nq\xff\xe9.csv"))) == r"nq\xff\xe9.csv"
    assert path_text("plain ü.csv") == "plain ü.csv"
