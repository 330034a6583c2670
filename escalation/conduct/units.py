"""Measured quantities: canonical units, conversions, what can be believed, and the limits set on them.

A value is read exactly as the decimal number that was written and converted as a fraction, so that a
value at a limit is at the limit in every unit: 1.05 mg/dL against an upper limit of 0.7 mg/dL is 1.5
times the limit, not a hair above it.
"""

from __future__ import annotations

import calendar
import difflib
import operator
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from functools import lru_cache
from math import ceil
from types import MappingProxyType

from pydantic import Field

from escalation.errors import EscalationError, Fault
from escalation.protocol import Model


class UnitError(EscalationError):
    """A value that cannot be what it is said to be: unknown analyte or unit, or an implausible number."""

    def __init__(self, analyte: str, value: object, unit: str, problem: str, remedy: str) -> None:
        super().__init__(analyte, value, unit, problem, remedy)
        self.analyte, self.value, self.unit = analyte, value, unit
        self.fault = Fault(analyte, problem, remedy)

    def __str__(self) -> str:
        return str(self.fault)


@dataclass(frozen=True, slots=True)
class Conversion:
    """From a unit to the canonical one: multiply, then add."""

    factor: Fraction
    offset: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class Analyte:
    """What is measured: its canonical unit, the units it is accepted in, and what can be believed."""

    name: str
    label: str
    unit: str
    low: Fraction
    high: Fraction
    units: Mapping[str, Conversion | None]
    """Accepted units; None marks a unit on a scale of its own, comparable with itself only."""
    step: int | None = None
    """Values come in steps: grades and completed years."""
    uln: tuple[Fraction, Fraction] | None = None
    """What a laboratory's upper limit of normal can be, in the canonical unit."""

    def spelling(self, unit: str) -> str | None:
        """The accepted unit a spelling stands for, or None."""
        return next((known for known in self.units if _plain(known) == _plain(unit)), None)

    @property
    def accepted(self) -> str:
        """The accepted units in words."""
        return ", ".join(unit for unit in self.units if unit)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A believable value in the canonical unit, beside the value and unit it was given in."""

    analyte: str
    exact: Fraction
    unit: str
    given: float
    given_unit: str

    @property
    def value(self) -> float:
        """The value in the canonical unit."""
        return float(self.exact)

    def __str__(self) -> str:
        return amount(self.exact, self.unit)


def number(value: Fraction | float) -> str:
    """A number as people write it, to twelve digits."""
    return f"{float(value):.12g}"


def amount(value: Fraction | float, unit: str) -> str:
    """A number with its unit."""
    return f"{number(value)} {unit}".strip()


def exact(value: float) -> Fraction:
    """The decimal number that was written, not its nearest binary one."""
    return Fraction(str(value))


_HUGE = 1e300
_SUPERSCRIPTS = re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹]+")


@lru_cache(maxsize=1024)
def _plain(unit: str) -> str:
    """A unit without the liberties of its spelling: case, blanks, micro signs, superscripts, UCUM stars."""
    text = _SUPERSCRIPTS.sub(lambda found: f"^{unicodedata.normalize('NFKC', found[0])}", unit)
    text = unicodedata.normalize("NFKC", text).lower().replace("μ", "u").replace("mcl", "ul")
    text = re.sub(r"\s+|\bcells\b|·", "", text).replace("10*", "10^").replace("**", "^")
    text = re.sub(r"^[x×](?=10\^)", "", text).replace("mm^3", "ul").replace("mm3", "ul").replace("m^2", "m2")
    return {"percent": "%", "k/ul": "10^3/ul", "iu/l": "u/l"}.get(text, text)


def _analyte(
    name: str,
    label: str,
    believable: tuple[str, str],
    units: Mapping[str, str | tuple[str, str] | None],
    *,
    step: int | None = None,
    uln: tuple[str, str] | None = None,
) -> Analyte:
    """An analyte from decimal texts; the first unit is the canonical one."""

    def conversion(given: str | tuple[str, str] | None) -> Conversion | None:
        if given is None:
            return None
        factor, offset = (given, "0") if isinstance(given, str) else given
        return Conversion(Fraction(factor), Fraction(offset))

    return Analyte(
        name,
        label,
        next(iter(units)),
        Fraction(believable[0]),
        Fraction(believable[1]),
        MappingProxyType({unit: conversion(given) for unit, given in units.items()}),
        step,
        (Fraction(uln[0]), Fraction(uln[1])) if uln else None,
    )


_COUNT = {"10^9/L": "1", "10^3/uL": "1", "/nL": "1", "10^6/L": "0.001", "/uL": "0.001", "10^4/uL": "10"}
_ENZYME = {"U/L": "1", "ukat/L": "60"}
_SHARE = {"%": "1", "fraction": "100"}
_PRESSURE = {"mmHg": "1", "kPa": "7.50062"}
_TIME = {"days": "1", "d": "1", "weeks": "7", "months": "30.4375", "years": "365.25", "hours": "1/24", "h": "1/24"}
_SECONDS = {"s": "1", "sec": "1"}

ANALYTES: Mapping[str, Analyte] = MappingProxyType(
    {
        each.name: each
        for each in (
            _analyte("haemoglobin", "haemoglobin", ("20", "250"), {"g/L": "1", "g/dL": "10", "mmol/L": "16.1145"}),
            _analyte("anc", "neutrophils", ("0", "200"), _COUNT),
            _analyte("platelets", "platelets", ("0", "3000"), _COUNT),
            _analyte("alt", "ALT", ("1", "20000"), _ENZYME, uln=("10", "120")),
            _analyte("ast", "AST", ("1", "20000"), _ENZYME, uln=("10", "120")),
            _analyte("alp", "ALP", ("1", "20000"), _ENZYME, uln=("40", "700")),
            _analyte(
                "bilirubin", "total bilirubin", ("1.5", "1200"), {"umol/L": "1", "mg/dL": "17.104"}, uln=("10", "50")
            ),
            _analyte("creatinine", "creatinine", ("8", "3000"), {"umol/L": "1", "mg/dL": "88.42"}, uln=("25", "150")),
            _analyte("bun", "blood urea nitrogen", ("0.3", "100"), {"mmol/L": "1", "mg/dL": "0.357"}, uln=("4", "13")),
            _analyte("pt", "prothrombin time", ("5", "200"), _SECONDS, uln=("9", "20")),
            _analyte("aptt", "APTT", ("10", "300"), _SECONDS, uln=("25", "60")),
            _analyte("inr", "INR", ("0.5", "20"), {"": "1", "ratio": "1"}, uln=("0.9", "1.5")),
            _analyte("hba1c", "HbA1c", ("3", "20"), {"%": "1", "mmol/mol": ("0.09148", "2.152")}),
            _analyte("spo2", "SpO2", ("30", "100"), _SHARE),
            _analyte("lvef", "LVEF", ("5", "95"), _SHARE),
            _analyte("fev1", "FEV1, percent of predicted", ("5", "200"), _SHARE),
            _analyte("blasts", "marrow blasts", ("0", "100"), _SHARE),
            _analyte("chimerism", "donor chimerism", ("0", "100"), _SHARE),
            _analyte("qtcf", "QTcF", ("200", "800"), {"ms": "1", "s": "1000"}),
            _analyte("sbp", "systolic blood pressure", ("40", "320"), _PRESSURE),
            _analyte("dbp", "diastolic blood pressure", ("15", "220"), _PRESSURE),
            _analyte("cd34", "CD34+ cells in blood", ("0", "10000"), {"/uL": "1", "10^6/L": "1", "10^9/L": "1000"}),
            _analyte("cd34_dose", "CD34+ cells transfused", ("0", "200"), {"10^6/kg": "1", "/kg": "0.000001"}),
            _analyte("hbv_dna", "HBV-DNA", ("0", "1e12"), {"copies/mL": "1", "IU/mL": None}, uln=("0", "10000")),
            _analyte("hcv_rna", "HCV-RNA", ("0", "1e12"), {"IU/mL": "1", "copies/mL": None}, uln=("0", "10000")),
            _analyte("ecog", "ECOG performance status", ("0", "5"), {"grade": "1", "": "1"}, step=1),
            _analyte("kps", "Karnofsky performance status", ("0", "100"), {"%": "1", "": "1", "points": "1"}, step=10),
            _analyte("ctcae", "CTCAE grade", ("0", "5"), {"grade": "1", "": "1"}, step=1),
            _analyte("age", "age in completed years", ("0", "120"), {"years": "1", "y": "1"}, step=1),
            _analyte("bmi", "body mass index", ("8", "100"), {"kg/m2": "1"}),
            _analyte("weight", "body weight", ("1", "350"), {"kg": "1", "g": "0.001", "lb": "0.45359237"}),
            _analyte("survival", "expected survival", ("0", "36525"), _TIME),
            _analyte("contraception", "contraception after treatment", ("0", "36525"), _TIME),
            _analyte("half_life", "half-life", ("0", "3653"), _TIME),
        )
    }
)
"""Everything the criteria and the infusion records measure, by name."""


def analyte(name: str) -> Analyte:
    """The analyte of a name; raises UnitError naming what there is."""
    if name in ANALYTES:
        return ANALYTES[name]
    near = difflib.get_close_matches(name, ANALYTES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(ANALYTES))}"
    raise UnitError(name, None, "", f"the analyte {name!r} is unknown", hint)


def convert(name: str, value: float, unit: str) -> tuple[Fraction, str]:
    """A number in the canonical unit, believable or not, with that unit; raises UnitError for an unknown unit.

    A unit on a scale of its own (international units beside copies) stays what it is.
    """
    known = analyte(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_HUGE < value < _HUGE:
        raise UnitError(
            name, value, unit, f"{str(value)[:40]!r} is not a number that can be measured", "enter the measured number"
        )
    spelled = known.spelling(unit)
    if spelled is None:
        problem = (
            f"{amount(value, unit)}: {known.label} is not reported in {unit!r}"
            if unit.strip()
            else f"{number(value)} has no unit"
        )
        raise UnitError(name, value, unit, problem, f"enter it in one of: {known.accepted}")
    conversion = known.units[spelled]
    if conversion is None:
        return exact(value), spelled
    return exact(value) * conversion.factor + conversion.offset, known.unit


def quantity(name: str, value: float, unit: str) -> Quantity:
    """A measured value in its canonical unit.

    Raises
    ------
    UnitError
        For an unknown analyte or unit, and for a value that cannot be true: the message names the unit
        in which the same number would be.

    Examples
    --------
    >>> str(quantity("haemoglobin", 7, "g/dL"))
    '70 g/L'
    >>> quantity("haemoglobin", 70, "g/dL")
    Traceback (most recent call last):
    escalation.conduct.units.UnitError: haemoglobin: 70 g/dL is 700 g/L, outside 20 to 250 g/L, ... (70 g/L would fit...
    """
    known = analyte(name)
    converted, canonical = convert(name, value, unit)
    shown = amount(value, unit)
    if not known.low <= converted <= known.high:
        also = f" is {amount(converted, canonical)}," if known.spelling(unit) != canonical else " is"
        raise UnitError(
            name,
            value,
            unit,
            f"{shown}{also} outside {number(known.low)} to {amount(known.high, canonical)}, "
            f"the range in which {known.label} can be believed",
            f"{_fitting(known, value, unit)}check the source document and enter the value with the unit printed there",
        )
    if known.step is not None and converted % known.step:
        steps = "whole numbers" if known.step == 1 else f"steps of {known.step}"
        raise UnitError(
            name, value, unit, f"{shown}: {known.label} is given in {steps}", "check the source document; never average"
        )
    return Quantity(name, converted, canonical, float(value), unit)


def _fitting(known: Analyte, value: float, unit: str) -> str:
    """The units in which the number would be believable, as a suggestion."""
    fitting = []
    for other, conversion in known.units.items():
        same = conversion == known.units[known.spelling(unit) or ""]
        if other and conversion is not None and not same:
            converted = exact(value) * conversion.factor + conversion.offset
            if known.low <= converted <= known.high:
                fitting.append(amount(value, other))
    return f"{' or '.join(fitting)} would fit; " if fitting else ""


def multiple(name: str, value: float, uln: float, unit: str) -> Fraction:
    """A value as a multiple of the laboratory's own upper limit of normal, both in one unit; raises UnitError."""
    known = analyte(name)
    measured = quantity(name, value, unit)
    limit, canonical = convert(name, uln, unit)
    low, high = known.uln or (known.low, known.high)
    if not low <= limit <= high or limit == 0:
        raise UnitError(
            name,
            uln,
            unit,
            f"{amount(uln, unit)} cannot be a laboratory's upper limit of normal of {known.label}, "
            f"which lies in {number(low)} to {amount(high, canonical)}",
            f"enter the upper limit printed on the report, in {unit or canonical} like the value",
        )
    return measured.exact / limit


_SIGNS = {
    "above": (">", operator.gt),
    "at_least": ("≥", operator.ge),
    "below": ("<", operator.lt),
    "at_most": ("≤", operator.le),
}
ULN = "xULN"
"""The unit of limits in multiples of the laboratory's own upper limit of normal."""


class Bounds(Model):
    """Limits with their strictness; a text in place of a number names the switch that holds it."""

    above: float | str | None = None
    at_least: float | str | None = None
    below: float | str | None = None
    at_most: float | str | None = None

    def limits(self, switches: Mapping[str, str | float]) -> dict[str, float]:
        """The limits there are, by name, switches looked up."""
        given = {name: limit for name in _SIGNS if (limit := getattr(self, name)) is not None}
        return {name: float(switches[limit] if isinstance(limit, str) else limit) for name, limit in given.items()}

    @property
    def switches(self) -> tuple[str, ...]:
        """The switches that hold limits."""
        return tuple(limit for name in _SIGNS if isinstance(limit := getattr(self, name), str))

    def words(self, unit: str, switches: Mapping[str, str | float]) -> str:
        """The limits as signs and numbers."""
        told = "× ULN" if unit == ULN else unit
        limits = self.limits(switches).items()
        return " and ".join(f"{_SIGNS[name][0]} {amount(limit, told)}" for name, limit in limits)

    def hold(self, name: str, found: tuple[Fraction, str], unit: str, switches: Mapping[str, str | float]) -> bool:
        """Whether a value in its canonical unit is within the limits; raises UnitError if they cannot be compared."""
        for sign, limit in self.limits(switches).items():
            wanted = (exact(limit), ULN) if unit == ULN else convert(name, limit, unit)
            if wanted[1] != found[1]:
                problem = f"{amount(*found)} cannot be compared with {amount(*wanted)}: the factor depends on the assay"
                raise UnitError(name, float(found[0]), found[1], problem, f"have it reported in {wanted[1]}")
            if not _SIGNS[sign][1](found[0], wanted[0]):
                return False
        return True


class Span(Model):
    """A stretch of calendar time; of several, the longest counts."""

    days: int = Field(default=0, ge=0)
    weeks: int = Field(default=0, ge=0)
    months: int = Field(default=0, ge=0)
    years: int = Field(default=0, ge=0)
    half_lives: int = Field(default=0, ge=0)
    half_life: str = Field(default="", description="The question whose answer is the half-life.")

    @property
    def words(self) -> str:
        """The span as people say it."""
        parts = [(self.days, "days"), (self.weeks, "weeks"), (self.months, "months"), (self.years, "years")]
        told = [f"{n} {word if n != 1 else word[:-1]}" for n, word in (*parts, (self.half_lives, "half-lives")) if n]
        return " or ".join(told) + (", whichever is longer" if len(told) > 1 else "")

    def start(self, day: date, half_life: Fraction | None = None) -> date:
        """The first day of the span that ends on a day."""
        year, month = divmod(day.year * 12 + day.month - 1 - self.months - 12 * self.years, 12)
        by_months = date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
        by_days = day - timedelta(days=max(self.days, 7 * self.weeks, ceil(self.half_lives * (half_life or 0))))
        return min(by_months, by_days)
