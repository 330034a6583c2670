"""Figures say what the records hold, draw a trial that has not begun, and name designs apart."""

from __future__ import annotations

import json

import pytest

from escalation.decision import Action
from escalation.report.charts.comparisons import designs_named
from escalation.report.charts.style import svg
from escalation.report.charts.trials import Followed, Suspended, Taken, cohort_steps, swimmer
from escalation.study import load

PEOPLE = (
    Followed("1", "1", 1, 0, (0, 7), 28, "complete", 28),
    Followed("2", "1", 1, 14, (14, 21), 42, "complete", 42),
    Followed("3", "2", 2, 55, (55,), 83, "dlt", 60),
    Followed("4", "2", 2, 62, (62, 69), 90, "not_evaluable", 75),
    Followed("5", "2", 2, 70, (70, 77), 98, "pending"),
)
DECISIONS = (Taken(55, Action.ESCALATE, "2", "0 of 2"),)
HELD = (Suspended(42, 55, "review"), Suspended(14, 42, "outcomes"))


def rows(chart) -> list[dict]:
    """All rows of data a chart draws."""
    spec = chart.to_dict()
    return [row for frame in spec["datasets"].values() for row in frame]


def test_the_swimmer_shows_every_participant_infusion_outcome_decision_and_period():
    drawn = rows(swimmer(PEOPLE, DECISIONS, HELD, today=80))
    lanes = {row["participant"]: row for row in drawn if "end" in row}
    assert [lanes[each.participant]["end"] for each in PEOPLE] == [28, 42, 83, 90, 98]
    assert lanes["3"]["to"] == 60
    assert lanes["5"]["to"] == 80, "the follow-up of an open window ends today"
    assert {row["from"] for row in drawn if row.get("said", "").startswith("infusion")} >= {0, 7, 14, 21, 55, 62, 69}
    assert any(row.get("said") == "E 2" and row["why"] == "0 of 2" for row in drawn)
    assert {(row["what"], row["days"]) for row in drawn if "days" in row} == {
        ("under review", 13),
        ("outcomes awaited", 28),
    }


def test_an_outcome_is_told_by_shape_and_word_not_by_colour_alone():
    spec = json.dumps(swimmer(PEOPLE).to_dict())
    for word, shape in (("no DLT", "circle"), ("DLT", "cross"), ("window open", "triangle-up")):
        assert f'"{word}"' in spec
        assert f'"{shape}"' in spec


def test_the_steps_follow_the_levels_and_put_a_decision_between_the_participants_it_lies_between():
    drawn = rows(cohort_steps(PEOPLE, ("1", "2", "3"), DECISIONS))
    points = {row["number"]: row for row in drawn if "participant" in row}
    assert [points[k]["level"] for k in range(1, 6)] == ["1", "1", "2", "2", "2"]
    assert [row["number"] for row in drawn if row.get("why") == "0 of 2"] == [2.5]
    flats = sorted((row["start"], row["end"]) for row in drawn if "start" in row)
    assert flats == [(0.5, 2.5), (2.5, 5.5)]


@pytest.mark.parametrize("people", [(), PEOPLE[:1]])
def test_a_trial_that_has_hardly_begun_can_be_drawn(people):
    for chart in (swimmer(people, today=0, last_day=100), cohort_steps(people, ("1", "2"), places=6)):
        assert svg(chart).startswith("<svg")


def test_designs_are_named_so_that_they_can_be_told_apart():
    boin, crm, old, new = (
        load("textbook-boin").protocol.rule.design,
        load("textbook-crm").protocol.rule.design,
        load("textbook-5-doses").protocol.rule.design,
        load("textbook-5-doses", overrides=["protocol.design.variant=V3"]).protocol.rule.design,
    )
    assert designs_named([boin, crm]) == [boin.title, crm.title]
    assert designs_named([old, new]) == [old.label, new.label]
    assert designs_named([boin, boin]) == [f"1 {boin.label}", f"2 {boin.label}"]
