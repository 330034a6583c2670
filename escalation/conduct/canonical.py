"""Canonical JSON: the one text of a record, so that anybody can compute its hash again.

The form: UTF-8; keys sorted by code point; no white space; characters written as themselves, except
those JSON must escape; numbers as Python writes them (``1``, ``1.0``, ``1e-07``); NaN and infinities
refused; text normalised to Unicode NFC on the way in. Only plain JSON types are accepted, never their
subclasses: a value that changes its type on the way through the ledger is a value nobody entered.
"""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from typing import Any, Final, TypeAlias

from escalation.errors import EscalationError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MOST_LEVELS: Final = 64
MOST_BITS: Final = 4096


class CanonicalError(EscalationError):
    """A value that has no canonical JSON text; names the place in it."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}" if self.path else self.problem


def text(value: str, path: str = "") -> str:
    """A text normalised to NFC; refused when it has no UTF-8 form."""
    normal = unicodedata.normalize("NFC", value)
    try:
        normal.encode()
    except UnicodeEncodeError as problem:
        half = normal[problem.start]
        raise CanonicalError(path, f"half a character (U+{ord(half):04X}) cannot be stored; enter it again") from None
    return normal


def plain(value: object, path: str = "", level: int = 0) -> Json:
    """A copy in plain JSON types with normalised text.

    Examples
    --------
    >>> plain({"note": "Zu\\u0308rich", "doses": [1, 2.5]})
    {'note': 'Zürich', 'doses': [1, 2.5]}
    >>> plain({"rate": float("nan")})
    Traceback (most recent call last):
    ...
    escalation.conduct.canonical.CanonicalError: rate: nan is not a finite number
    """
    if value is None or value is True or value is False:
        return value
    kind = type(value)
    if kind is str:
        return text(str(value), path)
    if isinstance(value, int) and kind is int:
        if value.bit_length() > MOST_BITS:
            raise CanonicalError(path, f"an integer of more than {MOST_BITS} bits; write it as text")
        return value
    if isinstance(value, float) and kind is float:
        if not math.isfinite(value):
            raise CanonicalError(path, f"{value} is not a finite number")
        return value
    if level == MOST_LEVELS:
        raise CanonicalError(path, f"nested deeper than {MOST_LEVELS} levels")
    if isinstance(value, list) and kind is list:
        return [plain(item, f"{path}[{place}]", level + 1) for place, item in enumerate(value)]
    if isinstance(value, dict) and kind is dict:
        return _plain_object(value, path, level)
    raise CanonicalError(path, f"a {kind.__name__} is not plain JSON; convert it to text, numbers, lists and objects")


def _plain_object(value: dict[Any, Any], path: str, level: int) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for key, item in value.items():
        if type(key) is not str:
            raise CanonicalError(path, f"the key {key!r} is a {type(key).__name__}; keys are text")
        name = text(key, path)
        if name in found:
            raise CanonicalError(path, f"two keys are the same text {name!r} once normalised")
        found[name] = plain(item, f"{path}.{name}" if path else name, level + 1)
    return found


def write(value: object) -> str:
    """The canonical text of a value that is plain and normalised already."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(value: object) -> str:
    """The canonical text of a value.

    Examples
    --------
    >>> canonical({"b": [1, 2.0, None], "a": "é"})
    '{"a":"é","b":[1,2.0,null]}'
    """
    return write(plain(value))


def parse(source: str) -> Any:
    """The value of a canonical text; any other text, even of the same value, is refused."""
    try:
        value = json.loads(source)
        same = write(value) == source
    except (ValueError, RecursionError):
        raise CanonicalError("", "the text is not JSON") from None
    if not same:
        raise CanonicalError("", "the text is not the canonical JSON of its value")
    return value


def sha256(source: str) -> str:
    """SHA-256 of a text's UTF-8 bytes, in hexadecimal."""
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()


def digest(value: object) -> str:
    """SHA-256 of the canonical text of a value, in hexadecimal.

    Examples
    --------
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    >>> digest({"a": 1}) == digest({"a": 1.0})
    False
    """
    return sha256(canonical(value))
