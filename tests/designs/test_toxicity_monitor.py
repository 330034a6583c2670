"""Toxicity monitoring of one regimen: boundaries against peers and enumeration, the engines, and what is refused."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from designs.stopping_boundaries import crossing, listed_boundary, looks_at, pocock_boundary, pointwise_boundary
from designs.toxicity_monitor import ToxicityMonitor, ToxicityMonitorParameters
from escalation.advice import Advisor
from escalation.calendar import CalendarEngine
from escalation.decision import Action
from escalation.design import Setting
from escalation.errors import DesignError, StudyError
from escalation.exact import compile_graph
from escalation.numerics import NEVER
from escalation.outcomes import replay
from escalation.pathways import pathways
from escalation.regimens import RegimenGrid
from escalation.results import TrialRows
from escalation.sampled import sample
from escalation.study import Study, validate
from escalation.tally import Tally
from escalation.verify import verify

GRID = RegimenGrid(doses=(4,), schedules=((0, 7),))
TABLE = {"boundary": "table", "stop_at": [[2, 3], [2, 6], [3, 9]]}


def design_of(most: int, group: int = 1, **parameters) -> ToxicityMonitor:
    made = ToxicityMonitorParameters.model_validate_json(
        ToxicityMonitorParameters(**parameters).model_dump_json(), strict=True
    )
    return ToxicityMonitor(made, Setting(GRID, cohort_size=group, start=0, max_patients=most))


def study_of(truth: float = 0.2, *, most: int = 9, group: int = 3, design: dict | None = None, **protocol) -> Study:
    return validate(
        {
            "schema": 1,
            "id": "test",
            "title": "A study written in a test",
            "family": "single_arm",
            "protocol": {
                "regimens": {"doses": [4], "frequencies": [[0, 7]]},
                "design": {"name": "toxicity_monitor"} | (TABLE if design is None else design),
                "cohort_size": group,
                "max_patients": most,
                **protocol,
            },
            "criteria": {"mtd_rule": "largest_le", "target": 0.25},
            "scenarios": [{"name": "assumed", "truth": [truth], "accrual": {"law": "poisson", "mean_gap_days": 5}}],
        }
    )


# boundaries ----------------------------------------------------------------------------------


def test_the_pocock_type_boundary_is_that_of_the_r_packages(golden):
    for case in golden("toxicity_boundaries"):
        given, wanted = case["input"], case["output"]
        boundary, _ = pocock_boundary(given["looks"], given["limit"], given["overall"])
        assert boundary[given["looks"]].tolist() == wanted["stop_at"]
        share, participants = wanted["decimals"]
        for p, crossed, expected in wanted["characteristics"]:
            got = crossing(boundary, given["looks"], p)
            assert got[0] == pytest.approx(crossed, abs=0.5 * 10**-share + 1e-9)
            assert got[1] == pytest.approx(expected, abs=0.5 * 10**-participants + 1e-9)


@pytest.mark.parametrize(
    ("limit", "overall", "most", "group"), [(0.2, 0.1, 12, 1), (0.3, 0.05, 12, 3), (0.1, 0.2, 11, 4)]
)
def test_crossing_is_the_sum_over_every_sequence_of_outcomes(limit, overall, most, group):
    looks = looks_at(group, 1, most)
    boundary, _ = pocock_boundary(looks, limit, overall)
    for p in (limit, 0.4):
        stopped = participants = 0.0
        for sequence in product((0, 1), repeat=most):
            chance = p ** sum(sequence) * (1 - p) ** (most - sum(sequence))
            crossed = [n for n in looks if sum(sequence[:n]) >= boundary[n]]
            stopped += chance * bool(crossed)
            participants += chance * (crossed[0] if crossed else most)
        assert crossing(boundary, looks, p) == pytest.approx((stopped, participants), abs=1e-12)


@settings(max_examples=60)
@given(
    most=st.integers(1, 40),
    group=st.integers(1, 6),
    limit=st.floats(0.02, 0.6),
    overall=st.floats(0.01, 0.3),
)
def test_the_pocock_level_is_the_largest_that_keeps_the_overall_probability(most, group, limit, overall):
    looks = looks_at(group, 1, most)
    found = pocock_boundary(looks, limit, overall)
    if found is None:
        assert limit**most > overall * (1 - 1e-9) or min(binom.pmf(n, n, limit) for n in looks) > overall * (1 - 1e-9)
        return
    boundary, level = found
    assert crossing(boundary, looks, limit)[0] <= overall * (1 + 1e-8)
    tails = np.concatenate([binom.sf(np.arange(n + 1) - 1, n, limit) for n in looks])
    above = tails[tails > level * (1 + 1e-6)]
    if above.size:  # the next pointwise level there is stops too often
        bolder = pointwise_boundary(most, limit, float(above.min()))
        assert crossing(bolder, looks, limit)[0] > overall * (1 - 1e-8)


BOUNDARIES = st.one_of(
    st.builds(
        lambda limit, overall: {"boundary": "pocock", "limit": limit, "overall": overall},
        st.floats(0.05, 0.5),
        st.floats(0.02, 0.3),
    ),
    st.builds(
        lambda limit, certainty, a, b: {"boundary": "bayes", "limit": limit, "certainty": certainty, "prior": (a, b)},
        st.floats(0.05, 0.5),
        st.floats(0.6, 0.99),
        st.floats(0.1, 3),
        st.floats(0.1, 3),
    ),
)


@settings(max_examples=60)
@given(most=st.integers(2, 40), group=st.integers(1, 5), parameters=BOUNDARIES)
def test_a_boundary_rises_with_the_number_evaluable_by_at_most_one_a_participant(most, group, parameters):
    try:
        boundary = design_of(most, group, **parameters).boundary
    except DesignError:
        return  # so few participants that nothing is rare enough
    reached = boundary[boundary < NEVER].astype(int)
    assert set(np.diff(reached)) <= {0, 1}
    first = np.flatnonzero(boundary < NEVER)
    assert first.size == 0 or np.array_equal(first, np.arange(first[0], most + 1))  # once it can stop, it always can
    assert np.all(reached >= 1)


@settings(max_examples=40)
@given(certainty=st.floats(0.6, 0.99), limit=st.floats(0.05, 0.6), minimum=st.integers(1, 6))
def test_the_bayesian_boundary_is_the_posterior_probability(certainty, limit, minimum):
    design = design_of(20, boundary="bayes", limit=limit, certainty=certainty, minimum=minimum, prior=(0.5, 1.5))
    for n in range(1, 21):
        dlt = np.arange(n + 1)
        above = beta.sf(limit, 0.5 + dlt, 1.5 + n - dlt)
        if np.any(np.abs(above - certainty) < 1e-9):
            continue
        stops = (above > certainty) & (dlt > 0) & (n >= minimum)
        assert np.array_equal(dlt >= design.boundary[n], stops)


def test_a_number_that_stops_at_the_next_listed_size_stops_at_once():
    assert listed_boundary([(2, 3), (2, 6), (3, 9)], 9).tolist() == [2, 2, 2, 2, 2, 2, 2, 3, 3, 3]
    continuous, groups = (study_of(0.3, group=size).protocol.rule for size in (1, 3))
    chance = [
        compile_graph(rule).probabilities([0.3])[0] @ ~compile_graph(rule).selected[:, 0]
        for rule in (continuous, groups)
    ]
    assert chance[0] == pytest.approx(chance[1], abs=1e-12)  # the same trials stop, only sooner
    size = [compile_graph(rule).probabilities([0.3])[0] @ compile_graph(rule).n[:, 0] for rule in (continuous, groups)]
    assert size[0] < size[1]


# engines -------------------------------------------------------------------------------------

DESIGNS = {
    "table": (TABLE, 9, 3),
    "pocock": ({"boundary": "pocock", "limit": 0.2, "overall": 0.1}, 20, 1),
    "pocock in groups": ({"boundary": "pocock", "limit": 0.2, "overall": 0.1}, 20, 6),
    "bayes": ({"boundary": "bayes", "limit": 0.25, "certainty": 0.8, "minimum": 4}, 17, 1),
    "none": ({"boundary": "none"}, 7, 2),
}


def named(name: str, truth: float, **protocol) -> Study:
    design, most, group = DESIGNS[name]
    return study_of(truth, design=design, most=most, group=group, **protocol)


@pytest.mark.parametrize("truth", [0.05, 0.2, 0.45])
@pytest.mark.parametrize("name", DESIGNS)
def test_the_exact_engine_is_the_recursion_over_looks(name, truth):
    study = named(name, truth)
    rule = study.protocol.rule
    rows = TrialRows.exact(compile_graph(rule), np.array([truth]))
    stopped, participants = crossing(rule.design.boundary, rule.design.looks, truth)
    assert rows.weight @ ~rows.selected[:, 0] == pytest.approx(stopped, abs=1e-12)
    assert rows.weight @ rows.total == pytest.approx(participants, abs=1e-12)
    assert rows.weight @ rows.total_dlt == pytest.approx(truth * participants, abs=1e-12)  # Wald's identity


@pytest.mark.parametrize("truth", [0.1, 0.35])
@pytest.mark.parametrize("name", DESIGNS)
def test_exact_and_sampled_agree(agree, name, truth):
    rule = named(name, truth).protocol.rule
    p = np.array([truth])
    agree(sample(rule, p, 3, 0, 20_000), TrialRows.exact(compile_graph(rule), p), rule)


@pytest.mark.parametrize("when", ["certain", "windows_complete"])
@pytest.mark.parametrize("name", DESIGNS)
def test_exact_and_calendar_agree_whatever_is_waited_for(agree, name, when):
    study = named(name, 0.3, escalate_when=when, stagger={"sentinel_days": 3, "between_days": 1}, review_lag_days=2)
    scenario = study.scenarios[0]
    rows, _ = CalendarEngine(study.protocol, scenario, study.truth(scenario)).run(5, 0, 800)
    agree(rows, TrialRows.exact(compile_graph(study.protocol.rule), np.array([0.3])), study.protocol.rule)


def test_accrual_goes_on_while_no_pending_outcome_can_stop_the_trial():
    days = {}
    for when in ("certain", "windows_complete"):
        study = named("pocock", 0.05, escalate_when=when)
        scenario = study.scenarios[0]
        rows, _ = CalendarEngine(study.protocol, scenario, study.truth(scenario)).run(1, 0, 100)
        days[when] = rows.calendar.duration_days.mean()
        assert np.all(rows.calendar.enrolment_days + 28 >= rows.calendar.duration_days)
    assert days["certain"] < days["windows_complete"] / 2


# decisions -----------------------------------------------------------------------------------


def advice(study: Study, outcomes: str):
    advisor = Advisor(study.protocol.rule, windows_complete=study.protocol.escalate_when == "windows_complete")
    return advisor.advise(replay(study.protocol.rule, outcomes, advisor=advisor).state)


@pytest.mark.parametrize(
    ("outcomes", "action", "size", "reason"),
    [
        ("", Action.STAY, 3, "trial.cohort_open"),
        ("1NNT", Action.STAY, 3, "toxicity_monitor.below_boundary"),
        ("1TT", Action.STOP, 0, "toxicity_monitor.boundary_reached"),  # the third cannot undo it
        ("1NNN 1NTT", Action.STOP, 0, "toxicity_monitor.boundary_reached"),
        ("1NNN 1NTP", Action.WAIT, 0, "trial.outcomes_pending"),
        ("1NNN 1NNT 1NNT", Action.STOP, 0, "toxicity_monitor.complete"),
        ("1NNN 1NNT 1NTT", Action.STOP, 0, "toxicity_monitor.boundary_reached"),
    ],
)
def test_decisions_of_the_table(outcomes, action, size, reason):
    found = advice(study_of(), outcomes)
    assert (found.action, found.size, found.reasons[0]) == (action, size, reason)
    assert found.selected == ((0,) if reason == "toxicity_monitor.complete" else ())


def test_the_last_group_is_as_large_as_the_places_left():
    study = study_of(design={"boundary": "pocock"}, most=7, group=3)
    assert study.protocol.rule.design.looks == (3, 6, 7)
    assert advice(study, "1NNN 1NNN").size == 1


def test_participants_beyond_the_planned_number_meet_its_boundary():
    design = design_of(9, 3, **{**TABLE, "stop_at": ((2, 3), (2, 6), (3, 9))})
    decisions = design.decide(Tally.of(n=[[10], [10]], dlt=[[2], [3]], current=[0, 0]))
    assert decisions.reason.tolist() == [2, 1]


def test_the_table_is_the_boundary():
    table = study_of().protocol.rule.design.table()
    assert table.n == tuple(range(1, 10))
    assert table.eliminate_if_at_least == (None, 2, 2, 2, 2, 2, 3, 3, 3)
    assert set(table.escalate_if_at_most) == set(table.de_escalate_if_at_least) == {None}


@pytest.mark.parametrize("name", DESIGNS)
def test_every_property_of_one_regimen_holds(name):
    proof = verify(named(name, 0.2).protocol.rule)
    assert proof.holds
    names = {verdict.name for verdict in proof.verdicts}
    assert {"eliminated_stays_closed", "within_maximum_size", "always_ends"} <= names
    assert not names & {"no_skipping", "coherent", "one_axis_at_a_time"}  # they need a second regimen
    assert "toxicity_monitor.a_further_dlt_never_undoes_a_stop_for_toxicity" in names


def test_a_boundary_that_is_not_kept_is_found():
    class Lenient(ToxicityMonitor):
        def _reached(self, tally):
            return super()._reached(tally) & (tally.n[:, 0] != 6)

    study = study_of()
    rule = study.protocol.rule
    proof = verify(type(rule)(Lenient(rule.design.parameters, rule.design.setting), rule.guards))
    broken = {verdict.name: verdict.counterexample for verdict in proof.verdicts if not verdict.holds}
    assert "toxicity_monitor.stops_at_every_pair_of_the_table" in broken


def test_pathways_of_one_regimen():
    study = study_of(0.1)
    advisor = Advisor(study.protocol.rule)
    start = replay(study.protocol.rule, "", advisor=advisor).state
    nodes = pathways(advisor, start, "", 3, np.array([0.1]))
    ends = [node for node in nodes if node.advice.action == Action.STOP]
    assert sum(node.probability for node in ends) == pytest.approx(1)
    stopped = sum(node.probability for node in ends if not node.advice.selected)
    assert stopped == pytest.approx(crossing(study.protocol.rule.design.boundary, (3, 6, 9), 0.1)[0])


# what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("design", "words"),
    [
        ({"boundary": "table"}, "needs its numbers"),
        ({"boundary": "table", "stop_at": [[4, 3], [4, 9]]}, "4 of 3"),
        ({"boundary": "table", "stop_at": [[2, 3], [1, 9]]}, "never fewer DLTs"),
        ({"boundary": "table", "stop_at": [[2, 6], [2, 3]]}, "more participants each time"),
        ({"boundary": "table", "stop_at": [[2, 3], [2, 6]]}, "ends at 6 participants and protocol.max_patients is 9"),
        ({"boundary": "pocock", "stop_at": [[2, 3]]}, "not used"),
        ({"boundary": "pocock", "limit": 0.9, "overall": 1e-3}, "no boundary for 9 participants"),
        ({"boundary": "bayes", "prior": [0, 1]}, "must be positive"),
        ({"boundary": "bayes", "minimum": 10}, "no look with 10 or more among 9 participants"),
        ({"boundary": "weekly"}, "weekly"),
    ],
)
def test_a_boundary_that_cannot_work_is_refused(design, words):
    with pytest.raises(StudyError, match=words):
        study_of(design=design)


def test_several_regimens_are_refused():
    with pytest.raises(StudyError, match="watches one regimen, and the study has 2"):
        study_of(regimens={"doses": [1, 2], "frequencies": [[0]]})


def test_the_planned_number_is_needed():
    with pytest.raises(StudyError, match=r"protocol\.max_patients"):
        study_of(max_patients=None)
    design = ToxicityMonitor(ToxicityMonitorParameters(), Setting(GRID, cohort_size=1, start=0))
    with pytest.raises(DesignError, match="needs the planned number"):
        design.decide(Tally.of(n=[[1]], dlt=[[0]], current=[0]))
