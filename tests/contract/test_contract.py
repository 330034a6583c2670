"""Every registered design keeps the contract, and the contract catches designs that do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from escalation.contract import ContractError, check_design
from escalation.decision import Action, Decisions, Reason
from escalation.design import Design, Parameters, Setting
from escalation.one_state import one_state_design, stop, treat
from escalation.regimens import Regimen, RegimenGrid
from escalation.registry import design_class, design_names

GRIDS = {
    "dose axis": RegimenGrid(doses=(1, 2, 3, 4), schedules=((0,),)),
    "frequency axis": RegimenGrid(doses=(1,), schedules=((0,), (0, 7), (0, 7, 14))),
    "grid": RegimenGrid(doses=(1, 2, 3), schedules=((0,), (0, 7))),
}
TABLE = "DLTs,3,6,9\n0,E,E,E\n1,S,E,E\n2,D,S,S\n3,DU,D,S\n4,,DU,D\n" + "".join(
    f"{dlt},,{'DU' if dlt < 7 else ''},DU\n" for dlt in range(5, 10)
)
ON_ONE_AXIS = {"boin", "crm", "keyboard", "tpi", "mtpi", "mtpi2", "i3plus3", "ccd", "decision_table"} | {
    "blrm",
    "tite_crm",
    "tite_boin",
    "rolling_six",
}
"""Designs that climb one axis and need it named on a grid."""

ONE_REGIMEN = {"one regimen": RegimenGrid(doses=(2,), schedules=((0, 7),))}
SWITCHES = {
    "three_plus_three": ({}, {"variant": "V2"}, {"variant": "V3"}, {"reading": "R2"}, {"reading": "R3"}),
    "three_plus_three_path": ({}, {"variant": "V3"}),
    "three_plus_three_contour": ({}, {"variant": "V1"}, {"row_start": "lowest"}, {"row_start": "same"}),
    "dose_then_frequency": ({}, {"variant": "V2", "carry_over": True}, {"variant": "V3"}),
    "frequency_then_dose": ({}, {"variant": "V2", "carry_over": True}, {"variant": "V3"}),
    "boin": (
        {},
        {"target": 0.25, "stay_on_1_of_3": True},
        {"extra_safe": True},
        {"elimination_certainty": None, "stop_when_deescalation_impossible": True},
    ),
    "keyboard": ({}, {"target": 0.2, "margin_above": 0.08, "elimination_minimum": 1}, {"extra_safe": True}),
    "tpi": ({}, {"elimination_minimum": 3, "untried_levels": True}),
    "mtpi": ({}, {"target": 0.2, "elimination_certainty": 0.9}),
    "mtpi2": ({}, {"ties": "most_toxic", "target": 0.45}),
    "i3plus3": ({}, {"target": 0.25, "extra_safe": True}),
    "ccd": ({}, {"elimination_certainty": 0.95, "upper_edge": "stay"}, {"target": 0.1}),
    "decision_table": ({"table": TABLE}, {"table": TABLE, "elimination_certainty": 0.9}),
    "crm": (
        {},
        {"coherent": False},
        {"no_skipping": False},
        {"model": "logistic", "estimate": "mle", "no_skipping_down": True},
        {"curve": "posterior_mean"},
        {"stop_above": 0.3, "settled_after": 6, "two_stage": True},
    ),
    "tite_crm": (
        {},
        {"weights": "adaptive", "coherent": True, "estimate": "mle"},
        {"weights": "hazard", "hazard": {"delayed": {"a": 1.0}}},
    ),
    "tite_boin": (
        {},
        {"estimator": "ess", "eliminate_by": "estimate", "suspend_first": True, "suspend_at_lowest": True},
        {"target": 0.2, "single_dlt_stays": True},
    ),
    "rolling_six": ({}, {"variant": "iq"}, {"unlisted": "refuse"}),
    "blrm": (
        {},
        {"recommend": "largest_admissible", "max_increase": 1.0, "no_skipping": False},
        {"recommend": "closest_mean", "target": 0.3, "overdose_limit": 1.0, "coherent": True},
        {"declare_after": 6, "declare_total": 12, "select_untried": True},
    ),
    "toxicity_monitor": (
        {},
        {"boundary": "bayes", "limit": 0.25, "certainty": 0.8, "minimum": 3},
        {"boundary": "table", "stop_at": ((2, 3), (3, 9), (5, 18))},
        {"boundary": "none"},
    ),
    "boin_combination": ({}, {"block": "conduct", "ties": "dose_first"}, {"extra_safe": True, "bound_mtd": True}),
    "keyboard_combination": ({}, {"ties": "frequency_first", "margin_above": 0.09}, {"decision_key": "next_comb_kb"}),
    "waterfall": ({}, {"frequency_without_mtd": "next_frequency", "full_at": 6}, {"extra_safe": True}),
    "ivanova_wang": (
        {},
        {"up_and_down": "cumulative", "row_start": "lowest", "ceiling": "tried_below"},
        {"in_a_row": 4, "ceiling": "none", "elimination_certainty": None},
    ),
    "pipe": (
        {},
        {"constraint": "no_skip", "strategy": "sample_size_random", "stop_certainty": 0.9},
        {"constraint": "none", "diagonal": True, "candidates": "adjacent", "epsilon": None, "alternate": True},
    ),
    "pocrm": (
        {},
        {"ordering_choice": "randomised", "stage_one_after_dlt": "restart"},
        {"no_skipping": False, "orderings": ("up_columns", "across_rows"), "ordering_prior": (0.3, 0.7)},
    ),
    "blrm_combination": ({}, {"no_skipping": False, "correlation": -0.3, "overdose_limit": 0.4}),
    "surface_free": (
        {},
        {"estimate": "posterior_mean", "ties": "dose_first", "selection": "tried", "reach": "authors_program"},
        {"overdose_limit": None, "reach": "anywhere", "strength": 3.0},
        {"leave_out": "lowest_only", "ties": "frequency_first", "prior_connection": 0.95},
    ),
}


def cases():
    for name in design_names():
        for place, grid in (GRIDS if design_class(name).chooses_regimen else ONE_REGIMEN).items():
            for switches in SWITCHES.get(name, ({},)):
                if name in ON_ONE_AXIS and place == "grid":
                    switches = {**switches, "axis": "dose"}
                yield pytest.param(name, grid, switches, id=f"{name}-{place}-{switches}")


@pytest.mark.parametrize(("name", "grid", "switches"), list(cases()))
def test_every_registered_design_keeps_the_contract(name, grid, switches):
    cls = design_class(name)
    design = cls(cls.Parameters(**switches), Setting(grid, cohort_size=3, start=0, max_patients=18))
    assert "pure function" in check_design(design)


def test_every_registered_design_has_its_switches_here():
    assert set(design_names()) <= set(SWITCHES)


UP = Reason("toy.up", "Up.", "It goes up.")
END = Reason("toy.end", "End.", "It ends.", stop="declared")


class Toy(Design[Parameters]):
    """Climbs until a DLT; a base for designs that break one rule each."""

    name, title, citation = "toy", "Toy", "none"
    Parameters = Parameters
    reasons = (UP, END)

    def decide(self, tally):
        top = self.grid.size - 1
        end = (tally.at_current(tally.dlt) > 0) | (tally.current == top)
        there = np.where(end, tally.current, np.minimum(tally.current + 1, top)).astype(np.int32)
        return Decisions(
            action=np.where(end, Action.STOP, Action.ESCALATE).astype(np.int32),
            regimen=there,
            size=np.where(end, 0, 3).astype(np.int32),
            reason=np.where(end, 1, 0).astype(np.int32),
        )

    def select(self, tally):
        selected = np.zeros(tally.n.shape, dtype=bool)
        selected[np.arange(tally.rows), tally.current] = True
        return selected


def toy(cls):
    return cls(Parameters(), Setting(GRIDS["dose axis"], cohort_size=3, start=0, max_patients=12))


def test_the_toy_itself_is_sound():
    check_design(toy(Toy))


class WrongDirection(Toy):
    def decide(self, tally):
        decisions = super().decide(tally)
        return replace(decisions, action=np.where(decisions.stops, Action.STOP, Action.STAY).astype(np.int32))


class WrongReason(Toy):
    def decide(self, tally):
        return replace(super().decide(tally), reason=np.zeros(tally.rows, np.int32))


class LooksAtTheBatch(Toy):
    def decide(self, tally):
        decisions = super().decide(tally)
        size = np.where(decisions.stops, 0, 3 + (np.arange(tally.rows) % 2)).astype(np.int32)
        return replace(decisions, size=size)


class WritesIntoTheTally(Toy):
    def decide(self, tally):
        tally.dlt[:] = 0
        return super().decide(tally)


class Remembers(Toy):
    calls = 0

    def decide(self, tally):
        type(self).calls += 1
        decisions = super().decide(tally)
        return replace(decisions, size=np.where(decisions.stops, 0, 3 + type(self).calls % 2).astype(np.int32))


class SelectsTwo(Toy):
    def select(self, tally):
        return np.ones(tally.n.shape, dtype=bool)


class OpenAboveEliminated(Toy):
    def eliminated(self, tally):
        closed = np.zeros(tally.n.shape, dtype=bool)
        closed[:, 1] = tally.dlt[:, 1] > 0
        return closed


class ReadsFollowUp(Toy):
    """Says that it only counts the pending, and reads how long they have been followed."""

    needs_clock, reads_follow_up = True, False

    def decide(self, tally):
        decisions = super().decide(tally)
        return replace(decisions, size=np.where(tally.exposure.sum(axis=1) > 0.5, 2, decisions.size).astype(np.int32))


class BadCode(Toy):
    reasons = (Reason("Up!", "Up.", "It goes up."), END)


@pytest.mark.parametrize(
    ("cls", "breach"),
    [
        (WrongDirection, "STAY goes to another regimen"),
        (WrongReason, "a reason without a kind of stop"),
        (LooksAtTheBatch, "depends on the other rows"),
        (WritesIntoTheTally, "writes into the tally"),
        (Remembers, "the same tally gets different decisions"),
        (SelectsTwo, "more than one regimen is selected"),
        (OpenAboveEliminated, "a regimen above an eliminated one is open"),
        (ReadsFollowUp, "depend on how long the pending have been followed"),
        (BadCode, "is not of the form"),
    ],
)
def test_a_breach_is_named(cls, breach):
    with pytest.raises(ContractError, match=breach):
        check_design(toy(cls))


def test_a_function_of_one_state_becomes_a_design_that_keeps_the_contract():
    def decide(state):
        if state.dlt_at(state.current):
            lower = state.current.dose - 1
            return stop("toy.end", Regimen(lower, 1) if lower else None)
        if state.current.dose == state.grid.n_doses:
            return stop("toy.end", state.current)
        return treat(Regimen(state.current.dose + 1, 1), "toy.up")

    check_design(toy(one_state_design("cautious", "Cautious", "none", (UP, END), decide)))
