"""Live DLT windows: boundary days, daylight saving, partial dates, and W1 beside W2."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from escalation.conduct.windows import (
    DateSpan,
    DltWindow,
    Limits,
    WindowError,
    hours_between,
    instant,
    placeholder,
    site_date,
    site_zone,
)
from escalation.errors import EscalationError
from escalation.truth import Window

SHANGHAI, BERLIN, NEW_YORK = (site_zone(name) for name in ("Asia/Shanghai", "Europe/Berlin", "America/New_York"))
ZONES = st.sampled_from(
    [SHANGHAI, BERLIN, NEW_YORK, *map(site_zone, ("Australia/Lord_Howe", "America/St_Johns", "Africa/Casablanca"))]
)
DAYS = st.dates(date(2000, 1, 1), date(2040, 1, 1))
CLOCKS = st.times()
GROUPS = {"A": (0,), "B": (0, 7), "C": (0, 7, 14, 21)}


def at(zone: ZoneInfo, day: date, hour: int = 10, minute: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)


def treated(zone: ZoneInfo, first: date, *days: int, schedule=(0, 7, 14, 21), window=Window()) -> DltWindow:  # noqa: B008
    return DltWindow(window, schedule, zone, tuple(at(zone, first + timedelta(days=day)) for day in (0, *days)))


# boundary days and phases -----------------------------------------------------------------------


@pytest.mark.parametrize(("day", "position"), [(-1, "before"), (0, "inside"), (27, "inside"), (28, "inside")])
@pytest.mark.parametrize("zone", [SHANGHAI, BERLIN, NEW_YORK])
def test_an_onset_until_day_28_is_inside(zone, day, position):
    first = date(2026, 3, 10)  # both changes to summer time lie in the 28 days after, or just before
    place = treated(zone, first).place(first + timedelta(days=day))
    assert (place.position, place.first_day, place.last_day, place.resolved) == (position, day, day, True)


def test_an_onset_on_day_29_is_outside_w1_and_inside_w2():
    course = treated(SHANGHAI, date(2025, 11, 3), 7, 14, 21)
    assert course.place(date(2025, 12, 2)).position == "after"
    assert course.place(date(2025, 12, 2), anchor="last").inside
    assert course.place(date(2025, 12, 2)).words == "day 29: after the end of W1 (last day 28)"


@pytest.mark.parametrize(("day", "phase"), [(-1, "not_started"), (0, "open"), (27, "open"), (28, "open")])
def test_the_last_day_is_still_open(day, phase):
    assert treated(BERLIN, date(2026, 3, 10)).phase(date(2026, 3, 10) + timedelta(days=day)) == phase


def test_the_window_is_complete_from_day_29_and_at_midnight_of_the_site():
    course = treated(SHANGHAI, date(2026, 3, 10))
    assert course.phase(date(2026, 4, 8)) == "complete"
    assert course.phase(datetime(2026, 4, 7, 15, 59, tzinfo=UTC)) == "open"  # 23:59 in Shanghai
    assert course.phase(datetime(2026, 4, 7, 16, 0, tzinfo=UTC)) == "complete"  # 00:00 on day 29


def test_nothing_started_before_the_first_infusion():
    course = DltWindow(Window(), (0, 7), SHANGHAI)
    assert course.phase(date(2026, 1, 1)) == "not_started"
    assert (course.last_day(), course.last_date(), course.status(date(2026, 1, 1)).day) == (28, None, None)
    assert course.place("2026-01").position == "before"
    with pytest.raises(WindowError, match=r"first infusion: nothing is recorded.*record the first infusion"):
        course.day_number(date(2026, 1, 1))


@pytest.mark.parametrize(("group", "w2"), [("A", 28), ("B", 35), ("C", 49)])
def test_w2_stands_beside_w1(group, w2):
    schedule = GROUPS[group]
    course = treated(SHANGHAI, date(2025, 11, 3), *schedule[1:], schedule=schedule)
    one, two = course.shown(date(2025, 12, 2))
    assert (one.name, one.decides, one.last_day) == ("W1", True, 28)
    assert (two.name, two.decides, two.last_day) == ("W2", False, w2)
    assert one.last_date == date(2025, 12, 1)
    assert two.last_date == date(2025, 11, 3) + timedelta(days=w2)
    assert (one.phase, two.phase) == ("complete", "complete" if w2 == 28 else "open")


@pytest.mark.parametrize(
    ("days", "last"),
    [((), 49), ((7, 14), 49), ((7, 14, 21), 49), ((7, 14, 26), 54), ((9, 16, 23), 51)],
    ids=["running", "fourth missed", "as planned", "fourth late", "all late"],
)
def test_the_window_from_the_last_infusion_follows_a_late_one_and_never_shortens(days, last):
    course = treated(SHANGHAI, date(2025, 11, 3), *days, window=Window(anchor="last"))
    assert course.last_day() == last
    assert course.last_day("first") == 28
    assert course.status(date(2025, 11, 3)).decides


@pytest.mark.parametrize("schedule", GROUPS.values())
@pytest.mark.parametrize("anchor", ["first", "last"])
def test_the_last_day_is_the_simulated_one_when_treatment_goes_as_planned(schedule, anchor):
    window = Window(days=28, anchor=anchor)
    course = treated(SHANGHAI, date(2025, 11, 3), *schedule[1:], schedule=schedule, window=window)
    assert course.last_day() == window.end(schedule)


def test_an_onset_before_the_infusion_on_its_day_is_before():
    course = treated(BERLIN, date(2026, 3, 10))
    assert course.place(at(BERLIN, date(2026, 3, 10), 9, 59)).position == "before"
    assert course.place(at(BERLIN, date(2026, 3, 10), 10)).inside
    assert course.place(date(2026, 3, 10)).inside


# daylight saving --------------------------------------------------------------------------------


@given(ZONES, DAYS, CLOCKS, CLOCKS, st.integers(0, 400), st.booleans())
def test_day_numbers_are_those_of_the_calendar_whatever_the_clocks_do(zone, first, start, onset, days, summer):
    infusion = datetime.combine(first, start, zone).replace(fold=summer)
    event = datetime.combine(first + timedelta(days=days), onset, zone).replace(fold=summer)
    for moment in (infusion, event):  # an hour that the clocks skip does not exist
        assume(moment.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == moment.replace(tzinfo=None))
    elsewhere = timezone(timedelta(hours=-11))
    for recorded in (lambda m: m, lambda m: m.astimezone(UTC), lambda m: m.astimezone(elsewhere)):
        course = DltWindow(Window(), (0,), zone, (recorded(infusion),))
        assert course.day_number(recorded(event)) == days
        assert course.place(first + timedelta(days=days)).inside == (days <= 28)
        assert course.last_date() == first + timedelta(days=28)


@given(ZONES, DAYS, st.lists(st.integers(1, 60), unique=True, max_size=3), st.randoms())
def test_order_is_that_of_the_instants(zone, first, days, shuffle):
    moments = [at(zone, first + timedelta(days=day)) for day in (0, *sorted(days))]
    mixed = [m.astimezone(UTC) if shuffle.random() < 0.5 else m for m in moments]
    shuffle.shuffle(mixed)
    course = DltWindow(Window(), (0, 7, 14, 21), zone, tuple(mixed))
    assert course.infusion_days == (0, *sorted(days))
    assert course.infusions == tuple(m.astimezone(UTC) for m in moments)


@pytest.mark.parametrize(
    ("zone", "before", "after", "real"),
    [
        (BERLIN, date(2026, 3, 28), date(2026, 3, 29), 23),
        (BERLIN, date(2026, 10, 24), date(2026, 10, 25), 25),
        (NEW_YORK, date(2026, 3, 7), date(2026, 3, 8), 23),
        (NEW_YORK, date(2026, 10, 31), date(2026, 11, 1), 25),
        (SHANGHAI, date(2026, 3, 28), date(2026, 3, 29), 24),
    ],
)
def test_a_day_of_23_or_25_hours_is_one_day(zone, before, after, real):
    assert hours_between(at(zone, before), at(zone, after)) == real
    assert treated(zone, before).day_number(at(zone, after)) == 1


def test_the_repeated_hour_is_ordered_by_instants_not_by_the_clock_on_the_wall():
    summer = datetime(2026, 10, 25, 2, 50, tzinfo=BERLIN)
    winter = datetime(2026, 10, 25, 2, 10, tzinfo=BERLIN, fold=1)
    assert winter < summer  # Python compares the wall clock of one zone
    assert hours_between(summer, winter) == pytest.approx(20 / 60)
    assert DltWindow(Window(), (0, 7), BERLIN, (winter, summer)).infusions == (instant(summer), instant(winter))


# monotone time ----------------------------------------------------------------------------------


@given(
    ZONES,
    DAYS,
    st.lists(st.integers(1, 40), unique=True, max_size=3),
    st.integers(-5, 120),
    st.integers(0, 60),
    st.sampled_from(["first", "last"]),
    st.integers(1, 60),
)
def test_a_later_today_never_reopens_a_completed_window(zone, first, days, today, later, anchor, length):
    course = treated(zone, first, *days, window=Window(days=length, anchor=anchor))
    order = ("not_started", "open", "complete")
    phases = [course.phase(first + timedelta(days=day)) for day in (today, today + later)]
    assert order.index(phases[0]) <= order.index(phases[1])
    end = course.last_date()
    assert end is not None
    assert [course.phase(end + timedelta(days=by)) for by in (0, 1)] == ["open", "complete"]


@given(DAYS, st.lists(st.integers(1, 40), unique=True, max_size=3), st.integers(1, 60))
def test_one_more_infusion_never_brings_the_end_forward(first, days, extra):
    assume(extra not in days)
    fewer, more = treated(BERLIN, first, *days), treated(BERLIN, first, *days, extra)
    assert fewer.last_day("first") == more.last_day("first") == 28
    assert fewer.last_day("last") <= more.last_day("last")


# partial dates ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "days", "position", "resolved"),
    [
        ("2025-11", (-2, 27), "inside", False),
        ("2025-12", (28, 58), "inside", False),
        ("2026-01", (59, 89), "after", True),
        ("2025-10", (-33, -3), "before", True),
        ("2025", (-306, 58), "inside", False),
        ("2024", (-672, -307), "before", True),
        ("2026", (59, 423), "after", True),
        ("unknown", (None, None), "inside", False),
        ("2025-12-01", (28, 28), "inside", True),
    ],
)
def test_a_partial_onset_is_inside_until_it_is_resolved(text, days, position, resolved):
    place = treated(SHANGHAI, date(2025, 11, 3)).place(text)
    assert (place.first_day, place.last_day) == days
    assert (place.position, place.resolved) == (position, resolved)


def test_an_onset_lies_no_later_than_its_report():
    course = treated(SHANGHAI, date(2025, 11, 3))
    place = course.place("2025-11", reported=date(2025, 11, 10))
    assert (place.first_day, place.last_day) == (-2, 7)
    assert course.place("2025-11-10", reported=date(2025, 11, 10)).first_day == 7
    unknown = course.place("unknown", reported=datetime(2025, 11, 9, 16, tzinfo=UTC))
    assert (unknown.first_day, unknown.last_day, unknown.inside) == (None, 7, True)
    assert unknown.words == "day 7 or earlier: inside W1 (last day 28), until the date is resolved"
    assert course.place("unknown").words.startswith("day unknown: inside W1")
    assert course.place("2025-11-02").words == "day -1: before the first infusion (last day 28)"
    with pytest.raises(WindowError, match=r"onset: '2025-12' lies after 2025-11-10.*correct the date"):
        course.place("2025-12", reported=date(2025, 11, 10))


@given(DAYS, DAYS, st.sampled_from([4, 7]))
def test_what_a_partial_date_hides_is_never_inside_when_it_is_said_to_be_outside(first, onset, length):
    course = treated(SHANGHAI, first)
    exact, partial = course.place(onset), course.place(onset.isoformat()[:length])
    assert partial.inside or not exact.inside
    assert partial.first_day is not None
    assert partial.first_day <= course.day_number(onset) <= (partial.last_day or 0)
    if partial.resolved:
        assert partial.position == exact.position


@pytest.mark.parametrize("text", ["2025-13", "2025-02-30", "2025-3", "03-2025", "", "0000", "UNK", "2025-", "२०२५"])
def test_a_date_that_is_none_is_refused(text):
    with pytest.raises(WindowError, match=r"onset: .* is no date, month or year.*as precise as it is known"):
        DateSpan.read(text)


def test_spans_know_their_precision():
    spans = [DateSpan.read(text) for text in ("2025-02-28", "2025-02", "2025", "unknown")]
    assert [span.precision for span in spans] == ["day", "month", "year", "unknown"]
    assert (spans[1].earliest, spans[1].latest) == (date(2025, 2, 1), date(2025, 2, 28))


# what is refused --------------------------------------------------------------------------------


def test_a_moment_without_offset_is_refused():
    naive = datetime(2026, 3, 29, 9, 30)
    for attempt in (
        lambda: DltWindow(Window(), (0,), BERLIN, (naive,)),
        lambda: treated(BERLIN, date(2026, 3, 1)).phase(naive),
        lambda: site_date(naive, BERLIN),
    ):
        with pytest.raises(WindowError, match=r"2026-03-29T09:30:00 does not say its offset from UTC.*add the offset"):
            attempt()


@pytest.mark.parametrize("schedule", [(), (1, 7), (0, 7, 7), (0, 14, 7)])
def test_a_schedule_starts_at_day_0_and_increases(schedule):
    with pytest.raises(WindowError, match=r"schedule: .* does not start at day 0.*\(0, 7, 14\)"):
        DltWindow(Window(), schedule, BERLIN)


def test_one_infusion_recorded_twice_is_refused():
    start = at(BERLIN, date(2026, 3, 1))
    with pytest.raises(WindowError, match=r"infusions: .* is given twice"):
        DltWindow(Window(), (0, 7), BERLIN, (start, start.astimezone(UTC)))


@pytest.mark.parametrize("name", ["Europe/Atlantis", "", "Europe", "../etc/passwd"])
def test_an_unknown_zone_is_refused_with_an_example(name):
    with pytest.raises(EscalationError, match=r"is no time zone of the IANA database.*'Asia/Shanghai'"):
        site_zone(name)


def test_limits_know_which_defaults_are_placeholders():
    class Some(Limits):
        invented: int = placeholder(2, "Nobody's number.", ge=0)
        registered: int = 85

    assert Some().placeholders == ("invented",)
    assert Some(invented=2).placeholders == ()
