"""Interval designs through the engines: paths and their probabilities exactly, and agreement between engines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from designs.boin import Boin, BoinParameters
from designs.mtpi import Mtpi, MtpiParameters
from designs.mtpi2 import Mtpi2, Mtpi2Parameters
from escalation.branching import Front, branch, merge, onward
from escalation.calendar import CalendarEngine
from escalation.design import Setting
from escalation.exact import compile_graph
from escalation.regimens import RegimenGrid
from escalation.results import TrialRows
from escalation.rule import Rule
from escalation.sampled import sample
from escalation.tally import Tally

GRID = RegimenGrid(doses=(1, 2, 3, 4, 5), schedules=((0,),))
SETTING = Setting(GRID, cohort_size=3, start=0, max_patients=60)
BUILT = {
    "get_boin": Boin(BoinParameters(target=0.3), SETTING),
    "get_mtpi": Mtpi(MtpiParameters(target=0.3), SETTING),
    "get_mtpi2": Mtpi2(Mtpi2Parameters(target=0.3), SETTING),
}


def paths(golden, kind: str):
    return [
        case
        for case in golden("escalation_dose_paths")
        if case["input"]["design"].split("(")[0] in BUILT and kind in case["input"]
    ]


def walk(rule: Rule, sizes: list[int]):
    """The branches after cohorts of the given sizes, those that ended on the way first."""
    front, ended = Front.start(rule), []
    for size in sizes:
        branches = merge(branch(replace(front, size=np.full(front.rows, size, np.int32))), keep_cohort=False)
        decisions = rule.decide(branches.tally)
        over = decisions.stops
        ended.append((branches.tally.take(over), branches.ways[over], decisions.take(over)))
        front, going = onward(branches, decisions)
        last = (branches.tally.take(going), branches.ways[going], decisions.take(going))
    return [*ended, last]


def test_probabilities_of_all_paths_are_those_of_package_escalation(golden):
    cases = paths(golden, "true_prob_tox")
    assert len(cases) == 12
    for case in cases:
        given, expected = case["input"], case["output"]
        p = np.array(given["true_prob_tox"])
        n, dlt, recommended, none = np.zeros(5), np.zeros(5), np.zeros(5), 0.0
        for tally, ways, decisions in walk(Rule(BUILT[given["design"].split("(")[0]]), given["cohort_sizes"]):
            weight = ways * np.prod(p**tally.dlt * (1 - p) ** (tally.n - tally.dlt), axis=1)
            n, dlt = n + weight @ tally.n, dlt + weight @ tally.dlt
            none += weight[decisions.stops].sum()
            going = ~decisions.stops
            np.add.at(recommended, decisions.regimen[going], weight[going])
        assert n == pytest.approx(expected["n_at_dose"], abs=1e-9)
        assert dlt == pytest.approx(expected["tox_at_dose"], abs=1e-9)
        assert recommended == pytest.approx(expected["prob_recommend"], abs=1e-9)
        assert none == pytest.approx(expected["prob_none"], abs=1e-9)
        assert n.sum() == pytest.approx(expected["expected_n"], abs=1e-9)


def test_every_node_of_the_paths_is_that_of_package_escalation(golden):
    checked = 0
    for case in paths(golden, "list"):
        design = BUILT[case["input"]["design"].split("(")[0]]
        for node in case["output"]["nodes"]:
            n, dlt, current = [0] * 5, [0] * 5, 0
            for cohort in node["path"].split():
                current = int(cohort[0]) - 1
                n[current] += len(cohort) - 1
                dlt[current] += cohort.count("T")
            decision = design.decide(Tally.of(n=[n], dlt=[dlt], current=[current]))
            assert bool(decision.stops[0]) is not node["continue"], node
            if node["continue"]:
                assert decision.regimen[0] + 1 == node["next_dose"], node
            checked += 1
    assert checked == 173 + 61 + 173


TABLE = """DLTs,3,6,9,12
0,E,E,E,E
1,S,E,E,E
2,D,S,S,E
3,DU,D,S,S
4,,DU,D,D
5,,DU,DU,D
6,,DU,DU,D
7,,,DU,DU
8,,,DU,DU
9,,,DU,DU
10,,,,DU
11,,,,DU
12,,,,DU
"""
STUDIES = {
    "keyboard": {"design": {"name": "keyboard"}, "max_patients": 24},
    "tpi": {"design": {"name": "tpi", "target": 0.25}, "max_patients": 24},
    "mtpi": {"design": {"name": "mtpi"}, "max_patients": 24, "start": {"dose": 2}},
    "mtpi2": {"design": {"name": "mtpi2", "target": 0.25}, "max_patients": 20, "cohort_size": 2},
    "i3plus3": {
        "design": {"name": "i3plus3"},
        "max_patients": 24,
        "guards": [{"guard": "stop_at_n", "n": 9, "rule": "reached"}],
    },
    "ccd": {
        "design": {"name": "ccd", "stop_when_deescalation_impossible": True},
        "max_patients": 24,
        "guards": [{"guard": "stop_at_n", "n": 9, "rule": "reached_and_stay"}],
    },
    "decision_table": {"design": {"name": "decision_table", "table": TABLE}, "max_patients": 30},
    "boin titrated": {
        "design": {"name": "boin"},
        "titration": {},
        "max_patients": 22,
        "last_cohort": "partial",
        "guards": [
            {"guard": "permitted_increments", "max_increase": 1.0, "after_dlt": 0.5},
            {"guard": "minimum_before_selection", "n": 6},
        ],
    },
}
TRUTH = [0.08, 0.2, 0.35, 0.5]


@pytest.mark.parametrize("name", STUDIES)
def test_exact_and_sampled_agree(agree, study_of, name):
    study = study_of(truth=TRUTH, **STUDIES[name])
    rule = study.protocol.rule
    agree(sample(rule, np.array(TRUTH), 11, 0, 20_000), TrialRows.exact(compile_graph(rule), np.array(TRUTH)), rule)


@pytest.mark.parametrize("name", ["keyboard", "i3plus3", "decision_table", "boin titrated"])
def test_exact_and_calendar_agree(agree, study_of, name):
    study = study_of(
        truth=TRUTH,
        **STUDIES[name],
        scenario={"accrual": {"law": "poisson", "mean_gap_days": 8.0}},
        stagger={"sentinel_days": 7, "between_days": 1},
    )
    rule, scenario = study.protocol.rule, study.scenarios[0]
    rows, _ = CalendarEngine(study.protocol, scenario, study.truth(scenario)).run(5, 0, 3000)
    agree(rows, TrialRows.exact(compile_graph(rule), np.array(TRUTH)), rule)
