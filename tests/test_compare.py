"""Comparison on common participants, and pathways against the exact graph."""

from __future__ import annotations

from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from escalation.advice import Advisor
from escalation.compare import compare
from escalation.errors import EngineError, StudyError
from escalation.exact import compile_graph
from escalation.outcomes import replay
from escalation.pathways import pathways
from escalation.report.tables import print_comparison
from escalation.simulate import simulate
from escalation.study import load


def test_paired_differences_are_differences_and_tighter_than_independent_ones():
    studies = [load("textbook-5-doses", overrides=[f"protocol.design.variant={v}"]) for v in ("V2", "V3")]
    compared = compare(studies, scenarios=["mtd-3"], trials=4000, seed=3)
    (scenario,) = compared.scenarios
    (differences,) = scenario.differences
    for name, difference in differences.items():
        first, second = scenario.measures[0][name], scenario.measures[1][name]
        assert difference.difference == pytest.approx(second.value - first.value, abs=1e-12)
        independent = np.hypot(first.mcse, second.mcse)
        assert difference.mcse <= independent + 1e-12
    assert differences["patients"].mcse < 0.5 * np.hypot(*(m["patients"].mcse for m in scenario.measures))


def test_the_paired_difference_agrees_with_the_exact_one():
    studies = [load("textbook-5-doses"), load("textbook-5-doses", design="boin")]
    compared = compare(studies, scenarios=["mtd-3"], trials=4000, seed=5)
    exact = [simulate(study, scenarios=["mtd-3"]).scenarios[0].characteristics for study in studies]
    for name in ("correct_selection", "selection_above", "overdosing_60"):
        found = compared.scenarios[0].differences[0][name]
        wanted = exact[1].measures[name].value - exact[0].measures[name].value
        assert abs(found.difference - wanted) < 4 * found.mcse


def test_a_design_compared_with_itself_differs_by_nothing():
    study = load("textbook-5-doses")
    compared = compare([study, study], scenarios=["mtd-3"], trials=200)
    assert all(d.difference == 0 and not d.distinguished for d in compared.scenarios[0].differences[0].values())


def test_a_contour_is_not_right_as_one_regimen_is():
    """Their correct selections are different questions: no difference, and a note that says why."""
    studies = [load("textbook-grid-3x3", design=name) for name in ("boin_combination", "pipe", "waterfall", "pocrm")]
    compared = compare(studies, trials=50)
    notes = [note for note in compared.notes if "not compared with designs that select one regimen" in note]
    assert [note.split(":")[0] for note in notes] == ["PIPE, Waterfall"]
    for scenario in compared.scenarios:
        contours, regimens = scenario.differences[:2], scenario.differences[2:]
        assert not any({"correct_selection", "poor_allocation"} & set(each) for each in contours)
        assert all({"patients", "dlts", "selection_above"} <= set(each) for each in scenario.differences)
        assert all({"correct_selection", "poor_allocation", "selection_within"} <= set(each) for each in regimens)
        assert "correct_frequencies" in scenario.names
        assert scenario.names.index("correct_frequencies") == scenario.names.index("correct_selection") + 1
    same = compare(studies[1:3], trials=50)
    assert "correct_selection" in same.scenarios[0].differences[0]
    assert not [note for note in same.notes if "not compared" in note]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_printed_comparison_breaks_no_word_and_no_number(width):
    names = ("three_plus_three_contour", "boin_combination", "keyboard_combination", "pipe", "waterfall", "pocrm")
    compared = compare([load("textbook-grid-3x3", design=name) for name in names], trials=20)
    console = Console(width=width, record=True, file=StringIO())
    print_comparison(console, compared)
    text = console.export_text()
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    (first, *_) = compared.scenarios
    for entry, measures in enumerate(first.measures):
        assert f"{measures['patients'].value:.3f} ({measures['patients'].mcse:.3f})" in text, entry
    for words in ("Participants", "overdosing 60 %", "allocation", "is acceptable", "selected right"):
        assert words in text
    columns = [number for line in lines if line.startswith("measure ") for number in line.split()[1:]]
    assert set(columns) == {"1", "2", "3", "4", "5", "6"}
    assert text.count("6  POCRM, 6 orderings") == 1


def test_the_benchmark_is_an_upper_reference_here():
    studies = [load("textbook-5-doses", design="boin"), load("textbook-5-doses", design="crm")]
    (scenario,) = compare(studies, scenarios=["mtd-3"], trials=2000).scenarios
    assert all(m["correct_selection"].value < scenario.benchmark.correct_selection.value for m in scenario.measures)


def test_calendar_comparisons_add_the_duration():
    studies = [load("nct07212335"), load("nct07212335", overrides=["protocol.stagger.sentinel_days=0"])]
    (scenario,) = compare(studies, scenarios=["T1"], trials=300, engine="calendar").scenarios
    assert scenario.differences[0]["duration_days"].difference < 0
    assert scenario.differences[0]["patients"].difference == 0


def test_studies_that_assume_different_truths_under_one_name_are_refused():
    other = load("textbook-5-doses", overrides=["scenarios.mtd-3.truth=[.1, .2, .3, .4, .5]"])
    with pytest.raises(StudyError, match="different truths"):
        compare([load("textbook-5-doses"), other], scenarios=["mtd-3"], trials=10)
    with pytest.raises(StudyError, match="share no scenario"):
        compare([load("textbook-5-doses"), load("textbook-5-doses", truth=".1 .2 .3 .4 .5")], trials=10)


@pytest.mark.parametrize("variant", ["V1", "V2", "V3"])
def test_all_pathways_together_are_the_exact_law(variant):
    study = load(
        "textbook-5-doses",
        overrides=["protocol.regimens.doses=[1, 2, 3]", f"protocol.design.variant={variant}"],
        truth=".1 .25 .5",
    )
    rule = study.protocol.rule
    truth = study.truth(study.scenarios[0]).probability
    advisor = Advisor(rule)
    nodes = pathways(advisor, replay(rule, "", advisor=advisor).state, "", 8, truth)
    graph = compile_graph(rule)
    law = graph.probabilities(truth)[0] @ graph.selected
    found = np.zeros(3)
    stopped = [node for node in nodes if node.advice.action.word == "stop"]
    for node in stopped:
        for chosen in node.advice.selected:
            found[chosen] += node.probability
    assert found == pytest.approx(law, abs=1e-12)
    assert sum(node.probability for node in stopped) == pytest.approx(1)
    assert len(stopped) == {"V1": 43, "V2": 118, "V3": 154}[variant]


def test_every_node_can_be_decided_again_from_its_own_string():
    study = load("textbook-5-doses", design="crm")
    rule, advisor = study.protocol.rule, Advisor(study.protocol.rule)
    nodes = pathways(advisor, replay(rule, "1NNP", advisor=advisor).state, "1NNP", 3, np.full(5, 0.2))
    for node in nodes:
        assert advisor.advise(replay(rule, node.outcomes, advisor=advisor).state) == node.advice


def test_too_many_pathways_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("escalation.pathways.MOST_NODES", 500)
    study = load("textbook-5-doses", design="boin")
    advisor = Advisor(study.protocol.rule)
    with pytest.raises(EngineError, match="fewer cohorts"):
        pathways(advisor, replay(study.protocol.rule, "").state, "", 10, np.full(5, 0.2))
