"""Infusions as planned and given: timing, dose, product, administration, evaluability."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from escalation.conduct.infusions import (
    InfusionError,
    InfusionRules,
    InfusionStatus,
    administration_findings,
    admit,
    dose_findings,
    dose_given,
    evaluability,
    hold_findings,
    infusion_course,
    infusions_counted,
    product_findings,
    timing_findings,
)
from escalation.conduct.windows import site_zone
from escalation.protocol import Evaluability

BERLIN = site_zone("Europe/Berlin")
FIRST = date(2026, 3, 16)  # daylight saving starts on day 13
C = (0, 7, 14, 21)
START = datetime(2026, 3, 16, 10, tzinfo=BERLIN)


def at(day: int, hour: int = 10) -> datetime:
    on = FIRST + timedelta(days=day)
    return datetime(on.year, on.month, on.day, hour, tzinfo=BERLIN)


def on(day: int) -> date:
    return FIRST + timedelta(days=day)


def course(*days: int | None, today: int = 60, **more) -> tuple[InfusionStatus, ...]:
    starts = {number: at(day) for number, day in enumerate(days, 1) if day is not None}
    return infusion_course(C, starts, zone=BERLIN, today=on(today), **more)


def codes(findings) -> list[str]:
    return [finding.code for finding in findings]


# timing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "timing", "off_by"),
    [
        (11, "too_early", -3),
        (12, "on_time", -2),
        (14, "on_time", 0),
        (16, "on_time", 2),
        (17, "delayed", 3),
        (21, "delayed", 7),
        (22, "missed", 8),
    ],
)
def test_timing_of_the_third_infusion(day, timing, off_by):
    status = course(0, 7, day)[2]
    assert (status.timing, status.off_by, status.spacing) == (timing, off_by, day - 7)
    assert status.refused == (timing in ("too_early", "missed"))


def test_an_infusion_before_its_window_but_far_enough_from_the_last_is_early():
    status = course(0, 5, 10)[2]
    assert (status.timing, status.off_by, status.spacing) == ("early", -4, 5)
    (finding,) = timing_findings(status)
    assert not finding.blocking
    assert finding.message == "infusion 3: 4 days before its planned date, outside the 2 allowed; give the reason"


@pytest.mark.parametrize(
    ("today", "timing"),
    [(11, "upcoming"), (12, "due"), (16, "due"), (17, "overdue"), (21, "overdue"), (22, "missed")],
)
def test_an_infusion_not_given_on_a_day(today, timing):
    assert course(0, 7, today=today)[2].timing == timing


def test_a_late_infusion_moves_the_earliest_day_of_the_next_and_no_planned_date():
    third, fourth = course(0, 7, 19, today=19)[2:]
    assert (third.timing, fourth.planned, fourth.opens, fourth.closes) == ("delayed", on(21), on(24), on(23))
    assert fourth.last_date == on(28)


def test_spacing_is_counted_from_the_last_infusion_given_not_from_one_that_was_missed():
    rows = course(0, None, 16, None, today=20, missed=(2,))
    assert [row.timing for row in rows] == ["on_time", "missed", "on_time", "upcoming"]
    assert rows[2].spacing == 16
    candidate = course(0, 11, None, 15)[3]  # the third missed, the fourth four days after the second
    assert (candidate.timing, candidate.spacing) == ("too_early", 4)


def test_a_plan_closer_than_the_least_spacing_is_kept_and_not_undercut():
    plan = (0, 2, 4, 7)
    given = {number: at(day) for number, day in enumerate(plan, 1)}
    rows = infusion_course(plan, given, zone=BERLIN, today=on(7))
    assert [row.timing for row in rows] == ["on_time"] * 4
    assert [row.least_spacing for row in rows[1:]] == [2, 2, 3]
    early = infusion_course(plan, {1: at(0), 2: at(3), 3: at(4)}, zone=BERLIN, today=on(4))[2]
    (finding,) = timing_findings(early)
    assert finding.blocking
    assert "1 days after the previous one, at least 2 are required; give it from 2026-03-21 on" in finding.message


def test_planned_dates_before_the_first_infusion():
    rows = infusion_course(C, {}, zone=BERLIN, today=on(3), first_planned=FIRST)
    assert [(row.planned, row.timing) for row in rows[:2]] == [(on(0), "overdue"), (on(7), "upcoming")]
    late = infusion_course(C, {}, zone=BERLIN, today=on(30), first_planned=FIRST)
    assert late[0].timing == "overdue"  # nobody misses a first infusion: treatment has not begun


@given(st.integers(0, 40), st.integers(0, 60))
def test_time_only_moves_an_infusion_that_is_not_given_forward(today, later):
    order = ("upcoming", "due", "overdue", "missed")
    for one, other in zip(course(0, today=today), course(0, today=today + later), strict=True):
        if one.number > 1:
            assert order.index(one.timing) <= order.index(other.timing)


@given(st.lists(st.integers(5, 12), min_size=3, max_size=3), st.integers(0, 23), st.integers(0, 23))
def test_timing_counts_calendar_days_across_daylight_saving(gaps, hour, other):
    days = [0, gaps[0], gaps[0] + gaps[1], sum(gaps)]
    starts = {number: at(day, (hour, other)[number % 2]) for number, day in enumerate(days, 1)}
    local = infusion_course(C, starts, zone=BERLIN, today=on(60))
    stored = {number: start.astimezone(UTC) for number, start in starts.items()}
    assert infusion_course(C, stored, zone=BERLIN, today=on(60)) == local
    assert [row.off_by for row in local if row.given_on] == [days[n - 1] - C[n - 1] for n in starts]


def test_findings_on_timing():
    assert timing_findings(course(0, 7, 14)[2]) == ()
    assert timing_findings(course(0, today=8)[1]) == ()
    for day, code, blocking, words in (
        (17, "timing.delayed", False, "infusion 3: 3 days after its planned date, outside the 2 allowed"),
        (11, "timing.spacing", True, "4 days after the previous one, at least 5 are required; give it from 2026-03-28"),
        (22, "timing.missed", True, "8 days after its planned date, past the limit of 7; it is missed and not made up"),
    ):
        (finding,) = timing_findings(course(0, 7, day)[2])
        assert (finding.code, finding.blocking) == (code, blocking)
        assert words in finding.message


@pytest.mark.parametrize(
    ("starts", "more", "words"),
    [
        ({1: at(0), 5: at(28)}, {}, r"infusion: 5 is not planned: the regimen has 4 \(correct the number\)"),
        ({2: at(7)}, {}, r"infusion 1: nothing is given, but a later one is recorded"),
        ({}, {"missed": (1,), "first_planned": FIRST}, r"infusion 1: nothing is given"),
        ({1: at(0), 2: at(7), 3: at(6)}, {}, r"infusion 3: 2026-03-22.* does not follow infusion 2"),
        ({1: at(0), 2: at(7)}, {"missed": (2,)}, r"infusion 2: .* is recorded as given and as missed \(keep one\)"),
        ({1: at(0), 2: at(61)}, {}, r"infusion 2: .* lies after today, 2026-05-15"),
        ({1: datetime(2026, 3, 16, 10)}, {}, r"infusion 1: .* does not say its offset from UTC"),
        ({}, {}, r"infusion 1: nothing is given or planned.*set its planned date"),
    ],
)
def test_records_that_contradict_each_other_are_refused(starts, more, words):
    with pytest.raises(Exception, match=words) as caught:
        infusion_course(C, starts, zone=BERLIN, today=on(60), **more)
    assert caught.value.remedy


# the product and the dose -----------------------------------------------------------------------


def product(**changed):
    return product_findings(**{"viability_percent": 91.0, "release_certificate": "RC-7", "lot": "L-12", **changed})


def test_a_released_lot_has_no_findings():
    assert product() == ()
    assert product(viability_percent=85.0) == ()


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"viability_percent": 84.9}, "product.viability"),
        ({"viability_percent": None}, "product.viability"),
        ({"viability_percent": 0.91}, "product.viability"),
        ({"release_certificate": " "}, "product.release"),
        ({"lot": ""}, "product.lot"),
    ],
)
def test_a_lot_that_fails_blocks_and_no_reason_admits_it(changed, code):
    findings = product(**changed)
    assert [(each.code, each.blocking) for each in findings] == [(code, True)]
    with pytest.raises(InfusionError, match=r"blocks it: .*\(this cannot be overridden\)"):
        admit(findings, {code: "the investigator takes responsibility"})


@pytest.mark.parametrize("percent", [-1.0, 101.0, float("nan")])
def test_a_viability_that_is_no_percentage_is_refused(percent):
    with pytest.raises(InfusionError, match=r"viability_percent: .* is no percentage \(write it from 0 to 100\)"):
        product(viability_percent=percent)


@pytest.mark.parametrize(
    ("cells", "within"), [(117, True), (116.9, False), (143, True), (143.1, False), (130, True), (0, False)]
)
def test_cells_per_kilogram_within_ten_per_cent(cells, within):
    dose = dose_given(cells_million=cells, weight_kg=65, planned_per_kg=2)
    assert dose.per_kg == pytest.approx(cells / 65)
    assert (dose_findings(dose) == ()) == within
    assert all(not finding.blocking for finding in dose_findings(dose))


@given(st.floats(2, 300), st.floats(0.1, 20), st.sampled_from([0.9, 1.0, 1.1]))
def test_the_limits_of_the_tolerance_belong_to_it(weight, planned, share):
    dose = dose_given(cells_million=weight * planned * share, weight_kg=weight, planned_per_kg=planned)
    assert dose.percent == pytest.approx(100 * share)
    assert dose_findings(dose) == ()


@pytest.mark.parametrize(
    "changed", [{"weight_kg": 0}, {"cells_million": -1}, {"planned_per_kg": 0}, {"weight_kg": float("inf")}]
)
def test_impossible_amounts_are_refused(changed):
    (field,) = changed
    with pytest.raises(InfusionError, match=f"{field}: .* is not a "):
        dose_given(**{"cells_million": 130, "weight_kg": 65, "planned_per_kg": 2, **changed})


# administration ---------------------------------------------------------------------------------


def administration(**changed):
    values = {
        "started_at": START,
        "ended_at": START + timedelta(minutes=45),
        "premedication_at": START - timedelta(minutes=30),
        "operator": "Li Na",
        "verifier": "Wang Wei",
    }
    return administration_findings(**{**values, **changed})


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, []),
        ({"premedication_at": START - timedelta(minutes=25)}, []),
        ({"premedication_at": START - timedelta(minutes=24, seconds=59)}, ["premedication.late"]),
        ({"premedication_at": START + timedelta(minutes=5)}, ["premedication.late"]),
        ({"premedication_at": None}, ["premedication.missing"]),
        ({"ended_at": START + timedelta(minutes=30)}, []),
        ({"ended_at": START + timedelta(minutes=60)}, []),
        ({"ended_at": START + timedelta(minutes=29)}, ["duration.outside"]),
        ({"ended_at": START + timedelta(minutes=61)}, ["duration.outside"]),
        ({"ended_at": None}, []),
        ({"verifier": " li  NA "}, ["people.two"]),
        ({"verifier": ""}, ["people.two"]),
        ({"operator": ""}, ["people.two"]),
    ],
)
def test_premedication_duration_and_two_people(changed, found):
    findings = administration(**changed)
    assert codes(findings) == found
    assert [each.blocking for each in findings] == [code == "people.two" for code in found]


def test_durations_are_real_minutes_when_the_clocks_change():
    start = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN)
    end = datetime(2026, 10, 25, 2, 15, tzinfo=BERLIN, fold=1)  # 45 minutes later, though the clock shows less
    before = datetime(2026, 10, 25, 2, 0, tzinfo=BERLIN)
    assert administration(started_at=start, ended_at=end, premedication_at=before) == ()
    with pytest.raises(InfusionError, match=r"ended_at: .* is not after the start"):
        administration(started_at=start, ended_at=start)


def test_what_holds_an_infusion():
    assert hold_findings(unresolved_reaction_grade=1, spo2_percent=95) == ()
    found = hold_findings(
        dlt=True, unresolved_reaction_grade=2, thrombosis=True, uncontrolled_infection=True, spo2_percent=94.9
    )
    assert codes(found) == ["hold.dlt", "hold.reaction", "hold.thrombosis", "hold.infection", "hold.spo2"]
    assert all(finding.blocking for finding in found)


def test_warnings_are_admitted_with_a_reason_only():
    findings = administration(premedication_at=None)
    with pytest.raises(InfusionError, match=r"'premedication.missing' needs a reason: .*\(record why\)"):
        admit(findings, {"premedication.missing": "  "})
    assert admit(findings, {"premedication.missing": "allergy to dexamethasone"}) == findings
    assert admit(()) == ()


# evaluability -----------------------------------------------------------------------------------


def judged(**changed):
    return evaluability(**{"planned": 4, "received": 4, "phase": "complete", **changed})


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "complete"),
        ({"phase": "open"}, "pending"),
        ({"phase": "not_started", "received": 0}, "pending"),
        ({"adjudication": "dlt", "received": 1, "phase": "open"}, "dlt"),
        ({"adjudication": "dlt", "died_in_window": True}, "dlt"),
        ({"adjudication": "dlt", "left_in_window": True, "visits_missed": ("W4",)}, "dlt"),
        ({"adjudication": "pending"}, "pending"),
        ({"adjudication": "pending", "left_in_window": True}, "pending"),
        ({"adjudication": "not_dlt"}, "complete"),
        ({"left_in_window": True, "phase": "open"}, "not_evaluable"),
        ({"visits_missed": ("W4",)}, "not_evaluable"),
        ({"visits_open": ("W4",)}, "pending"),
        ({"visits_open": ("W4",), "visits_missed": ("W3",)}, "not_evaluable"),
    ],
)
def test_who_counts(changed, verdict):
    assert judged(**changed).verdict == verdict


def test_a_missed_fourth_infusion_leaves_three_and_costs_evaluability_at_the_end():
    rows = course(0, 7, 14, today=29)
    assert [row.timing for row in rows] == ["on_time", "on_time", "on_time", "missed"]
    received = infusions_counted(rows)
    open_ = judged(received=received, phase="open")
    assert (open_.verdict, open_.received, open_.planned) == ("pending", 3, 4)
    assert open_.reasons[1] == "without a DLT not evaluable: 3 of 4 infusions received, 100% required"
    assert judged(received=received, adjudication="dlt").verdict == "dlt"
    assert judged(received=received).verdict == "not_evaluable"
    assert judged(received=received, rule=Evaluability(minimum_infusions=0.8)).verdict == "not_evaluable"
    assert judged(received=received, rule=Evaluability(minimum_infusions=0.75)).verdict == "complete"


def test_a_death_of_another_cause_on_day_10_is_decided_by_adjudication():
    died = {"received": 2, "phase": "open", "died_in_window": True}
    assert judged(**died).verdict == "pending"
    assert judged(**died).reasons == ("death in the window awaits adjudication",)
    assert judged(**died, adjudication="not_dlt").verdict == "not_evaluable"
    assert judged(**died, adjudication="dlt").verdict == "dlt"


def test_which_timings_count_is_a_rule():
    rows = course(0, 5, 10, 30)
    assert [row.timing for row in rows] == ["on_time", "on_time", "early", "missed"]
    assert infusions_counted(rows) == 2
    assert infusions_counted(rows, InfusionRules(counted=("on_time", "early", "delayed"))) == 3
    with pytest.raises(InfusionError, match=r"received: 5 is not between 0 and the 4 planned"):
        judged(received=5)


def test_limits_that_contradict_each_other_and_placeholders():
    with pytest.raises(ValidationError, match="lies before the end of the window of 9 days; make it 9 or more"):
        InfusionRules(window_days=9)
    with pytest.raises(ValidationError, match="longest_minutes 20 is below shortest_minutes"):
        InfusionRules(longest_minutes=20)
    assert "viability_percent" not in InfusionRules().placeholders
    assert {"window_days", "spacing_days", "tolerance_percent"} <= set(InfusionRules().placeholders)
