"""The Teach page: everything it shows is in the address, and every act changes the address."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from escalation.decision import Action
from escalation.study import load
from escalation.teach.hand_run import hand_run, rolled, to_the_end
from escalation.teach.lesson import Choice, Course
from escalation.teach.lessons import LESSONS
from escalation.teach.patients import patients_of


def _run() -> None:
    from escalation.ui.teach_page import page

    page()


@pytest.fixture
def opened(tmp_path, monkeypatch) -> Callable[..., AppTest]:
    monkeypatch.setenv("ESCALATION_WORKSPACE", str(tmp_path))

    def at(**parameters: str) -> AppTest:
        app = AppTest.from_function(_run, default_timeout=30)
        for name, text in parameters.items():
            app.query_params[name] = text
        app.run()
        assert not app.exception
        return app

    return at


def parameter(app: AppTest, name: str) -> str:
    found = app.query_params.get(name, "")
    return found[0] if isinstance(found, list) else found


def press(app: AppTest, label: str) -> AppTest:
    (button,) = [each for each in app.button if each.label == label]
    button.click().run()
    assert not app.exception
    return app


def written(app: AppTest) -> str:
    parts = [*app.markdown, *app.caption, *app.success, *app.warning, *app.error, *app.info, *app.code, *app.subheader]
    return "\n".join([*(str(each.value) for each in parts), *(str(each.proto.body) for each in app.get("html"))])


@pytest.mark.parametrize("key", LESSONS)
def test_a_lesson_is_played_through_to_its_summary(opened, key):
    app = opened(lesson=key, seed="6")
    course = Course(LESSONS[key], 6)
    for number in range(len(course.lesson.steps)):
        task = course.step(number).task
        if isinstance(task, Choice):
            app.radio[0].set_value(task.right)
        else:
            (field,) = [each for each in app.number_input if each.label.startswith(task.asks)]
            field.set_value(round(task.right, 2))
        press(app, "Check")
        assert any(str(each.value).startswith("Right") for each in app.success), written(app)
        last = number + 1 == len(course.lesson.steps)
        press(app, "To the summary" if last else "Next step")
    assert "Summary" in written(app)
    assert f"{len(course.lesson.steps)} of {len(course.lesson.steps)}" in written(app)
    for line in course.lesson.summary:
        assert line in written(app)


def test_a_wrong_answer_gets_a_hint_and_the_answer_can_be_asked_for(opened):
    app = opened(lesson="by-hand")
    step = Course(LESSONS["by-hand"], 2).step(0)
    wrong = (step.task.right + 1) % len(step.task.options)
    app.radio[0].set_value(wrong)
    press(app, "Check")
    assert parameter(app, "given") == str(wrong)
    assert any(step.hint in each.value for each in app.warning)
    assert step.because not in written(app)
    press(app, "Show the answer")
    assert parameter(app, "given") == f"{wrong}_!"
    assert step.because in written(app)


def test_a_trial_is_rolled_predicted_and_kept_in_the_address(opened):
    app = opened(study="textbook-5-doses", show="trial", seed="4", scenario="mtd-3")
    study = load("textbook-5-doses")
    run = rolled(hand_run(study, "", 4), patients_of(study, "mtd-3", 4))
    press(app, "Roll the dice for all 3")
    assert parameter(app, "outcomes") == run.text == "1NNN"
    reason = study.protocol.rule.reason(run.advice.reasons[0])
    assert reason.paragraph not in written(app)
    app.radio[0].set_value(Action.ESCALATE).run()
    press(app, "Keep my prediction")
    assert parameter(app, "said") == "3E2"
    assert reason.line in written(app)
    assert reason.paragraph in written(app)
    assert "1 of 1" in written(app)
    press(app, "Undo")
    assert (parameter(app, "outcomes"), parameter(app, "said")) == ("", "")


def test_a_stop_without_a_recommendation_can_be_predicted(opened):
    app = opened(study="textbook-5-doses", show="trial", outcomes="1TTN")
    app.radio[0].set_value(Action.STOP).run()
    (field,) = [each for each in app.selectbox if each.label == "Which level is selected?"]
    field.set_value(()).run()
    press(app, "Keep my prediction")
    assert parameter(app, "said") == "3X"
    assert "1 of 1" in written(app)


def test_outcomes_can_be_chosen_and_become_known_later(opened):
    app = opened(study="textbook-5-doses", show="trial")
    for field, letter in zip([each for each in app.radio if "Outcome" in each.label], "NPN", strict=True):
        field.set_value(letter)
    press(app, "Treat them")
    assert parameter(app, "outcomes") == "1NPN"
    press(app, "Show without predicting")
    assert parameter(app, "said") == "3p2?"
    assert "if 002 completes by day 28 without DLT" in written(app)
    press(app, "002: DLT")
    assert parameter(app, "outcomes") == "1NTN"


def test_moderate_toxicities_can_be_chosen_where_the_rule_reads_them(opened):
    app = opened(study="textbook-titration", show="trial", outcomes="1M")
    press(app, "Show without predicting")
    (field,) = [each for each in app.radio if "Outcome" in each.label]
    assert "moderate toxicity" in field.options
    field.set_value("P")
    press(app, "Treat them")
    assert parameter(app, "outcomes") == "1M 2P"
    press(app, "Show without predicting")
    press(app, "002: moderate toxicity")
    assert parameter(app, "outcomes") == "1M 2M"
    press(app, "Show without predicting")
    assert "titration.moderate" in written(app) or "Moderate toxicities have reached the limit" in written(app)
    other = opened(study="textbook-boin", show="trial")
    assert "moderate toxicity" not in [word for each in other.radio for word in each.options]


def test_to_the_end_is_the_trial_of_the_command_line(opened):
    app = opened(study="nct07212335", show="trial", seed="3", scenario="T3")
    study = load("nct07212335")
    press(app, "To the end")
    expected = to_the_end(hand_run(study, "", 3), patients_of(study, "T3", 3))
    assert parameter(app, "outcomes") == expected.text
    assert any(expected.text in each.value for each in app.code)


def test_the_same_patients_under_another_design(opened):
    app = opened(
        study="textbook-5-doses", show="trial", seed="4", scenario="mtd-3", outcomes="1NNN 2TNN", beside="boin"
    )
    assert sum("1NNN 2TNN" in each.value for each in app.code) >= 2
    assert any(each.value == "**BOIN**" for each in app.markdown)
    (further,) = [each for each in app.toggle if each.label.startswith("Also the patients to come")]
    further.set_value(True).run()
    assert parameter(app, "on") == "1"
    study = load("textbook-5-doses")
    ended = to_the_end(hand_run(study, "1NNN 2TNN", 4), patients_of(study, "mtd-3", 4))
    assert any(each.value == ended.text for each in app.code)


def test_another_design_and_another_study_start_again(opened):
    app = opened(study="textbook-5-doses", show="trial", outcomes="1NNN", said="3E2")
    (field,) = [each for each in app.selectbox if each.label == "Design"]
    field.set_value("boin").run()
    assert (parameter(app, "design"), parameter(app, "outcomes"), parameter(app, "said")) == ("boin", "", "")
    app.query_params["outcomes"] = "1NNN"
    (field,) = [each for each in app.selectbox if each.label == "Study"]
    field.set_value("nct07212335").run()
    assert not app.exception
    assert (parameter(app, "study"), parameter(app, "outcomes")) == ("nct07212335", "")


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"outcomes": "1NNN 3NNN"}, "impossible history"),
        ({"outcomes": "<b>x</b>"}, "is not a level"),
        ({"said": "zzz"}, "no prediction"),
        ({"seed": "abc"}, "names no patients"),
        ({"seed": "9" * 5000}, "names no patients"),
        ({"scenario": "nonsense", "design": "nonsense", "large": "9", "truth": "x", "beside": "a,b"}, "Textbook"),
    ],
)
def test_an_address_that_makes_no_sense_is_told_so(opened, parameters, told):
    app = opened(study="textbook-5-doses", show="trial", **parameters)
    assert told in written(app)


def test_an_unknown_lesson_shows_the_list(opened):
    app = opened(lesson="cooking", at="9" * 5000, given="~~~~~")
    assert "no lesson" in written(app)
    assert sum(each.label.startswith("Start lesson") for each in app.button) == len(LESSONS)


@pytest.mark.parametrize("study", ["nct05672420", "textbook-grid-3x3", "textbook-frequency", "textbook-crm"])
def test_every_kind_of_study_can_be_run(opened, study):
    app = opened(study=study, show="trial", seed="5", truth="1", large="1")
    press(app, "To the end")
    assert parameter(app, "outcomes")
    assert "True MTD" in written(app)
