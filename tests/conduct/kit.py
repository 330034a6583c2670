"""A small trial site for tests of live conduct: people, a clock moved by hand, and the acts of a trial in short words.

Loaded by path from the test modules beside it, because they are collected without a package.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from argon2 import PasswordHasher

from escalation.conduct import records as r
from escalation.conduct.installation import open_conduct
from escalation.conduct.invented import HandClock
from escalation.conduct.passwords import Passwords
from escalation.conduct.roles import Role
from escalation.conduct.service import Conduct, Receipt
from escalation.conduct.state import ConductState, Person
from escalation.conduct.verify import TrialReport, verify_trial
from escalation.study import Study, load, validate

PASSWORD = "a long walk along the river"
ADMIN = "admin"
PEOPLE = {
    "ingrid": Role.INVESTIGATOR,
    "carlos": Role.COORDINATOR,
    "stefan": Role.STATISTICIAN,
    "maria": Role.COMMITTEE_MEMBER,
    "chen": Role.COMMITTEE_MEMBER,
    "mona": Role.MONITOR,
}
START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
LONG_REASON = "The committee weighed all events seen so far."


def study(
    *,
    doses: int = 3,
    days: tuple[tuple[int, ...], ...] = ((0,),),
    design: dict[str, Any] | None = None,
    **protocol: Any,
) -> Study:
    """A study of single infusions without stagger: BOIN in cohorts of three unless told otherwise."""
    design = design or {"name": "boin", "target": 0.30}
    sizes = {"max_patients": 12} | protocol
    return validate(
        {
            "schema": 1,
            "id": "small",
            "title": "A study written in a test",
            "protocol": {
                "regimens": {"doses": [10 * (k + 1) for k in range(doses)], "frequencies": [list(d) for d in days]},
                "design": design,
                **sizes,
            },
            "scenarios": [{"name": "assumed", "truth": [[0.1] * doses for _ in days]}],
        }
    )


def weekly(**protocol: Any) -> Study:
    """Four weekly infusions at each of three doses, 3+3 without stagger."""
    return study(days=((0, 7, 14, 21),), design={"name": "three_plus_three"}, **({"max_patients": 18} | protocol))


def fast() -> Passwords:
    """Passwords hashed at the least cost, which is not what is tested here."""
    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


def open_quickly(path: Path, clock: Any, *, create: bool = False) -> Conduct:
    """The service over a file, without waiting for the disk at every commit."""
    conduct = open_conduct(str(path), create=create, clock=clock, passwords=fast())

    def relaxed(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous=OFF").fetchall()

    sa.event.listen(conduct.ledger.engine, "connect", relaxed)
    conduct.ledger.engine.dispose()
    return conduct


class Site:
    """One trial on one installation, and everybody who works on it."""

    def __init__(
        self,
        folder: Path,
        protocol: Study | str | None = None,
        *,
        trial: str = "T-1",
        zone: str = "UTC",
        signatures_needed: int = 1,
        criteria: str | None = None,
        opened: bool = True,
        start: datetime = START,
    ) -> None:
        self.path, self.trial, self.clock = folder / "conduct.sqlite", trial, HandClock(start)
        self.study = load(protocol) if isinstance(protocol, str) else protocol or study()
        self.conduct = open_quickly(self.path, self.clock, create=True)
        self._tokens: dict[str, tuple[str, datetime]] = {}
        self.conduct.initialise(ADMIN, "Ada Administrator", PASSWORD)
        for name, role in PEOPLE.items():
            self.employ(name)
            self.delegate(name, role)
        if opened:
            self.open(zone=zone, signatures_needed=signatures_needed, criteria=criteria)

    # people ---------------------------------------------------------------------------------

    def employ(self, name: str) -> None:
        """An account whose owner has chosen the password."""
        self.conduct.create_user(self.token(ADMIN), name, f"{name.capitalize()} Tester", f"first {PASSWORD}")
        self.conduct.accounts.change_password(name, f"first {PASSWORD}", PASSWORD)

    def delegate(self, name: str, role: Role, ends: date | None = None, *, trial: str = "") -> Receipt:
        """Give somebody a role from yesterday on: today at the site may still be yesterday in UTC."""
        return self.conduct.delegate(
            self.token(ADMIN), trial or self.trial, name, role, self.today - timedelta(days=1), ends
        )

    def token(self, name: str) -> str:
        """A session of somebody, a new one when the last was not used for a while."""
        token, used = self._tokens.get(name, ("", START - timedelta(days=9999)))
        if self.clock.moment - used > timedelta(minutes=20):
            token = self.conduct.accounts.sign_in(name, PASSWORD).token
        self._tokens[name] = token, self.clock.moment
        return token

    def another(self) -> Conduct:
        """A second service over the same file, as in another process."""
        return open_quickly(self.path, self.clock)

    def reopen(self) -> None:
        """Close the database and open it again."""
        self.conduct.ledger.close()
        self.conduct = self.another()

    def close(self) -> None:
        """Let go of the database."""
        self.conduct.ledger.close()

    # time and reading -----------------------------------------------------------------------

    @property
    def today(self) -> date:
        return self.clock.moment.date()

    def wait(self, **time: float) -> datetime:
        """Let time pass."""
        self.clock.moment += timedelta(**time)
        return self.clock.moment

    def entries(self) -> tuple[Any, ...]:
        return self.conduct.ledger.entries(self.trial)

    @property
    def version(self) -> int:
        return self.conduct.ledger.head(self.trial).seq

    def state(self) -> ConductState:
        return self.conduct.state(self.token("ingrid"), self.trial)

    def person(self, code: str) -> Person:
        return self.state().people[code]

    def outcome(self, code: str) -> str:
        return self.person(code).outcome

    def verify(self) -> TrialReport:
        return verify_trial(self.trial, self.entries(), self.conduct.ledger.head(self.trial))

    # acts -----------------------------------------------------------------------------------

    def open(self, **options: Any) -> Receipt:
        return self.conduct.open_trial(self.token("ingrid"), self.trial, self.study, PASSWORD, **options)

    def record(self, name: str, record: r.Record, **options: Any) -> Receipt:
        return self.conduct.record(self.token(name), self.trial, record, **options)

    def screen(self, code: str, verdict: str = "eligible") -> None:
        """Screening, consent and the eligibility form."""
        self.record("ingrid", r.Screened(participant=code))
        self.consent(code)
        findings = () if verdict == "eligible" else ("platelets",)
        self.record("ingrid", r.EligibilityRecorded(participant=code, verdict=verdict, findings=findings))

    def consent(self, code: str, version: str = "1.0") -> Receipt:
        at = self.clock.moment
        return self.record("ingrid", r.Consented(participant=code, form_version=version, consented_at=at))

    def assign(self, code: str, **options: Any) -> Receipt:
        return self.conduct.assign(self.token("ingrid"), self.trial, code, **options)

    def infuse(self, code: str, number: int = 1, at: datetime | None = None, **changes: Any) -> Receipt:
        """An infusion now, or at a moment that the clock is moved to."""
        start = changes.get("started_at") or at or self.clock.moment
        self.clock.to(start + timedelta(minutes=2))
        values: dict[str, Any] = {
            "started_at": start,
            "ended_at": start + timedelta(minutes=1),
            "weight_kg": 60.0,
            "cells_million": 120.0,
            "lot": f"LOT-{code}",
            "viability_percent": 92.0,
            "release_certificate": f"CERT-{code}",
            "operator": "nurse A",
            "verifier": "nurse B",
        }
        record = r.InfusionRecorded(participant=code, number=number, **(values | changes))
        return self.record("carlos", record)

    def missed(self, code: str, number: int) -> Receipt:
        """A planned infusion that is not given."""
        return self.record("carlos", r.InfusionRecorded(participant=code, number=number, given=False))

    def treat(self, code: str) -> None:
        """From screening to the first infusion."""
        self.screen(code)
        self.assign(code)
        self.infuse(code)

    def day_zero(self, code: str) -> date:
        first = self.person(code).first_infusion
        assert first is not None
        return first.astimezone(self.state().zone).date()

    def last_day(self, code: str) -> date:
        """The last day of somebody's DLT window."""
        protocol, assigned = self.state().in_force().protocol, self.person(code).assigned
        assert assigned is not None
        regimen = protocol.grid.index((assigned.regimen.dose, assigned.regimen.frequency))
        return self.day_zero(code) + timedelta(days=protocol.dlt_window.end(protocol.grid.schedule(regimen)))

    def event(self, code: str, event: str = "E1", *, grade: int = 3, onset: str = "", **changes: Any) -> Receipt:
        values = {"verbatim": "as reported", "term": "Infusion related reaction", "attribution": "probable"} | changes
        onset = onset or self.clock.moment.astimezone(self.state().zone).date().isoformat()
        return self.record("ingrid", r.AdverseEvent(participant=code, event=event, grade=grade, onset=onset, **values))

    def propose(self, code: str, adjudication: str = "A1", *, onset: str = "", events: tuple[str, ...] = ()) -> Receipt:
        onset = onset or min(self.clock.moment.astimezone(self.state().zone).date(), self.last_day(code)).isoformat()
        values = {"participant": code, "adjudication": adjudication, "criterion": "related, grade 3 or more"}
        return self.record("ingrid", r.DltProposed(**values, events=events, onset=onset))

    def adjudicate(self, code: str, outcome: str, adjudication: str = "A1", *, by: str = "maria") -> Receipt:
        return self.conduct.adjudicate(
            self.token(by),
            self.trial,
            PASSWORD,
            participant=code,
            adjudication=adjudication,
            outcome=outcome,
            attribution="probable" if outcome == "dlt" else "unrelated",
            discussion="Discussed by the committee.",
        )

    def dlt(self, code: str, adjudication: str = "A1", *, onset: str = "") -> None:
        """A DLT proposed and confirmed."""
        self.propose(code, adjudication, onset=onset)
        self.adjudicate(code, "dlt", adjudication)

    def complete(self, code: str) -> Receipt:
        """The end of the window, on the day after its last or now when that is past."""
        last = self.last_day(code)
        self.clock.to(datetime.combine(last + timedelta(days=1), self.clock.moment.timetz()))
        on = self.clock.moment.astimezone(self.state().zone).date()
        return self.record("ingrid", r.WindowCompleted(participant=code, on=on))

    def not_evaluable(self, code: str, cause: str = "withdrew") -> Receipt:
        return self.record("ingrid", r.NotEvaluable(participant=code, cause=cause))

    def leave(self, code: str, how: str, cause: str = "") -> Receipt:
        on = self.clock.moment.astimezone(self.state().zone).date()
        return self.record("ingrid", r.LeftStudy(participant=code, how=how, on=on, cause=cause))

    def correct(
        self, entry: int, field: str, new: Any, reason: str = "source checked", *, by: str = "carlos"
    ) -> Receipt:
        return self.conduct.correct(self.token(by), self.trial, entry, field, new, reason)

    def cohort(self, *codes: str, dlts: tuple[str, ...] = ()) -> None:
        """Treat participants and follow them to their outcomes, all infusions given."""
        for code in codes:
            self.treat(code)
        for code in codes:
            if code in dlts:
                self.dlt(code)
            else:
                self.remaining(code)
        for code in codes:
            if code not in dlts:
                self.complete(code)

    def remaining(self, code: str) -> None:
        """The infusions after the first, each on its day."""
        protocol, person = self.state().in_force().protocol, self.person(code)
        assert person.assigned is not None
        assert person.first_infusion is not None
        regimen = protocol.grid.index((person.assigned.regimen.dose, person.assigned.regimen.frequency))
        for number, day in enumerate(protocol.grid.schedule(regimen)[1:], 2):
            self.infuse(code, number, person.first_infusion + timedelta(days=day))

    # the decision ---------------------------------------------------------------------------

    def recommend(self) -> int:
        """A snapshot and the recommendation on it; the recommendation's entry."""
        statistician = self.token("stefan")
        snapshot = self.conduct.snapshot(statistician, self.trial).version
        return self.conduct.recommend(statistician, self.trial, snapshot).version

    def advice(self, recommendation: int) -> dict[str, Any]:
        return self.state().recommendations[recommendation].advice

    def committee(self, recommendation: int, **changes: Any) -> int:
        """What the committee decides: the recommendation, unless told otherwise; the committee's entry."""
        advice = self.advice(recommendation)
        values: dict[str, Any] = {
            "action": advice["action"],
            "regimen": advice["next"],
            "size": advice["size"],
            "selected": tuple(advice["selected"]) if advice["action"] == "stop" else (),
            "meeting": f"SRC {recommendation}",
            "attendance": ("Maria Tester, chair", "Chen Tester"),
            "discussion": "Data complete.",
        }
        return self.record("maria", r.CommitteeRecorded(recommendation=recommendation, **(values | changes))).version

    def sign(self, committee: int, *names: str) -> None:
        for name in names or ("maria",):
            self.conduct.sign_decision(self.token(name), self.trial, committee, PASSWORD)

    def circulate(
        self, committee: int, at: datetime | None = None, to: tuple[str, ...] = ("ward", "pharmacy")
    ) -> Receipt:
        return self.record("carlos", r.Circulated(committee=committee, to=to, at=at or self.clock.moment))

    def decide(self, **changes: Any) -> int:
        """From the snapshot to the circulated decision, with two signatures where it departs; the committee's entry."""
        recommendation = self.recommend()
        committee = self.committee(recommendation, **changes)
        needed = self.state().opened.signatures_needed
        self.sign(committee, *("maria", "chen")[: max(needed, 2 if changes else 1)])
        self.circulate(committee)
        return committee

    def counts(self) -> tuple[list[int], list[int], list[int]]:
        """Evaluable, with a DLT, and pending, by regimen."""
        trial = self.state().trial_state()
        return trial.n, trial.dlt, trial.pending
