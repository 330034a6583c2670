"""The visit schedule: the table of NCT07212335, its switches E5 and E6, and visits on a date."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalation.conduct.visits import (
    PlannedVisit,
    VisitError,
    VisitRules,
    required_visits,
    visit_schedule,
    visit_status,
    visits_lacking,
    visits_on,
)
from escalation.truth import Window

A, B, C = (0,), (0, 7), (0, 7, 14, 21)
FIRST = date(2025, 11, 3)
SCHEDULES = st.sampled_from([A, B, C])
RULES = st.builds(
    VisitRules, monthly=st.sampled_from([12, 9]), clock=st.sampled_from(["first", "last"]), window_end_early=st.just(1)
)


def days_of(visits: tuple[PlannedVisit, ...], purpose: str) -> list[int]:
    return [visit.day for visit in visits if purpose in visit.purposes]


def on(day: int) -> date:
    return FIRST + timedelta(days=day)


# the table of the registered trial --------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "w2", "response", "end"),
    [(A, 28, (28, 56), 168), (B, 35, (35, 63), 175), (C, 49, (49, 77), 189)],
    ids="ABC",
)
def test_the_table_of_visits(schedule, w2, response, end):
    visits = visit_schedule(schedule)
    assert days_of(visits, "weekly") == [7, 14, 21, 28, 35, 42, 49, 56]
    assert days_of(visits, "monthly") == [84, 112, 140, 168]
    assert days_of(visits, "delayed_reactions") == [28, 56, 84, 168]
    assert days_of(visits, "dlt_window_1") == [28]
    assert days_of(visits, "dlt_window_2") == [w2]
    assert (*days_of(visits, "response_4"), *days_of(visits, "response_8")) == response
    assert days_of(visits, "end_of_study") == [end]


@pytest.mark.parametrize(
    ("schedule", "added"),
    [
        (A, []),
        (B, [("response week 8", 63), ("end of study", 175)]),
        (C, [("response week 8", 77), ("end of study", 189)]),
    ],
    ids="ABC",
)
def test_visits_that_are_no_calendar_visits_are_added(schedule, added):
    visits = visit_schedule(schedule)
    assert [(visit.name, visit.day) for visit in visits if not visit.calendar] == added
    assert [visit.name for visit in visits if visit.calendar] == [
        *(f"W{week}" for week in range(1, 9)),
        *("W12", "W16", "W20", "W24"),
    ]


def test_response_within_the_calendar_has_the_weeks_of_the_table():
    by_day = {visit.day: visit.name for visit in (*visit_schedule(B), *visit_schedule(C))}
    assert (by_day[35], by_day[49]) == ("W5", "W7")


def test_monthly_from_week_9_adds_the_delayed_reactions_of_week_12():
    visits = visit_schedule(B, rules=VisitRules(monthly=9))
    assert days_of(visits, "monthly") == [63, 91, 119, 147, 168]
    assert days_of(visits, "delayed_reactions") == [28, 56, 84, 168]
    added = [(visit.name, visit.day) for visit in visits if not visit.calendar]
    assert added == [("W12", 84), ("end of study", 175)]  # the response of week 8 falls on W9
    assert days_of(visits, "response_8") == [63]


def test_visits_counted_from_the_last_infusion():
    visits = visit_schedule(C, rules=VisitRules(clock="last"))
    assert days_of(visits, "weekly") == [21 + 7 * week for week in range(1, 9)]
    assert days_of(visits, "monthly")[-1] == days_of(visits, "end_of_study")[0] == 189
    assert next(visit.name for visit in visits if visit.day == 28) == "W1"
    assert days_of(visits, "dlt_window_1") == [28]
    assert all(visit.calendar for visit in visits)


def test_a_late_last_infusion_moves_what_counts_from_it_and_nothing_else():
    planned, late = visit_schedule(C), visit_schedule(C, last_infusion=23)
    assert days_of(late, "response_4") + days_of(late, "response_8") + days_of(late, "end_of_study") == [51, 79, 191]
    assert [v.day for v in late if v.calendar] == [v.day for v in planned if v.calendar]
    assert [v.name for v in late if v.day in (51, 79)] == ["response week 4", "response week 8"]
    assert days_of(late, "dlt_window_2") == [51]


def test_treatment_that_ends_early_brings_response_forward_but_not_the_window_of_the_last_infusion():
    visits = visit_schedule(C, last_infusion=7, window=Window(anchor="last"))
    assert days_of(visits, "response_4") == [35]
    assert days_of(visits, "dlt_window_2") == [49]


def test_the_end_of_the_window_that_decides_always_has_a_visit():
    window = Window(days=30, anchor="first")
    visits = visit_schedule(C, window=window)
    assert next((v.name, v.opens, v.closes) for v in visits if v.day == 30) == ("W1 end", 30, 32)
    assert days_of(visits, "dlt_window_2") == []  # day 51 is no visit, and W2 is only shown
    decided = visit_schedule(C, window=Window(days=30, anchor="last"))
    assert days_of(decided, "dlt_window_2") == [51]
    assert days_of(decided, "dlt_window_1") == []


# windows and states -----------------------------------------------------------------------------


def test_windows_of_visits():
    visits = {visit.name: visit for visit in visit_schedule(C)}
    around = {name: (visit.day - visit.opens, visit.closes - visit.day) for name, visit in visits.items()}
    assert around["W1"] == (2, 2)
    assert around["W4"] == (0, 2)  # closes the DLT window: never before its last day
    assert around["W7"] == (2, 2)
    assert around["response week 8"] == (3, 3)
    assert around["W12"] == around["end of study"] == (7, 7)
    assert visit_schedule(C, rules=VisitRules(window_end_early=2))[3].opens == 26


@pytest.mark.parametrize(
    ("today", "state"),
    [(74, "due"), (73, "upcoming"), (80, "due"), (81, "late"), (82, "late"), (83, "missed")],
)
def test_a_visit_that_is_not_done(today, state):
    visit = next(v for v in visit_schedule(C) if v.name == "response week 8")
    status = visit_status(visit, first=FIRST, today=on(today))
    assert (status.state, status.planned) == (state, on(77))
    assert status.reason_required == (state == "missed")


@pytest.mark.parametrize(("day", "state"), [(73, "done_early"), (74, "done"), (80, "done"), (81, "done_late")])
def test_a_visit_that_is_done(day, state):
    visit = next(v for v in visit_schedule(C) if v.name == "response week 8")
    assert visit_status(visit, first=FIRST, today=on(100), done_on=on(day)).state == state


def test_a_visit_recorded_as_missed_has_its_reason():
    status = visit_status(visit_schedule(A)[0], first=FIRST, today=on(7), missed_because="in another hospital")
    assert (status.state, status.reason_required) == ("missed", False)


@given(SCHEDULES, st.integers(0, 200), st.integers(0, 60))
def test_time_only_moves_a_visit_forward(schedule, today, later):
    order = ("upcoming", "due", "late", "missed")
    for visit in visit_schedule(schedule):
        early, late = (visit_status(visit, first=FIRST, today=on(day)).state for day in (today, today + later))
        assert order.index(early) <= order.index(late)


@given(SCHEDULES, st.integers(0, 30), RULES)
def test_every_schedule_is_in_order_with_one_visit_a_day_and_names_that_differ(schedule, last, rules):
    visits = visit_schedule(schedule, last_infusion=last, rules=rules)
    days, names = [v.day for v in visits], [v.name for v in visits]
    assert days == sorted(set(days))
    assert len(names) == len(set(names))
    assert all(v.opens <= v.day <= v.closes for v in visits)
    assert {last + 28, last + 56, last + 168} <= set(days)
    assert len(days_of(visits, "dlt_window_1")) == 1


def test_required_visits_of_the_window_and_what_they_lack():
    done = {"W1": on(7), "W2": on(14), "W4": on(28)}
    statuses = visits_on(visit_schedule(C), first=FIRST, today=on(29), done=done, missed={"W3": "unwell"})
    required = required_visits(statuses, 28)
    assert [each.visit.name for each in required] == ["W1", "W2", "W3", "W4"]
    assert visits_lacking(required) == (("W3",), ())
    pending = visits_on(visit_schedule(C), first=FIRST, today=on(29), done={name: done[name] for name in ("W1", "W2")})
    assert visits_lacking(required_visits(pending, 28)) == (("W3",), ("W4",))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"done_on": on(7), "missed_because": "unwell"}, "visit W1: 2025-11-10 is recorded as done and as missed"),
        ({"done_on": on(31)}, "2025-12-04 is not between the first infusion on 2025-11-03 and today, 2025-12-03"),
        ({"done_on": on(-1)}, r"2025-11-02 is not between.*\(correct the date\)"),
        ({"today": datetime(2025, 12, 3, 1)}, "today: 2025-12-03T01:00:00 is a moment, where a date of the site"),
    ],
)
def test_contradictions_are_refused(values, words):
    with pytest.raises(VisitError, match=words):
        visit_status(visit_schedule(C)[0], **{"first": FIRST, "today": on(30), **values})


def test_unknown_visits_and_impossible_infusions_are_refused():
    with pytest.raises(VisitError, match=r"visit: 'W9' is not in the schedule.*W1, W2"):
        visits_on(visit_schedule(C), first=FIRST, today=on(70), done={"W9": on(63)})
    with pytest.raises(VisitError, match="last_infusion: -1 lies before the first infusion"):
        visit_schedule(A, last_infusion=-1)


def test_windows_the_record_does_not_give_are_placeholders():
    assert VisitRules().placeholders == (
        "weekly_window",
        "monthly_window",
        "response_window",
        "window_end_early",
        "missed_after",
    )
