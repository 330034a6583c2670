"""Study: what the editor does with a draft."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from escalation.plain_data import parse
from escalation.registry import design_names
from escalation.study import load, preset_names, read_text
from escalation.study_text import StudyText
from escalation.ui import workspace
from escalation.ui.study_page import PARTS
from tests.ui.conftest import Opener


def faults(app: AppTest) -> str:
    return " ".join(each.proto.body for each in app.get("html") if '<ul class="esc-faults"' in each.proto.body)


def address(app: AppTest, name: str) -> str:
    """What the address says: AppTest keeps what it was given as a list, and what a page set as text."""
    found = app.query_params.get(name, "")
    return found if isinstance(found, str) else found[0]


def number(app: AppTest, label: str) -> Any:
    return next(each for each in app.number_input if each.label == label)


def draft(app: AppTest) -> str:
    key = address(app, "draft") or address(app, "study")
    return read_text(key)[0] if key in preset_names() else workspace.kept_study(key)


@pytest.mark.parametrize("name", preset_names())
def test_every_part_of_every_preset_opens_sound_and_changes_nothing(opened: Opener, name: str) -> None:
    for part in PARTS:
        app = opened("study", study=name, part=part)
        assert [each.value for each in app.success] == ["Valid. Every page works with this study."]
        assert address(app, "study") == name
        assert "draft" not in app.query_params


def test_a_faulty_draft_is_kept_and_not_put_in_hand(opened: Opener) -> None:
    app = opened("study", study="textbook-boin", part="Design")
    number(app, "Max patients").set_value(2).run()
    assert "raise it to 3 or more" in faults(app)
    assert address(app, "study") == "textbook-boin"
    assert parse(draft(app))["protocol"]["max_patients"] == 2

    again = opened("study", study="textbook-boin", part="Design", draft=address(app, "draft"))
    assert "raise it to 3 or more" in faults(again)
    assert number(again, "Max patients").value == 2
    number(again, "Max patients").set_value(24).run()
    assert not faults(again)
    assert "draft" not in again.query_params
    assert parse(draft(again))["protocol"]["max_patients"] == 24


def test_undo_goes_back_change_by_change_to_the_preset_itself(opened: Opener) -> None:
    app = opened("study", study="nct07212335", part="Design")
    number(app, "Cohort size").set_value(4).run()
    number(app, "Cohort size").set_value(40).run()
    assert faults(app)
    for expected in (4, 3):
        next(each for each in app.button if each.label == "Undo").click().run()
        assert number(app, "Cohort size").value == expected
        assert not faults(app)
    assert address(app, "study") == "nct07212335"
    assert draft(app) == read_text("nct07212335")[0]


def test_a_changed_value_counts_as_set_by_hand(opened: Opener) -> None:
    app = opened("study", study="nct07212335", part="Design")
    number(app, "Cohort size").set_value(4).run()
    note = parse(draft(app))["sources"]["protocol.cohort_size"]
    assert note == {"source": "placeholder", "reference": "set by hand", "safety_critical": True}
    assert any("cohort_size" in each.value.replace("\\", "") for each in app.warning)


@pytest.mark.parametrize("name", design_names())
def test_another_design_brings_the_form_of_its_parameters(opened: Opener, name: str) -> None:
    app = opened("study", study="textbook-grid-3x3", part="Design")
    app.selectbox(key="study:design:name").set_value(name).run()
    assert not app.exception
    assert parse(draft(app))["protocol"]["design"]["name"] == name
    labels = {each.label for each in (*app.number_input, *app.selectbox, *app.text_input, *app.checkbox)}
    assert len(labels) > 4


def test_the_target_is_carried_to_another_design(opened: Opener) -> None:
    app = opened("study", study="textbook-crm", part="Design")
    app.selectbox(key="study:design:name").set_value("boin").run()
    assert parse(draft(app))["protocol"]["design"] == {"name": "boin", "target": 0.25}


def test_regimens_grow_by_an_entry_and_say_what_is_still_missing(opened: Opener) -> None:
    app = opened("study", study="textbook-5-doses", part="Regimens")
    next(each for each in app.button if each.label == "Add" and each.key.endswith("doses:Add")).click().run()
    assert "protocol.regimens.doses.5.amount" in faults(app)
    number(app, "Amount 6").set_value(5.0).run()
    assert "dose amounts must increase" in faults(app)
    number(app, "Amount 6").set_value(60.0).run()
    assert "1 x 5 probabilities for 1 x 6 regimens" in faults(app)
    text = next(each for each in app.text_input if each.label == "Days 1")
    text.set_value("0 7 x").run()
    assert parse(draft(app))["protocol"]["regimens"]["frequencies"][0]["days"] == "0 7 x"
    assert "is not a list" in faults(app)


def test_tables_are_fitted_to_new_regimens_in_one_go(opened: Opener) -> None:
    app = opened("study", study="textbook-grid-3x3", part="Regimens")
    next(each for each in app.button if each.label == "Add" and each.key.endswith("doses:Add")).click().run()
    number(app, "Amount 4").set_value(80.0).run()
    app.segmented_control(key="part").set_value("Scenarios").run()
    next(each for each in app.button if each.label.startswith("Fit")).click().run()
    assert not faults(app)
    for each in parse(draft(app))["scenarios"]:
        table = each["truth"]["table"] if isinstance(each["truth"], dict) else each["truth"]
        assert [len(row) for row in table] == [4, 4, 4]
    assert not [each for each in app.button if each.label.startswith("Fit")]


def test_what_an_entry_cannot_hold_is_shown_as_the_file_writes_it(opened: Opener) -> None:
    text = read_text("textbook-boin")[0].replace("cohort_size: 3", "cohort_size: three")
    key = workspace.keep_study(text)
    app = opened("study", study="textbook-boin", part="Design", draft=key)
    odd = next(each for each in app.text_input if each.label == "Cohort size (as written)")
    assert odd.value == '"three"'
    odd.set_value("4").run()
    assert not faults(app)
    assert parse(draft(app))["protocol"]["cohort_size"] == 4


@pytest.mark.parametrize(
    ("part", "path", "value"),
    [
        ("Scenarios", ("protocol",), [[]]),
        ("Regimens", ("protocol", "regimens"), "x"),
        ("Regimens", ("protocol", "regimens", "doses"), [None]),
        ("Regimens", ("protocol", "regimens", "frequencies", 0), 3),
        ("Design", ("protocol", "design"), []),
        ("Safety", ("protocol", "guards"), ["x"]),
        ("Safety", ("protocol", "expansion", "monitor"), "x"),
        ("Scenarios", ("scenarios",), {}),
        ("Scenarios", ("scenarios", 0), None),
        ("Scenarios", ("scenarios", 0, "truth", "table"), [None]),
        ("Scenarios", ("scenarios", 0, "truth", "onset"), 3),
        ("Scenarios", ("scenarios", 0, "accrual"), "x"),
        ("Sources", ("sources", "protocol.start"), 3),
        ("Criteria", ("criteria",), "x"),
    ],
)
def test_whatever_stands_in_a_draft_its_form_opens(
    opened: Opener, part: str, path: tuple[str | int, ...], value: Any
) -> None:
    document = StudyText(read_text("nct07212335")[0])
    document.set(path, value)
    app = opened("study", study="nct07212335", part=part, draft=workspace.keep_study(document.text()))
    assert faults(app)


def test_a_text_that_is_not_yaml_can_still_be_mended(opened: Opener) -> None:
    app = opened("study", study="textbook-boin", part="Text")
    app.text_area(key="study:text").set_value("schema: [1").run()
    assert "not valid YAML" in faults(app)
    assert [each.label for each in app.text_area] == ["Study file"]
    app.text_area(key="study:text").set_value(read_text("textbook-boin")[0]).run()
    assert address(app, "study") == "textbook-boin", "the preset's own text is the preset"


def test_scenarios_are_added_copied_and_removed(opened: Opener) -> None:
    app = opened("study", study="textbook-boin", part="Scenarios")
    before = len(load("textbook-boin").scenarios)
    next(each for each in app.button if each.label == "Duplicate it").click().run()
    assert not faults(app)
    names = [each["name"] for each in parse(draft(app))["scenarios"]]
    assert len(names) == len(set(names)) == before + 1
    assert app.selectbox(key="study:scenario").value == before
    next(each for each in app.button if each.label == "Remove it").click().run()
    assert len(parse(draft(app))["scenarios"]) == before


def test_a_titration_reads_grades_and_asks_every_scenario_for_them(opened: Opener) -> None:
    app = opened("study", study="textbook-titration", part="Scenarios")
    label = "Moderate toxicity probabilities, lowest level first"
    next(each for each in app.text_input if each.label == label).set_value("0.1 0.1 0.1 0.1 0.1 0.1 0.9").run()
    assert "together more than 1" in faults(app)
    next(each for each in app.text_input if each.label == label).set_value("0.1 0.1 0.1 0.1 0.1 0.1 0.2").run()
    assert not faults(app)
    assert parse(draft(app))["scenarios"][0]["moderate"] == [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2]
    next(each for each in app.text_input if each.label == label).set_value("").run()
    assert "their probabilities are not assumed" in faults(app)
    app = opened("study", study="textbook-boin", part="Scenarios")
    assert next(each for each in app.text_input if each.label == label).value == ""


def test_a_table_becomes_a_hazard_and_a_law_of_onset_is_chosen(opened: Opener) -> None:
    app = opened("study", study="textbook-boin", part="Scenarios")
    app.selectbox(key="study:which:scenarios.0.truth.onset").set_value("weibull").run()
    number(app, "Late share").set_value(0.75).run()
    truth = parse(draft(app))["scenarios"][0]["truth"]
    assert truth["onset"] == {"law": "weibull", "late_share": 0.75}
    assert truth["table"] == parse(read_text("textbook-boin")[0])["scenarios"][0]["truth"]
    app.radio(key="study:truth:0").set_value("hazard of every infusion").run()
    assert not faults(app)
    assert "hazard" in parse(draft(app))["scenarios"][0]["truth"]
    app.selectbox(key="study:which:scenarios.0.accrual").set_value("listed").run()
    assert "scenarios.0.accrual.days" in faults(app)


def test_provenance_is_stated_in_a_form(opened: Opener) -> None:
    app = opened("study", study="textbook-boin", part="Sources")
    app.selectbox(key="study:source:new").set_value("protocol.cohort_size").run()
    next(each for each in app.button if each.label == "Add a note").click().run()
    note = parse(draft(app))["sources"]["protocol.cohort_size"]
    assert note["source"] == "placeholder"
    assert any("NOT protocol-complete" in each.value for each in app.warning)
    next(each for each in app.selectbox if each.label == "Source").set_value(0).run()
    assert parse(draft(app))["sources"]["protocol.cohort_size"]["source"] == "registry"
    assert not app.warning
