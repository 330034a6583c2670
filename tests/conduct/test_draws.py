"""Designs that randomise, conducted: the draw is on record, repeatable, and never made anew."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from typer.testing import CliRunner

from escalation import trial_cli_shared
from escalation.advice import Advisor, Possibility
from escalation.cli import app
from escalation.conduct import records as r
from escalation.conduct.decision_gates import departs, sets_draw_aside
from escalation.conduct.decisions import advise
from escalation.conduct.draws import stream_of
from escalation.conduct.gates import GateRefused
from escalation.conduct.installation import open_conduct
from escalation.conduct.invented import HandClock
from escalation.conduct.ledger import Draft, Head, chain
from escalation.conduct.listings import listings
from escalation.conduct.simulated_conduct import DepartureError, SimulatedConduct, course_of
from escalation.conduct.verify import verify_trial
from escalation.decision import Action
from escalation.outcomes import replay
from escalation.regimens import Regimen
from escalation.report.wording import headline, outlook_lines
from escalation.streams import Numbers, drawn, uniforms

from . import kit
from .test_simulated import TRIAL

AGAIN = "Two of the three had fever after the second infusion; the committee prefers the other step."
DAYS = ((0,), (0, 7), (0, 7, 14))


def study(design="pipe", **protocol):
    return kit.study(doses=3, days=DAYS, design={"name": design}, **protocol)


@pytest.fixture
def site(tmp_path):
    """Three participants without DLT at the lowest regimen of the grid: the next is one step up on either axis."""
    opened = []

    def build(design="pipe", **options):
        options = {"draws": r.DrawStream(seed=5)} | options
        made = kit.Site(tmp_path / str(len(opened)), study(design), opened=False)
        opened.append(made)
        made.open(**options)
        made.cohort("P001", "P002", "P003")
        return made

    for number in range(3):
        (tmp_path / str(number)).mkdir()
    yield build
    for each in opened:
        each.close()


def other_than(advice):
    """The regimen that was not drawn."""
    (found,) = [
        each for each in advice["allocation"] if (each["dose"], each["frequency"]) != tuple(advice["next"].values())
    ]
    return {"dose": found["dose"], "frequency": found["frequency"]}


# the number ---------------------------------------------------------------------------------------


def test_a_number_draws_the_first_regimen_whose_cumulated_probability_exceeds_it():
    shares = np.tile([0.0, 0.25, 0.0, 0.5, 0.25, 0.0], (6, 1))
    numbers = np.array([0.0, 0.2499, 0.25, 0.7499, 0.75, np.nextafter(1.0, 0.0)])
    assert drawn(shares, numbers).tolist() == [1, 1, 3, 3, 4, 4]
    assert drawn(shares * 7.3, numbers).tolist() == [1, 1, 3, 3, 4, 4]


def test_draws_have_the_probabilities():
    shares = np.array([0.2, 0.0, 0.5, 0.3])
    numbers = uniforms(11, "allocation", 0, 0, 2000).ravel()
    found = np.bincount(drawn(np.tile(shares, (numbers.size, 1)), numbers), minlength=4) / numbers.size
    assert found[1] == 0
    assert np.abs(found - shares).max() < 4 * 0.5 / np.sqrt(numbers.size)


def test_engines_and_conduct_draw_with_one_number():
    shares = (0.0, 0.4, 0.6)
    numbers = Numbers(3, 2)
    assert [numbers.regimen(shares, k) for k in range(80)] == [
        int(drawn(np.array([shares]), np.array([numbers.at("allocation", k)]))[0]) for k in range(80)
    ]


# the recommendation -------------------------------------------------------------------------------


def test_a_recommendation_holds_its_probabilities_its_draw_and_the_regimen_drawn(site):
    trial = site()
    advice = trial.advice(trial.recommend())
    assert [(each["dose"], each["frequency"], each["probability"]) for each in advice["allocation"]] == [
        (2, 1, 0.5),
        (1, 2, 0.5),
    ]
    value = Numbers(5, 0).at("allocation", 0)
    assert advice["draw"] == {"seed": 5, "replicate": 1, "decision": 1, "value": value}
    assert advice["next"] == ({"dose": 2, "frequency": 1} if value < 0.5 else {"dose": 1, "frequency": 2})
    assert advice["action"] == "escalate"
    assert "Drawn from level 2.1 with probability 0.5, level 1.2 with probability 0.5." in advice["text"]


@pytest.mark.parametrize("seed", [5, 6, 7, 8])
def test_the_seed_decides(site, seed):
    trial = site(draws=r.DrawStream(seed=seed))
    low = Numbers(seed, 0).at("allocation", 0) < 0.5
    assert trial.advice(trial.recommend())["next"] == {"dose": 1 + low, "frequency": 2 - low}


def test_seeds_draw_both_regimens():
    """The test above sees both."""
    assert {Numbers(seed, 0).at("allocation", 0) < 0.5 for seed in (5, 6, 7, 8)} == {True, False}


def test_asking_again_draws_the_same(site):
    trial = site()
    first = trial.advice(trial.recommend())
    trial.wait(days=3)
    trial.reopen()
    assert trial.advice(trial.recommend()) == first
    assert trial.verify().draws == 2


def test_a_suspension_does_not_use_up_the_draw(site):
    trial = site()
    first = trial.advice(trial.recommend())
    trial.decide(action="suspend", regimen=None, size=0, justification=kit.LONG_REASON)
    assert trial.advice(trial.recommend()) == first


def test_the_next_decision_draws_with_the_next_number(site):
    trial = site()
    trial.decide()
    trial.cohort("P004", "P005", "P006")
    advice = trial.advice(trial.recommend())
    if "draw" in advice:
        assert advice["draw"]["decision"] == 2
        assert advice["draw"]["value"] == Numbers(5, 0).at("allocation", 1)
    assert trial.state().trial_state().cohort == 2


def test_a_single_possible_regimen_is_not_drawn(site):
    trial = site("pocrm")
    advice = trial.advice(trial.recommend())  # the list of the first stage
    assert [each["probability"] for each in advice["allocation"]] == [1.0]
    assert "draw" not in advice


def test_without_a_seed_it_follows_from_the_signature_of_the_opening(site):
    trial = site(draws=None)
    state = trial.state()
    stream = stream_of(state)
    assert trial.advice(trial.recommend())["draw"]["seed"] == stream.seed < 16**12
    assert trial.verify().ok
    signed = {**state.opened.signature, "signed_at": "2026-01-05T09:00:00.000001Z"}
    later = replace(state, opened=state.opened.model_copy(update={"signature": signed}))
    assert stream_of(later) != stream


# the committee ------------------------------------------------------------------------------------


def test_the_drawn_regimen_takes_one_signature_and_no_justification(site):
    trial = site()
    recommendation = trial.recommend()
    committee = trial.committee(recommendation)
    trial.sign(committee)
    decision = trial.state().decisions[committee]
    assert decision.effective is not None
    assert not departs(decision.committee, decision.recommendation.advice)
    assert not sets_draw_aside(decision.committee, decision.recommendation.advice)


def test_another_regimen_the_design_allows_sets_the_draw_aside_and_says_so(site):
    trial = site()
    recommendation = trial.recommend()
    there = other_than(trial.advice(recommendation))
    for words in ("", "because", " " * 30):
        with pytest.raises(GateRefused, match="why the draw is set aside"):
            trial.committee(recommendation, regimen=there, draw_set_aside=words)
    committee = trial.committee(recommendation, regimen=there, draw_set_aside=AGAIN)
    trial.sign(committee)
    decision = trial.state().decisions[committee]
    assert decision.effective is not None  # as many signatures as without
    assert not departs(decision.committee, decision.recommendation.advice)
    assert sets_draw_aside(decision.committee, decision.recommendation.advice)
    grid = trial.study.protocol.grid
    assert trial.state().trial_state().regimen == grid.index(Regimen(**there))
    assert trial.verify().ok
    (row,) = listings(trial.entries(), trial.clock.moment)["decisions"].to_dict("records")
    assert (row["departs"], row["draw_set_aside"]) == ("no", AGAIN)
    assert row["drawn_with"].startswith("seed 5, decision 1: 0.")


def test_only_a_draw_that_is_set_aside_is_said_to_be(site):
    trial = site()
    recommendation = trial.recommend()
    with pytest.raises(GateRefused, match="no draw is set aside"):
        trial.committee(recommendation, draw_set_aside=AGAIN)
    stays = {"action": "stay", "regimen": {"dose": 1, "frequency": 1}, "justification": kit.LONG_REASON}
    with pytest.raises(GateRefused, match="no draw is set aside"):
        trial.committee(recommendation, **stays, draw_set_aside=AGAIN)


@pytest.mark.parametrize(
    "changes",
    [
        {"action": "stay", "regimen": {"dose": 1, "frequency": 1}},
        {"size": 2},
        {"action": "suspend", "regimen": None, "size": 0},
        {"action": "stop", "regimen": None, "size": 0},
    ],
    ids=["a regimen the design does not allow", "another size", "suspend", "stop"],
)
def test_a_regimen_or_size_the_design_does_not_allow_departs(site, changes):
    trial = site()
    recommendation = trial.recommend()
    with pytest.raises(GateRefused, match="departs from the recommendation"):
        trial.committee(recommendation, **changes)
    committee = trial.committee(recommendation, **changes, justification=kit.LONG_REASON)
    trial.sign(committee)
    assert trial.state().decisions[committee].effective is None
    trial.sign(committee, "chen")
    assert trial.state().decisions[committee].effective is not None


def test_the_action_is_called_by_the_regimen_chosen(site):
    """A drawn move is named by where it leads, whatever the regimen named first."""
    trial = site()
    recommendation = trial.recommend()
    there = other_than(trial.advice(recommendation))
    with pytest.raises(GateRefused, match="is called escalate"):
        trial.committee(recommendation, action="stay", regimen=there, draw_set_aside=AGAIN)


# verification -------------------------------------------------------------------------------------


def forged(trial, **changes):
    """The trial's entries with the advice of the last recommendation changed and everything chained anew."""
    entries = list(trial.entries())
    position = max(k for k, entry in enumerate(entries) if entry.type == "recommended")
    made = entries[:position]
    for entry in entries[position:]:
        payload = entry.payload
        if entry.type == "recommended" and entry is entries[position]:
            advice = {**payload["advice"], **changes}
            payload = {**payload, "advice": {key: value for key, value in advice.items() if value is not ...}}
        draft = Draft(entry.type, payload, entry.effective, entry.reason, entry.idempotency_key)
        at = datetime.fromisoformat(entry.recorded_at)
        made.append(chain(made[-1], draft, trial=entry.trial, actor=entry.actor, at=at))
    return verify_trial(trial.trial, made, Head(made[-1].seq, made[-1].hash))


def test_verification_draws_again(site):
    trial = site()
    trial.recommend()
    report = trial.verify()
    assert (report.ok, report.draws) == (True, 1)
    assert "1 recommendations decided again, 1 of them drawn again" in str(report)


def test_another_draw_is_found(site):
    trial = site()
    advice = trial.advice(trial.recommend())
    for changes in (
        {"next": other_than(advice)},
        {"draw": {**advice["draw"], "seed": 6}},
        {"draw": {**advice["draw"], "decision": 2}},
        {"draw": {**advice["draw"], "value": 0.5}},
        {
            "allocation": [
                {**each, "probability": share} for each, share in zip(advice["allocation"], (0.9, 0.1), strict=True)
            ]
        },
        {"allocation": ...},
    ):
        report = forged(trial, **changes)
        assert not report.ok, changes
        assert "deciding again gives another answer" in report.findings[0].problem
    assert forged(trial).ok


def test_probabilities_rounded_on_another_machine_are_drawn_from_as_recorded(site):
    trial = site()
    advice = trial.advice(trial.recommend())
    shifted = [{**each, "probability": each["probability"] + 2e-16} for each in advice["allocation"]]
    assert forged(trial, allocation=shifted).ok
    apart = [{**each, "probability": each["probability"] + 1e-6} for each in advice["allocation"]]
    assert not forged(trial, allocation=apart).ok


def test_recommendations_of_before_draws_were_recorded_still_verify(site):
    """They named the first possible regimen, with its probabilities or without."""
    trial = site()
    advice = trial.advice(trial.recommend())
    rule = trial.study.protocol.rule
    plain = replace(advise(trial.state()), allocation=None)
    before = {"draw": ..., "next": {"dose": 2, "frequency": 1}, "text": headline(plain, rule)}
    assert forged(trial, **before).ok
    assert forged(trial, **before, allocation=...).ok
    assert not forged(trial, **(before | {"next": other_than({**advice, "next": before["next"]})})).ok
    assert not forged(trial, draw=..., next=advice["next"]).ok or advice["next"] == before["next"]


def test_look_aheads_of_before_draws_were_recorded_still_verify(tmp_path):
    trial = kit.Site(tmp_path, study())
    trial.treat("P001")
    advice = trial.advice(trial.recommend())
    assert any("draws level 2.1 or 1.2" in line for line in advice["outlook"])
    found = advise(trial.state())
    old = replace(found, outlook=tuple(replace(each, allocation=None) for each in found.outlook))
    lines = outlook_lines(old, trial.study.protocol.grid)
    assert lines != advice["outlook"]
    assert forged(trial, outlook=lines).ok
    assert not forged(trial, outlook=["something else"]).ok
    trial.close()


# what is certain, and in which words --------------------------------------------------------------


def test_a_draw_that_can_go_up_is_no_retreat():
    """A decision to leave the regimen downwards may come early; not one that can still draw a higher regimen."""
    advisor = Advisor(study().protocol.rule)
    state = replay(advisor.rule, "1.1NNN 2.1NN").state
    shares = [0.0] * 9
    verdict = advisor._verdict(advisor.rule.decide(state.tally()), np.zeros((1, 9), bool), 0, state.regimen)
    down = replace(verdict, action=Action.DE_ESCALATE, regimen=0, allocation=None)
    assert advisor._may_act(state, down, places=1)
    shares[0] = 0.5
    shares[3] = 0.5  # level 1.2: beside level 2.1, not below it
    assert not advisor._may_act(state, replace(down, allocation=tuple(shares)), places=1)
    shares[0], shares[3] = 1.0, 0.0
    assert advisor._may_act(state, replace(down, allocation=tuple(shares)), places=1)


def test_an_advice_to_be_drawn_names_every_regimen():
    made = study()
    rule = made.protocol.rule
    advice = Advisor(rule).advise(replay(rule, "1.1NNN").state)
    assert headline(advice, rule) == (
        "Draw the regimen of the next 3 participants: level 2.1 with probability 0.5, level 1.2 with probability 0.5."
    )
    taken = advice.drawing(3, 0, rule.grid)
    assert headline(taken, rule).startswith("Escalate to level 1.2")
    possible = Possibility((0,), Action.ESCALATE, 1, (), advice.allocation)
    assert outlook_lines(replace(advice, outlook=(possible,), open_at=((0, 1),)), rule.grid) == [
        "no further DLT: draws level 2.1 or 1.2"
    ]


# simulation ---------------------------------------------------------------------------------------

DRAWN_OFTEN = {
    "boin_combination": {},
    "keyboard_combination": {},
    "pipe": {"strategy": "sample_size_random"},
    "pocrm": {"ordering_choice": "randomised"},
}


@pytest.mark.parametrize("name", DRAWN_OFTEN)
def test_a_simulated_trial_is_conducted_with_the_same_draws(tmp_path, name):
    design = {"name": name, **DRAWN_OFTEN[name]}
    made = kit.study(doses=3, days=DAYS, design=design, max_patients=18, cohort_size=2)
    draws = 0
    for replicate in (1, 3):
        clock = HandClock()
        conduct = kit.open_quickly(tmp_path / f"{replicate}.sqlite", clock, create=True)
        _, course = course_of(made, None, 4, replicate)
        stream = r.DrawStream(seed=4, replicate=replicate)
        simulated = SimulatedConduct(conduct, clock, TRIAL, made, course, stream)
        assert all(each.equal for each in simulated.run())
        entries = conduct.ledger.entries(TRIAL)
        assert not any(entry.payload.get("justification") for entry in entries)
        report = verify_trial(TRIAL, entries, conduct.ledger.head(TRIAL))
        assert report.ok
        assert report.draws == sum(each.drawn for each in simulated.decisions)
        draws += report.draws
        conduct.ledger.close()
    assert draws > 0


def test_another_stream_departs_from_the_simulation(tmp_path):
    """The comparison can fail: conducted with seed 5, the first draw is the other regimen."""
    made, clock = study(max_patients=18), HandClock()
    conduct = kit.open_quickly(tmp_path / "other.sqlite", clock, create=True)
    _, course = course_of(made, None, 4, 1)
    with pytest.raises(DepartureError, match=r"decision 1: simulation decides .*'frequency': 2.*, conduct recommends"):
        SimulatedConduct(conduct, clock, TRIAL, made, course, r.DrawStream(seed=5)).run()
    conduct.ledger.close()


# the command line ---------------------------------------------------------------------------------


def test_a_draw_from_the_command_line(site, tmp_path, monkeypatch):
    """Opened with a seed, recommended, set aside with its reason, verified; and a simulated trial says what it drew."""
    trial = site()
    snapshot = trial.conduct.snapshot(trial.token("stefan"), trial.trial).version

    def opened(database, *, create=False, clock=None):
        return open_conduct(database, create=create, clock=clock or trial.clock, passwords=kit.fast())

    monkeypatch.setattr(trial_cli_shared, "open_service", opened)
    environment = {"ESCALATION_DATABASE": str(trial.path), "ESCALATION_SESSION": str(tmp_path / "session.json")}

    def call(*words, code=0, stdin=None):
        told = CliRunner().invoke(app, ["trial", *map(str, words)], env=environment, input=stdin)
        assert told.exit_code == code, told.output
        return told.output

    def by(name, *words, code=0):
        call("sign-in", name, "--password-stdin", stdin=f"{kit.PASSWORD}\n")
        return call(*words, code=code)

    assert "--draw-seed" in call("open", "--help")
    told = by("stefan", "recommend", trial.trial, snapshot)
    value = Numbers(5, 0).at("allocation", 0)
    assert f"drawn with seed 5, decision 1: {value:.6f}; asking again draws the same" in told
    recommendation = trial.version
    there = ",".join(map(str, other_than(trial.advice(recommendation)).values()))
    minutes = ("--meeting", "SRC", "--attendance", "Maria, chair", "--discussion", "Weighed.", "--action", "escalate")
    chosen = ("committee", trial.trial, recommendation, *minutes, "--regimen", there)
    assert "why the draw is set aside" in by("maria", *chosen, code=2)
    by("maria", *chosen, "--draw-set-aside", AGAIN)
    assert trial.entries()[-1].payload["size"] == 3
    assert "1 of them drawn again" in by("mona", "verify", trial.trial)
    told = call("simulate", "textbook-grid-3x3", "--design", "boin_combination", "--seed", 2)
    assert "(as simulated, drawn with the same number)" in told


def test_a_recommendation_is_plain_json(site):
    trial = site()
    advice = trial.advice(trial.recommend())
    assert json.loads(json.dumps(advice)) == advice
