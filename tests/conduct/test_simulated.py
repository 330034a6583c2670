"""Simulated trials conducted: the records they make, and the same decisions for every preset and every design."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from escalation import trial_cli_shared
from escalation.calendar import CalendarEngine
from escalation.cli import app
from escalation.conduct import decisions
from escalation.conduct import records as r
from escalation.conduct.gates import GateRefused
from escalation.conduct.installation import open_conduct
from escalation.conduct.invented import HandClock
from escalation.conduct.service import ConductError
from escalation.conduct.simulated import events_of_simulated_trial
from escalation.conduct.simulated_conduct import DepartureError, SimulatedConduct, course_of
from escalation.conduct.verify import verify_trial
from escalation.errors import StudyError
from escalation.registry import design_names
from escalation.study import Study, load, preset_names, validate

from .kit import fast, open_quickly

TRIAL = "SIM-1"
LOSSES = {
    "accrual": {"law": "fixed", "gap_days": 3.0},
    "drop_out": 0.1,
    "missed_infusion": 0.1,
}
GRIDS = {
    "doses": ([0.5, 1, 2], [[0, 7, 14]]),
    "frequencies": ([1], [[0], [0, 7], [0, 2, 4, 7]]),
    "grid": ([1, 2, 3], [[0], [0, 7]]),
}


SWITCHES = {("boin", "grid"): {"axis": "dose"}, ("crm", "grid"): {"axis": "dose"}}


def study(design: str = "three_plus_three", grid: str = "doses", **protocol) -> Study:
    """A study that loses participants and infusions."""
    doses, days = GRIDS[grid]
    table = [[0.08 * (dose + 1) * (often + 1) for dose in range(len(doses))] for often in range(len(days))]
    return validate(
        {
            "schema": 1,
            "id": "sim-1",
            "title": "A study written in a test",
            "protocol": {
                "regimens": {"unit": "10^6 cells/kg", "doses": doses, "frequencies": days},
                "design": {"name": design, **SWITCHES.get((design, grid), {})},
                "max_patients": 18,
                "evaluability": {"minimum_infusions": 0.6, "replace": True},
                **protocol,
            },
            "scenarios": [{"name": "assumed", "truth": {"table": table, "onset": "uniform"}, **LOSSES}],
        }
    )


@pytest.fixture
def conducted(tmp_path):
    """Conduct a simulated trial on an installation of its own."""
    opened = []

    def run(made: Study, scenario: str | None = None, seed: int = 1, replicate: int = 1) -> SimulatedConduct:
        clock = HandClock()
        opened.append(open_quickly(tmp_path / f"{len(opened)}.sqlite", clock, create=True))
        _, course = course_of(made, scenario, seed, replicate)
        simulated = SimulatedConduct(
            opened[-1], clock, TRIAL, made, course, r.DrawStream(seed=seed, replicate=replicate)
        )
        simulated.run()
        return simulated

    yield run
    for conduct in opened:
        conduct.ledger.close()


def decided(simulated: SimulatedConduct) -> list[str]:
    """Actions of the decisions, each equal to the simulated one, all of them the course's."""
    assert all(each.equal for each in simulated.decisions)
    actions = [each.conducted["action"] for each in simulated.decisions]
    assert actions == [event.action for event in simulated.course.events if hasattr(event, "action")]
    return actions


# records ----------------------------------------------------------------------------------------


def test_a_simulated_trial_has_every_infusion_given_or_missed():
    made = study()
    for replicate in range(1, 21):
        _, course = course_of(made, None, 3, replicate)
        steps = events_of_simulated_trial(course, made.protocol, datetime(2026, 1, 5, 8, tzinfo=UTC))
        assert [step.at for step in steps] == sorted(step.at for step in steps)
        given = Counter(step.record.participant for step in steps if getattr(step.record, "given", False))
        expected = {f"SIM{n + 1:03d}": each.infusions for n, each in course.state.participants.items()}
        assert given == expected
        done = {step.record.participant for step in steps if isinstance(step.record, r.WindowCompleted)}
        for code in done:
            numbers = [
                x.record.number for x in steps if getattr(x.record, "number", 0) and x.record.participant == code
            ]
            assert numbers == [1, 2, 3]


def test_the_number_of_a_trial_counts_from_1_as_in_the_records_of_a_simulation():
    made = study()
    engine = CalendarEngine(made.protocol, made.scenarios[0], made.truth(made.scenarios[0]))
    assert course_of(made, None, 5, 1)[1].events == engine.course(5, 0).events
    assert course_of(made, "assumed", 5, 4)[1].events == engine.course(5, 3).events


def test_a_trial_that_cannot_be_simulated_is_refused_with_every_fault():
    with pytest.raises(StudyError) as refused:
        course_of(study(), "assumde", -1, 0)
    assert [fault.path for fault in refused.value.faults] == ["--scenario", "--seed", "--replicate"]


# conduct ----------------------------------------------------------------------------------------


SHORTENED = {"nct06171906": ["protocol.max_patients=18"]}
"""A decision after each of 68 participants takes a minute to conduct; after 18 it says the same."""
CONDUCTED = [name for name in preset_names() if load(name).family != "two_arm"]


def test_a_randomised_study_is_not_conducted(conducted):
    """Nothing here randomises or records a control group."""
    (name,) = set(preset_names()) - set(CONDUCTED)
    made = load(name)
    with pytest.raises(ConductError, match="randomises between two groups"):
        conducted(made, made.scenarios[-1].name, 1, 2)


@pytest.mark.parametrize("preset", CONDUCTED)
def test_every_preset_is_conducted_to_the_simulated_decisions(conducted, preset):
    made = load(preset, overrides=SHORTENED.get(preset, ()))
    simulated = conducted(made, made.scenarios[-1].name, 1, 2)
    actions = decided(simulated)
    assert actions[-1] == "stop"
    ledger = simulated.conduct.ledger
    assert ledger.entries(TRIAL)[-1].type == "trial_closed"
    assert verify_trial(TRIAL, ledger.entries(TRIAL), ledger.head(TRIAL)).ok


def fitting():
    """Every registered design with the regimens it works on as it stands."""
    for design in design_names():
        for grid in GRIDS:
            try:
                course_of(study(design, grid), None, 1, 1)
            except StudyError:
                continue
            yield design, grid


FITTING = list(fitting())


def test_every_design_is_among_those_conducted():
    elsewhere = {"decision_table", "toxicity_monitor"}  # they need a table, or a single regimen: test_replay
    assert {design for design, _ in FITTING} == set(design_names()) - elsewhere


@pytest.mark.parametrize(("design", "grid"), FITTING)
def test_every_design_is_conducted_to_the_simulated_decisions(conducted, design, grid):
    assert decided(conducted(study(design, grid), replicate=2))


def test_decisions_while_participants_are_pending_and_after_a_lag_are_the_simulated_ones(conducted):
    made = study(
        "boin",
        "grid",
        escalate_when="certain",
        close_cohort_when_certain=True,
        review_lag_days=2,
        stagger={"sentinel_days": 7, "between_days": 2},
    )
    for replicate in (1, 2, 3):
        assert decided(conducted(made, seed=8, replicate=replicate))


def test_the_trial_that_is_compared_has_losses_and_replacements(conducted):
    simulated = conducted(study(), seed=3, replicate=6)
    types = Counter(entry.type for entry in simulated.conduct.ledger.entries(TRIAL))
    assert types["not_evaluable"]
    assigned = [e.payload for e in simulated.conduct.ledger.entries(TRIAL) if e.type == "assigned"]
    assert any(each["replaces"] for each in assigned)
    assert any(e.payload.get("given") is False for e in simulated.conduct.ledger.entries(TRIAL))


def test_an_untried_regimen_that_a_model_selects_can_be_decided(conducted):
    simulated = conducted(load("textbook-crm"), "mtd-5", 1, 1)
    decided(simulated)
    (selected,) = simulated.course.state.selected
    assert simulated.course.state.treated[selected] == 0


def test_a_decision_that_conduct_does_not_recommend_stops_the_trial(conducted, monkeypatch):
    advise = decisions.advise
    monkeypatch.setattr(decisions, "advise", lambda *asked: replace(advise(*asked), reasons=("another.reason",)))
    with pytest.raises(DepartureError, match=r"decision 1: simulation .*, conduct .*another\.reason"):
        conducted(study())


def test_a_state_that_ends_differently_is_a_departure(conducted, monkeypatch):
    original = course_of

    def altered(*given):
        name, course = original(*given)
        course.state.dlt[0] += 1
        return name, course

    monkeypatch.setitem(globals(), "course_of", altered)
    with pytest.raises(DepartureError, match="at the end dlt is"):
        conducted(study())


def test_what_the_gates_refuse_is_said(conducted, monkeypatch):
    """The simulated trial had no stagger; the protocol that is conducted has one."""
    course = course_of(study(), None, 1, 1)
    monkeypatch.setitem(globals(), "course_of", lambda *given: course)
    with pytest.raises(GateRefused, match="assign"):
        conducted(study(stagger={"sentinel_days": 20, "between_days": 0}))


# the command ------------------------------------------------------------------------------------


@pytest.fixture
def called(monkeypatch):
    def opened(database, *, create=False, clock=None):
        return open_conduct(database, create=create, clock=clock, passwords=fast())

    monkeypatch.setattr(trial_cli_shared, "open_service", opened)
    return lambda *words: CliRunner().invoke(app, ["trial", "simulate", *map(str, words)])


def test_the_command_lists_the_decisions_and_the_head(called, tmp_path):
    path = tmp_path / "simulated.sqlite"
    told = called("nct07212335", "--scenario", "T2", "--seed", 1, "--replicate", 2, "--database", path, "--json")
    assert told.exit_code == 0, told.output
    form = json.loads(told.stdout)
    assert (form["trial"], form["scenario"], form["replicate"]) == ("NCT07212335-SIMULATED", "T2", 2)
    assert form["equal"] is True
    assert [each["equal"] for each in form["decisions"]] == [True] * len(form["decisions"])
    last = form["decisions"][-1]
    assert last["simulated"] == last["conducted"]
    assert (last["conducted"]["action"], last["conducted"]["next"]) == ("stop", None)
    conduct = open_quickly(path, HandClock())
    assert conduct.ledger.head(form["trial"]) == (form["version"], form["head"])
    conduct.ledger.close()


def test_the_command_in_words(called, tmp_path):
    told = called("nct07212335", "--database", tmp_path / "a.sqlite", "--trial", "MINE")
    assert told.exit_code == 0, told.output
    assert told.stdout.startswith("nct07212335, scenario T1, seed 1, trial 1: ")
    assert "(as simulated)" in told.stdout
    assert f"MINE is in {tmp_path / 'a.sqlite'}" in told.stdout


def test_another_design_and_another_value(called, tmp_path):
    words = ("--design", "boin", "--set", "protocol.max_patients=6", "--database", tmp_path / "a.sqlite", "--json")
    form = json.loads(called("textbook-5-doses", *words).stdout)
    assert form["participants"] == 6
    assert form["design"].startswith("BOIN")


def test_a_departure_ends_the_command_and_names_the_database(called, tmp_path, monkeypatch):
    advise = decisions.advise
    monkeypatch.setattr(decisions, "advise", lambda *asked: replace(advise(*asked), size=7))
    told = called("nct07212335", "--database", tmp_path / "a.sqlite")
    assert told.exit_code == 2
    assert "decision 1: simulation decides" in told.stderr
    assert f"what was conducted until then is in {tmp_path / 'a.sqlite'}" in told.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nct07212335", "--scenario", "T77"), "there is no scenario 'T77'"),
        (("nct07212335", "--replicate", "0"), "trials count from 1"),
        (("no-such-study",), "no-such-study"),
        (("nct07212335", "--database", "HERE"), "what is invented has its own database"),
    ],
)
def test_the_command_refuses_in_words(called, tmp_path, words, said):
    path = tmp_path / "there.sqlite"
    path.write_bytes(b"")
    told = called(*(str(path) if word == "HERE" else word for word in words))
    assert told.exit_code == 2
    assert said in told.stderr


def test_a_database_that_holds_anything_is_never_written_to(called, store):
    """A file that exists, or a server's database with tables in it."""
    first = called("nct07212335", "--database", store.where, "--json")
    assert first.exit_code == 0, first.output
    with store.open(create=False) as ledger:
        before = {trial: ledger.head(trial) for trial in ledger.trials()}
    told = called("nct07212335", "--seed", 2, "--database", store.where)
    assert told.exit_code == 2
    assert "name a new file, or an empty database" in told.stderr
    with store.open(create=False) as ledger:
        assert {trial: ledger.head(trial) for trial in ledger.trials()} == before
