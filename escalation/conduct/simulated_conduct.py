"""A simulated trial conducted: every act through the service, every decision beside the one the simulation took."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from escalation.calendar import CalendarEngine
from escalation.conduct import records as r
from escalation.conduct.invented import PASSWORD, HandClock, InventedPeople
from escalation.conduct.service import Conduct, ConductError
from escalation.conduct.simulated import events_of_simulated_trial
from escalation.errors import Fault, StudyError
from escalation.regimens import RegimenGrid
from escalation.study import Study
from escalation.trial import Decided
from escalation.trial_clock import Course


class DepartureError(ConductError):
    """Conduct does something else than the simulation did; the message says what each of them does."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A decision as simulated and as conducted: action, next regimen, size, selection and coded reasons.

    ``drawn`` when the design drew the regimen, in both with the same number.
    """

    on: date
    committee: int
    simulated: dict[str, Any]
    conducted: dict[str, Any]
    drawn: bool = False

    @property
    def equal(self) -> bool:
        return self.simulated == self.conducted


def course_of(study: Study, scenario: str | None, seed: int, replicate: int) -> tuple[str, Course]:
    """A simulated trial of a study by its scenario (the first if None) and number from 1, with the scenario's name.

    Raises
    ------
    StudyError
        When the study has no scenario of that name, or a seed or number is no such thing.
    EngineError
        When the calendar engine cannot run the design.
    """
    names = [each.name for each in study.scenarios]
    faults = []
    if scenario is not None and scenario not in names:
        faults.append(Fault("--scenario", f"there is no scenario {scenario!r}", f"there are: {', '.join(names)}"))
    if seed < 0:
        faults.append(Fault("--seed", f"{seed} is negative", "use 0 or more"))
    if replicate < 1:
        faults.append(Fault("--replicate", f"there is no trial {replicate}", "trials count from 1"))
    if faults:
        raise StudyError(tuple(faults), "command line")
    chosen = study.scenarios[0 if scenario is None else names.index(scenario)]
    engine = CalendarEngine(study.protocol, chosen, study.truth(chosen))
    return chosen.name, engine.course(seed, replicate - 1)


@dataclass
class SimulatedConduct:
    """Conducts a simulated trial by invented people, in the order and at the times of its events.

    Attributes
    ----------
    draws
        The stream the simulation drew from: its seed and the number of the trial, counted from 1.
    decisions
        What was decided so far, as simulated and as conducted.
    """

    conduct: Conduct
    clock: HandClock
    trial: str
    study: Study
    course: Course
    draws: r.DrawStream
    decisions: list[Taken] = field(default_factory=list, init=False)
    _people: InventedPeople = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._people = InventedPeople(self.conduct, self.clock)

    def run(self) -> list[Taken]:
        """Conduct the trial to the end of the simulation and close it when it has ended.

        Raises
        ------
        DepartureError
            At the first assignment or decision that is not the simulated one, or when the trials end differently.
        GateRefused
            When a gate of conduct refuses what the simulation did.
        """
        self._people.employ(self.trial)
        self.conduct.open_trial(self._people.token("ingrid"), self.trial, self.study, PASSWORD, draws=self.draws)
        origin = self.clock.moment + timedelta(days=1)
        for step in events_of_simulated_trial(self.course, self.study.protocol, origin):
            self.clock.to(getattr(step.record, "ended_at", None) or step.at)
            if step.decided is not None:
                self._decide(step.decided)
            elif step.record is not None:
                self._record(step.record)
        self._end()
        return self.decisions

    def _record(self, record: r.Record) -> None:
        if isinstance(record, r.Assigned):
            token, backfill = self._people.token("ingrid"), record.stage == "backfill"
            entry = self.conduct.assign(token, self.trial, record.participant, backfill=backfill).entries[0]
            made = r.Assigned.model_validate(entry.payload)
            if made != record:
                raise DepartureError(f"{record.participant}: simulation assigns {record}, conduct {made}")
        elif isinstance(record, r.DltDecided):
            said = record.model_dump(include={"participant", "adjudication", "outcome", "attribution", "discussion"})
            self.conduct.adjudicate(self._people.token("maria"), self.trial, PASSWORD, **said)
        else:
            self.conduct.record(self._people.token("ingrid"), self.trial, record)

    def _decide(self, decided: Decided) -> None:
        """Snapshot, recommendation, minutes of what the simulation decided, signature and circulation."""
        conduct, statistician, grid = self.conduct, self._people.token("stefan"), self.study.protocol.grid
        snapshot = conduct.snapshot(statistician, self.trial).version
        recommendation = conduct.recommend(statistician, self.trial, snapshot).version
        made = conduct.state(statistician, self.trial).recommendations[recommendation].advice
        today, wanted = self.clock.moment.date(), _form(decided, grid)
        advised = {name: made[name] for name in wanted} | ({} if made["action"] == "stop" else {"selected": []})
        if not made["decides"] or advised != wanted:
            raise DepartureError(
                f"{today}, decision {len(self.decisions) + 1}: simulation decides {wanted}, "
                f"conduct recommends {advised}{'' if made['decides'] else ', which is not to be taken yet'}"
            )
        minutes = r.CommitteeRecorded(
            recommendation=recommendation,
            meeting=f"simulated meeting {len(self.decisions) + 1}",
            attendance=("Maria Member, chair",),
            discussion="As simulated.",
            action=made["action"],
            regimen=made["next"],
            size=made["size"],
            selected=tuple(made["selected"]) if made["action"] == "stop" else (),
        )
        committee = conduct.record(self._people.token("maria"), self.trial, minutes).version
        conduct.sign_decision(self._people.token("maria"), self.trial, committee, PASSWORD)
        self.clock.moment += timedelta(seconds=1)
        told = r.Circulated(committee=committee, to=("ward", "pharmacy"), at=self.clock.moment)
        conduct.record(self._people.token("carlos"), self.trial, told)
        conducted = conduct.state(statistician, self.trial).trial_state()
        opened = Decided(
            decided.day, minutes.action, conducted.regimen, conducted.size, tuple(made["reasons"]), conducted.selected
        )
        self.decisions.append(Taken(today, committee, wanted, _form(opened, grid), "draw" in made))

    def _end(self) -> None:
        """Compare where both trials stand, and close the trial that has ended."""
        token = self._people.token("ingrid")
        found, simulated = self.conduct.state(token, self.trial).trial_state(), self.course.state
        counts = ("n", "dlt", "pending", "backfill_n", "backfill_dlt", "backfill_pending", "responses", "treated")
        for name in (*counts, "stage", "regimen", "selected", "expansion_n", "expansion_dlt"):
            if getattr(found, name) != getattr(simulated, name):
                raise DepartureError(
                    f"at the end {name} is {getattr(simulated, name)} in simulation "
                    f"and {getattr(found, name)} in conduct"
                )
        if found.stage == "closed":
            self.conduct.record(token, self.trial, r.TrialClosed(outcome="ended as simulated"))


def _form(decided: Decided, grid: RegimenGrid) -> dict[str, Any]:
    """A decision as plain data, what is void left out: a stop opens nothing, only a stop selects."""
    stops = decided.action == "stop"
    return {
        "action": decided.action,
        "next": None if stops else dict(grid.regimen(decided.regimen)._asdict()),
        "size": 0 if stops else decided.size,
        "selected": [dict(grid.regimen(k)._asdict()) for k in decided.selected] if stops else [],
        "reasons": list(decided.reasons),
    }
