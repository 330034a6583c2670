"""The safety proof: what holds is proved, what is broken comes with an outcome string that breaks it."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from escalation.advice import Advisor
from escalation.branching import Front, branch, decide, onward
from escalation.decision import Action, Decisions, Reason, moves
from escalation.design import Design, Parameters, SafetyProperty, Setting
from escalation.errors import StateBudgetError
from escalation.guards import MaximumSize, NoSkipping
from escalation.outcomes import parse, replay
from escalation.regimens import RegimenGrid
from escalation.rule import Rule
from escalation.study import load
from escalation.tally import Tally
from escalation.verify import Proof, verify

DOSES = RegimenGrid(doses=(1, 2, 3), schedules=((0,),))
GRID = RegimenGrid(doses=(1, 2), schedules=((0,), (0, 7)))
COMMON = {
    "no_escalation_after_two_dlts",
    "eliminated_stays_closed",
    "elimination_is_permanent",
    "eliminated_never_selected",
    "no_skipping",
    "one_axis_at_a_time",
    "within_maximum_size",
    "coherent",
    "always_ends",
}


def broken(proof: Proof) -> dict[str, str | None]:
    return {verdict.name: verdict.counterexample for verdict in proof.verdicts if not verdict.holds}


# designs that come with the package ------------------------------------------------------------

LINE = [0.1, 0.2, 0.3, 0.4]
GRID_TRUTH = [[0.1, 0.2, 0.3], [0.2, 0.3, 0.4]]
WIDE = [[0.1] * 3] * 3
FAMILY: list[tuple[dict[str, Any], list[Any]]] = [
    *(({"name": "three_plus_three", "variant": v}, LINE) for v in ("V1", "V2", "V3")),
    ({"name": "three_plus_three", "six_at_top": True}, LINE),
    ({"name": "three_plus_three", "reading": "R2"}, LINE),
    ({"name": "three_plus_three", "reading": "R3"}, LINE),
    ({"name": "three_plus_three", "variant": "V2", "expand_up_to": 2, "accept_up_to": 2}, LINE),
    *(({"name": "three_plus_three_path", "variant": v}, GRID_TRUTH) for v in ("V1", "V2", "V3")),
    *(
        ({"name": name, "variant": v, "carry_over": carry}, WIDE)
        for name in ("dose_then_frequency", "frequency_then_dose")
        for v in ("V1", "V2", "V3")
        for carry in (False, True)
    ),
    *(
        ({"name": "three_plus_three_contour", "variant": v, "row_start": start}, GRID_TRUTH)
        for v in ("V1", "V2", "V3")
        for start in ("lowest", "one_below", "same")
    ),
]


@pytest.mark.parametrize(
    ("design", "truth"), FAMILY, ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else ""
)
def test_the_3_plus_3_family_keeps_every_promise(study_of, design, truth):
    proof = verify(study_of(design, truth).protocol.rule)
    assert broken(proof) == {}
    assert proof.holds
    assert {verdict.name for verdict in proof.verdicts} >= COMMON
    assert all(verdict.counterexample is None for verdict in proof.verdicts)


@pytest.mark.parametrize("variant", ["V1", "V2", "V3"])
def test_the_contour_skips_no_frequency_where_there_are_three(study_of, variant):
    """The third frequency is reached from the second: at this dose, or at a higher one that was treated there."""
    proof = verify(study_of({"name": "three_plus_three_contour", "variant": variant}, WIDE).protocol.rule)
    assert broken(proof) == {}


@pytest.mark.parametrize("start", [1, 2])
def test_start_above_the_lowest_level(study_of, start):
    for variant in ("V1", "V2", "V3"):
        study = study_of({"name": "three_plus_three", "variant": variant}, LINE, start={"dose": start})
        assert verify(study.protocol.rule).holds


def test_states_are_counted(study_of):
    """V1 on two levels, by hand: level 1 has 4 outcomes, then 4 after 1/3; level 2 follows three states of level 1."""
    proof = verify(study_of({"name": "three_plus_three"}, [0.1, 0.2]).protocol.rule)
    # 0/3, 1/3, 2/3, 3/3 and 1..4 of 6; level 2 after 0/3 and after 1/6: each 4 + 4
    assert proof.states == 8 + 2 * 8


def test_boin_escalates_after_two_dlts_in_its_last_three(study_of):
    """Published BOIN really does: 2 of 9 is at most lambda_e, whoever the two are."""
    rule = study_of({"name": "boin", "target": 0.3}, LINE, max_patients=24).protocol.rule
    found = broken(verify(rule))
    assert set(found) == {"no_escalation_after_two_dlts"}
    text = found["no_escalation_after_two_dlts"]
    reading = replay(rule, text)
    assert reading.departures == ()
    last = parse(text, rule.grid)[-1]
    assert last.letters.count("T") >= 2
    assert len(last.letters) == 3
    advice = Advisor(rule).advise(reading.state)
    assert advice.action == Action.ESCALATE
    assert advice.regimen == last.regimen + 1
    n, dlt = reading.state.n[last.regimen], reading.state.dlt[last.regimen]
    assert dlt <= 0.2364907 * n  # within the published boundary all the same


def test_crm_keeps_its_promises(study_of):
    design = {"name": "crm", "target": 0.25}
    names = {verdict.name for verdict in verify(study_of(design, LINE, max_patients=15).protocol.rule).verdicts}
    assert "crm.never_goes_up_more_than_one_level_at_a_time" in names
    free = study_of({**design, "no_skipping": False}, LINE, max_patients=15).protocol.rule
    found = broken(verify(free))
    assert set(found) == {"no_skipping"}
    advice = Advisor(free).advise(replay(free, found["no_skipping"]).state)
    assert advice.regimen > replay(free, found["no_skipping"]).state.regimen + 1
    held = Rule(free.design, (NoSkipping(), *free.guards))
    assert "no_skipping" not in broken(verify(held))


def test_an_acknowledged_path_that_leaves_the_order_is_shown_for_what_it_is(study_of):
    path = [[1, 1], [2, 1], [2, 2], [1, 2]]
    design = {"name": "three_plus_three_path", "variant": "V2", "path": path, "acknowledge_unordered": True}
    rule = study_of(design, [[0.1, 0.2], [0.2, 0.3]]).protocol.rule
    found = broken(verify(rule))
    assert "eliminated_stays_closed" in found
    reading = replay(rule, found["eliminated_stays_closed"])
    advice = Advisor(rule).advise(reading.state)
    assert reading.state.dlt[2] >= 2  # dose 1 at frequency 2 has failed
    assert rule.grid.level(advice.regimen) == "2.2"  # and a regimen above it is next


# designs broken on purpose ---------------------------------------------------------------------


class Nothing(Parameters):
    """No parameters."""


class Sound(Design[Nothing]):
    """Cohorts of three: up without a DLT, else stay; a level with two DLTs is closed and left. Ends at nine."""

    name: ClassVar[str] = "sound"
    title: ClassVar[str] = "Sound"
    citation: ClassVar[str] = "none"
    Parameters = Nothing
    grid_used: ClassVar[RegimenGrid] = DOSES
    reasons: ClassVar[tuple[Reason, ...]] = (
        Reason("sound.goes_on", "It goes on.", "It goes on."),
        Reason("sound.ends", "It ends.", "It ends.", stop="declared"),
    )
    limit: ClassVar[int] = 9

    def __init__(self) -> None:
        super().__init__(Nothing(), Setting(self.grid_used, 3, 0))

    @property
    def own_maximum(self) -> int | None:
        return 9

    def target_of(self, tally: Tally):
        here, clear = tally.current, tally.at_current(tally.dlt) == 0
        up = np.where(clear, np.minimum(here + 1, self.grid.size - 1), here)
        shut = self.eliminated(tally)[np.arange(tally.rows), up]
        return np.where(shut, np.maximum(here - self.eliminated(tally)[np.arange(tally.rows), here], 0), up)

    def ends(self, tally: Tally):
        return (tally.total >= self.limit) | self.eliminated(tally)[:, 0]

    def decide(self, tally: Tally) -> Decisions:
        there = np.asarray(self.target_of(tally), np.int32)
        decided = Decisions(
            action=moves(tally.current, there, self.grid.at_most),
            regimen=there,
            size=np.full(tally.rows, 3, np.int32),
            reason=np.zeros(tally.rows, np.int32),
        )
        return decided.stop_where(self.ends(tally), tally.current, 1)

    def eliminated(self, tally: Tally):
        return ((tally.dlt >= 2).astype(np.int32) @ self.grid.at_most.astype(np.int32)) > 0

    def select(self, tally: Tally):
        chosen = np.zeros(tally.n.shape, dtype=bool)
        open_ = (tally.n > 0) & ~self.eliminated(tally)
        rows = np.flatnonzero(open_.any(axis=1))
        chosen[rows, self.grid.size - 1 - np.argmax(open_[rows, ::-1], axis=1)] = True
        return chosen


class Skips(Sound):
    def target_of(self, tally: Tally):
        return np.where(tally.dlt.sum(axis=1) == 0, 2, tally.current)


class RaisesBoth(Sound):
    grid_used = GRID

    def target_of(self, tally: Tally):
        return np.where(tally.dlt.sum(axis=1) == 0, 3, tally.current)


class GoesBackUp(Sound):
    """Returns to a level it has closed."""

    def target_of(self, tally: Tally):
        return np.where(self.eliminated(tally)[:, 1], 1, super().target_of(tally))


class EscalatesOnToxicity(Sound):
    """Goes up after two DLTs, and only then: a further DLT leads higher."""

    def target_of(self, tally: Tally):
        return np.where(tally.cohort_dlt >= 2, np.minimum(tally.current + 1, 2), tally.current)

    def ends(self, tally: Tally):
        return tally.total >= 9

    def eliminated(self, tally: Tally):
        return np.zeros(tally.n.shape, dtype=bool)


class Reopens(Sound):
    """Closes level 1 on its DLT rate and forgets when the rate falls."""

    def target_of(self, tally: Tally):
        return np.zeros(tally.rows, np.int32)

    def ends(self, tally: Tally):
        return tally.total >= 9

    def eliminated(self, tally: Tally):
        return tally.dlt * 2 > np.maximum(tally.n, 1)


class SelectsClosed(Sound):
    def select(self, tally: Tally):
        chosen = np.zeros(tally.n.shape, dtype=bool)
        chosen[np.arange(tally.rows), tally.current] = True
        return chosen


class TooMany(Sound):
    limit = 12


class Promises(Sound):
    def properties(self) -> tuple[SafetyProperty, ...]:
        def third(tally: Tally, decisions: Decisions):
            return ~decisions.stops & (decisions.regimen == 2)

        return (SafetyProperty("never treats at the third level", third),)


def test_the_sound_design_is_sound():
    assert broken(verify(Rule(Sound()))) == {}


BROKEN: list[tuple[type[Sound], str]] = [
    (Skips, "no_skipping"),
    (RaisesBoth, "one_axis_at_a_time"),
    (GoesBackUp, "eliminated_stays_closed"),
    (EscalatesOnToxicity, "no_escalation_after_two_dlts"),
    (EscalatesOnToxicity, "coherent"),
    (Reopens, "elimination_is_permanent"),
    (SelectsClosed, "eliminated_never_selected"),
    (TooMany, "within_maximum_size"),
    (Promises, "sound.never_treats_at_the_third_level"),
]


@pytest.mark.parametrize(("design", "name"), BROKEN)
def test_a_broken_design_is_caught_with_a_history_that_breaks_it(design, name):
    rule = Rule(design())
    found = broken(verify(rule))
    assert name in found
    cohorts = parse(found[name], rule.grid)
    assert all(len(cohort.letters) == 3 for cohort in cohorts)
    state = replay(rule, found[name]).state
    advice = Advisor(rule).advise(state)
    here, there, n, seen = state.regimen, advice.regimen, state.n, state.dlt
    one_fewer = found[name][:-3] + found[name][-3:].replace("T", "N", 1)
    shows = {
        "no_skipping": there == here + 2,
        "one_axis_at_a_time": (here, there) == (0, 3),
        "eliminated_stays_closed": seen[there] >= 2 and advice.action != Action.STOP,
        "no_escalation_after_two_dlts": cohorts[-1].letters.count("T") >= 2 and there > here,
        "coherent": there > Advisor(rule).advise(replay(rule, one_fewer).state).regimen,
        "elimination_is_permanent": 2 * seen[0] <= n[0] and 2 * (seen[0] - state.cohort_dlt) > n[0] - 3,
        "eliminated_never_selected": advice.selected != () and all(seen[k] >= 2 for k in advice.selected),
        "within_maximum_size": sum(n) + advice.size == 12,
        "sound.never_treats_at_the_third_level": there == 2,
    }
    assert shows[name]


def test_a_break_is_named_for_what_it_is():
    assert set(broken(verify(Rule(TooMany())))) == {"within_maximum_size"}
    assert set(broken(verify(Rule(Promises())))) == {"sound.never_treats_at_the_third_level"}
    assert set(broken(verify(Rule(SelectsClosed())))) == {"eliminated_never_selected"}


class Endless(Sound):
    """Ends after a clear cohort, and never otherwise."""

    def target_of(self, tally: Tally):
        return tally.current

    def ends(self, tally: Tally):
        return tally.cohort_dlt == 0

    def eliminated(self, tally: Tally):
        return np.zeros(tally.n.shape, dtype=bool)


def test_a_trial_that_need_not_end():
    rule = Rule(Endless())
    found = broken(verify(rule))
    assert {"always_ends", "within_maximum_size"} <= set(found)
    assert parse(found["always_ends"], rule.grid)


def test_the_history_of_a_trial_that_need_not_end_has_not_ended():
    """Its outcome string must be one after which the trial goes on, past the maximum it states."""
    rule = Rule(Endless())
    text = broken(verify(rule))["always_ends"]
    assert "NNN" not in [cohort.letters for cohort in parse(text, rule.grid)]
    reading = replay(rule, text)
    assert Advisor(rule).advise(reading.state).action != Action.STOP
    assert sum(reading.state.n) > rule.max_patients


class Randomises(Sound):
    """Names the present level, but draws the next cohort's level among two; subclasses say where it must not."""

    where: ClassVar[tuple[float, ...]] = (0.5, 0.5, 0.0)

    def decide(self, tally: Tally) -> Decisions:
        share = np.tile(np.array(self.where), (tally.rows, 1))
        decided = Decisions(
            action=np.full(tally.rows, Action.STAY, np.int32),
            regimen=tally.current.copy(),
            size=np.full(tally.rows, 3, np.int32),
            reason=np.zeros(tally.rows, np.int32),
            allocation=share,
        )
        return decided.stop_where(tally.total >= 9, tally.current, 1)

    def eliminated(self, tally: Tally):
        return np.zeros(tally.n.shape, dtype=bool)


class DrawsASkip(Randomises):
    where = (0.5, 0.0, 0.5)


class DrawsBoth(Randomises):
    grid_used = GRID
    where = (0.5, 0.0, 0.0, 0.5)


class DrawsClosed(Randomises):
    def eliminated(self, tally: Tally):
        shut = np.zeros(tally.n.shape, dtype=bool)
        shut[:, 1:] = True
        return shut


@pytest.mark.parametrize(
    ("design", "name"),
    [(DrawsASkip, "no_skipping"), (DrawsBoth, "one_axis_at_a_time"), (DrawsClosed, "eliminated_stays_closed")],
)
def test_what_a_randomised_allocation_can_draw_is_checked_too(design, name):
    """The engine treats wherever the allocation is positive, so the proof has to look there."""
    assert name in broken(verify(Rule(design())))


# the walk --------------------------------------------------------------------------------------


@pytest.mark.parametrize("design", [{"name": "boin"}, {"name": "three_plus_three", "variant": "V3"}])
def test_every_state_of_every_path_is_looked_at(study_of, design):
    """A property that is false in a single state is found, wherever the state lies."""
    rule = study_of(design, [0.1, 0.2, 0.3], max_patients=15).protocol.rule
    front, states = Front.start(rule), set()
    while front.rows:
        branches = branch(front)
        tally = branches.tally
        columns = np.concatenate([tally.n, tally.dlt, tally.current[:, None]], axis=1)
        states |= {tuple(row) for row in columns.tolist()}
        front, _ = onward(branches, decide(rule, tally))
    rng = np.random.default_rng(8)
    listed = sorted(states)
    for place in rng.choice(len(listed), size=25, replace=False):
        wanted = np.array(listed[place])

        def only_there(tally: Tally, decisions: Decisions, wanted=wanted):
            columns = np.concatenate([tally.n, tally.dlt, tally.current[:, None]], axis=1)
            return (columns == wanted).all(axis=1)

        class Marked(type(rule.design)):
            def properties(self, promise=SafetyProperty("not this state", only_there)) -> tuple[SafetyProperty, ...]:  # noqa: B008
                return (promise,)

        marked = Rule(Marked(rule.design.parameters, rule.design.setting), rule.guards)
        text = broken(verify(marked))[f"{rule.design.name}.not_this_state"]
        state = replay(rule, text).state
        assert (*state.n, *state.dlt, state.regimen) == tuple(wanted.tolist())


def test_what_it_refuses(study_of):
    rule = study_of({"name": "boin"}, [0.1] * 5, max_patients=30).protocol.rule
    with pytest.raises(StateBudgetError):
        verify(rule, budget=10)


def test_guards_are_part_of_the_rule_that_is_proved():
    assert "within_maximum_size" not in broken(verify(Rule(TooMany(), (MaximumSize(limit=9),))))
    assert "no_skipping" not in broken(verify(Rule(Skips(), (NoSkipping(),))))


def test_a_design_that_draws_is_not_said_to_be_coherent():
    """A draw leads to no single regimen: the property is left out, not said to hold."""
    study = load("textbook-grid-3x3", design="boin_combination", overrides=["protocol.max_patients=9"])
    proof = verify(study.protocol.rule)
    assert proof.draws
    assert "coherent" not in {verdict.name for verdict in proof.verdicts}
    named = load(
        "textbook-grid-3x3",
        design="boin_combination",
        overrides=["protocol.max_patients=9", "protocol.design.ties=dose_first"],
    )
    proof = verify(named.protocol.rule)
    assert not proof.draws
    assert "coherent" in {verdict.name for verdict in proof.verdicts}
