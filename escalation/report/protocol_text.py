"""A study in words: its protocol, its assumptions and where its values come from, each as a heading and a sentence."""

from __future__ import annotations

from escalation.protocol import Protocol
from escalation.regimens import RegimenGrid
from escalation.report.tables import mtd_rule
from escalation.scenario import FixedAccrual, ListedAccrual, Scenario, UniformAccrual
from escalation.study import Study
from escalation.truth import HazardTruth


def days(number: int) -> str:
    """A number of days in words."""
    return f"{number} day" if number == 1 else f"{number} days"


def protocol_sentences(protocol: Protocol) -> list[tuple[str, str]]:
    """The protocol, item by item: heading and sentence."""
    grid, window = protocol.grid, protocol.dlt_window
    start = grid.describe(protocol.setting.start)
    anchor = "first" if window.anchor == "first" else "last"
    sentences = [
        ("Regimens", _regimens(grid)),
        ("Start", f"Escalation starts at level {grid.level(protocol.setting.start)}: {start}."),
        ("Cohorts", f"{protocol.cohort_size} participants a cohort, unless the rule asks for another number."),
        (
            "DLT window",
            f"{days(window.days)} from the {anchor} infusion, the last day included; a DLT within it always counts.",
        ),
        ("What counts as a DLT", protocol.dlt_definition or "Not stated in the study file."),
        ("Decision rule", ". ".join(_sentence(step) for step in protocol.rule.steps()) + "."),
        ("Published in", protocol.rule.design.citation),
        ("When a cohort is decided", _when(protocol)),
        ("Stagger", _stagger(protocol)),
        ("Review", _review(protocol)),
        ("Evaluable", _evaluable(protocol)),
    ]
    if protocol.max_patients is not None:
        last = "left out" if protocol.last_cohort == "whole" else "made smaller"
        both = ", escalation and expansion together" if protocol.expansion else ""
        size = (
            f"At most {protocol.max_patients} evaluable participants{both}; a last cohort that does not fit is {last}."
        )
        sentences.insert(3, ("Size", size))
    return sentences


def _regimens(grid: RegimenGrid) -> str:
    if grid.axis != "grid":
        return "; ".join(f"level {grid.level(k)}, {grid.describe(k)}" for k in range(grid.size)) + "."
    named = grid.dose_labels or tuple(f"dose {level}" for level in range(1, grid.n_doses + 1))
    often = grid.frequency_labels or tuple(f"frequency {level}" for level in range(1, grid.n_frequencies + 1))
    doses = ", ".join(f"{name} {amount:g}" for name, amount in zip(named, grid.doses, strict=True))
    schedules = "; ".join(
        f"{name} on days {', '.join(map(str, schedule))}" for name, schedule in zip(often, grid.schedules, strict=True)
    )
    unit = f" ({grid.unit} an infusion)" if grid.unit else ""
    return (
        f"{grid.n_doses} doses by {grid.n_frequencies} frequencies, written dose.frequency. Doses{unit}: {doses}. "
        f"Infusions: {schedules}."
    )


def _sentence(step: str) -> str:
    return step[:1].upper() + step[1:]


def _when(protocol: Protocol) -> str:
    if protocol.escalate_when == "all_windows_complete":
        line = "No decision is taken before every window of escalation is complete."
    elif protocol.escalate_when == "windows_complete":
        line = "The next cohort waits until every window is complete; going down or stopping waits for certainty only."
    else:
        line = "As soon as no outcome still open can change the decision."
    left = "are left empty" if protocol.close_cohort_when_certain else "are filled all the same"
    return f"{line} In simulation the open places of a cohort whose decision to stop or go down is certain {left}."


def _stagger(protocol: Protocol) -> str:
    first, others = protocol.stagger.sentinel_days, protocol.stagger.between_days
    if not first and not others:
        return "No interval between first infusions."
    longest = days(max(first, others))
    return (
        f"At least {longest} after the first participant ever treated at a regimen, then {days(others)} between others."
    )


def _review(protocol: Protocol) -> str:
    lag = protocol.review_lag_days
    return f"{days(lag)} from the last outcome needed to the decision." if lag else "Decided on the day it is certain."


def _evaluable(protocol: Protocol) -> str:
    needed, replaced = protocol.evaluability.minimum_infusions, protocol.evaluability.replace
    share = "all planned infusions" if needed >= 1 else f"at least {100 * needed:g} % of the planned infusions"
    then = "is replaced" if replaced else "is not replaced"
    return f"Without a DLT: the whole window followed and {share} given. Who is not evaluable {then}."


def scenario_sentences(scenario: Scenario) -> list[tuple[str, str]]:
    """What a scenario assumes beside its DLT probabilities: heading and sentence."""
    truth, held = scenario.truth, scenario.held
    if isinstance(truth, HazardTruth):
        onset = "DLT probabilities and times of onset follow from a hazard to which every infusion adds."
    else:
        onset = {
            "uniform": "On any day of the window with the same probability.",
            "weibull": "Weibull within the window.",
            "acute": "Soon after the first infusion, exponential and cut at the end of the window.",
            "hazard": "In the shape of a hazard to which every infusion adds.",
        }[truth.onset.law]
    queue = "wait for a place" if held.policy == "wait" else "are turned away"
    limits = [f"at most {held.most_waiting} waiting" if held.most_waiting is not None else ""]
    limits += [f"leaving after {days(held.patience_days)}" if held.patience_days is not None else ""]
    listed = "".join(f", {limit}" for limit in limits if limit and held.policy == "wait")
    assessed = "the last day of the DLT window" if scenario.response_day is None else f"day {scenario.response_day}"
    rows = " / ".join(" ".join(f"{p:g}" for p in row) for row in scenario.responses or ())
    return [
        ("Onset of a DLT", onset),
        *([("Response", f"Probability by regimen {rows}, observed on {assessed}.")] if rows else []),
        ("Accrual", _accrual(scenario)),
        ("While accrual is suspended", f"Those who come {queue}{listed}."),
        ("Screening failure", f"{100 * scenario.screen_failure:g} %"),
        ("Withdrawal within the window", f"{100 * scenario.drop_out:g} %"),
        ("Infusion missed, after the first", f"{100 * scenario.missed_infusion:g} %"),
    ]


def _accrual(scenario: Scenario) -> str:
    law = scenario.accrual
    if isinstance(law, ListedAccrual):
        return f"{len(law.days)} candidates on listed days."
    if isinstance(law, FixedAccrual):
        return f"One candidate every {law.gap_days:g} days."
    if isinstance(law, UniformAccrual):
        return f"Days between two candidates uniform from 0 to {2 * law.mean_gap_days:g}."
    return f"Candidates at random (Poisson), one every {law.mean_gap_days:g} days on average."


def judged_by(study: Study) -> str:
    """How results are judged."""
    criteria = study.criteria
    margin = f" + {criteria.above_margin:g}" if criteria.above_margin else ""
    overdose = "treated" if criteria.overdose_denominator == "actual" else "planned"
    return (
        f"Target DLT probability {study.target:g}. The true MTD is {mtd_rule(study)}. A regimen is too toxic above "
        f"{study.target:g}{margin}; the band is {study.target:g} ± {criteria.within:g}. The risk of overdosing counts "
        f"participants {overdose}."
    )
