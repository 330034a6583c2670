"""A checker of the SDTM-shaped export: variables, keys, references between domains, dates and study days.

Whether a submission conforms is for a validator with the current rules (CDISC CORE) to say, not for this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import pandas as pd

from escalation.conduct.sdtm_domains import DOMAINS, identifiers, variables
from escalation.errors import Fault

_KEYS: Final = {
    "DM": "USUBJID",
    "ADSL": "USUBJID",
    "SUPPAE": "USUBJID IDVARVAL QNAM",
    "SV": "USUBJID VISITNUM",
    "TA": "ARMCD TAETORD",
    "TE": "ETCD",
    "TV": "ARMCD VISITNUM",
    "TI": "IETESTCD",
    "TS": "TSPARMCD TSSEQ",
}
_ISO = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d)?([+-]\d\d:\d\d)?)?)?)?", re.ASCII)


def check_sdtm(frames: Mapping[str, pd.DataFrame]) -> tuple[Fault, ...]:
    """What is wrong with the structure of exported frames; empty when nothing is.

    Required variables are there and not null, keys are unique, every USUBJID is in DM, every supplemental
    qualifier has its event, dates are ISO 8601, no study day is 0, short names are short.
    """
    faults = [Fault(name, "the frame is missing", "export it") for name in DOMAINS if name not in frames]
    known = set(frames["DM"]["USUBJID"]) if "DM" in frames and "USUBJID" in frames["DM"] else set()
    studies = {str(each) for frame in frames.values() if "STUDYID" in frame for each in frame["STUDYID"]}
    if len(studies) > 1:
        faults.append(Fault("STUDYID", f"several studies: {', '.join(sorted(studies))}", "export one trial at a time"))
    for domain, frame in frames.items():
        if domain not in DOMAINS:
            faults.append(Fault(domain, "the domain is unknown", f"domains are {', '.join(DOMAINS)}"))
            continue
        missing = [name for name in variables(domain) if name not in frame]
        faults += [Fault(f"{domain}.{name}", "the variable is missing", "add it") for name in missing]
        if not missing:
            faults += _check_domain(domain, frame, known)
    if not any(fault.problem == "the variable is missing" for fault in faults):
        faults += _check_references(frames)
    return tuple(faults)


def _check_domain(domain: str, frame: pd.DataFrame, known: set[Any]) -> Iterator[Fault]:
    for name in (*identifiers(domain), *DOMAINS[domain][1].split()):
        for place, value in enumerate(frame[name], 1):
            if _empty(value):
                yield Fault(f"{domain}.{name}[{place}]", "a required value is empty", "record it at its source")
    keys = _KEYS.get(domain, f"USUBJID {domain}SEQ").split()
    twice = frame.duplicated(subset=keys, keep=False)
    for place in [number for number, again in enumerate(twice, 1) if again]:
        yield Fault(f"{domain}[{place}]", f"the key {', '.join(keys)} is not unique", "number the records")
    if "DOMAIN" in frame and set(frame["DOMAIN"]) - {domain}:
        yield Fault(f"{domain}.DOMAIN", f"is not {domain} throughout", f"write {domain}")
    for name in frame.columns:
        for place, value in enumerate(frame[name], 1):
            problem = None if _empty(value) else _problem(domain, str(name), value, known)
            if problem is not None:
                yield Fault(f"{domain}.{name}[{place}]", *problem)


def _problem(domain: str, name: str, value: Any, known: set[Any]) -> tuple[str, str] | None:
    if name == "USUBJID" and domain != "DM" and value not in known:
        return f"{value} is not in DM", "export participants and their records together"
    if name.endswith("DTC") or name in ("TRTSDT", "TRTSDTM"):
        try:
            good = _ISO.fullmatch(str(value)) is not None and (len(value) < 10 or bool(datetime.fromisoformat(value)))
        except ValueError:
            good = False
        if not good:
            return f"{value!r} is no ISO 8601 date", "write 2027-03-01 or 2027-03-01T09:30:00+01:00"
    if name.endswith("DY") and value == 0:
        return "there is no study day 0", "the day of the first infusion is 1, the day before it -1"
    if name.endswith("TESTCD") and not re.fullmatch(r"[A-Z][A-Z0-9]{0,7}", str(value)):
        return f"{value!r} is no short name", "use at most 8 capital letters and digits"
    if name.endswith("FL") and value not in ("Y", "N"):
        return f"{value!r} is neither Y nor N", "write Y or N"
    return None


def _check_references(frames: Mapping[str, pd.DataFrame]) -> Iterator[Fault]:
    if {"AE", "SUPPAE"} <= set(frames):
        events = {(row.USUBJID, str(row.AESEQ)) for row in frames["AE"].itertuples()}
        for place, row in enumerate(frames["SUPPAE"].itertuples(), 1):
            if (row.USUBJID, str(row.IDVARVAL)) not in events:
                yield Fault(f"SUPPAE[{place}]", f"AESEQ {row.IDVARVAL} is not in AE", "export both together")
    if {"DM", "TA", "TE"} <= set(frames):
        arms, elements = set(frames["TA"]["ARMCD"]), set(frames["TE"]["ETCD"])
        for place, arm in enumerate(frames["DM"]["ARMCD"], 1):
            if not _empty(arm) and arm not in arms:
                yield Fault(f"DM.ARMCD[{place}]", f"{arm} is not in TA", "export the trial design with it")
        for place, element in enumerate(frames["TA"]["ETCD"], 1):
            if element not in elements:
                yield Fault(f"TA.ETCD[{place}]", f"{element} is not in TE", "export the trial design with it")
    if {"SV", "TV"} <= set(frames):
        numbers = dict(zip(frames["TV"]["VISIT"], frames["TV"]["VISITNUM"], strict=True))
        for place, row in enumerate(frames["SV"].itertuples(), 1):
            if numbers.get(row.VISIT, row.VISITNUM) != row.VISITNUM:
                yield Fault(f"SV.VISITNUM[{place}]", f"{row.VISIT} has another number in TV", "use one number")


def _empty(value: Any) -> bool:
    return value is None or value == "" or value is pd.NA or (isinstance(value, float) and value != value)
