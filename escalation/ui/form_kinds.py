"""Parameter models as forms see them: what kind of entry every field asks for, and values as entries show them.

Nothing here draws anything. A field of any pydantic model becomes a :class:`Field` with a kind; ``shown`` turns a
value of the file into what an entry holds and ``meant`` turns it back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, BeforeValidator, Discriminator, Tag
from pydantic.fields import FieldInfo

from escalation.plain_data import NOTHING

MOST_EXACT: Final = (1 << 53) - 1
"""Largest whole number an entry in a browser holds exactly."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number, between its bounds."""

    low: int | None = None
    high: int | None = None


@dataclass(frozen=True, slots=True)
class Number:
    """A number, between its bounds; whether a bound itself is allowed is the model's to say."""

    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class YesNo:
    """True or false."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few values, mostly words."""

    options: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Some of a few words, in the order chosen."""

    options: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Words:
    """Text."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers in a row, written with blanks between them."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of numbers, written with ``/`` between the rows."""


@dataclass(frozen=True, slots=True)
class Maybe:
    """A value that may be left out."""

    of: Kind


@dataclass(frozen=True, slots=True)
class Group:
    """The fields of a model, but for the one that tells it from its alternatives."""

    model: type[BaseModel]
    without: str = ""


@dataclass(frozen=True, slots=True)
class Alternative:
    """One of the things a value can be: what it is called, its kind, and a value to start from."""

    name: str
    kind: Kind
    start: Any


@dataclass(frozen=True, slots=True)
class OneOf:
    """A value that is one of several things.

    ``which`` names the alternative a value is, None when it is none of them; ``full`` spells out a short form.
    """

    alternatives: tuple[Alternative, ...]
    which: Callable[[Any], str | None]
    full: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Several:
    """A list of values that are more than numbers."""

    of: Kind


@dataclass(frozen=True, slots=True)
class AsWritten:
    """Anything else, written as in a study file."""


Kind = Whole | Number | YesNo | Choice | Chosen | Words | Numbers | Rows | Maybe | Group | OneOf | Several | AsWritten


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a model: key in the file, label, kind, what it means and what it is when left out."""

    key: str
    label: str
    kind: Kind
    help: str
    default: Any

    @property
    def required(self) -> bool:
        """Whether the value must be given."""
        return self.default is NOTHING


@cache
def fields(model: type[BaseModel]) -> tuple[Field, ...]:
    """The fields of a model in the order it declares them."""
    return tuple(_field(info.alias or name, info) for name, info in model.model_fields.items())


def _field(key: str, info: FieldInfo) -> Field:
    default = NOTHING if info.is_required() else plain(info.get_default(call_default_factory=True))
    kind = _kind(info.annotation, list(info.metadata), info.discriminator)
    return Field(key, info.title or label_of(key), kind, info.description or "", default)


def plain(value: Any) -> Any:
    """A value of a model as a file holds it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, Enum):
        return value.value
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def label_of(key: str) -> str:
    """A key as people read it: ``max_patients`` is Max patients."""
    words = [each.upper() if each in ("dlt", "mtd", "n") else each for each in key.split("_") if each]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


# kinds ------------------------------------------------------------------------------------------------


def kind_of(annotation: Any) -> Kind:
    """The kind of a type, with the bounds and choices its annotations state."""
    return _kind(annotation, [], None)


def _kind(annotation: Any, metadata: list[Any], discriminator: str | Discriminator | None) -> Kind:
    while get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        for each in more:
            if isinstance(each, FieldInfo):
                metadata = [*metadata, *each.metadata]
                discriminator = discriminator or each.discriminator
            else:
                metadata = [*metadata, each]
    discriminator = discriminator or next((each for each in metadata if isinstance(each, Discriminator)), None)
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation is bool:
        return YesNo()
    if annotation is int:
        low, high = _bounds(metadata)
        return Whole(None if low is None else int(low), None if high is None else int(high))
    if annotation is float:
        return Number(*_bounds(metadata))
    if annotation is str:
        return Words()
    if origin is Literal:
        return Choice(tuple(args))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return Choice(tuple(each.value for each in annotation))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Group(annotation)
    if origin in (Union, UnionType):
        return _union(args, metadata, discriminator)
    if origin in (tuple, list):
        return _listed(args)
    return AsWritten()


def _bounds(metadata: list[Any]) -> tuple[float | None, float | None]:
    low = [each.ge if isinstance(each, Ge) else each.gt for each in metadata if isinstance(each, Ge | Gt)]
    high = [each.le if isinstance(each, Le) else each.lt for each in metadata if isinstance(each, Le | Lt)]
    return max(map(float, low), default=None), min(map(float, high), default=None)  # type: ignore[arg-type]


def _listed(args: tuple[Any, ...]) -> Kind:
    inner = [kind_of(each) for each in args if each is not Ellipsis]
    if inner and all(isinstance(each, Whole | Number) for each in inner):
        return Numbers()
    if len(inner) == 1 and isinstance(inner[0], Numbers):
        return Rows()
    if len(inner) == 1 and isinstance(inner[0], Choice):
        return Chosen(inner[0].options)
    if len(inner) == 1 and isinstance(inner[0], Group | OneOf | Several):
        return Several(inner[0])
    return AsWritten()


def _union(args: tuple[Any, ...], metadata: list[Any], discriminator: str | Discriminator | None) -> Kind:
    given = [each for each in args if each is not NoneType]
    if len(given) < len(args):
        inner = (
            _kind(given[0], metadata, discriminator)
            if len(given) == 1
            else _union(tuple(given), metadata, discriminator)
        )
        return AsWritten() if isinstance(inner, AsWritten) else Maybe(inner)
    full = _spelled_out([each.func for each in metadata if isinstance(each, BeforeValidator)])
    if isinstance(discriminator, str):
        return _by_key(given, discriminator, full)
    if isinstance(discriminator, Discriminator):
        return _by_function(given, discriminator, full)
    return _by_fit(given)


def _spelled_out(functions: list[Any]) -> Callable[[Any], Any]:
    def full(value: Any) -> Any:
        for function in functions:
            try:
                value = function(value)
            except Exception:  # what a model's own reading refuses is left as it is, for validation to name
                return value
        return value

    return full


def _by_key(models: list[Any], key: str, full: Callable[[Any], Any]) -> Kind:
    """Models told apart by the word at a key."""
    alternatives = []
    for each in models:
        model = get_args(each)[0] if get_origin(each) is Annotated else each
        for tag in get_args(model.model_fields[key].annotation):
            alternatives.append(Alternative(str(tag), Group(model, key), {key: tag}))
    names = {each.name for each in alternatives}

    def which(value: Any) -> str | None:
        found = value.get(key) if isinstance(value, Mapping) else None
        return str(found) if isinstance(found, str) and found in names else None

    return OneOf(tuple(alternatives), which, full)


def _by_function(tagged: list[Any], discriminator: Discriminator, full: Callable[[Any], Any]) -> Kind:
    """Models told apart by a function of the value."""
    alternatives = []
    for each in tagged:
        tag = next(note.tag for note in get_args(each)[1:] if isinstance(note, Tag))
        alternatives.append(Alternative(tag, kind_of(each), {}))
    names = {each.name for each in alternatives}
    function = discriminator.discriminator

    def which(value: Any) -> str | None:
        found = function(value) if callable(function) and isinstance(value, Mapping) else None
        return str(found) if found in names else None

    return OneOf(tuple(alternatives), which, full)


_STARTS: Final[tuple[tuple[type[Any], Any], ...]] = (
    (Numbers, []),
    (Rows, []),
    (Several, []),
    (Group, {}),
    (Words, ""),
    (YesNo, False),
)


def _by_fit(given: list[Any]) -> Kind:
    """Alternatives without a mark of their own: a value is the first whose entry can hold it."""
    alternatives: list[Alternative] = []
    for each in given:
        kind = kind_of(each)
        if isinstance(kind, Choice):
            alternatives += [Alternative(option, Choice((option,)), option) for option in kind.options]
            continue
        if isinstance(kind, AsWritten | Maybe | OneOf):
            return AsWritten()
        start = next((value for sort, value in _STARTS if isinstance(kind, sort)), 0)
        alternatives.append(Alternative(type(kind).__name__.lower(), kind, start))

    def which(value: Any) -> str | None:
        return next((each.name for each in alternatives if fits(each.kind, value)), None)

    return OneOf(tuple(alternatives), which, lambda value: value)


# values -----------------------------------------------------------------------------------------------


def fits(kind: Kind, value: Any) -> bool:
    """Whether an entry of a kind can hold a value as it stands in a file."""
    if isinstance(kind, Maybe):
        return value is None or fits(kind.of, value)
    if isinstance(kind, Whole):
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MOST_EXACT
        return whole and (kind.low is None or value >= kind.low) and (kind.high is None or value <= kind.high)
    if isinstance(kind, Number):
        return _is_number(value) and (
            (kind.low is None or value >= kind.low) and (kind.high is None or value <= kind.high)
        )
    if isinstance(kind, YesNo):
        return isinstance(value, bool)
    if isinstance(kind, Choice):
        return any(type(value) is type(each) and value == each for each in kind.options)
    if isinstance(kind, Chosen):
        return isinstance(value, list) and all(fits(Choice(kind.options), each) for each in value)
    if isinstance(kind, Words):
        return isinstance(value, str)
    if isinstance(kind, Numbers):
        return isinstance(value, list) and all(map(_is_number, value))
    if isinstance(kind, Rows):
        return isinstance(value, list) and all(isinstance(row, list) and row and fits(Numbers(), row) for row in value)
    if isinstance(kind, Group):
        return isinstance(value, Mapping)
    if isinstance(kind, OneOf):
        return kind.which(kind.full(value)) is not None
    return isinstance(value, list) if isinstance(kind, Several) else False


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= MOST_EXACT if isinstance(value, int) else value == value and abs(value) != float("inf")


def shown(kind: Kind, value: Any) -> Any:
    """What the entry of a kind holds for a value; the text of the file where the kind cannot hold it."""
    if isinstance(kind, Maybe):
        return None if value is None else shown(kind.of, value)
    if value is NOTHING:
        return None
    if not fits(kind, value):
        return written(value)
    if isinstance(kind, Number):
        return float(value)
    if isinstance(kind, Whole):
        return int(value)
    if isinstance(kind, Words):
        return str(value)
    if isinstance(kind, Numbers):
        return " ".join(_digits(each) for each in value)
    if isinstance(kind, Rows):
        return " / ".join(" ".join(_digits(each) for each in row) for row in value)
    return value


def meant(kind: Kind, entry: Any) -> Any:
    """The value of the file that an entry stands for; NOTHING for an empty one where a value is expected."""
    if isinstance(kind, Maybe):
        found = meant(kind.of, entry)
        return None if found is NOTHING else found
    if entry is None:
        return NOTHING
    if isinstance(kind, Number) and isinstance(entry, float):
        return int(entry) if entry.is_integer() and abs(entry) <= MOST_EXACT else entry
    if isinstance(kind, Numbers | Rows) and isinstance(entry, str):
        return _read_numbers(kind, entry)
    if isinstance(kind, AsWritten) and isinstance(entry, str):
        return as_value(entry)
    return entry


def _digits(value: float) -> str:
    return f"{value:.17g}" if float(f"{value:.15g}") != value else f"{value:.15g}"


def _read_numbers(kind: Numbers | Rows, entry: str) -> Any:
    """Numbers between blanks, commas and brackets; the text itself where it holds anything else."""
    if not entry.strip():
        return [] if isinstance(kind, Rows) else NOTHING
    rows = []
    for row in entry.split("/") if isinstance(kind, Rows) else [entry]:
        try:
            rows.append([_number(each) for each in re.split(r"[\s,;]+", row.strip(" []()")) if each])
        except ValueError:
            return entry
    return rows if isinstance(kind, Rows) else rows[0]


def _number(text: str) -> int | float:
    value = float(text)
    if value != value or abs(value) == float("inf"):
        raise ValueError(text)
    return int(value) if value.is_integer() and abs(value) <= MOST_EXACT else value


def written(value: Any) -> str:
    """A value on one line, as a study file can hold it."""
    if value is NOTHING:
        return ""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in text)


def as_value(text: str) -> Any:
    """The value of one line of a study file; the text itself where it cannot be read."""
    from escalation.errors import StudyError
    from escalation.plain_data import parse

    if not text.strip():
        return NOTHING
    try:
        return parse(f"value: {text}")["value"]
    except (StudyError, KeyError):
        return text
