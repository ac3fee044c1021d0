"""The door between agents and the engine: what an agent returns is read as the record's own reader would read it.

``admitted`` writes a wish as the journal writes it and reads it back by its type. What comes back is the wish that the engine acts on and
the record holds, so nothing can be sealed that cannot be read, no value acts that is not on the record, and no list or object of
the agent's stays inside either. A wish that does not come back the same, field by field and type by type, is refused with field, value
and what was expected. The rule is the types of ``domain.decisions`` and nothing else.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from types import CodeType, NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from grandmodel.domain.agents import Wish
from grandmodel.domain.decisions import Decision, Intent
from grandmodel.domain.errors import GrandModelError
from grandmodel.runtime.errors import WishError

MAX_WISHES = 10_000
"""The most wishes that one answer may hold."""

MAX_WISH_BYTES = 65_536
"""The most that one wish may take on the record: hundreds of reason codes."""

_SHOWN = 300

_KINDS: tuple[type[Any], ...] = (*get_args(Intent), *get_args(Decision))
_ENCODER = msgspec.json.Encoder()
_DECODERS: dict[int, msgspec.json.Decoder[Any]] = {id(kind): msgspec.json.Decoder(kind) for kind in _KINDS}


def admitted(wish: object) -> Wish:
    """``wish`` as the record will hold it. Raises ``WishError`` where it is not one of the types of ``domain.decisions``, exactly."""
    decoder = _DECODERS.get(id(type(wish)))  # By id: a class of the agent's may have a hash of its own.
    if decoder is None:
        names = ", ".join(kind.__name__ for kind in _KINDS)
        raise WishError(f"found {shown(wish)} ({_name(wish)}), expected one of {names}")
    try:
        body = _ENCODER.encode(wish)
        if len(body) <= MAX_WISH_BYTES:
            read: Wish = decoder.decode(body)
            if read == wish and _types(read) == _types(wish):
                return read
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  what a wish holds may raise anything while it is written or compared
        raise _refusal(wish, error) from None
    if len(body) > MAX_WISH_BYTES:
        raise WishError(f"{_name(wish)}: found {len(body)} bytes, expected at most {MAX_WISH_BYTES} on the record")
    fault = _first_fault(wish)
    if fault is not None:
        raise fault
    return read


def _types(wish: object) -> list[type]:
    return list(map(type, msgspec.structs.astuple(wish)))  # type: ignore[arg-type]


def _refusal(wish: object, error: BaseException) -> WishError:
    return _first_fault(wish) or WishError(
        f"{_name(wish)}: found {shown(wish)}, which cannot be read back: {shown(error)}"
    )


def _first_fault(wish: object) -> WishError | None:
    """What is wrong with the first field that does not come back as it is; None where all do."""
    for field in msgspec.structs.fields(type(wish)):  # type: ignore[arg-type]
        try:
            value = getattr(wish, field.name)
        except AttributeError:
            return WishError(f"{_name(wish)}.{field.name}: found nothing, expected a value")
        expected = _fault_of(value, field.type)
        if expected:
            found = f"{shown(value)} ({_name(value)})"
            return WishError(f"{_name(wish)}.{field.name}: found {found}, expected {expected}")
    return None


def _fault_of(value: object, kind: Any) -> str:
    """What was expected of ``value`` where it is no ``kind``; empty where it is one. A whole number may stand for a float."""
    try:
        read = msgspec.json.decode(_ENCODER.encode(value), type=kind)
        same = bool(read == value)
    except msgspec.ValidationError as error:
        return _expected(kind, str(error))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  as above
        return f"{_words(kind)} that can be written ({shown(error)})"
    if type(read) is type(value) and same:
        return ""
    if type(read) is float and type(value) is int and same:
        return ""
    return _words(kind)


def _expected(kind: Any, text: str) -> str:
    """The reader's own complaint, as far as it says more than the type."""
    rule, _, place = text.partition(" - at `$")
    rule = rule.removeprefix("Expected ").partition(", got ")[0].replace("`", "").replace(" | null", " or None")
    if rule.startswith("Invalid"):
        return _words(kind)
    inside = place.rstrip("`")
    return f"{rule} at {inside}" if inside else rule


def _words(kind: Any) -> str:
    """A type for people: the members of an enum, else its name."""
    if get_origin(kind) is Annotated:
        return _words(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_words(one) for one in get_args(kind))
    if kind is NoneType:
        return "None"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "one of " + ", ".join(f"{kind.__name__}.{member.name}" for member in kind)
    plain = getattr(kind, "__supertype__", kind)
    return plain.__name__ if isinstance(plain, type) and not get_args(plain) else str(plain)


def _name(value: object) -> str:
    try:
        return str(type(value).__name__)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001  as above: a class of the agent's may compute even its name
        return "a class whose name fails"


def shown(value: object) -> str:
    """``value`` for a message: short, printable, whatever it is."""
    try:
        text = str(value) if isinstance(value, GrandModelError) else repr(value)
        text = str.encode(text, "utf-8", "backslashreplace").decode()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  an agent's own object may refuse even this
        text = f"an object whose repr fails ({type(error).__name__})"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def place_of(question: Callable[..., object]) -> str:
    """``file:line`` where a method of an agent is written; empty where that is not known."""
    code = getattr(getattr(question, "__func__", question), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if isinstance(code, CodeType) else ""


def place_raised(error: BaseException, question: Callable[..., object]) -> str:
    """``file:line`` of the innermost line of the agent's own file that ``error`` passed through, else of where it was raised."""
    own = place_of(question).rpartition(":")[0]
    place, innermost, trace = "", "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        innermost = f"{file}:{trace.tb_lineno}"
        if file == own:
            place = innermost
        trace = trace.tb_next
    return place or innermost
