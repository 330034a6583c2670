"""The SDTM-shaped export: standard names, keys and dates; a checker that finds what is broken."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from argon2 import PasswordHasher

from escalation.conduct import records as r
from escalation.conduct.book import Book
from escalation.conduct.demo import TRIAL, Demo
from escalation.conduct.installation import open_conduct
from escalation.conduct.invented import HandClock
from escalation.conduct.ledger import Draft, Entry, chain
from escalation.conduct.passwords import Passwords
from escalation.conduct.sdtm import sdtm_frames
from escalation.conduct.sdtm_check import check_sdtm
from escalation.conduct.sdtm_domains import DOMAINS, variables
from escalation.conduct.sdtm_files import write_sdtm
from escalation.conduct.simulated import NOT_SIGNED
from escalation.conduct.state import proposal_hash
from escalation.safe_text import ExportError
from escalation.study import load

PROPOSED = r.DltProposed(participant="P1", adjudication="A1", events=("E1",), criterion="grade 4", onset="2026-03-30")
FIRST = datetime(2026, 3, 28, 1, 0, tzinfo=UTC)  # 09:00 at the site
ZONE = "Asia/Shanghai"


def ledger_of(
    *records: tuple[datetime, r.Record] | r.Record, zone: str = ZONE, criteria: str | None = None
) -> list[Entry]:
    """Entries of a trial that opens two days before the first infusion, chained without a database."""
    study = load("nct04014166")
    opened = r.TrialOpened(
        study=study.as_dict(), study_hash=study.hash, zone=zone, criteria=criteria, signature=dict(NOT_SIGNED)
    )
    entries: list[Entry] = []
    at = FIRST - timedelta(days=2)
    for each in (opened, *records):
        moment, record = each if isinstance(each, tuple) else (at, each)
        at = max(at, moment) + timedelta(seconds=1)
        payload = record.model_dump(mode="json", exclude={"type"})
        draft = Draft(record.type, payload, r.effective_of(record) or at.isoformat())
        entries.append(chain(entries[-1] if entries else None, draft, trial="EX-3", actor="tester", at=at))
    return entries


def enrolled(code: str, at: datetime = FIRST, *, infusions: int = 1) -> list[r.Record]:
    level = r.RegimenLevel(dose=1, frequency=1)
    made: list[r.Record] = [
        r.Screened(participant=code),
        r.Consented(participant=code, form_version="2.0", consented_at=at - timedelta(days=1)),
        r.EligibilityRecorded(participant=code, verdict="eligible"),
        r.Assigned(participant=code, regimen=level, role="regular", stage="escalation"),
    ]
    for number in range(1, infusions + 1):
        start = at + timedelta(days=7 * (number - 1))
        more = {"weight_kg": 60.0, "cells_million": 30.0, "lot": f"L{number}"}
        made.append(
            r.InfusionRecorded(
                participant=code, number=number, started_at=start, ended_at=start + timedelta(minutes=40), **more
            )
        )
    return made


def event(code: str, name: str, **more) -> r.AdverseEvent:
    values = {"verbatim": "=cmd", "term": "Fever", "grade": 2, "onset": "2026-03-30", "attribution": "possible"}
    return r.AdverseEvent(participant=code, event=name, **(values | more))


@pytest.fixture(scope="module")
def full() -> dict[str, pd.DataFrame]:
    """A trial with everything the domains hold."""
    day = timedelta(days=1)
    return sdtm_frames(
        ledger_of(
            *enrolled("P1", infusions=2),
            r.InfusionRecorded(participant="P1", number=3, given=False, interruption="fever"),
            event("P1", "E1", serious=True, serious_because=("hospitalisation",), aware_at=FIRST + 2 * day),
            r.Regraded(participant="P1", event="E1", grade=4, on=(FIRST + 4 * day).date()),
            r.SeriousEventReported(participant="P1", event="E1", sent_at=FIRST + 3 * day),
            event("P1", "E2", onset="2026-04", ended="2026-05-02"),
            event("P1", "E3", onset="unknown", grade=5),
            PROPOSED,
            r.DltDecided(
                participant="P1",
                adjudication="A1",
                outcome="dlt",
                attribution="probable",
                discussion="yes",
                proposal_hash=proposal_hash(PROPOSED),
                signature=dict(NOT_SIGNED),
            ),
            r.DltProposed(participant="P1", adjudication="A2", events=("E2",), criterion="other", onset="2026-04"),
            *(
                r.Laboratory(participant="P1", analyte=analyte, value=value, unit=unit, sampled_at=FIRST + shift)
                for analyte, value, unit, shift in (
                    ("haemoglobin", 9.1, "g/dL", -2 * day),
                    ("haemoglobin", 9.5, "g/dL", -1 * day),
                    ("haemoglobin", 8.7, "g/dL", 7 * day),
                    ("interleukin-6 high", 12.0, "pg/mL", day),
                    ("interleukin-6 low", 1.0, "pg/mL", day),
                )
            ),
            r.Transfusion(participant="P1", product="red_cells", units=2, given_at=FIRST + day),
            r.Visit(participant="P1", visit="W1", missed_because="ill"),
            r.Visit(participant="P1", visit="W2", done_on=(FIRST + 14 * day).date()),
            r.Visit(participant="P1", visit="extra", done_on=(FIRST + 15 * day).date()),
            r.ResponseRecorded(
                participant="P1", on=(FIRST + 14 * day).date(), criteria="ITP 2019", assessor="central reader"
            ),
            r.Deviation(participant="P1", category="visit", description="W1 missed"),
            r.Deviation(category="site", description="power cut"),
            r.Screened(participant="P2"),
            r.Consented(participant="P2", form_version="2.0", consented_at=FIRST),
            r.EligibilityRecorded(participant="P2", verdict="not_eligible", findings=("platelets too high", "age")),
            r.ScreenFailed(participant="P2", description="not eligible"),
            *enrolled("P3", infusions=0),
            *enrolled("P4", FIRST + 20 * day),
            r.NotEvaluable(participant="P4", cause="infusions missed"),
            r.Discontinued(participant="P4", cause="wish", on=(FIRST + 22 * day).date()),
            r.LeftStudy(participant="P4", how="died", on=(FIRST + 60 * day).date()),
            *enrolled("P5", FIRST + 30 * day, infusions=4),
            r.WindowCompleted(participant="P5", on=(FIRST + 59 * day).date()),
            *enrolled("P6", FIRST + 60 * day),
        )
    )


def rows(frame: pd.DataFrame, **where: str) -> list[dict]:
    return [row for row in frame.to_dict("records") if all(row[name] == value for name, value in where.items())]


def test_every_domain_has_its_variables_and_passes_the_checker(full):
    assert list(full) == list(DOMAINS)
    for domain, frame in full.items():
        assert list(frame.columns) == variables(domain)
        assert frame.attrs["trial"] == "EX-3"
        assert len(frame), domain
    assert check_sdtm(full) == ()


def test_subjects_and_their_planned_and_actual_regimens(full):
    by_code = {row["SUBJID"]: row for row in rows(full["DM"])}
    one = by_code["P1"]
    assert (one["STUDYID"], one["USUBJID"], one["DOMAIN"]) == ("EX-3", "EX-3-P1", "DM")
    assert (one["RFSTDTC"], one["ARMCD"], one["ACTARMCD"]) == ("2026-03-28T09:00:00+08:00", "D1F1", "D1F1")
    assert one["RFENDTC"] == "2026-04-04T09:40:00+08:00"
    assert [by_code[code]["ARMNRS"] for code in ("P1", "P2", "P3")] == [None, "SCREEN FAILURE", "ASSIGNED, NOT TREATED"]
    assert (by_code["P3"]["ARMCD"], by_code["P3"]["ACTARMCD"]) == ("D1F1", None)
    assert (by_code["P4"]["DTHFL"], by_code["P4"]["DTHDTC"]) == ("Y", "2026-05-27")


def test_disposition_keeps_treatment_and_participation_apart(full):
    found = [(row["DSDECOD"], row["DSCAT"], row["DSSCAT"]) for row in rows(full["DS"], USUBJID="EX-3-P4")]
    assert ("TREATMENT DISCONTINUED", "DISPOSITION EVENT", "STUDY TREATMENT") in found
    assert ("DEATH", "DISPOSITION EVENT", "STUDY PARTICIPATION") in found
    assert ("NOT EVALUABLE FOR DLT", "PROTOCOL MILESTONE", None) in found
    done = rows(full["DS"], USUBJID="EX-3-P5", DSDECOD="DLT WINDOW COMPLETED")
    assert done[0]["DSSTDY"] == 30


def test_exposure_as_collected_and_derived(full):
    collected, derived = rows(full["EC"], USUBJID="EX-3-P1"), rows(full["EX"], USUBJID="EX-3-P1")
    assert [row["ECOCCUR"] for row in collected] == ["Y", "Y", "N"]
    assert collected[2]["ECREASOC"] == "fever"
    assert [(row["EXDOSE"], row["EXDOSU"], row["EXSTDY"]) for row in derived] == [
        (0.5, "10^6 CELLS/KG", 1),
        (0.5, "10^6 CELLS/KG", 8),
    ]


def test_study_days_have_no_day_zero(full):
    assert [row["LBDY"] for row in rows(full["LB"], LBTESTCD="HGB")] == [-2, -1, 8]
    assert rows(full["DS"], USUBJID="EX-3-P1", DSDECOD="INFORMED CONSENT OBTAINED")[0]["DSSTDY"] == -1
    assert rows(full["CM"])[0]["CMSTDY"] == 2


def test_study_days_follow_the_calendar_of_the_site():
    late = datetime(2026, 3, 28, 23, 30, tzinfo=UTC)  # the day after at the site, twice across daylight saving
    for zone, day in (("Asia/Shanghai", "2026-03-29"), ("UTC", "2026-03-28"), ("Europe/Berlin", "2026-03-29")):
        frames = sdtm_frames(ledger_of(*enrolled("P1", late, infusions=2), zone=zone))
        assert frames["DM"]["RFSTDTC"][0][:10] == day
        assert list(frames["EX"]["EXSTDY"]) == [1, 8]


def test_events_with_their_qualifiers(full):
    one, two, three = rows(full["AE"], USUBJID="EX-3-P1")
    assert (one["AETOXGR"], one["AESER"], one["AESHOSP"], one["AESDTH"], one["AESTDY"]) == ("4", "Y", "Y", "N", 3)
    assert (two["AESTDTC"], two["AESTDY"], two["AEENDTC"], two["AEOUT"]) == (
        "2026-04",
        None,
        "2026-05-02",
        "RECOVERED/RESOLVED",
    )
    assert (three["AESTDTC"], three["AEOUT"]) == (None, "FATAL")
    dlt = {row["IDVARVAL"]: row["QVAL"] for row in rows(full["SUPPAE"], QNAM="AEDLT")}
    assert dlt == {"1": "Y", "2": "U", "3": "N"}
    assert rows(full["SUPPAE"], QNAM="AEGRHIST", IDVARVAL="1")[0]["QVAL"] == "2026-03-30 2; 2026-04-01 4"
    assert rows(full["SUPPAE"], QNAM="AERPDTC")[0]["QVAL"] == "2026-03-31T09:00:00+08:00"


def test_laboratory_values_in_standard_units_with_baseline(full):
    blood = rows(full["LB"], LBTESTCD="HGB")
    assert [(row["LBORRES"], row["LBSTRESN"], row["LBSTRESU"]) for row in blood] == [
        ("9.1", 91.0, "g/L"),
        ("9.5", 95.0, "g/L"),
        ("8.7", 87.0, "g/L"),
    ]
    assert [row["LBLOBXFL"] for row in blood] == [None, "Y", None]
    assert set(full["LB"]["LBTESTCD"]) == {"HGB", "INTERLEU", "INTERLE2"}


def test_visits_and_criteria_agree_with_the_trial_design(full):
    planned = {row["VISIT"]: row["VISITNUM"] for row in rows(full["TV"], ARMCD="D1F1")}
    found = {row["VISIT"]: (row["VISITNUM"], row["SVOCCUR"], row["SVREASOC"]) for row in rows(full["SV"])}
    assert found["W1"] == (planned["W1"], "N", "ill")
    assert found["W2"] == (planned["W2"], "Y", None)
    assert found["extra"][0] == 9001
    assert set(full["IE"]["IETESTCD"]) <= set(full["TI"]["IETESTCD"])
    assert [row["IEORRES"] for row in rows(full["IE"])] == ["N", "N"]
    assert set(full["DM"]["ARMCD"].dropna()) <= set(full["TA"]["ARMCD"])
    values = {row["TSPARMCD"]: row["TSVAL"] for row in rows(full["TS"])}
    assert (values["PLANSUB"], values["REGID"], values["NARMS"], values["ACTSUB"]) == ("24", "NCT04014166", "3", "4")
    assert [row["TSVAL"] for row in rows(full["TS"], TSPARMCD="DOSE")] == ["0.5", "1", "2"]


def test_the_trials_own_criteria_where_they_come_with_the_software():
    entries = ledger_of(
        r.Screened(participant="P1"),
        r.Consented(participant="P1", form_version="2.0", consented_at=FIRST - timedelta(days=2)),
        r.EligibilityRecorded(participant="P1", verdict="not_eligible", findings=("something else",)),
        criteria="nct07212335",
    )
    frames = sdtm_frames(entries)
    assert set(frames["TI"]["IECAT"]) == {"INCLUSION", "EXCLUSION"}
    assert frames["TI"]["IETESTCD"].is_unique
    assert rows(frames["IE"])[0]["IETESTCD"] == "OTHER"
    assert check_sdtm(frames) == ()


def test_the_adsl_like_frame_counts_as_the_decision_does(full):
    flags = {row["SUBJID"]: (row["DLTEVLFL"], row["DLTFL"], row["WINCMPFL"]) for row in rows(full["ADSL"])}
    assert flags == {
        "P1": ("Y", "Y", "N"),
        "P2": ("N", "N", "N"),
        "P3": ("N", "N", "N"),
        "P4": ("N", "N", "N"),
        "P5": ("Y", "N", "Y"),
        "P6": (None, "N", None),
    }


# the checker ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "column", "value", "said"),
    [
        ("AE", "AETERM", None, "AE.AETERM[1]: a required value is empty"),
        ("AE", "USUBJID", "EX-3-P99", "EX-3-P99 is not in DM"),
        ("AE", "AESEQ", 2, "the key USUBJID, AESEQ is not unique"),
        ("AE", "AESTDTC", "30/03/2026", "'30/03/2026' is no ISO 8601 date"),
        ("AE", "AESTDTC", "2026-02-30", "'2026-02-30' is no ISO 8601 date"),
        ("AE", "AESTDY", 0, "there is no study day 0"),
        ("AE", "DOMAIN", "EX", "AE.DOMAIN: is not AE throughout"),
        ("AE", "STUDYID", "EX-4", "several studies: EX-3, EX-4"),
        ("LB", "LBTESTCD", "haemoglobin", "is no short name"),
        ("SUPPAE", "IDVARVAL", "77", "AESEQ 77 is not in AE"),
        ("DM", "ARMCD", "D9F9", "D9F9 is not in TA"),
        ("DM", "USUBJID", "EX-3-P2", "the key USUBJID is not unique"),
        ("TA", "ETCD", "NONE", "NONE is not in TE"),
        ("SV", "VISITNUM", 77, "has another number in TV"),
        ("ADSL", "DLTFL", "YES", "'YES' is neither Y nor N"),
    ],
)
def test_the_checker_finds(full, domain, column, value, said):
    broken = full[domain].copy()
    broken.loc[0, column] = value
    found = "\n".join(str(fault) for fault in check_sdtm({**full, domain: broken}))
    assert said in found


def test_the_checker_finds_what_is_missing(full):
    found = [str(fault) for fault in check_sdtm({name: frame for name, frame in full.items() if name != "TV"})]
    assert found == ["TV: the frame is missing (export it)"]
    found = [str(fault) for fault in check_sdtm({**full, "AE": full["AE"].drop(columns="AETERM"), "XX": full["AE"]})]
    assert found[0] == "AE.AETERM: the variable is missing (add it)"
    assert found[1].startswith("XX: the domain is unknown")


# files ------------------------------------------------------------------------------------------


def test_the_demonstration_is_exported_whole(tmp_path):
    clock = HandClock()
    fast = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    conduct = open_conduct(str(tmp_path / "conduct.sqlite"), create=True, clock=clock, passwords=fast)
    Demo(conduct, clock).run()
    entries = conduct.ledger.entries(TRIAL)
    frames = sdtm_frames(entries)
    assert check_sdtm(frames) == ()
    assert (len(frames["DM"]), len(frames["EX"])) == (22, 70)
    subjects = frames["ADSL"]
    assert [(subjects[flag] == "Y").sum() for flag in ("SAFFL", "DLTEVLFL", "DLTFL", "WINCMPFL")] == [18, 18, 1, 17]
    files = write_sdtm(tmp_path / "sdtm", entries, site="07", country="CHN")
    assert {path.stem for path in files} == {"README", *(name.lower() for name in DOMAINS)}
    readme = (tmp_path / "sdtm" / "README.txt").read_text(encoding="utf-8")
    assert conduct.ledger.head(TRIAL).hash in readme
    for words in ("NOT protocol-complete", "Structure checked: no faults", "Sponsor-defined", "AEDLT", "MedDRA"):
        assert words in readme
    written = pd.read_csv(tmp_path / "sdtm" / "dm.csv", dtype=str)
    assert (set(written["SITEID"]), set(written["COUNTRY"])) == ({"07"}, {"CHN"})


def test_texts_in_the_files_are_no_formulas(tmp_path):
    entries = ledger_of(*enrolled("P1"), event("P1", "E1", verbatim="=1+1", term="@x"))
    write_sdtm(tmp_path / "sdtm", entries)
    with (tmp_path / "sdtm" / "ae.csv").open(encoding="utf-8-sig", newline="") as opened:
        row = next(csv.DictReader(opened))
    assert (row["AETERM"], row["AEDECOD"]) == ("'=1+1", "'@X")
    assert sdtm_frames(entries)["AE"]["AETERM"][0] == "=1+1"


def test_a_trial_that_is_not_opened_has_no_export():
    entries = ledger_of()
    closed = chain(
        None, Draft("delegated", {"user": "a", "role": "monitor", "starts": "2026-01-01", "ends": None}, "2026-01-01"),
        trial="EX-3", actor="admin", at=FIRST,
    )  # fmt: skip
    assert check_sdtm(sdtm_frames(Book(tuple(entries)))) == ()
    with pytest.raises(ExportError, match="not opened"):
        sdtm_frames([closed])
