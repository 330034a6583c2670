"""Outcome strings: what they say, what is certain before every outcome is known, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from escalation.advice import Advisor, Possibility
from escalation.decision import Action
from escalation.errors import OutcomeError
from escalation.outcomes import Cohort, parse, replay, text_of
from escalation.regimens import RegimenGrid

DOSES = RegimenGrid(doses=(1, 2, 3), schedules=((0,),))
OFTEN = RegimenGrid(doses=(1,), schedules=((0,), (0, 7), (0, 7, 14)))
GRID = RegimenGrid(doses=(1, 2, 3), schedules=((0,), (0, 7)))
FIVE = [0.1] * 5


@pytest.fixture(scope="module")
def rules(study_of):
    three = "three_plus_three"
    studies = {
        "V1": study_of({"name": three}, FIVE),
        "V2": study_of({"name": three, "variant": "V2"}, FIVE),
        "V3": study_of({"name": three, "variant": "V3"}, [0.1, 0.2]),
        "boin": study_of({"name": "boin", "target": 0.3}, FIVE, max_patients=30),
        "crm": study_of({"name": "crm", "target": 0.3}, FIVE, max_patients=30),
        "grid": study_of({"name": "dose_then_frequency"}, [[0.1, 0.2], [0.2, 0.3]]),
        "expansion": study_of({"name": three}, [0.1, 0.2], expansion={"size": 6}),
        "boin expansion": study_of({"name": "boin"}, [0.1, 0.2], max_patients=12, expansion={"size": 6}),
    }
    return {name: study.protocol.rule for name, study in studies.items()}


def advise(rule, text, **more):
    reading = replay(rule, text, **more)
    assert reading.departures == ()
    return Advisor(rule).advise(reading.state)


# reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grid", "text", "cohorts"),
    [
        (DOSES, "", []),
        (DOSES, "  \n ", []),
        (DOSES, "1NNN 2NTN", [(0, "NNN"), (1, "NTN")]),
        (DOSES, "1NNN, 2NTP,3X", [(0, "NNN"), (1, "NTP"), (2, "X")]),
        (DOSES, "1nnn\t2ntpx", [(0, "NNN"), (1, "NTPX")]),
        (DOSES, "1.1NNN 2.1N", [(0, "NNN"), (1, "N")]),  # dose.frequency is read on one axis too
        (OFTEN, "1NNN 3T", [(0, "NNN"), (2, "T")]),
        (OFTEN, "1.1NNN 1.3T", [(0, "NNN"), (2, "T")]),
        (GRID, "1.1NNN 3.2T", [(0, "NNN"), (5, "T")]),
    ],
)
def test_what_a_string_says(grid, text, cohorts):
    assert parse(text, grid) == tuple(Cohort(*cohort) for cohort in cohorts)


@pytest.mark.parametrize(
    ("grid", "text", "names"),
    [
        (DOSES, "NNN", "'NNN' is not a level followed by letters"),
        (DOSES, "1", "'1' is not a level"),
        (DOSES, "1 NNN", "'1' is not a level"),
        (DOSES, "1NN2NN", "'1NN2NN' is not a level"),
        (DOSES, "-1NNN", "'-1NNN' is not a level"),
        (DOSES, "1.NNN", "'1.NNN' is not a level"),
        (DOSES, "1.1.1NNN", "is not a level"),
        (DOSES, "1N-N", "is not a level"),
        (DOSES, "1NNN;2NNN", "is not a level"),
        (DOSES, "1NNZ", "'1NNZ': Z is no outcome"),
        (DOSES, "1NYA", "'1NYA': A, Y is no outcome"),
        (DOSES, "0NNN", "'0NNN': regimen dose 0, frequency 1 does not exist"),
        (DOSES, "4NNN", "dose levels 1 to 3"),
        (DOSES, "1NNN 1.2NNN", "'1.2NNN': regimen dose 1, frequency 2 does not exist"),
        (OFTEN, "4NNN", "frequency levels 1 to 3"),
        (OFTEN, "2.1NNN", "'2.1NNN'"),
        (GRID, "1NNN", "'1NNN': this study has doses and frequencies; write dose.frequency"),
        (GRID, "1.3NNN", "frequency levels 1 to 2"),
        (GRID, "N", "for example|write for example 1.1NNN"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(grid, text, names):
    with pytest.raises(OutcomeError, match=names):
        parse(text, grid)


@given(
    cohorts=st.lists(
        st.tuples(st.integers(0, 5), st.integers(1, 8)).flatmap(
            lambda c: st.tuples(st.just(c[0]), st.just(c[1]), st.integers(0, c[1]))
        )
    )
)
def test_writing_and_reading_are_inverse(cohorts):
    for grid in (
        GRID,
        RegimenGrid((1, 2, 3, 4, 5, 6), ((0,),)),
        RegimenGrid((1,), tuple((0, *range(7, 7 * k, 7)) for k in range(1, 7))),
    ):
        read = parse(text_of(tuple(cohorts), grid), grid)
        assert [(c.regimen, len(c.letters), c.letters.count("T")) for c in read] == cohorts


# what is certain early -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "text", "action", "level", "size", "reason"),
    [
        ("V1", "", "stay", "1", 3, "trial.cohort_open"),
        ("V1", "1N", "stay", "1", 2, "trial.cohort_open"),
        ("V1", "1T", "stay", "1", 2, "trial.cohort_open"),
        ("V1", "1P", "stay", "1", 2, "trial.cohort_open"),
        ("V1", "1PPP", "wait", "1", 0, "trial.outcomes_pending"),
        ("V1", "1NNP", "wait", "1", 0, "trial.outcomes_pending"),
        ("V1", "1TT", "stop", "1", 0, "three_plus_three.lowest_failed"),
        ("V1", "1TTP", "stop", "1", 0, "three_plus_three.lowest_failed"),
        ("V1", "1TTX", "stop", "1", 0, "three_plus_three.lowest_failed"),
        ("V1", "1NNN 2TT", "stop", "2", 0, "three_plus_three.second_dlt"),
        ("V2", "1NNN 2TT", "de_escalate", "1", 3, "three_plus_three.de_escalate"),
        ("V2", "1NNN 2TTP", "de_escalate", "1", 3, "three_plus_three.de_escalate"),
        ("V1", "1NNT 1NNP", "wait", "1", 0, "trial.outcomes_pending"),
        ("V1", "1NNT 1T", "stop", "1", 0, "three_plus_three.lowest_failed"),
        ("V1", "1NNT 1NPP", "wait", "1", 0, "trial.outcomes_pending"),
        ("V1", "1NNT 1NN", "stay", "1", 1, "trial.cohort_open"),
        # filled up with 0/5 and one to come: at most 1/6, so the level is declared whatever comes
        ("V2", "1NNN 2NTT 1NNP", "stop", "1", 0, "three_plus_three.mtd_confirmed"),
        ("V2", "1NNN 2NTT 1NTP", "wait", "1", 0, "trial.outcomes_pending"),
        # the same before the last participant has come: the protocol's cohort is filled first
        ("V2", "1NNN 2NTT 1NN", "stay", "1", 1, "trial.cohort_open"),
        ("V3", "1NNN 2NNN 2NNP", "stop", "2", 0, "three_plus_three.top_accepted"),
        ("boin", "1NNT 1NNP", "wait", "1", 0, "trial.outcomes_pending"),
        ("boin", "1NNN 2NNN 3NNN 4NNN 5NNP", "stay", "5", 3, "boin.at_top|boin.between"),
        ("boin", "1NNN 2TTP", "de_escalate", "1", 3, "boin.at_or_above_lambda_d|boin.eliminated"),
        ("boin", "1TTP", "wait", "1", 0, "trial.outcomes_pending"),
        # sideways raises one axis, so it is no retreat: the open cohort is filled first
        ("grid", "1.1NNN 2.1TT", "stay", "2.1", 1, "trial.cohort_open"),
        ("grid", "1.1NNN 2.1TTP", "escalate", "1.2", 3, "two_stage.second_axis"),
    ],
)
def test_what_is_said_before_every_outcome_is_known(rules, rule, text, action, level, size, reason):
    advice = advise(rules[rule], text)
    assert (advice.action.word, rules[rule].grid.level(advice.regimen), advice.size) == (action, level, size)
    assert set(advice.reasons) == set(reason.split("|"))
    assert advice.decides is not reason.startswith("trial.")


def test_outlook_over_pending_outcomes(rules):
    advice = advise(rules["V1"], "1NNP")
    assert advice.open_at == ((0, 1),)
    assert advice.outlook == (
        Possibility((0,), Action.ESCALATE, 1, ()),
        Possibility((1,), Action.STAY, 0, ()),
    )
    advice = advise(rules["V1"], "1NNT 1NNP")
    assert advice.outlook == (
        Possibility((0,), Action.ESCALATE, 1, ()),
        Possibility((1,), Action.STOP, 0, ()),
    )
    advice = advise(rules["V1"], "1NNN 2NPP")
    assert [(p.further, p.action, p.selected) for p in advice.outlook] == [
        ((0,), Action.ESCALATE, ()),
        ((1,), Action.STAY, ()),
        ((2,), Action.STOP, (0,)),
    ]


def test_a_certain_decision_says_so(rules):
    early = advise(rules["V1"], "1TT")
    assert (early.decides, early.certain, early.open_at) == (True, True, ((0, 1),))
    late = advise(rules["V1"], "1NTT")
    assert (late.decides, late.certain, late.open_at) == (True, False, ())
    assert early.selected == late.selected == ()


def test_pending_participants_of_an_earlier_cohort_stay_in_the_account(rules):
    """Level 2 is left after two DLTs with one outcome open; that outcome is still counted when it comes."""
    reading = replay(rules["V2"], "1NNN 2TTP 1NN")
    state = reading.state
    assert (state.pending, state.n, state.dlt) == ([0, 1, 0, 0, 0], [5, 2, 0, 0, 0], [0, 2, 0, 0, 0])
    assert (state.regimen, state.open_places, state.cohort_pending()) == (0, 1, 0)
    advice = Advisor(rules["V2"]).advise(replay(rules["V2"], "1NNN 2TTP 1NNT").state)
    assert (advice.action, advice.selected, advice.certain) == (Action.STOP, (0,), True)
    assert advice.open_at == ((1, 1),)


def test_windows_complete_waits_to_go_up_but_not_to_go_down(rules):
    patient = Advisor(rules["V2"], windows_complete=True)

    def says(text):
        return patient.advise(replay(rules["V2"], text).state).action.word

    assert says("1NNN 2TTP") == "de_escalate"
    assert says("1NNN 2TTP 1TT") == "stop"
    assert says("1NNN 2NTT 1NNP") == "wait"  # declaring level 1 is no retreat
    assert says("1NNN 2TTP 1NNT") == "wait"  # nor while a window is open elsewhere
    assert says("1NNN 2NTT 1NNT") == "stop"


# not evaluable ---------------------------------------------------------------------------------


def test_whoever_is_not_evaluable_is_replaced(rules):
    assert advise(rules["V1"], "1NNX").size == 1
    assert advise(rules["V1"], "1XXX").size == 3
    state = replay(rules["V1"], "1NNXN").state
    assert (state.n[0], state.treated[0], len(state.participants)) == (3, 4, 4)
    assert advise(rules["V1"], "1NNXN").action == Action.ESCALATE
    assert advise(rules["V1"], "1NXNT 1NNXN").action == Action.ESCALATE
    assert advise(rules["V1"], "1TXT").action == Action.STOP


def test_or_is_not_where_the_protocol_says_so(rules):
    """Two evaluable of three: BOIN decides on two, the 3+3 rule itself asks for the third."""
    boin, three = rules["boin"], rules["V1"]
    state = replay(boin, "1NNX", replace_not_evaluable=False).state
    assert (state.size, state.open_places, state.cohort_n) == (2, 0, 2)
    assert Advisor(boin).advise(state).action == Action.ESCALATE
    state = replay(three, "1NNX", replace_not_evaluable=False).state
    advice = Advisor(three).advise(state)
    assert (advice.action, advice.regimen, advice.size) == (Action.STAY, 0, 1)
    assert advice.reasons == ("three_plus_three.cohort_incomplete",)


# histories -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2NNN", "participant 1 was treated at level 2 while level 1 is open: its cohort has open places"),
        ("1NNN 3NNN", "participant 4 was treated at level 3, but the design goes to level 2"),
        ("1NNNN", "participant 4 was treated at level 1, but the design goes to level 2"),
        ("1NN 2N", "participant 3 was treated at level 2 while level 1 is open: its cohort has open places"),
        ("1NNP 2N", "participant 4 was treated at level 2 while level 1 is open: outcomes that decide are pending"),
        ("1NNT 2N", "participant 4 was treated at level 2, but the design goes to level 1"),
        ("1NTT 1N", r"participant 4 was treated at level 1, but the design stops here \(three_plus_three.lowest_f"),
        ("1TT 2N", "participant 3 was treated at level 2, but the design stops here"),
        ("1NNN 2NTT 1NNN", r"participant 7 was treated at level 1, but the design stops here"),
        ("1NNN 2NTT 3N", "participant 7 was treated at level 3"),
    ],
)
def test_impossible_histories_of_a_3_plus_3(rules, text, words):
    with pytest.raises(OutcomeError, match=f"impossible history: {words}") as raised:
        replay(rules["V1"], text)
    assert "3+3 is defined on the histories it produces" in str(raised.value)


def test_how_a_cohort_is_split_into_tokens_does_not_matter(rules):
    for text in ("1NNT 1NNN 2NNT", "1NNTNNN 2NNT", "1N 1N 1T 1N 1N 1N 2N 2N 2T", "1NN 1TN 1NN 2NNT"):
        state = replay(rules["V1"], text).state
        assert (state.n, state.dlt, state.regimen) == ([6, 3, 0, 0, 0], [1, 1, 0, 0, 0], 1)
        assert advise(rules["V1"], text) == advise(rules["V1"], "1NNT 1NNN 2NNT")


@pytest.mark.parametrize("design", ["boin", "crm"])
@pytest.mark.parametrize(
    ("text", "departures", "n", "regimen"),
    [
        ("1NNN 2NNN", [], [3, 3, 0, 0, 0], 1),
        ("2NNN", ["participant 1 was treated at level 2 while level 1 is open"], [0, 3, 0, 0, 0], 1),
        ("1NNN 3NNN", ["participant 4 was treated at level 3, but the design goes to level 2"], [3, 0, 3, 0, 0], 2),
        ("1NNN 1NNN", ["participant 4 was treated at level 1, but the design goes to level 2"], [6, 0, 0, 0, 0], 0),
        ("1NN 2NNN", ["participant 3 was treated at level 2 while level 1 is open"], [2, 3, 0, 0, 0], 1),
        ("1NNP 2NNN", ["participant 4 was treated at level 2 while level 1 is open"], [2, 3, 0, 0, 0], 1),
        (
            "1NNN 3NNN 5NNN",
            ["participant 4 was treated at level 3", "participant 7 was treated at level 5"],
            [3, 0, 3, 0, 3],
            4,
        ),
        ("1NNNNN", ["participant 4 was treated at level 1", "participant 5 was"], [5, 0, 0, 0, 0], 0),
    ],
)
def test_departures_from_boin_and_crm_are_listed(rules, design, text, departures, n, regimen):
    """Both rules are published for any counts, so a history that left them is decided all the same."""
    reading = replay(rules[design], text)
    assert len(reading.departures) == len(departures)
    for found, expected in zip(reading.departures, departures, strict=True):
        assert found.startswith(expected)
    assert (reading.state.n, reading.state.regimen) == (n, regimen)
    assert Advisor(rules[design]).advise(reading.state).action in (Action.STAY, Action.ESCALATE, Action.WAIT)


@pytest.mark.parametrize("text", ["1TTT 1N", "1TTT 2NNN"])
def test_nobody_is_treated_after_boin_has_closed_every_level(rules, text):
    with pytest.raises(OutcomeError, match=r"but the design stops here \(boin.lowest_eliminated\)"):
        replay(rules["boin"], text)


def test_a_cohort_larger_than_the_rule_asked_for_is_one_cohort(rules):
    """After 0/3 the CRM leaves level 1, so a fourth participant there makes the cohort one of four.

    Its DLT rate is then 1/4, below the target of .30, and not that of the surplus participant alone.
    """
    crm = rules["crm"]
    state = replay(crm, "1NNNT").state
    assert (state.cohort_n, state.cohort_dlt) == (4, 1)
    assert Advisor(crm).advise(state).regimen == 1


def test_a_participant_the_rule_asked_for_opens_the_next_cohort_of_the_token(rules):
    """After 1/3 the CRM stays at level 1: the fourth letter is the first of the cohort it asked for."""
    state = replay(rules["crm"], "1TNNN").state
    assert (state.cohort_n, state.cohort_dlt, state.open_places) == (1, 0, 2)


def test_a_larger_cohort_may_have_outcomes_open(rules):
    reading = replay(rules["crm"], "1NPNT")
    assert len(reading.departures) == 1
    state = reading.state
    assert (state.size, state.cohort_n, state.cohort_dlt, state.cohort_pending(), state.cohort) == (4, 3, 1, 1, 1)


def test_a_fourth_participant_is_a_departure_like_any_other(rules):
    reading = replay(rules["boin"], "1NNN 2NNNN")
    assert reading.departures == (
        "participant 7 was treated at level 2, but the design goes to level 3 (boin.at_or_below_lambda_e)",
    )
    assert (reading.state.cohort_n, reading.state.n[1]) == (4, 4)


def test_a_larger_cohort_does_not_outlive_the_trial(rules):
    with pytest.raises(OutcomeError, match="participant 4 was treated at level 1, but the design stops here"):
        replay(rules["boin"], "1TTTN")


# the expansion stage ---------------------------------------------------------------------------


def test_after_selection_the_expansion_stage_goes_on(rules):
    rule = rules["expansion"]
    advice = advise(rule, "1NNN 2NNN")
    assert (advice.action, advice.selected) == (Action.STOP, (1,))
    state = replay(rule, "1NNN 2NNN 2N").state
    assert (state.stage, state.selected, state.regimen, state.open_places) == ("expansion", (1,), 1, 2)
    assert (state.n, state.expansion_n) == ([3, 3], 1)
    advice = advise(rule, "1NNN 2NNN 2N")
    assert (advice.action, advice.size, advice.reasons) == (Action.STAY, 2, ("trial.expansion_open",))
    advice = advise(rule, "1NNN 2NNN 2NNN")
    assert (advice.action, advice.size, advice.decides) == (Action.STAY, 3, True)
    advice = advise(rule, "1NNN 2NNN 2NNN 2NNN")
    assert (advice.action, advice.selected) == (Action.STOP, (1,))
    assert advice.reasons == ("trial.expansion_complete",)
    assert replay(rule, "1NNN 2NNN 2NNNNNN").state.expansion_n == 6
    with pytest.raises(OutcomeError, match="participant 13 was treated at level 2, but the design stops here"):
        replay(rule, "1NNN 2NNN 2NNN 2NNN 2N")
    with pytest.raises(OutcomeError, match="participant 7 was treated at level 1, but the design stops here"):
        replay(rule, "1NNN 2NNN 1N")


def test_the_expansion_stage_withdraws(rules):
    """Threshold 1/3 and certainty .8 on escalation and expansion together, by the Beta posterior of scipy."""
    rule = rules["expansion"]
    assert beta.sf(1 / 3, 1 + 2, 1 + 4) < 0.8 < beta.sf(1 / 3, 1 + 3, 1 + 3)
    goes_on, withdrawn = advise(rule, "1NNN 2NNN 2NTT"), advise(rule, "1NNN 2NNN 2TTT")
    assert (goes_on.action, goes_on.size) == (Action.STAY, 3)
    assert (withdrawn.action, withdrawn.selected) == (Action.STOP, ())
    assert withdrawn.reasons == ("trial.expansion_withdrawn",)
    waits = advise(rule, "1NNN 2NNN 2TTP")
    assert (waits.action, waits.reasons) == (Action.WAIT, ("trial.outcomes_pending",))
    certain = advise(rule, "1NNN 2NNN 2NNP")
    assert (certain.action, certain.decides, certain.certain) == (Action.STAY, True, True)
    with pytest.raises(OutcomeError, match="stops here"):
        replay(rule, "1NNN 2NNN 2TTT 2N")


def test_departures_end_with_escalation(rules):
    """In the expansion stage nobody is treated elsewhere, whatever the design."""
    with pytest.raises(OutcomeError, match="was treated at level 1"):
        replay(rules["boin expansion"], "1NNN 2NNN 2N 1N")


# follow-up in outcome strings --------------------------------------------------------------------


def test_days_stand_behind_their_letter():
    grid = RegimenGrid(doses=(1, 2), schedules=((0,),))
    assert parse("1NNP@14 2T@9P", grid) == (
        Cohort(0, "NNP", (None, None, 14)),
        Cohort(1, "TP", (9, None)),
    )
    for text in ("1N@3", "1P@", "1@4P", "1P@-3", "1X@2"):
        with pytest.raises(OutcomeError):
            parse(text, grid)


@pytest.mark.parametrize("name", ["tite_crm", "tite_boin"])
def test_follow_up_reaches_the_decision(study_of, name):
    """Windows of 28 days; onset on day 7 of a DLT, 14 and 21 days followed of two pending."""
    rule = study_of({"name": name}, [0.1, 0.2, 0.3], max_patients=12).protocol.rule
    tally = replay(rule, "1NNN 2T@7P@14P@21").state.tally()
    assert tally.exposure[0] == pytest.approx([0, 1.25, 0])
    assert tally.person_time[0] == pytest.approx([0.25, 0.5, 0.75])
    assert tally.person_dlt.tolist() == [[True, False, False]]
    assert replay(rule, "1NNN 2T@7P@14P@21").departures == ()
    assert replay(rule, "1PP").state.tally().exposure.sum() == 0


def test_follow_up_is_for_designs_that_read_it(study_of):
    rule = study_of({"name": "boin"}, [0.1, 0.2, 0.3], max_patients=12).protocol.rule
    told = replay(rule, "1NNN 2NP@14").state
    assert (told.n, told.pending) == ([3, 1, 0], [0, 1, 0])
    assert Advisor(rule).advise(told).open_at == ((1, 2),)
