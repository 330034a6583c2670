"""Faults of an input in words: where, what, and how to mend it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from escalation.errors import Fault

_WORDS = {
    "missing": ("this value is missing", "add it"),
    "int_type": ("{input} is not a whole number", "write a whole number without quotes"),
    "int_from_float": ("{input} is not a whole number", "write a whole number"),
    "float_type": ("{input} is not a number", "write a number without quotes"),
    "string_type": ("{input} is not text", "put it in quotes"),
    "bool_type": ("{input} is not true or false", "write true or false"),
    "too_short": ("the list is empty", "give at least one entry"),
    "tuple_type": ("{input} is not a list", "write a list, for example [1, 2]"),
    "dict_type": ("{input} is not a mapping", "write keys and values below it"),
    "model_type": ("{input} is not a mapping", "write keys and values below it"),
    "finite_number": ("{input} is not a finite number", "write a finite number"),
}


def faults_of(
    error: ValidationError, prefix: tuple[str, ...], model: type[BaseModel], data: Any = None
) -> tuple[Fault, ...]:
    """The faults of a validation error, each with its path in the data and how to mend it."""
    items = [item for item in error.errors(include_url=False) if not _consequence(item)]
    return tuple(_fault(item, prefix, model, data) for item in items)


def _consequence(item: Any) -> bool:
    """Whether a fault only follows from others: a list that is too short because its entries are faulty."""
    return item["type"] == "too_short" and bool(item.get("input"))


def _fault(item: Any, prefix: tuple[str, ...], model: type[BaseModel], data: Any) -> Fault:
    kind, place = item["type"], _place(item["loc"], data)
    path = ".".join((*prefix, *place))
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(place[-1], _known_keys(model, place[:-1]), n=1)
        return Fault(path, "this key is unknown", f"did you mean {near[0]!r}?" if near else "remove it")
    if kind in _WORDS:
        problem, remedy = _WORDS[kind]
        return Fault(path, problem.format(input=_shown(item.get("input"))), remedy)
    context = item.get("ctx", {})
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        key = context["discriminator"].strip("'")
        return Fault(path, f"{key} is missing or unknown", f"add {key}: {' or '.join(_tags(model, place, key))}")
    message = item["msg"].removeprefix("Value error, ")
    if kind == "value_error":
        return Fault(path, message)
    return Fault(path, f"{_shown(item.get('input'))}: {message[0].lower()}{message[1:]}")


def _place(steps: Sequence[str | int], data: Any) -> tuple[str, ...]:
    """A validator's path without the names of alternatives it puts in although the data has no such key."""
    if data is None:
        return tuple(str(step) for step in steps)
    here = data
    kept: list[str] = []
    for position, step in enumerate(steps):
        if step in (here if isinstance(here, dict) else range(len(here)) if isinstance(here, list) else ()):
            here = here[step]
        elif position < len(steps) - 1 or kept[-1:] == [str(step)]:
            continue
        kept.append(str(step))
    return tuple(kept)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _known_keys(model: type[BaseModel], place: Sequence[str]) -> list[str]:
    """Keys that a file may use at a place of a model."""
    return [field.alias or key for here in _models_at(model, place) for key, field in here.model_fields.items()]


def _tags(model: type[BaseModel], place: Sequence[str], key: str) -> list[str]:
    """The alternatives a key chooses between at a place of a model."""
    fields = [here.model_fields[key] for here in _models_at(model, place) if key in here.model_fields]
    return [str(tag) for field in fields for tag in get_args(field.annotation)]


def _models_at(model: type[BaseModel], place: Sequence[str]) -> list[type[BaseModel]]:
    """The models that can stand at a place of a model; positions in lists are passed over."""
    here = [model]
    for step in place:
        inner = [
            _models_in(field.annotation)
            for each in here
            for key, field in each.model_fields.items()
            if step in (key, field.alias)
        ]
        here = [each for models in inner for each in models] or here
    return here


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [each for part in get_args(annotation) for each in _models_in(part)]
