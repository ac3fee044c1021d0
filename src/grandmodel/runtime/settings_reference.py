"""The settings as a page, read from the settings types themselves, so that the page cannot forget one.

``grandmodel settings reference`` prints it; a test holds ``docs/reference/settings.md`` against it.
"""

from __future__ import annotations

import ast
import enum
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Iterator
from typing import Any

import msgspec

from grandmodel.runtime.settings import RunSettings

_INTRO = """# Settings

A settings file is TOML or JSON with the names below (`grandmodel run --settings FILE`); `--set a.b=value` overrides one. Unknown
names are refused. `grandmodel settings show` prints what a file resolves to. This page is made by
`grandmodel settings reference`.
"""


class SettingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One setting, as the page has it."""

    path: str
    """The name that a settings file or ``--set`` gives it."""
    default: str
    """JSON, ``required``, or where its parts are."""
    meaning: str


def reference_rows() -> list[SettingRow]:
    """Every setting of every settings type, in the order of the page."""
    return [
        SettingRow(path=f"{path}.{name}".lstrip("."), default=default.strip("`"), meaning=meaning)
        for path, kind in _types(RunSettings, "")
        for name, default, meaning in _rows(kind)
    ]


def reference_page() -> str:
    """The whole page as Markdown: a section a settings type, a row a setting."""
    parts = [_INTRO]
    for path, kind in _types(RunSettings, ""):
        heading = f"`{path}`" if path else "top level"
        parts.append(f"\n## {heading}: {kind.__name__}\n\n{_first_lines(kind)}\n")
        if not kind.__struct_fields__:
            continue
        parts.append("\n| setting | default | meaning |\n|---|---|---|\n")
        for name, default, meaning in _rows(kind):
            parts.append("| {} | {} | {} |\n".format(name, default, meaning.replace("|", "\\|")))
    return "".join(parts)


def _rows(kind: type[msgspec.Struct]) -> Iterator[tuple[str, str, str]]:
    """(name, default, meaning) of each setting of one type."""
    meanings, hints = _attribute_docstrings(kind), typing.get_type_hints(kind)
    for field in msgspec.structs.fields(kind):
        meaning = " ".join((meanings.get(field.name) or _meaning_of_kind(hints[field.name])).split())
        yield field.name, _default_text(field), meaning


def _types(kind: type[msgspec.Struct], path: str) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """Every settings type below ``kind`` with the path that leads to it, each type once."""
    seen: set[type] = set()
    waiting: list[tuple[str, type[msgspec.Struct]]] = [(path, kind)]
    while waiting:
        where, current = waiting.pop(0)
        if current in seen:
            continue
        seen.add(current)
        yield where, current
        hints = typing.get_type_hints(current)
        for name in current.__struct_fields__:
            waiting += [(f"{where}.{name}".lstrip("."), inner) for inner in _structs_in(hints[name])]


def _structs_in(hint: Any) -> list[type[msgspec.Struct]]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [hint]
    if typing.get_origin(hint) in (types.UnionType, typing.Union, tuple, dict, list):
        return [inner for part in typing.get_args(hint) for inner in _structs_in(part)]
    return []


def _meaning_of_kind(hint: Any) -> str:
    """What a setting's type says of it: the words it may be, or where its parts are."""
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return "One of: " + ", ".join(f"`{member.value}`" for member in hint) + "."
    inner = _structs_in(hint)
    return " or ".join(f"{kind.__name__}" for kind in inner) + ", below." if inner else ""


def _first_lines(kind: type) -> str:
    return " ".join(inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].split())


def _default_text(field: Any) -> str:
    default = field.default
    if default is msgspec.NODEFAULT:
        default = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else None
        if default is None:
            return "required"
    if default is msgspec.UNSET:
        return "none"
    if isinstance(default, msgspec.Struct):
        own = {
            name: getattr(default, name)
            for name in default.__struct_fields__
            if getattr(default, name) != getattr(type(default)(), name)
        }
        # A default that is not the type's own is spelled out: what the type says of itself would look like what is in force.
        return f"`{msgspec.json.encode(own).decode()}`" if own else f"see {type(default).__name__}"
    if isinstance(default, tuple) and default and isinstance(default[0], msgspec.Struct):
        return f"one {type(default[0]).__name__}"
    return f"`{msgspec.json.encode(default).decode()}`"


def _attribute_docstrings(kind: type) -> dict[str, str]:
    """The string that follows each annotated attribute in the source, over all bases."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base in (object, msgspec.Struct) or not issubclass(base, msgspec.Struct):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        statements = body.body if isinstance(body, ast.ClassDef) else []
        for statement, after in itertools.pairwise(statements):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            ):
                found[statement.target.id] = after.value.value
    return found
