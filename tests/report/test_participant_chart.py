"""One participant's course as a figure: every infusion, window and grade is in it, also without its colours."""

from __future__ import annotations

from escalation.report.charts.participants import Mark, Span, participant_timeline
from escalation.report.charts.style import svg


def test_windows_grades_and_infusions_are_drawn() -> None:
    spans = [Span("W1, decides", 0, 28, "to day 28"), Span("W2", 0, 49, "to day 49")]
    spans += [Span("E1 Fever", 7, 8, "grade 2", 2), Span("E1 Fever", 8, 8, "grade 3", 3)]
    marks = [Mark("infusions", 0, "planned", "day 0"), Mark("infusions", 0, "given", "day 0")]
    marks += [Mark("infusions", 14, "missed", "day 14"), Mark("adjudicated", 8, "DLT", "A1")]
    drawn = svg(participant_timeline(spans, marks, 31))
    for said in ("W1, decides", "W2", "E1 Fever", "infusions", "adjudicated", "planned", "given", "missed", "DLT"):
        assert f">{said}<" in drawn
    assert ">2<" in drawn
    assert ">3<" in drawn, "a grade of one day is written too"
    assert ">visit<" not in drawn, "what did not happen is not in the legend"


def test_a_course_without_events_is_drawn() -> None:
    assert ">today<" in svg(participant_timeline([Span("W1, decides", 0, 28, "")], [], 0))
