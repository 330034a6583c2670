"""The lessons: every right answer is worked out, accepted, and every other refused."""

from __future__ import annotations

import json
import math
import shlex

import pytest
from typer.testing import CliRunner

from escalation.cli import app
from escalation.report.charts.style import svg
from escalation.report.charts.teaching import enlarged
from escalation.study import load
from escalation.teach.hand_run import hand_run
from escalation.teach.lesson import GIVEN_UP, Choice, Course, Figure, Listed, Number, Progress, Reasons, Trial
from escalation.teach.lessons import LESSONS
from escalation.teach.lessons.picks_low import passes

STEPS = [
    pytest.param(key, number, id=f"{key}-{number + 1}") for key in LESSONS for number in range(len(LESSONS[key].steps))
]
DECISIONS = [
    ("by-hand", 0, "escalate", 2),
    ("by-hand", 1, "stay", 2),
    ("by-hand", 2, "escalate", 3),
    ("by-hand", 3, "stop", 2),
    ("by-hand", 4, "de_escalate", 2),
    ("pending", 1, "wait", None),
    ("pending", 3, "stop", 1),
    ("pending", 4, "stop", 1),
    ("frequency", 6, "stop", 1),
]


def step(key, number, seed=2):
    return Course(LESSONS[key], seed).step(number)


@pytest.mark.parametrize(("key", "number"), STEPS)
def test_the_right_answer_is_accepted_and_every_wrong_one_refused(key, number):
    for seed in (2, 19):
        made = step(key, number, seed)
        task = made.task
        if isinstance(task, Choice):
            assert len(set(task.options)) == len(task.options) > 1
            accepted = [i for i in range(len(task.options)) if task.accepts(str(i))]
            assert accepted == [task.right]
            assert not task.accepts(str(len(task.options)))
        else:
            off = task.within + max(0.02 * abs(task.right), 0.51)
            assert task.accepts(f"{task.right:.10g}")
            assert not task.accepts(f"{task.right + off:.10g}")
            assert not task.accepts(f"{task.right - off:.10g}")
        for nonsense in ("", "x", "nan", "inf", "-1e30", "9" * 5000, GIVEN_UP):
            assert not task.accepts(nonsense)
        assert made.title
        assert made.text
        assert made.hint
        assert made.because


@pytest.mark.parametrize(("key", "number"), STEPS)
def test_exhibits_can_be_drawn_and_read(key, number):
    made = step(key, number)
    for each in (*made.shown, *made.shown_then):
        if isinstance(each, Figure):
            assert svg(each.make()).startswith("<svg")
            assert len(each.alt) > 20
        elif isinstance(each, Listed):
            assert all(len(row) == len(each.headers) for row in each.rows)
        else:
            assert isinstance(each, Trial | Reasons)
            assert each.run.treated


@pytest.mark.parametrize(("key", "number"), STEPS)
def test_the_command_of_a_step_runs(key, number):
    command = step(key, number).command
    if command and "verify" not in command:
        result = CliRunner().invoke(app, shlex.split(command)[1:])
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize(("key", "number", "action", "level"), DECISIONS)
def test_the_decisions_of_the_lessons_are_those_of_the_command_line_and_of_the_textbook(key, number, action, level):
    made = step(key, number)
    printed = CliRunner().invoke(app, [*shlex.split(made.command)[1:], "--json"])
    form = json.loads(printed.stdout)
    assert form["action"] == action
    place = form["selected"] if action == "stop" else form["next"]
    if level is not None:
        assert level in (place["dose"], place["frequency"])
        assert f"level {level}" in made.task.answer
    else:
        assert made.task.answer == "Wait"


def test_a_level_passes_as_the_formula_says():
    for p in (0.1, 0.3, 0.55):
        formula = (1 - p) ** 3 + 3 * p * (1 - p) ** 2 * (1 - p) ** 3
        assert passes((p,))[0] == pytest.approx(formula, abs=1e-12)
    assert step("picks-low", 0).task.right == pytest.approx(100 * (0.343 + 0.441 * 0.343))


def test_answers_agree_with_numbers_found_elsewhere():
    assert step("picks-low", 1).task.answer == "Level 2 (15%)"  # .4006, the head of textbook-5-doses.yaml
    assert step("pending", 2).task.right == pytest.approx(100 * 0.15 / 0.85)
    assert step("frequency", 0).task.right == pytest.approx(100 * (1 - 0.9**4), abs=0.01)
    assert step("frequency", 2).task.right == 28 - 21
    assert step("frequency", 3).task.right == pytest.approx(100 * (1 - 0.1004 / 0.1826), abs=0.1)
    assert step("grid", 5).task.answer == "Frequency first, then dose"
    assert "19.4%" in step("grid", 5).because  # .1939 ends at F3, the head of nct05672420.yaml


def test_the_standard_error_is_that_of_the_formula():
    for seed in (2, 3, 4):
        made = step("how-sure", 0, seed)
        share = float(made.hint.split("p is ")[1].split(" ")[0])
        assert made.task.right == pytest.approx(100 * math.sqrt(share * (1 - share) / 200), abs=0.02)


def test_the_paper_trial_has_the_patients_of_the_class_and_what_a_student_would_find():
    for seed in range(25):
        made = step("by-hand", 5, seed)
        (table,) = made.shown
        levels = len(table.headers) - 1
        at, patient, tried = 0, 0, [0] * levels
        found = None
        dlts = [0] * levels
        while found is None:
            for row in table.rows[patient : patient + 3]:
                dlts[at] += row[at + 1] == "DLT"
                assert row[at + 1] in ("DLT", "–")
            patient, tried[at] = patient + 3, tried[at] + 3
            if dlts[at] >= 2:
                found = at - 1
            elif dlts[at] == 1 and tried[at] == 3:
                continue
            elif at == levels - 1:
                found = at
            else:
                at += 1
        assert made.task.answer == (f"Level {found + 1}" if found >= 0 else "No level")
        assert patient <= len(table.rows)


def test_the_patients_missed_by_the_window_are_counted_one_by_one():
    for seed in range(8):
        made = step("frequency", 4, seed)
        days = [int(row[1].removeprefix("day ")) for table in made.shown for row in table.rows]
        assert made.task.right == sum(day > 28 for day in days)


def test_the_answers_of_a_class_depend_on_its_seed_only():
    for key in LESSONS:
        first, second = Course(LESSONS[key], 5), Course(LESSONS[key], 5)
        for number in range(len(LESSONS[key].steps)):
            assert first.step(number).task == second.step(number).task
    papers = {step("by-hand", 5, seed).because for seed in range(10)}
    assert len(papers) > 3


def test_progress_is_written_as_it_is_read_and_survives_nonsense():
    task = Choice("?", ("a", "b", "c"), 1)
    progress = Progress.read("2_1~~1", 4)
    assert str(progress) == "2_1~~1"
    assert progress.done(0, task)
    assert not progress.first_time(0, task)
    assert not progress.done(1, task)
    assert progress.first_time(2, task)
    assert str(progress.given(1, GIVEN_UP)) == "2_1~!~1"
    assert progress.given(1, GIVEN_UP).done(1, task)
    assert not progress.given(1, GIVEN_UP).first_time(1, task)
    for text in ("~" * 99, "_" * 99, "9_x~<b>~nan", ""):
        assert len(Progress.read(text, 4).attempts) == 4


def test_numbers_close_to_the_bound_are_accepted_and_beyond_refused():
    task = Number("?", 49.4, 2)
    assert task.accepts("51.4")
    assert not task.accepts("51.5")


def test_a_chart_for_the_projector_keeps_its_data():
    made = step("how-sure", 2).shown[0].make()
    small, large = made.to_dict(), enlarged(made, 1.5)
    assert large["datasets"] == small["datasets"]
    assert large["height"] == 1.5 * small["height"]
    assert large["config"]["axis"]["labelFontSize"] == 1.5 * small["config"]["axis"]["labelFontSize"]


def test_lessons_name_studies_there_are_and_histories_that_can_be():
    for lesson in LESSONS.values():
        load(lesson.study)
        assert lesson.summary
        for number in range(len(lesson.steps)):
            for each in Course(lesson, 2).step(number).shown:
                if isinstance(each, Trial):
                    assert not hand_run(each.run.study, each.run.text).departures
