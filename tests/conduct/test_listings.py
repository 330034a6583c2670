"""Listings and the audit trail: complete, in order, of one trial only, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
import os
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import openpyxl
import pandas as pd
import pytest
from argon2 import PasswordHasher

from escalation.conduct import records as r
from escalation.conduct.audit_trail import audit_trail
from escalation.conduct.book import Book
from escalation.conduct.demo import TRIAL, Demo
from escalation.conduct.installation import open_conduct
from escalation.conduct.invented import PASSWORD, PEOPLE, HandClock
from escalation.conduct.listing_files import cover, write_csv, write_excel
from escalation.conduct.listings import LISTINGS, listings
from escalation.conduct.passwords import Passwords
from escalation.conduct.roles import Role
from escalation.conduct.safe_text import LONGEST_CELL, ExportError, csv_text, neutral, shown, whole_file
from escalation.study import load

OTHER = "EX-2"
FORMULAS = ('=HYPERLINK("http://x.example","click")', "+1+1", "-2+3", "@SUM(A1)", "\t=1+1", "\r=1", " =1", "＝1")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The demonstration trial, and a second one in the same ledger with everything a listing can show."""
    clock = HandClock()
    fast = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    path = tmp_path_factory.mktemp("conduct") / "conduct.sqlite"
    conduct = open_conduct(str(path), create=True, clock=clock, passwords=fast)
    Demo(conduct, clock).run()

    def token(name: str) -> str:
        return conduct.accounts.sign_in(name, PASSWORD).token

    start = clock.moment.date()
    for name, (_, role) in PEOPLE.items():
        conduct.delegate(token("admin"), OTHER, name, role, start)
    conduct.delegate(token("admin"), OTHER, "chen", Role.STATISTICIAN, start)
    conduct.end_delegation(token("admin"), OTHER, "chen", Role.STATISTICIAN, start + timedelta(days=300))
    study = load("nct04014166")
    conduct.open_trial(token("ingrid"), OTHER, study, PASSWORD, zone="Asia/Shanghai")

    def record(entry, name="ingrid", **options):
        return conduct.record(token(name), OTHER, entry, **options).version

    for code in ("X001", "X002"):
        record(r.Screened(participant=code))
        record(r.Consented(participant=code, form_version="1.0", consented_at=clock.moment))
        record(r.EligibilityRecorded(participant=code, verdict="incomplete", findings=(FORMULAS[0],)))
        record(r.EligibilityRecorded(participant=code, verdict="eligible"))
    conduct.assign(token("ingrid"), OTHER, "X001")
    first = clock.moment
    clock.moment += timedelta(hours=1)
    given = r.InfusionRecorded(
        participant="X001",
        number=1,
        started_at=first + timedelta(minutes=10),
        ended_at=first + timedelta(minutes=50),
        premedication_at=first - timedelta(minutes=30),
        weight_kg=65.0,
        cells_million=32.5,
        lot=FORMULAS[3],
        viability_percent=91.0,
        release_certificate="C1",
        operator="A",
        verifier="B",
    )
    record(given, "carlos")
    for number, formula in enumerate(FORMULAS):
        event = r.AdverseEvent(
            participant="X001",
            event=f"E{number}",
            verbatim=f"{formula}x",
            term="Fever",
            grade=2,
            onset=first.date().isoformat(),
            attribution="possible",
            serious=number == 0,
            serious_because=("hospitalisation",) if number == 0 else (),
            aware_at=clock.moment if number == 0 else None,
        )
        seq = record(event)
    clock.moment += timedelta(days=2)
    record(r.Regraded(participant="X001", event="E0", grade=4, on=clock.moment.date()))
    record(r.SeriousEventReported(participant="X001", event="E0", sent_at=clock.moment))
    record(r.DltProposed(participant="X001", adjudication="A1", events=("E0",), criterion="grade 4", onset="2026"))
    lab = r.Laboratory(participant="X001", analyte="anc", value=-0.0 + 1.25, unit="10^9/L", sampled_at=clock.moment)
    wrong = record(lab, "carlos")
    record(r.Transfusion(participant="X001", product="red_cells", units=2, given_at=clock.moment))
    record(r.Visit(participant="X001", visit="W1", missed_because="snow"))
    record(r.Visit(participant="X001", visit="W1", done_on=clock.moment.date()))
    record(r.Deviation(participant="X001", category=FORMULAS[2], description="late"))
    record(r.Deviation(category="site", description="power cut"))
    record(r.QueryRaised(query="Q1", participant="X001", about=wrong, question="unit?", critical=True), "stefan")
    record(r.QueryAnswered(query="Q1", answer=FORMULAS[1]), "ingrid")
    record(r.QueryClosed(query="Q1"), "stefan")
    conduct.correct(token("ingrid"), OTHER, wrong, "participant", "X002", "tube of X002")
    conduct.correct(token("ingrid"), OTHER, seq, "grade", 1, "read again")
    amended = load("nct04014166", overrides=["protocol.max_patients=21"])
    conduct.amend(token("ingrid"), OTHER, amended, PASSWORD, clock.moment.date(), "fewer participants")
    entries = {trial: conduct.ledger.entries(trial) for trial in (TRIAL, OTHER)}
    at = clock.moment
    frames = {trial: listings(found, at) for trial, found in entries.items()}
    return SimpleNamespace(conduct=conduct, entries=entries, frames=frames, at=at, wrong=wrong, regraded=seq)


def rows(frame: pd.DataFrame) -> list[dict]:
    return frame.to_dict("records")


# listings ---------------------------------------------------------------------------------------


def test_the_demonstration_counts_as_published(installed):
    people = installed.frames[TRIAL]["participants"]
    assert len(people) == 22
    assert (people["first_infusion"].notna()).sum() == 18
    assert people["status"].value_counts().to_dict() == {
        "window complete": 17,
        "screen failed": 3,
        "withdrew consent": 1,
        "DLT": 1,
    }
    row = next(each for each in rows(people) if each["participant"] == "P001")
    first = date.fromisoformat(row["first_infusion"][:10])
    assert (row["w1_end"], row["w2_end"]) == tuple((first + timedelta(days=k)).isoformat() for k in (28, 49))
    assert (row["role"], row["stage"], row["dose_level"], row["deciding_window"]) == ("sentinel", "escalation", 1, "W1")
    infusions = installed.frames[TRIAL]["infusions"]
    assert len(infusions) == 70
    assert set(infusions["planned_day"]) == {0, 7, 14, 21}


def test_decisions_show_signatures_with_name_time_and_meaning(installed):
    decisions = installed.frames[TRIAL]["decisions"]
    assert list(decisions["decision"]) == ["escalate", "escalate", "stay", "stop", "stop"]
    for row in rows(decisions):
        assert row["departs"] == "no"
        assert row["contradicted_since"] == "no"
        assert row["circulated"].endswith("ward, pharmacy")
        assert len(row["signatures"].split("\n")) == 2
        assert "Maria Member (committee member), 2026-" in row["signatures"]
        assert f"agrees to: {row['decision']}" in row["signatures"]
    signatures = installed.frames[TRIAL]["signatures"]
    assert list(signatures["signs"]).count("decision_signed") == 10
    assert {"trial_opened", "dlt_decided"} < set(signatures["signs"])


def test_a_decision_that_later_data_contradict_says_so(installed):
    book = Book(installed.entries[TRIAL])
    settled = next(each for each in book.state.people.values() if each.completed is not None)
    settled.completed = None
    decisions = listings(book, installed.at)["decisions"]
    assert decisions["contradicted_since"].str.startswith("yes").sum() == 5
    assert settled.code in decisions["contradicted_since"][0]


def test_events_show_their_grades_and_the_clock_of_serious_ones(installed):
    frame = installed.frames[OTHER]["adverse_events"]
    row = rows(frame)[0]
    assert (row["grade_at_onset"], row["grade_now"], row["highest_grade"]) == (2, 4, 4)
    assert row["grade_history"].count("grade") == 2
    assert row["sae_clock"].startswith("LATE: reported 24.")
    assert row["sae_due"].endswith("+08:00")
    assert row["adjudications"] == "A1"
    assert rows(frame)[-1]["grade_now"] == 1  # as corrected
    assert frame["sae_clock"].isna().sum() == len(frame) - 1


def test_an_open_clock_is_read_at_the_moment_of_the_listing(installed):
    cut = next(e.seq for e in installed.entries[OTHER] if e.type == "regraded")
    before = installed.entries[OTHER][: cut - 1]
    aware = datetime.fromisoformat(rows(installed.frames[OTHER]["adverse_events"])[0]["aware"])
    for hours, words in ((2, "open, 22.0 h left"), (30, "OVERDUE by 6.0 h")):
        frame = listings(before, aware + timedelta(hours=hours))["adverse_events"]
        assert frame["sae_clock"][0] == words


def test_the_smaller_listings(installed):
    frames = installed.frames[OTHER]
    open_one = rows(frames["adjudications"])[0]
    assert open_one["outcome"] == "open: counts as pending"
    decided = rows(installed.frames[TRIAL]["adjudications"])[0]
    assert (decided["outcome"], decided["in_force"]) == ("dlt", "yes")
    assert "Maria Member" in decided["signed"]
    assert rows(frames["laboratory"])[0]["participant"] == "X002"  # as corrected
    assert rows(frames["laboratory"])[0]["sampled"].endswith("+08:00")
    assert [each["missed_because"] for each in rows(frames["visits"])] == ["snow", None]
    assert rows(frames["queries"])[0]["status"] == "closed"
    assert FORMULAS[1] in rows(frames["queries"])[0]["answers"]
    assert rows(frames["transfusions"])[0]["product"] == "red cells"
    assert [each["participant"] for each in rows(frames["deviations"])] == ["X001", None]
    ended = [each for each in rows(frames["delegations"]) if each["ended_by"]]
    assert [(each["user"], each["role"]) for each in ended] == [("chen", "statistician")]
    infusion = rows(frames["infusions"])[0]
    assert (infusion["cells_million_per_kg"], infusion["percent_of_plan"], infusion["minutes"]) == (0.5, 100.0, 40.0)


def test_every_frame_says_where_it_comes_from(installed):
    for trial, frames in installed.frames.items():
        head = installed.conduct.ledger.head(trial)
        assert set(frames) == {*LISTINGS, "audit_trail"}
        for frame in frames.values():
            assert (frame.attrs["trial"], frame.attrs["version"], frame.attrs["head"]) == (trial, *head)
            assert frame.attrs["notices"].startswith("NOT protocol-complete")
    assert installed.frames[TRIAL]["visits"].attrs["study_hash"] == load("nct04014166").hash
    assert installed.frames[OTHER]["visits"].attrs["study_hash"] != load("nct04014166").hash  # amended


def test_one_trial_never_shows_another(installed):
    for trial, mine, other in ((TRIAL, "P0", "X00"), (OTHER, "X00", "P0")):
        text = "".join(csv_text(frame) for frame in installed.frames[trial].values())
        assert f'"{mine}' in text
        assert f'"{other}' not in text
        assert (OTHER if trial == TRIAL else TRIAL) not in text
    with pytest.raises(ExportError, match="of one trial"):
        listings([*installed.entries[TRIAL], *installed.entries[OTHER]], installed.at)
    with pytest.raises(ExportError, match="no entries"):
        listings([], installed.at)
    with pytest.raises(ExportError, match="one trial at one version"):
        cover(installed.frames[TRIAL] | {"visits": installed.frames[OTHER]["visits"]}, installed.at)


# the audit trail --------------------------------------------------------------------------------


@pytest.mark.parametrize("trial", [TRIAL, OTHER])
def test_the_trail_holds_every_entry_once_in_order(installed, trial):
    trail, entries = audit_trail(installed.entries[trial]), installed.entries[trial]
    assert list(trail["seq"]) == [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    assert list(trail["hash"]) == [entry.hash for entry in entries]
    assert list(trail["time_utc"]) == sorted(trail["time_utc"])
    assert trail["time_utc"].str.endswith("Z").all()
    assert not {"signed_in", "signed_out"} & set(trail["type"])  # those are in the account log


def test_first_values_are_audited_with_every_field(installed):
    for trial in (TRIAL, OTHER):
        trail = audit_trail(installed.entries[trial])
        for entry, row in zip(installed.entries[trial], rows(trail), strict=True):
            if entry.type not in ("corrected", "protocol_amended"):
                assert all(f"{name}: " in row["new_value"] for name in entry.payload), entry


def test_changes_show_old_and_new_value_and_reason(installed):
    trail = {row["seq"]: row for row in rows(audit_trail(installed.entries[OTHER]))}
    corrected = [row for row in trail.values() if row["type"] == "corrected"]
    assert [(row["old_value"], row["new_value"]) for row in corrected] == [
        ("participant: X001", "participant: X002"),
        ("grade: 2", "grade: 1"),
    ]
    assert [row["reason"] for row in corrected] == ["tube of X002", "read again"]
    assert trail[installed.regraded]["corrected_by_entry"] == str(corrected[1]["seq"])
    by_type = {row["type"]: row for row in trail.values()}
    assert by_type["regraded"]["old_value"] == "grade: 2"
    assert "missed_because: snow" in by_type["visit"]["old_value"]
    assert "verdict: incomplete" in by_type["eligibility_recorded"]["old_value"]
    assert "ends: null" in by_type["delegation_ended"]["old_value"]
    assert "study.protocol.max_patients: 24" in by_type["protocol_amended"]["old_value"]
    assert "study.protocol.max_patients: 21" in by_type["protocol_amended"]["new_value"]
    assert by_type["protocol_amended"]["reason"] == "fewer participants"


def test_the_trail_of_both_participants_shows_a_wrong_one(installed):
    for code in ("X001", "X002"):
        found = audit_trail(installed.entries[OTHER], participant=code)
        assert installed.wrong in set(found["seq"])
        assert "corrected" in set(found["type"])
    assert "query_closed" in set(audit_trail(installed.entries[OTHER], participant="X001")["type"])
    assert "query_closed" not in set(audit_trail(installed.entries[OTHER], participant="X002")["type"])


def test_the_trail_filters_by_user_kind_and_time(installed):
    entries = installed.entries[TRIAL]
    assert set(audit_trail(entries, user="carlos")["user"]) == {"carlos"}
    assert len(audit_trail(entries, type="decision_signed")) == 10
    middle = datetime.fromisoformat(entries[99].recorded_at)
    assert audit_trail(entries, until=middle)["seq"].max() == 100
    assert audit_trail(entries, since=middle)["seq"].min() == 100
    assert len(audit_trail(entries, since=middle, until=middle)) == 1
    assert audit_trail(entries, participant="NOBODY").empty
    with pytest.raises(ExportError, match="offset"):
        audit_trail(entries, since=datetime(2026, 1, 1))


# files ------------------------------------------------------------------------------------------


def harmless(text: object) -> bool:
    return not (isinstance(text, str) and text.lstrip()[:1] in set("=+-@＝＋－＠"))


def test_csv_files_hold_no_formula_and_numbers_stay_numbers(installed, tmp_path):
    files = write_csv(tmp_path / "out", installed.frames[OTHER], at=installed.at)
    assert {path.name for path in files} == {path.name for path in (tmp_path / "out").iterdir()}
    for path in files:
        if path.suffix == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as opened:
                cells = [cell for row in csv.reader(opened) for cell in row]
            assert all(harmless(cell) for cell in cells), path
            assert not any(ord(each) < 32 and each not in "\r\n\t" for cell in cells for each in cell)
    with (tmp_path / "out" / "adverse_events.csv").open(encoding="utf-8-sig", newline="") as opened:
        verbatim = [row["verbatim"] for row in csv.DictReader(opened)]
    assert verbatim == [neutral(f"{each}x".strip()) for each in FORMULAS]
    assert verbatim[0].startswith("'=HYPERLINK")
    read = pd.read_csv(tmp_path / "out" / "laboratory.csv")
    assert read["value"].tolist() == [1.25]
    readme = (tmp_path / "out" / "README.txt").read_text(encoding="utf-8")
    assert installed.conduct.ledger.head(OTHER).hash in readme
    assert "NOT protocol-complete" in readme


def test_the_workbook_holds_no_formula_and_opens_with_its_cover(installed, tmp_path):
    path = write_excel(tmp_path / "out.xlsx", installed.frames[OTHER], at=installed.at)
    book = openpyxl.load_workbook(path)
    assert book.sheetnames[0] == "cover"
    assert set(book.sheetnames) == {"cover", *installed.frames[OTHER]}
    front = {row[0].value: row[1].value for row in book["cover"].iter_rows()}
    assert front["trial"] == OTHER
    assert front["head hash"] == installed.conduct.ledger.head(OTHER).hash
    assert front["notice"].startswith("NOT protocol-complete")
    assert front["made at (UTC)"].endswith("Z")
    for sheet in book:
        for row in sheet.iter_rows():
            for cell in row:
                assert cell.data_type != "f"
                assert harmless(cell.value), (sheet.title, cell.coordinate, cell.value)
    head, *body = list(book["adverse_events"].iter_rows(values_only=True))
    assert body[0][head.index("verbatim")] == f"'{FORMULAS[0]}x"
    assert body[0][head.index("grade_now")] == 4
    assert len(list(book["audit_trail"].iter_rows())) == len(installed.entries[OTHER]) + 1


def test_a_text_too_long_for_a_cell_is_cut_with_a_word(tmp_path, installed):
    frames = audit_trail(installed.entries[OTHER])
    frames.loc[0, "reason"] = "x" * 40_000
    path = write_excel(tmp_path / "out.xlsx", {"audit_trail": frames}, at=installed.at)
    sheet = openpyxl.load_workbook(path)["audit_trail"]
    text = sheet.cell(2, list(frames.columns).index("reason") + 1).value
    assert text == "x" * LONGEST_CELL + " … (cut: 40000 characters, whole in the CSV)"


def test_a_folder_in_use_is_refused_and_failures_leave_nothing(installed, tmp_path, monkeypatch):
    frames, at = installed.frames[TRIAL], installed.at
    used = tmp_path / "used"
    used.mkdir()
    used.joinpath("old.csv").write_text("old")
    with pytest.raises(ExportError, match="not an empty folder"):
        write_csv(used, frames, at=at)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert write_csv(empty, frames, at=at)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    before = sorted(path.name for path in tmp_path.iterdir())
    for write in (
        lambda: write_csv(tmp_path / "no", frames, at=at),
        lambda: write_excel(tmp_path / "no.xlsx", frames, at=at),
    ):
        with pytest.raises(OSError, match="disk full"):
            write()
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_file_appears_only_whole_and_replaces_none(tmp_path):
    path = tmp_path / "file.txt"

    def half() -> None:
        with whole_file(path) as made:
            made.write_text("half")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        half()
    assert list(tmp_path.iterdir()) == []
    path.write_text("old")
    with pytest.raises(ExportError, match="exists"):
        half()
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["file.txt"]


def test_text_that_hides_is_written_out_and_never_comes_in():
    assert shown("grade\u202e 4 \x07bell") == "grade<U+202E> 4 <U+0007>bell"
    with pytest.raises(ValueError, match=r"U\+202E, U\+0007"):
        r.Deviation(category="site", description="grade\u202e 4 \x07bell")


@pytest.mark.parametrize("value", [0, -1, -1.5, True, None, date(2026, 1, 1), "plain", "a=b", "", "   "])
def test_what_cannot_be_a_formula_is_left_alone(value):
    assert neutral(value) is value or neutral(value) == value


@pytest.mark.parametrize("character", ["\u200b", "\u2066", "\x00", "\x9b", "\ud800", "\ue000", "\u2028"])
def test_hiding_characters_are_written_out(character):
    assert shown(f"a{character}b") == f"a<U+{ord(character):04X}>b"


def test_the_cover_counts_rows(installed):
    lines = dict(cover(installed.frames[TRIAL], datetime(2026, 9, 2, tzinfo=UTC)).itertuples(index=False, name=None))
    assert lines["rows in participants"] == 22
    assert lines["made at (UTC)"] == "2026-09-02T00:00:00Z"
    assert "entries verified" in lines["chain"]
