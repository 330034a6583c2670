"""An export in the shape of SDTM: a trial in standard domains with standard variable names.

Domains follow SDTMIG 3.4 as far as the ledger holds what they ask for; what is the sponsor's own, or
not collected, is said in the README beside the files. Whether a submission conforms is for a validator
with the current rules (CDISC CORE) to say, not for this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Final

import pandas as pd

from escalation import safe_text
from escalation.conduct import records as r
from escalation.conduct.book import Book, Row
from escalation.conduct.ledger import Entry
from escalation.conduct.listings import grade_history
from escalation.conduct.sdtm_domains import DOMAINS, identifiers, short_names, variables
from escalation.conduct.sdtm_trial_design import TREATMENT, TrialDesign
from escalation.conduct.state import Person
from escalation.conduct.units import UnitError, convert

_SERIOUS: Final = {
    "AESDTH": "death died fatal",
    "AESLIFE": "life",
    "AESHOSP": "hospital hospitalisation hospitalization",
    "AESDISAB": "disability disab incapacity",
    "AESCONG": "congenital",
    "AESMIE": "important",
}
_LEFT: Final = {
    "withdrew_consent": "WITHDRAWAL OF CONSENT",
    "withdrew_study": "WITHDRAWAL BY SUBJECT",
    "lost": "LOST TO FOLLOW-UP",
    "died": "DEATH",
    "completed": "COMPLETED",
}


class _Export(TrialDesign):
    """The rows of every domain of one trial."""

    def subject(self, code: str) -> str:
        return f"{self.book.trial}-{code}"

    def day(self, code: str, when: str | date | None) -> int | None:
        """Study day from the first infusion, day 1; there is no day 0. None for a partial date."""
        first = self.people[code].first_infusion
        text = when.isoformat() if isinstance(when, date) else when or ""
        if first is None or not re.match(r"\d{4}-\d\d-\d\d", text):
            return None
        days = (date.fromisoformat(text[:10]) - self.book.local_day(first)).days
        return days + 1 if days >= 0 else days

    def arm(self, person: Person) -> tuple[str, str]:
        index = self.book.regimen(person)
        return ("", "") if index is None else self.arms()[index]

    def dm(self) -> Iterator[Row]:
        for person in self.people.values():
            given = [each for each in person.infusions.values() if each.given and each.started_at]
            starts = sorted(self.book.local(each.started_at) or "" for each in given)
            last = max((self.book.local(each.ended_at or each.started_at) or "" for each in given), default=None)
            died = person.left is not None and person.left.how == "died"
            code, name = self.arm(person)
            never = "SCREEN FAILURE" if person.failed else "NOT ASSIGNED"
            yield {
                "USUBJID": self.subject(person.code),
                "SUBJID": person.code,
                "SITEID": self.site,
                "SEX": "U",
                "COUNTRY": self.country,
                "RFSTDTC": starts[0] if starts else None,
                "RFENDTC": last,
                "RFXSTDTC": starts[0] if starts else None,
                "RFXENDTC": last,
                "RFICDTC": self.book.local(person.consent.consented_at) if person.consent else None,
                "RFPENDTC": person.left.on.isoformat() if person.left else None,
                "DTHDTC": person.left.on.isoformat() if died and person.left else None,
                "DTHFL": "Y" if died else None,
                "ARMCD": code or None,
                "ARM": name or None,
                "ACTARMCD": code if starts else None,
                "ACTARM": name if starts else None,
                "ARMNRS": None if starts else "ASSIGNED, NOT TREATED" if code else never,
            }

    def ds(self) -> Iterator[Row]:
        milestone, event = "PROTOCOL MILESTONE", "DISPOSITION EVENT"
        for entry, record in self.book.current:
            own = self.book.local(entry.effective if "T" in entry.effective else entry.recorded_at)
            found: tuple[str, str, str, str | None, str | None] | None = None
            if isinstance(record, r.Consented):
                when = self.book.local(record.consented_at)
                found = (milestone, "INFORMED CONSENT OBTAINED", f"consent form {record.form_version}", when, None)
            elif isinstance(record, r.EligibilityRecorded) and record.verdict == "eligible":
                found = (milestone, "ELIGIBILITY CRITERIA MET", "eligible", own, None)
            elif isinstance(record, r.Assigned):
                found = (
                    milestone,
                    "ENROLLED",
                    f"assigned to {self.arm(self.people[record.participant])[1]}",
                    own,
                    None,
                )
            elif isinstance(record, r.WindowCompleted):
                found = (milestone, "DLT WINDOW COMPLETED", "DLT window completed", record.on.isoformat(), None)
            elif isinstance(record, r.NotEvaluable):
                found = (milestone, "NOT EVALUABLE FOR DLT", record.cause, own, None)
            elif isinstance(record, r.ScreenFailed):
                found = (event, "SCREEN FAILURE", record.description, own, "STUDY PARTICIPATION")
            elif isinstance(record, r.Discontinued):
                found = (event, "TREATMENT DISCONTINUED", record.cause, record.on.isoformat(), "STUDY TREATMENT")
            elif isinstance(record, r.LeftStudy):
                words, decoded = record.cause or record.how.replace("_", " "), _LEFT[record.how]
                found = (event, decoded, words, record.on.isoformat(), "STUDY PARTICIPATION")
            if found is not None:
                category, decoded, term, when, within = found
                row = {"DSTERM": term, "DSDECOD": decoded, "DSCAT": category, "DSSCAT": within, "DSSTDTC": when}
                dates = {"DSDTC": self.book.local(entry.recorded_at), "DSSTDY": self.day(record.participant, when)}
                yield {"USUBJID": self.subject(record.participant), **row, **dates}

    def ec(self) -> Iterator[Row]:
        for _, record in self.book.all_of(r.InfusionRecorded):
            start, end = self.book.local(record.started_at), self.book.local(record.ended_at)
            yield {
                "USUBJID": self.subject(record.participant),
                "ECSPID": str(record.number),
                "ECTRT": TREATMENT,
                "ECPRESP": "Y",
                "ECOCCUR": "Y" if record.given else "N",
                "ECREASOC": None if record.given else record.interruption or None,
                "ECDOSE": record.cells_million if record.given else None,
                "ECDOSU": "10^6 CELLS" if record.given and record.cells_million is not None else None,
                "ECDOSFRM": "SUSPENSION",
                "ECLOT": record.lot or None,
                "ECSTDTC": start,
                "ECENDTC": end,
                "ECSTDY": self.day(record.participant, start),
                "ECENDY": self.day(record.participant, end),
            }

    def ex(self) -> Iterator[Row]:
        for _, record in self.book.all_of(r.InfusionRecorded):
            if not record.given:
                continue
            start, end = self.book.local(record.started_at), self.book.local(record.ended_at)
            known = record.cells_million is not None and record.weight_kg is not None
            yield {
                "USUBJID": self.subject(record.participant),
                "EXSPID": str(record.number),
                "EXTRT": TREATMENT,
                "EXDOSE": round((record.cells_million or 0) / (record.weight_kg or 1), 6) if known else None,
                "EXDOSU": "10^6 CELLS/KG" if known else None,
                "EXDOSFRM": "SUSPENSION",
                "EXLOT": record.lot or None,
                "EXADJ": record.interruption or None,
                "EXSTDTC": start,
                "EXENDTC": end,
                "EXSTDY": self.day(record.participant, start),
                "EXENDY": self.day(record.participant, end),
            }

    def ae(self) -> Iterator[Row]:
        for _, record in self.book.all_of(r.AdverseEvent):
            grades = grade_history(self.people[record.participant], record.event)
            worst = max(grade for _, grade in grades)
            begun, ended = _partial(record.onset), _partial(record.ended)
            reasons = " ".join(record.serious_because).lower()
            over = ended is not None or grades[-1][1] == 0
            flags = {name: any(word in reasons for word in words.split()) for name, words in _SERIOUS.items()}
            flags["AESDTH"] = flags["AESDTH"] or worst == 5
            yield {
                "USUBJID": self.subject(record.participant),
                "AESPID": record.event,
                "AETERM": record.verbatim,
                "AEDECOD": record.term.upper(),
                "AESER": "Y" if record.serious else "N",
                **{name: "Y" if record.serious and flag else "N" for name, flag in flags.items()},
                "AEREL": record.attribution.upper(),
                "AEOUT": "FATAL" if worst == 5 else "RECOVERED/RESOLVED" if over else "NOT RECOVERED/NOT RESOLVED",
                "AETOXGR": str(worst),
                "AESTDTC": begun,
                "AEENDTC": ended,
                "AESTDY": self.day(record.participant, begun),
                "AEENDY": self.day(record.participant, ended),
            }

    def suppae(self, ae: pd.DataFrame) -> Iterator[Row]:
        numbers = {(row.USUBJID, row.AESPID): row.AESEQ for row in ae.itertuples()}
        for _, record in self.book.all_of(r.AdverseEvent):
            person, subject = self.people[record.participant], self.subject(record.participant)
            about = {name: each for name, each in person.adjudications.items() if record.event in each.proposed.events}
            found = [each.outcome for each in about.values()]
            dlt = "Y" if "dlt" in found else "U" if None in found else "N"
            grades = "; ".join(f"{on} {grade}" for on, grade in grade_history(person, record.event))
            sent = person.reported.get(record.event)
            values = [
                ("AEDLT", "Dose-Limiting Toxicity", dlt, "Assigned", "ADJUDICATION COMMITTEE"),
                ("AEDLTADJ", "DLT Adjudications", ", ".join(about), "Assigned", "ADJUDICATION COMMITTEE"),
                ("AEGRHIST", "Toxicity Grades with Start Dates", grades, "Collected", None),
                ("AEAWDTC", "Awareness of Serious Event", self.book.local(record.aware_at), "Collected", None),
                ("AERPDTC", "Report of Serious Event", self.book.local(sent), "Collected", None),
            ]
            for name, label, value, origin, evaluator in values:
                if value:
                    row = {"QNAM": name, "QLABEL": label, "QVAL": value, "QORIG": origin, "QEVAL": evaluator}
                    at = {"IDVAR": "AESEQ", "IDVARVAL": str(numbers[subject, record.event])}
                    yield {"RDOMAIN": "AE", "USUBJID": subject, **at, **row}

    def lb(self) -> Iterator[Row]:
        values = list(self.book.all_of(r.Laboratory))
        codes = short_names([record.analyte for _, record in values], 8)
        baseline: dict[tuple[str, str], tuple[datetime, int]] = {}
        for entry, record in values:
            first, key = self.people[record.participant].first_infusion, (record.participant, record.analyte)
            if first is not None and record.sampled_at < first:
                baseline[key] = max(baseline.get(key, (record.sampled_at, entry.seq)), (record.sampled_at, entry.seq))
        for entry, record in values:
            try:
                exact, unit = convert(record.analyte.strip().lower(), record.value, record.unit)
                standard = float(exact)
            except UnitError:
                standard, unit = record.value, record.unit
            when, last = self.book.local(record.sampled_at), baseline.get((record.participant, record.analyte))
            yield {
                "USUBJID": self.subject(record.participant),
                "LBTESTCD": codes[record.analyte],
                "LBTEST": record.analyte,
                "LBORRES": f"{record.value:.12g}",
                "LBORRESU": record.unit,
                "LBSTRESC": f"{standard:.12g}",
                "LBSTRESN": standard,
                "LBSTRESU": unit or None,
                "LBLOBXFL": "Y" if last is not None and last[1] == entry.seq else None,
                "LBDTC": when,
                "LBDY": self.day(record.participant, when),
            }

    def cm(self) -> Iterator[Row]:
        for _, record in self.book.all_of(r.Transfusion):
            when = self.book.local(record.given_at)
            row = {"CMTRT": record.product.replace("_", " ").upper(), "CMCAT": "TRANSFUSION", "CMDOSE": record.units}
            row |= {"CMDOSU": "UNIT", "CMSTDTC": when, "CMSTDY": self.day(record.participant, when)}
            yield {"USUBJID": self.subject(record.participant), **row}

    def sv(self) -> Iterator[Row]:
        newest = {(x.participant, x.visit): x for _, x in self.book.all_of(r.Visit)}
        for record in newest.values():
            when = record.done_on.isoformat() if record.done_on else None
            day = self.day(record.participant, when)
            row = {"VISITNUM": self.visits[record.visit], "VISIT": record.visit, "SVOCCUR": "Y" if when else "N"}
            row |= {"SVPRESP": "Y" if self.visits[record.visit] < 9001 else None}
            row |= {"SVREASOC": record.missed_because or None, "SVSTDTC": when, "SVENDTC": when}
            yield {"USUBJID": self.subject(record.participant), **row, "SVSTDY": day, "SVENDY": day}

    def rs(self) -> Iterator[Row]:
        for _, record in self.book.all_of(r.ResponseRecorded):
            when = record.on.isoformat()
            row = {"RSTESTCD": "OVRLRESP", "RSTEST": "Overall Response", "RSCAT": record.criteria}
            row |= {"RSORRES": "RESPONSE", "RSSTRESC": "RESPONSE", "RSEVAL": record.assessor, "RSDTC": when}
            yield {"USUBJID": self.subject(record.participant), **row, "RSDY": self.day(record.participant, when)}

    def dv(self) -> Iterator[Row]:
        for entry, record in self.book.all_of(r.Deviation):
            if record.participant is not None:
                when = self.book.local(entry.recorded_at)
                row = {"DVTERM": record.description, "DVCAT": record.category, "DVSTDTC": when}
                subject = self.subject(record.participant)
                yield {"USUBJID": subject, **row, "DVSTDY": self.day(record.participant, when)}

    def ie(self) -> Iterator[Row]:
        known = self.criteria()
        for entry, record in self.book.all_of(r.EligibilityRecorded):
            for text in record.findings if record.verdict == "not_eligible" else ():
                name = text if text in known else next((each for each in known if text.startswith(f"{each}:")), None)
                short, wording = known[name] if name is not None else ("OTHER", f"INCLUSION\n{text}")
                category, _, words = wording.partition("\n")
                answer = "N" if category == "INCLUSION" else "Y"
                when = self.book.local(entry.recorded_at)
                row = {"IETESTCD": short, "IETEST": words, "IECAT": category, "IEORRES": answer, "IESTRESC": answer}
                subject = self.subject(record.participant)
                yield {"USUBJID": subject, **row, "IEDTC": when, "IEDY": self.day(record.participant, when)}

    def adsl(self) -> Iterator[Row]:
        flag = {"dlt": "Y", "complete": "Y", "not_evaluable": "N", "untreated": "N"}
        for person in self.people.values():
            code, name = self.arm(person)
            first, outcome = self.book.local(person.first_infusion), person.outcome
            yield {
                "USUBJID": self.subject(person.code),
                "SUBJID": person.code,
                "SITEID": self.site,
                "ARMCD": code or None,
                "ARM": name or None,
                "TRT01P": name or None,
                "TRT01A": name if first else None,
                "TRTSDTM": first,
                "TRTSDT": first[:10] if first else None,
                "STAGE": person.assigned.stage if person.assigned else None,
                "ROLE": person.assigned.role if person.assigned else None,
                "ENRLFL": "Y" if person.assigned else "N",
                "SAFFL": "Y" if first else "N",
                "DLTEVLFL": flag.get(outcome),  # empty while the window is open
                "DLTFL": "Y" if outcome == "dlt" else "N",
                "WINCMPFL": "Y" if person.completed else None if outcome == "pending" else "N",
                "DLTSTAT": outcome.upper().replace("_", " "),
                "NEVALRS": person.excluded or None,
                "DTHFL": "Y" if person.left is not None and person.left.how == "died" else None,
            }


def sdtm_frames(entries: Sequence[Entry] | Book, *, site: str = "01", country: str = "ZZZ") -> dict[str, pd.DataFrame]:
    """The domains of a trial by their names, and an ADSL-like frame.

    Parameters
    ----------
    site, country
        What the ledger does not hold: the site's number, and its country by ISO 3166-1 alpha-3.
    """
    book = Book.of(entries)
    if book.state.study is None:
        raise safe_text.ExportError(f"trial {book.trial} is not opened, so there is no protocol to export under")
    export, made = _Export(book, site, country), dict[str, pd.DataFrame]()
    for domain in DOMAINS:
        rows = list(export.suppae(made["AE"]) if domain == "SUPPAE" else getattr(export, domain.lower())())
        made[domain] = book.frame(" ".join(variables(domain)), _numbered(domain, rows, book.trial))
    return made


def _numbered(domain: str, rows: list[Row], trial: str) -> list[Row]:
    """Rows in the order of participants, with identifiers and --SEQ."""
    number = f"{domain}SEQ"
    with_sequence = number in DOMAINS[domain][0].split() and domain != "TS"
    counts: dict[str, int] = {}
    done = []
    for row in sorted(rows, key=lambda each: str(each.get("USUBJID", ""))):
        head: Row = {"STUDYID": trial} | ({"DOMAIN": domain} if "DOMAIN" in identifiers(domain) else {})
        if with_sequence:
            counts[row["USUBJID"]] = counts.get(row["USUBJID"], 0) + 1
            head[number] = counts[row["USUBJID"]]
        done.append(head | row)
    return done


def _partial(day: str | None) -> str | None:
    return None if day in (None, "", "unknown") else day
