"""A titration on moderate toxicities in live conduct: adverse events become outcomes, and what re-opens a decision."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from escalation import trial as fold
from escalation import trial_cli_shared
from escalation.calendar import CalendarEngine
from escalation.cli import app
from escalation.conduct import records as r
from escalation.conduct.book import Book
from escalation.conduct.decisions import advise
from escalation.conduct.gates import GateRefused
from escalation.conduct.installation import open_conduct
from escalation.conduct.invented import HandClock
from escalation.conduct.listings import LISTINGS
from escalation.conduct.simulated_conduct import SimulatedConduct, course_of
from escalation.conduct.state import conduct_state
from escalation.conduct.status import status_form
from escalation.conduct.verify import verify_trial
from escalation.study import Study, validate

from .kit import Site, fast, open_quickly

TRIAL = "SIM-1"


def graded(**protocol) -> Study:
    """A titration on moderate toxicities before BOIN at four doses."""
    return validate(
        {
            "schema": 1,
            "id": "graded",
            "title": "A study written in a test",
            "protocol": {
                "regimens": {"doses": [10, 20, 30, 40]},
                "design": {"name": "boin"},
                "titration": {"until": "moderate_toxicity"},
                "max_patients": 15,
                "last_cohort": "partial",
                **protocol,
            },
            "scenarios": [
                {
                    "name": "assumed",
                    "truth": [0.05, 0.1, 0.25, 0.4],
                    "moderate": [0.25, 0.3, 0.3, 0.3],
                    "accrual": {"law": "poisson", "mean_gap_days": 6},
                    "drop_out": 0.1,
                }
            ],
        }
    )


@pytest.fixture
def site(tmp_path):
    """A site that titrates."""
    made = Site(tmp_path, graded())
    yield made
    made.close()


def advice(site: Site):
    return advise(site.state(), site.today)


def single(site: Site, code: str, **event) -> None:
    """One participant to the end of the window, with an adverse event where one is given."""
    site.treat(code)
    site.wait(days=5)
    if event:
        site.event(code, **event)
    site.complete(code)


# what counts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "counts"),
    [
        ({"grade": 2}, True),
        ({"grade": 1}, False),
        ({"grade": 2, "attribution": "possible"}, True),
        ({"grade": 2, "attribution": "unlikely"}, False),
        ({"grade": 2, "attribution": "unrelated"}, False),
        ({"grade": 2, "onset": "2025-12-20"}, False),  # before the first infusion
        ({"grade": 2, "onset": "2026-01"}, True),  # possibly inside
        ({"grade": 2, "onset": "unknown"}, True),
        (None, False),
    ],
    ids=str,
)
def test_the_worst_attributable_event_in_the_window(site, event, counts):
    single(site, "P1", **(event or {}))
    state = site.state()
    assert state.trial_state().moderate == [int(counts), 0, 0, 0]
    assert state.outcomes()["P1"]["moderate"] is counts
    assert advice(site).reasons == ("titration.clear",)


def test_an_event_after_the_window_does_not_count(site):
    single(site, "P1")
    site.wait(days=3)
    site.event("P1", grade=2)
    assert site.state().trial_state().moderate == [0] * 4


def test_a_grade_that_rises_inside_the_window_counts_and_later_does_not(site):
    site.treat("P1")
    site.event("P1", "E1", grade=1)
    site.event("P1", "E2", grade=1)
    site.complete("P1")
    late = site.today
    inside = late - timedelta(days=10)
    assert site.state().trial_state().moderate == [0] * 4
    site.record("ingrid", r.Regraded(participant="P1", event="E1", grade=2, on=late))
    assert site.state().trial_state().moderate == [0] * 4
    site.record("ingrid", r.Regraded(participant="P1", event="E2", grade=2, on=inside))
    assert site.state().trial_state().moderate == [1, 0, 0, 0]


def test_a_grade_3_event_counts_once_it_is_judged_no_dlt(site):
    """Unjudged it keeps the participant pending with every outcome open; unrelated it is nothing."""
    for code, attribution, counts in (("P1", "probable", 1), ("P2", "unrelated", 0)):
        level = len(site.state().effective())
        site.treat(code)
        site.event(code, grade=3)
        waiting = advice(site)
        assert {p.further + p.moderate for p in waiting.outlook} == {(0, 0), (0, 1), (1, 0)}
        site.propose(code, events=("E1",))
        assert site.state().trial_state().moderate[level] == 0
        site.conduct.adjudicate(
            site.token("maria"),
            site.trial,
            "a long walk along the river",
            participant=code,
            adjudication="A1",
            outcome="not_dlt",
            attribution=attribution,
            discussion="Discussed by the committee.",
        )
        assert site.state().trial_state().moderate[level] == counts
        site.complete(code)
        assert site.outcome(code) == "complete"
        site.decide()


def test_a_dlt_is_the_worse_outcome(site):
    site.treat("P1")
    site.event("P1", grade=2)
    assert site.state().trial_state().pending_moderate() == [1, 0, 0, 0]
    site.dlt("P1")
    trial = site.state().trial_state()
    assert (trial.moderate, trial.dlt) == ([0] * 4, [1, 0, 0, 0])
    assert advice(site).reasons == ("titration.first_dlt",)


def test_one_who_is_lost_afterwards_has_had_it(site):
    site.treat("P1")
    site.event("P1", grade=2)
    site.not_evaluable("P1")
    trial = site.state().trial_state()
    assert (trial.moderate, trial.n) == ([1, 0, 0, 0], [0] * 4)


# the decision -------------------------------------------------------------------------------------------


def test_the_second_participant_ends_titration_before_the_window_is_over(site):
    single(site, "P1", grade=2)
    site.decide()
    site.treat("P2")
    assert not advice(site).decides
    assert any("a moderate toxicity at level 2" in line for line in _status(site)["recommendation"]["outlook"])
    site.wait(days=3)
    site.event("P2", grade=2)
    now = advice(site)
    assert (now.decides, now.certain, now.regimen, now.size) == (True, True, 1, 2)
    form = _status(site)
    assert form["participants"][1]["status"] == "window open, moderate toxicity"
    assert "titration.moderate" in [each["code"] for each in form["recommendation"]["reasons"]]


def _status(site: Site):
    head = site.conduct.ledger.head(site.trial)
    return status_form(site.state(), site.trial, site.clock.moment, head)


def test_a_corrected_grade_reopens_a_decision_taken_while_titrating(site):
    single(site, "P1", grade=1)
    entry = site.version - 1
    decision = site.decide()
    assert site.state().contradicted() == {}
    site.correct(entry, "grade", 2)
    assert site.state().contradicted() == {decision: ["P1"]}
    site.screen("P2")
    with pytest.raises(GateRefused, match="the outcome of P1 has changed"):
        site.assign("P2")


def test_a_snapshot_goes_stale_with_a_grade(site):
    single(site, "P1", grade=1)
    recommendation = site.recommend()
    site.event("P1", "E2", grade=2, onset=(site.today - timedelta(days=20)).isoformat())
    with pytest.raises(GateRefused, match="data"):
        site.committee(recommendation)


def test_after_titration_grades_reopen_nothing(site):
    single(site, "P1", grade=2)
    site.decide()
    single(site, "P2", grade=2)
    assert advice(site).reasons == ("titration.moderate",)
    site.decide()
    site.cohort("P3", "P4")
    last = site.decide()
    site.event("P3", grade=2, onset=(site.today - timedelta(days=20)).isoformat())
    assert last not in site.state().contradicted()
    assert site.state().review_due == ""


def test_a_pending_participant_whose_toxicity_is_withdrawn_reopens_the_decision_that_rested_on_it(site):
    single(site, "P1", grade=2)
    site.decide()
    site.treat("P2")
    site.event("P2", grade=2)
    entry = site.version
    decision = site.decide()
    site.correct(entry, "attribution", "unrelated")
    assert site.state().contradicted() == {decision: ["P2"]}


def test_the_listing_of_participants_dates_it(site):
    single(site, "P1", grade=2)
    onset = site.day_zero("P1") + timedelta(days=5)
    columns, rows = LISTINGS["participants"]
    (row,) = rows(Book.of(site.entries()), site.clock.moment)
    assert "moderate_toxicity" in columns.split()
    assert row["moderate_toxicity"] == onset.isoformat()


def test_other_trials_keep_the_outcomes_they_had(tmp_path):
    """Where no grades are read, neither the fold nor a snapshot knows of moderate toxicities."""
    site = Site(tmp_path, graded(titration={}))
    single(site, "P1", grade=2)
    assert site.state().trial_state().moderate == [0] * 4
    assert "moderate" not in site.state().outcomes()["P1"]
    site.close()


# simulated trials conducted -----------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [{}, {"review_lag_days": 3, "stagger": {"sentinel_days": 7}}], ids=str)
def test_simulated_trials_are_conducted_to_the_same_decisions(tmp_path, protocol):
    study, reasons = graded(**protocol), set()
    for replicate in range(1, 7):
        _, course = course_of(study, None, 11, replicate)
        clock = HandClock()
        conduct = open_quickly(tmp_path / f"{replicate}.sqlite", clock, create=True)
        simulated = SimulatedConduct(conduct, clock, TRIAL, study, course, r.DrawStream(seed=11, replicate=replicate))
        simulated.run()
        assert simulated.decisions
        assert all(each.equal for each in simulated.decisions)
        entries, head = conduct.ledger.entries(TRIAL), conduct.ledger.head(TRIAL)
        assert verify_trial(TRIAL, entries, head).ok
        trial = conduct_state(entries).trial_state()
        for name in ("n", "dlt", "moderate", "selected"):
            assert getattr(trial, name) == getattr(course.state, name), name
        reasons |= {code for event in course.events if isinstance(event, fold.Decided) for code in event.reasons}
        conduct.ledger.close()
    assert {"titration.clear", "titration.moderate"} <= reasons


def test_the_command_conducts_one(tmp_path, monkeypatch):
    def opened(database, *, create=False, clock=None):
        return open_conduct(database, create=create, clock=clock, passwords=fast())

    monkeypatch.setattr(trial_cli_shared, "open_service", opened)
    file = tmp_path / "graded.json"
    file.write_text(json.dumps(graded().as_dict()))
    words = ["trial", "simulate", str(file), "--seed", "11", "--replicate", "2", "--json"]
    result = CliRunner().invoke(app, [*words, "--database", str(tmp_path / "simulated.sqlite")])
    assert result.exit_code == 0, result.output
    form = json.loads(result.output)
    assert form["equal"]
    assert form["decisions"]


def test_a_calendar_course_hears_of_them_in_time():
    study = graded()
    engine = CalendarEngine(study.protocol, study.scenarios[0], study.truth(study.scenarios[0]))
    early = 0
    for replicate in range(40):
        known: dict[int, int] = {}
        enrolled: dict[int, int] = {}
        settled: set[int] = set()
        for event in engine.course(2, replicate).events:
            if isinstance(event, fold.Enrolled):
                enrolled[event.participant] = event.day
            elif isinstance(event, fold.ModerateObserved):
                assert enrolled[event.participant] <= event.day <= enrolled[event.participant] + 28
                known[event.participant] = event.day
            elif isinstance(event, fold.DltObserved | fold.WindowCompleted | fold.NotEvaluable):
                settled.add(event.participant)
            elif isinstance(event, fold.Decided) and event.reasons[0] == "titration.moderate":
                early += bool(set(known) - settled)  # decided with the window still open
                assert len(known) >= 2
    assert early > 3
