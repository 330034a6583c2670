"""Imports: whole files or nothing, and every fault named."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from argon2 import PasswordHasher

from escalation.conduct import records as r
from escalation.conduct.import_apply import apply
from escalation.conduct.import_columns import COLUMNS, describe
from escalation.conduct.imports import MOST_BYTES, MOST_ROWS, ImportRefused, read_csv
from escalation.conduct.installation import open_conduct
from escalation.conduct.invented import PASSWORD, HandClock
from escalation.conduct.ledger import StaleVersionError
from escalation.conduct.passwords import Passwords
from escalation.conduct.roles import PermissionRefused, Role
from escalation.conduct.service import Conduct, ConductError
from escalation.study import Study, validate

TRIAL = "EX-1"
PEOPLE = {
    "ingrid": Role.INVESTIGATOR,
    "stefan": Role.STATISTICIAN,
    "maria": Role.COMMITTEE_MEMBER,
    "carlos": Role.COORDINATOR,
}


def study(**protocol) -> Study:
    return validate(
        {
            "schema": 1,
            "id": "ex-1",
            "title": "A study written in a test",
            "protocol": {
                "regimens": {"unit": "10^6 cells/kg", "doses": [0.5, 1, 2], "frequencies": [[0, 7, 14]]},
                "design": {"name": "three_plus_three"},
                "evaluability": {"minimum_infusions": 0.6, "replace": True},
                **protocol,
            },
            "scenarios": [
                {
                    "name": "assumed",
                    "truth": {"table": [0.1, 0.25, 0.45], "onset": "uniform"},
                    "accrual": {"law": "fixed", "gap_days": 3.0},
                    "drop_out": 0.1,
                    "missed_infusion": 0.1,
                }
            ],
        }
    )


@pytest.fixture
def conducted(tmp_path):
    """A fresh trial with its people, and a function that signs in."""
    clock = HandClock()
    fast = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    conduct = open_conduct(str(tmp_path / "conduct.sqlite"), create=True, clock=clock, passwords=fast)
    conduct.initialise("admin", "Ada Administrator", PASSWORD)

    def token(name: str) -> str:
        return conduct.accounts.sign_in(name, PASSWORD).token

    for name, role in PEOPLE.items():
        conduct.create_user(token("admin"), name, name.title(), f"temporary {PASSWORD}")
        conduct.accounts.change_password(name, f"temporary {PASSWORD}", PASSWORD)
        conduct.delegate(token("admin"), TRIAL, name, role, clock.moment.date())
    conduct.open_trial(token("ingrid"), TRIAL, study(), PASSWORD)
    return conduct, clock, token


def csv_of(kind: str, *rows: dict, separator: str = ",") -> bytes:
    names = list(COLUMNS[kind])
    lines = [separator.join(names)]
    lines += [separator.join(f'"{row[name]}"' if name in row else "" for name in names) for row in rows]
    return "\r\n".join(lines).encode()


PARTICIPANT = {
    "participant": "P001",
    "form_version": "2.0",
    "consented_at": "2026-01-05T10:00+01:00",
    "verdict": "eligible",
    "source_document": "file 7",
}
LAB = {"participant": "P001", "analyte": "anc", "value": "1.5", "unit": "10^9/L", "sampled_at": "2026-01-06T08:00Z"}
EVENT = {
    "participant": "P001",
    "event": "E1",
    "grade": "2",
    "verbatim": "rash",
    "term": "Rash",
    "onset": "2026-01",
    "attribution": "possible",
}
INFUSION = {
    "participant": "P001",
    "number": "1",
    "given": "yes",
    "started_at": "2026-01-06T08:00Z",
    "lot": "L1",
    "viability_percent": "91.5",
    "release_certificate": "C1",
    "operator": "A",
    "verifier": "B",
}


def faults(kind: str, data: bytes, **options) -> list[tuple[int, str, str]]:
    with pytest.raises(ImportRefused) as refused:
        read_csv(kind, data, **options)
    assert str(refused.value).startswith("nothing was imported")
    assert all(each.rule for each in refused.value.faults)
    return [(each.row, each.column, each.rule) for each in refused.value.faults]


# files that are taken ---------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("separator", [",", ";"])
def test_participants_become_records_in_order(mark, separator):
    data = mark + csv_of("participants", PARTICIPANT, {"participant": "P002"}, separator=separator)
    made = read_csv("participants", data)
    assert [type(each) for each in made] == [r.Screened, r.Consented, r.EligibilityRecorded, r.Screened]
    assert made[1].consented_at == datetime(2026, 1, 5, 9, tzinfo=UTC)
    assert made[2].answers == ({"imported": True, "source_document": "file 7"},)


def test_a_regraded_event_and_partial_dates():
    data = csv_of(
        "adverse_events", EVENT, {"participant": "P001", "event": "E1", "grade": "3", "regraded_on": "2026-01-20"}
    )
    event, change = read_csv("adverse_events", data)
    assert (event.onset, event.grade) == ("2026-01", 2)
    assert (change.type, change.grade, change.on.isoformat()) == ("regraded", 3, "2026-01-20")


def test_infusions_come_in_the_order_of_their_times():
    later = INFUSION | {"number": "3", "started_at": "2026-01-20T08:00Z", "lot": "L3"}
    missed = {"participant": "P001", "number": "2", "given": "no", "interruption": "ill"}
    other = INFUSION | {"participant": "P002", "started_at": "2026-01-10T08:00Z"}
    made = read_csv("infusions", csv_of("infusions", later, other, missed, INFUSION))
    assert [(each.participant, each.number) for each in made] == [("P001", 1), ("P001", 2), ("P002", 1), ("P001", 3)]


def test_times_without_offset_need_the_zone_of_the_site():
    data = csv_of("laboratory", LAB | {"sampled_at": "2026-07-01 08:00"})
    assert faults("laboratory", data) == [(2, "sampled_at", "does not say its offset from UTC")]
    made = read_csv("laboratory", data, zone=ZoneInfo("Europe/Berlin"))
    assert made[0].sampled_at == datetime(2026, 7, 1, 6, tzinfo=UTC)


@pytest.mark.parametrize("clock", ["2026-03-29 02:30", "2026-10-25 02:30"])
def test_the_hour_of_a_clock_change_is_refused(clock):
    data = csv_of("laboratory", LAB | {"sampled_at": clock})
    assert "the clocks change" in faults("laboratory", data, zone=ZoneInfo("Europe/Berlin"))[0][2]


def test_texts_keep_their_letters_and_lines():
    made = read_csv(
        "adverse_events", csv_of("adverse_events", EVENT | {"verbatim": "U\u0308belkeit\r\nim Bett; stark"})
    )
    assert made[0].verbatim == "Übelkeit\nim Bett; stark"


def test_a_formula_is_taken_as_the_text_it_is():
    assert read_csv("adverse_events", csv_of("adverse_events", EVENT | {"verbatim": "=1+1"}))[0].verbatim == "=1+1"


@pytest.mark.parametrize("kind", COLUMNS)
def test_the_columns_are_described(kind):
    text = describe(kind)
    assert text.startswith(",".join(COLUMNS[kind]))
    assert all(f"\n{name}: " in text for name in COLUMNS[kind])


# files that are refused -------------------------------------------------------------------------


def test_every_fault_of_a_file_is_listed_and_nothing_is_taken():
    data = csv_of(
        "laboratory",
        LAB,
        LAB | {"value": "1,5", "sampled_at": "01/02/2026"},
        LAB,
        {
            "participant": "no such code!",
            "analyte": "anc",
            "value": "NaN",
            "unit": "",
            "sampled_at": "2026-02-30T08:00Z",
        },
        LAB | {"participant": "P 1"},
    )
    assert faults("laboratory", data) == [
        (3, "value", "has a comma"),
        (3, "sampled_at", "is ambiguous: day and month cannot be told apart"),
        (4, "sampled_at", "stands in row 2 already"),
        (5, "value", "is no number"),
        (5, "unit", "is empty"),
        (5, "sampled_at", "is not in the calendar"),
        (6, "participant", "is refused: string should match pattern '^[A-Za-z0-9][A-Za-z0-9-]{0,19}$'"),
    ]
    with pytest.raises(ImportRefused, match=r"row 3, value: '1,5' has a comma \(write 1\.5"):
        read_csv("laboratory", data)


@pytest.mark.parametrize("day", ["03/04/2026", "3.4.2026", "03-04-2026", "2026/03/04"])
def test_ambiguous_days_are_refused(day):
    for kind, row, column in (("adverse_events", EVENT, "onset"), ("laboratory", LAB, "sampled_at")):
        found = faults(kind, csv_of(kind, row | {column: day}))
        assert found == [(2, column, "is ambiguous: day and month cannot be told apart")]


@pytest.mark.parametrize("value", ["inf", "1e5", "1_000", "0x10", "１２", "", "1.5.1", "--1", "=1+1"])
def test_only_plain_numbers_are_numbers(value):
    assert [each[:2] for each in faults("laboratory", csv_of("laboratory", LAB | {"value": value}))] == [(2, "value")]


@pytest.mark.parametrize(
    "hidden", ["\u202e", "\u2066", "\u200b", "\ufeff", "\x07", "\x1b", "\x85", "\t", "\ufffd", "\U000e0041"]
)
def test_characters_that_hide_are_refused_and_named(hidden):
    found = faults("adverse_events", csv_of("adverse_events", EVENT | {"verbatim": f"gra{hidden}de"}))
    assert found == [(2, "verbatim", f"holds U+{ord(hidden):04X}, which hides or damages text")]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is missing in the header"),
        (b"participant,analyte\n", "is missing in the header"),
        (b"participant\x00,analyte\n", "stands in the file"),
        ("participant,analyte".encode("utf-16"), "UTF-16"),
        ("participant,analyte\nP\xfc".encode("latin-1"), "is not UTF-8"),
        (b"participant\tanalyte\n", "separated by tabs"),
        (b"participant,analyte,value,unit,sampled_at\n", "holds no records"),
        (b'participant,analyte,value,unit,sampled_at\nP1,"anc,1', "cannot be read"),
        (b"participant,analyte,value,unit,sampled_at\nP1,anc,1\n", "has 3 cells, the header 5"),
        (b"participant,analyte,value,unit,sampled_at,unit\n", "stands twice"),
        (b"participant,analyte,value,units,sampled_at\n", "is no column"),
        (b"x" * (MOST_BYTES + 1), "is more than 5,000,000"),
        (b"participant\n" + b"P1\n" * (MOST_ROWS + 1), "more than 20,000 rows"),
    ],
)
def test_files_that_cannot_be_read(data, said):
    assert any(said in rule for _, _, rule in faults("laboratory", data))


def test_an_unknown_column_is_guessed_at():
    with pytest.raises(ImportRefused, match="did you mean unit"):
        read_csv("laboratory", b"participant,analyte,value,units,sampled_at\n")


def test_a_file_of_the_most_rows_is_read():
    rows = "".join(f"P{n},anc,1,10^9/L,2026-01-06T08:00Z\n" for n in range(MOST_ROWS))
    made = read_csv("laboratory", b"participant,analyte,value,unit,sampled_at\n" + rows.encode())
    assert len(made) == MOST_ROWS


def test_what_rows_say_together():
    half = {"participant": "P002", "form_version": "2.0"}
    found = faults(
        "participants",
        csv_of("participants", PARTICIPANT, PARTICIPANT, half, {"participant": "P3", "verdict": "eligible"}),
    )
    assert [each[:2] for each in found] == [(3, "participant"), (4, "consented_at"), (5, "source_document")]
    again = {"participant": "P001", "event": "E2", "grade": "3", "regraded_on": "2026-01-20", "term": "Rash"}
    found = faults("adverse_events", csv_of("adverse_events", EVENT, EVENT, again))
    assert [each[:2] for each in found] == [(3, "event"), (4, "term"), (4, "event")]
    missed = INFUSION | {"given": "no"}
    found = faults(
        "infusions", csv_of("infusions", missed, INFUSION, {"participant": "P2", "number": "1", "given": "yes"})
    )
    assert [each[:2] for each in found] == [(2, "started_at"), (3, "number"), (4, "started_at")]


# into a ledger ----------------------------------------------------------------------------------


def test_an_import_is_recorded_and_repeating_it_records_nothing(conducted):
    conduct, clock, token = conducted
    clock.to(datetime(2026, 1, 7, tzinfo=UTC))
    records = read_csv("participants", csv_of("participants", PARTICIPANT, {"participant": "P002"}))
    made = apply(conduct, token("ingrid"), TRIAL, records)
    assert [entry.type for entry in made] == ["screened", "consented", "eligibility_recorded", "screened"]
    assert apply(conduct, token("ingrid"), TRIAL, records) == ()
    assert list(conduct.state(token("ingrid"), TRIAL).people) == ["P001", "P002"]
    labs = read_csv("laboratory", csv_of("laboratory", LAB, LAB | {"participant": "P002"}))
    assert len(apply(conduct, token("carlos"), TRIAL, labs)) == 2


def test_what_the_gates_refuse_leaves_nothing_behind(conducted):
    conduct, _, token = conducted
    before = conduct.ledger.head(TRIAL)
    future = PARTICIPANT | {"participant": "P009", "consented_at": "2031-01-01T08:00Z"}
    records = read_csv("participants", csv_of("participants", {"participant": "P001"}, {"participant": "P002"}, future))
    with pytest.raises(ImportRefused) as refused:
        apply(conduct, token("ingrid"), TRIAL, records)
    assert "lies in the future" in refused.value.faults[0].rule
    assert refused.value.faults[0].row == 4
    assert conduct.ledger.head(TRIAL) == before


def test_a_user_without_the_permission_imports_nothing(conducted):
    conduct, _, token = conducted
    before = conduct.ledger.head(TRIAL)
    with pytest.raises(PermissionRefused):
        apply(conduct, token("stefan"), TRIAL, [r.Screened(participant="P001")])
    level = r.RegimenLevel(dose=1, frequency=1)
    assigned = r.Assigned(participant="P001", regimen=level, role="regular", stage="escalation")
    with pytest.raises(ConductError, match="own method"):
        apply(conduct, token("ingrid"), TRIAL, [r.Screened(participant="P001"), assigned])
    assert conduct.ledger.head(TRIAL) == before


def test_an_import_that_another_entry_interrupts_goes_on_where_it_stopped(conducted, monkeypatch):
    conduct, _, token = conducted
    records = [r.Screened(participant=f"P{number:03d}") for number in range(4)]
    original, calls = Conduct.record, []

    def record(self, *given, **options):
        calls.append(1)
        if len(calls) == 3:
            original(self, token("carlos"), TRIAL, r.Screened(participant="OTHER"))
        return original(self, *given, **options)

    monkeypatch.setattr(Conduct, "record", record)
    with pytest.raises(StaleVersionError):
        apply(conduct, token("ingrid"), TRIAL, records)
    monkeypatch.undo()
    assert len(apply(conduct, token("ingrid"), TRIAL, records)) == 2
    assert list(conduct.state(token("ingrid"), TRIAL).people) == ["P000", "P001", "OTHER", "P002", "P003"]
