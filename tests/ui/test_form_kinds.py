"""Parameter models as forms see them: whatever a model can hold goes into the entries and comes back the same."""

from __future__ import annotations

import json
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model

from escalation.plain_data import NOTHING
from escalation.registry import design_class, design_names
from escalation.study import Study, load, preset_names
from escalation.ui.form_kinds import (
    AsWritten,
    Choice,
    Group,
    Kind,
    Maybe,
    Number,
    Numbers,
    OneOf,
    Rows,
    Several,
    Whole,
    YesNo,
    as_value,
    fields,
    fits,
    kind_of,
    label_of,
    meant,
    shown,
)


def through(kind: Kind, value: Any) -> Any:
    """The value after it was put into the entries of a form, each of its own, and read out of them again."""
    if isinstance(kind, Maybe):
        return None if value is None else through(kind.of, value)
    if isinstance(kind, Group) and isinstance(value, dict):
        inner = {each.key: each.kind for each in fields(kind.model)}
        return {key: part if key == kind.without else through(inner[key], part) for key, part in value.items()}
    if isinstance(kind, Several) and isinstance(value, list):
        return [through(kind.of, part) for part in value]
    if isinstance(kind, OneOf):
        full = kind.full(value)
        chosen = next(each.kind for each in kind.alternatives if each.name == kind.which(full))
        return through(chosen, full)
    return meant(kind if fits(kind, value) else AsWritten(), shown(kind, value))


# models nobody has written yet --------------------------------------------------------------------


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Straight(BaseModel):
    law: Literal["straight"] = "straight"
    slope: float = Field(gt=0)


class Bent(BaseModel):
    law: Literal["bent", "curved"]
    knots: tuple[float, ...] = (0.5,)
    power: int | None = None


class Part(BaseModel):
    size: int = Field(ge=1)
    share: float | None = Field(default=None, ge=0, le=1)


finite = st.floats(allow_nan=False, allow_infinity=False, width=64)
whole = st.integers(-(10**9), 10**9)
line = Annotated[Straight | Bent, Field(discriminator="law")]
lines = st.one_of(
    st.builds(lambda s: {"law": "straight", "slope": s}, st.floats(1e-6, 1e6)),
    st.builds(
        lambda law, knots, power: {"law": law, "knots": knots, "power": power},
        st.sampled_from(["bent", "curved"]),
        st.lists(finite, min_size=1, max_size=4),
        st.none() | whole,
    ),
)
part = st.fixed_dictionaries({"size": st.integers(1, 99), "share": st.none() | st.floats(0, 1)})
TYPES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, whole),
    (Annotated[int, Field(ge=3, le=9)], st.integers(3, 9)),
    (float, finite),
    (Annotated[float, Field(gt=0, lt=1)], st.floats(0, 1, exclude_min=True, exclude_max=True)),
    (bool, st.booleans()),
    (str, st.text()),
    (Literal["a", "b"], st.sampled_from(["a", "b"])),
    (Literal[1, 2], st.sampled_from([1, 2])),
    (Colour, st.sampled_from(["red", "blue"])),
    (tuple[float, ...], st.lists(finite, min_size=1)),
    (tuple[int, int], st.lists(whole, min_size=2, max_size=2)),
    (list[int], st.lists(whole, min_size=1)),
    (tuple[tuple[int, int], ...], st.lists(st.lists(whole, min_size=2, max_size=2), min_size=1)),
    (Literal["zigzag"] | tuple[tuple[int, int], ...], st.just("zigzag") | st.just([[1, 1], [2, 1]])),
    (int | None, st.none() | whole),
    (bool | None, st.none() | st.booleans()),
    (Literal["x", "y"] | None, st.sampled_from([None, "x", "y"])),
    (tuple[float, ...] | None, st.none() | st.lists(finite, min_size=1)),
    (Part, part),
    (Part | None, st.none() | part),
    (tuple[Part, ...], st.lists(part, max_size=3)),
    (line, lines),
    (tuple[line, ...], st.lists(lines, max_size=3)),  # type: ignore[valid-type]
    (dict[str, int], st.dictionaries(st.text("abc", min_size=1), whole, max_size=3)),
]


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_what_any_model_holds_goes_through_its_form_and_back(data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(range(len(TYPES))), min_size=1, max_size=5))
    model = create_model("Future", **{f"field_{k}": (TYPES[t][0], ...) for k, t in enumerate(chosen)})  # type: ignore[call-overload]
    value = {f"field_{k}": data.draw(TYPES[t][1]) for k, t in enumerate(chosen)}
    value = json.loads(json.dumps(value))
    before = model.model_validate_json(json.dumps(value))
    after = model.model_validate_json(json.dumps(through(Group(model), value)))
    assert after == before


@given(
    st.sampled_from(range(len(TYPES))), st.recursive(st.none() | st.booleans() | whole | finite | st.text(), st.lists)
)
def test_what_an_entry_cannot_hold_is_shown_as_written_and_not_lost(position: int, value: Any) -> None:
    kind = kind_of(TYPES[position][0])
    if not fits(kind, value) and isinstance(kind, Whole | Number | YesNo | Choice | Numbers | Rows | AsWritten):
        assert as_value(shown(kind, value)) == value


# the models of today ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_goes_through_the_forms_and_keeps_its_hash(name: str) -> None:
    study = load(name)
    data = study.model_dump(mode="json", by_alias=True)
    through_forms = {
        each.key: data[each.key] if each.key in ("schema", "sources") else through(each.kind, data[each.key])
        for each in fields(Study)
    }
    parameters = Group(design_class(data["protocol"]["design"]["name"]).Parameters)
    own = {key: value for key, value in data["protocol"]["design"].items() if key != "name"}
    through_forms["protocol"]["design"] = {"name": data["protocol"]["design"]["name"], **through(parameters, own)}
    assert Study.model_validate_json(json.dumps(through_forms), strict=True).hash == study.hash


@pytest.mark.parametrize("name", design_names())
def test_every_parameter_of_a_registered_design_has_an_entry_and_a_help_text(name: str) -> None:
    for each in fields(design_class(name).Parameters):
        assert each.help, f"{name}.{each.key} has no description"
        if each.key == "further_orderings":  # lists of lists of levels are shown as the file writes them
            continue
        assert not isinstance(each.kind, AsWritten), each.key
        if each.default is not NOTHING:
            assert fits(each.kind, each.default)


def test_labels_are_words() -> None:
    assert [label_of(key) for key in ("max_patients", "dlt_window", "n", "mtd_rule")] == [
        "Max patients",
        "DLT window",
        "N",
        "MTD rule",
    ]


def test_numbers_are_read_as_people_write_them() -> None:
    assert meant(Numbers(), "0, 7; 14") == [0, 7, 14]
    assert meant(Numbers(), "[0.05 0.1]") == [0.05, 0.1]
    assert meant(Rows(), "1 1 / 2 1") == [[1, 1], [2, 1]]
    assert meant(Numbers(), "0 7 x") == "0 7 x", "what is not a number is kept, for validation to name"
    assert meant(Numbers(), "nan") == "nan"
    assert meant(Number(), 3.0) == 3
    assert isinstance(meant(Number(), 3.0), int)
    assert meant(Whole(), None) is NOTHING
    assert meant(Maybe(Whole()), None) is None
