"""Reporting clocks, grade histories, relatedness, and when a DLT is to be adjudicated."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalation.conduct.infusions import evaluability
from escalation.conduct.safety_clocks import (
    ATTRIBUTIONS,
    DLT_TRIGGERS,
    DayClock,
    EventFacts,
    GradeChange,
    GradeHistory,
    ReportingRules,
    SafetyError,
    Trigger,
    is_susar,
    propose,
    refuse_future,
    related,
    serious_event_clock,
    since_infusion,
    susar_clocks,
)
from escalation.conduct.windows import DateSpan, DltWindow, WindowError, site_zone
from escalation.truth import Window

SHANGHAI, BERLIN, NEW_YORK = (site_zone(name) for name in ("Asia/Shanghai", "Europe/Berlin", "America/New_York"))
FIRST = date(2025, 11, 3)
AWARE = datetime(2025, 11, 10, 9, tzinfo=SHANGHAI)
LATER = AWARE + timedelta(days=3)
HOURS = timedelta(hours=1)


def treated(*days: int) -> DltWindow:
    starts = tuple(datetime(2025, 11, 3, 10, tzinfo=SHANGHAI) + timedelta(days=day) for day in (0, *days))
    return DltWindow(Window(), (0, 7, 14, 21), SHANGHAI, starts)


def on(day: int) -> date:
    return FIRST + timedelta(days=day)


def history(grade: int, day: int = 5, **more) -> GradeHistory:
    return GradeHistory(DateSpan.of(on(day)), grade, **more)


def items(grade: int, category: str = "other", day: int = 5, **facts) -> list[str]:
    facts = {"attribution": "possible", **facts}
    return [each.trigger.item for each in propose(history(grade, day), EventFacts(category, **facts), treated())]


# clocks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "now", "left", "late"),
    [
        (None, 0, 24, False),
        (None, 23, 1, False),
        (None, 24, 0, False),
        (None, 25, -1, True),
        (23, 60, 1, False),
        (24, 60, 0, False),
        (24.01, 60, -0.01, True),
    ],
)
def test_the_24_hours_of_a_serious_event(sent, now, left, late):
    sent_at = None if sent is None else AWARE + sent * HOURS
    clock = serious_event_clock(AWARE, now=AWARE + now * HOURS, zone=SHANGHAI, sent_at=sent_at)
    assert clock.hours_left == pytest.approx(left)
    assert clock.late == late
    assert clock.due.isoformat() == "2025-11-11T09:00:00+08:00"


@pytest.mark.parametrize(
    ("aware", "due"),
    [
        (datetime(2026, 3, 28, 12, tzinfo=BERLIN), "2026-03-29T13:00:00+02:00"),
        (datetime(2026, 10, 24, 12, tzinfo=BERLIN), "2026-10-25T11:00:00+01:00"),
        (datetime(2026, 3, 7, 12, tzinfo=NEW_YORK), "2026-03-08T13:00:00-04:00"),
    ],
)
def test_24_hours_are_24_hours_when_the_clocks_change(aware, due):
    assert serious_event_clock(aware, now=aware, zone=aware.tzinfo).due.isoformat() == due


@given(st.floats(0, 100), st.floats(0, 100), st.sampled_from([SHANGHAI, BERLIN, NEW_YORK]))
def test_what_is_late_stays_late(hours, more, zone):
    early, late = (
        serious_event_clock(AWARE, now=AWARE + passed * HOURS, zone=zone) for passed in (hours, hours + more)
    )
    assert late.hours_left <= early.hours_left
    assert late.late or not early.late
    assert early.late == (AWARE + hours * HOURS > AWARE + 24 * HOURS)


def test_a_report_sent_on_time_is_never_late_afterwards():
    clocks = [serious_event_clock(AWARE, now=AWARE + h * HOURS, zone=BERLIN, sent_at=AWARE + HOURS) for h in (2, 900)]
    assert clocks[0] == clocks[1]
    assert not clocks[0].late


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"now": AWARE - HOURS}, r"now: .* lies before aware_at, 2025-11-10T09:00:00\+08:00"),
        ({"sent_at": AWARE - HOURS}, r"sent_at: .* lies before aware_at"),
        ({"sent_at": LATER + HOURS}, r"now: .* lies before sent_at"),
    ],
)
def test_reports_out_of_order_are_refused(values, words):
    with pytest.raises(SafetyError, match=words):
        serious_event_clock(AWARE, **{"now": LATER, "zone": SHANGHAI, **values})
    with pytest.raises(WindowError, match=r"aware_at: .* does not say its offset"):
        serious_event_clock(AWARE.replace(tzinfo=None), now=LATER, zone=SHANGHAI)


def test_expedited_reports_are_due_after_7_and_8_days_or_15():
    fatal = susar_clocks(AWARE, fatal_or_life_threatening=True, today=LATER, zone=SHANGHAI)
    assert fatal == (
        DayClock("first report", date(2025, 11, 17), None, 4),
        DayClock("follow-up report", date(2025, 11, 25), None, 12),
    )
    (other,) = susar_clocks(AWARE, fatal_or_life_threatening=False, today=date(2025, 11, 26), zone=SHANGHAI)
    assert (other.due, other.days_left, other.late) == (date(2025, 11, 25), -1, True)
    sent = susar_clocks(
        AWARE, fatal_or_life_threatening=True, today=date(2026, 1, 1), zone=SHANGHAI, sent_on=date(2025, 11, 17)
    )
    assert [clock.late for clock in sent] == [False, True]


def test_the_day_of_awareness_is_that_of_the_site():
    evening = datetime(2025, 11, 10, 20, tzinfo=UTC)  # the 11th in Shanghai
    due = [
        susar_clocks(evening, fatal_or_life_threatening=False, today=evening, zone=zone)[0].due
        for zone in (SHANGHAI, NEW_YORK)
    ]
    assert due == [date(2025, 11, 26), date(2025, 11, 25)]
    with pytest.raises(SafetyError, match=r"report: 2025-11-09 is not between awareness on 2025-11-10 and today"):
        susar_clocks(AWARE, fatal_or_life_threatening=False, today=LATER, zone=SHANGHAI, sent_on=date(2025, 11, 9))


def test_limits_of_reports_can_be_the_protocols():
    clock = serious_event_clock(AWARE, now=AWARE, zone=SHANGHAI, rules=ReportingRules(serious_hours=12))
    assert clock.hours_left == 12


# relatedness and hours since an infusion --------------------------------------------------------


def test_related_is_possible_or_more():
    assert ATTRIBUTIONS == ("unrelated", "unlikely", "possible", "probable", "definite")
    assert [related(level) for level in ATTRIBUTIONS] == [False, False, True, True, True]
    assert is_susar(serious=True, attribution="possible", expected=False)
    assert not is_susar(serious=True, attribution="unlikely", expected=False)
    assert not is_susar(serious=True, attribution="definite", expected=True)
    with pytest.raises(SafetyError, match=r"attribution: 'likely' is no level \(use one of unrelated, unlikely"):
        related("likely")


def test_hours_from_the_last_infusion():
    starts = {1: treated().infusions[0], 3: treated().infusions[0] + timedelta(days=14)}
    assert since_infusion(starts[1] - HOURS, starts, SHANGHAI) is None
    at_start = since_infusion(starts[1], starts, SHANGHAI)
    assert at_start is not None
    assert (at_start.number, at_start.most) == (1, 0)
    exact = since_infusion(starts[3] + 6 * HOURS, starts, SHANGHAI)
    assert exact is not None
    assert (exact.number, exact.least, exact.most) == (3, 6, 6)
    by_day = since_infusion(DateSpan.of(on(15)), starts, SHANGHAI)
    assert by_day is not None
    assert (by_day.number, by_day.least, by_day.most) == (3, 14, 38)
    same_day = since_infusion(on(14), starts, SHANGHAI)
    assert same_day is not None
    assert (same_day.number, same_day.least, same_day.most) == (3, 0, 14)
    assert since_infusion(DateSpan.read("2025-11"), starts, SHANGHAI) is None
    assert since_infusion(on(-1), starts, SHANGHAI) is None


def test_hours_since_an_infusion_are_real_hours():
    start = {1: datetime(2026, 10, 25, 1, tzinfo=BERLIN)}
    since = since_infusion(datetime(2026, 10, 25, 4, tzinfo=BERLIN), start, BERLIN)
    assert since is not None
    assert since.most == 4  # the clock on the wall shows three
    day = since_infusion(date(2026, 10, 25), {1: datetime(2026, 10, 24, 12, tzinfo=BERLIN)}, BERLIN)
    assert day is not None
    assert (day.least, day.most) == (12, 37)


# grades -----------------------------------------------------------------------------------------


def test_each_grade_has_its_row_and_its_date():
    course = history(2).regraded(3, on(7)).regraded(1, on(12))
    ended = GradeHistory(course.onset, course.grade, course.changes, DateSpan.read("2025-12"))
    assert ended.rows() == (
        (2, "2025-11-08", "2025-11-10"),
        (3, "2025-11-10", "2025-11-15"),
        (1, "2025-11-15", "2025-12"),
    )
    assert course.rows()[-1] == (1, "2025-11-15", "")
    assert (course.worst, course.current) == (3, 1)
    assert [course.grade_on(on(day)) for day in (4, 5, 6, 7, 11, 12, 90)] == [None, 2, 2, 3, 3, 1, 1]
    assert ended.grade_on(date(2026, 1, 1)) is None


def test_a_change_entered_late_takes_the_place_of_its_date_and_replaces_nothing():
    course = history(2).regraded(1, on(12)).regraded(3, on(7))
    assert course.changes == (GradeChange(3, on(7)), GradeChange(1, on(12)))


def test_changes_and_the_end_may_fall_on_one_day():
    course = history(2).regraded(3, on(5)).regraded(1, on(5))
    assert (course.grade_on(on(5)), course.worst) == (1, 3)
    assert GradeHistory(course.onset, 2, course.changes, DateSpan.of(on(5))).rows()[-1] == (
        1,
        "2025-11-08",
        "2025-11-08",
    )


@pytest.mark.parametrize("grade", [0, 6, -1, 2.0, True, "3"])
def test_a_grade_is_one_of_five(grade):
    for attempt in (lambda: history(grade), lambda: history(2).regraded(grade, on(7))):
        with pytest.raises(SafetyError, match=r"grade: .* is no CTCAE grade \(use 1 to 5; .* an end date, not grade 0"):
            attempt()


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (lambda: history(2).regraded(3, on(4)), r"on: 2025-11-07 lies before the onset or an earlier change"),
        (
            lambda: GradeHistory(DateSpan.read("2025-11"), 2).regraded(3, on(-4)),
            r"on: 2025-10-30 lies before the onset",
        ),
        (lambda: history(2).regraded(2, on(6)), r"grade: 2 is no change on 2025-11-09"),
        (lambda: history(5).regraded(4, on(6)), r"grade: 4 follows grade 5, death"),
        (lambda: history(2, ended=DateSpan.read("2025-10")), r"ended: '2025-10' lies before the onset"),
        (
            lambda: history(2, changes=(GradeChange(3, on(9)),), ended=DateSpan.of(on(8))),
            r"ended: '2025-11-11' lies before the onset or the last change, 2025-11-12",
        ),
        (lambda: refuse_future(history(2), on(4)), r"onset: '2025-11-08' lies after 2025-11-07"),
        (lambda: refuse_future(history(2).regraded(3, on(9)), on(8)), r"on: '2025-11-12' lies after"),
    ],
)
def test_histories_that_cannot_be_are_refused(attempt, words):
    with pytest.raises((SafetyError, WindowError), match=words) as caught:
        attempt()
    assert caught.value.remedy


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 90)), max_size=6))
def test_any_history_that_is_accepted_is_in_order_and_keeps_every_change(steps):
    course, kept = history(2), 0
    for grade, after in steps:
        try:
            course = course.regraded(grade, on(5 + after))
        except SafetyError:
            continue
        kept += 1
    assert len(course.changes) == kept
    assert [each.on for each in course.changes] == sorted(each.on for each in course.changes)
    assert len(course.rows()) == kept + 1
    assert course.worst == max(grade for grade, _, _ in course.rows())


# adjudication -----------------------------------------------------------------------------------


def test_a_regrading_from_2_to_3_proposes_adjudication_and_the_participant_is_pending():
    facts, course = EventFacts("other", "possible"), history(2)
    assert propose(course, facts, treated()) == ()
    (proposal,) = propose(course.regraded(3, on(9)), facts, treated())
    assert (proposal.trigger.item, proposal.grade, proposal.trigger.source) == ("3", 3, "placeholder")
    assert (proposal.onset.first_day, proposal.reached.first_day) == (5, 9)
    verdict = evaluability(planned=4, received=4, phase="complete", adjudication="pending")
    assert verdict.verdict == "pending"


@pytest.mark.parametrize(("day", "proposed"), [(-1, False), (0, True), (27, True), (28, True), (29, False)])
def test_only_an_onset_inside_the_window_is_proposed(day, proposed):
    assert bool(items(3, day=day)) == proposed


def test_a_grade_reached_after_the_window_is_shown_as_such():
    (proposal,) = propose(history(2, 20).regraded(3, on(35)), EventFacts("other", "possible"), treated())
    assert proposal.onset.inside
    assert (proposal.reached.position, proposal.reached.first_day) == ("after", 35)


@pytest.mark.parametrize(("onset", "proposed"), [("2025-12", True), ("unknown", True), ("2026-01", False)])
def test_a_partial_onset_is_inside_until_it_is_resolved(onset, proposed):
    found = propose(GradeHistory(DateSpan.read(onset), 3), EventFacts("other", "possible"), treated())
    assert bool(found) == proposed
    assert all(not proposal.onset.resolved for proposal in found)


@pytest.mark.parametrize(
    ("grade", "category", "facts", "found"),
    [
        (2, "other", {}, []),
        (3, "other", {"attribution": "unlikely"}, []),
        (3, "other", {"attribution": None}, ["3"]),
        (2, "infusion_reaction", {"hours_so_far": 24}, []),
        (2, "infusion_reaction", {"hours_so_far": 25}, ["1"]),
        (2, "infusion_reaction", {"hours_to_resolution": 12, "hours_so_far": 90}, []),
        (2, "infusion_reaction", {}, ["1"]),
        (3, "infusion_reaction", {"hours_to_resolution": 1}, ["1"]),
        (2, "thromboembolism", {}, []),
        (3, "thromboembolism", {}, ["2"]),
        (1, "pulmonary_embolism", {}, ["2"]),
        (1, "arterial", {}, ["2"]),
        (3, "transient", {"hours_to_resolution": 72}, []),
        (3, "transient", {"hours_to_resolution": 73}, ["3"]),
        (3, "transient", {"hours_so_far": 2}, ["3"]),
        (4, "transient", {"hours_to_resolution": 1}, ["3"]),
        (3, "alopecia", {}, []),
        (4, "relapse", {}, []),
        (1, "cytokine", {}, ["4"]),
        (2, "cytokine", {"baseline_grade": 1}, []),
        (3, "cytokine", {"baseline_grade": 1}, ["4"]),
        (1, "acute_gvhd", {}, []),
        (2, "acute_gvhd", {}, ["4"]),
        (3, "acute_gvhd", {"baseline_grade": 1}, []),
        (4, "haematologic", {}, []),
        (4, "haematologic", {"fall_percent": 50, "fall_days": 14}, []),
        (4, "haematologic", {"fall_percent": 49, "fall_days": 15}, []),
        (4, "haematologic", {"fall_percent": 50, "fall_days": 15}, ["5"]),
        (5, "relapse", {"attribution": "unrelated"}, ["6"]),
        (5, "other", {}, ["3", "6"]),
    ],
)
def test_the_template_of_triggers(grade, category, facts, found):
    assert items(grade, category, **facts) == found


def test_triggers_are_the_studys_and_the_template_says_it_is_none():
    assert {trigger.source for trigger in DLT_TRIGGERS} == {"placeholder"}
    own = Trigger(item="a", words="any grade 2, probable or more", grades=(2,), least_attribution="probable")
    assert own.source == "protocol"
    for level, proposed in (("possible", 0), ("probable", 1)):
        assert len(propose(history(2), EventFacts("other", level), treated(), triggers=(own,))) == proposed


@given(st.integers(1, 5), st.sampled_from(ATTRIBUTIONS), st.integers(0, 28))
def test_a_stronger_attribution_never_withdraws_a_proposal(grade, level, day):
    weaker, stronger = items(grade, attribution=level, day=day), items(grade, attribution="definite", day=day)
    assert set(weaker) <= set(stronger)
