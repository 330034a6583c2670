"""Lesson 6: how sure a simulation is."""

from __future__ import annotations

from functools import cache, lru_cache
from math import ceil, sqrt

from escalation.characteristics import Estimate
from escalation.compare import DISTINGUISHED, Comparison, compare
from escalation.report.charts.teaching import intervals
from escalation.report.tables import number
from escalation.simulate import simulate
from escalation.study import Study, load
from escalation.teach.lesson import Choice, Figure, Lesson, Listed, Number, Step

STUDY = "textbook-5-doses"
OTHER = "boin"
SCENARIO = "mtd-3"
MODEL_ASSISTED, MODEL_BASED = "textbook-boin", "crm"
FEW = 200
"""Trials of a small simulation."""
CLASSES = 40
"""Simulations set side by side, each with its own seed."""
PAIRED = 1_000
"""Trials of the comparison of two designs."""


@cache
def _study() -> Study:
    return load(STUDY)


@cache
def _exact() -> float:
    c = simulate(_study(), scenarios=[SCENARIO], engine="exact").scenarios[0].characteristics
    return c.measures["correct_selection"].value


@lru_cache(maxsize=1024)
def _sampled(seed: int) -> Estimate:
    run = simulate(_study(), scenarios=[SCENARIO], engine="sampled", trials=FEW, seed=seed)
    return run.scenarios[0].characteristics.measures["correct_selection"]


def _error(estimate: Estimate) -> float:
    assert estimate.mcse is not None
    return estimate.mcse


@lru_cache(maxsize=1024)
def _compared(seed: int) -> Comparison:
    return compare([_study(), load(STUDY, design=OTHER)], scenarios=[SCENARIO], trials=PAIRED, seed=seed)


def _command(seed: int, trials: int) -> str:
    return f"escalation simulate {STUDY} --scenario {SCENARIO} --engine sampled --trials {trials} --seed {seed}"


def the_error(seed: int) -> Step:
    """The Monte Carlo standard error of a share."""
    found = _sampled(seed)
    return Step(
        title="A simulated number has an error",
        text=f"{FEW} trials of the 3+3 were simulated with the seed of your class ({seed}). In {found.value:.1%} of "
        "them the true MTD was selected. Another seed would give another number. The Monte Carlo standard error "
        "(MCSE) says by how much: for a share p of S trials it is √(p (1 − p) / S).",
        task=Number(
            "What is the standard error here, in percentage points (to within 0.2)?",
            100 * _error(found),
            0.2,
            "percentage points",
            2,
        ),
        hint=f"p is {found.value:.3f} and S is {FEW}.",
        because=f"{found.value:.4f} (MCSE {_error(found):.4f}). About two of three simulations lie within one standard "
        "error of the truth, nineteen of twenty within two.",
        study=_study(),
        how=f"sampled: {FEW} trials, seed {seed}, with its standard error",
        command=_command(seed, FEW),
    )


def does_it_hold(seed: int) -> Step:
    """The simulated interval against the exact value."""
    found, exact = _sampled(seed), _exact()
    holds = abs(found.value - exact) <= 2 * _error(found)
    return Step(
        title="We can check it",
        text=f"A 3+3 is small enough to count every trial it can possibly take. The exact share is {exact:.4f}. Your "
        f"simulation said {found.value:.4f} with a standard error of {_error(found):.4f}.",
        task=Choice(
            "Does the simulated value lie within two standard errors of the exact one?",
            ("Yes", "No"),
            0 if holds else 1,
        ),
        hint="Subtract, and divide by the standard error.",
        because=f"The difference is {abs(found.value - exact) / _error(found):.1f} standard errors. "
        + ("As it mostly is." if holds else "That happens to about one class in twenty; yours is the one."),
        study=_study(),
        how=f"exact, and sampled: {FEW} trials, seed {seed}",
        command=_command(seed, FEW),
    )


def forty_classes(seed: int) -> Step:
    """Forty seeds side by side."""
    exact = _exact()
    found = [_sampled(seed + i) for i in range(CLASSES)]
    miss = sum(abs(each.value - exact) > 2 * _error(each) for each in found)
    names = [str(seed + i) for i in range(CLASSES)]
    figure = Figure(
        lambda: intervals(names, found, exact),
        f"{CLASSES} simulations of {FEW} trials with two standard errors to both sides; {CLASSES - miss} hold the "
        f"exact value {exact:.4f}, {miss} miss it",
    )
    return Step(
        title="Forty classes",
        text=f"{CLASSES} classes simulate the same design, each with its own seed ({seed} to {seed + CLASSES - 1}) and "
        f"{FEW} trials. The bars reach two standard errors to both sides; the dashed line is the exact value.",
        task=Number("How many of the intervals miss the exact value?", miss, 0),
        hint="They are drawn in another colour and with a cross. On average one of twenty misses.",
        because=f"{miss} of {CLASSES}. The smallest estimate was {min(each.value for each in found):.1%}, the largest "
        f"{max(each.value for each in found):.1%}: nobody should report such a number without its error.",
        study=_study(),
        shown=(figure,),
        how=f"exact line; each point sampled: {FEW} trials, bars of two standard errors",
        command=_command(seed, FEW),
    )


def how_many(seed: int) -> Step:
    """Trials for a wanted precision."""
    exact, wanted = _exact(), 0.005
    needed = ceil(exact * (1 - exact) / wanted**2)
    return Step(
        title="How many trials?",
        text=f"You want the share of correct selections ({exact:.2f}) to half a percentage point: a standard error of "
        f"{wanted}.",
        task=Number("How many trials do you need (to within 5 %)?", needed, 0.05 * needed, "trials"),
        hint=f"Solve √(p (1 − p) / S) = {wanted} for S.",
        because=f"{needed:,} trials; to halve the error takes four times as many. The exact engine needs none: for "
        "this design it gives the number without any error, in a fraction of a second.",
        study=_study(),
    )


def common_patients(seed: int) -> Step:
    """Paired and unpaired errors of a difference."""
    comparison = _compared(seed).scenarios[0]
    a, b = (each["correct_selection"] for each in comparison.measures)
    paired = comparison.differences[0]["correct_selection"]
    unpaired = sqrt(_error(a) ** 2 + _error(b) ** 2)
    options = ("Smaller than with different patients", "The same", "Larger than with different patients")
    right = 0 if paired.mcse < 0.98 * unpaired else 2 if paired.mcse > 1.02 * unpaired else 1
    titles = ("3+3", "BOIN")
    rows = (
        *((title, number(each)) for title, each in zip(titles, (a, b), strict=True)),
        ("difference, same patients", f"{paired.difference:+.4f} ({paired.mcse:.4f})"),
        ("difference, different patients", f"{paired.difference:+.4f} ({unpaired:.4f})"),
    )
    return Step(
        title="The same patients for both designs",
        text=f"3+3 and BOIN are compared on {PAIRED:,} trials. Every simulated patient has a tolerance that fixes the "
        "outcome at every level, and both designs are given the same patients (common random numbers).",
        task=Choice("The standard error of the difference between the two designs is then:", options, right),
        hint="A group of fragile patients is bad luck for both designs. What becomes of bad luck in a difference?",
        because=f"{paired.mcse:.4f} with the same patients, {unpaired:.4f} with different ones: worth "
        f"{(unpaired / paired.mcse) ** 2:.1f} times as many trials, for nothing. Luck that both designs share drops "
        "out of the difference.",
        study=_study(),
        shown_then=(Listed(("correct selection", "value (standard error)"), rows),),
        how=f"sampled: {PAIRED:,} trials, seed {seed}, standard errors in parentheses",
        command=f"escalation compare {STUDY} --design {OTHER} --scenario {SCENARIO} --trials {PAIRED} --seed {seed}",
    )


def distinguished(seed: int) -> Step:
    """Whether a difference is more than chance of the simulation."""
    studies = [load(MODEL_ASSISTED), load(MODEL_ASSISTED, design=MODEL_BASED)]
    d = compare(studies, scenarios=[SCENARIO], trials=FEW, seed=seed).scenarios[0].differences[0]["correct_selection"]
    exact = [
        simulate(each, scenarios=[SCENARIO], engine="exact").scenarios[0].characteristics.measures["correct_selection"]
        for each in studies
    ]
    return Step(
        title="More than chance?",
        text=f"BOIN and the CRM, both with 30 patients, the same {FEW} simulated trials. CRM minus BOIN in correct "
        f"selection is {d.difference:+.4f} with a paired standard error of {d.mcse:.4f}. A difference is called "
        f"distinguished when it exceeds {DISTINGUISHED:g} of its standard errors.",
        task=Choice("Is this difference distinguished?", ("Yes", "No"), 0 if d.distinguished else 1),
        hint=f"Compare {abs(d.difference):.4f} with {DISTINGUISHED:g} × {d.mcse:.4f}.",
        because=f"It is {abs(d.difference) / d.mcse:.1f} standard errors. The exact difference is "
        f"{exact[1].value - exact[0].value:+.4f}. *Not distinguished* does not mean equal: it means that this "
        "simulation cannot tell.",
        study=studies[0],
        how=f"exact, and sampled: {FEW} trials, seed {seed}, paired",
        command=f"escalation compare {MODEL_ASSISTED} --design {MODEL_BASED} --scenario {SCENARIO} --trials {FEW} "
        f"--seed {seed}",
    )


LESSON = Lesson(
    key="how-sure",
    title="How sure is a simulation?",
    about="Give every simulated number its error, choose the number of trials, and compare designs on the same "
    "patients.",
    study=STUDY,
    steps=(the_error, does_it_hold, forty_classes, how_many, common_patients, distinguished),
    summary=(
        "A simulated share has a standard error of √(p (1 − p) / S). Report it with the number.",
        "Four times as many trials halve the error.",
        "Compare designs on the same patients and give the error of the difference.",
        "Where every trial can be counted, count: an exact number has no error.",
    ),
)
