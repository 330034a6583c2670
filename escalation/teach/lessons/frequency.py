"""Lesson 4: escalating the frequency, not the dose."""

from __future__ import annotations

from functools import cache

import numpy as np

from escalation.characteristics import Characteristics
from escalation.report.charts.teaching import days_of, follow_up, windows
from escalation.simulate import simulate
from escalation.study import Study, load
from escalation.teach.lesson import Choice, Figure, Lesson, Listed, Number, Reasons, Step, Trial, decision, of_options
from escalation.teach.patients import Patients

STUDY = "nct07212335"
DIDACTIC = "textbook-frequency"
LATE = "T4-hazard"
CLASS_SIZE = 24
"""Patients of the class looked at one by one."""


@cache
def _study(anchor: str = "first") -> Study:
    return load(STUDY, overrides=[f"protocol.dlt_window.anchor={anchor}"])


@cache
def _exact(anchor: str) -> Characteristics:
    return simulate(_study(anchor), scenarios=[LATE], engine="exact").scenarios[0].characteristics


def _set(anchor: str) -> str:
    return f" --set protocol.dlt_window.anchor={anchor}" if anchor != "first" else ""


def contains(seed: int) -> Step:
    """Each level contains the one below."""
    study = load(DIDACTIC)
    truth = study.truth(study.scenario("per-infusion")).probability
    grid = study.protocol.grid
    return Step(
        title="Every level contains the one below",
        text=f"A trial gives the same amount once, twice, three or four times, a week apart. Each infusion carries the "
        f"same risk of {truth[0]:.0%}. To get through four infusions a patient must get through the first, the second, "
        "the third and the fourth.",
        task=Number(
            "What is the DLT probability of four infusions, in per cent (to within 1)?", 100 * truth[-1], 1, "%", 1
        ),
        hint="First the probability to get through: 0.9 × 0.9 × 0.9 × 0.9.",
        because="The curve is not a choice, it follows from the first level. Raising the frequency is never more than "
        "adding up the risks of single infusions, unless the infusions change each other.",
        study=study,
        shown_then=(
            Listed(("level", "DLT probability"), tuple((grid.label(k), f"{truth[k]:.1%}") for k in range(grid.size))),
        ),
    )


def not_always_more(seed: int) -> Step:
    """A level above need not be more toxic."""
    study = load(DIDACTIC)
    names = [each.name for each in study.scenarios if each.name != "late"]
    truths = {name: study.truth(study.scenario(name)).probability for name in names}
    flat = next(name for name in names if np.ptp(truths[name]) < 1e-9)
    described = {name: study.scenario(name).description for name in names}
    return Step(
        title="More often need not be more toxic",
        text="Four assumptions about the same trial. In one of them the highest level is no more toxic than the "
        "lowest, although patients get four times as much.",
        task=of_options(
            "In which one are all levels the same?", tuple(described[name] for name in names), described[flat]
        ),
        hint="Where does the risk sit: in every infusion, or in one of them?",
        because="If the first infusion carries all the risk, whoever tolerates it tolerates the rest. A rule that "
        "reads three patients without DLT as *safe to go on* has then learnt about the first infusion only.",
        study=study,
        shown_then=(
            Listed(
                ("assumption", *(study.protocol.grid.label(k) for k in range(study.protocol.grid.size))),
                tuple((name, *(f"{p:.1%}" for p in truths[name])) for name in names),
            ),
        ),
    )


def the_anchor(seed: int) -> Step:
    """How long the last infusion is followed."""
    study = _study()
    grid, k = study.protocol.grid, study.protocol.grid.size - 1
    schedule = grid.schedule(k)
    first, last = (_study(anchor).protocol.dlt_window for anchor in ("first", "last"))
    left = first.end(schedule) - schedule[-1]
    return Step(
        title="Where the window is anchored",
        text=f"NCT07212335 escalates the number of infusions of cells after CAR-T: one, two, four, a week apart, with "
        f"a DLT window of {first.days} days. The record does not say from which infusion. Group {grid.label(k)} is "
        f"infused on days {', '.join(map(str, schedule))}.",
        task=Number(
            "With the window from the FIRST infusion: for how many days is the last infusion of group C followed?",
            left,
            0,
            "days",
        ),
        hint=f"The window ends on day {first.end(schedule)}. The last infusion is on day {schedule[-1]}.",
        because=f"{left} days, against {last.end(schedule) - schedule[-1]} days with the window from the last "
        f"infusion. Group A is followed for {first.end(grid.schedule(0))} days either way. The window shrinks exactly "
        "where the trial escalates.",
        study=study,
        shown_then=(
            Figure(
                lambda: windows(grid, {"from the first": first, "from the last": last}, range(grid.size)),
                "Infusions and windows: "
                + "; ".join(
                    f"{grid.label(i)} ends on day {first.end(grid.schedule(i))} from the first infusion, "
                    f"{last.end(grid.schedule(i))} from the last"
                    for i in range(grid.size)
                ),
            ),
        ),
    )


def what_is_missed(seed: int) -> Step:
    """The share of group C's DLTs behind the window from the first infusion."""
    first, last = (_study(anchor).truth(_study(anchor).scenario(LATE)) for anchor in ("first", "last"))
    k = len(first.probability) - 1
    seen, all_of_it = float(first.probability[k]), float(last.probability[k])
    end = int(last.ends[k])
    days = days_of(end)
    grid = _study().protocol.grid
    return Step(
        title="What the window does not see",
        text="Suppose toxicity comes late: it peaks two weeks after an infusion and is over after six. In group C "
        f"{all_of_it:.1%} of patients have a DLT within the window from the last infusion, {seen:.1%} within the "
        "window from the first.",
        task=Number(
            "Which share of these patients does the window from the first infusion miss, in per cent (to within 2)?",
            100 * (1 - seen / all_of_it),
            2,
            "%",
            1,
        ),
        hint="Divide what is missed by all of it.",
        because=f"{1 - seen / all_of_it:.0%}. The rule is not wrong, and the data are not wrong: the window asked "
        "about another toxicity than the one that comes.",
        study=_study(),
        shown_then=(
            Figure(
                lambda: follow_up(
                    days,
                    {grid.label(i): np.asarray(last.cumulative(i, days)) for i in range(grid.size)},
                    int(first.ends[k]),
                ),
                "Cumulative DLT probability of the groups over the days; a line on day "
                f"{int(first.ends[k])}, where the window from the first infusion ends",
            ),
        ),
        how="from the hazard of the scenario, exact",
        command=f"escalation simulate {STUDY} --scenario {LATE}{_set('last')}",
    )


def our_patients(seed: int) -> Step:
    """The patients of the class whose DLT the window misses."""
    study = _study("last")
    last, k = study.truth(study.scenario(LATE)), study.protocol.grid.size - 1
    patients = Patients(last.probability, seed)
    rows, missed = [], 0
    end = _study().protocol.dlt_window.end(study.protocol.grid.schedule(k))
    for arrival in range(CLASS_SIZE):
        day = last.onset_day(k, patients.tolerance(arrival))
        if day is not None:
            missed += day > end
            rows.append((f"{arrival + 1:03d}", f"day {day}"))
    table = Listed(("patient", "DLT begins, counted from the first infusion"), tuple(rows))
    return Step(
        title="The patients of your class",
        text=f"Of the first {CLASS_SIZE} patients of your class (seed {seed}), {len(rows)} would have a DLT in group C "
        "if they were followed for 28 days after the last infusion."
        + ("" if rows else " Your class was lucky; try another seed."),
        task=Number("How many of them have it outside the window from the FIRST infusion?", missed, 0),
        hint=f"That window ends with day {end}; day {end} itself is inside.",
        because=f"{missed} of {len(rows)}. In a trial with the window from the first infusion they count as free of "
        "DLT, each of them a vote to go on.",
        study=study,
        shown=(table,) if rows else (),
        how=f"patients of seed {seed} under the scenario {LATE}",
    )


def what_is_selected(seed: int) -> Step:
    """What the window does to the selection."""
    c = {anchor: _exact(anchor) for anchor in ("first", "last")}
    grid = _study().protocol.grid
    k = grid.size - 1
    shares = {anchor: float(each.selection[k]) for anchor, each in c.items()}
    options = ("From the first infusion", "From the last infusion", "The same with both")
    right = 2 if abs(shares["first"] - shares["last"]) < 1e-9 else int(shares["last"] > shares["first"])
    rows = tuple(
        (f"from the {anchor} infusion", *(f"{share:.1%}" for share in each.selection), f"{each.no_selection.value:.1%}")
        for anchor, each in c.items()
    )
    return Step(
        title="What it does to the trial",
        text="The same cells, the same patients, the same 3+3. Only the window differs.",
        task=Choice("With which window is group C, four infusions, selected more often?", options, right),
        hint="With which window does the trial see more DLTs in group C?",
        because=f"{shares['first']:.1%} against {shares['last']:.1%}. A line in the protocol moves the answer "
        "of the trial. This is why the anchor belongs among the safety-critical values of a study, and why this study "
        "carries its warning until the protocol is at hand.",
        study=_study(),
        shown_then=(Listed(("window", *(grid.label(i) for i in range(grid.size)), "none"), rows, "Selected, exact"),),
        command=f"escalation simulate {STUDY} --scenario {LATE}{_set('last')}",
    )


def a_decision(seed: int) -> Step:
    """The record's stopping rule in a decision."""
    text = "1NNN 2NTT"
    task, run = decision("What happens next?", _study(), text)
    return Step(
        title="A decision in this trial",
        text='The record says: "if 2 or more DLTs occur, dose escalation will be terminated". Group A: three patients, '
        "no DLT. Group B: three patients, two DLTs.",
        task=task,
        hint="Two DLTs in one group. Which group has passed?",
        because="Escalation ends and group A is selected. In this study six more patients are then treated in the "
        "group selected, and that stage can still withdraw it.",
        study=_study(),
        shown=(Trial(run),),
        shown_then=(Reasons(run),),
        how="the rule's own decision: exact",
        command=f'escalation decide {STUDY} --outcomes "{text}"',
    )


LESSON = Lesson(
    key="frequency",
    title="Escalating frequency, not dose",
    about="Read a trial that raises the number of infusions, and say what its window can and cannot see.",
    study=STUDY,
    steps=(contains, not_always_more, the_anchor, what_is_missed, our_patients, what_is_selected, a_decision),
    summary=(
        "A level with more infusions contains the level below; its risk follows from the risk of each infusion.",
        "It need not be more toxic at all: ask where the risk sits.",
        "A window from the first infusion follows the last infusion for a shorter time, the higher the level.",
        "The anchor of the window can change the recommendation. It belongs in the protocol.",
    ),
)
