"""The SDTM-shaped export as files: a CSV file for every domain, and a README that says what is sponsor-defined."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from escalation import safe_text
from escalation.conduct import records as r
from escalation.conduct.book import Book
from escalation.conduct.ledger import Entry
from escalation.conduct.sdtm import sdtm_frames
from escalation.conduct.sdtm_check import check_sdtm

README: Final = """{trial}: an export in the shape of SDTM (SDTMIG 3.4)
{notice}
Made from {version} ledger entries, head {head},
study {study_hash}, software escalation {software}. Conformance is not claimed: validate with CDISC CORE.
{check}

Standard
  Dates are ISO 8601 in the site's time with its offset from UTC ({zone}). Study day 1 is the day of the first
  infusion, the day before it is -1, there is no day 0. Partial dates have no study day.
  Texts that a spreadsheet could calculate have an apostrophe before them; characters that hide or reverse text are
  written out as <U+202E>.

Sponsor-defined
  USUBJID is the trial and the participant's code. SITEID and COUNTRY are given at export; ZZZ: not recorded.
  ARMCD is D and F with the dose and frequency level; ARM is the planned regimen, ACTARM the same once treated.
  DS   DLT WINDOW COMPLETED, NOT EVALUABLE FOR DLT and ELIGIBILITY CRITERIA MET are the sponsor's milestones. Where no
       own date is recorded, DSSTDTC is the time of recording.
  EC   as collected: ECDOSE is the cells given, in 10^6; a missed infusion has ECOCCUR N and its reason in ECREASOC.
  EX   derived: cells per kilogram from the cells and the body weight, empty where one of them is missing.
  AE   one row an event; AETOXGR is the highest CTCAE grade. AEDECOD is the CTCAE term: MedDRA is licensed and not used.
       The seriousness flags are read from the recorded reasons. Causality is on five levels.
  SUPPAE  AEDLT: Y adjudicated as a DLT, N not, U proposed and open. AEDLTADJ names the adjudications, AEGRHIST holds
       every grade with the day it began; AEAWDTC and AERPDTC are awareness and report of a serious event.
  LB   LBTESTCD is made from the analyte's name. LBLOBXFL marks the last value before the first infusion.
  CM   transfusions. SV and TV: VISITNUM follows the planned day; visits outside the plan have 9001 and more.
  IE   criteria not met; TI holds the trial's criteria where they come with the software, else the findings as recorded.
  DV   deviations of participants; DVSTDTC is the time of recording. Deviations of the trial as a whole: {general}.
  ADSL DLTEVLFL: counts for the decision, empty while the window is open. DLTFL: an adjudicated DLT.
       WINCMPFL: the window was followed to its end. DLTSTAT: what the participant counts as.

Not collected
  SEX is U; age, race, route and action taken are not in the ledger. RS, VS, FA and DD are not exported.
"""


def write_sdtm(
    folder: str | os.PathLike[str], entries: Sequence[Entry] | Book, *, site: str = "01", country: str = "ZZZ"
) -> tuple[Path, ...]:
    """The domains as CSV files in a new folder, with a README that says what is sponsor-defined; whole or not at all.

    What the checker finds is written into the README; an export with faults is still an export.
    """
    book = Book.of(entries)
    frames = sdtm_frames(book, site=site, country=country)
    faults = check_sdtm(frames)
    check = "\n".join(["Structure checked: " + (f"{len(faults)} faults" if faults else "no faults"), *map(str, faults)])
    general = sum(record.participant is None for _, record in book.all_of(r.Deviation))
    about = {**book.provenance, "notice": book.provenance["notices"], "check": check}
    readme = README.format(**about, general=f"{general}, in the listings" if general else "none")
    return safe_text.write_frames(folder, {name.lower(): frame for name, frame in frames.items()}, readme)
