"""The expansion stage: its monitor, its groups, and what is said while its outcomes are open."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import beta

from escalation.advice import Advisor
from escalation.decision import Action
from escalation.errors import StudyError
from escalation.expansion import Expansion, Monitor
from escalation.outcomes import replay
from escalation.regimens import RegimenGrid

THREE = {"name": "three_plus_three", "variant": "V2"}


# the monitor -----------------------------------------------------------------------------------


@given(
    threshold=st.floats(0.1, 0.6),
    certainty=st.floats(0.55, 0.97),
    prior=st.tuples(st.floats(0.2, 3), st.floats(0.2, 3)),
    pooled=st.booleans(),
)
def test_withdrawal_is_a_beta_posterior(threshold, certainty, prior, pooled):
    stage = Expansion(size=9, monitor=Monitor(threshold=threshold, certainty=certainty, prior=prior, pooled=pooled))
    states = [(n, y, m, t) for n in (3, 6) for y in range(2) for m in range(10) for t in range(m + 1)]
    n, y, m, t = (np.array(column) for column in zip(*states, strict=True))
    found = stage.withdraws(n, y, m, t)
    total, seen = (n + m, y + t) if pooled else (m, t)
    above = beta.sf(threshold, prior[0] + seen, prior[1] + total - seen)
    clear = np.abs(above - certainty) > 1e-9
    np.testing.assert_array_equal(found[clear], ((above > certainty) & (seen > 0))[clear])


def test_withdrawal_of_single_numbers_and_of_arrays_is_the_same():
    stage = Expansion(size=6)
    for seen, out in ((5, True), (4, False)):  # 6 and 5 of 12
        assert bool(stage.withdraws(6, 1, 6, seen)) is out
        assert stage.withdraws([6, 6], [1, 1], [6, 6], [seen, seen]).tolist() == [out, out]
    assert not Expansion(size=6, monitor=None).withdraws([6, 6], [1, 1], [6, 6], [6, 6]).any()


@pytest.mark.parametrize(
    ("size", "look_every", "groups"), [(6, 3, [3, 3]), (7, 3, [3, 3, 1]), (2, 3, [2]), (5, 1, [1] * 5), (4, 9, [4])]
)
def test_groups(size, look_every, groups):
    stage, treated, found = Expansion(size=size, look_every=look_every), 0, []
    while group := stage.next_group(treated):
        found.append(group)
        treated += group
    assert found == groups
    assert stage.next_group(size + 3) == 0


def test_a_line_for_people():
    """The counts printed are the boundary itself: 3 of 6, 5 of 9 and 6 of 12 by the Beta posterior."""
    grid = RegimenGrid((1, 2), ((0,),))
    line = Expansion(size=6).describe(grid)
    for n in (6, 9, 12):
        fewest = next(y for y in range(1, n + 1) if beta.sf(1 / 3, 1 + y, 1 + n - y) > 0.8)
        assert f"{fewest} of {n}" in line
    assert "6 more at the selected regimen, a look every 3" in line
    assert "escalation and expansion together" in line
    assert "expansion alone" in Expansion(size=6, monitor=Monitor(pooled=False)).describe(grid)
    assert Expansion(size=6, monitor=None).describe(grid) == "expansion: 6 more at the selected regimen, not monitored"


@pytest.mark.parametrize(
    "wrong",
    [{"size": 0}, {"size": 3, "look_every": 0}, {"size": 3, "monitor": {"certainty": 0.5}}, {"size": 3, "looks": 2}],
)
def test_what_is_no_expansion(wrong):
    with pytest.raises(ValidationError):
        Expansion.model_validate(wrong)


# in a protocol ---------------------------------------------------------------------------------


def test_its_places_are_kept_back_from_escalation(study_of):
    study = study_of({"name": "boin"}, [0.1, 0.2, 0.3], max_patients=24, expansion={"size": 9})
    assert study.protocol.escalation_maximum == 15
    assert study.protocol.rule.max_patients == 15
    with pytest.raises(StudyError, match=r"do not hold the first cohort and the expansion \(12\)"):
        study_of({"name": "boin"}, [0.1, 0.2, 0.3], max_patients=11, expansion={"size": 9})


def test_a_contour_has_no_single_regimen_to_expand(study_of):
    with pytest.raises(StudyError, match="an expansion stage needs one regimen"):
        study_of({"name": "three_plus_three_contour"}, [[0.1, 0.2], [0.2, 0.3]], expansion={"size": 6})


def test_the_rule_prints_it_last(study_of):
    rule = study_of(THREE, [0.1, 0.2], expansion={"size": 6}).protocol.rule
    assert rule.steps()[-1].startswith("expansion: 6 more")


# what is said ----------------------------------------------------------------------------------

SELECTED = "1NNN 2NTT 1NNN"
"""Level 1 is declared with 0 of 6."""


@pytest.fixture(scope="module")
def rule(study_of):
    return study_of(THREE, [0.1, 0.2], expansion={"size": 6, "look_every": 3}).protocol.rule


@pytest.mark.parametrize(
    ("text", "action", "size", "reason", "certain"),
    [
        ("", Action.STOP, 0, "three_plus_three.mtd_confirmed", False),
        ("1N", Action.STAY, 2, "trial.expansion_open", False),
        ("1NNN", Action.STAY, 3, "trial.expansion_open", False),
        ("1PPP", Action.STAY, 3, "trial.expansion_open", True),  # 3 of 9 at most: no outcome withdraws
        ("1TTT 1N", Action.STAY, 2, "trial.expansion_open", False),
        ("1TTT 1TPP", Action.WAIT, 0, "trial.outcomes_pending", False),
        ("1TTT 1TTP", Action.WAIT, 0, "trial.outcomes_pending", False),
        ("1TTT 1TTT", Action.STOP, 0, "trial.expansion_withdrawn", False),
        ("1TTT 1NTT", Action.STOP, 0, "trial.expansion_complete", False),
        ("1TTT 1NTP", Action.STOP, 0, "trial.expansion_complete", True),
        ("1NNN 1XNNN", Action.STOP, 0, "trial.expansion_complete", False),
        ("1NNN 1NNX", Action.STAY, 1, "trial.expansion_open", False),
    ],
)
def test_advice_in_the_expansion_stage(rule, text, action, size, reason, certain):
    """Pooled with 0 of 6: 5 of 9 and 6 of 12 withdraw, 4 of 9 and 5 of 12 do not."""
    for n, dlt, out in ((9, 4, False), (9, 5, True), (12, 5, False), (12, 6, True)):
        assert bool(beta.sf(1 / 3, 1 + dlt, 1 + n - dlt) > 0.8) is out
    advice = Advisor(rule).advise(replay(rule, f"{SELECTED} {text}").state)
    assert (advice.action, advice.size, advice.reasons, advice.certain) == (action, size, (reason,), certain)
    assert advice.regimen == 0
    withdrawn = reason == "trial.expansion_withdrawn"
    assert advice.selected == (() if withdrawn else (0,))


def test_withdrawal_is_certain_before_the_group_is_complete(study_of):
    rule = study_of(THREE, [0.1, 0.2], expansion={"size": 6, "monitor": {"pooled": False}}).protocol.rule
    assert beta.sf(1 / 3, 3, 2) > 0.8  # 2 of 3
    for text in ("1TT", "1TTP"):
        advice = Advisor(rule).advise(replay(rule, f"{SELECTED} {text}").state)
        assert (advice.action, advice.reasons) == (Action.STOP, ("trial.expansion_withdrawn",))
        assert (advice.decides, advice.certain, advice.open_at) == (True, True, ((0, 1),))


def test_outlook_in_the_expansion_stage(study_of):
    rule = study_of(THREE, [0.1, 0.2], expansion={"size": 6, "monitor": {"pooled": False}}).protocol.rule
    advice = Advisor(rule).advise(replay(rule, f"{SELECTED} 1NTP").state)
    assert advice.action == Action.WAIT
    assert [(p.further, p.action, p.selected) for p in advice.outlook] == [
        ((0,), Action.STAY, (0,)),
        ((1,), Action.STOP, ()),
    ]


def test_windows_complete_in_the_expansion_stage(rule):
    patient = Advisor(rule, windows_complete=True)
    assert patient.advise(replay(rule, f"{SELECTED} 1PPP").state).action == Action.WAIT
    assert patient.advise(replay(rule, f"{SELECTED} 1NNN").state).action == Action.STAY


def test_an_outcome_of_escalation_still_open_is_waited_for(study_of):
    """Level 1 is certain with 0 of 5 and one open; after 2 of 3 in the expansion that one decides: 3 of 9 withdraw."""
    monitor = {"threshold": 0.2, "certainty": 0.8}
    assert beta.sf(0.2, 1 + 2, 1 + 7) < 0.8 < beta.sf(0.2, 1 + 3, 1 + 6)
    rule = study_of(THREE, [0.1, 0.2], expansion={"size": 6, "look_every": 3, "monitor": monitor}).protocol.rule
    advisor = Advisor(rule)
    after = {letter: advisor.advise(replay(rule, f"1NNN 2NTT 1NN{letter} 1NTT").state) for letter in ("N", "T", "P")}
    assert after["N"].action == Action.STAY
    assert (after["T"].action, after["T"].reasons) == (Action.STOP, ("trial.expansion_withdrawn",))
    assert (after["P"].action, after["P"].decides) == (Action.WAIT, False)
