"""The pathway tree draws every pathway, with its letters and its probabilities."""

from __future__ import annotations

import pytest

from escalation.advice import Advisor
from escalation.outcomes import replay
from escalation.pathways import pathways
from escalation.report.charts import style
from escalation.report.charts.tree import leaves, pathway_tree
from escalation.study import load


def walked(name, start, cohorts):
    study = load(name)
    rule = study.protocol.rule
    advisor = Advisor(rule)
    state = replay(rule, start, advisor=advisor).state
    return study, pathways(advisor, state, start, cohorts, study.truth(study.scenarios[0]).probability)


@pytest.mark.parametrize(
    ("name", "start", "cohorts"),
    [("textbook-5-doses", "", 2), ("textbook-boin", "1NNN 2NP", 1), ("nct05672420", "", 3)],
)
def test_every_node_is_drawn_with_its_decision_and_probability(name, start, cohorts):
    study, nodes = walked(name, start, cohorts)
    drawn = style.svg(pathway_tree(nodes, study.protocol.grid))
    assert drawn.count("</svg>") == 1
    rows = pathway_tree(nodes, study.protocol.grid).to_dict()["datasets"]
    frame = next(each for each in rows.values() if each and "letter" in each[0])
    assert [row["probability"] for row in frame] == [f"{node.probability:.4f} (exact)" for node in nodes]
    assert [row["letter"] for row in frame] == [style.ACTIONS[node.advice.action][0] for node in nodes]
    for row in frame:
        assert (row["line"] if row["end"] else row["latest"]).replace("<", "&lt;") in drawn


def test_ends_lie_below_each_other_and_the_others_between_what_follows_them():
    study, nodes = walked("textbook-boin", "", 3)
    rows = pathway_tree(nodes, study.protocol.grid).to_dict()["datasets"]
    frame = next(each for each in rows.values() if each and "letter" in each[0])
    ends = [row["y"] for row in frame if row["end"]]
    assert ends == sorted(ends)
    assert len(set(ends)) == len(ends) == leaves(nodes)
    for k, row in enumerate(frame):
        below = [frame[j]["y"] for j, node in enumerate(nodes) if node.parent == k]
        if below:
            assert min(below) <= row["y"] <= max(below)


def test_without_a_scenario_no_probability_is_printed():
    study, nodes = walked("textbook-5-doses", "", 1)
    drawn = style.svg(pathway_tree(nodes, study.protocol.grid, probabilities=False))
    assert f"{nodes[1].probability:.4f}" in style.svg(pathway_tree(nodes, study.protocol.grid))
    assert f"{nodes[1].probability:.4f}" not in drawn
