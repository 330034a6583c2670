"""Units: conversions exact, unknown units and unbelievable values refused with a word on what to do."""

from __future__ import annotations

import pickle
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalation.conduct.units import ANALYTES, ULN, Bounds, Span, UnitError, convert, multiple, quantity


def refusal(*given_values):
    with pytest.raises(UnitError) as caught:
        quantity(*given_values)
    return str(caught.value)


@pytest.mark.parametrize(
    ("analyte", "value", "unit", "canonical"),
    [
        ("haemoglobin", 7, "g/dL", "70 g/L"),
        ("haemoglobin", 70, "g/L", "70 g/L"),
        ("creatinine", 1, "mg/dL", "88.42 umol/L"),
        ("creatinine", 88.42, "µmol/L", "88.42 umol/L"),
        ("bilirubin", 1, "mg/dL", "17.104 umol/L"),
        ("bun", 20, "mg/dL", "7.14 mmol/L"),
        ("anc", 0.5, "10^9/L", "0.5 10^9/L"),
        ("anc", 0.5, "10^3/uL", "0.5 10^9/L"),
        ("anc", 500, "/uL", "0.5 10^9/L"),
        ("platelets", 3, "10^4/uL", "30 10^9/L"),
        ("alt", 2, "µkat/L", "120 U/L"),
        ("spo2", 0.95, "fraction", "95 %"),
        ("qtcf", 0.48, "s", "480 ms"),
        ("sbp", 20, "kPa", "150.0124 mmHg"),
        ("cd34_dose", 2_000_000, "cells/kg", "2 10^6/kg"),
        ("weight", 100, "lb", "45.359237 kg"),
        ("survival", 48, "hours", "2 days"),
        ("hbv_dna", 20, "IU/mL", "20 IU/mL"),
    ],
)
def test_a_value_is_read_in_its_canonical_unit(analyte, value, unit, canonical):
    assert str(quantity(analyte, value, unit)) == canonical


def test_hba1c_of_the_two_standards():
    assert quantity("hba1c", 75, "mmol/mol").value == pytest.approx(9.013)


@pytest.mark.parametrize(
    "unit", ["10^9/L", "10⁹/L", "x10^9/L", "× 10⁹/L", "10*9/L", "10^3/µL", "K/μL", "10³/mm³", "/nl", "10^9 cells/L"]
)
def test_a_unit_may_be_spelled_as_laboratories_spell_it(unit):
    assert quantity("anc", 1, unit).exact == 1


def test_haemoglobin_of_70_g_per_dl_is_refused_and_g_per_l_suggested():
    told = refusal("haemoglobin", 70, "g/dL")
    assert told.startswith("haemoglobin: 70 g/dL is 700 g/L, outside 20 to 250 g/L")
    assert "70 g/L would fit" in told
    assert "check the source document" in told
    assert quantity("haemoglobin", 70, "g/L").value == 70


@pytest.mark.parametrize(
    ("analyte", "value", "unit", "suggestion"),
    [
        ("haemoglobin", 15, "g/L", "15 g/dL"),
        ("creatinine", 1.0, "umol/L", "1 mg/dL"),
        ("creatinine", 80, "mg/dL", "80 umol/L"),
        ("bilirubin", 1, "umol/L", "1 mg/dL"),
        ("spo2", 0.95, "%", "0.95 fraction"),
        ("anc", 500, "10^9/L", "500 /uL"),
        ("platelets", 30_000, "10^9/L", "30000 /uL"),
        ("qtcf", 0.48, "ms", "0.48 s"),
        ("sbp", 20, "mmHg", "20 kPa"),
    ],
)
def test_a_value_in_the_wrong_unit_is_refused_and_the_right_one_named(analyte, value, unit, suggestion):
    assert suggestion in refusal(analyte, value, unit)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("alt", 40, ""), ("40 has no unit", "U/L, ukat/L")),
        (("alt", 40, "g/L"), ("not reported in 'g/L'", "U/L, ukat/L")),
        (("hemoglobin", 7, "g/dL"), ("unknown", "did you mean 'haemoglobin'")),
        (("ecog", 1.5, "grade"), ("whole numbers",)),
        (("kps", 65, "%"), ("steps of 10",)),
        (("age", 60.5, "years"), ("whole numbers",)),
        (("ecog", 6, "grade"), ("outside 0 to 5 grade",)),
        (("spo2", 100.1, "%"), ("outside 30 to 100 %",)),
        (("alt", -1, "U/L"), ("outside",)),
        (("alt", float("nan"), "U/L"), ("not a number that can be measured",)),
        (("alt", float("inf"), "U/L"), ("not a number that can be measured",)),
        (("alt", 10**400, "U/L"), ("not a number that can be measured",)),
        (("alt", True, "U/L"), ("not a number that can be measured",)),
        (("alt", "40", "U/L"), ("not a number that can be measured",)),
    ],
)
def test_what_cannot_be_is_refused(arguments, words):
    told = refusal(*arguments)
    assert told.startswith(f"{arguments[0]}: ")
    assert all(word in told for word in words)


def test_an_error_survives_being_sent_to_another_process():
    with pytest.raises(UnitError) as caught:
        quantity("haemoglobin", 70, "g/dL")
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)


@pytest.mark.parametrize("name", sorted(ANALYTES))
def test_every_analyte_has_a_believable_range_and_spells_its_units_apart(name):
    known = ANALYTES[name]
    assert known.low < known.high
    assert known.units[known.unit] is not None
    assert convert(name, 7, known.unit) == (Fraction(7), known.unit)
    assert all(known.spelling(unit) == unit for unit in known.units)
    for limit in (known.low, known.high):
        assert quantity(name, float(limit), known.unit).exact == limit
    beyond = float(known.high) * 1.01 + 1
    assert "outside" in refusal(name, beyond, known.unit)


@pytest.mark.parametrize(
    ("analyte", "unit", "factor"),
    [
        ("haemoglobin", "g/dL", "10"),
        ("haemoglobin", "mmol/L", "16.1145"),
        ("creatinine", "mg/dL", "88.42"),
        ("bilirubin", "mg/dL", "17.104"),
        ("bun", "mg/dL", "0.357"),
        ("platelets", "10^4/uL", "10"),
        ("qtcf", "s", "1000"),
    ],
)
@given(share=st.decimals(0, 1, places=4))
def test_the_same_amount_in_two_units_is_the_same_quantity(analyte, unit, factor, share):
    known = ANALYTES[analyte]
    low, high = float(known.low) / float(factor), float(known.high) / float(factor)
    value = round(Decimal(low) + share * Decimal(high - low), 3)
    canonical = value * Decimal(factor)
    if known.low <= Fraction(canonical) <= known.high:
        one, other = quantity(analyte, float(value), unit), quantity(analyte, float(canonical), known.unit)
        assert (one.exact, one.unit) == (other.exact, other.unit)


def test_a_multiple_of_uln_is_exact_where_floats_are_not():
    assert 1.05 / 0.7 > 1.5
    assert multiple("creatinine", 1.05, 0.7, "mg/dL") == Fraction(3, 2)
    assert multiple("hbv_dna", 10, 20, "IU/mL") == Fraction(1, 2)


@pytest.mark.parametrize(("uln", "unit"), [(1.2, "umol/L"), (0, "umol/L"), (900, "umol/L"), (80, "mg/dL")])
def test_an_upper_limit_no_laboratory_prints_is_refused(uln, unit):
    with pytest.raises(UnitError, match="cannot be a laboratory's upper limit of normal of creatinine"):
        multiple("creatinine", {"umol/L": 80, "mg/dL": 1}[unit], uln, unit)


def test_scales_that_depend_on_the_assay_are_not_compared():
    bounds = Bounds(below=1000.0)
    assert bounds.hold("hbv_dna", (Fraction(999), "copies/mL"), "copies/mL", {})
    with pytest.raises(UnitError, match="depends on the assay"):
        bounds.hold("hbv_dna", (Fraction(999), "IU/mL"), "copies/mL", {})


def test_bounds_are_strict_or_not_as_they_say():
    for name, at in {"above": False, "at_least": True, "below": False, "at_most": True}.items():
        assert Bounds(**{name: 2.5}).hold("alt", (Fraction(5, 2), ULN), ULN, {}) is at
    assert Bounds(at_least=18.0, at_most=60.0).words("years", {}) == "≥ 18 years and ≤ 60 years"


@pytest.mark.parametrize(
    ("span", "day", "start"),
    [
        (Span(weeks=2), date(2026, 3, 15), date(2026, 3, 1)),
        (Span(months=6), date(2026, 8, 31), date(2026, 2, 28)),
        (Span(months=1), date(2024, 3, 31), date(2024, 2, 29)),
        (Span(months=2), date(2026, 1, 15), date(2025, 11, 15)),
        (Span(years=5), date(2024, 2, 29), date(2019, 2, 28)),
        (Span(), date(2026, 3, 1), date(2026, 3, 1)),
    ],
)
def test_a_span_counts_calendar_time(span, day, start):
    assert span.start(day) == start


@pytest.mark.parametrize(("half_life", "days"), [(None, 28), (5, 28), (Fraction(28, 5), 28), (6, 30), (21, 105)])
def test_of_weeks_and_half_lives_the_longer_counts(half_life, days):
    span = Span(weeks=4, half_lives=5, half_life="half_life")
    start = span.start(date(2026, 6, 30), None if half_life is None else Fraction(half_life))
    assert (date(2026, 6, 30) - start).days == days
    assert span.words == "4 weeks or 5 half-lives, whichever is longer"
