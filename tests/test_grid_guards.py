"""Guards of the partial order, on rows made by hand and on every state a guarded design reaches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from escalation.decision import Action, Decisions, moves
from escalation.design import SafetyProperty
from escalation.exact import compile_graph
from escalation.grid_guards import ExcludeToxic, PredecessorCleared
from escalation.results import TrialRows
from escalation.rule import Rule
from escalation.sampled import sample
from escalation.tally import Tally
from escalation.verify import verify

TRUTH = [[0.06, 0.14, 0.28], [0.12, 0.26, 0.42]]
DESIGNS = ("boin_combination", "keyboard_combination", "waterfall", "ivanova_wang", "pipe", "pocrm", "surface_free")


@pytest.fixture(scope="module")
def design(study_of):
    """Three doses by two frequencies: 1.1 2.1 3.1 / 1.2 2.2 3.2."""
    return study_of({"name": "boin_combination"}, TRUTH, max_patients=30).protocol.rule.design


def decided(design, here: int, there: int, allocation=None) -> Decisions:
    current, regimen = np.array([here], np.int32), np.array([there], np.int32)
    share = None if allocation is None else np.array([allocation], float)
    return Decisions(
        moves(current, regimen, design.grid.at_most), regimen, np.array([3]), np.array([0]), allocation=share
    )


def applied(guard, design, n, dlt, here, there, allocation=None):
    tally = Tally.of(n=[n], dlt=[dlt], current=[here])
    found = guard.apply(tally, decided(design, here, there, allocation), design, 5)
    return Action(int(found.action[0])), int(found.regimen[0]), int(found.reason[0]), found.allocation


@pytest.mark.parametrize(
    ("n", "dlt", "here", "there", "axes", "held"),
    [
        ([3, 0, 0, 0, 0, 0], [0] * 6, 0, 1, "climbed", False),  # 1.1 is cleared for 2.1
        ([2, 0, 0, 0, 0, 0], [0] * 6, 0, 1, "climbed", True),  # two are too few
        ([3, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0], 0, 1, "climbed", True),  # two DLTs of three are too many
        ([3, 3, 0, 0, 0, 0], [0] * 6, 1, 4, "climbed", False),  # 2.2 from 2.1 climbs the frequency: 2.1 counts
        ([3, 3, 0, 0, 0, 0], [0] * 6, 1, 4, "both", True),  # ... but 1.2 is not cleared
        ([3, 3, 0, 3, 0, 0], [0] * 6, 1, 4, "both", False),
        ([3, 3, 0, 0, 0, 0], [0, 2, 0, 0, 0, 0], 1, 0, "both", False),  # down needs nothing
        ([3, 3, 0, 0, 0, 0], [0, 2, 0, 0, 0, 0], 0, 1, "both", False),  # back to a treated one needs nothing
    ],
)
def test_predecessors(design, n, dlt, here, there, axes, held):
    action, regimen, reason, _ = applied(PredecessorCleared(axes=axes), design, n, dlt, here, there)
    assert (action == Action.STAY and regimen == here and reason == 5) == held
    if not held:
        assert (regimen, reason) == (there, 0)


def test_a_draw_keeps_what_is_open(design):
    """2.1 or 1.2 are drawn from 1.1; with 2.1 excluded only 1.2 is left, and the decision names it."""
    guard = ExcludeToxic(target=0.3)
    n, dlt = [6, 3, 0, 0, 0, 0], [0, 3, 0, 0, 0, 0]
    action, regimen, reason, share = applied(guard, design, n, dlt, 0, 1, [0, 0.5, 0, 0.5, 0, 0])
    assert (action, regimen, reason) == (Action.ESCALATE, 3, 0)
    assert share[0].tolist() == [0, 0, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("n", "dlt", "here", "there", "expected"),
    [
        ([3, 3, 0, 0, 0, 0], [0, 3, 0, 0, 0, 0], 1, 1, (Action.DE_ESCALATE, 0, 5)),  # staying on an excluded one
        ([3, 3, 0, 3, 0, 0], [0, 3, 0, 0, 0, 0], 3, 4, (Action.STAY, 3, 5)),  # 2.2 lies above the excluded 2.1
        ([3, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0], 0, 0, (Action.STOP, 0, 6)),  # nothing is left
        ([3, 3, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], 1, 2, (Action.ESCALATE, 2, 0)),
    ],
)
def test_exclusion(design, n, dlt, here, there, expected):
    assert applied(ExcludeToxic(target=0.3), design, n, dlt, here, there)[:3] == expected


@pytest.mark.parametrize("name", DESIGNS)
def test_every_rail_at_once_holds_on_every_reachable_state(study_of, name):
    """On the waterfall without those that hold the trial back: they would keep it from opening its next sub-trial."""
    certainty = 0.95 if name == "waterfall" else 0.9
    guards = [
        {"guard": "no_skipping"},
        {"guard": "predecessor_cleared"},
        {"guard": "coherence", "target": 0.3},
        {"guard": "exclude_toxic", "target": 0.3, "certainty": certainty},
    ]
    if name == "waterfall":
        guards = [guards[0], guards[3]]
    small = {"cohorts": [4, 3], "full_at": 6} if name == "waterfall" else {}
    most = {"waterfall": 21, "ivanova_wang": 18}.get(name, 12)
    study = study_of({"name": name, **small}, TRUTH, max_patients=most, guards=guards)
    rule = study.protocol.rule
    cleared, exclusion = PredecessorCleared(), ExcludeToxic(target=0.3, certainty=certainty)

    def at(mask, decisions):
        return np.take_along_axis(mask, decisions.regimen[:, None].astype(np.intp), axis=1)[:, 0] & ~decisions.stops

    checks = (
        SafetyProperty("cleared", lambda tally, d: at(cleared.forbidden(tally, rule.grid), d)),
        SafetyProperty("excluded", lambda tally, d: at(exclusion.excluded(tally, rule.grid), d)),
        SafetyProperty(
            "coherent after the cohort",
            lambda tally, d: (d.action == Action.ESCALATE) & (tally.cohort_dlt >= 0.3 * tally.cohort_n),
        ),
    )

    class Checked(type(rule.design)):
        def properties(self):
            return checks[1:2] if name == "waterfall" else checks

    proof = verify(replace(rule, design=Checked(rule.design.parameters, rule.design.setting)))
    broken = {verdict.name for verdict in proof.verdicts if not verdict.holds}
    assert broken == set(), proof
    assert proof.states > 100


def test_what_is_excluded_is_never_selected(study_of):
    guards = [{"guard": "exclude_toxic", "target": 0.3, "certainty": 0.6}]
    study = study_of({"name": "pocrm"}, TRUTH, max_patients=12, guards=guards)
    rule: Rule = study.protocol.rule
    excluded = ExcludeToxic(target=0.3, certainty=0.6)
    p = np.ravel(TRUTH)
    rows = sample(rule, p, 3, 0, 4_000)
    tally = Tally.of(n=rows.n, dlt=rows.dlt, current=np.zeros(len(rows.n)))
    assert not (rows.selected & excluded.excluded(tally, rule.grid)).any()
    free = study_of({"name": "pocrm"}, TRUTH, max_patients=12).protocol.rule
    rows = sample(free, p, 3, 0, 4_000)
    tally = Tally.of(n=rows.n, dlt=rows.dlt, current=np.zeros(len(rows.n)))
    assert (rows.selected & excluded.excluded(tally, rule.grid)).any()  # without the guard it happens


def test_exact_and_sampled_agree_under_the_rails(agree, study_of):
    guards = [{"guard": "predecessor_cleared", "axes": "both"}, {"guard": "exclude_toxic", "target": 0.3}]
    rule = study_of({"name": "pipe"}, TRUTH, max_patients=12, guards=guards).protocol.rule
    p = np.ravel(TRUTH)
    agree(sample(rule, p, 7, 0, 20_000), TrialRows.exact(compile_graph(rule), p), rule)
