"""Data in: CSV files as REDCap and spreadsheets write them, checked whole before one record is made of them.

A file is taken or refused as a whole; a refusal lists every fault with its row, column, value, rule and
remedy. Nothing is guessed: dates are ISO 8601, numbers have a point, texts hold no hidden characters.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from escalation.conduct import records as r
from escalation.conduct.import_columns import COLUMNS, Column, Kind
from escalation.errors import EscalationError
from escalation.safe_text import hostile

MOST_BYTES: Final = 5_000_000
MOST_ROWS: Final = 20_000


@dataclass(frozen=True, slots=True)
class ImportFault:
    """One thing wrong in a file, or in a record: where, what it is, the rule it breaks and how to mend it.

    The header is row 1, as a spreadsheet counts. Row 0 is the file as a whole.
    """

    row: int
    column: str
    value: str
    rule: str
    remedy: str

    def __str__(self) -> str:
        where = f"row {self.row}" if self.row else "file"
        where += f", {self.column}" if self.column else ""
        shown = f" {self.value!r}" if self.value else ""
        return f"{where}:{shown} {self.rule} ({self.remedy})" if self.remedy else f"{where}:{shown} {self.rule}"


class ImportRefused(EscalationError):
    """A file or records of which nothing was taken; carries every fault."""

    def __init__(self, faults: Sequence[ImportFault]) -> None:
        super().__init__(tuple(faults))
        self.faults = tuple(faults)

    def __str__(self) -> str:
        shown = [f"  - {fault}" for fault in self.faults[:20]]
        more = len(self.faults) - len(shown)
        shown += [f"  and {more} more"] if more else []
        return "\n".join([f"nothing was imported; {len(self.faults)} things to mend", *shown])


# reading ----------------------------------------------------------------------------------------


def read_csv(kind: Kind, data: bytes, *, zone: ZoneInfo | None = None) -> list[r.Record]:
    """The records of a file in its order, infusions in the order of their times; raises ImportRefused.

    Parameters
    ----------
    kind
        What the file holds; ``COLUMNS`` documents its columns.
    data
        The file: UTF-8 with or without byte-order mark, separated by commas or semicolons.
    zone
        The site's time zone, in which times without an offset are read; without it such times are refused.
    """
    if kind not in COLUMNS:
        raise ImportRefused([ImportFault(0, "", str(kind), "is no kind of file", f"use one of {', '.join(COLUMNS)}")])
    table = _Table(kind, zone)
    made = table.records(_rows(data))
    if table.faults:
        raise ImportRefused(sorted(table.faults, key=lambda fault: fault.row))
    if not made:
        raise ImportRefused([ImportFault(0, "", "", "the file holds no records", "add rows below the header")])
    return [record for _, record in made]


def _rows(data: bytes) -> list[list[str]]:
    """The cells of a file; raises ImportRefused when they cannot be told."""

    def refuse(value: str, rule: str, remedy: str, row: int = 0) -> ImportRefused:
        return ImportRefused([ImportFault(row, "", value, rule, remedy)])

    if len(data) > MOST_BYTES:
        raise refuse(f"{len(data):,} bytes", f"is more than {MOST_BYTES:,}", "split the file")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise refuse("", "the file is UTF-16", "save it as CSV UTF-8")
    if b"\x00" in data:
        raise refuse("U+0000", "stands in the file", "save it as CSV UTF-8; a NUL belongs in no text")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise refuse(f"byte 0x{data[error.start]:02X}", "is not UTF-8", "save the file as CSV UTF-8", row) from None
    header = re.split(r"[\r\n]", text, maxsplit=1)[0]
    separator = ";" if ";" in header else ","
    if "\t" in header and "," not in header and ";" not in header:
        raise refuse("", "the header is separated by tabs", "save the file with commas or semicolons")
    rows: list[list[str]] = []
    try:
        for cells in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True):
            rows.append(cells)
            if len(rows) > MOST_ROWS + 1:
                raise refuse("", f"the file has more than {MOST_ROWS:,} rows", "split the file")
    except csv.Error as error:
        raise refuse("", f"the row cannot be read: {error}", "mend its quotation marks", len(rows) + 1) from None
    return rows


class _Table:
    """A file being read: its columns, and the faults found so far."""

    def __init__(self, kind: Kind, zone: ZoneInfo | None) -> None:
        self.kind, self.zone = kind, zone
        self.known = COLUMNS[kind]
        self.faults: list[ImportFault] = []
        self.seen: dict[tuple[Any, ...], int] = {}

    def fault(self, row: int, column: str, value: object, rule: str, remedy: str) -> None:
        text = str(value)
        self.faults.append(ImportFault(row, column, text if len(text) <= 80 else f"{text[:77]}...", rule, remedy))

    def records(self, rows: list[list[str]]) -> list[tuple[int, r.Record]]:
        header = [cell.strip() for cell in rows[0]] if rows else []
        self._check_header(header)
        if self.faults:  # without sound columns every further fault would be a consequence
            return []
        made: list[tuple[int, r.Record]] = []
        for number, cells in enumerate(rows[1:], 2):
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                rule = f"has {len(cells)} cells, the header {len(header)}"
                self.fault(number, "", "", rule, "quote texts that hold the separator")
                continue
            made += [(number, record) for record in self._record(number, dict(zip(header, cells, strict=True)))]
        return _in_time(made) if self.kind == "infusions" else made

    def _check_header(self, header: list[str]) -> None:
        for name in header:
            if name not in self.known:
                near = difflib.get_close_matches(name, self.known, n=1)
                remedy = f"did you mean {near[0]}?" if near else f"columns are {', '.join(self.known)}"
                self.fault(1, "", name, "is no column of this kind of file", remedy)
        for name in sorted({name for name in header if header.count(name) > 1}):
            self.fault(1, "", name, "stands twice in the header", "keep one")
        for column in self.known.values():
            if column.required and column.name not in header:
                self.fault(1, "", column.name, "is missing in the header", f"add it: {column.means}")

    def _record(self, row: int, cells: dict[str, str]) -> Iterator[r.Record]:
        before = len(self.faults)
        values = {name: self._value(row, self.known[name], cell) for name, cell in cells.items()}
        if len(self.faults) > before:
            return
        values = {name: value for name, value in values.items() if value is not None}
        for kind, payload in _BUILDERS[self.kind](self, row, values):
            try:
                yield kind.model_validate(payload)
            except ValidationError as error:
                for item in error.errors(include_url=False):
                    name = str(item["loc"][0]) if item["loc"] else ""
                    message = item["msg"].removeprefix("Value error, ")
                    means = self.known[name].means if name in self.known else "see the columns of this kind of file"
                    if item["type"] == "missing":
                        self.fault(row, name, "", "is empty", f"fill it in: {means}")
                    else:
                        rule = f"is refused: {message[:1].lower()}{message[1:]}"
                        self.fault(row, name, item.get("input", ""), rule, means)

    def once(self, row: int, column: str, value: str, *key: object) -> None:
        """Refuse what a row before says already."""
        first = self.seen.setdefault(key, row)
        if first != row:
            self.fault(row, column, value, f"stands in row {first} already", "keep one of the two")

    # cells --------------------------------------------------------------------------------

    def _value(self, row: int, column: Column, cell: str) -> Any:
        cell = cell.replace("\r\n", "\n")
        hidden = hostile(cell)
        if hidden:
            shown = "".join(each if each.isprintable() and not hostile(each) else "?" for each in cell)
            rule = f"holds {', '.join(hidden)}, which hides or damages text"
            self.fault(row, column.name, shown, rule, "type the text again")
            return None
        text = unicodedata.normalize("NFC", cell).strip()
        if not text:
            if column.required:
                self.fault(row, column.name, "", "is empty", f"fill it in: {column.means}")
            return None
        try:
            return _READERS[column.holds](text, column, self.zone)
        except _Unreadable as problem:
            self.fault(row, column.name, text, problem.rule, problem.remedy)
            return None


class _Unreadable(Exception):
    """A cell that does not hold what its column asks for."""

    def __init__(self, rule: str, remedy: str) -> None:
        super().__init__(rule, remedy)
        self.rule, self.remedy = rule, remedy


_ISO_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_ISO_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(:\d\d)?)\s?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_AMBIGUOUS = re.compile(r"\d{1,4}[/.]\d{1,2}[/.]\d{1,4}|\d{1,2}-\d{1,2}-\d{2,4}", re.ASCII)


def _day(text: str, column: Column, zone: ZoneInfo | None) -> date:
    if _AMBIGUOUS.match(text):
        raise _Unreadable("is ambiguous: day and month cannot be told apart", "write the date as 2027-03-01")
    if not _ISO_DAY.fullmatch(text):
        raise _Unreadable("is no date", "write the date as 2027-03-01")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise _Unreadable("is not in the calendar", "write a day that exists, as 2027-03-01") from None


def _time(text: str, column: Column, zone: ZoneInfo | None) -> datetime:
    remedy = "write the time as 2027-03-01T09:30+01:00"
    found = _ISO_TIME.fullmatch(text)
    if found is None:
        if _AMBIGUOUS.match(text):
            raise _Unreadable("is ambiguous: day and month cannot be told apart", remedy)
        raise _Unreadable("is no time", remedy)
    day, clock, _, offset = found.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{offset or ''}")
    except ValueError:
        raise _Unreadable("is not in the calendar", remedy) from None
    if moment.tzinfo is not None:
        return moment
    if zone is None:
        raise _Unreadable("does not say its offset from UTC", f"{remedy}, or name the site's time zone")
    early, late = moment.replace(tzinfo=zone), moment.replace(tzinfo=zone, fold=1)
    if early.utcoffset() != late.utcoffset():
        raise _Unreadable(f"does not exist once in {zone}: the clocks change", remedy)
    return datetime.fromisoformat(early.isoformat())  # with a fixed offset, as it will be recorded


def _number(text: str, column: Column, zone: ZoneInfo | None) -> float:
    if re.fullmatch(r"-?\d{1,12},\d+", text, re.ASCII):
        raise _Unreadable("has a comma", f"write {text.replace(',', '.')} if it is the decimal comma")
    if not re.fullmatch(r"-?\d{1,12}(\.\d{1,12})?", text, re.ASCII):
        raise _Unreadable("is no number", "write a plain number such as 12.5")
    return float(text)


def _whole(text: str, column: Column, zone: ZoneInfo | None) -> int:
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII):
        raise _Unreadable("is no whole number", "write a whole number such as 2")
    return int(text)


def _yes_no(text: str, column: Column, zone: ZoneInfo | None) -> bool:
    if text.lower() not in ("yes", "no", "1", "0"):
        raise _Unreadable("is neither yes nor no", "write yes or no")
    return text.lower() in ("yes", "1")


def _choice(text: str, column: Column, zone: ZoneInfo | None) -> str:
    if text not in column.choices:
        raise _Unreadable("is none of the choices", f"write one of {', '.join(column.choices)}")
    return text


def _partial(text: str, column: Column, zone: ZoneInfo | None) -> str:
    if text == "unknown" or re.fullmatch(r"\d{4}", text, re.ASCII):
        return text
    whole = f"{text}-01" if re.fullmatch(r"\d{4}-\d\d", text, re.ASCII) else text
    _day(whole, column, zone)
    return text


_READERS: Final[dict[str, Callable[[str, Column, ZoneInfo | None], Any]]] = {
    "text": lambda text, column, zone: text,
    "list": lambda text, column, zone: tuple(each.strip() for each in text.split("|") if each.strip()),
    "choice": _choice,
    "number": _number,
    "whole": _whole,
    "yes_no": _yes_no,
    "time": _time,
    "day": _day,
    "partial": _partial,
}


# rows to records --------------------------------------------------------------------------------

Payloads = Iterator[tuple[type[r.Record], dict[str, Any]]]


def _participant(table: _Table, row: int, values: dict[str, Any]) -> Payloads:
    code = {"participant": values["participant"]}
    table.once(row, "participant", values["participant"], values["participant"])
    yield r.Screened, code
    for one, other in (
        ("form_version", "consented_at"),
        ("consented_at", "form_version"),
        ("verdict", "source_document"),
        ("source_document", "verdict"),
    ):
        if one in values and other not in values:
            table.fault(row, other, "", f"is empty although {one} is given", "give both or none")
    if "findings" in values and "verdict" not in values:
        table.fault(row, "verdict", "", "is empty although findings are given", "give the verdict")
    if "form_version" in values and "consented_at" in values:
        yield r.Consented, code | {name: values[name] for name in ("form_version", "consented_at")}
    if "verdict" in values and "source_document" in values:
        answers = ({"imported": True, "source_document": values["source_document"]},)
        said = {"verdict": values["verdict"], "findings": values.get("findings", ()), "answers": answers}
        yield r.EligibilityRecorded, code | said
    if "screen_failure" in values:
        yield r.ScreenFailed, code | {"description": values["screen_failure"]}


def _infusion(table: _Table, row: int, values: dict[str, Any]) -> Payloads:
    table.once(row, "number", str(values["number"]), values["participant"], values["number"])
    if values["given"] and "started_at" not in values:
        table.fault(row, "started_at", "", "is empty", "fill it in: the start of an infusion that was given")
    if not values["given"] and "started_at" in values:
        table.fault(row, "started_at", values["started_at"], "is given for a missed infusion", "empty it or given")
    yield r.InfusionRecorded, values


def _adverse_event(table: _Table, row: int, values: dict[str, Any]) -> Payloads:
    key = (values["participant"], values["event"])
    if "regraded_on" not in values:
        table.once(row, "event", values["event"], *key)
        yield r.AdverseEvent, values
        return
    table.once(row, "regraded_on", values["regraded_on"].isoformat(), *key, values["regraded_on"])
    for name in values:
        if name not in ("participant", "event", "grade", "regraded_on"):
            table.fault(row, name, values[name], "stands in a row that changes a grade", "empty it")
    if key not in table.seen:
        table.fault(row, "event", values["event"], "has no row before that reports it", "put its first row before")
    yield r.Regraded, {"participant": key[0], "event": key[1], "grade": values["grade"], "on": values["regraded_on"]}


def _laboratory(table: _Table, row: int, values: dict[str, Any]) -> Payloads:
    key = (values["participant"], values["analyte"], values["sampled_at"])
    table.once(row, "sampled_at", values["sampled_at"].isoformat(), *key)
    yield r.Laboratory, values


_BUILDERS: Final[dict[str, Callable[[_Table, int, dict[str, Any]], Payloads]]] = {
    "participants": _participant,
    "infusions": _infusion,
    "adverse_events": _adverse_event,
    "laboratory": _laboratory,
}


def _in_time(made: list[tuple[int, r.Record]]) -> list[tuple[int, r.Record]]:
    """Infusions in the order of their starts; a missed one follows the participant's infusion before it."""
    numbered = sorted(made, key=lambda pair: (getattr(pair[1], "participant", ""), getattr(pair[1], "number", 0)))
    timed: list[tuple[float, int, tuple[int, r.Record]]] = []
    last: dict[str, float] = {}
    for place, pair in enumerate(numbered):
        code, start = getattr(pair[1], "participant", ""), getattr(pair[1], "started_at", None)
        last[code] = start.timestamp() if start is not None else last.get(code, float("inf"))
        timed.append((last[code], place, pair))
    return [pair for _, _, pair in sorted(timed, key=lambda each: each[:2])]
