"""The columns of import files: what a file of participants, infusions, events or laboratory values holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

Kind = Literal["participants", "infusions", "adverse_events", "laboratory"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an import file: what it holds, whether it may be empty, and in words what belongs there."""

    name: str
    holds: Literal["text", "choice", "number", "whole", "yes_no", "time", "day", "partial", "list"]
    means: str
    required: bool = False
    choices: tuple[str, ...] = ()


def _columns(*given: tuple[Any, ...]) -> dict[str, Column]:
    return {column.name: column for column in (Column(*each) for each in given)}


_CODE = ("participant", "text", "code of the participant", True)
_LEVELS = ("unrelated", "unlikely", "possible", "probable", "definite")
COLUMNS: Final[dict[str, dict[str, Column]]] = {
    "participants": _columns(
        _CODE,
        ("form_version", "text", "version of the consent form; with consented_at"),
        ("consented_at", "time", "when consent was given; with form_version"),
        ("verdict", "choice", "eligibility as assessed", False, ("eligible", "not_eligible", "incomplete")),
        ("source_document", "text", "where the eligibility assessment stands; with verdict"),
        ("findings", "list", "criteria that are not met, separated by |"),
        ("screen_failure", "text", "why the candidate does not enter the trial"),
    ),
    "infusions": _columns(
        _CODE,
        ("number", "whole", "number of the planned infusion, from 1", True),
        ("given", "yes_no", "yes, or no when it was missed", True),
        ("started_at", "time", "start; needed when given"),
        ("ended_at", "time", "end"),
        ("weight_kg", "number", "body weight used, in kg"),
        ("cells_million", "number", "cells infused, in 10^6"),
        ("lot", "text", "lot or bag"),
        ("viability_percent", "number", "viability, in per cent"),
        ("release_certificate", "text", "reference of the release certificate"),
        ("premedication_at", "time", "when premedication was given"),
        ("operator", "text", "who infused"),
        ("verifier", "text", "who verified"),
        ("interruption", "text", "interruption, or why it was missed"),
    ),
    "adverse_events": _columns(
        _CODE,
        ("event", "text", "code of the event, such as E1", True),
        ("regraded_on", "day", "empty in the first row of an event; in further rows the day the grade changed"),
        ("grade", "whole", "CTCAE grade, 1 to 5; 0 when a regraded event is over", True),
        ("verbatim", "text", "the event in the reporter's words"),
        ("term", "text", "CTCAE term"),
        ("onset", "partial", "day of onset as precise as known: 2027, 2027-03, 2027-03-01 or unknown"),
        ("ended", "partial", "day it ended, as precise as known"),
        ("attribution", "choice", "relatedness to the product", False, _LEVELS),
        ("serious", "yes_no", "yes or no"),
        ("serious_because", "list", "criteria of seriousness, separated by |"),
        ("aware_at", "time", "awareness of a serious event"),
        ("infusion", "whole", "number of the infusion it is linked to"),
    ),
    "laboratory": _columns(
        _CODE,
        ("analyte", "text", "what was measured", True),
        ("value", "number", "value", True),
        ("unit", "text", "unit", True),
        ("sampled_at", "time", "when the sample was taken", True),
    ),
}
"""The columns of every kind of file. All of them may be left out but the required ones."""


def describe(kind: Kind) -> str:
    """The columns of a kind of file in words, one a line, under the header line of an empty file."""
    columns = COLUMNS[kind].values()
    lines = [",".join(column.name for column in columns), ""]
    for column in columns:
        choices = f" ({', '.join(column.choices)})" if column.choices else ""
        lines.append(f"{column.name}: {column.means}{choices}{'; required' if column.required else ''}")
    return "\n".join(lines) + "\n"
