"""Study texts changed value by value: the value is changed, everything else stays."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from escalation.errors import StudyError
from escalation.plain_data import MOST_VALUES, parse, set_value
from escalation.study import load, preset_names, read_text, validate
from escalation.study_text import StudyText

TEXTS = {name: read_text(name)[0] for name in preset_names()}


def paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path] if path else []
    listed = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [each for key, inner in listed for each in paths(inner, (*path, key))]


def comments(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.lstrip().startswith("#")]


@pytest.mark.parametrize("name", preset_names())
def test_a_text_nobody_changed_is_the_same_byte_for_byte(name: str) -> None:
    assert StudyText(TEXTS[name]).text() == TEXTS[name]


DATA = {name: parse(text) for name, text in TEXTS.items()}
PLACES = st.sampled_from(list(TEXTS)).flatmap(
    lambda name: st.tuples(st.just(name), st.sampled_from([path for path in paths(DATA[name]) if path[0] != "sources"]))
)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-1000, 1000), st.floats(-1e6, 1e6), st.text(max_size=300), st.just([]),
    st.lists(st.floats(0, 1), max_size=4), st.fixed_dictionaries({"name": st.text(max_size=9), "n": st.integers()}),
)  # fmt: skip


@given(PLACES, VALUES)
@settings(deadline=None, max_examples=30)
def test_a_changed_value_is_changed_and_nothing_else(place: tuple[str, tuple[str | int, ...]], value: Any) -> None:
    name, path = place
    document = StudyText(TEXTS[name])
    document.set(path, value)
    after, expected = parse(document.text()), copy.deepcopy(DATA[name])
    here: Any = expected
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = value
    assert {key: each for key, each in after.items() if key != "sources"} == {
        key: each for key, each in expected.items() if key != "sources"
    }
    assert comments(document.text()) == comments(TEXTS[name])


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("nct07212335", "protocol.design.variant", "V2"),
        ("nct07212335", "protocol.expansion.size", 9),
        ("nct05672420", "protocol.cohort_size", 4),
        ("nct05672420", "protocol.stagger.between_days", 7),
        ("textbook-boin", "protocol.max_patients", 24),
    ],
)
def test_a_change_is_what_set_on_the_command_line_makes_of_it(name: str, path: str, value: Any) -> None:
    document = StudyText(TEXTS[name])
    document.set(tuple(path.split(".")), value)
    data = parse(TEXTS[name])
    set_value(data, f"{path}={value}", name)
    assert parse(document.text()) == data
    assert validate(parse(document.text())).hash == load(name, overrides=[f"{path}={value}"]).hash


def test_provenance_of_a_scenario_is_found_by_its_name() -> None:
    document = StudyText(TEXTS["nct05672420"])
    document.set(("scenarios", 0, "accrual"), {"law": "fixed", "gap_days": 3})
    note = parse(document.text())["sources"]["scenarios.G1.accrual"]
    assert note == {"source": "placeholder", "reference": "set by hand", "safety_critical": False}


def test_stating_a_source_is_not_marked_as_set_by_hand() -> None:
    document = StudyText(TEXTS["nct07212335"])
    document.set(("sources", "protocol.cohort_size", "reference"), "protocol 1.2, page 9")
    note = parse(document.text())["sources"]["protocol.cohort_size"]
    assert (note["source"], note["reference"]) == ("registry", "protocol 1.2, page 9")


def test_entries_come_and_go() -> None:
    document = StudyText(TEXTS["textbook-boin"])
    document.insert(("protocol", "guards"), 0, {"guard": "stop_at_n", "n": 9})
    document.insert(("protocol", "guards"), 1, {"guard": "no_skipping"})
    document.remove(("protocol", "guards", 0))
    document.remove(("protocol", "guards", 7))
    assert parse(document.text())["protocol"]["guards"] == [{"guard": "no_skipping"}]
    assert validate(parse(document.text())).protocol.rule.guards[0].describe().startswith("never skip")


def test_a_file_with_its_lists_at_the_margin_keeps_them_there() -> None:
    text = "schema: 1\nscenarios:\n- name: a # first\n  drop_out: 0.10\n- name: b\n"
    document = StudyText(text)
    document.set(("scenarios", 1, "name"), "c")
    assert document.text() == text.replace("name: b", "name: c")


def test_a_long_text_is_folded_and_reads_the_same() -> None:
    said = " ".join(f"word{k}" for k in range(80))
    document = StudyText(TEXTS["textbook-boin"])
    document.set(("description",), said)
    assert parse(document.text())["description"] == said
    assert max(len(line) for line in document.text().splitlines()) <= 125


def test_the_origin_is_never_touched() -> None:
    before = copy.deepcopy(parse(TEXTS["nct07212335"]))
    StudyText(TEXTS["nct07212335"]).set(("protocol", "cohort_size"), 5)
    assert parse(TEXTS["nct07212335"]) == before


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [" + "1, " * 200 + "1]\nb: &b [" + "*a, " * 200 + "*a]\nc: [" + "*b, " * 200 + "*b]\n",
        "a: &a {b: *a}\n",
    ],
    ids=["a part repeated over and over", "a part within itself"],
)
def test_a_text_that_grows_when_written_out_is_refused(text: str) -> None:
    with pytest.raises(StudyError, match=f"more than {MOST_VALUES:,} values"):
        parse(text)


def test_a_text_nested_without_end_is_refused() -> None:
    with pytest.raises(StudyError, match="nested too deeply"):
        parse("a: " + "[" * 500)
