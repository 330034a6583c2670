from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from designs.boin import Boin, BoinParameters
from designs.tite_boin import TiteBoin, TiteBoinParameters
from escalation.branching import Front, branch, merge, onward
from escalation.decision import Action
from escalation.design import Setting
from escalation.guards import MaximumSize
from escalation.regimens import RegimenGrid
from escalation.rule import Rule
from escalation.tally import Tally

NEXT = [
    case
    for case in json.loads((Path(__file__).parents[1] / "golden" / "titegboin.json").read_text(encoding="utf-8"))[
        "cases"
    ]
    # the package also scores toxicities; fractional numbers of DLTs are another design
    if case["input"]["fn"] == "next_TITE_QuasiBOIN" and all(float(y).is_integer() for y in case["input"]["y"])
]


def tite(levels: int = 3, **parameters: Any) -> TiteBoin:
    grid = RegimenGrid(doses=tuple(range(1, levels + 1)), schedules=((0,),))
    return TiteBoin(TiteBoinParameters(**parameters), Setting(grid, 3, 0, 30))


def at_level_2(treated: int, dlt: int, pending: int, followed: float) -> Tally:
    return Tally.of(
        n=[[3, treated - pending, 0]],
        dlt=[[0, dlt, 0]],
        pending=[[0, pending, 0]],
        exposure=[[0, followed, 0]],
        current=[1],
    )


def says(design: TiteBoin, tally: Tally) -> str:
    decision = design.decide(tally)
    word = Action(int(decision.action[0])).word
    return "eliminate" if design.eliminated(tally)[0, 1] else word


# Yuan et al. design for phi = .20, table in PMC9260438: treated, DLTs, pending up to, decision
TABLE = [
    (3, 0, range(2), "escalate"),
    (3, 0, range(2, 4), "wait"),
    (3, 1, range(3), "de_escalate"),
    (3, 2, range(2), "eliminate"),
    (3, 3, range(1), "eliminate"),
    (6, 0, range(4), "escalate"),
    (6, 0, range(4, 7), "wait"),
    (6, 1, range(4), "stay"),
    (6, 1, range(4, 6), "wait"),
    (6, 2, range(5), "de_escalate"),
    (6, 3, range(4), "eliminate"),
    (9, 0, range(5), "escalate"),
    (9, 0, range(5, 10), "wait"),
    (9, 1, range(3), "escalate"),
    (9, 1, range(5, 9), "wait"),
    (9, 2, range(1), "stay"),
    (9, 2, range(5, 8), "wait"),
    (9, 3, range(7), "de_escalate"),
    (9, 4, range(6), "eliminate"),
]
# treated, DLTs, pending, total follow-up, at it and just beyond it on the other side
THRESHOLDS = [
    (9, 1, 3, 0.77, "escalate", "stay"),
    (9, 1, 4, 2.15, "escalate", "stay"),
    (9, 2, 1, 0.52, "stay", "de_escalate"),
    (9, 2, 2, 1.59, "stay", "de_escalate"),
    (9, 2, 3, 2.66, "stay", "de_escalate"),
    (9, 2, 4, 3.73, "stay", "de_escalate"),
]


@pytest.mark.parametrize(("treated", "dlt", "pending", "decision"), TABLE)
def test_the_published_table(treated, dlt, pending, decision):
    design = tite(target=0.2, single_dlt_stays=True)
    for waiting in pending:
        for followed in np.linspace(0, waiting, 5):
            assert says(design, at_level_2(treated, dlt, waiting, followed)) == decision, (waiting, followed)


@pytest.mark.parametrize(("treated", "dlt", "pending", "follow_up", "more", "less"), THRESHOLDS)
def test_the_published_follow_up_thresholds(treated, dlt, pending, follow_up, more, less):
    """Printed to two decimals: half a unit of the last one on either side decides as printed."""
    for options in ({}, {"single_dlt_stays": True}):
        design = tite(target=0.2, **options)
        assert says(design, at_level_2(treated, dlt, pending, follow_up + 0.006)) == more
        assert says(design, at_level_2(treated, dlt, pending, follow_up - 0.006)) == less


@pytest.mark.parametrize(("pending", "threshold"), [(2, 0.473), (3, 1.864)])
def test_the_one_row_where_the_formula_leaves_the_table(pending, threshold):
    formula, table = tite(target=0.2), tite(target=0.2, single_dlt_stays=True)
    for followed, word in ((threshold - 0.001, "de_escalate"), (threshold + 0.001, "stay")):
        assert says(formula, at_level_2(6, 1, pending, followed)) == word
        assert says(table, at_level_2(6, 1, pending, followed)) == "stay"


@pytest.mark.parametrize(
    ("treated", "dlt", "pending", "threshold", "more", "less"),
    [
        (9, 1, 3, 0.36, "escalate", "stay"),
        (9, 1, 4, 1.36, "escalate", "stay"),
        (9, 2, 1, 0.387, "stay", "de_escalate"),
        (9, 2, 2, 1.387, "stay", "de_escalate"),
        (9, 2, 4, 3.387, "stay", "de_escalate"),
        (6, 1, 2, 0.193, "stay", "de_escalate"),
    ],
)
def test_the_effective_sample_size_is_another_design(treated, dlt, pending, threshold, more, less):
    design = tite(target=0.2, estimator="ess")
    assert says(design, at_level_2(treated, dlt, pending, threshold + 0.002)) == more
    assert says(design, at_level_2(treated, dlt, pending, threshold - 0.002)) == less


def test_the_cases_are_here():
    assert len(NEXT) == 47


@pytest.mark.parametrize("case", NEXT)
def test_decisions_are_those_of_titegboin(case):
    given, expected = case["input"], case["output"]
    levels = len(given["n"])
    pending = np.array(given["npend"] or [0] * levels)
    followed = np.array(given["ft"] or [0] * levels) / (given["maxt"] or 1)
    design = tite(
        levels,
        target=given["target"],
        estimator="ess",
        eliminate_by="estimate",
        suspend_first=True,
        suspend_at_lowest=True,
        max_pending=given["maxpen"] or 0.5,
    )
    tally = Tally.of(
        n=[np.array(given["n"]) - pending],
        dlt=[given["y"]],
        pending=[pending],
        exposure=[followed],
        current=[given["d"] - 1],
    )
    decision = design.decide(tally)
    assert decision.regimen[0] + 1 == expected["d"]
    assert (decision.action[0] == Action.WAIT) == bool(expected["pending"])
    assert design.eliminated(tally)[0].astype(int).tolist() == expected["elimi"]


@pytest.mark.parametrize("estimator", ["imputation", "ess"])
@pytest.mark.parametrize("target", [0.2, 0.25, 0.3])
def test_with_every_window_complete_it_is_boin(estimator, target):
    """On every state BOIN reaches with 18 participants: the same level, elimination and selection."""
    setting = Setting(RegimenGrid(doses=(1, 2, 3, 4), schedules=((0,),)), 3, 0, 18)
    boin = Boin(BoinParameters(target=target), setting)
    timed = TiteBoin(TiteBoinParameters(target=target, estimator=estimator), setting)
    rule = Rule(boin, (MaximumSize(limit=18),))
    front, states = Front.start(rule), 0
    while front.rows:
        branches = merge(branch(front), keep_cohort=False)
        tally = branches.tally
        one, other = boin.decide(tally), timed.decide(tally)
        for name in ("action", "regimen", "size"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name
        assert np.array_equal(boin.eliminated(tally), timed.eliminated(tally))
        assert np.array_equal(boin.select(tally), timed.select(tally))
        states += tally.rows
        front, _ = onward(branches, rule.decide(tally))
    assert states > 400


@pytest.fixture(scope="module")
def many() -> Tally:
    """States with pending participants, some nobody would reach."""
    generator = np.random.default_rng(11)
    n, pending = generator.integers(0, 8, (3000, 4)), generator.integers(0, 5, (3000, 4))
    return Tally.of(
        n=n,
        dlt=generator.binomial(n, 0.25),
        pending=pending,
        exposure=pending * generator.uniform(0, 1, (3000, 4)),
        current=generator.integers(0, 4, 3000),
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"estimator": "ess"}, {"eliminate_by": "estimate", "suspend_first": True, "suspend_at_lowest": True}],
)
def test_promises_and_order_with_windows_open(many, options):
    design = tite(4, target=0.25, **options)
    decisions = design.decide(many)
    for promise in design.properties():
        assert not promise.breaks(many, decisions).any(), promise.name
    codes = {design.reasons[reason].code for reason in decisions.reason}
    assert {"tite_boin.suspended", "tite_boin.between", "tite_boin.certain"} <= codes
    row = np.arange(25)
    for k in row:
        alone = design.decide(many.take(slice(k, k + 1)))
        assert (alone.regimen[0], alone.reason[0]) == (decisions.regimen[k], decisions.reason[k])


def test_every_reason_is_reached(many):
    reached = set()
    for options in ({}, {"suspend_at_lowest": True}):
        design = tite(4, target=0.25, **options)
        reached |= {design.reasons[reason].code for reason in design.decide(many).reason}
    nobody = design.decide(Tally.of(n=[[0] * 4], dlt=[[0] * 4], current=[0]))
    reached.add(design.reasons[nobody.reason[0]].code)
    assert reached == {reason.code for reason in TiteBoin.reasons}
    assert all(reason.line.endswith(".") and len(reason.paragraph) > 90 for reason in TiteBoin.reasons)


def test_more_follow_up_never_raises_the_estimate(many):
    design = tite(4)
    for estimator in ("imputation", "ess"):
        design = tite(4, estimator=estimator)
        more = many.exposure + 0.3 * (many.pending - many.exposure)
        later = Tally.of(n=many.n, dlt=many.dlt, pending=many.pending, exposure=more, current=many.current)
        assert (design.rate(later) <= design.rate(many) + 1e-12).all()


@pytest.mark.parametrize(
    "wrong", [{"estimator": "both"}, {"max_pending": 0}, {"target": 0.3, "p_saf": 0.3}, {"eliminate_by": "hand"}]
)
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(ValidationError):
        TiteBoinParameters(**wrong)


def test_labels_name_the_estimator():
    assert tite().label == "TITE-BOIN, imputation"
    assert tite(estimator="ess", single_dlt_stays=True).label == "TITE-BOIN, ess, a single DLT stays"
