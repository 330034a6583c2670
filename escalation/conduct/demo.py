"""The sibling trial NCT04014166 replayed from nothing to its signed recommendation.

Everything goes through the service on a clock that is moved by hand: 22 screened, 3 ineligible, 1
withdrew consent, 18 treated at 0.5, 1 and 2 x 10^6 cells/kg with one DLT among six at the highest dose,
six more in the expansion. The counts are published (doi:10.1038/s41392-024-01793-5); dates, lots and
people are invented.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from escalation.conduct import records as r
from escalation.conduct.decisions import advise
from escalation.conduct.invented import PASSWORD, PEOPLE, HandClock, InventedPeople
from escalation.conduct.service import Conduct
from escalation.conduct.treatment import regimen_of
from escalation.study import load

TRIAL = "NCT04014166-DEMO"
INELIGIBLE, WITHDREW, WITH_DLT = {4, 9, 15}, 12, 9
"""Screening numbers that fail or withdraw, and the treated participant (counted from 1) with the DLT."""


@dataclass
class Demo:
    """The replay, one act after the other; ``lines`` tell what happened."""

    conduct: Conduct
    clock: HandClock
    lines: list[str] = field(default_factory=list)
    _people: InventedPeople = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._people = InventedPeople(self.conduct, self.clock)

    def run(self) -> list[str]:
        """Replay the trial to its end."""
        self._people.employ(TRIAL)
        self._say(f"{len(PEOPLE)} people delegated by Ada Administrator")
        study = load("nct04014166")
        self.conduct.open_trial(self._people.token("ingrid"), TRIAL, study, PASSWORD, signatures_needed=2)
        self._say(f"protocol {study.hash[:12]} locked in, signed by Ingrid Investigator")
        candidates = self._candidates()
        treated = 0
        while True:
            state = self.conduct.state(self._people.token("ingrid"), TRIAL)
            trial_state = state.trial_state()
            if trial_state.stage == "closed":
                break
            cohort = []
            for _ in range(trial_state.open_places):
                code = next(candidates)
                treated += 1
                self._treat(code, dlt=treated == WITH_DLT)
                cohort.append(code)
            self._follow_up(cohort)
            self._decide()
        closed = r.TrialClosed(outcome="RP2D: level 3, 2 x 10^6 cells/kg")
        entry = self.conduct.record(self._people.token("ingrid"), TRIAL, closed).version
        self._say(f"trial closed at entry {entry}; {treated} treated")
        return self.lines

    def _record(self, token: str, record: r.Record) -> None:
        self.conduct.record(token, TRIAL, record)

    def _say(self, line: str) -> None:
        self.lines.append(f"{self.clock.moment:%Y-%m-%d}  {line}")

    def _candidates(self) -> Iterator[str]:
        """Codes of eligible participants; the ineligible and the one who withdraws are recorded on the way."""
        for number in range(1, 23):
            code = f"P{number:03d}"
            self.clock.moment += timedelta(days=2)
            token = self._people.token("ingrid")
            self._record(token, r.Screened(participant=code))
            self._record(token, r.Consented(participant=code, form_version="2.0", consented_at=self.clock.moment))
            if number in INELIGIBLE:
                self._record(
                    token, r.EligibilityRecorded(participant=code, verdict="not_eligible", findings=("platelets",))
                )
                self._record(token, r.ScreenFailed(participant=code, description="not eligible"))
                self._say(f"{code} fails screening")
            elif number == WITHDREW:
                today = self.clock.moment.date()
                self._record(token, r.LeftStudy(participant=code, how="withdrew_consent", on=today))
                self._say(f"{code} withdraws consent before treatment")
            else:
                self._record(token, r.EligibilityRecorded(participant=code, verdict="eligible"))
                yield code

    def _treat(self, code: str, *, dlt: bool) -> None:
        """Assign and infuse as the stagger permits, weekly, stopping at a DLT on day 10."""
        state = self.conduct.state(self._people.token("ingrid"), TRIAL)
        trial_state, stagger = state.trial_state(), state.in_force().protocol.stagger
        earliest = trial_state.earliest_next(stagger.sentinel_days, stagger.between_days)
        assert state.opened_on is not None
        self.clock.to(datetime.combine(state.opened_on, self.clock.moment.time(), UTC) + timedelta(days=earliest))
        token = self._people.token("ingrid")
        self.conduct.assign(token, TRIAL, code)
        regimen = trial_state.rule.grid.describe(trial_state.regimen)
        self._say(f"{code} assigned to {regimen}")
        self._infuse(code, 1, self.clock.moment)
        if dlt:
            self._dlt(code, self.clock.moment + timedelta(days=10))

    def _infuse(self, code: str, number: int, moment: datetime) -> None:
        self.clock.to(moment)
        record = r.InfusionRecorded(
            participant=code,
            number=number,
            started_at=moment,
            ended_at=moment + timedelta(minutes=45),
            weight_kg=60.0,
            cells_million=60.0 * self._dose(code),
            premedication_at=moment - timedelta(minutes=30),
            lot=f"LOT-{code}-{number}",
            viability_percent=92.0,
            release_certificate=f"CERT-{code}-{number}",
            operator="nurse A",
            verifier="nurse B",
        )
        self.clock.moment += timedelta(minutes=46)
        self.conduct.record(self._people.token("carlos"), TRIAL, record)

    def _dose(self, code: str) -> float:
        """Planned 10^6 cells/kg of a participant."""
        state = self.conduct.state(self._people.token("ingrid"), TRIAL)
        return state.in_force().protocol.grid.amount(regimen_of(state, state.people[code]))

    def _dlt(self, code: str, onset: datetime) -> None:
        start = self.clock.moment
        self._infuse(code, 2, start + timedelta(days=7))
        self.clock.to(onset)
        token, day = self._people.token("ingrid"), onset.date().isoformat()
        event = r.AdverseEvent(
            participant=code,
            event="E1",
            verbatim="severe reaction after the infusion",
            term="Infusion related reaction",
            grade=3,
            onset=day,
            attribution="probable",
        )
        self.conduct.record(token, TRIAL, event)
        proposal = r.DltProposed(
            participant=code, adjudication="A1", events=("E1",), criterion="related, grade 3", onset=day
        )
        self.conduct.record(token, TRIAL, proposal)
        self._say(f"{code}: DLT proposed, counts as pending")
        self.conduct.adjudicate(
            self._people.token("maria"),
            TRIAL,
            PASSWORD,
            participant=code,
            adjudication="A1",
            outcome="dlt",
            attribution="probable",
            discussion="Grade 3, within the window, probably related.",
        )
        self._say(f"{code}: DLT confirmed, signed by Maria Member")

    def _follow_up(self, cohort: list[str]) -> None:
        """The remaining infusions in the order of their days, then the end of every window."""
        state = self.conduct.state(self._people.token("ingrid"), TRIAL)
        planned = []
        for code in cohort:
            person = state.people[code]
            if person.outcome == "pending" and person.first_infusion is not None:
                planned += [(person.first_infusion + timedelta(days=7 * k), code, k + 1) for k in (1, 2, 3)]
        for moment, code, number in sorted(planned):
            self._infuse(code, number, moment)
        for code in cohort:
            person = state.people[code]
            if person.outcome == "pending" and person.first_infusion is not None:
                self.clock.to(person.first_infusion + timedelta(days=29))
                done = r.WindowCompleted(participant=code, on=self.clock.moment.date())
                self.conduct.record(self._people.token("ingrid"), TRIAL, done)
        self._say(f"{', '.join(cohort)} followed to the end of the window")

    def _decide(self) -> None:
        """Snapshot, recommendation, committee, two signatures, circulation."""
        conduct, statistician = self.conduct, self._people.token("stefan")
        snapshot = conduct.snapshot(statistician, TRIAL).version
        recommendation = conduct.recommend(statistician, TRIAL, snapshot).version
        advice = advise(conduct.state(statistician, TRIAL))
        recorded = conduct.state(statistician, TRIAL).recommendations[recommendation].advice
        self._say(f"the design recommends: {recorded['text']}")
        self.clock.moment += timedelta(days=3)
        minutes = r.CommitteeRecorded(
            recommendation=recommendation,
            meeting=f"SRC {recommendation}",
            attendance=("Maria Member, chair", "Chen Member", "Ingrid Investigator"),
            discussion="Data complete; the committee follows the recommendation.",
            action=advice.action.word,
            regimen=recorded["next"],
            size=advice.size,
            selected=tuple(recorded["selected"]) if advice.action.word == "stop" else (),
        )
        committee = conduct.record(self._people.token("maria"), TRIAL, minutes).version
        for member in ("maria", "chen"):
            conduct.sign_decision(self._people.token(member), TRIAL, committee, PASSWORD)
        told = r.Circulated(committee=committee, to=("ward", "pharmacy"), at=self.clock.moment)
        conduct.record(self._people.token("carlos"), TRIAL, told)
        self._say("decision signed by Maria Member and Chen Member, circulated to ward and pharmacy")
