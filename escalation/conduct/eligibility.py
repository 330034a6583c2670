"""Eligibility: one pure function from criteria and answers to a verdict.

Words are literal. A criterion is *met* when its text applies to the participant, be it an inclusion or an
exclusion; a participant *passes* an inclusion that is met and an exclusion that is not. What cannot be told
passes nothing. There are no waivers: nothing a caller can give turns a failed criterion into a passed one, and a
tick never overrides a value. Switches choose between readings of the protocol's wording, for all participants.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field

from escalation.conduct.criteria import (
    FIRST_DAY,
    NEVER,
    Accepted,
    Ambiguity,
    Answer,
    CodeRule,
    CombinedRule,
    Criteria,
    Criterion,
    EligibilityError,
    EventRule,
    JudgementRule,
    LeafRule,
    OrderRule,
    Part,
    Question,
    Sampled,
    Settings,
    criteria_names,
    load_criteria,
    unknown,
)
from escalation.conduct.units import UnitError
from escalation.protocol import Model

__all__ = [
    "NEVER",
    "Ambiguity",
    "Answer",
    "Criteria",
    "Criterion",
    "EligibilityError",
    "Evidence",
    "Finding",
    "Question",
    "Verdict",
    "criteria_names",
    "evaluate",
    "load_criteria",
]

NOTHING_SET: Mapping[str, Any] = MappingProxyType({})
Status = Literal["met", "not met", "missing", "conflict"]


class Evidence(Model):
    """An answer as it was given, and what it says in canonical units; nothing when it could not be read."""

    answer: Answer
    canonical: str


class Finding(Model):
    """What was found for one criterion."""

    criterion: str
    kind: Literal["inclusion", "exclusion"]
    wording: str
    quoted: bool
    rule: str
    status: Status
    passes: bool | None = Field(description="None when it cannot be told.")
    evidence: tuple[Evidence, ...] = ()
    notes: tuple[str, ...] = ()
    ambiguities: tuple[str, ...] = ()


class Verdict(Model):
    """What the answers amount to, criterion by criterion."""

    trial: str
    status: Literal["eligible", "not_eligible", "incomplete"]
    findings: tuple[Finding, ...]
    notices: tuple[str, ...]
    switches: dict[str, str | float]
    consented_not_yet_triggered: bool

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The criteria that exclude the participant."""
        return tuple(each for each in self.findings if each.passes is False)

    @property
    def open(self) -> tuple[Finding, ...]:
        """The criteria that cannot be told yet."""
        return tuple(each for each in self.findings if each.passes is None)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a rule comes to: whether it holds, on which answers, and what must be said about it."""

    holds: bool | None
    evidence: tuple[Evidence, ...] = ()
    notes: tuple[str, ...] = ()
    disputed: bool = False
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Known:
    """Everything a verdict may depend on."""

    criteria: Criteria
    answers: Mapping[str, tuple[Answer, ...]]
    switches: Settings
    anchors: Mapping[str, date]

    def said(self, question: str) -> Accepted | None:
        """The one readable answer to a question."""
        answers = self.answers.get(question, ())
        try:
            return self.criteria.check(answers[0]) if len(answers) == 1 else None
        except (UnitError, EligibilityError):
            return None

    def day(self, name: str) -> date | None:
        """A day of the trial, or of an event."""
        event = self.said(name)
        return self.anchors.get(name) or (event.value if event and isinstance(event.value, date) else None)

    def applies(self, part: Part) -> tuple[bool | None, str]:
        """Whether a part is for this participant, and why not."""
        unknown = ""
        for question, codes in part.applies_when.items():
            said = self.said(question)
            if said is None:
                unknown = f"whether it applies is open: {question} is not answered"
            elif said.code not in codes:
                return False, f"does not apply: {question} is {said.shown}"
        return (None, unknown) if unknown else (True, "")

    def read(self, path: str, part: Part) -> _Reading:
        """What one part comes to."""
        rule = part.rule
        if isinstance(rule, CombinedRule):
            return self._combined(path, rule)
        if isinstance(rule, OrderRule):
            first, then = self.day(rule.first), self.day(rule.then)
            if first is None or then is None:
                return _Reading(None, notes=(f"the day of {rule.then if first else rule.first} is not known",))
            return _Reading(first < then or (first == then and not rule.strict), notes=(f"{first} and {then}",))
        question = part.answered_by or path
        answers = self.answers.get(question, ())
        if not answers:
            return _Reading(None, notes=(f"{question} is not answered",))
        evidence = tuple(Evidence(answer=answer, canonical=self._shown(rule, answer)) for answer in answers)
        if len(answers) > 1:
            note = f"{question} has {len(answers)} different answers; keep the right one"
            return _Reading(None, evidence, (note,), disputed=True, notices=(note,))
        try:
            accepted = rule.accept(answers[0])
            reading = replace(self._judged(rule, accepted, answers[0]), evidence=evidence)
        except (UnitError, EligibilityError) as error:
            return _Reading(None, evidence, (str(error),))
        ticked = answers[0].met
        if part.answered_by or None in (ticked, reading.holds) or ticked == reading.holds:
            return reading
        note = f"{question}: ticked as {'met' if ticked else 'not met'}, but {accepted.shown} says otherwise"
        return replace(reading, disputed=True, notes=(*reading.notes, note), notices=(*reading.notices, note))

    @staticmethod
    def _shown(rule: LeafRule, answer: Answer) -> str:
        try:
            return rule.accept(answer).shown
        except (UnitError, EligibilityError):
            return ""

    def _judged(self, rule: LeafRule, found: Accepted, answer: Answer) -> _Reading:
        if isinstance(rule, JudgementRule):
            return _Reading(bool(found.value))
        if isinstance(rule, CodeRule):
            doubt = rule.doubtful.get(found.shown)
            notices = (str(self.criteria.ambiguity(doubt)),) if doubt else ()
            return _Reading(found.value in rule.counting(self.switches), notices=notices)
        if isinstance(rule, EventRule):
            return self._event(rule, found)
        assert isinstance(found.value, Fraction)
        wrong_day = self._wrong_day(rule.sampled, answer.sample_time.date()) if rule.sampled else ""
        if wrong_day:
            return _Reading(None, notes=(wrong_day,))
        value = (found.value, found.unit)
        doubts = [each for each in rule.doubts if each.hold(rule.analyte, value, rule.unit, self.switches)]
        doubted = tuple(f"{found.shown}: {self.criteria.ambiguity(each.ambiguity)}" for each in doubts)
        return _Reading(rule.hold(rule.analyte, value, rule.unit, self.switches), notices=doubted)

    def _wrong_day(self, sampled: Sampled, day: date) -> str:
        wanted = self.day(sampled.on or sampled.after)
        if wanted is None:
            return f"the day of {sampled.on or sampled.after} is not known"
        if sampled.on:
            return "" if day == wanted else f"taken on {day}, but needed on the day of {sampled.on}, {wanted}"
        late = sampled.at_least.start(day) >= wanted
        return "" if late else f"taken on {day}, less than {sampled.at_least.words} after {sampled.after}, {wanted}"

    def _event(self, rule: EventRule, found: Accepted) -> _Reading:
        if not isinstance(found.value, date):
            return _Reading(rule.form == "not_within")
        anchor = self.anchors.get(rule.before)
        if anchor is None:
            return _Reading(None, notes=(f"the day of {rule.before} is not known",))
        half_life = self.said(rule.span.half_life) if rule.span.half_lives else None
        lifetime = half_life.value if half_life and isinstance(half_life.value, Fraction) else None
        start = rule.span.start(anchor, lifetime)
        inside = found.value > start if rule.form == "less_than" else found.value >= start
        if rule.form == "at_least":
            return _Reading(found.value <= start)
        if not inside and rule.span.half_lives and lifetime is None:
            return _Reading(None, notes=(f"{rule.span.half_life} is not answered",))
        return _Reading(inside != (rule.form == "not_within"))

    def _combined(self, path: str, rule: CombinedRule) -> _Reading:
        readings = []
        for part in rule.parts:
            applies, why = self.applies(part)
            if applies is None:
                readings.append(_Reading(None, notes=(why,)))
            elif applies:
                readings.append(self.read(f"{path}.{part.id}", part))
        decisive = rule.check == "any_of"
        held = [each.holds for each in readings]
        holds = decisive if decisive in held else None if None in held else not decisive
        notices = [notice for each in readings for notice in each.notices]
        if rule.ambiguity and True in held and False in held:
            notices.append(str(self.criteria.ambiguity(rule.ambiguity)))
        return _Reading(
            holds,
            tuple(evidence for each in readings for evidence in each.evidence),
            tuple(note for each in readings for note in each.notes if holds is None or each.disputed),
            any(each.disputed for each in readings),
            tuple(notices),
        )

    def finding(self, criterion: Criterion) -> tuple[Finding, tuple[str, ...]]:
        """What one criterion comes to by itself, and the notices it gives rise to."""
        included = criterion.kind == "inclusion"
        applies, why = self.applies(criterion)
        reading = self.read(criterion.id, criterion) if applies else _Reading(None if applies is None else included)
        passes = None if reading.holds is None else reading.holds == included
        status: Status = "missing" if reading.holds is None else "met" if reading.holds else "not met"
        if reading.disputed:
            status, passes = "conflict", False if passes is False else None
        return Finding(
            criterion=criterion.id,
            kind=criterion.kind,
            wording=criterion.wording,
            quoted=criterion.quoted,
            rule=criterion.rule.told(self.switches),
            status=status,
            passes=passes,
            evidence=reading.evidence,
            notes=(*((why,) if why else ()), *reading.notes),
            ambiguities=criterion.ambiguities,
        ), tuple(f"{criterion.id}: {notice}" for notice in reading.notices)


def evaluate(
    criteria: Criteria,
    answers: Iterable[Answer],
    *,
    switches: Settings = NOTHING_SET,
    anchors: Mapping[str, date] = NOTHING_SET,
) -> Verdict:
    """The verdict on a participant.

    Parameters
    ----------
    answers
        In any order; only the current version of each. Two different answers to one question are a conflict.
    switches
        Readings of the protocol's wording that differ from the default, set once for the trial.
    anchors
        Days of the trial the rules count from, planned or actual, as ``criteria.anchors`` lists them.

    Raises
    ------
    EligibilityError
        For an answer, switch or day the criteria do not know.
    """
    sorted_answers: dict[str, tuple[Answer, ...]] = {}
    for answer in answers:
        if answer.criterion not in criteria.questions:
            raise EligibilityError(*unknown(answer.criterion, "question", criteria.questions))
        before: tuple[Answer, ...] = sorted_answers.get(answer.criterion, ())
        sorted_answers[answer.criterion] = before if answer in before else (*before, answer)
    known = _Known(criteria, sorted_answers, _settings(criteria, switches), _days(criteria, anchors))
    read = [known.finding(each) for each in criteria.criteria]
    findings = {finding.criterion: finding for finding, _ in read}
    notices = [notice for _, given in read for notice in given]
    for criterion in criteria.criteria:
        notices.extend(_contradiction(criterion, findings, known))
    for name, value in known.switches.items():
        if value != criteria.switches[name].default:
            notices.append(f"switch {name} is {value}; the default is {criteria.switches[name].default}")
    passed = [each.passes for each in findings.values()]
    return Verdict(
        trial=criteria.trial,
        status="not_eligible" if False in passed else "incomplete" if None in passed else "eligible",
        findings=tuple(findings.values()),
        notices=tuple(dict.fromkeys(notices)),
        switches=dict(known.switches),
        consented_not_yet_triggered=criteria.consented_not_yet_triggered,
    )


def _contradiction(criterion: Criterion, findings: dict[str, Finding], known: _Known) -> list[str]:
    """Mark an inclusion and an exclusion that are met together although one contradicts the other."""
    conflict = criterion.conflict
    if conflict is None:
        return []
    pair = (findings[criterion.id], findings[conflict.against])
    if any(each.status != "met" for each in pair):
        return []
    ambiguity = known.criteria.ambiguity(conflict.ambiguity)
    yields = ambiguity.switch is not None and known.switches[ambiguity.switch.name] == conflict.yields_to
    note = f"criteria conflict with {{}}: {'the inclusion' if yields else 'the exclusion'} counts ({ambiguity.id})"
    for here, other in (pair, pair[::-1]):
        passes = yields if here.kind == "exclusion" else here.passes
        notes = (*here.notes, note.format(other.criterion))
        findings[here.criterion] = here.model_copy(update={"status": "conflict", "passes": passes, "notes": notes})
    return [f"criteria conflict between {conflict.against} and {criterion.id}. {ambiguity}"]


def _settings(criteria: Criteria, switches: Settings) -> dict[str, str | float]:
    """Every switch with the value in force; raises EligibilityError for one there is not, or a value it cannot take."""
    for name, value in switches.items():
        if name not in criteria.switches:
            raise EligibilityError(*unknown(name, "switch", criteria.switches))
        known = criteria.switches[name]
        if not known.allows(value):
            choices = ", ".join(known.values) if known.range is None else f"{known.range[0]:g} to {known.range[1]:g}"
            raise EligibilityError(name, f"{value!r} is not a value of this switch", f"choose from: {choices}")
    return {name: switches.get(name, switch.default) for name, switch in criteria.switches.items()}


def _days(criteria: Criteria, anchors: Mapping[str, date]) -> Mapping[str, date]:
    for name, day in anchors.items():
        if name not in criteria.anchors:
            raise EligibilityError(*unknown(name, "day", criteria.anchors))
        if type(day) is not date or day < FIRST_DAY:
            raise EligibilityError(name, f"{day!r} is not a calendar day", "give the local date, without time of day")
    return dict(anchors)
