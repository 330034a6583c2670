"""Accelerated titration in front of a design."""

from __future__ import annotations

from math import comb

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
        ("1N 2T", 2, 2, "titration.first_dlt"),
        ("1T", 1, 2, "titration.first_dlt"),
        ("1N 2N 3N 4N", 4, 2, "titration.top"),
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


def titrated_3_plus_3(p: tuple[float, ...], six_at_top: bool) -> dict[int | None, float]:
    """Chances of each MTD after titration and 3+3 with de-escalation, one outcome at a time."""
    found: dict[int | None, float] = {}

    def treat(n, y, level, size, chance):
        for dlt in range(size + 1):
            ways = comb(size, dlt) * p[level] ** dlt * (1 - p[level]) ** (size - dlt)
            more = [*n[:level], n[level] + size, *n[level + 1 :]]
            onward(more, [*y[:level], y[level] + dlt, *y[level + 1 :]], level, chance * ways)

    def end(mtd, chance):
        found[mtd] = found.get(mtd, 0.0) + chance

    def onward(n, y, level, chance):
        top = len(p) - 1
        if max(n) == 1:  # titration
            if sum(y) == 0 and level < top:
                return treat(n, y, level + 1, 1, chance)
            return treat(n, y, level, 2, chance)
        if y[level] >= 2:
            if level == 0:
                return end(None, chance)
            if n[level - 1] == 6:
                return end(level - 1, chance)
            return treat(n, y, level - 1, (3 if n[level - 1] < 3 else 6) - n[level - 1], chance)
        if n[level] == 3 and y[level] == 1:
            return treat(n, y, level, 3, chance)
        if level < top and y[level + 1] >= 2:  # the level above has failed
            return end(level, chance) if n[level] == 6 else treat(n, y, level, 3, chance)
        if level < top:
            return treat(n, y, level + 1, 3 - n[level + 1], chance)
        if six_at_top and n[level] < 6:
            return treat(n, y, level, 3, chance)
        return end(level, chance)

    treat([0] * len(p), [0] * len(p), 0, 1, 1.0)
    return found


@pytest.mark.parametrize("variant", ["V2", "V3"])
@pytest.mark.parametrize("p", [(0.1, 0.3), (0.05, 0.2, 0.4), (0.4, 0.5, 0.6)], ids=str)
def test_3_plus_3_after_titration_by_hand(study_of, variant, p):
    study = study_of({"name": "three_plus_three", "variant": variant}, list(p), titration={})
    rows = TrialRows.exact(compile_graph(study.protocol.rule), np.array(p))
    expected = titrated_3_plus_3(p, six_at_top=variant == "V3")
    assert sum(expected.values()) == pytest.approx(1)
    assert rows.weight @ rows.selected == pytest.approx([expected.get(level, 0.0) for level in range(len(p))])
    # nobody is declared on a single participant, nor on fewer than six except at the top of V2
    declared = rows.n[rows.selected]
    assert (declared >= 3).all()
    assert (rows.n[:, :-1][rows.selected[:, :-1]] == 6).all()


@pytest.mark.parametrize(
    ("outcomes", "level", "size", "code"),
    [
        ("1N 2N 3T 3NN", 3, 3, "three_plus_three.one_dlt"),
        ("1N 2N 3T 3NT", 2, 2, "three_plus_three.de_escalate"),
        ("1N 2N 3T 3NT 2NN", 2, 3, "three_plus_three.confirm_level"),
        ("1N 2N 3T 3NT 2NT", 2, 3, "three_plus_three.one_dlt"),
        ("1N 2N 3T 3NT 2TT", 1, 2, "three_plus_three.de_escalate"),
    ],
)
def test_3_plus_3_fills_levels_that_single_participants_passed(study_of, outcomes, level, size, code):
    rule = study_of({"name": "three_plus_three", "variant": "V2"}, TRUTH, titration={}).protocol.rule
    advice = Advisor(rule).advise(replay(rule, outcomes).state)
    assert (advice.regimen + 1, advice.size, advice.reasons) == (level, size, (code,))


@pytest.mark.parametrize("design", ["boin", "keyboard", "ccd", "crm", "three_plus_three"])
def test_the_engines_agree(agree, study_of, design):
    study = study_of(
        {"name": design} | ({"variant": "V3"} if design == "three_plus_three" else {}),
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
        ({"name": "three_plus_three"}, {}, r"3\+3, V1, reading R1 cannot go on from levels that single participants"),
        ({"name": "three_plus_three", "reading": "R2"}, {}, "V1, reading R2 cannot go on"),
        (BOIN, {"cohort_size": 1, "max_patients": 12}, "cohorts of one are single participants already"),
    ],
)
def test_where_it_cannot_work(study_of, design, more, says):
    with pytest.raises(StudyError, match=says):
        study_of(design, TRUTH, titration={}, **more)
