"""One simulated trial told event by event: who was where, what was decided and why, what is awaited."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np

from escalation.advice import Advice
from escalation.calendar import CalendarEngine
from escalation.decision import Action
from escalation.report.charts.trials import Cause, Followed, Suspended, Taken
from escalation.report.wording import where_to
from escalation.results import TrialRows
from escalation.study import Study
from escalation.trial import (
    Backfilled,
    Decided,
    DltObserved,
    Enrolled,
    Event,
    Extended,
    Infused,
    ModerateObserved,
    NotEvaluable,
    Responded,
    TrialState,
    WindowCompleted,
)
from escalation.trial_clock import Course

_CAUSES: Final[dict[str, Cause]] = {"held_window": "outcomes", "held_review": "review", "held_stagger": "stagger"}


@dataclass(frozen=True, slots=True)
class Moment:
    """A trial as it stood after one of its steps.

    Attributes
    ----------
    day
        Day of the step.
    said
        What happened, in one line.
    reasons
        Of a decision, why: each reason's code, line and paragraph.
    people, decisions, suspended
        What is known so far, as the figures take it.
    advice
        What the rule says to the trial as it stands.
    """

    day: int
    said: str
    reasons: tuple[tuple[str, str, str], ...]
    people: tuple[Followed, ...]
    decisions: tuple[Taken, ...]
    suspended: tuple[Suspended, ...]
    advice: Advice


class SimulatedTrial:
    """One replicate of the calendar engine, worked out again from its seed and number.

    Parameters
    ----------
    study, scenario
        The study, and the name of one of its scenarios.
    seed
        The master seed of the simulation.
    replicate
        Number of the trial within the simulation, counted from 0.
    """

    def __init__(self, study: Study, scenario: str, seed: int, replicate: int) -> None:
        assumed = study.scenario(scenario)
        self.study = study
        self.engine = CalendarEngine(study.protocol, assumed, study.truth(assumed))
        self.course: Course = self.engine.course(seed, replicate)
        self.grid = study.protocol.grid

    @cached_property
    def steps(self) -> tuple[tuple[Event, ...], ...]:
        """The events that are told together: an enrolment with its first infusion, every other by itself."""
        told: list[tuple[Event, ...]] = []
        for event in self.course.events:
            if told and isinstance(event, Infused) and isinstance(told[-1][-1], Enrolled | Backfilled):
                told[-1] = (*told[-1], event)
            else:
                told.append((event,))
        return tuple(told)

    @cached_property
    def decision_steps(self) -> tuple[int, ...]:
        """Positions of the decisions among the steps."""
        return tuple(place for place, events in enumerate(self.steps) if isinstance(events[0], Decided))

    @cached_property
    def last_day(self) -> int:
        """The last day on which something happens or is planned."""
        planned = [each.window_end for each in self.at(len(self.steps) - 1).people]
        return max([self.course.last_day, *planned])

    @cached_property
    def _numbers(self) -> dict[int, str]:
        """Participants by the order of their first infusion; arrivals who were not enrolled have no number."""
        enrolled = [event.participant for event in self.course.events if isinstance(event, Enrolled | Backfilled)]
        return {participant: str(number) for number, participant in enumerate(enrolled, 1)}

    def at(self, step: int) -> Moment:
        """The trial after a step, counted from 0."""
        state = TrialState(self.engine.rule, replace_not_evaluable=self.engine.protocol.evaluability.replace)
        people: dict[int, Followed] = {}
        decisions: list[Taken] = []
        for event in (event for events in self.steps[: step + 1] for event in events):
            state.apply(event)
            if isinstance(event, Decided):
                decisions.append(self._taken(event, state))
            elif not isinstance(event, Extended):
                people[event.participant] = self._followed(people.get(event.participant), event, state)
        last = self.steps[step][0]
        return Moment(
            last.day,
            self._said(last),
            self._reasons(last) if isinstance(last, Decided) else (),
            tuple(people.values()),
            tuple(decisions),
            tuple(self._suspended(last.day)),
            self.engine.advisor.advise(state),
        )

    def _followed(self, before: Followed | None, event: Event, state: TrialState) -> Followed:
        if isinstance(event, Enrolled | Backfilled):
            return Followed(
                self._numbers[event.participant],
                self.grid.level(event.regimen),
                state.participants[event.participant].cohort,
                event.day,
                (),
                event.day + self.engine.ends[event.regimen],
                "pending",
                backfill=isinstance(event, Backfilled),
            )
        assert before is not None
        if isinstance(event, Infused):
            return replace(before, infusions=(*before.infusions, event.day))
        if isinstance(event, Responded | ModerateObserved):
            return before
        if isinstance(event, DltObserved):
            return replace(before, outcome="dlt", outcome_day=event.day)
        if isinstance(event, WindowCompleted):
            graded = self.engine.rule.reads_grades and state.participants[event.participant].moderate
            return replace(before, outcome="moderate" if graded else "complete", outcome_day=event.day)
        return replace(before, outcome="not_evaluable", outcome_day=event.day)

    def _taken(self, event: Decided, state: TrialState) -> Taken:
        action = Action[event.action.upper()]
        level = "" if state.stage == "closed" else self.grid.level(state.regimen)
        return Taken(event.day, action, level, " ".join(line for _, line, _ in self._reasons(event)))

    def _reasons(self, event: Decided) -> tuple[tuple[str, str, str], ...]:
        found = (self.engine.rule.reason(code) for code in event.reasons)
        return tuple((reason.code, reason.line, reason.paragraph) for reason in found)

    def _suspended(self, day: int) -> Iterator[Suspended]:
        for cause, start, end in self.course.periods:
            if start < day:
                yield Suspended(start, min(end, day), _CAUSES[cause])

    def _said(self, event: Event) -> str:
        if isinstance(event, Decided):
            action = Action[event.action.upper()]
            return f"Decision: the trial {where_to(action, event.regimen, event.selected, self.grid)}."
        if isinstance(event, Extended):
            return f"The cohort gets {event.places} more places."
        who = f"Participant {self._numbers[event.participant]}"
        if isinstance(event, Enrolled):
            return f"{who} is enrolled and has the first infusion: {self.grid.describe(event.regimen)}."
        if isinstance(event, Backfilled):
            return f"{who} is backfilled and has the first infusion: {self.grid.describe(event.regimen)}."
        if isinstance(event, Responded):
            return f"{who} has a response."
        if isinstance(event, Infused):
            planned = len(self.grid.schedule(self.course.state.participants[event.participant].regimen))
            return f"{who} has an infusion, the {_ordinal(event.number)} of {planned}."
        if isinstance(event, ModerateObserved):
            return f"{who} has a moderate toxicity."
        if isinstance(event, DltObserved):
            return f"{who} has a DLT."
        if isinstance(event, NotEvaluable):
            return f"{who} is not evaluable: {event.cause}."
        return f"{who} completes the DLT window without a DLT."


def _ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")


EXEMPLARS: Final = {
    "typical": "Typical duration",
    "longest": "Longest",
    "shortest": "Shortest",
    "most_dlts": "Most DLTs",
}
"""Rules by which a trial worth looking at is found, and how they are named."""


def exemplars(rows: TrialRows) -> dict[str, int]:
    """Replicates, counted from 0, that follow the rules of ``EXEMPLARS``; the first of several that do.

    The typical trial is the one whose duration is closest to the median.
    """
    assert rows.calendar is not None
    duration = rows.calendar.duration_days
    return {
        "typical": int(np.argmin(np.abs(duration - np.median(duration)))),
        "longest": int(np.argmax(duration)),
        "shortest": int(np.argmin(duration)),
        "most_dlts": int(np.argmax(rows.total_dlt)),
    }
