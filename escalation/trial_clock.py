"""One simulated trial on a clock: SimPy brings its events in order, and the trial's fold decides.

Days are whole. What happens on one day happens in a stated order: infusions, DLTs, withdrawals,
completed windows, responses, decisions, arrivals, places filled from the queue. A DLT on the last day of the
window therefore counts, and a participant can be enrolled on the day a decision takes effect.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import simpy
from simpy.core import EmptySchedule
from simpy.events import Event as SimPyEvent

from escalation.advice import Advice, ends
from escalation.decision import Action
from escalation.errors import EngineError
from escalation.streams import Numbers
from escalation.trial import (
    PENDING,
    Backfilled,
    Decided,
    DltObserved,
    Enrolled,
    Event,
    Infused,
    ModerateObserved,
    NotEvaluable,
    Responded,
    TrialState,
    WindowCompleted,
)

if TYPE_CHECKING:
    from escalation.calendar import CalendarEngine

INFUSION, TOXICITY, WITHDRAWAL, WINDOW, RESPONSE, REVIEW, ARRIVAL, PLACE = range(8)
"""The order of what happens on one day."""

MOST_ARRIVALS = 100_000
"""Arrivals after which a trial is given up as one that cannot end."""

COUNTED = (
    "treated",
    "not_evaluable",
    "arrivals",
    "screen_failures",
    "turned_away",
    "left_queue",
    "waiting_days",
    "held_window",
    "held_review",
    "held_stagger",
    "enrolment_days",
    "control",
)
"""What a trial counts and adds up, besides its outcomes."""


@dataclass(slots=True)
class _Held:
    """Since when, and why, nobody can be enrolled."""

    cause: str = ""
    since: int = 0
    until: int | None = None


class _Due(SimPyEvent):
    """Something that happens on a day, with its place in the order of that day."""

    def __init__(
        self, env: simpy.Environment, days: int, order: int, act: Callable[[Any], None], value: object = None
    ) -> None:
        self.env = env
        self.callbacks = [act]
        self._ok = True
        self._value = value
        env.schedule(self, order, days)  # type: ignore[arg-type]


@dataclass(slots=True)
class Course:
    """What a simulated trial leaves behind; ``periods``: cause, first day and end of each time without enrolment."""

    state: TrialState
    reason: str
    first_day: int | None
    last_day: int
    counts: dict[str, float]
    events: list[Event]
    arrival_days: dict[int, int]
    periods: list[tuple[str, int, int]]


class TrialClock:
    """One replicate of a study under one scenario."""

    def __init__(self, engine: CalendarEngine, numbers: Numbers, *, keep_events: bool) -> None:
        self.engine = engine
        self.numbers = numbers
        self.env = simpy.Environment(initial_time=0)
        self.state = TrialState(engine.rule, replace_not_evaluable=engine.protocol.evaluability.replace)
        self.events: list[Event] | None = [] if keep_events else None
        self.queue: deque[tuple[int, int]] = deque()
        self.arrival_days: dict[int, int] = {}
        self.reviewing = False
        self.place_due: int | None = None
        self.finished = self.suspended = False
        self.stop_reason = "trial.accrual_ended"  # until escalation ends by its rule
        self.first_day: int | None = None
        self.folded = 0
        self.answered: tuple[int, int, Advice] | None = None
        self.once_answered: Callable[[], None] | None = None
        self.by_clock = engine.by_clock  # until escalation ends
        self.last_day = 0
        self.held = _Held()
        self.periods: list[tuple[str, int, int]] = []
        self.counts: dict[str, float] = dict.fromkeys(COUNTED, 0)

    def run(self) -> Course:
        """Let the trial run to its end."""
        for _ in self.questions():
            pass  # the trial asks for itself
        return self.course()

    def questions(self) -> Iterator[int]:
        """Let the trial run to its end, pausing on each day its design is to be asked on the follow-up times.

        An answer given by :meth:`answer` in the pause is what the trial would have been told had it asked for itself.
        """
        self._schedule_arrival(0, 0.0)
        step = self.env.step
        try:
            while not self.finished:
                step()
                while self.once_answered is not None:
                    yield self.today
                    go_on, self.once_answered = self.once_answered, None
                    go_on()
        except EmptySchedule:  # nobody comes any more and nothing is open
            pass
        self._mark("", int(self.env.now))

    def answer(self, advice: Advice) -> None:
        """Tell the trial the advice of the day; it is forgotten as soon as something more happens."""
        self.answered = (self.folded, self.today, advice)

    @property
    def today(self) -> int:
        """The day."""
        return int(self.env.now)

    def course(self) -> Course:
        """What the trial leaves behind once it has ended."""
        return Course(
            self.state,
            self.stop_reason,
            self.first_day,
            self.last_day,
            self.counts,
            self.events or [],
            self.arrival_days,
            self.periods,
        )

    def _fold(self, event: Event) -> None:
        self.state.apply(event)
        self.folded += 1
        if self.events is not None:
            self.events.append(event)

    # arrivals -----------------------------------------------------------------------------

    def _schedule_arrival(self, arrival: int, before: float) -> None:
        moment = self.engine.arrival(arrival, before, self.numbers)
        if moment is not None:
            if arrival >= MOST_ARRIVALS:
                raise EngineError(
                    f"the trial did not end within {MOST_ARRIVALS:,} arrivals; look at accrual and design"
                )
            _Due(self.env, int(moment) - int(self.env.now), ARRIVAL, self._arrive, (arrival, moment))

    def _arrive(self, due: Any) -> None:
        arrival, moment = due._value
        today = int(self.env.now)
        self.counts["arrivals"] += 1
        self._schedule_arrival(arrival + 1, moment)
        scenario = self.engine.scenario
        if scenario.screen_failure and self.numbers.at("screening", arrival) < scenario.screen_failure:
            self.counts["screen_failures"] += 1
            return
        self._leave_queue(today)
        if self.by_clock and not self.queue and self.state.open_places <= 0:
            self._once_asked(partial(self._place_wanted, arrival, today))
        else:
            self._received(arrival, today)

    def _place_wanted(self, arrival: int, today: int) -> None:
        """Somebody arrives and no place is open: the design is asked, and without a review lag decides at once."""
        if not self.reviewing and self._advice() is not None:
            if self.engine.protocol.review_lag_days:
                self._begin_review()
            else:
                self._review(None)
        self._received(arrival, today)

    def _received(self, arrival: int, today: int) -> None:
        """Enrol an arrival, or let it wait."""
        scenario = self.engine.scenario
        if self.engine.rule.backfill is not None and self.queue and self._place_free(today):
            self._fill(None)  # those who waited come first, so that only a surplus is backfilled
        if not self.queue and self._place_free(today):
            self._enrol(arrival, today, today)
            return
        if len(self.queue) >= self.state.open_places and self._backfill(arrival, today, today):
            return
        held = scenario.held
        if held.policy == "turn_away" or (held.most_waiting is not None and len(self.queue) >= held.most_waiting):
            self.counts["turned_away"] += 1
            return
        self.queue.append((arrival, today))
        self._wait_for_place(today)
        if self.by_clock:
            self._consider(today)

    def _leave_queue(self, today: int) -> None:
        patience = self.engine.patience
        while patience is not None and self.queue and today - self.queue[0][1] > patience:
            self.queue.popleft()
            self.counts["left_queue"] += 1

    # places -------------------------------------------------------------------------------

    def _earliest(self) -> int:
        engine = self.engine
        return self.state.earliest_next(engine.sentinel_days, engine.between_days) if engine.staggered else 0

    def _place_free(self, today: int) -> bool:
        return not self.reviewing and self.state.open_places > 0 and self._earliest() <= today

    def _wait_for_place(self, today: int) -> None:
        """Come back on the day the stagger frees the next place, when it is the stagger that holds."""
        if self.reviewing or self.state.open_places <= 0:
            return
        earliest = max(self._earliest(), today)
        if self.place_due is None or self.place_due > earliest or self.place_due < today:
            self.place_due = earliest
            _Due(self.env, earliest - today, PLACE, self._fill)

    def _fill(self, _: Any) -> None:
        today = int(self.env.now)
        self.place_due = None
        self._leave_queue(today)
        while self.queue and self._place_free(today):
            arrival, came = self.queue.popleft()
            self._enrol(arrival, came, today)
        if self.queue:
            self._backfill_queue(today)
            self._wait_for_place(today)

    def _backfill(self, arrival: int, came: int, today: int) -> bool:
        """Treat somebody for whom escalation has no place at a lower regimen; False when none is open."""
        stage, state = self.engine.rule.backfill, self.state
        if stage is None or self.first_day is None or self._ends(today):
            return False
        opened = np.zeros(self.engine.rule.grid.size, dtype=bool)
        for regimen in state.open_for_backfill():
            sentinel, between = self.engine.sentinel_days, self.engine.between_days
            opened[regimen] = state.earliest_next(sentinel, between, regimen) <= today
        chosen = stage.first(opened, self.engine.rule.grid)
        if chosen is None:
            return False
        self._enrol(arrival, came, today, chosen)
        return True

    def _ends(self, today: int) -> bool:
        """Whether escalation would end on what is known: nobody is backfilled then."""
        advisor = self.engine.advisor
        if advisor.retreats_wait and any(self.state.pending):
            return False
        return ends(self._asked(today) if self.by_clock else advisor.advise(self.state))

    def _backfill_queue(self, today: int) -> None:
        """Backfill those who wait beyond the open places of escalation, first come first served."""
        if self.engine.rule.backfill is None or self._place_free(today):
            return  # free places are filled first
        self._leave_queue(today)
        while len(self.queue) > self.state.open_places:
            arrival, came = self.queue[self.state.open_places]
            if not self._backfill(arrival, came, today):
                return
            del self.queue[self.state.open_places]

    def _enrol(self, arrival: int, came: int, today: int, below: int | None = None) -> None:
        """Treat somebody at the open regimen, or backfill them at one ``below`` it."""
        engine, numbers = self.engine, self.numbers
        regimen = self.state.regimen if below is None else below
        self._fold(Enrolled(today, arrival, regimen) if below is None else Backfilled(today, arrival, regimen))
        self._fold(Infused(today, arrival, 1))
        self.counts["treated"] += 1
        self.counts["waiting_days"] += today - came
        self.arrival_days[arrival] = came
        if self.first_day is None:
            self.first_day = today
        self.counts["enrolment_days"] = today - self.first_day
        given = engine.schedules[regimen]
        planned = len(given)
        if engine.missed_infusion and planned > 1:
            given = tuple(
                day
                for number, day in enumerate(given)
                if number == 0 or numbers.at("missed_infusion", arrival, number) >= engine.missed_infusion
            )
        if len(given) > 1:
            _Due(self.env, given[1], INFUSION, self._infuse, (arrival, given, 1, today))
        tolerance = numbers.at("tolerance", arrival)
        onset = engine.truth.onset_day(regimen, tolerance, given if len(given) < planned else None)
        end = engine.ends[regimen]
        left = engine.drop_out_day(numbers.at("drop_out", arrival), end) if engine.drop_out else None
        if engine.truth.moderate is not None:
            self._expect_moderate(arrival, tolerance, given if len(given) < planned else None, left)
        if onset is not None and (left is None or onset <= left):
            left = None
            _Due(self.env, onset, TOXICITY, self._toxic, arrival)
        elif left is not None:
            _Due(self.env, left, WITHDRAWAL, self._withdraw, (arrival, "withdrew"))
        elif len(given) < engine.fewest_infusions[regimen]:
            _Due(self.env, end, WITHDRAWAL, self._withdraw, (arrival, "infusions missed"))
        else:
            _Due(self.env, end, WINDOW, self._complete, arrival)
        if engine.responses is not None and numbers.at("response", arrival) < engine.responses[regimen]:
            _Due(self.env, engine.response_days[regimen], RESPONSE, self._respond, (arrival, left))
        if below is None:
            self._consider(today)

    # follow-up ----------------------------------------------------------------------------

    def _infuse(self, due: Any) -> None:
        arrival, given, number, start = due._value
        if self.state.participants[arrival].status != PENDING:
            return  # treatment ended with the DLT or the withdrawal
        today = int(self.env.now)
        self._fold(Infused(today, arrival, number + 1))
        if number + 1 < len(given):
            _Due(
                self.env, start + given[number + 1] - today, INFUSION, self._infuse, (arrival, given, number + 1, start)
            )

    def _expect_moderate(self, arrival: int, tolerance: float, given: tuple[int, ...] | None, left: int | None) -> None:
        regimen = self.state.participants[arrival].regimen
        day = self.engine.truth.moderate_day(regimen, tolerance, given)
        if day is not None and (left is None or day <= left):
            _Due(self.env, day, TOXICITY, self._moderate, arrival)

    def _moderate(self, due: Any) -> None:
        event = ModerateObserved(int(self.env.now), due._value)
        if self.engine.rule.reads_grades:
            self._outcome(event)  # it may decide before the window is complete
        else:
            self._fold(event)

    def _toxic(self, due: Any) -> None:
        self._outcome(DltObserved(self.today, due._value), ending=True)  # it can end the trial although nobody waits

    def _complete(self, due: Any) -> None:
        self._outcome(WindowCompleted(int(self.env.now), due._value))

    def _withdraw(self, due: Any) -> None:
        arrival, cause = due._value
        self.counts["not_evaluable"] += 1
        self._outcome(NotEvaluable(int(self.env.now), arrival, cause))

    def _respond(self, due: Any) -> None:
        arrival, left = due._value
        today = int(self.env.now)
        if left is not None and today > self.state.participants[arrival].enrolled + left:
            return  # nobody assesses the response of somebody who has left
        self._fold(Responded(today, arrival))
        self._backfill_queue(today)

    def _outcome(
        self, event: ModerateObserved | DltObserved | WindowCompleted | NotEvaluable, *, ending: bool = False
    ) -> None:
        self._fold(event)
        today = event.day
        backfilled = self.state.participants[event.participant].stage == "backfill"
        if not (backfilled and self.state.stage == "closed"):
            self.last_day = max(self.last_day, today)
        if self.state.stage == "closed":
            self.finished = not self.state.anyone_followed
            return
        self._consider(today, ending)
        if self.queue:
            self._backfill_queue(today)
            self._wait_for_place(today)

    # decisions ----------------------------------------------------------------------------

    def _advice(self) -> Advice | None:
        """The decision that can take effect now, None when there is none yet."""
        engine, state = self.engine, self.state
        self.suspended = False
        if state.size > state.enrolled and not engine.close_when_certain:
            return None  # the cohort is filled first, as published operating characteristics assume
        if engine.advisor.retreats_wait and any(state.pending):
            self.suspended = True
            return None
        advice = self._asked(int(self.env.now)) if self.by_clock else engine.advisor.advise(state)
        self.suspended = not advice.decides
        return advice if advice.decides else None

    def _asked(self, today: int) -> Advice:
        """The advice of the day, asked once until something more happens."""
        advice = self._answer(today)
        if advice is None:
            advice = self.engine.advisor.advise(self.state, today)
            self.answer(advice)
        return advice

    def _answer(self, today: int) -> Advice | None:
        """The advice of the day, None when it was not asked since something last happened."""
        if self.answered is None or self.answered[:2] != (self.folded, today):
            return None
        return self.answered[2]

    def _once_asked(self, act: Callable[[], None]) -> None:
        """Do what the advice of the day is needed for: in a pause of the trial unless the advice is there."""
        if self.engine.reads_follow_up and self.by_clock and self._answer(self.today) is None:
            self.once_answered = act
        else:
            act()

    def _consider(self, today: int, ending: bool = False) -> None:
        """See whether a decision is due; ``ending`` when it may be the end of the trial."""
        if self.by_clock and not self.reviewing and self.state.open_places <= 0 and self._wanted(ending):
            self._once_asked(partial(self._considered, today, ending))
        else:
            self._considered(today, ending)

    def _wanted(self, ending: bool) -> bool:
        """Whether a decision by the clock is wanted: somebody waits for a place, or the trial may end."""
        return bool(self.queue) or ending or not self.state.anyone_pending

    def _considered(self, today: int, ending: bool) -> None:
        if not self.reviewing and self._due_for_decision(ending):
            self._begin_review()
        self._mark(self._hold_cause(today), today)

    def _begin_review(self) -> None:
        self.reviewing = True
        _Due(self.env, self.engine.protocol.review_lag_days, REVIEW, self._review)

    def _due_for_decision(self, ending: bool) -> bool:
        """Whether a decision can take effect and is wanted now.

        A design that reads follow-up times decides on as much follow-up as there is when somebody waits
        for a place. With nobody waiting it is asked only whether the trial ends.
        """
        if not self.by_clock or self.queue:
            return self._advice() is not None
        if self.state.open_places > 0 and not self.engine.close_when_certain:
            return False
        advice = self._advice() if self._wanted(ending) else None
        return advice is not None and advice.action == Action.STOP

    def _review(self, _: Any) -> None:
        self.reviewing = False
        self._once_asked(self._decide)

    def _decide(self) -> None:
        today, advice = self.today, self._advice()
        if advice is None:  # an outcome during the review has re-opened a place or the question
            self._mark(self._hold_cause(today), today)
            if self.queue:
                self._wait_for_place(today)
            return
        if advice.allocation and any(advice.allocation):
            regimen = self.numbers.regimen(advice.allocation, self.state.cohort - 1)
            advice = advice.drawing(regimen, self.state.regimen, self.engine.protocol.grid)
        if self.state.stage == "escalation" and advice.action == Action.STOP:
            self.stop_reason = advice.reasons[0]
        self._fold(
            Decided(
                today,
                advice.action.word,
                advice.regimen,
                advice.size,
                advice.reasons,
                advice.selected,
                advice.memory,
            )
        )
        self.last_day = max(self.last_day, today)
        self.by_clock = self.by_clock and self.state.stage == "escalation"
        if self.state.stage == "closed":
            self.finished = not self.state.anyone_followed
        self._mark(self._hold_cause(today), today)
        if self.queue:
            self._backfill_queue(today)
            self._wait_for_place(today)

    # what holds accrual -------------------------------------------------------------------

    def _hold_cause(self, today: int) -> str:
        if self.state.stage == "closed" or self.first_day is None:
            return ""
        if self.reviewing:
            return "held_review"
        if self.state.open_places <= 0:
            # by the clock, the next cohort may open as soon as somebody asks for a place
            return "held_window" if self.suspended or not self.by_clock else ""
        return "held_stagger" if self._earliest() > today else ""

    def _mark(self, cause: str, today: int) -> None:
        held = self.held
        if held.cause:
            until = today if held.until is None else min(today, held.until)
            self.counts[held.cause] += max(0, until - held.since)
            if self.events is not None and until > held.since:
                self._add_period(held.cause, held.since, until)
        held.cause, held.since = cause, today
        held.until = self._earliest() if cause == "held_stagger" else None

    def _add_period(self, cause: str, since: int, until: int) -> None:
        """Keep a time without enrolment, as one with the time before it when nothing lies between."""
        if self.periods and self.periods[-1][0] == cause and self.periods[-1][2] == since:
            since = self.periods.pop()[1]
        self.periods.append((cause, since, until))
