"""Accelerated titration in front of a design."""

from __future__ import annotations

import numpy as np
import pytest

from escalation.advice import Advisor
from escalation.calendar import CalendarEngine
from escalation.errors import StudyError
from escalation.exact import compile_graph
from escalation.outcomes import replay
from escalation.results import TrialRows
from escalation.sampled import sample
from escalation.verify import verify

TRUTH = [0.05, 0.15, 0.30, 0.45]
BOIN = {"name": "boin"}


@pytest.fixture(scope="module")
def titrated(study_of):
    return study_of(BOIN, TRUTH, titration={}, max_patients=24, last_cohort="partial").protocol.rule


@pytest.mark.parametrize(
    ("outcomes", "level", "size", "code"),
    [
        ("", 1, 1, "trial.cohort_open"),
        ("1N", 2, 1, "titration.clear"),
        ("1N 2N 3N", 4, 1, "titration.clear"),
        ("1N 2T", 2, 2, "titration.fill"),
        ("1T", 1, 2, "titration.fill"),
        ("1N 2N 3N 4N", 4, 2, "titration.fill"),
        ("1N 2T 2NN", 2, 3, "boin.between"),
        ("1N 2T 2NT", 1, 3, "boin.at_or_above_lambda_d"),
        ("1N 2N 3N 4N 4NN", 4, 3, "boin.at_top"),
        # back at a level passed with one participant: a whole cohort comes on top of it
        ("1N 2T 2NT 1NNN", 2, 3, "boin.at_or_below_lambda_e"),
    ],
)
def test_single_participants_then_the_design(titrated, outcomes, level, size, code):
    advisor = Advisor(titrated)
    replayed = replay(titrated, outcomes, advisor=advisor)
    advice = advisor.advise(replayed.state)
    assert replayed.departures == ()
    assert (advice.regimen + 1, advice.size, advice.reasons) == (level, size, (code,))


def test_it_is_printed_first(titrated):
    assert titrated.steps()[0].startswith("single participants")
    assert len(titrated.reason_index) == len(titrated.reasons)


def test_an_eliminated_level_is_not_filled(study_of):
    """TPI closes level 2 after a DLT in its first participant; the design's way down stands."""
    rule = study_of({"name": "tpi", "target": 0.3}, TRUTH, titration={}, max_patients=24).protocol.rule
    advice = Advisor(rule).advise(replay(rule, "1N 2T").state)
    assert (advice.regimen, advice.reasons) == (0, ("tpi.eliminated",))


def test_titration_from_the_start_upwards(study_of):
    study = study_of(BOIN, TRUTH, titration={}, max_patients=24, start={"dose": 2})
    advice = Advisor(study.protocol.rule).advise(replay(study.protocol.rule, "2N").state)
    assert (advice.regimen + 1, advice.reasons) == (3, ("titration.clear",))


def test_along_the_frequencies_of_a_grid(study_of):
    design = {"name": "boin", "axis": "frequency"}
    rule = study_of(design, [[0.1, 0.2], [0.2, 0.3], [0.3, 0.4]], titration={}, max_patients=18).protocol.rule
    advice = Advisor(rule).advise(replay(rule, "1.1N").state)
    assert rule.grid.level(advice.regimen) == "1.2"


@pytest.mark.parametrize("design", ["boin", "keyboard", "ccd", "crm"])
def test_the_engines_agree(agree, study_of, design):
    study = study_of(
        {"name": design},
        TRUTH,
        titration={},
        max_patients=16,
        last_cohort="partial",
        scenario={"accrual": {"law": "poisson", "mean_gap_days": 9.0}},
    )
    rule, scenario = study.protocol.rule, study.scenarios[0]
    exact = TrialRows.exact(compile_graph(rule), np.array(TRUTH))
    agree(sample(rule, np.array(TRUTH), 3, 0, 20_000), exact, rule)
    rows, _ = CalendarEngine(study.protocol, scenario, study.truth(scenario)).run(4, 0, 2000)
    agree(rows, exact, rule)


def test_it_treats_fewer_at_low_levels(study_of):
    whole = study_of(BOIN, TRUTH, max_patients=24)
    single = study_of(BOIN, TRUTH, titration={}, max_patients=24, last_cohort="partial")
    n = [
        (rows := TrialRows.exact(compile_graph(study.protocol.rule), np.array(TRUTH))).weight @ rows.n
        for study in (whole, single)
    ]
    assert n[1][0] < n[0][0] - 1.5
    assert n[1][3] > n[0][3]


def test_its_promises_hold(titrated):
    broken = {verdict.name for verdict in verify(titrated).verdicts if not verdict.holds}
    assert broken <= {"no_escalation_after_two_dlts", "coherent"}  # as for BOIN without titration


@pytest.mark.parametrize(
    ("design", "more", "says"),
    [
        ({"name": "three_plus_three"}, {}, r"3\+3 cannot go on from levels passed with single participants"),
        (BOIN, {"cohort_size": 1, "max_patients": 12}, "cohorts of one are single participants already"),
    ],
)
def test_where_it_cannot_work(study_of, design, more, says):
    with pytest.raises(StudyError, match=says):
        study_of(design, TRUTH, titration={}, **more)
