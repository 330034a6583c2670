"""Eligibility criteria as data: the questions they ask, the rules they set, and the files of the registered trials."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fractions import Fraction
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, ValidationError, field_validator

from escalation.conduct.units import ULN, Bounds, Span, amount, analyte, convert, multiple, number, quantity
from escalation.errors import EscalationError, Fault, StudyError
from escalation.faults import faults_of
from escalation.plain_data import parse
from escalation.protocol import Model

NEVER = "never"
"""The answer to a question for a day when the event never happened."""
EVER = "ever"
"""What criteria that depend on an event look for: that it has a day."""
_ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
FIRST_DAY = date(1900, 1, 1)
"""No day of a trial or of a participant's history is earlier."""
Settings = Mapping[str, str | float]


class EligibilityError(EscalationError):
    """An answer, switch or day that the criteria do not ask for, or not of the kind they ask for."""

    def __init__(self, path: str, problem: str, remedy: str = "") -> None:
        super().__init__(path, problem, remedy)
        self.fault = Fault(path, problem, remedy)

    def __str__(self) -> str:
        return str(self.fault)


class Answer(Model):
    """One answer: a number with its unit, a code, a day or ``never``, or for a judgement whether the text applies."""

    criterion: str
    value: float | date | str | None = None
    unit: str = ""
    uln: float | None = Field(default=None, description="The laboratory's own upper limit of normal, in the same unit.")
    sample_time: AwareDatetime = Field(
        ge=datetime(1900, 1, 1, tzinfo=UTC), description="When the sample was taken, or the judgement made."
    )
    source_document: str = Field(min_length=1, max_length=4000)
    met: bool | None = Field(default=None, description="Whether the criterion's text applies to the participant.")
    assessor: str = Field(min_length=1, max_length=4000)

    @field_validator("value", mode="before")
    @classmethod
    def _day(cls, value: Any) -> Any:
        try:
            return date.fromisoformat(value) if isinstance(value, str) and _ISO_DAY.fullmatch(value) else value
        except ValueError:
            return value

    @field_validator("sample_time", mode="before")
    @classmethod
    def _time(cls, value: Any) -> Any:
        return datetime.fromisoformat(value) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class Accepted:
    """What an answer says in canonical terms, and how it is shown."""

    value: Fraction | str | date | bool | None
    shown: str
    unit: str = ""

    @property
    def code(self) -> str:
        """What criteria for some participants only look at: the code, or whether the event ever happened."""
        return EVER if isinstance(self.value, date) else self.shown


class Sampled(Model):
    """The day a value must be of: one day of the trial, or late enough after another or after an event."""

    on: str = ""
    after: str = ""
    at_least: Span = Span()

    def __str__(self) -> str:
        return f"of the day of {self.on}" if self.on else f"taken at least {self.at_least.words} after {self.after}"


class Doubt(Bounds):
    """A range of values for which an ambiguity of the wording matters."""

    ambiguity: str


class ValueRule(Bounds):
    """A measured value within limits; in multiples of ULN, the laboratory's own."""

    check: Literal["value"]
    analyte: str
    unit: str = ""
    sampled: Sampled | None = None
    doubts: tuple[Doubt, ...] = ()

    def told(self, switches: Settings) -> str:
        return f"{analyte(self.analyte).label} {self.words(self.unit, switches)}".strip() + (
            f", {self.sampled}" if self.sampled else ""
        )

    def accept(self, answer: Answer) -> Accepted:
        """The value in canonical units; raises UnitError or EligibilityError for what a form must refuse."""
        value = answer.value
        if not isinstance(value, float):
            problem = "a number is needed" if value is None else f"{str(value)!r} is not a number"
            raise EligibilityError(answer.criterion, problem, "enter the measured value with its unit")
        measured = quantity(self.analyte, value, answer.unit)
        if self.unit != ULN:
            return Accepted(measured.exact, str(measured), measured.unit)
        if answer.uln is None:
            problem = f"{amount(value, answer.unit)} without the laboratory's upper limit of normal"
            raise EligibilityError(answer.criterion, problem, "enter the limit printed on the report, in the same unit")
        ratio = multiple(self.analyte, value, answer.uln, answer.unit)
        limit = amount(*convert(self.analyte, answer.uln, answer.unit))
        return Accepted(ratio, f"{number(ratio)} × ULN ({measured}, ULN {limit})", ULN)


class CodeRule(Model):
    """One of the listed codes, of which some count; a switch may choose which."""

    check: Literal["code"]
    values: tuple[str, ...] = Field(min_length=1)
    one_of: tuple[str, ...] = ()
    switch: str = ""
    cases: dict[str, tuple[str, ...]] = Field(default_factory=dict, description="The codes that count, by the switch.")
    doubtful: dict[str, str] = Field(default_factory=dict, description="Ambiguities that matter for single codes.")

    def counting(self, switches: Settings) -> tuple[str, ...]:
        """The codes for which the rule holds."""
        return self.cases[str(switches[self.switch])] if self.switch else self.one_of

    def told(self, switches: Settings) -> str:
        return " or ".join(self.counting(switches))

    def accept(self, answer: Answer) -> Accepted:
        """The code; raises EligibilityError for any other text."""
        if answer.value not in self.values:
            problem = f"{'nothing' if answer.value is None else repr(str(answer.value))} is not one of the codes"
            raise EligibilityError(answer.criterion, problem, f"choose one of: {', '.join(self.values)}")
        return Accepted(str(answer.value), str(answer.value))


class EventRule(Model):
    """The day of the last event against a day of the trial; ``within`` includes the day exactly that far back."""

    check: Literal["event"]
    form: Literal["within", "not_within", "less_than", "at_least"]
    span: Span
    before: str

    def told(self, switches: Settings) -> str:
        return f"{self.form.replace('_', ' ')} {self.span.words} before {self.before}"

    def accept(self, answer: Answer) -> Accepted:
        """The day, or None for never; raises EligibilityError for a day that cannot be counted from."""
        if answer.value == NEVER:
            return Accepted(None, NEVER)
        if not isinstance(answer.value, date) or answer.value < FIRST_DAY:
            problem = "a day is needed" if answer.value is None else f"{str(answer.value)!r} is not a day to count from"
            raise EligibilityError(answer.criterion, problem, f"enter the full date as YYYY-MM-DD, or {NEVER!r}")
        return Accepted(answer.value, answer.value.isoformat())


class OrderRule(Model):
    """Two days of the trial in their order; nothing is asked of the participant."""

    check: Literal["order"]
    first: str
    then: str
    strict: bool

    def told(self, switches: Settings) -> str:
        return f"{self.first} {'before' if self.strict else 'not after'} {self.then}"


class JudgementRule(Model):
    """Whether the text applies, in the assessor's judgement."""

    check: Literal["judgement"]

    def told(self, switches: Settings) -> str:
        return "in the assessor's judgement"

    def accept(self, answer: Answer) -> Accepted:
        """The judgement; raises EligibilityError without one."""
        if answer.met is None:
            raise EligibilityError(answer.criterion, "a judgement is needed", "say whether the text applies: yes or no")
        return Accepted(answer.met, "applies" if answer.met else "does not apply")


class CombinedRule(Model):
    """Any or all of several rules; parts that do not apply to the participant are left out."""

    check: Literal["any_of", "all_of"]
    parts: tuple[Part, ...] = Field(min_length=1)
    ambiguity: str = Field(default="", description="Matters when the parts disagree.")

    def told(self, switches: Settings) -> str:
        word = " or " if self.check == "any_of" else " and "
        return "(" + word.join(part.told(switches) for part in self.parts) + ")"


LeafRule = ValueRule | CodeRule | EventRule | JudgementRule
Rule = Annotated[LeafRule | OrderRule | CombinedRule, Field(discriminator="check")]


class Part(Model):
    """One rule with its wording; it may be judged on another question's answer, and apply to some codes only."""

    id: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    wording: str = Field(min_length=1)
    rule: Rule
    answered_by: str = ""
    applies_when: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    def told(self, switches: Settings) -> str:
        rule = self.rule.told(switches)
        return self.wording if isinstance(self.rule, JudgementRule) else f"{self.wording}: {rule}"


class TextConflict(Model):
    """An exclusion that contradicts an inclusion: it wins, unless the ambiguity's switch says it yields."""

    against: str
    ambiguity: str
    yields_to: str


class Criterion(Part):
    """One criterion: the registry's wording, and the rule it is judged by."""

    kind: Literal["inclusion", "exclusion"]
    quoted: bool = Field(default=False, description="The registry's own words; else a paraphrase around quotations.")
    source: Literal["registry", "inferred", "placeholder"] = "registry"
    note: str = ""
    ambiguities: tuple[str, ...] = ()
    conflict: TextConflict | None = None


class Fact(Model):
    """Something the criteria depend on without being a criterion: a code, or a measured value."""

    id: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    wording: str = Field(min_length=1)
    values: tuple[str, ...] = ()
    analyte: str = ""

    @property
    def rule(self) -> ValueRule | CodeRule:
        """How the answer is read; it holds whatever the answer."""
        if self.analyte:
            return ValueRule(check="value", analyte=self.analyte)
        return CodeRule(check="code", values=self.values, one_of=self.values)


class Switch(Model):
    """The name of a choice between readings, its default, and the codes or the numbers it can take."""

    name: str
    default: str | float
    values: tuple[str, ...] = ()
    range: tuple[float, float] | None = None

    def allows(self, value: object) -> bool:
        """Whether the switch can take a value."""
        if self.range is None:
            return value in self.values
        number_given = isinstance(value, int | float) and not isinstance(value, bool)
        return number_given and self.range[0] <= value <= self.range[1]  # type: ignore[operator]


class Ambiguity(Model):
    """A wording with more than one reading, and the one in force."""

    id: str
    wording: str
    readings: str
    default: str
    switch: Switch | None = None

    def __str__(self) -> str:
        return f"{self.id}: {self.wording} (readings: {self.readings}; in force by default: {self.default})"


class Question(Model):
    """One thing to answer: the id an answer carries, the wording, and how the answer is read."""

    id: str
    wording: str
    rule: LeafRule = Field(discriminator="check")


class Criteria(Model):
    """The eligibility criteria of one trial."""

    schema_: Literal[1] = Field(alias="schema")
    trial: str
    key: str
    title: str
    note: str = ""
    consented_not_yet_triggered: bool = Field(
        default=False, description="Consent precedes the event that makes treatment due: eligible is not yet treatable."
    )
    trigger: str = ""
    anchors: dict[str, str] = Field(default_factory=dict, description="Days of the trial the rules count from.")
    facts: tuple[Fact, ...] = ()
    ambiguities: tuple[Ambiguity, ...] = ()
    criteria: tuple[Criterion, ...] = Field(min_length=1)

    @cached_property
    def switches(self) -> dict[str, Switch]:
        """The switches by name."""
        return {each.switch.name: each.switch for each in self.ambiguities if each.switch}

    @cached_property
    def parts(self) -> dict[str, Part]:
        """Every criterion and every part of one, by path."""
        return dict(_walk("", self.criteria))

    @cached_property
    def questions(self) -> dict[str, Question]:
        """What must be answered, by the id its answer carries; criteria judged on another's answer ask nothing."""
        asked = [Question(id=each.id, wording=each.wording, rule=each.rule) for each in self.facts]
        for path, part in self.parts.items():
            if not part.answered_by and not isinstance(part.rule, OrderRule | CombinedRule):
                asked.append(Question(id=path, wording=part.wording, rule=part.rule))
        return {each.id: each for each in asked}

    def ambiguity(self, name: str) -> Ambiguity:
        """The ambiguity of an id."""
        return next(each for each in self.ambiguities if each.id == name)

    def check(self, answer: Answer) -> Accepted:
        """The answer in canonical terms; raises UnitError or EligibilityError for what a form must refuse."""
        asked = self.questions.get(answer.criterion)
        if asked is None:
            raise EligibilityError(*unknown(answer.criterion, "question", self.questions))
        return asked.rule.accept(answer)


def _walk(prefix: str, parts: Iterable[Part]) -> Iterator[tuple[str, Part]]:
    for part in parts:
        yield f"{prefix}{part.id}", part
        if isinstance(part.rule, CombinedRule):
            yield from _walk(f"{prefix}{part.id}.", part.rule.parts)


def unknown(name: str, what: str, names: Iterable[str]) -> tuple[str, str, str]:
    """Path, problem and remedy of a name the criteria do not know."""
    known = sorted(names)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}" if known else "leave it out"
    return name, f"the criteria have no {what} {name!r}", hint


def criteria_names() -> tuple[str, ...]:
    """The trials that criteria come with the package for."""
    found = files(__name__).iterdir()
    return tuple(sorted(Path(entry.name).stem for entry in found if entry.name.endswith(".yaml")))


def load_criteria(trial: str) -> Criteria:
    """The criteria of a trial, by its registry number; raises StudyError."""
    name = trial.lower()
    if name not in criteria_names():
        raise StudyError((Fault(*unknown(trial, "trial", criteria_names())),), "criteria")
    text = files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    data = parse(text, name)
    try:
        return Criteria.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        raise StudyError(faults_of(error, (), Criteria, data), name) from None
