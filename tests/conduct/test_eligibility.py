"""Eligibility: every limit at, just below and just above; missing answers, conflicting wordings, and no waivers."""

from __future__ import annotations

import inspect
import itertools
import json
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from escalation.conduct.criteria import EVER, CodeRule, CombinedRule, EventRule, JudgementRule, OrderRule, ValueRule
from escalation.conduct.eligibility import (
    NEVER,
    Answer,
    EligibilityError,
    Verdict,
    _Known,
    criteria_names,
    evaluate,
    load_criteria,
)
from escalation.conduct.units import ULN, UnitError, convert
from escalation.errors import StudyError

EXO, UCMSC2D, BMF, PGF, CART = "nct06245746", "nct05672420", "nct05794425", "nct06171906", "nct07212335"
TRIALS = (EXO, UCMSC2D, BMF, PGF, CART)
TAKEN = datetime(2026, 3, 10, 8, 0, tzinfo=UTC)
ANCHORS = {
    "enrolment": date(2026, 3, 1),
    "chemotherapy_start": date(2026, 3, 10),
    "therapy_start": date(2026, 3, 10),
    "screening": date(2026, 3, 1),
    "first_infusion": date(2026, 3, 20),
}
FITTING = {
    "age": (40, "years"), "ecog": (1, "grade"), "kps": (80, "%"), "survival": (12, "months"), "ctcae": (0, "grade"),
    "spo2": (98, "%"), "lvef": (60, "%"), "alt": (20, "U/L", 40), "ast": (20, "U/L", 40), "alp": (80, "U/L", 120),
    "bilirubin": (10, "umol/L", 20), "creatinine": (70, "umol/L", 100), "bun": (4, "mmol/L", 8), "pt": (12, "s", 14),
    "aptt": (30, "s", 40), "inr": (1, "", 1.2), "contraception": (6, "months"), "bmi": (24, "kg/m2"),
    "cd34": (5, "/uL"), "cd34_dose": (3, "10^6/kg"), "hbv_dna": (20, "copies/mL", 1000), "hcv_rna": (0, "IU/mL", 15),
    "sbp": (120, "mmHg"), "dbp": (80, "mmHg"), "anc": (0.4, "10^9/L"), "platelets": (20, "10^9/L"),
    "haemoglobin": (60, "g/L"), "blasts": (1, "%"), "qtcf": (420, "ms"), "hba1c": (5, "%"), "fev1": (90, "%"),
    "chimerism": (99, "%"), "half_life": (1, "days"),
}  # fmt: skip
CODES = {
    "I2.diagnosis": "AML", "stage": "II", "I-POPULATION.leukaemia.diagnosis": "AML",
    "I-POPULATION.leukaemia.setting": "first induction", "I-POPULATION.mobiliser.hsct": "autologous",
    "I-POPULATION": "MDS", "I-HBV.serology.hbsag": "negative", "I-HBV.serology.hbcab": "negative", "sex": "female",
    "childbearing": "yes", "I-DISEASE": "ALL", "I-PREGNANCY-TEST": "negative",
    "E-NYHA": "none", "E-MALIGNANCY.exception": "none", "E-AGVHD": "none", "E-CGVHD": "none",
}  # fmt: skip

DAYS = {"I-CYTOPENIA.cart": date(2026, 1, 15), "E-ALLO": date(2024, 1, 1)}


def answer(question, value=None, unit="", uln=None, **further):
    given_values = {"sample_time": TAKEN, "source_document": "chart 7, page 2", "assessor": "investigator"} | further
    return Answer(criterion=question, value=value, unit=unit, uln=uln, **given_values)


def fitting(criteria):
    """An answer to every question that no criterion objects to."""
    kinds = {each.id: each.kind for each in criteria.criteria}
    found = {}
    for name, question in criteria.questions.items():
        rule = question.rule
        if isinstance(rule, ValueRule):
            value, unit, *uln = FITTING[rule.analyte]
            found[name] = answer(name, value, unit, uln[0] if uln and rule.unit == ULN else None)
        elif isinstance(rule, CodeRule):
            found[name] = answer(name, CODES.get(name, "negative"))
        elif isinstance(rule, EventRule):
            found[name] = answer(name, DAYS.get(name, NEVER))
        else:
            found[name] = answer(name, met=kinds[name.split(".")[0]] == "inclusion")
    return found


CRITERIA = {name: load_criteria(name) for name in TRIALS}
ANSWERS = {name: fitting(CRITERIA[name]) for name in TRIALS}


def judged(trial, *changes, without=(), switches=None, anchors=None):
    """The verdict on the fitting participant with some answers exchanged or left out."""
    answers = ANSWERS[trial] | {each.criterion: each for each in changes}
    days = {name: day for name, day in (ANCHORS | (anchors or {})).items() if name in CRITERIA[trial].anchors and day}
    kept = [each for name, each in answers.items() if name not in without]
    return evaluate(CRITERIA[trial], kept, switches=switches or {}, anchors=days)


def finding(verdict, criterion):
    return next(each for each in verdict.findings if each.criterion == criterion)


def passes(trial, criterion, *changes, **further):
    return finding(judged(trial, *changes, **further), criterion).passes


# ---------------------------------------------------------------------------------------------------------------------
# the files


def test_the_five_trials_have_criteria():
    assert criteria_names() == tuple(sorted(TRIALS))
    assert load_criteria("NCT07212335").key == "cart"
    with pytest.raises(StudyError, match=r"no trial 'NCT0721233'.*did you mean 'nct07212335'"):
        load_criteria("NCT0721233")


@pytest.mark.parametrize("trial", TRIALS)
def test_every_name_in_a_file_is_defined_in_it(trial):
    criteria = CRITERIA[trial]
    questions, anchors = criteria.questions, set(criteria.anchors)
    ambiguities = {each.id for each in criteria.ambiguities}
    ids = [each.id for each in (*criteria.facts, *criteria.criteria)]
    assert len(ids) == len(set(ids))
    for path, part in criteria.parts.items():
        rule = part.rule
        if part.answered_by:
            assert type(questions[part.answered_by].rule) is type(rule), path
        for question, codes in part.applies_when.items():
            asked = questions[question].rule
            assert set(codes) <= set(asked.values if isinstance(asked, CodeRule) else (EVER, NEVER)), path
        if isinstance(rule, ValueRule):
            assert set(rule.switches) <= set(criteria.switches)
            assert {each.ambiguity for each in rule.doubts} <= ambiguities
            if rule.unit != ULN:
                convert(rule.analyte, 1, rule.unit)
            if rule.sampled:
                assert rule.sampled.on in anchors or isinstance(questions[rule.sampled.after].rule, EventRule)
        elif isinstance(rule, CodeRule):
            assert set(rule.one_of) | set(rule.doubtful) | set(itertools.chain(*rule.cases.values())) <= set(
                rule.values
            )
            assert set(rule.doubtful.values()) <= ambiguities
            assert not rule.switch or set(rule.cases) == set(criteria.switches[rule.switch].values)
        elif isinstance(rule, EventRule):
            assert rule.before in anchors
            assert not rule.span.half_lives or rule.span.half_life in questions
        elif isinstance(rule, OrderRule):
            assert {rule.first, rule.then} <= anchors
        elif isinstance(rule, CombinedRule):
            assert len({each.id for each in rule.parts}) == len(rule.parts)
            assert rule.ambiguity in ambiguities | {""}
    for criterion in criteria.criteria:
        assert set(criterion.ambiguities) <= ambiguities
        assert not criterion.conflict or criterion.conflict.against in ids
    assert ambiguities == {name for each in criteria.criteria for name in each.ambiguities}
    assert all(each.allows(each.default) for each in criteria.switches.values())


@pytest.mark.parametrize("trial", TRIALS)
def test_who_fits_everything_is_eligible_and_the_verdict_survives_being_stored(trial):
    verdict = judged(trial)
    assert verdict.status == "eligible", verdict.open + verdict.failed
    assert not verdict.notices
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict
    assert judged(trial) == verdict
    stored = [Answer.model_validate(json.loads(each.model_dump_json())) for each in ANSWERS[trial].values()]
    assert stored == list(ANSWERS[trial].values())


def test_consent_before_the_trigger_is_a_state_of_one_trial_only():
    assert [name for name in TRIALS if judged(name).consented_not_yet_triggered] == [PGF]
    assert "diagnosed" in CRITERIA[PGF].trigger


# ---------------------------------------------------------------------------------------------------------------------
# every numeric limit: criterion, question, limit, step, unit, ULN, whether it passes below, at and above the limit

LIMITS = [
    (EXO, "I1", "I1", 18, 1, "years", None, "nyy"),
    (EXO, "I1", "I1", 60, 1, "years", None, "yyn"),
    (EXO, "I5", "I5", 2, 1, "grade", None, "yyn"),
    (EXO, "I6", "I6", 3, 0.1, "months", None, "nyy"),
    (EXO, "E-SURVIVAL", "I6", 48, 1, "hours", None, "nny"),
    (EXO, "I7-SPO2", "I7-SPO2", 95, 0.1, "%", None, "nyy"),
    (EXO, "I7-LVEF", "I7-LVEF", 45, 0.1, "%", None, "nyy"),
    (EXO, "I7-ALT", "I7-ALT", 100, 0.1, "U/L", 40, "yyn"),
    (EXO, "I7-AST", "I7-AST", 87.5, 0.1, "U/L", 35, "yyn"),
    (EXO, "I7-TBIL", "I7-TBIL", 31.5, 0.1, "umol/L", 21, "yyn"),
    (EXO, "I7-CREA", "I7-CREA", 1.05, 0.01, "mg/dL", 0.7, "yyn"),
    (EXO, "I8", "I8.toxicity", 1, 1, "grade", None, "yyn"),
    (EXO, "I9", "I9.after", 6, 0.1, "months", None, "nyy"),
    (UCMSC2D, "I-AGE", "I-AGE", 18, 1, "years", None, "nyy"),
    (UCMSC2D, "I-AGE", "I-AGE", 75, 1, "years", None, "yyn"),
    (UCMSC2D, "I-ECOG", "I-ECOG", 2, 1, "grade", None, "yyn"),
    (UCMSC2D, "I-SURVIVAL", "I-SURVIVAL", 3, 0.1, "months", None, "nyy"),
    (UCMSC2D, "E-SURVIVAL", "I-SURVIVAL", 48, 1, "hours", None, "nny"),
    (UCMSC2D, "I-SPO2", "I-SPO2", 95, 0.1, "%", None, "nyy"),
    (UCMSC2D, "I-LVEF", "I-LVEF", 45, 0.1, "%", None, "nyy"),
    (UCMSC2D, "I-ALT", "I-ALT", 100, 0.1, "U/L", 40, "yyn"),
    (UCMSC2D, "I-AST", "I-AST", 100, 0.1, "U/L", 40, "yyn"),
    (UCMSC2D, "I-TBIL", "I-TBIL", 30, 0.1, "umol/L", 20, "yyn"),
    (UCMSC2D, "I-CREA", "I-CREA", 150, 0.1, "umol/L", 100, "yyn"),
    (UCMSC2D, "I-WASHOUT", "I-WASHOUT.toxicity", 1, 1, "grade", None, "yyn"),
    (UCMSC2D, "E-BMI", "E-BMI", 30, 0.1, "kg/m2", None, "yyn"),
    (UCMSC2D, "E-CONTRACEPTION", "E-CONTRACEPTION.after", 6, 0.1, "months", None, "nyy"),
    (BMF, "I-TBIL", "I-TBIL", 30, 0.1, "umol/L", 20, "yyn"),
    (BMF, "E-TBIL", "I-TBIL", 30, 0.1, "umol/L", 20, "yyn"),
    (BMF, "I-ALT", "I-ALT", 100, 0.1, "U/L", 40, "yyn"),
    (BMF, "E-ALT", "I-ALT", 120, 0.1, "U/L", 40, "yyn"),
    (BMF, "I-AST", "I-AST", 100, 0.1, "U/L", 40, "yyn"),
    (BMF, "E-AST", "I-AST", 120, 0.1, "U/L", 40, "yyn"),
    (BMF, "I-ALP", "I-ALP", 360, 0.1, "U/L", 120, "yyn"),
    (BMF, "E-ALP", "I-ALP", 180, 0.1, "U/L", 120, "yyn"),
    (BMF, "I-CREA", "I-CREA", 150, 0.1, "umol/L", 100, "yyn"),
    (BMF, "E-CREA", "I-CREA", 150, 0.1, "umol/L", 100, "yyn"),
    (BMF, "I-CLOTTING", "I-CLOTTING.pt", 21, 0.1, "s", 14, "yyn"),
    (BMF, "I-CLOTTING", "I-CLOTTING.aptt", 60, 0.1, "s", 40, "yyn"),
    (BMF, "I-CLOTTING", "I-CLOTTING.inr", 1.65, 0.01, "", 1.1, "yyn"),
    (BMF, "I-LVEF", "I-LVEF", 50, 0.1, "%", None, "nyy"),
    (BMF, "I-ECOG", "I-ECOG", 2, 1, "grade", None, "yyn"),
    (BMF, "E-PRESSURE", "E-PRESSURE.systolic", 160, 1, "mmHg", None, "ynn"),
    (BMF, "E-PRESSURE", "E-PRESSURE.diastolic", 110, 1, "mmHg", None, "ynn"),
    (PGF, "I-AGE", "I-AGE", 18, 1, "years", None, "nyy"),
    (PGF, "I-AGE", "I-AGE", 60, 1, "years", None, "yyn"),
    (PGF, "I-KPS", "I-KPS", 60, 10, "%", None, "nny"),
    (PGF, "I-SURVIVAL", "I-SURVIVAL", 3, 0.1, "months", None, "nny"),
    (CART, "I-AGE", "I-AGE", 18, 1, "years", None, "nyy"),
    (CART, "I-ECOG", "I-ECOG", 2, 1, "grade", None, "yyn"),
    (CART, "I-SURVIVAL", "I-SURVIVAL", 6, 0.1, "months", None, "nyy"),
    (CART, "I-CONTRACEPTION", "I-CONTRACEPTION.female", 4, 0.1, "months", None, "nyy"),
    (CART, "E-BLASTS", "E-BLASTS", 5, 0.1, "%", None, "yyn"),
    (CART, "E-CREA", "E-CREA", 150, 0.1, "umol/L", 100, "ynn"),
    (CART, "E-BUN", "E-BUN", 12, 0.1, "mmol/L", 8, "ynn"),
    (CART, "E-ALT", "E-ALT", 120, 0.1, "U/L", 40, "ynn"),
    (CART, "E-AST", "E-AST", 120, 0.1, "U/L", 40, "ynn"),
    (CART, "E-TBIL", "E-TBIL", 30, 0.1, "umol/L", 20, "ynn"),
    (CART, "E-QTCF", "E-QTCF", 480, 1, "ms", None, "yyn"),
    (CART, "E-HBA1C", "E-HBA1C", 9, 0.1, "%", None, "yyn"),
    (CART, "E-FEV1", "E-FEV1", 50, 0.1, "%", None, "nyy"),
    (CART, "E-HCV", "E-HCV", 15, 1, "IU/mL", 15, "yyn"),
    (CART, "E-CHIMERISM", "E-CHIMERISM", 95, 0.1, "%", None, "nny"),
]


@pytest.mark.parametrize(("trial", "criterion", "question", "limit", "step", "unit", "uln", "expected"), LIMITS)
def test_a_limit_just_below_at_and_just_above(trial, criterion, question, limit, step, unit, uln, expected):
    given_values = [round(limit - step, 6), limit, round(limit + step, 6)]
    found = [judged(trial, answer(question, value, unit, uln)) for value in given_values]
    assert [finding(each, criterion).passes for each in found] == [mark == "y" for mark in expected]
    for value, verdict in zip(given_values, found, strict=True):
        evidence = [each for each in finding(verdict, criterion).evidence if each.answer.criterion == question]
        assert [each.answer.value for each in evidence] == [value]  # a failure keeps the value, and its source
        assert all(each.canonical and each.answer.source_document for each in evidence)
        assert (verdict.status == "eligible") <= finding(verdict, criterion).passes


def test_every_numeric_question_is_tested_at_its_limit():
    elsewhere = {
        (UCMSC2D, "I-POPULATION.mobiliser.poor.blood"), (UCMSC2D, "I-POPULATION.mobiliser.poor.transfused"),
        (BMF, "I-HBV.dna.copies"), (CART, "E-HBV.dna"), (CART, "half_life"), (CART, "I-CONTRACEPTION.male"),
        *((CART, f"I-CYTOPENIA.counts.{lineage}") for lineage in ("anc", "platelets", "haemoglobin")),
    }  # fmt: skip
    asked = {
        (trial, name)
        for trial, criteria in CRITERIA.items()
        for name, question in criteria.questions.items()
        if isinstance(question.rule, ValueRule)
    }
    assert asked == {(trial, question) for trial, _, question, *_ in LIMITS} | elsewhere
    judged_limits = {
        (trial, path.split(".")[0])
        for trial, criteria in CRITERIA.items()
        for path, part in criteria.parts.items()
        if isinstance(part.rule, ValueRule)
    }
    tested = {(trial, criterion) for trial, criterion, *_ in LIMITS} | {(t, q.split(".")[0]) for t, q in elsewhere}
    assert judged_limits <= tested


@pytest.mark.parametrize("row", [row for row in LIMITS if row[4] < 1], ids=lambda row: f"{row[0]}-{row[1]}-{row[3]}")
@settings(max_examples=30)
@given(shares=st.tuples(st.floats(0.7, 1.3), st.floats(0.7, 1.3)))
def test_a_criterion_changes_once_and_in_the_obvious_direction(row, shares):
    trial, criterion, question, limit, _, unit, uln, expected = row
    low, high = (
        passes(trial, criterion, answer(question, min(round(limit * share, 6), 100 if unit == "%" else 1e9), unit, uln))
        for share in sorted(shares)
    )
    assert (low <= high) if expected[0] == "n" else (high <= low)


@given(tenths=st.integers(40, 110))
def test_the_unit_a_value_is_given_in_changes_nothing(tenths):
    def of(*value):
        verdict = judged(CART, answer(question, *value), without=others)
        return verdict.status, finding(verdict, "I-CYTOPENIA").evidence[-1].canonical

    question = "I-CYTOPENIA.counts.haemoglobin"
    others = ("I-CYTOPENIA.counts.anc", "I-CYTOPENIA.counts.platelets")
    assert of(tenths / 10, "g/dL") == of(tenths, "g/L")
    assert of(tenths, "g/L")[0] == ("eligible" if tenths <= 70 else "incomplete")


@given(hundredths=st.integers(40, 250))
def test_a_multiple_of_uln_is_the_same_in_every_unit(hundredths):
    mg, umol = hundredths / 100, round(hundredths * 0.8842, 6)
    one = finding(judged(CART, answer("E-CREA", mg, "mg/dL", 1.2)), "E-CREA")
    other = finding(judged(CART, answer("E-CREA", umol, "umol/L", 106.104)), "E-CREA")
    assert (one.passes, one.status, one.evidence[0].canonical) == (
        other.passes, other.status, other.evidence[0].canonical
    )  # fmt: skip
    assert one.passes is (hundredths < 180)


# ---------------------------------------------------------------------------------------------------------------------
# days


@pytest.mark.parametrize(
    ("trial", "criterion", "question", "day", "expected"),
    [
        (EXO, "I8", "I8.therapy", date(2026, 2, 14), True),  # 15 days before enrolment
        (EXO, "I8", "I8.therapy", date(2026, 2, 15), False),  # 14 days
        (EXO, "I8", "I8.therapy", date(2026, 3, 5), False),  # after enrolment
        (EXO, "I8", "I8.therapy", NEVER, True),
        (EXO, "E-TRIAL", "E-TRIAL", date(2026, 1, 17), True),  # 43 days
        (EXO, "E-TRIAL", "E-TRIAL", date(2026, 1, 18), False),  # 6 weeks
        (EXO, "E-IMMUNO", "E-IMMUNO.drug", date(2025, 8, 31), True),
        (EXO, "E-IMMUNO", "E-IMMUNO.drug", date(2025, 9, 1), False),
        (EXO, "E-IMMUNO", "E-IMMUNO.transplant", date(2025, 9, 1), False),
        (EXO, "E-MALIGNANCY", "E-MALIGNANCY", date(2023, 2, 28), True),
        (EXO, "E-MALIGNANCY", "E-MALIGNANCY", date(2023, 3, 1), False),
        (UCMSC2D, "I-WASHOUT", "I-WASHOUT.therapy", date(2026, 2, 15), False),
        (UCMSC2D, "E-TRIAL", "E-TRIAL", date(2026, 1, 18), False),
        (UCMSC2D, "E-MALIGNANCY", "E-MALIGNANCY", date(2023, 3, 1), False),
        (BMF, "E-MALIGNANCY", "E-MALIGNANCY.last", date(2021, 3, 1), True),  # five years are not less than five
        (BMF, "E-MALIGNANCY", "E-MALIGNANCY.last", date(2021, 3, 2), False),
        (CART, "I-CYTOPENIA", "I-CYTOPENIA.cart", date(2026, 2, 8), True),  # 3 weeks
        (CART, "I-CYTOPENIA", "I-CYTOPENIA.cart", date(2026, 2, 9), False),
        (CART, "I-CYTOPENIA", "I-CYTOPENIA.cart", NEVER, False),
        (CART, "E-ANTITUMOUR", "E-ANTITUMOUR", date(2026, 1, 31), True),
        (CART, "E-ANTITUMOUR", "E-ANTITUMOUR", date(2026, 2, 1), False),
        (CART, "E-INFECTION", "E-INFECTION", date(2026, 3, 12), True),  # 8 days before the first dose
        (CART, "E-INFECTION", "E-INFECTION", date(2026, 3, 13), False),
        (CART, "E-ALLO", "E-ALLO", date(2025, 9, 1), True),
        (CART, "E-ALLO", "E-ALLO", date(2025, 9, 2), False),
        (CART, "E-VACCINE", "E-VACCINE", date(2026, 1, 31), True),
        (CART, "E-VACCINE", "E-VACCINE", date(2026, 2, 1), False),
    ],
)
def test_a_period_ends_where_its_words_say(trial, criterion, question, day, expected):
    verdict = judged(trial, answer(question, day))
    assert finding(verdict, criterion).passes is expected
    assert verdict.status == ("eligible" if expected else "not_eligible")


@pytest.mark.parametrize(
    ("days_ago", "half_life", "expected"),
    [
        (28, 1, False), (29, 1, True), (29, 5.6, True), (29, 5.8, False), (100, 20, False), (101, 20, True),
        (29, None, None), (28, None, False),
    ],
)  # fmt: skip
def test_another_trial_drug_within_4_weeks_or_5_half_lives_whichever_is_longer(days_ago, half_life, expected):
    last = answer("E-TRIAL", ANCHORS["screening"] - timedelta(days=days_ago))
    if half_life is None:
        assert passes(CART, "E-TRIAL", last, without=("half_life",)) is expected
    else:
        assert passes(CART, "E-TRIAL", last, answer("half_life", half_life, "days")) is expected
        assert passes(CART, "E-TRIAL", last, answer("half_life", half_life * 24, "hours")) is expected
    assert passes(CART, "E-TRIAL", without=("half_life",)) is True  # never had one


def test_a_performance_status_of_another_day_does_not_count():
    for trial, criterion in ((EXO, "I5"), (UCMSC2D, "I-ECOG")):
        late = answer(criterion, 1, "grade", sample_time=TAKEN + timedelta(days=1))
        found = finding(judged(trial, late), criterion)
        assert (found.status, found.passes) == ("missing", None)
        assert "2026-03-11, but needed on the day of" in found.notes[0]
        assert passes(trial, criterion, anchors={"chemotherapy_start": None, "therapy_start": None}) is None


def test_the_day_of_a_sample_is_the_day_at_the_site():
    at_night = answer("I5", 1, "grade", sample_time=datetime.fromisoformat("2026-03-10T00:30:00+08:00"))
    assert passes(EXO, "I5", at_night) is True


def test_counts_taken_less_than_3_weeks_after_the_cells_do_not_count():
    early = [
        answer(f"I-CYTOPENIA.counts.{lineage}", value, unit, sample_time=datetime(2026, 2, 4, tzinfo=UTC))
        for lineage, value, unit in (("anc", 0.1, "10^9/L"), ("platelets", 5, "10^9/L"), ("haemoglobin", 60, "g/L"))
    ]
    assert judged(CART, *early).status == "incomplete"
    in_time = early[0].model_copy(update={"sample_time": datetime(2026, 2, 5, tzinfo=UTC)})
    assert judged(CART, *early[1:], in_time).status == "eligible"


def test_enrolment_precedes_chemotherapy_and_chemotherapy_the_infusion():
    def order(**anchors):
        verdict = judged(EXO, anchors=anchors)
        return finding(verdict, "A3-ENROL").passes, finding(verdict, "A3-INFUSE").passes

    day = ANCHORS["chemotherapy_start"]
    assert order() == (True, True)
    assert order(enrolment=day) == (False, True)
    assert order(first_infusion=day) == (True, True)
    assert order(first_infusion=day - timedelta(days=1)) == (True, False)
    assert order(first_infusion=None) == (True, None)


# ---------------------------------------------------------------------------------------------------------------------
# any-of rules, sex, and criteria for some participants only

COUNTS = [("anc", 1.0, 1.01, "10^9/L"), ("platelets", 30, 31, "10^9/L"), ("haemoglobin", 70, 71, "g/L")]


@pytest.mark.parametrize("low", list(itertools.product((True, False), repeat=3)))
def test_any_of_three_counts_is_enough(low):
    changes = [
        answer(f"I-CYTOPENIA.counts.{name}", at if is_low else above, unit)
        for (name, at, above, unit), is_low in zip(COUNTS, low, strict=True)
    ]
    assert passes(CART, "I-CYTOPENIA", *changes) is any(low)


def test_a_low_count_needs_no_others_but_a_high_one_decides_nothing():
    names = [f"I-CYTOPENIA.counts.{name}" for name, *_ in COUNTS]
    assert passes(CART, "I-CYTOPENIA", without=names[:2]) is True
    high = answer(names[2], 71, "g/L")
    assert passes(CART, "I-CYTOPENIA", high, without=names[:2]) is None


@pytest.mark.parametrize(("sex", "months", "expected"), [("female", 4, True), ("male", 4, False), ("male", 6, True)])
def test_contraception_depends_on_the_sex(sex, months, expected):
    given_answer = answer(f"I-CONTRACEPTION.{sex}", months, "months")
    other = {"female": "male", "male": "female"}[sex]
    verdict = judged(CART, answer("sex", sex), given_answer, without=(f"I-CONTRACEPTION.{other}",))
    assert finding(verdict, "I-CONTRACEPTION").passes is expected
    assert passes(CART, "I-CONTRACEPTION", without=("sex",)) is None


def test_a_pregnancy_test_is_for_women_of_childbearing_potential():
    positive = answer("I-PREGNANCY-TEST", "positive")
    assert passes(CART, "I-PREGNANCY-TEST", positive) is False
    assert passes(CART, "I-PREGNANCY-TEST", without=("I-PREGNANCY-TEST",)) is None
    assert passes(CART, "I-PREGNANCY-TEST", without=("childbearing",)) is None
    found = finding(
        judged(CART, answer("sex", "male"), without=("I-PREGNANCY-TEST", "childbearing")), "I-PREGNANCY-TEST"
    )
    assert (found.passes, found.status) == (True, "met")
    assert found.notes == ("does not apply: sex is male",)


def test_disease_and_transplantation_decide_which_criteria_apply():
    blasts = answer("E-BLASTS", 80, "%")
    assert passes(CART, "E-BLASTS", blasts) is False
    assert passes(CART, "E-BLASTS", blasts, answer("I-DISEASE", "lymphoma")) is True
    infiltrated = answer("E-RESIDUAL.marrow", met=True)
    assert passes(CART, "E-RESIDUAL", infiltrated) is True
    assert passes(CART, "E-RESIDUAL", infiltrated, answer("I-DISEASE", "myeloma")) is False
    assert passes(CART, "E-RESIDUAL", answer("E-RESIDUAL.mrd", "positive"), answer("I-DISEASE", "myeloma")) is False
    mixed = answer("E-CHIMERISM", 95, "%")
    assert passes(CART, "E-CHIMERISM", mixed) is False
    assert passes(CART, "E-CHIMERISM", mixed, answer("E-ALLO", NEVER)) is True
    assert passes(CART, "E-CHIMERISM", without=("E-ALLO",)) is None


def test_hepatitis_b_after_contact_is_judged_by_the_dna():
    positive = answer("E-HBV.hbcab", "positive")
    assert passes(CART, "E-HBV", without=("E-HBV.dna",)) is True
    assert passes(CART, "E-HBV", positive, without=("E-HBV.dna",)) is None
    for value, expected in ((20, True), (21, False)):
        assert passes(CART, "E-HBV", positive, answer("E-HBV.dna", value, "IU/mL", 20)) is expected


# ---------------------------------------------------------------------------------------------------------------------
# ambiguous wordings


@pytest.mark.parametrize(
    ("multiple", "status", "with_switch"),
    [
        (1.5, "eligible", "eligible"),
        (2, "not_eligible", "eligible"),
        (3, "not_eligible", "eligible"),
        (3.1, "not_eligible", "not_eligible"),
    ],
)
def test_c1_alp_between_the_two_limits_is_a_conflict_the_exclusion_wins(multiple, status, with_switch):
    alp = answer("I-ALP", 120 * multiple, "U/L", 120)
    verdict, other = judged(BMF, alp), judged(BMF, alp, switches={"bmf.alp_rule": "inclusion_only"})
    assert (verdict.status, other.status) == (status, with_switch)
    for each in (verdict, other):
        conflict = 1.5 < multiple <= 3
        marked = {found.criterion for found in each.findings if found.status == "conflict"}
        assert marked == ({"I-ALP", "E-ALP"} if conflict else set())
        assert any("criteria conflict between I-ALP and E-ALP. C1" in notice for notice in each.notices) is conflict
    assert (
        finding(verdict, "E-ALP").evidence[0].canonical.startswith(f"{multiple:g} × ULN ({120 * multiple:g} U/L, ULN")
    )
    assert any("bmf.alp_rule is inclusion_only" in notice for notice in other.notices)


@pytest.mark.parametrize(
    ("multiple", "included", "excluded", "told"),
    [(2.5, True, False, False), (2.8, False, False, True), (3, False, False, True), (3.1, False, True, False)],
)
def test_c2_the_effective_limit_of_alt_is_two_and_a_half(multiple, included, excluded, told):
    verdict = judged(BMF, answer("I-ALT", 40 * multiple, "U/L", 40))
    assert finding(verdict, "I-ALT").passes is included
    assert finding(verdict, "E-ALT").passes is not excluded
    assert any("C2" in notice for notice in verdict.notices) is told
    assert verdict.status == ("eligible" if included else "not_eligible")


@pytest.mark.parametrize(
    ("undetectable", "copies", "expected", "told"),
    [(True, 999, True, False), (False, 999, True, True), (True, 1000, True, True), (False, 1000, False, False)],
)
def test_c3_either_of_the_two_dna_limits_is_enough(undetectable, copies, expected, told):
    changes = [answer("I-HBV.dna.undetectable", met=undetectable), answer("I-HBV.dna.copies", copies, "copies/mL")]
    verdict = judged(BMF, answer("I-HBV.serology.hbcab", "positive"), *changes)
    assert finding(verdict, "I-HBV").passes is expected
    assert any("C3" in notice for notice in verdict.notices) is told
    negative = judged(BMF, without=[each.criterion for each in changes])
    assert finding(negative, "I-HBV").passes is True


def test_dna_in_international_units_is_not_compared_with_copies():
    changes = [answer("I-HBV.serology.hbsag", "positive"), answer("I-HBV.dna.undetectable", met=False)]
    found = finding(judged(BMF, *changes, answer("I-HBV.dna.copies", 100, "IU/mL")), "I-HBV")
    assert found.passes is None
    assert "the factor depends on the assay" in found.notes[-1]


def test_c4_the_melanoma_exception_counts_as_written_and_is_pointed_out():
    recent = answer("E-MALIGNANCY.last", date(2025, 1, 1))
    melanoma = answer("E-MALIGNANCY.exception", "malignant melanoma cured by surgery")
    verdict = judged(BMF, recent, melanoma)
    assert verdict.status == "eligible"
    assert any("likely mistranslation" in notice for notice in verdict.notices)
    other = judged(BMF, recent, answer("E-MALIGNANCY.exception", "another exception listed in the record"))
    assert (other.status, other.notices) == ("eligible", ())
    assert judged(BMF, recent).status == "not_eligible"


def test_a2_both_survival_items_stand_on_the_form_and_the_inclusion_decides():
    for trial, item in ((EXO, "I6"), (UCMSC2D, "I-SURVIVAL")):
        verdict = judged(trial, answer(item, 2, "months"))
        assert (finding(verdict, item).passes, finding(verdict, "E-SURVIVAL").passes) == (False, True)
        assert finding(verdict, "E-SURVIVAL").ambiguities == ("A2",)
        assert [each.criterion for each in judged(trial, answer(item, 1, "days")).failed] == [item, "E-SURVIVAL"]


MOBILISER = (
    answer("I-POPULATION.leukaemia.diagnosis", "other haematological malignancy"),
    answer("I-POPULATION.mobiliser.poor.transfused", 2, "10^6/kg"),
)


def test_poor_mobilisers_enter_in_phase_ii_only():
    assert judged(UCMSC2D, *MOBILISER).status == "eligible"
    assert judged(UCMSC2D, *MOBILISER, answer("stage", "Ib")).status == "not_eligible"
    assert judged(UCMSC2D, answer("I-POPULATION.leukaemia.diagnosis", "AML-M3"), answer("stage", "Ib")).status == (
        "not_eligible"
    )


@pytest.mark.parametrize(
    ("cells", "cutoff", "expected", "told"),
    [
        (10.9, None, True, False), (11, None, False, True), (19.9, None, False, True), (20, None, False, False),
        (14.9, 15, True, False), (15, 15, False, True), (18.9, 19, True, False), (19, 19, False, True),
    ],
)  # fmt: skip
def test_b4_the_cd34_cut_off_is_11_unless_the_site_sets_another(cells, cutoff, expected, told):
    count = answer("I-POPULATION.mobiliser.poor.blood", cells, "/uL")
    switches = {} if cutoff is None else {"ucmsc2d.cd34_cutoff": cutoff}
    verdict = judged(UCMSC2D, *MOBILISER, count, switches=switches)
    assert finding(verdict, "I-POPULATION").passes is expected
    assert any("B4" in notice for notice in verdict.notices) is told


def test_few_transfused_cells_are_enough():
    many = answer("I-POPULATION.mobiliser.poor.blood", 50, "/uL")
    for cells, expected in ((1.9, True), (2, False)):
        few = answer("I-POPULATION.mobiliser.poor.transfused", cells, "10^6/kg")
        assert passes(UCMSC2D, "I-POPULATION", MOBILISER[0], many, few) is expected


def test_b3_the_kind_of_transplantation_is_a_switch_and_the_discrepancy_is_shown():
    allogeneic = answer("I-POPULATION.mobiliser.hsct", "allogeneic")
    verdict = judged(UCMSC2D, *MOBILISER, allogeneic)
    assert verdict.status == "not_eligible"
    assert any("B3" in notice for notice in verdict.notices)
    assert judged(UCMSC2D, *MOBILISER, allogeneic, switches={"ucmsc2d.hsct": "allo"}).status == "eligible"
    assert judged(UCMSC2D, *MOBILISER, switches={"ucmsc2d.hsct": "allo"}).status == "not_eligible"


def test_e1_the_unit_error_is_shown_and_70_g_per_dl_refused():
    question = "I-CYTOPENIA.counts.haemoglobin"
    others = ("I-CYTOPENIA.counts.anc", "I-CYTOPENIA.counts.platelets")
    assert "hemoglobin ≤ 70 g/dL" in CRITERIA[CART].parts["I-CYTOPENIA"].wording
    refused = answer(question, 70, "g/dL")
    with pytest.raises(UnitError, match="70 g/L would fit"):
        CRITERIA[CART].check(refused)
    found = finding(judged(CART, refused, without=others), "I-CYTOPENIA")
    assert (found.status, found.passes, found.ambiguities[0]) == ("missing", None, "E1")
    assert found.evidence[-1].answer == refused
    assert any("70 g/L would fit" in note for note in found.notes)
    assert passes(CART, "I-CYTOPENIA", answer(question, 70, "g/L"), without=others) is True
    assert CRITERIA[CART].check(answer(question, 70, "g/L")).shown == "70 g/L"


@pytest.mark.parametrize("switches", [{"bmf.alp": "inclusion_only"}, {"bmf.alp_rule": "none"}, {"bmf.alp_rule": True}])
def test_a_switch_there_is_not_is_refused(switches):
    with pytest.raises(EligibilityError, match=r"did you mean|choose from"):
        judged(BMF, switches=switches)


@pytest.mark.parametrize("cutoff", [10, 20, "15", True])
def test_a_cut_off_outside_the_record_is_refused(cutoff):
    with pytest.raises(EligibilityError, match="choose from: 11 to 19"):
        judged(UCMSC2D, switches={"ucmsc2d.cd34_cutoff": cutoff})


# ---------------------------------------------------------------------------------------------------------------------
# codes and judgements: which of them let a participant pass

PASSING_CODES = {
    (EXO, "I2.diagnosis"): {"AML"},
    (UCMSC2D, "I-POPULATION.leukaemia.diagnosis"): {"AML", "ALL"},
    (UCMSC2D, "I-POPULATION.leukaemia.setting"): {
        "first induction", "re-induction after failed first induction", "consolidation in remission",
        "first re-induction of relapsed or refractory disease",
    },
    (BMF, "I-POPULATION"): {
        "aplastic anaemia", "pure red cell aplasia", "immune-related pancytopenia", "PNH", "MDS",
        "acute arrest of haemopoiesis", "cytopenia of unknown significance",
    },
    (BMF, "E-NYHA"): {"none", "I", "II"},
    (CART, "I-DISEASE"): {"ALL", "lymphoma", "myeloma"},
    (CART, "I-PREGNANCY-TEST"): {"negative"},
    (CART, "E-NYHA"): {"none", "I", "II"},
    (CART, "E-AGVHD"): {"none", "I"},
    (CART, "E-CGVHD"): {"none", "mild"},
    **{(EXO, name): {"negative"} for name in ("E-HIV", "E-SYPHILIS")},
    (UCMSC2D, "E-HIV"): {"negative"},
    **{(BMF, name): {"negative"} for name in ("E-HIV", "E-HCV", "E-SYPHILIS")},
    **{(CART, name): {"negative"} for name in ("E-HIV", "E-SYPHILIS", "E-HBSAG")},
}  # fmt: skip


@pytest.mark.parametrize(("trial", "question"), PASSING_CODES)
def test_the_codes_that_pass(trial, question):
    first_phase = [answer("stage", "Ib")] if trial == UCMSC2D else []
    codes = CRITERIA[trial].questions[question].rule.values
    found = {code for code in codes if passes(trial, question.split(".")[0], answer(question, code), *first_phase)}
    assert found == PASSING_CODES[trial, question]
    assert found < set(codes)


def test_every_code_is_tested():
    elsewhere = {
        (UCMSC2D, "stage"), (UCMSC2D, "I-POPULATION.mobiliser.hsct"), (BMF, "E-MALIGNANCY.exception"),
        (BMF, "I-HBV.serology.hbsag"), (BMF, "I-HBV.serology.hbcab"), (CART, "sex"), (CART, "childbearing"),
        (CART, "E-RESIDUAL.mrd"), (CART, "E-HBV.hbcab"),
    }  # fmt: skip
    asked = {
        (trial, name)
        for trial, criteria in CRITERIA.items()
        for name, question in criteria.questions.items()
        if isinstance(question.rule, CodeRule)
    }
    assert asked == set(PASSING_CODES) | elsewhere


@pytest.mark.parametrize("trial", TRIALS)
def test_every_judgement_counts(trial):
    changes = [answer("I-DISEASE", "lymphoma")] if trial == CART else list(MOBILISER) if trial == UCMSC2D else []
    if trial == BMF:
        copies = answer("I-HBV.dna.copies", 5000, "copies/mL")
        changes = [answer("I-HBV.serology.hbsag", "positive"), copies]
    judgements = [name for name, each in CRITERIA[trial].questions.items() if isinstance(each.rule, JudgementRule)]
    assert judged(trial, *changes).status == "eligible"
    for name in judgements:
        other = answer(name, met=not ANSWERS[trial][name].met)
        assert [each.criterion for each in judged(trial, *changes, other).failed] == [name.split(".")[0]]


# ---------------------------------------------------------------------------------------------------------------------
# no waivers; what is missing or contradictory is never eligible


def test_there_is_no_parameter_for_a_waiver():
    assert list(inspect.signature(evaluate).parameters) == ["criteria", "answers", "switches", "anchors"]
    assert set(Answer.model_fields) == {
        "criterion", "value", "unit", "uln", "sample_time", "source_document", "met", "assessor",
    }  # fmt: skip
    assert not any(each.switch for trial in (EXO, PGF, CART) for each in CRITERIA[trial].ambiguities)


FAILURES = {
    EXO: answer("I7-SPO2", 94.9, "%"),
    UCMSC2D: answer("E-BMI", 30.1, "kg/m2"),
    BMF: answer("I-LVEF", 49, "%"),
    PGF: answer("I-KPS", 60, "%"),
    CART: answer("E-QTCF", 481, "ms"),
}
texts = st.text(max_size=30)


@given(data=st.data())
def test_nothing_makes_a_failing_participant_eligible(data):
    trial = data.draw(st.sampled_from(TRIALS))
    criteria, failing = CRITERIA[trial], FAILURES[trial]
    tick = data.draw(st.sampled_from([None, True, False]))
    failing = failing.model_copy(
        update={"met": tick, "assessor": data.draw(texts) or "x", "source_document": data.draw(texts) or "x"}
    )
    changes = [
        answer(name, data.draw(st.one_of(st.floats(0, 200), texts, st.dates())), met=data.draw(st.booleans()))
        for name in data.draw(st.lists(st.sampled_from(sorted(criteria.questions)), max_size=4, unique=True))
        if name != failing.criterion
    ]
    switches = {
        name: data.draw(st.sampled_from(each.values) if each.values else st.floats(*each.range))
        for name, each in criteria.switches.items()
    }
    days = {name: data.draw(st.dates(date(1950, 1, 1), date(2150, 1, 1))) for name in criteria.anchors}
    verdict = judged(trial, *changes, failing, switches=switches, anchors=days)
    assert verdict.status == "not_eligible"
    assert failing in [each.answer for each in finding(verdict, failing.criterion).evidence]


def open_without(trial, without):
    """The criteria that cannot be told without some answers: three-valued logic over the rules, leaf by leaf."""
    criteria = CRITERIA[trial]
    days = {name: day for name, day in ANCHORS.items() if name in criteria.anchors}
    switches = {name: each.default for name, each in criteria.switches.items()}
    known = _Known(criteria, {name: (each,) for name, each in ANSWERS[trial].items()}, switches, days)

    def all_true(verdicts):
        return False if False in verdicts else None if None in verdicts else True

    def applies(part):
        return all_true(
            [None if q in without else known.said(q).code in codes for q, codes in part.applies_when.items()]
        )

    def needed(path, part):
        rule, question = part.rule, part.answered_by or path
        if isinstance(rule, OrderRule):
            return {rule.first, rule.then}
        if isinstance(rule, ValueRule) and rule.sampled:
            return {question, rule.sampled.on or rule.sampled.after}
        ever = isinstance(rule, EventRule) and isinstance(ANSWERS[trial][question].value, date)
        if ever and rule.form != "at_least" and rule.span.half_lives:
            return {question, rule.span.half_life}  # the fitting participant's events lie before what is excluded
        return {question}

    def holds(path, part):
        if not isinstance(part.rule, CombinedRule):
            return None if needed(path, part) & without else known.read(path, part).holds
        given_parts = [(each, applies(each)) for each in part.rule.parts]
        found = [does and holds(f"{path}.{each.id}", each) for each, does in given_parts if does is not False]
        if part.rule.check == "all_of":
            return all_true(found)
        return True if True in found else None if None in found else False

    def told(criterion):
        does = applies(criterion)
        return does is False or (does and holds(criterion.id, criterion) is not None)

    return {each.id for each in criteria.criteria if not told(each)}


@settings(max_examples=300)
@given(data=st.data())
def test_a_missing_answer_is_never_eligible(data):
    """Unless the rules do not need it for this participant, which they say themselves."""
    trial = data.draw(st.sampled_from(TRIALS))
    names = sorted(CRITERIA[trial].questions)
    without = set(data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True)))
    verdict = judged(trial, without=without)
    assert {each.criterion for each in verdict.open} == open_without(trial, without)
    assert verdict.status == ("incomplete" if verdict.open else "eligible")


@pytest.mark.parametrize("trial", TRIALS)
def test_a_single_missing_answer_leaves_open_what_needs_it(trial):
    assert judged(trial).status == "eligible"
    found = {name: judged(trial, without={name}) for name in CRITERIA[trial].questions}
    opened = {name: {each.criterion for each in verdict.open} for name, verdict in found.items()}
    assert opened == {name: open_without(trial, {name}) for name in found}
    assert {name: verdict.status for name, verdict in found.items()} == {
        name: "incomplete" if opened[name] else "eligible" for name in found
    }


@pytest.mark.parametrize("trial", TRIALS)
def test_no_answers_and_no_days_give_incomplete(trial):
    verdict = evaluate(CRITERIA[trial], [])
    assert verdict.status == "incomplete"
    assert all((each.status, each.passes) == ("missing", None) for each in verdict.findings)


@pytest.mark.parametrize(
    ("value", "unit", "uln", "note"),
    [
        (None, "U/L", 40, "a number is needed"),
        ("20", "U/L", 40, "is not a number"),
        (20, "", 40, "has no unit"),
        (20, "g/L", 40, "not reported in"),
        (20, "U/L", None, "without the laboratory's upper limit of normal"),
        (20, "U/L", 4000, "cannot be a laboratory's upper limit"),
    ],
)
def test_an_unusable_value_is_missing_and_kept_however_it_is_ticked(value, unit, uln, note):
    given_answer = answer("I7-ALT", value, unit, uln, met=True)
    with pytest.raises((UnitError, EligibilityError), match=note):
        CRITERIA[EXO].check(given_answer)
    verdict = judged(EXO, given_answer)
    found = finding(verdict, "I7-ALT")
    assert (verdict.status, found.status, found.passes) == ("incomplete", "missing", None)
    assert note in found.notes[0]
    assert found.evidence[0].answer == given_answer


@pytest.mark.parametrize("value", [None, "2026-02-30", "2026-03", "last year", 20260301, date(1066, 1, 1)])
def test_a_day_that_cannot_be_counted_from_is_missing(value):
    assert passes(EXO, "E-TRIAL", answer("E-TRIAL", value)) is None


def test_a_code_that_is_not_listed_is_missing():
    found = finding(judged(CART, answer("E-HIV", "indeterminate")), "E-HIV")
    assert (found.status, found.notes[0]) == (
        "missing", "E-HIV: 'indeterminate' is not one of the codes (choose one of: negative, positive)"
    )  # fmt: skip


def test_two_different_answers_to_one_question_are_a_conflict():
    both = [*ANSWERS[PGF].values(), answer("I-KPS", 90, "%")]
    verdict = evaluate(CRITERIA[PGF], both)
    found = finding(verdict, "I-KPS")
    assert (verdict.status, found.status, found.passes, len(found.evidence)) == ("incomplete", "conflict", None, 2)
    assert evaluate(CRITERIA[PGF], [*ANSWERS[PGF].values(), ANSWERS[PGF]["I-KPS"]]).status == "eligible"


def test_a_tick_against_the_value_is_a_conflict_and_the_value_counts():
    failing = finding(judged(PGF, answer("I-KPS", 60, "%", met=True)), "I-KPS")
    assert (failing.status, failing.passes) == ("conflict", False)
    passing = judged(PGF, answer("I-KPS", 70, "%", met=False))
    assert (passing.status, finding(passing, "I-KPS").status) == ("incomplete", "conflict")
    assert any("ticked as not met" in notice for notice in passing.notices)
    assert judged(PGF, answer("I-KPS", 70, "%", met=True)).status == "eligible"


def test_a_judgement_is_literal_for_inclusions_and_exclusions():
    for question, met, status, ok in [
        ("I-CONSENT", True, "met", True),
        ("I-CONSENT", False, "not met", False),
        ("E-ALLERGY", True, "met", False),
        ("E-ALLERGY", False, "not met", True),
        ("E-ALLERGY", None, "missing", None),
    ]:
        found = finding(judged(PGF, answer(question, met=met)), question)
        assert (found.status, found.passes) == (status, ok)


# ---------------------------------------------------------------------------------------------------------------------
# answers

HOSTILE = [
    "<script>alert(1)</script>",
    "'; DROP TABLE ledger; --",
    '=HYPERLINK("http://example.org")',
    "../../etc/passwd",
    "{{ 7 * 7 }} ${jndi:ldap://x} %s %n",
    "\u202eevil\u0000\r\nSet-Cookie: a=b",
    "!!python/object/apply:os.system ['true']",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text(text):
    given_answer = answer("I-KPS", 70, "%", source_document=text, assessor=text)
    verdict = judged(PGF, given_answer)
    assert verdict.status == "eligible"
    kept = finding(Verdict.model_validate_json(verdict.model_dump_json()), "I-KPS").evidence[0].answer
    assert (kept.source_document, kept.assessor) == (text, text)
    assert judged(PGF, answer("I-KPS", text, "%")).status == "incomplete"
    assert judged(PGF, answer("I-KPS", 70, text)).status == "incomplete"
    with pytest.raises(EligibilityError):
        judged(PGF, answer(text, 70, "%"))


@pytest.mark.parametrize(
    "change",
    [
        {"source_document": ""}, {"assessor": ""}, {"sample_time": datetime(2026, 3, 10)}, {"value": True},
        {"sample_time": "2026-03-10"}, {"sample_time": 1_700_000_000}, {"value": float("nan")}, {"waiver": True},
        {"met": "yes"}, {"uln": "40"}, {"source_document": "x" * 5000}, {"sample_time": "0001-01-01T00:00:00+00:00"},
    ],
)  # fmt: skip
def test_an_answer_without_source_time_or_assessor_is_none(change):
    with pytest.raises(ValidationError):
        Answer(**(answer("I-KPS", 70, "%").model_dump() | change))


@pytest.mark.parametrize("day", [datetime(2026, 3, 1, tzinfo=UTC), "2026-03-01", date(1, 1, 1)])
def test_a_day_of_the_trial_is_a_calendar_day(day):
    with pytest.raises(EligibilityError, match="not a calendar day"):
        judged(EXO, anchors={"enrolment": day})
    with pytest.raises(EligibilityError, match="the criteria have no day 'birthday'"):
        evaluate(CRITERIA[EXO], [], anchors={"birthday": date(2026, 1, 1)})
