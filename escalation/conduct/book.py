"""The book of a trial: its ledger entries read once, for every listing and export made of them.

Times are the site's with their offset from UTC. Every frame says which entries it was made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any, TypeVar

import pandas as pd
from pydantic import TypeAdapter

from escalation import __version__
from escalation.conduct import records as r
from escalation.conduct.ledger import Entry, check_chain
from escalation.conduct.state import ConductState, Person, conduct_state, corrected
from escalation.conduct.treatment import dlt_window, regimen_of
from escalation.conduct.windows import DltWindow
from escalation.regimens import RegimenGrid
from escalation.safe_text import ExportError

R = TypeVar("R", bound=r.Record)
Row = dict[str, Any]
_RECORDS: TypeAdapter[Any] = TypeAdapter(r.AnyRecord)


@dataclass(frozen=True)
class Book:
    """The entries of one trial, read once for every listing and export made of them."""

    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        trials = sorted({entry.trial for entry in self.entries})
        if len(trials) != 1:
            found = f"entries of {', '.join(trials)}" if trials else "no entries"
            raise ExportError(f"an export is made of the entries of one trial, here are {found}")

    @classmethod
    def of(cls, entries: Sequence[Entry] | Book) -> Book:
        """The book of a trial's entries, from its first to its last."""
        return entries if isinstance(entries, Book) else cls(tuple(entries))

    @property
    def trial(self) -> str:
        return self.entries[0].trial

    @cached_property
    def state(self) -> ConductState:
        """The trial as its entries leave it."""
        return conduct_state(self.entries)

    @cached_property
    def current(self) -> list[tuple[Entry, Any]]:
        """Every entry with its record as it stands after corrections."""
        payloads = [payload for _, payload in corrected(self.entries)]
        pairs = zip(self.entries, payloads, strict=True)
        return [(entry, _RECORDS.validate_python({**payload, "type": entry.type})) for entry, payload in pairs]

    @property
    def grid(self) -> RegimenGrid:
        return self.state.in_force().protocol.grid

    def all_of(self, kind: type[R]) -> Iterator[tuple[Entry, R]]:
        """The entries of one kind with their records, in their order."""
        return ((entry, record) for entry, record in self.current if isinstance(record, kind))

    def local(self, moment: datetime | str | None) -> str | None:
        """A moment at the site, with its offset from UTC."""
        if moment is None:
            return None
        moment = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        return moment.astimezone(self.state.zone).isoformat(timespec="seconds")

    def local_day(self, moment: datetime | str) -> date:
        """The site's calendar day of a moment."""
        return date.fromisoformat((self.local(moment) or "")[:10])

    def regimen(self, person: Person) -> int | None:
        """Position of a participant's planned regimen, None before the assignment."""
        return regimen_of(self.state, person) if person.assigned is not None else None

    def schedule(self, person: Person) -> tuple[int, ...]:
        """Planned infusion days of a participant, empty before the assignment."""
        index = self.regimen(person)
        return () if index is None else self.grid.schedule(index)

    def window(self, person: Person) -> DltWindow | None:
        """The DLT window of a participant, None before the assignment."""
        return dlt_window(self.state, person) if person.assigned is not None else None

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What every frame says about itself: trial, version, head hash, study hash, software, notices."""
        last, report, state = self.entries[-1], check_chain(self.entries), self.state
        study_hash = state.opened.study_hash if state.opened is not None else ""
        study_hash = state.amendments[-1][1].study_hash if state.amendments else study_hash
        return {
            "trial": self.trial,
            "version": last.seq,
            "head": last.hash,
            "chain": str(report),
            "study": "" if state.study is None else f"{state.study.id}: {state.study.title}",
            "study_hash": study_hash,
            "zone": str(state.zone),
            "software": __version__,
            "recorded_with": ", ".join(dict.fromkeys(entry.software for entry in self.entries)),
            "notices": "" if state.study is None else " ".join(state.study.notices),
        }

    def frame(self, columns: str, rows: Sequence[Row]) -> pd.DataFrame:
        """A frame with the given columns, and where it comes from in its ``attrs``."""
        names = columns.split()
        assert all(set(row) <= set(names) for row in rows), {key for row in rows for key in row} - set(names)
        found = pd.DataFrame([[row.get(name) for name in names] for row in rows], columns=names, dtype=object)
        found.attrs.update(self.provenance)
        return found
