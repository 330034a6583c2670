"""The calendar engine: many simulated trials on a clock, and what is kept of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from math import log1p
from typing import Any

import numpy as np

from escalation.advice import Advisor
from escalation.protocol import Protocol
from escalation.results import Calendar, TrialRows
from escalation.rule import Rule
from escalation.scenario import FixedAccrual, ListedAccrual, Scenario, UniformAccrual
from escalation.streams import Numbers, Purpose, numbers_of
from escalation.trial import NOT_EVALUABLE
from escalation.trial_clock import COUNTED, Course, TrialClock
from escalation.truth import BoundTruth

_TOGETHER = 128
"""Trials that run side by side so that a design that reads follow-up times is asked for all of them at once."""


class CalendarEngine:
    """The calendar of a protocol under one scenario; replicates are keyed by seed and number."""

    clock: type[TrialClock] = TrialClock
    """What runs one replicate."""

    def __init__(self, protocol: Protocol, scenario: Scenario, truth: BoundTruth) -> None:
        self.protocol = protocol
        self.scenario = scenario
        self.truth = truth
        self.rule: Rule = protocol.rule
        self.close_when_certain = protocol.close_cohort_when_certain
        self.sentinel_days, self.between_days = protocol.stagger.sentinel_days, protocol.stagger.between_days
        self.staggered = self.sentinel_days > 0 or self.between_days > 0
        self.patience = scenario.held.patience_days
        self.drop_out = scenario.drop_out
        self.missed_infusion = scenario.missed_infusion
        self.fewest_infusions = [
            protocol.evaluability.minimum_infusions * len(protocol.grid.schedule(k)) - 1e-9
            for k in range(protocol.grid.size)
        ]
        self.advisor = Advisor.of(self.rule, protocol.escalate_when)
        self.by_clock = self.advisor.by_clock
        self.reads_follow_up = self.by_clock and self.rule.design.reads_follow_up
        self.schedules = [protocol.grid.schedule(k) for k in range(protocol.grid.size)]
        self.ends: list[int] = truth.ends.tolist()
        responses = None if self.rule.backfill is None else scenario.response_probabilities(protocol.grid)
        self.responses: list[float] | None = None if responses is None else responses.tolist()
        assessed = scenario.response_day
        self.response_days = self.ends if assessed is None else [assessed] * protocol.grid.size

    def arrival(self, arrival: int, before: float, numbers: Numbers) -> float | None:
        """Moment of an arrival given the one before, None when no more come."""
        accrual = self.scenario.accrual
        if isinstance(accrual, ListedAccrual):
            return accrual.days[arrival] if arrival < len(accrual.days) else None
        if isinstance(accrual, FixedAccrual):
            return arrival * accrual.gap_days
        if isinstance(accrual, UniformAccrual):
            return before + 2 * accrual.mean_gap_days * numbers.at("accrual", arrival)
        return before - log1p(-numbers.at("accrual", arrival)) * accrual.mean_gap_days

    def drop_out_day(self, number: float, end: int) -> int | None:
        """Day of withdrawal since the first infusion, at a constant rate within the window."""
        probability = self.drop_out
        if number >= probability:
            return None
        return min(int(end * log1p(-number) / log1p(-probability)), end - 1)

    def course(self, seed: int, replicate: int, *, keep_events: bool = True) -> Course:
        """One simulated trial, with its events."""
        return self.clock(self, Numbers(seed, replicate), keep_events=keep_events).run()

    def run(
        self, seed: int, first: int, trials: int, *, records: bool = False
    ) -> tuple[TrialRows, list[dict[str, Any]]]:
        """Simulate trials; participant records only when asked for, so memory stays flat otherwise."""
        regimens = self.rule.grid.size
        n, dlt = np.zeros((trials, regimens), np.int32), np.zeros((trials, regimens), np.int32)
        backfill_n, backfill_dlt = np.zeros_like(n), np.zeros_like(n)
        moderate = None if self.truth.moderate is None else np.zeros((trials, regimens), np.int32)
        selected = np.zeros((trials, regimens), dtype=bool)
        reason = np.zeros(trials, np.int32)
        expansion_n, expansion_dlt = np.zeros(trials, np.int32), np.zeros(trials, np.int32)
        withdrawn, duration = np.zeros(trials, dtype=bool), np.zeros(trials)
        counted = np.zeros((len(COUNTED), trials))
        people: list[dict[str, Any]] = []
        for row, course in enumerate(self._courses(numbers_of(seed, self._purposes(), first, trials))):
            state = course.state
            n[row], dlt[row] = state.n, state.dlt
            backfill_n[row], backfill_dlt[row] = state.backfill_n, state.backfill_dlt
            if moderate is not None:
                moderate[row] = state.moderate
            selected[row, list(state.selected)] = True
            reason[row] = self.rule.reason_index[course.reason]
            expansion_n[row], expansion_dlt[row] = state.expansion_n, state.expansion_dlt
            withdrawn[row] = state.withdrawn
            duration[row] = course.last_day - (course.first_day or 0)
            counted[:, row] = [course.counts[name] for name in COUNTED]
            if records:
                people.extend(self._records(first + row, course))
        columns = dict(zip(COUNTED, counted, strict=True))
        calendar = Calendar(duration_days=duration, **columns)
        rows = TrialRows.of(n=n, dlt=dlt, selected=selected, reason=reason, calendar=calendar, moderate=moderate)
        if self.rule.backfill is not None:
            rows = rows.with_backfill(backfill_n, backfill_dlt)
        return rows.with_expansion(expansion_n, expansion_dlt, withdrawn), people

    def _courses(self, numbers: Iterable[Numbers]) -> Iterator[Course]:
        """Simulated trials one after the other; side by side where the design reads follow-up times.

        The design is then asked once for all trials that pause with a question.
        """
        clocks = (self.clock(self, each, keep_events=False) for each in numbers)
        if not self.reads_follow_up:
            yield from (clock.run() for clock in clocks)
            return
        while group := list(islice(clocks, _TOGETHER)):
            running = [(clock, clock.questions()) for clock in group]
            while running := [(clock, questions) for clock, questions in running if next(questions, None) is not None]:
                asking = [clock for clock, _ in running]
                advice = self.advisor.advise_all([clock.state for clock in asking], [clock.today for clock in asking])
                for clock, each in zip(asking, advice, strict=True):
                    clock.answer(each)
            yield from (clock.course() for clock in group)

    def _purposes(self) -> list[Purpose]:
        """What every trial draws numbers for."""
        purposes: list[Purpose] = ["tolerance"]
        purposes += ["accrual"] if self.scenario.accrual.law in ("poisson", "uniform") else []
        purposes += ["response"] if self.responses is not None else []
        purposes += ["screening"] if self.scenario.screen_failure else []
        return [*purposes, "drop_out"] if self.drop_out else purposes

    def _records(self, replicate: int, course: Course) -> list[dict[str, Any]]:
        grid = self.rule.grid
        records = []
        for arrival, person in course.state.participants.items():
            regimen = grid.regimen(person.regimen)
            records.append(
                {
                    "trial": replicate + 1,
                    "arrival": arrival + 1,
                    "arrival_day": course.arrival_days[arrival],
                    "enrolled_day": person.enrolled,
                    "dose": regimen.dose,
                    "frequency": regimen.frequency,
                    "stage": person.stage,
                    "cohort": person.cohort,
                    "infusions": person.infusions,
                    "outcome": person.status,
                    "outcome_day": person.resolved,
                    **({} if self.truth.moderate is None else {"moderate": person.moderate}),
                    "evaluable": person.status != NOT_EVALUABLE,
                    **({} if self.rule.backfill is None else {"responded": person.responded}),
                }
            )
        return records
