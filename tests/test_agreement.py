"""Three engines, one rule: exact, sampled and calendar agree, and BOIN, Keyboard and CRM agree with the R packages.

Where time plays no part (nobody drops out), the calendar's trials have the exact law whatever the
accrual, the stagger, the review lag and whether windows are waited for. All seeds are fixed.
"""

from __future__ import annotations

import numpy as np
import pytest

from escalation.calendar import CalendarEngine
from escalation.exact import compile_graph
from escalation.results import TrialRows
from escalation.sampled import sample
from escalation.simulate import simulate
from escalation.study import load

GRID = [[0.06, 0.14, 0.28], [0.12, 0.26, 0.42]]
TEXTBOOK = {
    "V1": {"overrides": ["protocol.design.variant=V1"]},
    "V2": {"overrides": ["protocol.design.variant=V2"]},
    "V3": {"overrides": ["protocol.design.variant=V3"]},
    "boin": {"design": "boin"},
    "crm": {"design": "crm"},
    "blrm": {"design": "blrm"},
}


def truth_of(study, position=0):
    return study.truth(study.scenarios[position]).probability


def calendar(study, trials, seed, position=0) -> TrialRows:
    scenario = study.scenarios[position]
    rows, _ = CalendarEngine(study.protocol, scenario, study.truth(scenario)).run(seed, 0, trials)
    return rows


# exact and sampled -----------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", range(5), ids=["mtd-3", "even-steps", "mtd-1", "mtd-5", "all-toxic"])
@pytest.mark.parametrize("design", TEXTBOOK)
def test_exact_and_sampled_on_the_textbook_study(agree, design, scenario):
    study = load("textbook-5-doses", **TEXTBOOK[design])
    rule, p = study.protocol.rule, truth_of(study, scenario)
    agree(sample(rule, p, 20 + scenario, 0, 20_000), TrialRows.exact(compile_graph(rule), p), rule)


MORE = {
    "two stages": {"design": {"name": "dose_then_frequency", "variant": "V2", "carry_over": True}, "truth": GRID},
    "frequency first": {"design": {"name": "frequency_then_dose", "variant": "V3"}, "truth": GRID},
    "zigzag": {"design": {"name": "three_plus_three_path", "variant": "V2"}, "truth": GRID},
    "contour": {"design": {"name": "three_plus_three_contour"}, "truth": GRID},
    "boin on the grid": {"design": {"name": "boin_combination"}, "truth": GRID, "max_patients": 15},
    "waterfall": {"design": {"name": "waterfall", "cohorts": [4, 3], "full_at": 6}, "truth": GRID},
    "ivanova-wang": {"design": {"name": "ivanova_wang"}, "truth": GRID, "max_patients": 21},
    "ivanova-wang one by one": {
        "design": {"name": "ivanova_wang", "row_start": "lowest"},
        "truth": GRID,
        "max_patients": 12,
        "cohort_size": 1,
    },
    "pipe": {"design": {"name": "pipe", "strategy": "sample_size_random"}, "truth": GRID, "max_patients": 12},
    "pocrm": {"design": {"name": "pocrm"}, "truth": GRID, "max_patients": 12},
    "blrm on the grid": {"design": {"name": "blrm_combination"}, "truth": GRID, "max_patients": 15},
    "surface-free": {"design": {"name": "surface_free"}, "truth": GRID, "max_patients": 15},
    "expansion": {
        "design": {"name": "three_plus_three", "variant": "V2"},
        "truth": [0.15, 0.3, 0.45],
        "expansion": {"size": 6, "look_every": 3},
    },
    "boin with everything": {
        "design": {"name": "boin", "target": 0.25, "extra_safe": True},
        "truth": [0.15, 0.25, 0.4],
        "max_patients": 29,
        "last_cohort": "partial",
        "cohort_size": 2,
        "guards": [
            {"guard": "too_toxic", "target": 0.25, "certainty": 0.9},
            {"guard": "coherence", "target": 0.25},
            {"guard": "stop_at_n", "n": 9},
        ],
        "expansion": {"size": 8, "look_every": 4, "monitor": {"threshold": 0.25, "pooled": False}},
    },
    "crm without restrictions": {
        "design": {"name": "crm", "no_skipping": False, "coherent": False, "target": 0.3},
        "truth": [0.05, 0.15, 0.3, 0.5],
        "max_patients": 16,
        "cohort_size": 2,
        "guards": [{"guard": "no_skipping"}],
        "start": {"dose": 2},
    },
}


@pytest.mark.parametrize("name", MORE)
def test_exact_and_sampled_on_further_studies(agree, study_of, name):
    study = study_of(**MORE[name])
    rule, p = study.protocol.rule, truth_of(study)
    agree(sample(rule, p, 7, 0, 20_000), TrialRows.exact(compile_graph(rule), p), rule)


# exact and calendar ----------------------------------------------------------------------------

CONDUCT = {
    "certain": {"escalate_when": "certain"},
    "windows": {"escalate_when": "windows_complete"},
    "stagger": {"stagger": {"sentinel_days": 14, "between_days": 3}},
    "review": {"review_lag_days": 9, "escalate_when": "windows_complete"},
    "both": {"stagger": {"sentinel_days": 7, "between_days": 2}, "review_lag_days": 4},
}
PAIRS = [
    ("V1", "certain"),
    ("V1", "both"),
    ("V2", "windows"),
    ("V2", "stagger"),
    ("V3", "review"),
    ("V3", "both"),
    ("boin", "both"),
    ("crm", "windows"),
]

LATE = {"law": "weibull", "late_share": 0.8}


@pytest.mark.parametrize(("design", "conduct"), PAIRS)
def test_exact_and_calendar_on_the_textbook_study(agree, study_of, design, conduct):
    size = 21 if design in ("boin", "crm") else 30
    design = {"name": design} if design in ("boin", "crm") else {"name": "three_plus_three", "variant": design}
    study = study_of(
        design,
        [0.05, 0.15, 0.30, 0.45, 0.60],
        max_patients=size,
        scenario={"accrual": {"law": "poisson", "mean_gap_days": 9.0}},
        **CONDUCT[conduct],
    )
    rule = study.protocol.rule
    agree(calendar(study, 4000, 31), TrialRows.exact(compile_graph(rule), truth_of(study)), rule)


@pytest.mark.parametrize(
    ("name", "conduct", "scenario"),
    [
        ("two stages", "both", {"accrual": {"law": "poisson", "mean_gap_days": 4.0}}),
        ("frequency first", "windows", {"held": {"policy": "turn_away"}}),
        ("zigzag", "stagger", {"accrual": {"law": "fixed", "gap_days": 5.0}, "screen_failure": 0.3}),
        ("contour", "review", {"held": {"policy": "wait", "patience_days": 10}}),
        ("boin on the grid", "certain", {"accrual": {"law": "poisson", "mean_gap_days": 4.0}}),
        ("waterfall", "certain", {"accrual": {"law": "poisson", "mean_gap_days": 4.0}}),
        ("ivanova-wang", "certain", {"accrual": {"law": "poisson", "mean_gap_days": 4.0}}),
        ("ivanova-wang one by one", "windows", {"accrual": {"law": "poisson", "mean_gap_days": 4.0}}),
        ("pipe", "certain", {"accrual": {"law": "poisson", "mean_gap_days": 4.0}}),
        ("blrm on the grid", "windows", {"accrual": {"law": "poisson", "mean_gap_days": 4.0}}),
        ("pocrm", "windows", {"accrual": {"law": "poisson", "mean_gap_days": 4.0}}),
        ("surface-free", "certain", {"accrual": {"law": "poisson", "mean_gap_days": 4.0}}),
        ("expansion", "certain", {"accrual": {"law": "fixed", "gap_days": 1.5}}),
        (
            "expansion",
            "review",
            {"truth": {"table": [0.15, 0.3, 0.45], "onset": {"law": "weibull", "late_share": 0.8}}},
        ),
        ("boin with everything", "certain", {"accrual": {"law": "poisson", "mean_gap_days": 2.0}}),
        ("boin with everything", "windows", {"truth": {"table": [0.15, 0.25, 0.4], "onset": "acute"}}),
    ],
)
def test_exact_and_calendar_on_further_studies(agree, study_of, name, conduct, scenario):
    study = study_of(**MORE[name], **CONDUCT[conduct], scenario=scenario)
    rule = study.protocol.rule
    agree(calendar(study, 4000, 17), TrialRows.exact(compile_graph(rule), truth_of(study)), rule)


def test_common_participants_have_the_same_outcomes_in_both_simulations(study_of):
    """Without a queue the k-th arrival is the k-th participant, so both engines treat the same people."""
    design = {"name": "three_plus_three", "variant": "V2"}
    study = study_of(
        design, [0.1, 0.25, 0.4], expansion={"size": 6}, scenario={"accrual": {"law": "fixed", "gap_days": 40.0}}
    )
    one = sample(study.protocol.rule, truth_of(study), 5, 0, 200)
    other = calendar(study, 200, 5)
    for column in ("n", "dlt", "selected", "reason", "expansion_n", "expansion_dlt", "withdrawn"):
        np.testing.assert_array_equal(getattr(one, column), getattr(other, column), err_msg=column)


@pytest.mark.parametrize(
    ("p", "smaller"), [([0.1, 0.25, 0.4], True), ([0.3, 0.5, 0.7], True), ([0.0, 0.0, 0.0], False)]
)
@pytest.mark.parametrize("variant", ["V1", "V2", "V3"])
def test_closing_a_cohort_early_treats_fewer_and_selects_alike(agree, study_of, variant, p, smaller):
    """Once two of a 3+3 cohort have a DLT its open places decide nothing; leaving them empty changes only the size."""
    build = {
        "design": {"name": "three_plus_three", "variant": variant},
        "truth": p,
        "stagger": {"sentinel_days": 28, "between_days": 28},
    }
    filled = study_of(**build)
    closed = study_of(**build, close_cohort_when_certain=True)
    rule = filled.protocol.rule
    exact = TrialRows.exact(compile_graph(rule), np.array(p))
    rows = calendar(closed, 3000, 3)
    for column in ("selected", "no_selection", "three_plus_three"):
        agree(rows, exact, rule, only=column)
    before = exact.weight @ exact.n.sum(axis=1)
    after = rows.n.sum(axis=1).mean()
    assert (after < before - 0.05) if smaller else (after == before)


# the R packages --------------------------------------------------------------------------------


def compare(rows: TrialRows, trials: int, printed: dict[str, tuple[np.ndarray, float]]) -> None:
    """Printed means of simulated trials against an exact law, within 4 standard errors of the simulation.

    A number is printed with the rounding given beside it; shares too small to be seen are allowed one trial.
    """
    values = {
        "selected": rows.selected.astype(float),
        "none": (~rows.selected.any(axis=1)).astype(float)[:, None],
        "n": rows.n.astype(float),
        "dlt": rows.dlt.astype(float),
        "total": rows.n.sum(axis=1).astype(float)[:, None],
    }
    for name, (numbers, rounding) in printed.items():
        mean = rows.weight @ values[name]
        error = np.sqrt(np.maximum(rows.weight @ (values[name] - mean) ** 2, 0) / trials)
        off = np.abs(np.atleast_1d(numbers) - mean) - rounding - 1.5 / trials
        assert (off <= 4 * error).all(), (name, numbers, mean, error)


SWITCHES = {"extrasafe": "extra_safe", "boundMTD": "bound_mtd"}


@pytest.mark.parametrize("position", range(15))
def test_boin_has_the_operating_characteristics_of_the_package(golden, study_of, position):
    given, expected = (golden("boin_get_oc")[position][part] for part in ("input", "output"))
    switches = {ours: True for theirs, ours in SWITCHES.items() if given.get(theirs)}
    stop = {"guard": "stop_at_n", "n": given["n.earlystop"], "rule": "reached_and_stay"}
    study = study_of(
        {"name": "boin", "target": given["target"], **switches},
        given["p.true"],
        max_patients=given["cohortsize"] * given["ncohort"],
        cohort_size=given["cohortsize"],
        last_cohort="partial",
        start={"dose": given.get("startdose", 1)},
        guards=[stop] if given["n.earlystop"] < 100 else [],
        titration={} if given.get("titration") else None,
    )
    check_against_get_oc(study, given, expected)


@pytest.mark.parametrize("position", range(3))
def test_keyboard_has_the_operating_characteristics_of_the_package(golden, study_of, position):
    given, expected = (golden("keyboard_get_oc")[position][part] for part in ("input", "output"))
    design = {"name": "keyboard", "target": given["target"]}
    study = study_of(design, given["p.true"], max_patients=given["cohortsize"] * given["ncohort"])
    check_against_get_oc(study, given, expected)


def check_against_get_oc(study, given, expected) -> None:
    rows = TrialRows.exact(compile_graph(study.protocol.rule), np.array(given["p.true"]))
    compare(
        rows,
        given["ntrial"],
        {
            "selected": (np.array(expected["selpercent"]) / 100, 5e-5),
            "none": (expected["percentstop"] / 100, 5e-5),
            "n": (np.array(expected["npatients"]), 5e-5),
            "dlt": (np.array(expected["ntox"]), 5e-5),
            "total": (expected["totaln"], 5e-5),
        },
    )


# BOIN rows of Zhao et al. (2024) Clin Cancer Res, Table 4: target .25, 10 cohorts of 3, n.earlystop 9, one DLT of three
# stays; correct and too high selections in percent, participants below, at and above the MTD, and in all.
ZHAO = [
    ([0.25, 0.41, 0.45, 0.49, 0.53], 0, 77.0, 16.7, (0.0, 8.7, 6.2), 15.1),
    ([0.04, 0.12, 0.25, 0.43, 0.63], 2, 56.7, 12.3, (11.4, 8.0, 4.6), 23.9),
    ([0.02, 0.05, 0.08, 0.11, 0.25], 4, 63.9, 0.0, (17.6, 7.3, 0.0), 24.9),
]


@pytest.mark.parametrize(("p", "mtd", "correct", "high", "patients", "size"), ZHAO)
def test_boin_with_early_stopping_as_published(study_of, p, mtd, correct, high, patients, size):
    """Simulated trials whose number is not stated: within 2 percentage points, and .4 participants."""
    study = study_of(
        {"name": "boin", "target": 0.25, "stay_on_1_of_3": True},
        p,
        max_patients=30,
        guards=[{"guard": "stop_at_n", "n": 9, "rule": "reached_and_stay"}],
    )
    rows = TrialRows.exact(compile_graph(study.protocol.rule), np.array(p))
    selected, n = 100 * (rows.weight @ rows.selected), rows.weight @ rows.n
    assert selected[mtd] == pytest.approx(correct, abs=2)
    assert selected[mtd + 1 :].sum() == pytest.approx(high, abs=2)
    assert (n[:mtd].sum(), n[mtd], n[mtd + 1 :].sum()) == pytest.approx(patients, abs=0.4)
    assert n.sum() == pytest.approx(size, abs=0.4)


PUBLISHED = {
    (0.05, 0.15, 0.30, 0.45, 0.60): (
        "1.045 23.25 55.05 19.20 1.43",
        0.025,
        29.993,
        "4.147 9.169 11.131 4.764 .782",
        ".206 1.368 3.334 2.154 .474",
    ),
    (0.1, 0.2, 0.3, 0.4, 0.5): (
        "4.295 29.125 41.06 20.60 4.655",
        0.265,
        29.935,
        "5.857 9.798 8.982 4.152 1.146",
        ".590 1.949 2.698 1.660 .574",
    ),
    (0.30, 0.45, 0.55, 0.65, 0.75): (
        "63.615 16.66 1.695 .09 0",
        17.94,
        26.607,
        "18.629 6.677 1.178 .117 .006",
        "5.582 2.999 .648 .075 .005",
    ),
    (0.02, 0.04, 0.08, 0.15, 0.30): (
        ".015 .11 2.10 26.79 70.98",
        0.005,
        29.999,
        "3.224 3.498 4.502 7.481 11.292",
        ".068 .134 .357 1.123 3.391",
    ),
    (0.45, 0.55, 0.65, 0.70, 0.75): (
        "30.265 1.495 .07 .005 0",
        68.165,
        17.797,
        "15.570 2.023 .194 .009 0",
        "7.005 1.117 .124 .007 0",
    ),
}


@pytest.mark.parametrize("p", PUBLISHED, ids=str)
def test_boin_on_twenty_thousand_trials_of_the_package(study_of, p):
    chosen, none, size, patients, dlts = PUBLISHED[p]
    rows = TrialRows.exact(compile_graph(study_of({"name": "boin"}, p, max_patients=30).protocol.rule), np.array(p))

    def listed(text: str) -> np.ndarray:
        return np.array([float(x) for x in text.split()])

    printed = {
        "selected": (listed(chosen) / 100, 5e-5),
        "none": (none / 100, 5e-6),
        "n": (listed(patients), 5e-4),
        "dlt": (listed(dlts), 5e-4),
        "total": (size, 5e-4),
    }
    compare(rows, 20_000, printed)


@pytest.mark.parametrize("position", [0, 1, 3, 4, 6, 7, 9])
def test_crm_has_the_operating_characteristics_of_dfcrm(golden, study_of, position):
    given, expected = (golden("dfcrm_sims")[position][part] for part in ("input", "output"))
    assert (given["fn"], given["mcohort"]) == ("crmsim", 3)
    design = {"name": "crm", "target": given["target"], "skeleton": given["prior"]}
    if given.get("model") == "logistic":
        design["model"] = "logistic"
    if given.get("method") == "mle":
        design |= {"estimate": "mle", "stage_one": given["x0"]}
    else:
        assert given["x0"] == 1
    study = study_of(design, given["PI"], max_patients=given["n"])
    rows = TrialRows.exact(compile_graph(study.protocol.rule), np.array(given["PI"]))
    compare(
        rows,
        given["nsim"],
        {
            "selected": (np.array(expected["MTD"]), 1e-9),
            "n": (np.array(expected["level"]), 1e-9),
            "dlt": (np.array(expected["tox"]), 1e-9),
        },
    )


# designs that read follow-up times -------------------------------------------------------------

CLOCKS = {
    "tite_crm": {"name": "tite_crm", "target": 0.3},
    "tite_boin": {"name": "tite_boin", "target": 0.3, "estimator": "ess"},
    "rolling_six": {"name": "rolling_six"},
    "iq": {"name": "rolling_six", "variant": "iq"},
}


@pytest.mark.parametrize("name", CLOCKS)
def test_with_windows_complete_they_have_the_exact_law_of_the_calendar(agree, study_of, name):
    study = study_of(CLOCKS[name], [0.1, 0.2, 0.35, 0.5], max_patients=18, escalate_when="windows_complete")
    rule, p = study.protocol.rule, truth_of(study)
    exact = TrialRows.exact(compile_graph(rule), p)
    agree(sample(rule, p, 3, 0, 20_000), exact, rule)
    agree(calendar(study, 1500, 9), exact, rule)


@pytest.mark.parametrize("name", CLOCKS)
def test_arrivals_further_apart_than_a_window_leave_nothing_open(agree, study_of, name):
    """Nobody comes before the last window is complete: decisions by the clock have the exact law too."""
    scenario = {"accrual": {"law": "fixed", "gap_days": 40}}
    study = study_of(CLOCKS[name], [0.1, 0.2, 0.35, 0.5], max_patients=18, scenario=scenario, cohort_size=1)
    rule, p = study.protocol.rule, truth_of(study)
    agree(calendar(study, 800, 4), TrialRows.exact(compile_graph(rule), p), rule)


def test_auto_lets_windows_be_open(study_of):
    study = study_of(CLOCKS["tite_crm"], [0.1, 0.2, 0.35, 0.5], max_patients=9)
    assert simulate(study, trials=4).engine == "calendar"
    exact = simulate(study, engine="exact")
    assert exact.engine == "exact"
    assert "every window is taken as complete" in exact.notes[0]
    waiting = study_of(CLOCKS["tite_crm"], [0.1, 0.2, 0.35, 0.5], max_patients=9, escalate_when="windows_complete")
    assert (simulate(waiting).engine, simulate(waiting).notes) == ("exact", ())


def test_late_onset_designs_shorten_the_trial(study_of):
    """The same people treated with windows open and with windows complete: months apart, as much toxicity as due."""
    scenario = {"accrual": {"law": "fixed", "gap_days": 10}}
    found = {}
    for when in ("certain", "windows_complete"):
        study = study_of(
            {"name": "tite_crm", "target": 0.3},
            [0.1, 0.2, 0.3, 0.45, 0.6],
            max_patients=30,
            scenario=scenario,
            escalate_when=when,
            dlt_window={"days": 84},
        )
        rows = calendar(study, 200, 5)
        found[when] = rows.calendar.duration_days.mean(), rows.selected[:, 2].mean(), rows.n.sum(axis=1)
    assert found["certain"][0] < 0.6 * found["windows_complete"][0]
    assert found["certain"][1] > 0.3
    assert (found["certain"][2] == 30).all()
