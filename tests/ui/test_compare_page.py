"""Compare: the entries asked for, differences as the engine says, and a command that gives the same."""

from __future__ import annotations

import json
import shlex

import pytest
from typer.testing import CliRunner

from escalation.cli import app
from escalation.compare import compare
from escalation.report.document import comparison_report, difference_text
from escalation.study import load, read_text
from escalation.ui import command_lines, runs
from escalation.ui.engine import under_design
from tests.ui.conftest import address, button, ended, html_of

PRESET = "textbook-boin"


def text(study) -> str:
    return json.dumps(study.as_dict())


def asked(*others: str, preset: str = PRESET, **changed) -> dict:
    study = load(preset)
    texts = [read_text(preset)[0], *others]
    names = [study.scenarios[0].name]
    return {"studies": texts, "scenarios": names, "engine": "sampled", "trials": 60, "seed": 2} | changed


def test_from_the_settings_to_the_differences_of_the_engine(opened):
    at = opened("compare_page", study=PRESET)
    at.number_input[0].set_value(60)
    at.number_input[1].set_value(2)
    designs = next(group for group in at.button_group if group.label == "This study under other designs")
    designs.set_value(["crm"]).run()
    button(at, "Compare").click().run()
    key = address(at, "run")
    assert ended(key).status == "finished"
    at.run()
    assert not at.exception
    expected = compare([load(PRESET), load(PRESET, design="crm")], trials=60, seed=2)
    shown = html_of(at)
    for found in expected.scenarios[0].differences[0].values():
        assert difference_text(found) in shown
    assert f"{expected.scenarios[0].benchmark.correct_selection.value:.4f}" in shown
    again = opened("compare_page", run=key)
    assert difference_text(expected.scenarios[0].differences[0]["correct_selection"]) in html_of(again)


def test_another_study_is_compared_where_it_assumes_the_same(opened):
    at = opened("compare_page", study="textbook-5-doses")
    at.number_input[0].set_value(20)
    next(group for group in at.button_group if group.label == "This study under other designs").set_value([])
    at.multiselect[0].set_value(["textbook-crm"]).run()
    assert any("mtd-3, mtd-1, mtd-5" in each.value for each in at.caption)
    button(at, "Compare").click().run()
    run = ended(address(at, "run"))
    assert run.status == "finished", run.message
    assert run.request["scenarios"] == ["all-toxic"]
    studies = [load("textbook-5-doses"), load("textbook-crm")]
    command = command_lines.compare_command(run.request, studies)
    assert command.startswith("escalation compare textbook-5-doses textbook-crm ")


def test_nothing_to_compare_with_cannot_be_started(opened):
    at = opened("compare_page", study=PRESET)
    next(group for group in at.button_group if group.label == "This study under other designs").set_value([]).run()
    assert button(at, "Compare").disabled


def test_a_run_of_the_other_page_is_not_shown_here(opened):
    key = runs.start(asked())
    at = opened("compare_page", study=PRESET, run=key)
    assert "names no run kept here" in at.info[0].value


def test_contours_and_single_regimens_beside_each_other(opened):
    """Every measure that some design has can be chosen; the page and the report take no difference of the others."""
    grid = "textbook-grid-3x3"
    others = [text(load(grid, design=name)) for name in ("pipe", "boin_combination", "pocrm")]
    request = asked(*others[1:], preset=grid, trials=20)
    request["studies"] = [others[1], others[0], others[2]]
    key = runs.start(request)
    assert ended(key).status == "finished"
    at = opened("compare_page", study=grid, run=key)
    choice = next(each for each in at.selectbox if each.label.startswith("Difference from"))
    for position in range(len(choice.options)):
        choice.select_index(position).run()
        assert not at.exception
        choice = next(each for each in at.selectbox if each.label.startswith("Difference from"))
    assert any("not compared with designs that select one regimen" in each.value for each in at.info)
    compared = compare([load(grid, design=name) for name in ("boin_combination", "pipe")], trials=20)
    page = comparison_report(compared)
    assert "Participants minus that of" in page
    assert "Frequencies selected right" in page


def test_studies_that_assume_other_truths_are_refused_in_words(opened):
    other = load(PRESET).as_dict()
    other["scenarios"][0]["truth"]["table"] = [[0.01, *other["scenarios"][0]["truth"]["table"][0][1:]]]
    key = runs.start(asked(json.dumps(other)))
    assert ended(key).status == "refused"
    at = opened("compare_page", study=PRESET, run=key)
    assert "different truths" in at.error[0].value


def test_the_command_line_gives_the_same_numbers(tmp_path, monkeypatch):
    studies = [load(PRESET), load(PRESET, design="crm")]
    request = asked(text(studies[1]))
    command = command_lines.compare_command(request, studies)
    assert "--design crm" in command
    assert ".json" not in command
    form = printed(command)
    expected = compare(studies, scenarios=request["scenarios"], trials=60, seed=2)
    assert form["scenarios"][0]["differences"][0]["measures"]["correct_selection"]["difference"] == (
        expected.scenarios[0].differences[0]["correct_selection"].difference
    )


def test_a_design_that_needed_a_size_is_named_as_a_file(tmp_path, monkeypatch):
    study = load("textbook-5-doses").as_dict()
    study["protocol"]["max_patients"] = None
    own = text(load_of(study))
    entries = [load_of(study), under_design(load_of(study), "boin")]
    request = asked(text(entries[1])) | {"studies": [own, text(entries[1])]}
    request["scenarios"] = [entries[0].scenarios[0].name]
    command = command_lines.compare_command(request, entries)
    assert "--design" not in command
    (tmp_path / f"{entries[0].id}.yaml").write_text(own)
    (tmp_path / command_lines.file_name(entries[1])).write_text(text(entries[1]))
    monkeypatch.chdir(tmp_path)
    form = printed(command)
    assert [entry["study_hash"] for entry in form["entries"]] == [each.hash for each in entries]


def load_of(data):
    from escalation.study import validate

    return validate(data)


def printed(command: str):
    result = CliRunner().invoke(app, [*shlex.split(command)[1:], "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("engine", ["sampled", "calendar"])
def test_results_on_the_grid_are_drawn(opened, engine):
    study = load("textbook-grid-3x3")
    other = next(
        s
        for name in ("frequency_then_dose", "dose_then_frequency", "three_plus_three_path")
        if name != study.protocol.rule.design.name and (s := under_design(study, name))
    )
    key = runs.start(asked(text(other), preset="textbook-grid-3x3", engine=engine, trials=20))
    assert ended(key).status == "finished", runs.look(key).message
    at = opened("compare_page", run=key)
    assert not at.exception
    assert not at.error
    assert "esc-trace" in html_of(at)
