"""Rules: what the page says is what the engine and the command line say."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from escalation.cli import app as command_line
from escalation.study import load, preset_names
from escalation.ui.blocks import plain
from escalation.ui.rules_page import PARTS
from tests.ui.conftest import Opener


def html(app: AppTest) -> str:
    return " ".join(each.proto.body for each in app.get("html"))


def printed(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(command_line, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    form: dict[str, Any] = json.loads(result.stdout)
    return form


@pytest.mark.parametrize("name", preset_names())
def test_every_part_opens_for_every_preset(opened: Opener, name: str) -> None:
    study = load(name)
    for part in PARTS:
        app = opened("rules", study=name, show=part)
        assert not app.error
        said = " ".join(each.value for each in app.markdown).replace("\\", "")
        for step in study.protocol.rule.steps():
            assert step in said
        assert study.protocol.rule.design.citation in " ".join(each.value for each in app.caption).replace("\\", "")


@pytest.mark.parametrize(
    ("study", "outcomes"),
    [
        ("textbook-5-doses", ""),
        ("textbook-5-doses", "1NNN 2NT"),
        ("textbook-5-doses", "1NNN 2TT"),
        ("textbook-boin", "1NNN 3NNN"),
        ("textbook-crm", "1NNN 2NNT"),
        ("nct07212335", "1NNN 2NNN 3NPP"),
        ("textbook-grid-3x3", "1.1NNN 2.1NTP"),
        ("textbook-titration", "1N 2M 3N 4P"),
        ("textbook-titration", "1N 2M 3N 4M"),
    ],
)
def test_what_would_be_decided_is_what_decide_prints(opened: Opener, study: str, outcomes: str) -> None:
    form = printed("decide", study, "--outcomes", outcomes)
    app = opened("rules", study=study, outcomes=outcomes)
    said = " ".join(each.value for each in (*app.markdown, *app.caption, *app.warning)).replace("\\", "")
    assert form["text"] in html(app)
    for reason, explained in zip(form["reasons"], form["explanations"], strict=True):
        assert reason["code"] in said
        assert reason["text"] in said
        assert explained in said
    for line in (*form["outlook"], *form["departures"]):
        assert line in said


def test_outcomes_that_cannot_be_are_refused_in_words(opened: Opener) -> None:
    app = opened("rules", study="textbook-5-doses", outcomes="1TTT 2NNN")
    assert "impossible history" in app.error[0].value
    app = opened("rules", study="textbook-5-doses", outcomes="1NZ")
    assert "no outcome" in app.error[0].value


def test_tapping_writes_the_outcomes_where_the_rule_treats(opened: Opener) -> None:
    app = opened("rules", study="textbook-grid-3x3")
    for letter in "NNN":
        app.button(key=f"tap:{letter}").click().run()
    app.button(key="tap:T").click().run()
    assert app.text_input(key="outcomes").value == "1.1NNN 2.1T"
    next(each for each in app.button if each.label == "Take back").click().run()
    assert app.text_input(key="outcomes").value == "1.1NNN"


def test_moderate_toxicities_are_tapped_where_the_rule_reads_them(opened: Opener) -> None:
    app = opened("rules", study="textbook-titration")
    app.button(key="tap:M").click().run()
    app.button(key="tap:M").click().run()
    app.button(key="tap:N").click().run()
    assert app.text_input(key="outcomes").value == "1M 2M 2N"
    assert "moderate toxicities" in html(app)
    other = opened("rules", study="textbook-boin")
    assert "tap:M" not in [each.key for each in other.button]


@pytest.mark.parametrize("study", ["textbook-5-doses", "textbook-boin", "textbook-grid-3x3"])
def test_the_boundaries_are_those_of_the_table(opened: Opener, study: str) -> None:
    form = printed("table", study)
    app = opened("rules", study=study, show="Decision table")
    if app.toggle:
        app.toggle[0].set_value(True).run()
    tables = [each.proto.body for each in app.get("html") if "<table" in each.proto.body]
    cells = [re.sub("<[^>]*>", " ", row).split() for row in re.findall("<tr>(.*?)</tr>", tables[-1])[1:]]
    shown = [[None if cell == "never" else int(cell) for cell in row] for row in cells]
    keys = ("n", "escalate_if_at_most", "de_escalate_if_at_least", "eliminate_if_at_least")
    assert shown == [list(row) for row in zip(*(form[key] for key in keys), strict=True)]


@pytest.mark.parametrize(
    ("study", "start"), [("textbook-5-doses", "1NNT"), ("textbook-grid-3x3", ""), ("textbook-titration", "1M")]
)
def test_the_pathways_are_those_of_the_command_line(opened: Opener, study: str, start: str) -> None:
    form = printed("pathways", study, "--from", start, "--cohorts", "2")
    app = opened("rules", study=study, show="Pathways", **{"from": start} if start else {})
    listed = re.findall(r"probability ([\d.]+)", html(app))
    assert listed == [f"{node['probability']:.4f}" for node in form["nodes"]]
    scenario = next(each for each in app.selectbox if each.label == "Probabilities under")
    scenario.set_value(scenario.options[-1]).run()
    assert not app.exception
    assert "probability" not in html(app)


@pytest.mark.parametrize("study", ["textbook-5-doses", "textbook-boin"])
def test_the_proof_is_that_of_the_command_line(opened: Opener, study: str) -> None:
    form = printed("verify", study)
    app = opened("rules", study=study, show="Safety proof")
    if app.button:
        app.button[0].click().run()
    said = html(app)
    assert f"{form['states']:,}" in said
    for each in form["properties"]:
        assert each["statement"] in said.replace("&#x27;", "'")
        assert each["holds"] or each["counterexample"] in said
    assert said.count("BROKEN") == sum(not each["holds"] for each in form["properties"])


def test_every_reason_is_listed_in_both_lengths(opened: Opener) -> None:
    said = html(opened("rules", study="textbook-boin", show="Reasons")).replace("&#x27;", "'").replace("&gt;", ">")
    for reason in load("textbook-boin").protocol.rule.reasons:
        assert reason.code in said
        assert reason.line in said
        assert reason.paragraph in said


@pytest.mark.parametrize(
    "text", ["- x", "1. x", "12) x", "+ x", "**x**", "[x](http://y)", "![x](y)", ":red[x]", "a_b_c"]
)
def test_words_of_a_study_are_never_read_as_markdown(text: str) -> None:
    assert plain(text).replace("\\", "") == text
    assert "\\" in plain(text)
