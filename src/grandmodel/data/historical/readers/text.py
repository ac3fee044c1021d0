"""Text as people's programs write it, as UTF-8: UTF-16 and UTF-32 are told by their marks, older code pages by what is no UTF-8.

What is no table of text at all (a workbook, a web page, JSON) is refused by name, with what to do instead.
"""

from __future__ import annotations

import codecs
from pathlib import Path

from grandmodel.data.errors import ReadError
from grandmodel.data.historical.readers.compressed import load_bytes
from grandmodel.data.historical.readers.limits import ReadLimits

_MARKS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is its first half
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)
_OTHER_FORMATS: tuple[tuple[bytes, str], ...] = (
    (b"\xd0\xcf\x11\xe0", "an Excel workbook (.xls)"),
    (b"%pdf", "a PDF"),
    (b"bzh", "bzip2, which is not unpacked here,"),
    (b"rar!", "a RAR archive, which is not unpacked here,"),
    (b"7z\xbc\xaf", "a 7-Zip archive, which is not unpacked here,"),
    (b"<!doctype", "a web page"),
    (b"<html", "a web page"),
    (b"<?xml", "XML"),
    (b"<table", "a web page"),
    (b"{\\rtf", "a text document (RTF)"),
    (b"{", "JSON"),
    (b"[", "JSON"),
)
_SAMPLE = 4_096
_NUL_SHARE = 0.3


def load_text(path: Path, limits: ReadLimits) -> bytes:
    """The content of ``path``, unpacked, as UTF-8; raises what ``load_bytes`` and ``utf8_text`` raise."""
    return utf8_text(load_bytes(path, limits), str(path))[0]


def utf8_text(content: bytes, where: str) -> tuple[bytes, str]:
    """``content`` as UTF-8 without a mark, and a sentence about how it was written (empty for UTF-8).

    Raises ``ReadError`` where UTF-16 or UTF-32 breaks off.
    """
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "") or _wide_without_mark(content)
    if encoding == "utf-8":
        content, encoding = content[len(codecs.BOM_UTF8) :], ""
    if encoding:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError as error:
            raise ReadError(
                f"{where}: found text in {encoding.upper()} that breaks at byte {error.start}, expected whole characters; is "
                "the file cut off?"
            ) from error
        return text.removeprefix("\ufeff").encode("utf-8", "replace"), f"text in {encoding.upper()}"
    if content.isascii():
        return content, ""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        # Every byte has a meaning in Latin-1, so this cannot fail; the table's own characters are the same in both.
        return content.decode(
            "cp1252" if _is_cp1252(content) else "latin-1"
        ).encode(), "text in Windows-1252 (not UTF-8)"
    return content, ""


def utf8_head(head: bytes) -> bytes:
    """The beginning of a file as ``utf8_text`` would give it; what cannot be told stays as it is."""
    encoding = next((name for mark, name in _MARKS if head.startswith(mark)), "") or _wide_without_mark(head)
    if not encoding:
        return head
    return head.decode(encoding, "ignore").removeprefix("\ufeff").encode("utf-8", "ignore")


def refuse_other_formats(content: bytes, where: str) -> None:
    """Raise ``ReadError`` where ``content`` is no table of text but something that can be named."""
    start = content[:256].lstrip().lower()
    for mark, name in _OTHER_FORMATS:
        if start.startswith(mark):
            raise ReadError(
                f"{where}: line 1: found {name}, expected a table of bars as delimited text (CSV) or Parquet; save or convert it "
                "as CSV with a heading line"
            )


def _wide_without_mark(content: bytes) -> str:
    """UTF-16 that lacks its mark: every other byte of western text is zero."""
    sample = content[:_SAMPLE]
    if b"\x00" not in sample or len(sample) < 8:
        return ""
    even, odd = sample[::2], sample[1::2]
    if odd.count(0) > _NUL_SHARE * len(odd) and not even.count(0):
        return "utf-16-le"
    if even.count(0) > _NUL_SHARE * len(even) and not odd.count(0):
        return "utf-16-be"
    return ""


def _is_cp1252(content: bytes) -> bool:
    return not any(byte in content for byte in (b"\x81", b"\x8d", b"\x8f", b"\x90", b"\x9d"))
