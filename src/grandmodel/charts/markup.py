"""Text to markup: the only place where a string becomes HTML or SVG.

``Markup`` is a type of its own, so the type checker refuses a plain string where markup is expected; the ways to make
one are ``text`` (escapes) and ``element`` (escapes its attributes). Read ``frame.py`` next.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NewType

Markup = NewType("Markup", str)
Attribute = str | int | float | None
Attributes = Mapping[str, Attribute]

EMPTY = Markup("")

# Characters that no XML 1.0 document may hold, lone surrogates included: control codes from log lines or hostile input.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SELF_CLOSING = frozenset({"circle", "line", "meta", "path", "rect", "use"})


def text(value: str) -> Markup:
    """``value`` as character data; characters that XML forbids become the replacement character."""
    clean = _FORBIDDEN.sub("\ufffd", value)
    return Markup(clean.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


def element(name: str, attributes: Attributes, *children: Markup) -> Markup:
    """One element. Attributes that are None are left out; numbers are written by ``coordinate``."""
    written = "".join(f' {key}="{_attribute(value)}"' for key, value in attributes.items() if value is not None)
    if name in _SELF_CLOSING and not children:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{''.join(children)}</{name}>")


def join(parts: Iterable[Markup]) -> Markup:
    """Several pieces of markup, one after the other."""
    return Markup("".join(parts))


def coordinate(value: float) -> str:
    """A number of the drawing, in pixels, to a hundredth: the same text for the same number on every machine."""
    written = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if written in {"-0", ""} else written


def _attribute(value: str | float) -> str:
    if isinstance(value, str):
        return text(value).replace('"', "&quot;").replace("'", "&#39;").replace("\n", "&#10;")
    return coordinate(value)
