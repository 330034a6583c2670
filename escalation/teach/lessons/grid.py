"""Lesson 5: dose by frequency, a partial order."""

from __future__ import annotations

from functools import cache

import numpy as np

from escalation.characteristics import Characteristics
from escalation.regimens import Regimen, RegimenGrid
from escalation.report.charts.regimens import heat_map
from escalation.simulate import simulate
from escalation.study import Study, load
from escalation.teach.lesson import Choice, Figure, Lesson, Listed, Reasons, Step, Trial, decision, of_options

STUDY = "nct05672420"
SMALL = "textbook-grid-3x3"
SCENARIO = "G2"
ORDERS = {"dose_then_frequency": "Dose first, then frequency", "frequency_then_dose": "Frequency first, then dose"}


@cache
def _study(design: str = "dose_then_frequency") -> Study:
    return load(STUDY, design=None if design == "dose_then_frequency" else design)


@cache
def _exact(design: str) -> Characteristics:
    return simulate(_study(design), scenarios=[SCENARIO], engine="exact").scenarios[0].characteristics


def _pair(grid: RegimenGrid, a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return grid.index(Regimen(*a)), grid.index(Regimen(*b))


def not_ordered(seed: int) -> Step:
    """Regimens that cannot be ordered."""
    study = _study()
    grid = study.protocol.grid
    pairs = [
        _pair(grid, (1, 1), (2, 1)),
        _pair(grid, (1, 1), (3, 2)),
        _pair(grid, (2, 1), (1, 2)),
        _pair(grid, (2, 2), (2, 3)),
    ]
    free = [i for i, (a, b) in enumerate(pairs) if not grid.at_most[a, b] and not grid.at_most[b, a]]
    options = tuple(f"{grid.label(a)}  and  {grid.label(b)}" for a, b in pairs)
    return Step(
        title="Which regimen is higher?",
        text="Five doses (A to E) by three frequencies (F1 to F3). One regimen is at most another when neither its "
        "dose nor its frequency is higher. Then it cannot be more toxic.\n\nLevels are written `dose.frequency`: 2.1 "
        "is dose B at frequency F1.",
        task=Choice("In which pair can nobody say which regimen is the more toxic?", options, free[0]),
        hint="Look for a pair in which one has the higher dose and the other the higher frequency.",
        because="More per infusion, or more infusions: neither contains the other. The grid is only *partially* "
        "ordered, and a rule must not pretend to know more.",
        study=study,
        shown=(
            Listed(
                ("", *(f"{grid.dose_labels[d]} {grid.doses[d]:g}" for d in range(grid.n_doses))),
                tuple(
                    (
                        f"{grid.frequency_labels[f]}: {len(grid.schedules[f])} infusions",
                        *(grid.level(grid.index(Regimen(d + 1, f + 1))) for d in range(grid.n_doses)),
                    )
                    for f in reversed(range(grid.n_frequencies))
                ),
                f"Levels of the study; amounts in {grid.unit}",
            ),
        ),
        how="the partial order of the regimens",
    )


def never_both(seed: int) -> Step:
    """No step raises both axes."""
    study = _study()
    grid = study.protocol.grid
    here = grid.index(Regimen(2, 1))
    offered = [grid.index(Regimen(*each)) for each in ((3, 1), (2, 2), (3, 2))]
    diagonal = next(k for k in offered if not grid.predecessors[here, k])
    options = tuple(f"{grid.level(k)}: {grid.label(k)}" for k in offered)
    return Step(
        title="One axis at a time",
        text=f"The trial is at {grid.level(here)}, {grid.label(here)}: three patients, no DLT. A step may raise the "
        "dose or the frequency.",
        task=of_options("Which of these regimens must NOT be next?", options, options[offered.index(diagonal)]),
        hint="Count how many axes each step raises.",
        because="The last one raises dose and frequency together. If it were toxic nobody could tell which of the two "
        "it was, and two regimens between would have been skipped untried. No design here makes such a step: the "
        "safety proof (`escalation verify`) checks it in every state a design can reach.",
        study=study,
        how="the partial order of the regimens",
        command=f"escalation verify {STUDY}",
    )


def not_by_total(seed: int) -> Step:
    """The same total is not the same risk."""
    study = _study()
    grid = study.protocol.grid
    a, b = _pair(grid, (2, 1), (1, 2))
    totals = [grid.amount(k) * len(grid.schedule(k)) for k in (a, b)]
    rows, higher = [], []
    for name in ("G2", "H2"):
        p = study.truth(study.scenario(name)).probability
        higher.append(bool(p[a] > p[b]))
        rows.append((study.scenario(name).description, f"{p[a]:.2%}", f"{p[b]:.2%}"))
    options = (
        f"{grid.label(a)} in both",
        f"{grid.label(b)} in both",
        "One in the first, the other in the second",
    )
    right = 2 if higher[0] != higher[1] else 0 if higher[0] else 1
    return Step(
        title="The total does not decide",
        text=f"{grid.describe(a)} and {grid.describe(b)} give the same total of {totals[0]:g} {grid.unit}. Two "
        "assumptions: in the first every infusion carries its own risk, in the second toxicity comes from a hazard "
        "that adds up, and patients differ in what they tolerate.",
        task=Choice("Which of the two regimens is the more toxic?", options, right),
        hint="If the total decided, the numbers would be equal. They are not; need they differ the same way?",
        because="The same total, different risks, and the order depends on an assumption nobody can check beforehand. "
        "So regimens are never ranked by their cumulative dose.",
        study=study,
        shown_then=(Listed(("assumption", grid.label(a), grid.label(b)), tuple(rows), "DLT probabilities"),),
        how="from the scenarios, exact",
        command=f"escalation simulate {STUDY} --scenario G2 --scenario H2",
    )


def _asked(title: str, text: str, study: Study, named: str, outcomes: str, hint: str, because: str) -> Step:
    task, run = decision("What happens next?", study, outcomes)
    return Step(
        title=title,
        text=text,
        task=task,
        hint=hint,
        because=because,
        study=study,
        shown=(Trial(run),),
        shown_then=(Reasons(run),),
        how="the rule's own decision: exact",
        command=f'escalation decide {named} --outcomes "{outcomes}"',
    )


def the_hinge(seed: int) -> Step:
    """The second axis opens at the dose found."""
    return _asked(
        "Dose first, then frequency",
        "This study reads its record as two 3+3 in a row: over the doses at F1 first. Dose C failed with two of six. "
        "Dose B has been filled up to six without a DLT, so it is the *hinge*.",
        _study(),
        STUDY,
        "1.1NNN 2.1NNN 3.1NTN 3.1TNN 2.1NNN",
        "The dose is found. Which axis is left?",
        "The dose stays where it is and the frequency is raised one step: never both at once.",
    )


def the_contour(seed: int) -> Step:
    """The next row of a contour."""
    return _asked(
        "A dose for every frequency",
        "Another answer to a grid: not one regimen but a *contour*, an MTD dose for each frequency. In this smaller "
        "study the doses are low, middle and high. At F1 the high dose failed and the middle one was confirmed with "
        "six patients. The next frequency starts one dose below the MTD just found.",
        load(SMALL),
        SMALL,
        "1.1NNN 2.1NNN 3.1NTT 2.1NNN",
        "F2 opens. One dose below middle.",
        "1.2 is not ordered against 2.1: it has the lower dose and the higher frequency. Starting one dose lower keeps "
        "the step to a new frequency small. And 3.2 is closed for good, because 3.1 below it has failed.",
    )


def which_order(seed: int) -> Step:
    """Dose first against frequency first."""
    found = {name: _exact(name) for name in ORDERS}
    study = _study()
    grid = study.protocol.grid
    last = grid.n_frequencies - 1
    often = {name: float(c.selection[np.flatnonzero(grid.frequency_of == last)].sum()) for name, c in found.items()}
    best = max(ORDERS, key=often.__getitem__)
    truth = study.truth(study.scenario(SCENARIO)).probability

    def figure(name: str) -> Figure:
        c = found[name]
        return Figure(
            lambda: heat_map(grid, c.selection, f"{ORDERS[name]}: selected", marked=c.true_mtd, height=260),
            f"Selection, {ORDERS[name]}: "
            + ", ".join(f"{grid.level(k)} {c.selection[k]:.1%}" for k in range(grid.size)),
        )

    return Step(
        title="The order is a decision",
        text="The same grid and the same truth. One design raises the dose first, the other the frequency.",
        task=of_options(
            f"Which design selects the highest frequency ({grid.frequency_labels[last]}) more often?",
            tuple(ORDERS.values()),
            ORDERS[best],
        ),
        hint="The axis raised first uses up the room that the other would have needed.",
        because=f"{ORDERS[best]}: {often[best]:.1%}, against "
        f"{min(often.values()):.1%}. Which axis comes first is a choice about what the treatment should become, "
        "not a technicality. Say it before the trial.",
        study=study,
        shown=(
            Figure(
                lambda: heat_map(grid, truth, "Assumed DLT probability", height=260),
                "Assumed DLT probabilities: " + ", ".join(f"{grid.level(k)} {truth[k]:.0%}" for k in range(grid.size)),
            ),
        ),
        shown_then=tuple(figure(name) for name in ORDERS),
        command=f"escalation simulate {STUDY} --scenario {SCENARIO} --design frequency_then_dose",
    )


LESSON = Lesson(
    key="grid",
    title="Dose by frequency: a partial order",
    about="Say which regimens of a grid can be compared, which steps are allowed, and what a contour is.",
    study=STUDY,
    steps=(not_ordered, never_both, not_by_total, the_hinge, the_contour, which_order),
    summary=(
        "A regimen is at most another when neither its dose nor its frequency is higher. Many pairs cannot be ordered.",
        "No step raises dose and frequency together.",
        "Regimens are never ranked by their total dose.",
        "A grid can have one answer, or one for each frequency (a contour). The order of the axes decides much.",
    ),
)
