"""Lesson 3: pending is not negative."""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np

from escalation.report.charts.teaching import days_of, follow_up, windows
from escalation.report.tables import number
from escalation.simulate import simulate
from escalation.study import Study, load
from escalation.teach.lesson import Figure, Lesson, Listed, Number, Reasons, Step, Trial, decision, of_options

STUDY = "textbook-5-doses"
SCENARIO = "mtd-3"
TRIALS = 200
"""Simulated trials behind the durations."""


@cache
def _study() -> Study:
    return load(STUDY)


def the_window(seed: int) -> Step:
    """What a window is, its last day included."""
    study = _study()
    window = study.protocol.dlt_window
    end = window.end(study.protocol.grid.schedule(0))
    options = ("It counts as a DLT", "It does not count", "Only if it is not over the day after")
    return Step(
        title="What a window is",
        text=f"A toxicity is a DLT only inside the DLT window: {window.days} days from the first infusion (day 0). The "
        "window must be fixed before the trial, since it decides what is counted.\n\nA patient has a dose-limiting "
        f"toxicity on day {end}.",
        task=of_options(f"What about the toxicity on day {end}?", options, options[0 if end >= window.days else 1]),
        hint="Does the last day belong to the window?",
        because=f"Day {end} itself is inside the window; day {end + 1} is not. A protocol should say so, because "
        "people count differently.",
        study=study,
        shown=(
            Figure(
                lambda: windows(study.protocol.grid, {"window": window}, (0,)),
                f"One infusion on day 0; the window runs to the end of day {end}",
            ),
        ),
    )


def wait(seed: int) -> Step:
    """One pending outcome that can change the decision."""
    text = "1NNP"
    task, run = decision("What happens next?", _study(), text)
    return Step(
        title="Two are through, one is pending",
        text="001 and 002 have completed their windows without a DLT. 003 was infused 14 days ago and is well. **P** "
        "stands for pending: the window is open. Five people are waiting for a place.",
        task=task,
        hint="What if 003 has a DLT next week? What if not? Are the two answers the same?",
        because="003 decides, so the trial waits. This is the look-ahead: it tells today what will happen on either "
        "outcome, so the committee can already be invited.",
        study=_study(),
        shown=(Trial(run),),
        shown_then=(Reasons(run),),
        how="the rule's own decision on every completion of the open outcomes: exact",
        command=f'escalation decide {STUDY} --outcomes "{text}"',
    )


def half_way(seed: int) -> Step:
    """The risk left half-way through the window."""
    study = _study()
    truth = study.truth(study.scenario(SCENARIO))
    k, day = 2, 14
    p, seen = float(truth.probability[k]), float(truth.cumulative(k, day))
    left = (p - seen) / (1 - seen)
    end = int(truth.ends[k])
    days = days_of(end)
    return Step(
        title="How sure is half a window?",
        text=f"Level 3 has a DLT probability of {p:.0%}, and a DLT is as likely on any day of the window as on any "
        f"other. A patient there has been followed for {day} of {end} days without a DLT.",
        task=Number(
            "How likely is it that this patient still has a DLT, in per cent (to within 1)?", 100 * left, 1, "%", 1
        ),
        hint=f"By day {day} {seen:.0%} of patients have had their DLT. This one is among the other {1 - seen:.0%}, of "
        f"whom {p - seen:.0%} (of all) will have one.",
        because=f"{left:.1%}: more than half of the {p:.0%} we started with. Counting this patient as free of DLT "
        "would throw that away. With toxicities that come late it would be worse.",
        study=study,
        shown_then=(
            Figure(
                lambda: follow_up(days, {f"level {k + 1}": np.asarray(truth.cumulative(k, days))}, day),
                f"The probability of a DLT rises evenly to {p:.0%} on day {end}; on day {day} it is {seen:.0%}",
            ),
        ),
    )


def early(seed: int) -> Step:
    """Two DLTs decide before the third outcome is known."""
    text = "1NNN 2TTP"
    task, run = decision("What happens next?", _study(), text)
    return Step(
        title="Not every open window matters",
        text="At level 2 the first two patients had a DLT. 006 is still pending.",
        task=task,
        hint="Go through both outcomes of 006. Can either of them save level 2?",
        because="Whatever becomes of 006, level 2 has failed. A decision is *ripe* when every completion of the open "
        "outcomes leads to it. Waiting would teach nothing; 006 is followed up all the same.",
        study=_study(),
        shown=(Trial(run),),
        shown_then=(Reasons(run),),
        how="the rule's own decision on every completion of the open outcomes: exact",
        command=f'escalation decide {STUDY} --outcomes "{text}"',
    )


def before_the_third(seed: int) -> Step:
    """Two DLTs before the third patient is treated."""
    text = "1NNN 2TT"
    task, run = decision("What happens next?", _study(), text)
    return Step(
        title="Before the third patient",
        text="The same level, a day earlier: two patients treated, two DLTs, and the third is in the waiting room. The "
        "cohort of three is not complete.",
        task=task,
        hint="Must the third patient be treated here only to complete the cohort?",
        because="No outcome of a third patient could change the decision, and it leads away from this level. So it is "
        "taken now. Going *up* is different: that always asks for the whole cohort.",
        study=_study(),
        shown=(Trial(run),),
        shown_then=(Reasons(run),),
        how="the rule's own decision on every completion of the open outcomes: exact",
        command=f'escalation decide {STUDY} --outcomes "{text}"',
    )


@lru_cache(maxsize=1024)
def _durations(days: int, seed: int) -> tuple[float, str, str]:
    study = load(STUDY, overrides=[f"protocol.dlt_window.days={days}"])
    run = simulate(study, scenarios=[SCENARIO], engine="calendar", trials=TRIALS, seed=seed)
    c = run.scenarios[0].characteristics
    assert c.duration_days is not None
    return c.duration_days.mean.value, number(c.duration_days.mean, 1), number(c.total_patients.mean, 2)


def the_price(seed: int) -> Step:
    """What a longer window costs in time."""
    study = _study()
    short, long = 28, 84
    a, said_a, size_a = _durations(short, seed)
    b, said_b, size_b = _durations(long, seed)
    ratio = b / a
    return Step(
        title="The price of waiting",
        text=f"Some toxicities come late, so a window of {long} days instead of {short} is proposed for the same 3+3. "
        "Patients come as before; while outcomes are open, the trial is closed to them.",
        task=Number(
            f"How many times as long does the trial take with {long} days as with {short} (to within 0.4)?",
            ratio,
            0.4,
            "times",
            1,
        ),
        hint="A cohort waits for its last window. How much of a trial is waiting, how much is finding patients?",
        because=f"{ratio:.1f} times as long: {said_b} days against {said_a}. Designs that read the follow-up "
        "of pending patients (rolling six, TITE-CRM, TITE-BOIN) were made for this. They do not call a pending patient "
        "negative either: they weigh what has been seen so far.",
        study=study,
        shown_then=(
            Listed(
                ("window", "duration in days, mean", "patients, mean"),
                ((f"{short} days", said_a, size_a), (f"{long} days", said_b, size_b)),
                f"{TRIALS} trials simulated on the calendar, standard error in parentheses",
            ),
        ),
        how=f"simulated on the calendar: {TRIALS} trials, seed {seed}, standard errors in parentheses",
        command=f"escalation simulate {STUDY} --scenario {SCENARIO} --engine calendar --trials {TRIALS} --seed {seed} "
        f"--set protocol.dlt_window.days={long}",
    )


LESSON = Lesson(
    key="pending",
    title="Pending is not negative",
    about="Decide when a trial must wait, when it must not, and say what it waits for.",
    study=STUDY,
    steps=(the_window, wait, half_way, early, before_the_third, the_price),
    summary=(
        "A pending patient is neither a DLT nor free of one.",
        "A decision is ripe when every completion of the open outcomes leads to it. Otherwise the trial waits, and "
        "says for whom.",
        "Going down or stopping need not wait for the last window, nor for the last patient of a cohort. Going up "
        "does.",
        "Waiting costs time. The remedy is a design that weighs follow-up, not a pending patient counted as well.",
    ),
)
