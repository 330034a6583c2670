"""The trial design in the SDTM-shaped export: arms, elements, visits, criteria and trial summary (TA to TS)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from escalation.conduct import records as r
from escalation.conduct.book import Book, Row
from escalation.conduct.criteria import criteria_names, load_criteria
from escalation.conduct.sdtm_domains import short_names
from escalation.conduct.visits import visit_schedule

TREATMENT: Final = "INVESTIGATIONAL PRODUCT"


class TrialDesign:
    """The rows of the domains about the trial itself, and what every other domain takes from them."""

    def __init__(self, book: Book, site: str, country: str) -> None:
        self.book, self.site, self.country = book, site, country
        self.people = book.state.people
        self.protocol = book.state.in_force().protocol
        self.visits = self._visit_numbers()

    def arms(self) -> list[tuple[str, str]]:
        grid = self.book.grid
        levels = [grid.regimen(k) for k in range(grid.size)]
        return [(f"D{each.dose}F{each.frequency}", grid.describe(k)) for k, each in enumerate(levels)]

    def _visit_numbers(self) -> dict[str, int]:
        """A number for every visit by its name: planned ones in the order of their days, others from 9001 on."""
        days: dict[str, int] = {}
        for schedule in self.protocol.grid.schedules:
            for visit in visit_schedule(schedule, window=self.protocol.dlt_window):
                days[visit.name] = min(days.get(visit.name, visit.day), visit.day)
        numbers = {name: place for place, name in enumerate(sorted(days, key=lambda name: (days[name], name)), 1)}
        others = dict.fromkeys(x.visit for _, x in self.book.all_of(r.Visit) if x.visit not in numbers)
        return numbers | {name: place for place, name in enumerate(others, 9001)}

    def criteria(self) -> dict[str, tuple[str, str]]:
        """Wording and category of the criteria by their short names: the trial's own, else the findings as recorded."""
        opened = self.book.state.opened
        if opened is not None and opened.criteria is not None and opened.criteria.lower() in criteria_names():
            known = load_criteria(opened.criteria).criteria
            short = short_names([each.id for each in known], 8)
            return {each.id: (short[each.id], f"{each.kind.upper()}\n{each.wording}") for each in known}
        said = [text for _, x in self.book.all_of(r.EligibilityRecorded) for text in x.findings]
        return {text: (f"CRIT{place:02d}", f"INCLUSION\n{text}") for place, text in enumerate(dict.fromkeys(said), 1)}

    def ti(self) -> Iterator[Row]:
        for short, wording in self.criteria().values():
            category, _, words = wording.partition("\n")
            yield {"IETESTCD": short, "IETEST": words, "IECAT": category, "TIVERS": "1"}

    def ta(self) -> Iterator[Row]:
        for code, name in self.arms():
            steps = [("SCRN", "Screening", "SCREENING"), (code, name, "TREATMENT"), ("FU", "Follow-up", "FOLLOW-UP")]
            for order, (element, words, epoch) in enumerate(steps, 1):
                branch = f"Assigned to {code} by the committee's signed decision" if order == 1 else None
                row = {"TAETORD": order, "ETCD": element, "ELEMENT": words, "TABRANCH": branch, "EPOCH": epoch}
                yield {"ARMCD": code, "ARM": name, **row}

    def te(self) -> Iterator[Row]:
        yield {"ETCD": "SCRN", "ELEMENT": "Screening", "TESTRL": "Informed consent", "TEENRL": "First infusion"}
        for k, (code, name) in enumerate(self.arms()):
            end = self.protocol.dlt_window.end(self.book.grid.schedule(k))
            rules = {"TESTRL": "First infusion", "TEENRL": "Last day of the DLT window", "TEDUR": f"P{end}D"}
            yield {"ETCD": code, "ELEMENT": name, **rules}
        yield {"ETCD": "FU", "ELEMENT": "Follow-up", "TESTRL": "Day after the DLT window"}

    def tv(self) -> Iterator[Row]:
        for k, (code, _) in enumerate(self.arms()):
            for visit in visit_schedule(self.book.grid.schedule(k), window=self.protocol.dlt_window):
                day = visit.day + 1 if visit.day >= 0 else visit.day
                rule = f"From {visit.opens} to {visit.closes} days after the first infusion"
                row = {"VISITNUM": self.visits[visit.name], "VISIT": visit.name, "VISITDY": day}
                yield {**row, "ARMCD": code, "TVSTRL": rule}

    def ts(self) -> Iterator[Row]:
        state, grid = self.book.state, self.book.grid
        study, rule = state.in_force(), self.protocol.rule
        treated = sum(person.first_infusion is not None for person in self.people.values())
        ended = next((entry for entry, _ in self.book.all_of(r.TrialClosed)), None)
        values: list[tuple[str, str, object]] = [
            ("TITLE", "Trial Title", study.title),
            ("REGID", "Registry Identifier", study.registry),
            ("SSTDTC", "Study Start Date", state.opened_on),
            ("SENDTC", "Study End Date", self.book.local_day(ended.recorded_at) if ended else None),
            ("PLANSUB", "Planned Number of Subjects", self.protocol.max_patients),
            ("ACTSUB", "Actual Number of Subjects", treated),
            ("NARMS", "Planned Number of Arms", grid.size),
            ("ADAPT", "Adaptive Design", "Y"),
            ("STOPRULE", "Study Stop Rules", rule.design.label),
            ("TRT", "Investigational Therapy or Treatment", TREATMENT),
            *(("DOSE", "Dose per Administration", f"{amount:g}") for amount in grid.doses),
            ("DOSU", "Dose Units", grid.unit),
            *(("DOSFRQ", "Dosing Frequency", "day " + ", ".join(map(str, days))) for days in grid.schedules),
        ]
        counts: dict[str, int] = {}
        for code, name, value in values:
            counts[code] = counts.get(code, 0) + 1
            text = str(value) if value not in (None, "") else None
            row = {"TSSEQ": counts[code], "TSPARMCD": code, "TSPARM": name, "TSVAL": text}
            yield row | {"TSVALNF": None if text else "UNK"}
