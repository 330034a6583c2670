"""Commands made from the records themselves: screening, consent, infusions, events, visits, queries.

Nothing heavy is imported before a command runs, so that help answers at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import StrEnum
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer

if TYPE_CHECKING:
    from escalation.conduct.service import Conduct
    from escalation.conduct.state import ConductState

from escalation.trial_cli_shared import (
    DatabaseOption,
    JsonOption,
    KeyOption,
    ReasonOption,
    Refusing,
    TrialArgument,
    VersionOption,
    print_receipt,
    read_day,
    read_json,
    read_moment,
    signed_in,
)

RECORDS: dict[str, tuple[str, str]] = {
    "close": ("TrialClosed", "Close the trial: nobody is treated under the protocol any more."),
    "screen": ("Screened", "A candidate is known under a code; names never enter the ledger."),
    "consent": ("Consented", "Informed consent is given, with its form version."),
    "eligible": ("EligibilityRecorded", "The eligibility form and its verdict; there are no waivers."),
    "trigger": ("Triggered", "The condition that starts treatment has occurred."),
    "screen-failure": ("ScreenFailed", "The candidate does not enter the trial."),
    "infusion": ("InfusionRecorded", "An infusion as it was given, or a planned one that was missed (--no-given)."),
    "event": ("AdverseEvent", "An adverse event in CTCAE terms."),
    "regrade": ("Regraded", "An adverse event changes its grade from a date on."),
    "report-serious": ("SeriousEventReported", "A serious adverse event has been reported."),
    "propose-dlt": ("DltProposed", "Propose a DLT; until it is decided the participant is pending."),
    "complete": ("WindowCompleted", "The DLT window was followed to its end."),
    "not-evaluable": ("NotEvaluable", "A participant without a DLT stops counting for the decision."),
    "discontinue": ("Discontinued", "Treatment ends early; follow-up goes on."),
    "left": ("LeftStudy", "A participant withdraws consent, is lost, or dies."),
    "laboratory": ("Laboratory", "A laboratory value with its unit and sampling time."),
    "transfusion": ("Transfusion", "A transfusion."),
    "visit": ("Visit", "A visit done (--done-on) or missed (--missed-because)."),
    "response": ("ResponseRecorded", "A response is observed, by which criteria and assessed by whom."),
    "deviation": ("Deviation", "A departure from the protocol, with its category."),
    "circulate": ("Circulated", "Who was told of a decision, and when."),
    "query raise": ("QueryRaised", "Ask about a recorded value; critical queries hold back a complete snapshot."),
    "query answer": ("QueryAnswered", "Answer a query."),
    "query close": ("QueryClosed", "Close a query."),
    "query reopen": ("QueryClosed", "Re-open a closed query."),
}
"""Commands whose options are the fields of a record: the record and the line of help."""

_HELP = {
    "participant": "The participant's code.",
    "query": "The query's code.",
    "committee": "Entry number of the committee record.",
    "consented_at": "When consent was given.",
    "answers": "JSON file with the list of answers: criterion, value, source; - is standard input.",
    "findings": "A finding; may be repeated.",
    "number": "Which infusion, counted from 1.",
    "given": "Whether it was given; --no-given for a missed one.",
    "cells_million": "Cells given, in millions.",
    "weight_kg": "Body weight used, in kg.",
    "operator": "Who gave it.",
    "verifier": "Who verified it: another person.",
    "event": "The event's code, for instance E1.",
    "events": "Code of an event it rests on; may be repeated.",
    "adjudication": "A code for the adjudication, for instance A1.",
    "verbatim": "The event in the reporter's words.",
    "term": "CTCAE term.",
    "grade": "CTCAE grade.",
    "onset": "Date as precise as it is known: 2026-03-03, 2026-03, 2026 or unknown.",
    "ended": "Date as precise as it is known; leave out while it lasts.",
    "attribution": "Relatedness to the product.",
    "serious_because": "Why it is serious; may be repeated.",
    "aware_at": "When the site became aware; the 24-hour clock starts here.",
    "infusion": "Number of the infusion before it.",
    "criterion": "The criterion of the DLT definition it meets.",
    "about": "Entry number the question is about.",
    "to": "Who was told, for instance pharmacy; may be repeated.",
    "units": "Units given.",
    "visit": "Name of the visit.",
    "criteria": "The response criteria that are met.",
    "assessor": "Who assessed the response.",
}
"""Help by field; where there is none the field's name says it."""


class Group(Refusing):
    """Commands of which some are made from records once they are called, with refusals in words and exit code 2."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        made = RECORDS.get(f"query {name}" if ctx.info_name == "query" else str(name))
        if command is not None and made is not None:
            command = _command(str(name), made)
        return name, command, rest


def _option(name: str, annotation: Any, default: Any, positional: bool) -> inspect.Parameter:
    """A field as a parameter of the command line: what is read from text stays text until the trial is known."""
    kind = _core(annotation)
    required = default is inspect.Parameter.empty
    many = get_origin(kind) is tuple
    words = _HELP.get(name, name.replace("_", " ").capitalize() + ("; may be repeated." if many else "."))
    shown: Any = str
    metavar: str | None = None
    if name == "answers":
        metavar = "FILE"
    elif get_origin(kind) is Literal:
        shown = _choice(*get_args(kind))
    elif many:
        shown = list[str]
    elif kind in (int, float, bool):
        shown = kind
    elif kind.__name__ == "date":
        metavar, words = "DATE", words if name in _HELP else f"{words} 2026-03-03, today or yesterday."
    elif kind.__name__ in _MOMENTS:
        metavar, words = "TIME", f"{words} 2026-03-03T09:30 at the site, or with its offset, or now."
    if positional:
        return _parameter(name, Annotated[shown, typer.Argument(metavar=name.upper(), help=words)])
    flag = f"--{name.replace('_', '-')}"
    if kind is bool:
        flag = f"{flag}/--no-{name.replace('_', '-')}" if default is True else flag
        return _parameter(name, Annotated[bool, typer.Option(flag, help=words)], bool(default))
    info = typer.Option(flag, help=words, metavar=metavar)
    if required:
        return _parameter(name, Annotated[shown, info])
    return _parameter(name, Annotated[shown | None, info], None)


def _choice(*values: str) -> Any:
    """The values of a field as a choice on the command line."""
    return StrEnum("Choice", [(value, value) for value in values])


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _core(annotation: Any) -> Any:
    """The type below Annotated and optional."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, UnionType):
            annotation = next(each for each in get_args(annotation) if each is not type(None))
        else:
            return annotation


_MOMENTS = ("datetime", "AwareDatetime")
_WORKED_OUT = {"InfusionRecorded": ("findings",)}
"""Fields that the service fills."""

_COMMON = {
    "database": (DatabaseOption, None),
    "expected_version": (VersionOption, None),
    "reason": (ReasonOption, None),
    "key": (KeyOption, None),
    "as_json": (JsonOption, False),
}


def _command(name: str, made: tuple[str, str]) -> Any:
    """The command that makes a record, its options read off the record's fields."""
    from escalation.conduct import records

    model: Any = getattr(records, made[0])
    fields = {
        key: field
        for key, field in model.model_fields.items()
        if key not in ("type", "reopened", *_WORKED_OUT.get(made[0], ()))
    }
    parameters = [_parameter("trial", TrialArgument)]
    for key, field in fields.items():
        required = field.is_required()
        default = inspect.Parameter.empty if required else field.default
        positional = required and key in ("participant", "query", "committee")
        parameters.append(_option(key, _hinted(model, key), default, positional))
    parameters += [_parameter(key, kind, default) for key, (kind, default) in _COMMON.items()]

    def run(**given: Any) -> None:
        common = {key: given.pop(key) for key in _COMMON}
        trial = given.pop("trial")
        with signed_in(common["database"]) as (conduct, token):
            state = conduct.state(token, trial)
            values = {
                k: _value(k, _core(_hinted(model, k)), v, state, conduct) for k, v in given.items() if v is not None
            }
            if name == "reopen":
                values["reopened"] = True
            receipt = conduct.record(
                token,
                trial,
                model.model_validate(values),
                expected_version=common["expected_version"],
                reason=common["reason"],
                key=common["key"],
            )
        found = receipt.entries[-1].payload.get("findings", [])
        print_receipt(receipt, common["as_json"], {"findings": found}, "\n".join(f"noted: {each}" for each in found))

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__doc__ = made[1]
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    alone.command(name, help=made[1])(run)
    return typer.main.get_command(alone)


def _hinted(model: Any, name: str) -> Any:
    return model.model_fields[name].annotation


def _value(name: str, kind: Any, given: Any, state: ConductState, conduct: Conduct) -> Any:
    """What was typed, as the record wants it; times without an offset are the site's."""
    now = conduct.accounts.now()
    if name == "answers":
        return read_json(given)
    if isinstance(given, StrEnum):
        return given.value
    if getattr(kind, "__name__", "") == "date":
        return read_day(given, now.astimezone(state.zone).date())
    if getattr(kind, "__name__", "") in _MOMENTS:
        return read_moment(given, state.zone, now)
    return given


def register(app: typer.Typer, prefix: str = "") -> None:
    """Put the commands made from records into the list; their options are read off the record when one is called."""
    for name, (_, line) in RECORDS.items():
        group, _, last = name.rpartition(" ")
        if group == prefix:
            app.command(last, help=line)(_listed())


def _listed() -> Callable[[], None]:
    def listed() -> None:
        raise AssertionError("a command made from a record is made when it is called")

    return listed
