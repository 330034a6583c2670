"""A conducted trial on the screen: its status as a ward needs it, and its audit trail."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from escalation.conduct.ledger import Entry
from escalation.conduct.outlook import day_words

MOST_LINES = 12
"""Urgent lines on the screen; all of them are in the JSON form."""
_LOUD = {
    "serious_late",
    "serious_due",
    "suspended",
    "review_due",
    "contradicted",
    "adjudicate",
    "consider_dlt",
    "contradiction",
}


def print_status(console: Console, form: dict[str, Any]) -> None:
    """The trial on a day, most urgent first."""
    now = datetime.fromisoformat(form["now"])
    console.print(Text(f"{form['trial']}: {form['title']}", style="bold"))
    console.print(Text(f"{day_words(now.date())} {now:%H:%M} {form['zone']}, entry {form['version']}", style="dim"))
    if form["closed"]:
        console.print(Text(f"CLOSED: {form['closed']}", style="bold"))
    console.print()
    for task in form["tasks"][:MOST_LINES]:
        console.print(Text(f"! {task['text']}", style="bold red" if task["kind"] in _LOUD else "yellow"))
    more = len(form["tasks"]) - MOST_LINES
    if more > 0:
        console.print(Text(f"  and {more} more; all of them with --json", style="dim"))
    if not form["tasks"]:
        console.print(Text("Nothing is due.", style="green"))
    _print_people(console, form["participants"])
    _print_next(console, form)
    for notice in form["notices"]:
        console.print(Text(f"\n{notice}", style="bold red"))


def _print_people(console: Console, people: Sequence[dict[str, Any]]) -> None:
    """Participants under way as rows, those who are through in one line for each way of ending."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("participant", "status", "level", "day", "infusions", "next"):
        table.add_column(column, justify="right" if column == "day" else "left")
    through: dict[str, list[str]] = {}
    for each in people:
        if each["outcome"] not in ("pending", "untreated") or each["status"] in _THROUGH:
            through.setdefault(each["status"], []).append(each["participant"])
            continue
        day = "" if each["day"] is None else f"{each['day']} of {each['last_day']}"
        day = "over" if each["day"] is not None and each["day"] > each["last_day"] else day
        count = f"{each['infusions_given']} of {each['infusions_planned']}" if each["infusions_planned"] else ""
        table.add_row(each["participant"], each["status"], each["level"] or "", day, count, Text(each["next"]))
    if table.row_count:
        console.print()
        console.print(table)
    for status, codes in through.items():
        console.print(Text(f"{status}: {', '.join(codes)}", style="dim"))


_THROUGH = {"screen failed", "withdrew consent", "withdrew study", "lost", "died", "completed"}


def _print_next(console: Console, form: dict[str, Any]) -> None:
    """The open cohort, the next assignment, and the recommendation with its look-ahead."""
    cohort, following, advice = form["cohort"], form["next_assignment"], form["recommendation"]
    console.print()
    if cohort["stage"] == "closed":
        console.print(Text("No regimen is open.", style="bold"))
    else:
        taken = f"{cohort['places'] - cohort['open_places']} of {cohort['places']} places taken"
        stage = " (expansion)" if cohort["stage"] == "expansion" else ""
        console.print(Text(f"Open{stage}: level {cohort['level']}, {cohort['regimen']}; {taken}", style="bold"))
    if following["permitted"]:
        console.print(Text("Next assignment: possible today", style="green"))
    else:
        earliest = following["earliest"]
        when = f"not before {day_words(date.fromisoformat(earliest))}" if earliest else "not possible now"
        console.print(Text(f"Next assignment: {when}"))
        for reason in following["reasons"]:
            console.print(Text(f"  {reason}"))
    beside = form.get("backfill")
    if beside is not None:
        levels = ", ".join(beside["open"])
        console.print(Text(f"Open for backfill: {f'level {levels}' if levels else 'none'}"))
        for each in beside["regimens"]:
            console.print(
                Text(
                    f"  level {each['level']}: {each['treated']} treated of at most {each['cap']} with backfill, "
                    f"{each['responses']} with a response; backfilled {each['evaluable']} evaluable, "
                    f"{each['dlts']} with a DLT, {each['pending']} pending",
                    style="dim",
                )
            )
    console.print(Text(f"The design says now: {advice['text']}"))
    for reason in advice["reasons"]:
        console.print(Text(f"  {reason['line']}", style="dim"))
    for line in advice["outlook"]:
        console.print(Text(f"  {line}"))
    if advice["outlook"] and cohort["last_window_ends"]:
        ends = day_words(date.fromisoformat(cohort["last_window_ends"]))
        console.print(Text(f"  the last window ends on {ends}{' at the earliest' if cohort['open_places'] else ''}"))


def audit_rows(entries: Iterable[Entry], participant: str | None = None, user: str | None = None) -> list[Entry]:
    """Entries about a participant or by a user, in the order recorded; corrections stand under both participants."""
    kept, queries = [], set()
    for entry in entries:
        payload = entry.payload
        about = payload.get("participant") == participant or participant in payload.get("participants", ())
        if entry.type == "query_raised" and about:
            queries.add(payload["query"])
        about = about or (entry.type in ("query_answered", "query_closed") and payload["query"] in queries)
        if (participant is None or about) and user in (None, entry.actor):
            kept.append(entry)
    return kept


def print_audit(console: Console, entries: Sequence[Entry]) -> None:
    """Who recorded what, when and why; corrections with the old and the new value."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("entry", "time (UTC)", "by", "what", "values"):
        table.add_column(column, justify="right" if column == "entry" else "left", overflow="fold")
    for entry in entries:
        why = f"; because: {entry.reason}" if entry.reason else ""
        table.add_row(
            str(entry.seq),
            entry.recorded_at[:19].replace("T", " "),
            Text(entry.actor),
            entry.type.replace("_", " "),
            Text(_values(entry) + why),
        )
    console.print(table)


_LARGE = frozenset({"study", "data", "advice", "signature"})


def _values(entry: Entry) -> str:
    payload = entry.payload
    if entry.type == "corrected":
        return f"entry {payload['entry']}, {payload['field']}: {payload['old']!r} becomes {payload['new']!r}"
    shown = []
    for name, value in payload.items():
        if name == "signature":
            shown.append(f"signed by {value['printed_name']}: {value['meaning']}")
        elif name not in _LARGE and value not in (None, "", [], False):
            shown.append(f"{name} {value[:12] if name.endswith('hash') else _plain(value)}")
    return ", ".join(shown)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "/".join(map(str, value.values()))
    return ", ".join(map(_plain, value)) if isinstance(value, list) else str(value)
