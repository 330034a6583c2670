"""The calendar of two randomised groups: the treatment group as in any calendar, the control group beside it.

Participants are randomised one by one in permuted blocks of twice the allocation ratio. While the treatment group's
monitoring holds accrual nobody is randomised, so control participants wait too. Once the treatment group has its
planned size the rest of the control group is enrolled without waiting. Participants who replace a treated one who is
not evaluable come after the randomised ones and are treated. DLTs are those of the treatment group; the control group
loses nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from escalation.calendar import CalendarEngine
from escalation.protocol import Protocol
from escalation.scenario import Scenario
from escalation.streams import Numbers
from escalation.trial_clock import TrialClock
from escalation.truth import BoundTruth
from escalation.two_groups import Groups


class TwoGroupsClock(TrialClock):
    """One replicate of a study of two groups."""

    engine: TwoGroupsEngine

    def __init__(self, engine: TwoGroupsEngine, numbers: Numbers, *, keep_events: bool) -> None:
        super().__init__(engine, numbers, keep_events=keep_events)
        self.randomised = 0
        self.to_treat = engine.treatment
        self.block: list[bool] = []

    def questions(self) -> Iterator[int]:
        """Let the trial run to its end, and the control group to its planned size unless toxicity stops both."""
        yield from super().questions()
        while self._control_alone() and self.env.peek() < float("inf"):
            self.env.step()

    def _stopped(self) -> bool:
        return self.state.stage == "closed" and not self.state.selected

    def _control_alone(self) -> bool:
        """Whether only control participants are still to be randomised."""
        return not self.to_treat and self.randomised < self.engine.participants and not self._stopped()

    def _place_free(self, today: int) -> bool:
        return self._control_alone() or super()._place_free(today)

    def _hold_cause(self, today: int) -> str:
        return "" if self._control_alone() else super()._hold_cause(today)

    def _enrol(self, arrival: int, came: int, today: int, below: int | None = None) -> None:
        if self._treats():
            super()._enrol(arrival, came, today, below)
            return
        self.first_day = today if self.first_day is None else self.first_day
        self.counts["control"] += 1
        self.counts["waiting_days"] += today - came
        self.counts["enrolment_days"] = today - self.first_day
        self.last_day = max(self.last_day, today)

    def _treats(self) -> bool:
        """Randomise the next participant: whether to the treatment group."""
        engine = self.engine
        if self.randomised >= engine.participants:
            return True  # replaces a treated participant
        if not self.block:
            first, second = engine.ratio
            units = min(2, (engine.participants - self.randomised) // (first + second))
            self.block = [False] * (first * units) + [True] * (second * units)
        place = int(self.numbers.at("allocation", self.randomised) * len(self.block))
        treated = self.block.pop(place)
        self.randomised += 1
        self.to_treat -= treated
        return treated


class TwoGroupsEngine(CalendarEngine):
    """The calendar of two groups under one scenario."""

    clock: type[Any] = TwoGroupsClock

    def __init__(self, protocol: Protocol, scenario: Scenario, truth: BoundTruth, groups: Groups) -> None:
        super().__init__(protocol, scenario, truth)
        self.participants, self.ratio = groups.participants, groups.ratio
        self.treatment = round(groups.sizes[1])
