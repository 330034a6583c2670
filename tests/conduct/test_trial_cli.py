"""A trial from the command line: its story, its refusals, what a ward sees, and what a changed file gives away."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from argon2 import PasswordHasher
from typer.testing import CliRunner

from escalation import trial_cli_shared
from escalation.advice import Advice, Possibility
from escalation.cli import app
from escalation.conduct.backup import check_dump
from escalation.conduct.criteria import load_criteria
from escalation.conduct.installation import open_conduct
from escalation.conduct.invented import HandClock
from escalation.conduct.outlook import Awaited, dated_outlook
from escalation.conduct.passwords import Passwords
from escalation.conduct.store import Ledger, migrate
from escalation.decision import Action
from escalation.errors import EscalationError
from escalation.study import load
from escalation.trial_cli_records import RECORDS
from escalation.trial_cli_shared import read_day, read_moment

TRIAL = "NCT07212335"
SECRET = "a quiet river in the evening"
TEMPORARY = "somebody else knows this one"
STAFF = {
    "ingrid": ("Ingrid Investigator", "investigator"),
    "carlos": ("Carlos Coordinator", "coordinator"),
    "stefan": ("Stefan Statistician", "statistician"),
    "maria": ("Maria Member", "committee_member"),
    "chen": ("Chen Member", "committee_member"),
}


class Desk:
    """A ward computer: a database, a clock moved by hand, and whoever is signed in."""

    def __init__(self, folder: Path, clock: HandClock) -> None:
        self.folder, self.clock = folder, clock
        self.database = folder / "conduct.sqlite"
        self.user = ""
        self.signed_at = datetime(2000, 1, 1, tzinfo=UTC)

    def call(self, *words, stdin: str | None = None, code: int = 0):
        environment = {"ESCALATION_SESSION": str(self.folder / "sessions.json"), "ESCALATION_PASSWORD": None}
        environment["ESCALATION_DATABASE"] = str(self.database)
        result = CliRunner().invoke(app, ["trial", *map(str, words)], input=stdin, env=environment)
        assert result.exit_code == code, f"{words}\n{result.output}\n{result.exception!r}"
        assert "Traceback" not in result.output
        assert SECRET not in result.output
        assert TEMPORARY not in result.output
        return result.output

    def sign_in(self, user: str) -> None:
        if self.user != user or self.clock.moment - self.signed_at > timedelta(minutes=20):
            self.call("sign-in", user, "--password-stdin", stdin=f"{SECRET}\n")
            self.user, self.signed_at = user, self.clock.moment

    def by(self, user: str, *words, stdin: str | None = None, code: int = 0):
        self.sign_in(user)
        return self.call(*words, stdin=stdin, code=code)

    def form(self, user: str, *words, code: int = 0):
        return json.loads(self.by(user, *words, "--json", code=code))

    def signs(self, user: str, *words, code: int = 0):
        return self.by(user, *words, "--password-stdin", stdin=f"{SECRET}\n", code=code)

    def staffed(self) -> None:
        """The database, its people and their roles."""
        self.call("init", "admin", "--full-name", "Ada Administrator", "--password-stdin", stdin=f"{SECRET}\n")
        for name, (full_name, role) in STAFF.items():
            self.by("admin", "users", "add", name, "--full-name", full_name, "--password-stdin", stdin=f"{TEMPORARY}\n")
            self.by("admin", "delegate", TRIAL, name, "--role", role)
        for name in STAFF:
            self.call("sign-in", name, "--password-stdin", stdin=f"{TEMPORARY}\n")
            self.call("password", "--password-stdin", stdin=f"{TEMPORARY}\n{SECRET}\n")
        self.user = ""

    def eligible(self, code: str) -> None:
        self.by("ingrid", "screen", TRIAL, code)
        self.by("ingrid", "consent", TRIAL, code, "--form-version", "2.0", "--consented-at", "now")
        self.by("ingrid", "eligible", TRIAL, code, "--verdict", "eligible")

    def infuse(self, code: str) -> str:
        start = self.clock.moment
        self.clock.moment += timedelta(minutes=45)
        return self.by(
            *("carlos", "infusion", TRIAL, code, "--number", 1),
            *("--started-at", start.isoformat(), "--ended-at", (start + timedelta(minutes=40)).isoformat()),
            *("--premedication-at", (start - timedelta(minutes=30)).isoformat()),
            *("--weight-kg", 60, "--cells-million", 120, "--lot", "L1", "--viability-percent", 92),
            *("--release-certificate", "C1", "--operator", "nurse A", "--verifier", "nurse B"),
        )

    def treat(self, code: str) -> None:
        self.eligible(code)
        self.by("ingrid", "assign", TRIAL, code)
        self.infuse(code)

    def decide(self, action: str) -> str:
        """Snapshot, recommendation, minutes, two signatures, circulation; what the signature says."""
        snapshot = self.form("stefan", "snapshot", TRIAL)["version"]
        recommended = self.form("stefan", "recommend", TRIAL, snapshot)
        assert recommended["advice"]["action"] == action
        minutes = ("--meeting", "SRC", "--attendance", "Maria Member, chair", "--discussion", "As recommended.")
        record = self.form("maria", "committee", TRIAL, recommended["version"], *minutes, "--action", action)["version"]
        assert "more signatures needed" in self.signs("maria", "sign", TRIAL, record)
        said = self.signs("chen", "sign", TRIAL, record)
        self.by("carlos", "circulate", TRIAL, record, "--to", "ward", "--to", "pharmacy", "--at", "now")
        return said

    def days(self, days: int) -> None:
        self.clock.moment += timedelta(days=days)


def cheap(monkeypatch, clock) -> None:
    """The service on a clock of the test, with passwords that cost nothing."""
    passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))

    def opened(database, *, create=False, clock=clock):
        return open_conduct(database, create=create, clock=clock or own, passwords=passwords)

    own = clock
    monkeypatch.setattr(trial_cli_shared, "open_service", opened)


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """The trial up to the decision that opens group B: one DLT, one withdrawal, six evaluable in group A."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        clock = HandClock()
        cheap(monkeypatch, clock)
        desk = Desk(tmp_path_factory.mktemp("trial"), clock)
        desk.staffed()
        told = {}
        zone = ("--zone", "Asia/Shanghai", "--signatures-needed", "2")
        told["open"] = desk.signs("ingrid", "open", TRIAL, "nct07212335", *zone)
        desk.treat("P001")
        desk.eligible("P002")
        told["stagger"] = desk.by("ingrid", "assign", TRIAL, "P002", code=2)
        told["status alone"] = desk.by("ingrid", "status", TRIAL)
        desk.days(14)
        desk.by("ingrid", "assign", TRIAL, "P002")
        told["infusion"] = desk.infuse("P002")
        desk.days(3)
        desk.treat("P003")
        desk.days(4)
        today = ("--on", "today")
        desk.by("ingrid", "left", TRIAL, "P003", "--how", "withdrew_consent", *today)
        told["settle"] = desk.form("ingrid", "status", TRIAL)
        desk.by("ingrid", "not-evaluable", TRIAL, "P003", "--cause", "withdrew on day 4")
        desk.eligible("P004")
        told["replacement"] = desk.by("ingrid", "assign", TRIAL, "P004")
        desk.infuse("P004")
        event = ("--event", "E1", "--verbatim", "chills and collapse", "--term", "Infusion related reaction")
        serious = ("--grade", 3, "--onset", "2026-01-26", "--attribution", "probable", "--serious", "--aware-at", "now")
        desk.by("ingrid", "event", TRIAL, "P002", *event, *serious)
        told["unproposed"] = desk.form("ingrid", "status", TRIAL)
        proposal = ("--adjudication", "A1", "--events", "E1", "--criterion", "1", "--onset", "2026-01-26")
        desk.by("ingrid", "propose-dlt", TRIAL, "P002", *proposal)
        desk.days(2)
        told["urgent"] = desk.by("ingrid", "status", TRIAL)
        told["urgent form"] = desk.form("ingrid", "status", TRIAL)
        desk.by("ingrid", "report-serious", TRIAL, "P002", "--event", "E1", "--sent-at", "now")
        settled = ("--adjudication", "A1", "--outcome", "dlt", "--attribution", "probable", "--discussion", "Grade 3.")
        told["adjudicated"] = desk.signs("maria", "adjudicate", TRIAL, "P002", *settled)
        desk.days(27)
        told["overdue"] = desk.form("ingrid", "status", TRIAL)
        for code in ("P001", "P004"):
            desk.by("ingrid", "complete", TRIAL, code, *today)
        told["stay"] = desk.decide("stay")
        for code in ("P005", "P006", "P007"):
            desk.treat(code)
            desk.days(3)
        told["outlook"] = desk.form("ingrid", "status", TRIAL)["recommendation"]["outlook"]
        desk.days(29)
        for code in ("P005", "P006", "P007"):
            desk.by("ingrid", "complete", TRIAL, code, *today)
        told["escalate"] = desk.decide("escalate")
        told["after"] = desk.by("ingrid", "status", TRIAL)
        yield desk, told


def test_the_story_ends_with_the_next_regimen_open(story):
    _, told = story
    assert "Open: level 2" in told["after"]
    assert "B x2" in told["after"]
    assert "0 of 3 places taken" in told["after"]
    assert "in effect" in told["stay"]
    assert "agrees to: escalate (password re-entered)" in told["escalate"]
    assert "not protocol-complete" in told["open"].lower() or "placeholder" in told["open"].lower()


def test_receipts_carry_entry_time_and_head(story):
    _, told = story
    assert re.search(
        r"recorded: entry \d+ of NCT07212335, infusion recorded, 2026-01-19 \d\d:\d\d:\d\d UTC", told["infusion"]
    )
    assert re.search(r"^head [0-9a-f]{64}$", told["infusion"], re.M)
    assert "replacement, replacing P003" in told["replacement"]
    assert "DLT decided" in told["adjudicated"]


def test_the_stagger_is_refused_with_the_earliest_date(story):
    _, told = story
    assert "assigned refused" in told["stagger"]
    assert "the stagger allows the next participant from 2026-01-19 on" in told["stagger"]
    assert "Next assignment: not before 19 January 2026" in told["status alone"]
    assert "Open: level 1" in told["status alone"]


def test_status_puts_the_late_report_of_a_serious_event_first(story):
    _, told = story
    first = told["urgent form"]["tasks"][0]
    assert (first["kind"], first["participant"]) == ("serious_late", "P002")
    kinds = [task["kind"] for task in told["urgent form"]["tasks"]]
    assert kinds.index("serious_late") < kinds.index("adjudicate")
    rows = {row["participant"]: row for row in told["urgent form"]["participants"]}
    assert (rows["P001"]["day"], rows["P001"]["last_day"]) == (23, 28)
    assert rows["P002"]["outcome"] == "pending"
    assert "23 of 28" in told["urgent"]
    assert "LATE, was due" in told["urgent"]
    assert "not evaluable: P003" in told["urgent"] or "withdrew consent: P003" in told["urgent"]


def test_status_reminds_of_a_related_grade_3_event_until_a_dlt_is_proposed(story):
    _, told = story
    (task,) = [task for task in told["unproposed"]["tasks"] if task["kind"] == "consider_dlt"]
    assert "P002 E1 (Infusion related reaction): grade 3, probable, day 7: inside W1" in task["text"]
    assert "consider_dlt" not in [task["kind"] for task in told["urgent form"]["tasks"]]


def test_status_asks_to_settle_a_withdrawal_and_to_close_windows(story):
    _, told = story
    assert "settle" in [task["kind"] for task in told["settle"]["tasks"]]
    assert [t["participant"] for t in told["overdue"]["tasks"] if t["kind"] == "complete"] == ["P001", "P004"]


def test_the_look_ahead_names_people_and_dates(story):
    _, told = story
    (line,) = told["outlook"]
    assert line.startswith("escalates to level 2 if P005 completes by")
    assert "P005 completes by" in line
    assert "P007 completes by" in line
    assert "2026 without DLT" in line


def test_audit_shows_everything_about_one_participant_and_by_one_user(story):
    desk, _ = story
    entries = desk.form("ingrid", "audit", TRIAL, "--participant", "P002")["entries"]
    assert [e["type"] for e in entries][:2] == ["screened", "consented"]
    assert {"adverse_event", "dlt_proposed", "dlt_decided", "serious_event_reported"} <= {e["type"] for e in entries}
    assert {e["actor"] for e in desk.form("ingrid", "audit", TRIAL, "--user", "carlos")["entries"]} == {"carlos"}
    shown = desk.by("ingrid", "audit", TRIAL, "--participant", "P002")
    assert "signed by Maria Member" in shown


def test_whoami_and_list_name_the_roles(story):
    desk, _ = story
    assert desk.form("stefan", "whoami")["roles"] == {TRIAL: ["statistician"]}
    (row,) = desk.form("stefan", "list")["trials"]
    assert (row["trial"], row["status"], row["participants"]) == (TRIAL, "open", 7)
    assert "committee member" in desk.by("chen", "whoami")
    assert "installation" in desk.by("admin", "list")


@pytest.mark.parametrize(
    ("user", "words", "reasons"),
    [
        ("carlos", ("assign", TRIAL, "P001"), ["confirming eligibility is a medical decision"]),
        ("admin", ("status", TRIAL), ["administrator", "read trial"]),
        ("ingrid", ("assign", TRIAL, "P999"), []),
        ("ingrid", ("screen", TRIAL, "P001"), ["recorded already; use a new code"]),
        ("ingrid", ("screen", TRIAL, "Jane Doe"), ["participant", "pattern"]),
        ("ingrid", ("complete", TRIAL, "P001", "--on", "next week"), ["is no date"]),
        (
            "ingrid",
            ("infusion", TRIAL, "P001", "--number", "1", "--started-at", "now"),
            ["refused", "recorded already"],
        ),
        ("ingrid", ("infusion", TRIAL, "P001", "--number", "9", "--started-at", "now"), ["not planned"]),
        ("stefan", ("recommend", TRIAL, "1"), ["entry 1 is no snapshot"]),
        ("stefan", ("snapshot", "NOWHERE"), ["stefan has no delegation in NOWHERE"]),
        (
            "carlos",
            ("correct", TRIAL, "1", "--field", "zone", "--new", "UTC", "--reason", "x"),
            ["cannot be corrected"],
        ),
        ("admin", ("delegate", TRIAL, "nobody", "--role", "monitor"), ["there is no account"]),
        ("admin", ("delegate", TRIAL, "chen", "--role", "wizard"), ["is not a role"]),
        ("admin", ("end-delegation", TRIAL, "chen", "--role", "monitor"), ["has no delegation as monitor"]),
        ("admin", ("delegate", "installation", "chen", "--role", "monitor"), ["delegated trial by trial"]),
        ("stefan", ("users", "list"), ["stefan has no delegation in installation"]),
        ("stefan", ("query", "answer", TRIAL, "Q7", "--answer", "yes"), ["may not answer query"]),
    ],
)
def test_refusals_give_every_reason_and_exit_code_2(story, user, words, reasons):
    desk, _ = story
    said = desk.by(user, *words, code=2)
    assert said.startswith("error: ")
    for reason in reasons:
        assert reason in " ".join(said.split())


def test_a_refusal_is_json_for_a_program(story):
    desk, _ = story
    form = desk.form("ingrid", "assign", TRIAL, "P001", code=2)
    assert form["refused"] == "GateRefused"
    assert any("assigned already" in reason for reason in form["reasons"])


def test_a_stale_version_says_what_was_recorded_since(story):
    desk, _ = story
    for category in ("visit", "sample"):
        version = desk.form("carlos", "deviation", TRIAL, "--category", category, "--description", "late")["version"]
    stale = desk.form("ingrid", "screen", TRIAL, "P900", "--expected-version", version - 2, code=2)
    assert (stale["refused"], stale["expected"], stale["found"]) == ("StaleVersionError", version - 2, version)
    assert [reason.split(":")[0] for reason in stale["reasons"]] == [f"entry {version - 1}", f"entry {version}"]
    said = desk.by("ingrid", "screen", TRIAL, "P900", "--expected-version", version - 2, code=2)
    assert f"entry {version}: deviation by carlos" in said
    late = ("--field", "form_version", "--new", "2.1", "--reason", "misread")
    assert "nothing was recorded" in desk.by("ingrid", "correct", TRIAL, 3, *late, "--expected-version", 1, code=2)


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("admin", ("delegate", TRIAL, "chen", "--role", "monitor")),
        ("admin", ("end-delegation", TRIAL, "chen", "--role", "committee_member")),
        ("ingrid", ("open", TRIAL, "nct07212335", "--password-stdin")),
    ],
)
def test_opening_and_delegating_take_an_expected_version(story, user, words):
    desk, _ = story
    before = desk.form("ingrid", "audit", TRIAL)["entries"][-1]["seq"]
    stale = desk.form(user, *words, "--expected-version", before - 1, code=2)
    assert (stale["refused"], stale["found"]) == ("StaleVersionError", before)
    assert desk.form("ingrid", "audit", TRIAL)["entries"][-1]["seq"] == before


def test_a_delegation_on_the_expected_version_is_recorded(story):
    desk, _ = story
    given = ("delegate", "EX-8", "stefan", "--role", "statistician", "--expected-version", 0)
    assert desk.form("admin", *given)["version"] == 1
    ended = ("end-delegation", "EX-8", "stefan", "--role", "statistician", "--expected-version", 1)
    assert desk.form("admin", *ended)["version"] == 2


def test_an_sdtm_export_names_the_site_and_its_country(story, tmp_path):
    desk, _ = story
    place = ("--site", "07", "--country", "CHN")
    desk.by("stefan", "export", TRIAL, "--sdtm", tmp_path / "sdtm", *place)
    with (tmp_path / "sdtm" / "dm.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["SITEID"], row["COUNTRY"]) for row in rows} == {("07", "CHN")}
    for words, said in (
        (("--sdtm", tmp_path / "x", "--country", "Germany"), "is no ISO 3166-1 alpha-3 code; write for example CHN"),
        (("--sdtm", tmp_path / "x", "--site", "a b"), "is no site number"),
        (("--csv", tmp_path / "x", "--site", "07"), "--site belongs to --sdtm FOLDER"),
        (("--csv", tmp_path / "x", *place), "--site and --country belong to --sdtm FOLDER"),
    ):
        assert said in desk.by("stefan", "export", TRIAL, *words, code=2)
    assert not (tmp_path / "x").exists()


def test_a_correction_keeps_both_values_and_a_query_its_states(story):
    desk, _ = story
    consent = next(e for e in desk.form("ingrid", "audit", TRIAL)["entries"] if e["type"] == "consented")
    why = ("--field", "form_version", "--new", "2.1", "--reason", "misread")
    made = desk.form("ingrid", "correct", TRIAL, consent["seq"], *why)
    assert (made["old"], made["new"]) == ("2.0", "2.1")
    assert "because: misread" in desk.by("ingrid", "audit", TRIAL, "--participant", "P001")
    ask = ("--participant", "P001", "--question", "Which lot?", "--critical")
    desk.by("stefan", "query", "raise", TRIAL, "Q1", *ask)
    assert desk.form("ingrid", "status", TRIAL)["queries"] == {"Q1": "open"}
    assert "critical query Q1 on P001 is open: Which lot?" in desk.by("ingrid", "status", TRIAL)
    desk.by("ingrid", "query", "answer", TRIAL, "Q1", "--answer", "L1")
    desk.by("stefan", "query", "close", TRIAL, "Q1")
    desk.by("stefan", "query", "reopen", TRIAL, "Q1")
    desk.by("stefan", "query", "close", TRIAL, "Q1")
    assert desk.form("ingrid", "status", TRIAL)["queries"] == {}


def test_signing_asks_for_the_password_whatever_the_environment_holds(story, monkeypatch):
    desk, _ = story
    desk.sign_in("maria")
    monkeypatch.setenv("ESCALATION_PASSWORD", SECRET)
    assert "nothing was entered" in desk.call("sign", TRIAL, _committee(desk), stdin="", code=2)
    assert "not right" in desk.call("sign", TRIAL, _committee(desk), "--password-stdin", stdin="wrong\n", code=2)


def _committee(desk) -> int:
    return max(e["seq"] for e in desk.form("maria", "audit", TRIAL)["entries"] if e["type"] == "committee_recorded")


def test_the_session_is_readable_by_its_owner_only_and_ends(story):
    desk, _ = story
    desk.sign_in("ingrid")
    kept = desk.folder / "sessions.json"
    if os.name == "posix":
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        kept.chmod(0o644)
        assert "can be read by others" in desk.call("whoami", code=2)
        kept.chmod(0o600)
    assert SECRET not in kept.read_text()
    desk.clock.moment += timedelta(minutes=31)
    assert "not used for 30 minutes; sign in again" in desk.call("whoami", code=2)
    desk.user = ""
    desk.by("ingrid", "sign-out")
    assert "nobody is signed in" in desk.call("whoami", code=2)
    desk.user = ""


def test_five_wrong_passwords_lock_until_an_administrator_helps(story):
    desk, _ = story
    said = {desk.call("sign-in", "chen", "--password-stdin", stdin="not the one at all\n", code=2) for _ in range(5)}
    said |= {desk.call("sign-in", name, "--password-stdin", stdin=f"{SECRET}\n", code=2) for name in ("chen", "none")}
    assert len(said) == 1
    assert "5 wrong passwords lock it for 15 minutes, an administrator can unlock it" in said.pop()
    desk.by("admin", "users", "unlock", "chen", "--reason", "seen in person")
    desk.by("chen", "whoami")
    desk.by("admin", "users", "deactivate", "chen", "--reason", "on leave")
    assert "not active" in desk.by("admin", "users", "list")
    desk.call("sign-in", "chen", "--password-stdin", stdin=f"{SECRET}\n", code=2)
    desk.by("admin", "users", "reactivate", "chen", "--reason", "back")
    desk.user = ""


# data in and out --------------------------------------------------------------------------------


def test_eligibility_is_evaluated_on_the_answers_and_never_set_by_hand(story, tmp_path):
    desk, _ = story
    desk.by("admin", "delegate", "EX-9", "ingrid", "--role", "investigator")
    desk.signs("ingrid", "open", "EX-9", "nct07212335", "--criteria", "nct07212335")
    desk.by("ingrid", "screen", "EX-9", "X001")
    desk.by("ingrid", "consent", "EX-9", "X001", "--form-version", "2.0", "--consented-at", "now")
    criteria = load_criteria("nct07212335")
    excluding = next(
        each.id for each in criteria.criteria if each.rule.check == "judgement" and each.kind == "exclusion"
    )
    said = {"criterion": excluding, "met": True, "sample_time": desk.clock.moment.isoformat()}
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps([{**said, "source_document": "chart, page 3", "assessor": "Ingrid Investigator"}]))
    made = desk.form("ingrid", "evaluate", "EX-9", "X001", answers, "--anchor", "screening=today")
    assert made["verdict"] == "not_eligible"
    assert f"{excluding}: met" in made["findings"]
    (entry,) = made["entries"]
    assert entry["type"] == "eligibility_recorded"
    assert "X001: not eligible" in desk.by("ingrid", "evaluate", "EX-9", "X001", answers, "--anchor", "screening=today")
    assert "no day" in desk.by("ingrid", "evaluate", "EX-9", "X001", answers, "--anchor", "birthday=today", code=2)
    assert "NAME=DATE" in desk.by("ingrid", "evaluate", "EX-9", "X001", answers, "--anchor", "screening", code=2)
    answers.write_text("[{}]")
    assert "criterion" in desk.by("ingrid", "evaluate", "EX-9", "X001", answers, code=2)
    answers.write_text("{}")
    assert "no JSON list" in desk.by("ingrid", "evaluate", "EX-9", "X001", answers, code=2)


def test_an_export_is_in_the_form_that_was_asked_for(story, tmp_path):
    desk, _ = story
    places = {"csv": tmp_path / "csv", "excel": tmp_path / "book.xlsx", "sdtm": tmp_path / "sdtm"}
    for form, place in (places | {"dump": tmp_path / "dump.json"}).items():
        made = desk.form("stefan", "export", TRIAL, f"--{form}", place)
        assert made["files"]
        assert all(Path(file).exists() for file in made["files"])
        assert made["head"] == desk.form("stefan", "verify", TRIAL)["head"]
    assert (tmp_path / "csv" / "participants.csv").exists()
    assert (tmp_path / "sdtm" / "dm.csv").exists()
    assert check_dump((tmp_path / "dump.json").read_text(encoding="utf-8"), made["head"]).ok
    assert f"head {made['head']}" in desk.by("stefan", "export", TRIAL, "--dump", tmp_path / "again.json")
    assert "may not export" in desk.by("carlos", "export", TRIAL, "--dump", tmp_path / "no.json", code=2)
    assert not (tmp_path / "no.json").exists()
    assert "name one of" in desk.by("stefan", "export", TRIAL, code=2)
    assert "name one of" in desk.by("stefan", "export", TRIAL, "--csv", "a", "--excel", "b", code=2)


def test_an_import_records_the_whole_file_or_names_every_fault(story, tmp_path):
    desk, _ = story
    file = tmp_path / "laboratory.csv"
    file.write_text("participant,analyte,value,unit,sampled_at\nP001,platelets,12,10^9/L,2026-01-06T09:00\n")
    made = desk.form("carlos", "import", TRIAL, "laboratory", file)
    assert made["recorded"] == [made["version"]]
    assert "1 were there already" in desk.by("carlos", "import", TRIAL, "laboratory", file)
    file.write_text("participant,analyte,value,unit,sampled_at\nP001,platelets,12,10^9/L,6/1/2026\n,anc,1,10^9/L,now\n")
    said = desk.by("carlos", "import", TRIAL, "laboratory", file, code=2)
    assert "row 2, sampled_at" in said
    assert "row 3, participant" in said
    assert "is no kind of file" in desk.by("carlos", "import", TRIAL, "diaries", file, code=2)
    assert "may not import data" in desk.by("stefan", "import", TRIAL, "laboratory", file, code=2)


def test_a_backup_holds_every_trial_with_its_head(story, tmp_path):
    desk, _ = story
    made = desk.form("admin", "backup", tmp_path / "backup.sqlite")
    assert made["trials"][TRIAL]["head"] == desk.form("stefan", "verify", TRIAL)["head"]
    assert (tmp_path / "backup.sqlite.manifest.json").exists()
    assert "never overwritten" in desk.by("admin", "backup", tmp_path / "backup.sqlite", code=2)
    assert f"holds {TRIAL}: " in desk.by("admin", "backup", tmp_path / "second.sqlite")
    assert "ingrid has no delegation in installation" in desk.by("ingrid", "backup", tmp_path / "no.sqlite", code=2)


def test_a_backup_is_restored_into_a_new_database_without_signing_in(story, tmp_path):
    desk, _ = story
    kept = desk.form("admin", "backup", tmp_path / "backup.sqlite")
    desk.by("admin", "sign-out")
    desk.user = ""
    words = ("restore", tmp_path / "backup.sqlite", "--database")
    assert json.loads(desk.call(*words, tmp_path / "new.sqlite", "--json")) == kept
    assert "holds entries already" in desk.call(*words, tmp_path / "new.sqlite", code=2)
    assert f"restored {TRIAL}: " in desk.call(*words, tmp_path / "another.sqlite")
    with closing(Ledger.open(tmp_path / "new.sqlite")) as ledger:
        assert ledger.check(TRIAL, kept["trials"][TRIAL]["head"]).ok
    desk.call("sign-in", "ingrid", "--database", tmp_path / "new.sqlite", "--password-stdin", stdin=f"{SECRET}\n")


def test_an_older_database_is_refused_then_upgraded_and_none_is_made(tmp_path):
    old = str(tmp_path / "old.sqlite")
    migrate(old, to="0001")
    run = CliRunner().invoke
    refused = run(app, ["trial", "list", "--database", old])
    assert (refused.exit_code, "escalation trial upgrade" in refused.output) == (2, True)
    assert run(app, ["trial", "upgrade", "--database", old]).exit_code == 0
    assert json.loads(run(app, ["trial", "upgrade", "--database", old, "--json"]).output)["schema"] == "0002"
    Ledger.open(old).close()
    missing = run(app, ["trial", "upgrade", "--database", str(tmp_path / "none.sqlite")])
    assert (missing.exit_code, "escalation trial init" in missing.output) == (2, True)
    assert not (tmp_path / "none.sqlite").exists()


def test_verify_holds_and_then_names_the_entry_that_was_changed(story, tmp_path):
    desk, _ = story
    verified = desk.form("ingrid", "verify", TRIAL)
    assert (verified["holds"], verified["recommendations"]) == (True, 2)
    assert desk.form("ingrid", "verify", TRIAL, "--head", verified["head"])["holds"]
    wrong = desk.form("ingrid", "verify", TRIAL, "--head", "0" * 63 + "1", code=1)
    assert wrong["findings"][0]["problem"].startswith("truncated: ")
    copy = tmp_path / "copy.sqlite"
    with sqlite3.connect(desk.database) as source, sqlite3.connect(copy) as target:
        source.backup(target)
        for (trigger,) in target.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            target.execute(f"DROP TRIGGER {trigger}")
        payload = target.execute("SELECT payload FROM ledger WHERE trial = ? AND type = 'adverse_event'", (TRIAL,))
        kept = payload.fetchone()[0]
        target.execute(
            "UPDATE ledger SET payload = ? WHERE payload = ?", (kept.replace('"grade":3', '"grade":2'), kept)
        )
    source.close()
    target.close()
    desk.call("sign-in", "ingrid", "--database", copy, "--password-stdin", stdin=f"{SECRET}\n")
    said = desk.call("verify", TRIAL, "--database", copy, code=1)
    event = next(e for e in desk.form("ingrid", "audit", TRIAL)["entries"] if e["type"] == "adverse_event")
    assert f"entry {event['seq']} is edited: its content does not give its hash" in said
    assert "error: " in desk.call("status", TRIAL, "--database", copy, code=2)
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_the_demonstration_tells_its_story_and_names_its_database(tmp_path, monkeypatch):
    cheap(monkeypatch, HandClock())
    path = tmp_path / "demo.sqlite"
    result = CliRunner().invoke(app, ["trial", "demo", "--database", str(path)])
    assert result.exit_code == 0, result.output
    assert "P011: DLT confirmed, signed by Maria Member" in result.output
    assert "18 treated" in result.output
    assert str(path) in result.output
    again = CliRunner().invoke(app, ["trial", "demo", "--database", str(path)])
    assert again.exit_code == 2
    assert "exists" in again.output


# pure functions ---------------------------------------------------------------------------------


def advised(*possibilities, open_at=((0, 1),)):
    return Advice(Action.WAIT, 0, 0, (), open_at=open_at, outlook=tuple(possibilities))


UP, SAME = (Action.ESCALATE, 1, ()), (Action.STAY, 0, ())
NONE, LOW = (Action.STOP, 0, ()), (Action.STOP, 0, (0,))


def lookahead(outcomes, awaited, places=0, open_at=None):
    grid = load("nct07212335").protocol.grid
    possible = [Possibility((more,), *verdict) for more, verdict in enumerate(outcomes)]
    return dated_outlook(advised(*possible, open_at=open_at or ((0, len(outcomes) - 1),)), grid, awaited, places)


def test_the_look_ahead_in_dated_words():
    p5, p6 = Awaited("P005", date(2026, 3, 3)), Awaited("P006", date(2026, 3, 10))
    up, same = "escalates to level 2", "treats more at level 1"
    assert lookahead([UP, SAME], [p5]) == [f"{up} if P005 completes by 3 March 2026 without DLT, {same} otherwise"]
    both = "P005 completes by 3 March 2026 and P006 completes by 10 March 2026"
    assert lookahead([UP, SAME, NONE], [p6, p5]) == [
        f"{up} if {both} without DLT, {same} with 1 DLT among them, stops without a recommendation otherwise"
    ]
    assert lookahead([SAME, SAME], [p5]) == [f"{same} whatever is still to come, once P005 completes by 3 March 2026"]
    assert lookahead([UP, UP, LOW], [p5], places=1) == [
        f"{up} if P005 completes by 3 March 2026 and 1 more still to be assigned completes with at most 1 DLT, "
        "stops and selects level 1 otherwise"
    ]
    twins = [Awaited("P005", date(2026, 3, 3)), Awaited("P006", date(2026, 3, 3)), Awaited("P007", None)]
    (line,) = lookahead([UP, SAME, SAME, NONE], twins)
    assert "P005 and P006 complete by 3 March 2026 and P007 completes after treatment without DLT" in line
    assert "with 1 to 2 DLTs among them" in line
    waits = Awaited("P008", date(2026, 3, 1), "(DLT proposed) is adjudicated")
    assert lookahead([UP, SAME], [waits]) == [
        f"{up} if P008 (DLT proposed) is adjudicated without DLT, {same} otherwise"
    ]


def test_the_look_ahead_over_several_regimens_says_every_combination():
    grid = load("nct07212335").protocol.grid
    advice = advised(Possibility((0, 0), *UP), Possibility((1, 0), *SAME), open_at=((0, 1), (1, 1)))
    lines = dated_outlook(advice, grid, [Awaited("P005", date(2026, 3, 3))])
    assert lines == [
        "once P005 completes by 3 March 2026:",
        "escalates to level 2 with no DLT at level 1 and no DLT at level 2",
        "treats more at level 1 with 1 DLT at level 1 and no DLT at level 2",
    ]
    assert dated_outlook(advised(), grid, []) == []


def test_times_are_the_sites_and_unclear_ones_are_refused():
    berlin, now = ZoneInfo("Europe/Berlin"), datetime(2026, 3, 29, 12, tzinfo=UTC)
    assert read_moment("2026-03-28T09:30", berlin, now).isoformat() == "2026-03-28T09:30:00+01:00"
    assert read_moment("2026-03-29T09:30+08:00", berlin, now).utcoffset() == timedelta(hours=8)
    assert read_moment("now", berlin, now).isoformat() == "2026-03-29T14:00:00+02:00"
    for text, words in (
        ("2026-03-29T02:30", "does not exist"),
        ("2026-10-25T02:30", "happens twice"),
        ("soon", "no time"),
    ):
        with pytest.raises(EscalationError, match=words):
            read_moment(text, berlin, now)
    assert read_day("yesterday", date(2026, 3, 1)) == date(2026, 2, 28)


def test_every_record_command_explains_its_options():
    for name in RECORDS:
        result = CliRunner().invoke(app, ["trial", *name.split(), "--help"])
        assert result.exit_code == 0, result.output
        assert "--expected-version" in result.output
        assert RECORDS[name][1].split()[0] in result.output


def test_help_answers_without_the_service():
    script = (
        "import sys\nfrom typer.testing import CliRunner\nfrom escalation.cli import app\n"
        "result = CliRunner().invoke(app, ['trial', '--help'])\n"
        "assert result.exit_code == 0 and 'adjudicate' in result.output\n"
        "heavy = {'numpy', 'scipy', 'pandas', 'sqlalchemy', 'argon2', 'rich.table'} & set(sys.modules)\n"
        "heavy |= {name for name in sys.modules if name.startswith('escalation.conduct')}\n"
        "sys.exit(f'imported for help: {sorted(heavy)}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
