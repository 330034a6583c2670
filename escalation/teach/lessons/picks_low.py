"""Lesson 2: why the 3+3 picks low, in exact numbers."""

from __future__ import annotations

from functools import cache

import numpy as np

from escalation.benchmark import exact_benchmark
from escalation.characteristics import Characteristics
from escalation.exact import compile_graph
from escalation.report.charts.regimens import Shares, selection_and_allocation
from escalation.report.charts.teaching import passing
from escalation.report.tables import number
from escalation.simulate import judgement_of, simulate
from escalation.study import Study, load
from escalation.tally import Floats
from escalation.teach.lesson import Figure, Lesson, Listed, Number, Step, of_options

STUDY = "textbook-5-doses"
SCENARIO = "mtd-3"
DESIGNS = ("three_plus_three", "boin", "crm")


@cache
def _study(design: str = "three_plus_three") -> Study:
    return load(STUDY, design=None if design == "three_plus_three" else design)


@cache
def _exact(design: str = "three_plus_three") -> Characteristics:
    return simulate(_study(design), scenarios=[SCENARIO], engine="exact").scenarios[0].characteristics


@cache
def passes(points: tuple[float, ...]) -> Floats:
    """Probability that a 3+3 passes a level of these DLT probabilities: it selects the only level of a trial."""
    alone = load(STUDY, overrides=["protocol.regimens.doses=[10]"], truth="0.3")  # the graph serves every truth
    graph = compile_graph(alone.protocol.rule)
    chance: Floats = graph.probabilities(np.array(points)[:, None]) @ graph.selected[:, 0]
    return chance


def _figure(design: str = "three_plus_three") -> Figure:
    c, study = _exact(design), _study(design)
    shares = Shares(c.selection, c.patients / c.patients.sum(), c.no_selection.value)
    said = ", ".join(f"level {k + 1} {share:.1%}" for k, share in enumerate(c.selection))
    return Figure(
        lambda: selection_and_allocation(study.protocol.grid, shares, c.true_mtd, height=300),
        f"Exact selection of {study.protocol.rule.design.title}: {said}, none {c.no_selection.value:.1%}",
        study.protocol.rule.design.title,
    )


def one_toss(seed: int) -> Step:
    """The chance to pass a level at the target."""
    target = _study().target
    grid = tuple(np.round(np.linspace(0, 0.7, 71), 4).tolist())
    at = float(passes((target,))[0])
    return Step(
        title="A level is one toss of a coin",
        text="A level passes when nobody of three has a DLT, or one of three and then nobody of three more. How often "
        f"does a level pass whose DLT probability is {target:.0%}, the target: the very level we are looking for?",
        task=Number("How often does it pass, in per cent (to within 2)?", 100 * at, 2, "%", 1),
        hint="Nobody of three: 0.7 × 0.7 × 0.7. One of three: 3 × 0.3 × 0.7 × 0.7, and then nobody of three more.",
        because=f"{at:.1%}. The level we want is a toss of a coin, and a level with 20 % still fails "
        f"{1 - float(passes((0.2,))[0]):.0%} of the time.",
        study=_study(),
        shown_then=(
            Figure(
                lambda: passing(
                    np.array(grid),
                    passes(grid),
                    {
                        f"{p:.0%}: passes {float(passes((p,))[0]):.0%}": (p, float(passes((p,))[0]))
                        for p in (0.1, 0.2, target, 0.5)
                    },
                ),
                "The chance to pass a level falls with its DLT probability: "
                + ", ".join(f"{p:.0%} passes {float(passes((p,))[0]):.0%}" for p in (0.1, 0.2, target, 0.5)),
            ),
        ),
    )


def which_most(seed: int) -> Step:
    """The level selected most often."""
    c, study = _exact(), _study()
    truth = study.truth(study.scenario(SCENARIO)).probability
    options = (*(f"Level {k + 1} ({p:.0%})" for k, p in enumerate(truth)), "None")
    return Step(
        title="Several tosses in a row",
        text="To reach a level the trial must pass every level below it. The true DLT probabilities are "
        + ", ".join(f"{p:.0%}" for p in truth)
        + f". Level 3 is the true MTD: it has the target of {study.target:.0%}.",
        task=of_options("Which level does the 3+3 select most often?", options, options[int(np.argmax(c.selection))]),
        hint="Multiply: pass level 1, pass level 2, and then fail level 3. Or fail level 2 already.",
        because=f"Level {int(np.argmax(c.selection)) + 1}: {float(c.selection.max()):.1%} of all trials. The true MTD "
        f"is selected in {c.measures['correct_selection'].value:.1%}, a level below it in "
        f"{c.measures['selection_below'].value:.1%}. These shares are exact: every possible trial was counted.",
        study=study,
        shown_then=(_figure(),),
        command=f"escalation simulate {STUDY} --scenario {SCENARIO}",
    )


def against_others(seed: int) -> Step:
    """3+3 beside BOIN and the CRM."""
    found = {name: _exact(name) for name in DESIGNS}
    titles = {name: _study(name).protocol.rule.design.title for name in DESIGNS}
    best = max(DESIGNS, key=lambda name: found[name].measures["correct_selection"].value)
    rows = tuple(
        (
            titles[name],
            number(c.measures["correct_selection"]),
            number(c.measures["selection_below"]),
            number(c.measures["selection_above"]),
            number(c.measures["patients_above"]),
            number(c.total_patients.mean, 1),
        )
        for name, c in found.items()
    )
    return Step(
        title="Other rules, the same levels",
        text="BOIN compares the observed DLT rate of a level with two boundaries. The CRM fits a curve through all "
        "levels. Both go on to 30 patients here.",
        task=of_options("Which design selects the true MTD most often?", tuple(titles.values()), titles[best]),
        hint="One of them uses the outcomes of all levels at once.",
        because=f"{titles[best]}, in {found[best].measures['correct_selection'].value:.1%} of trials, against "
        f"{found['three_plus_three'].measures['correct_selection'].value:.1%} of the 3+3. The lead is not free: look "
        "at the number of patients.",
        study=_study(),
        shown_then=(
            Listed(
                ("design", "true MTD", "a level below", "a level above", "patients above", "patients, mean"),
                rows,
                "Shares of trials that select the true MTD, a level below or above it; share of patients above the "
                "target",
            ),
            _figure(),
            _figure(best),
        ),
        command=f"escalation simulate {STUDY} --scenario {SCENARIO} --design {best}",
    )


def size_or_rule(seed: int) -> Step:
    """The optimal benchmark at the size of a 3+3."""
    study = _study()
    truth, c = study.truth(study.scenario(SCENARIO)).probability, _exact()
    few = round(c.total_patients.mean.value)
    best = exact_benchmark(truth, judgement_of(study), few).correct_selection.value
    own = c.measures["correct_selection"].value
    rows = tuple(
        (f"{size}", f"{exact_benchmark(truth, judgement_of(study), size).correct_selection.value:.1%}")
        for size in (few, 20, 30)
    )
    return Step(
        title="Is it the rule, or the size?",
        text=f"A 3+3 treats {c.total_patients.mean.value:.1f} patients on average, the others 30. Suppose we knew the "
        "outcome of every patient at every level, more than any trial can know, and selected the level whose DLT rate "
        "is closest to the target. That is the optimal benchmark.",
        task=Number(
            f"How often is the benchmark right with {few} patients, in per cent (to within 5)?", 100 * best, 5, "%", 1
        ),
        hint=f"More than the {own:.0%} of the 3+3, and less than it would be with 30 patients.",
        because=f"{best:.1%}. With {few} patients nobody could be right much more often, whatever the rule. About "
        f"{100 * (best - own):.0f} percentage points separate the 3+3 from that; the rest of its distance to "
        f"{rows[-1][1]} is size. It stops early and so it is often wrong.",
        study=study,
        shown_then=(Listed(("patients", "optimal benchmark, correct"), rows),),
    )


def is_low_safe(seed: int) -> Step:
    """Whether picking low protects patients."""
    c = {name: _exact(name) for name in DESIGNS}
    titles = {name: _study(name).protocol.rule.design.title for name in DESIGNS}
    least = min(DESIGNS, key=lambda name: c[name].measures["patients_above"].value)
    rows = tuple(
        (
            titles[name],
            number(each.measures["patients_above"]),
            number(each.total_dlts.mean, 2),
            number(each.total_patients.mean, 1),
        )
        for name, each in c.items()
    )
    return Step(
        title="Is low at least safe?",
        text="People defend the 3+3 as careful. Care can be counted: the share of patients treated above the target.",
        task=of_options(
            "Which design treats the smallest share of its patients above the target?",
            tuple(titles.values()),
            titles[least],
        ),
        hint="A design that learns where the target lies can keep away from what is above it.",
        because=f"{titles[least]}, {c[least].measures['patients_above'].value:.1%} of its patients; the 3+3 "
        f"{c['three_plus_three'].measures['patients_above'].value:.1%}. Selecting low is not the same as treating "
        "safely. And patients of the next trial are treated at the level selected, which may be too low to help.",
        study=_study(),
        shown_then=(Listed(("design", "patients above the target", "DLTs, mean", "patients, mean"), rows),),
    )


LESSON = Lesson(
    key="picks-low",
    title="Why the 3+3 picks low",
    about="Say in exact numbers what a 3+3 selects, and how much of it is the rule and how much the size.",
    study=STUDY,
    steps=(one_toss, which_most, against_others, size_or_rule, is_low_safe),
    summary=(
        "A 3+3 passes the level at 30 % about every second time, and it must pass all levels below as well.",
        "So it most often selects a level below the true MTD.",
        "Part of this is the rule; a large part is that it stops after a dozen patients.",
        "Selecting low and treating safely are two things. Count both.",
    ),
)
