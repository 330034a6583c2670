"""Staged cohorts: smaller ones at low levels and before the first DLTs."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from escalation.advice import Advisor
from escalation.calendar import CalendarEngine
from escalation.cohorts import CohortSizes
from escalation.errors import StudyError
from escalation.exact import compile_graph
from escalation.outcomes import replay
from escalation.results import TrialRows
from escalation.sampled import sample

TRUTH = [0.05, 0.15, 0.30, 0.45]


@pytest.mark.parametrize(
    ("sizes", "outcomes", "level", "size"),
    [
        ({"by_level": [1, 2]}, "", 1, 1),
        ({"by_level": [1, 2]}, "1N", 2, 2),
        ({"by_level": [1, 2]}, "1N 2NN", 3, 3),
        ({"by_level": [1, 2]}, "1T", 1, 1),  # BOIN stays at the lowest level, where cohorts are single
        ({"by_dlts": [1]}, "1N 2N 3N", 4, 1),
        ({"by_dlts": [1]}, "1N 2T", 1, 3),
        ({"by_dlts": [1, 2]}, "1N 2T", 1, 2),
        ({"by_dlts": [1, 2]}, "1N 2T 1NT", 1, 3),
        ({"by_level": [1, 1], "by_dlts": [2]}, "", 1, 2),
        ({"by_level": [1, 1], "by_dlts": [2]}, "1NN 2NN", 3, 3),
    ],
)
def test_the_stage_sets_the_size(study_of, sizes, outcomes, level, size):
    rule = study_of({"name": "boin"}, TRUTH, cohort_sizes=sizes, max_patients=30).protocol.rule
    advice = Advisor(rule).advise(replay(rule, outcomes).state)
    assert (advice.regimen + 1, advice.size) == (level, size)


def test_guards_keep_the_stage_and_the_maximum_has_the_last_word(study_of):
    study = study_of(
        {"name": "boin"},
        TRUTH,
        cohort_sizes={"by_level": [2, 2]},
        max_patients=5,
        last_cohort="partial",
        guards=[{"guard": "coherence", "target": 0.05}],
    )
    rule = study.protocol.rule
    held = Advisor(rule).advise(replay(rule, "1NT").state)
    assert (held.regimen, held.size) == (0, 2)
    last = Advisor(rule).advise(replay(rule, "1NN 2NN").state)
    assert (last.regimen, last.size) == (2, 1)


@pytest.mark.parametrize("sizes", [{"by_level": [1, 2]}, {"by_dlts": [1, 2]}])
def test_the_engines_agree(agree, study_of, sizes):
    study = study_of(
        {"name": "keyboard"},
        TRUTH,
        cohort_sizes=sizes,
        max_patients=16,
        scenario={"accrual": {"law": "poisson", "mean_gap_days": 9.0}},
    )
    rule, scenario = study.protocol.rule, study.scenarios[0]
    exact = TrialRows.exact(compile_graph(rule), np.array(TRUTH))
    agree(sample(rule, np.array(TRUTH), 3, 0, 20_000), exact, rule)
    rows, _ = CalendarEngine(study.protocol, scenario, study.truth(scenario)).run(4, 0, 2000)
    agree(rows, exact, rule)


def test_the_paths_of_package_escalation_with_cohorts_of_2_3_and_4(golden, study_of):
    """Its third cohort of four is reached at level 3 only, or by staying; levels set the sizes of the first way up."""
    rule = study_of({"name": "boin"}, TRUTH, cohort_size=4, cohort_sizes={"by_level": [2, 3]}, max_patients=30)
    rule = rule.protocol.rule
    checked = 0
    for case in golden("escalation_dose_paths"):
        if "cohorts 2,3,4" not in case["input"]["design"] or "list" not in case["input"]:
            continue
        for node in case["output"]["nodes"]:
            levels = [cohort[0] for cohort in node["path"].split()]
            if levels != ["1", "2", "3"][: len(levels)]:
                continue
            advice = Advisor(rule).advise(replay(rule, node["path"]).state)
            assert advice.regimen + 1 == node["next_dose"]
            checked += 1
    assert checked > 10


def test_sizes_are_printed(study_of):
    rule = study_of(
        {"name": "boin"}, TRUTH, cohort_sizes={"by_level": [1], "by_dlts": [2]}, max_patients=30
    ).protocol.rule
    assert rule.steps()[0] == "cohorts of 1 at the lowest levels and of 2 before the DLTs number 1, then whole ones"


def test_nothing_listed_is_whole():
    assert CohortSizes().of(np.array([0, 3]), np.array([0, 2]), 3).tolist() == [3, 3]


@pytest.mark.parametrize("wrong", [{"by_level": (0,)}, {"by_dlts": (2, 1)}])
def test_sizes_that_fall_are_refused(wrong):
    with pytest.raises(ValidationError, match="never fall"):
        CohortSizes(**wrong)


@pytest.mark.parametrize(
    ("design", "more", "says"),
    [
        ({"name": "boin"}, {"titration": {}}, "titration sets the sizes"),
        ({"name": "boin"}, {"cohort_size": 2}, "a size of 3 is more than a whole cohort of 2"),
        ({"name": "three_plus_three"}, {}, "decides on whole cohorts"),
    ],
)
def test_where_it_cannot_work(study_of, design, more, says):
    with pytest.raises(StudyError, match=says):
        study_of(design, TRUTH, cohort_sizes={"by_level": [1, 3]}, max_patients=24, **more)
