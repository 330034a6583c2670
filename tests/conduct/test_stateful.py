"""The service against a plain dictionary: whatever people do in whatever order, both tell the same trial."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from escalation.conduct import records as r
from escalation.conduct.gates import GateRefused

from . import kit

LEVELS, COHORT, MOST = 3, 3, 12
UP = {3: 0, 6: 1, 9: 2, 12: 2}
"""BOIN at 0.30: escalate with at most so many DLTs among so many (published table; lambda_e = 0.236)."""
DOWN = {3: 2, 6: 3, 9: 4, 12: 5}
"""De-escalate with at least so many (lambda_d = 0.359)."""
OUT = {3: 3, 6: 4, 9: 5, 12: 7}
"""Close the dose and all above it with at least so many (95 % posterior certainty)."""


class Trial(RuleBasedStateMachine):
    """People work on a trial; a dictionary per participant and three counts are all the model knows."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.site = kit.Site(Path(self.folder.name), kit.study(doses=LEVELS, max_patients=MOST))
        self.people: dict[str, dict[str, Any]] = {}
        self.level, self.places, self.closed = 0, COHORT, False
        self.kept: tuple[Any, ...] = ()
        self.weights: dict[str, float] = {}
        self.decided = 0

    def teardown(self) -> None:
        self.site.close()
        self.folder.cleanup()

    # what the model knows -----------------------------------------------------------------

    def codes(self, *statuses: str) -> list[str]:
        return sorted(code for code, person in self.people.items() if person["status"] in statuses)

    def one(self, pick: int, *statuses: str) -> str:
        found = self.codes(*statuses)
        return found[pick % len(found)]

    def counted(self, level: int) -> tuple[int, int]:
        here = [p["status"] for p in self.people.values() if p.get("level") == level]
        return sum(s in ("complete", "dlt") for s in here), here.count("dlt")

    def refused(self, act: Any) -> None:
        """An act the model forbids is refused and leaves no trace."""
        version = self.site.version
        with pytest.raises(GateRefused):
            act()
        assert self.site.version == version

    # what people do -----------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        self.kept = self.site.entries()

    @rule(pick=st.integers(0, 99), full=st.booleans())
    def screen(self, pick: int, full: bool) -> None:
        code = f"P{len(self.people) + 1}"
        self.site.record("ingrid", r.Screened(participant=code))
        self.people[code] = {"status": "screened"}
        if full:
            self.site.consent(code)
            self.site.record("ingrid", r.EligibilityRecorded(participant=code, verdict="eligible"))
            self.people[code]["status"] = "eligible"

    @precondition(lambda self: self.codes("screened"))
    @rule(pick=st.integers(0, 99))
    def consent(self, pick: int) -> None:
        code = self.one(pick, "screened")
        self.refused(lambda: self.site.assign(code))
        self.site.consent(code)
        self.people[code]["status"] = "consented"

    @precondition(lambda self: self.codes("consented"))
    @rule(pick=st.integers(0, 99), verdict=st.sampled_from(["eligible", "eligible", "not_eligible"]))
    def judge(self, pick: int, verdict: str) -> None:
        code = self.one(pick, "consented")
        self.site.record("ingrid", r.EligibilityRecorded(participant=code, verdict=verdict))
        self.people[code]["status"] = verdict

    @precondition(lambda self: self.codes("eligible", "not_eligible"))
    @rule(pick=st.integers(0, 99))
    def assign(self, pick: int) -> None:
        code = self.one(pick, "eligible", "not_eligible")
        if self.people[code]["status"] == "not_eligible" or self.places == 0 or self.closed or self.due():
            self.refused(lambda: self.site.assign(code))
            return
        self.site.assign(code)
        self.people[code] |= {"status": "assigned", "level": self.level, "cohort": self.decided}
        self.places -= 1

    @precondition(lambda self: self.codes("assigned"))
    @rule(pick=st.integers(0, 99))
    def infuse(self, pick: int) -> None:
        code = self.one(pick, "assigned")
        if self.due():
            return
        self.site.infuse(code)
        self.people[code]["status"] = "pending"
        self.weights[code] = 60.0
        self.refused(lambda: self.site.infuse(code))

    @precondition(lambda self: self.codes("pending"))
    @rule(
        pick=st.integers(0, 99), outcome=st.sampled_from(["dlt", "complete", "complete", "complete", "not_evaluable"])
    )
    def resolve(self, pick: int, outcome: str) -> None:
        code = self.one(pick, "pending")
        if outcome == "dlt":
            self.site.propose(code)
            assert self.site.outcome(code) == "pending"
            self.site.adjudicate(code, "dlt")
        elif outcome == "complete":
            self.site.complete(code)
        else:
            self.site.not_evaluable(code)
            if self.people[code]["cohort"] == self.decided and not self.closed:
                self.places += 1
        self.people[code]["status"] = outcome

    @precondition(lambda self: self.codes("complete"))
    @rule(pick=st.integers(0, 99))
    def late_dlt(self, pick: int) -> None:
        code = self.one(pick, "complete")
        self.site.dlt(code)
        self.people[code]["status"] = "dlt"

    @precondition(lambda self: self.weights)
    @rule(pick=st.integers(0, 99), weight=st.integers(40, 120))
    def correct(self, pick: int, weight: int) -> None:
        code = sorted(self.weights)[pick % len(self.weights)]
        entry = next(
            e.seq for e in self.site.entries() if e.type == "infusion_recorded" and e.payload["participant"] == code
        )
        self.site.correct(entry, "weight_kg", float(weight), "scale read again")
        self.weights[code] = float(weight)

    @precondition(lambda self: self.places == 0 and not self.codes("pending", "assigned") and not self.closed)
    @rule()
    def decide(self) -> None:
        level, closed = self.rule_of_boin()
        self.site.decide()
        self.decided += 1
        self.level, self.closed = level, closed
        self.places = 0 if closed else COHORT
        self.snapshot = {code: p["status"] for code, p in self.people.items() if "level" in p}

    def rule_of_boin(self) -> tuple[int, bool]:
        """Where the published table sends the next cohort, and whether the trial ends instead."""
        n, dlt = self.counted(self.level)
        out = LEVELS
        for level in reversed(range(LEVELS)):
            there, toxic = self.counted(level)
            if there >= 3 and toxic >= OUT[there]:
                out = level
        if out == 0:
            return self.level, True
        go = self.level + (dlt <= UP[n]) - (dlt >= DOWN[n])
        go = min(max(go, 0), out - 1, LEVELS - 1)
        return go, sum(self.counted(level)[0] for level in range(LEVELS)) + COHORT > MOST

    def due(self) -> bool:
        """Whether an outcome the last decision rested on has changed since."""
        was = getattr(self, "snapshot", {})
        return any(self.people[code]["status"] != status for code, status in was.items())

    @rule(days=st.integers(1, 20))
    def wait(self, days: int) -> None:
        self.site.clock.moment += timedelta(days=days)

    @rule()
    def reload(self) -> None:
        before = self.site.entries()
        self.site.reopen()
        assert self.site.entries() == before

    # what must hold -----------------------------------------------------------------------

    @invariant()
    def the_fold_is_the_model(self) -> None:
        state = self.site.state()
        assert list(state.people) == list(self.people)
        trial = state.trial_state()
        n = [self.counted(level)[0] for level in range(LEVELS)]
        dlt = [self.counted(level)[1] for level in range(LEVELS)]
        open_windows = [
            sum(p.get("level") == level and p["status"] in ("pending", "assigned") for p in self.people.values())
            for level in range(LEVELS)
        ]
        assert (trial.n, trial.dlt, trial.pending) == (n, dlt, open_windows)
        assert (trial.stage == "closed") == self.closed
        if not self.closed:
            assert (trial.regimen, trial.open_places) == (self.level, self.places)
        assert bool(state.review_due) == self.due()
        for code, person in self.people.items():
            kept = state.people[code]
            assert (kept.assigned is not None) == ("level" in person)
            if person["status"] in ("pending", "complete", "dlt", "not_evaluable"):
                assert kept.outcome == person["status"]
                assert kept.infusions[1].weight_kg == self.weights[code]

    @invariant()
    def nothing_is_lost(self) -> None:
        entries = self.site.entries()
        assert entries[: len(self.kept)] == self.kept
        self.kept = entries

    @invariant()
    def the_trial_verifies(self) -> None:
        report = self.site.verify()
        assert report.ok, report
        assert report.entries == len(self.kept)


def test_the_service_agrees_with_a_plain_model():
    few = settings(
        max_examples=12, stateful_step_count=35, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
    )
    run_state_machine_as_test(Trial, settings=few)


def test_a_whole_trial_agrees_with_the_plain_model():
    """The same machine on a trial that is filled, decided and closed, which chance alone seldom reaches."""
    machine = Trial()
    try:
        machine.begin()
        outcomes = iter(
            ["complete"] * 3 + ["complete", "complete", "dlt"] + ["dlt", "dlt", "complete"] + ["complete"] * 3
        )
        while not machine.closed:
            while machine.places:
                machine.screen(0, full=True)
                machine.assign(0)
                machine.infuse(0)
            while machine.codes("pending"):
                machine.resolve(0, next(outcomes))
                machine.the_fold_is_the_model()
            machine.decide()
            machine.reload()
            for check in (machine.the_fold_is_the_model, machine.nothing_is_lost, machine.the_trial_verifies):
                check()
        assert machine.decided == 4
    finally:
        machine.teardown()
