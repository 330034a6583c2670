"""The ledger when things go wrong: many writers, killed writers, a full disk, damage, and people who alter it."""

from __future__ import annotations

import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import assume, given
from hypothesis import strategies as st

from escalation.conduct import canonical as c
from escalation.conduct.ledger import (
    FIELDS,
    GENESIS,
    ChainReport,
    Draft,
    Entry,
    Head,
    LedgerDamagedError,
    LedgerError,
    LedgerFullError,
    LedgerUnavailableError,
    chain,
    check_chain,
)
from escalation.conduct.store import Ledger, utc_now

TRIAL = "NCT-1"
WRITERS, APPENDS, KILLS = 10, 30, 110


def fact(number: int, size: int = 0) -> Draft:
    return Draft("fact", {"mark": f"mark-{number:04d}-", "filling": "x" * size}, "2027-03-01")


def record(ledger: Ledger, count: int, size: int = 0) -> tuple[Entry, ...]:
    return ledger.append(TRIAL, [fact(n, size) for n in range(1, count + 1)], actor="ada", expected_version=0)


def told(path: Path) -> dict[int, str]:
    """What a writer acknowledged: hash by number."""
    lines = [line.split() for line in path.read_text().splitlines()]
    return {int(line[0]): line[1] for line in lines if line[0].isdigit()}


# Writers


def test_writers_at_once_lose_nothing(store: Any, writers: Any, tmp_path: Path) -> None:
    store.open().close()
    outputs = [tmp_path / f"writer-{number}" for number in range(WRITERS)]
    started = [writers.start("compete", store.where, TRIAL, APPENDS, told=output) for output in outputs]
    assert [writers.wait(pid) for pid in started] == [0] * WRITERS, outputs[0].read_text()
    ledger = store.open(create=False)
    entries = ledger.entries(TRIAL)
    assert [entry.seq for entry in entries] == list(range(1, WRITERS * APPENDS + 1))
    assert ledger.check(TRIAL).ok
    acknowledged = {seq: hashed for output in outputs for seq, hashed in told(output).items()}
    assert acknowledged == {entry.seq: entry.hash for entry in entries}
    for pid in started:
        numbers = [entry.payload["number"] for entry in entries if entry.payload["writer"] == pid]
        assert numbers == list(range(APPENDS))
    assert sum(int(output.read_text().split()[-1]) for output in outputs) > 0, "nobody lost: nothing was tested"


def test_killed_writers_lose_nothing_they_acknowledged(store: Any, writers: Any, tmp_path: Path) -> None:
    store.open().close()
    outputs = [tmp_path / f"told-{number}" for number in range(KILLS)]
    moment = random.Random(7)
    for first in range(0, KILLS, 5):
        some = outputs[first : first + 5]
        started = [writers.start("endless", store.where, TRIAL, told=output) for output in some]
        if first % 2:  # the other rounds are killed while they open the ledger, or soon after
            writers.wait_until(lambda some=some: any(output.exists() and told(output) for output in some))
        for pid in started:
            time.sleep(moment.uniform(0.0, 0.02))
            assert writers.kill(pid) == -signal.SIGKILL
    ledger = store.open(create=False)
    version = ledger.head(TRIAL).seq
    ledger.append(TRIAL, [fact(0)] * 3, actor="ada", expected_version=version)
    assert ledger.check(TRIAL).ok
    entries = ledger.entries(TRIAL)
    acknowledged = {seq: hashed for output in outputs for seq, hashed in told(output).items()}
    assert not [output for output in outputs if "Traceback" in output.read_text()]
    assert len(acknowledged) >= KILLS // 10
    assert acknowledged.items() <= {entry.seq: entry.hash for entry in entries}.items()
    assert version % 3 == 0
    for first in range(0, version, 3):
        batch = [entry.payload for entry in entries[first : first + 3]]
        assert batch == [{"batch": batch[0]["batch"], "part": part} for part in range(3)]


def test_a_crashed_server_loses_nothing(postgresql: Any) -> None:
    """PostgreSQL only: SQLite has no server, its writers are killed above."""
    ledger = Ledger.open(postgresql.database(), create=True)
    made = record(ledger, 3)
    postgresql.stop(signal.SIGQUIT)
    with pytest.raises(LedgerUnavailableError, match="repeated with the same idempotency keys records once"):
        ledger.append(TRIAL, [fact(4)], actor="ada", expected_version=3)
    postgresql.start()
    assert ledger.entries(TRIAL) == made
    ledger.append(TRIAL, [fact(4)], actor="ada", expected_version=3)
    assert ledger.check(TRIAL, made[-1].hash).ok
    ledger.close()


# Full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, int | None]]:
    """A folder on a disk of 1 MB where one can be mounted; elsewhere a folder, and the most bytes a file may have."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "ledger", str(folder)]
    mounted = shutil.which("mount") and subprocess.run(command, capture_output=True, check=False).returncode == 0
    yield folder, None if mounted else 400_000
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


def filled(writers: Any, where: str, output: Path, limit: int | None) -> None:
    """Append in another process until the disk is full: what was acknowledged is there, and nothing else."""
    ledger = Ledger.open(where, create=True)
    ledger.close()
    assert writers.wait(writers.start("fill", where, TRIAL, limit, told=output)) == 0, output.read_text()[-2000:]
    assert "nothing was recorded; free the disk" in output.read_text()
    if limit is None:
        subprocess.run(["mount", "-o", "remount,size=8m", str(Path(where).parent)], check=True)
    with Ledger.open(where) as ledger:
        entries = ledger.entries(TRIAL)
        assert {entry.seq: entry.hash for entry in entries} == told(output)
        assert len(entries) > 10
        ledger.append(TRIAL, [fact(1)], actor="ada", expected_version=len(entries))
        assert ledger.check(TRIAL, entries[-1].hash).ok


def test_a_full_disk(small_disk: tuple[Path, int | None], writers: Any, tmp_path: Path) -> None:
    """SQLite only: filling the disk under a PostgreSQL server stops the server; its refusal is tested below."""
    folder, limit = small_disk
    filled(writers, str(folder / "ledger.sqlite"), tmp_path / "told", limit)


def test_the_largest_file_a_process_may_write(writers: Any, tmp_path: Path) -> None:
    filled(writers, str(tmp_path / "ledger.sqlite"), tmp_path / "told", resource.getpagesize() * 100)


def test_a_database_that_may_not_grow(store: Any) -> None:
    """On PostgreSQL a trigger gives the state that a full disk gives, at the second entry of three."""
    ledger = store.open()
    made = record(ledger, 1)
    if store.dialect == "sqlite":
        sa.event.listen(ledger.engine, "checkout", lambda connection, *_: connection.execute("PRAGMA max_page_count=1"))
    else:
        store.run(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
            "$$BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END$$",
            "CREATE TRIGGER full_disk AFTER INSERT ON ledger FOR EACH ROW WHEN (NEW.seq = 3) "
            "EXECUTE FUNCTION full_disk()",
        )
    with pytest.raises(LedgerFullError, match="nothing was recorded; free the disk"):
        ledger.append(TRIAL, [fact(n, 3000) for n in range(3)], actor="ada", expected_version=1)
    assert ledger.entries(TRIAL) == made


# Damaged files (SQLite: the files of a PostgreSQL server are the server's to check)


def damaged(store: Any, size: int = 500) -> tuple[tuple[Entry, ...], Path]:
    """A closed ledger of 60 entries, ready to be damaged, and its file."""
    with store.open() as ledger:
        made = record(ledger, 60, size)
    return made, Path(store.where)


def test_a_truncated_file(sqlite: Any) -> None:
    made, file = damaged(sqlite)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 6 // 10 // 4096 * 4096])
    with pytest.raises(LedgerDamagedError, match="restore a backup") as error:
        sqlite.open(create=False)
    report = error.value.report
    assert isinstance(report, ChainReport)
    assert (report.trial, report.departure) == (TRIAL, "unreadable")
    assert report.first_bad is not None
    assert 1 < report.first_bad <= 60
    assert report.head == (report.first_bad - 1, made[report.first_bad - 2].hash)
    assert f"mark-{report.first_bad:04d}-".encode() not in file.read_bytes()


def test_no_database_at_all(sqlite: Any) -> None:
    Path(sqlite.where).write_text("these are notes, not a ledger" * 100)
    with pytest.raises(LedgerDamagedError, match="not a database"):
        sqlite.open(create=False)


@pytest.mark.parametrize("edit", [b"MARK-0017-", b"mark\xff0017-", b'mark"0017-'])
def test_edited_bytes(sqlite: Any, edit: bytes) -> None:
    made, file = damaged(sqlite)
    file.write_bytes(file.read_bytes().replace(b"mark-0017-", edit))
    ledger = sqlite.open(create=False)
    report = ledger.check(TRIAL, made[-1].hash)
    assert (report.first_bad, report.departure, report.head) == (17, "edited", (16, made[15].hash))
    for after in (0, 16, 17):
        with pytest.raises(LedgerDamagedError, match=r"entry 17 is edited.*restore a backup"):
            ledger.entries(TRIAL, after=after)


def test_an_overwritten_page(sqlite: Any) -> None:
    _, file = damaged(sqlite)
    content = file.read_bytes()
    place = content.index(b"mark-0030-") // 4096 * 4096
    lost = content[place : place + 4096]
    first = min(n for n in range(1, 61) if f"mark-{n:04d}-".encode() in lost)
    file.write_bytes(content[:place] + bytes(4096) + content[place + 4096 :])
    report = sqlite.open(create=False).check(TRIAL)
    assert (report.first_bad, report.departure) == (first, "unreadable")


def test_a_cut_journal_shows_against_the_known_head(sqlite: Any, tmp_path: Path) -> None:
    ledger = sqlite.open()
    made = [ledger.append(TRIAL, [fact(n)], actor="ada", expected_version=n)[0] for n in range(20)]
    copy = tmp_path / "copy.sqlite"
    shutil.copy(sqlite.where, copy)
    journal = Path(f"{sqlite.where}-wal").read_bytes()
    Path(f"{copy}-wal").write_bytes(journal[: len(journal) * 3 // 4])
    with Ledger.open(copy) as cut:
        count = cut.head(TRIAL).seq
        assert 0 < count < 20
        assert cut.check(TRIAL).ok
        for head in (Head(20, made[-1].hash), made[-1].hash):
            report = cut.check(TRIAL, head)
            assert (report.first_bad, report.departure) == (count + 1, "truncated")
        with pytest.raises(LedgerDamagedError, match="was read before and is gone"):
            cut.entries(TRIAL, after=20)


# People who alter it, with the rights to remove the guards


def resealed(entry: Entry, **changes: Any) -> Entry:
    changed = replace(entry, **changes)
    return replace(changed, hash=changed.computed_hash())


def row(entry: Entry) -> str:
    values = [c.write(value) if isinstance(value, dict) else value for value in entry.as_dict().values()]
    return ", ".join("NULL" if v is None else str(v) if isinstance(v, int) else "'" + v + "'" for v in values)


def payload_of(seq: int) -> str:
    return f"UPDATE ledger SET payload = replace(payload, 'mark', 'MARK') WHERE seq = {seq}"


def rewritten(made: tuple[Entry, ...], start: int) -> list[str]:
    """Statements that replace everything from an entry on by a chain that fits."""
    prev = made[start - 2] if start > 1 else None
    statements = [f"DELETE FROM ledger WHERE seq >= {start}"]
    for number in range(start, len(made) + 1):
        prev = chain(prev, fact(100 + number), trial=TRIAL, actor="eve", at=utc_now())
        statements.append(f"INSERT INTO ledger VALUES ({row(prev)})")
    return statements


ALTERATIONS: dict[str, tuple[Callable[[tuple[Entry, ...]], list[str]], int, str, bool]] = {
    "payload": (lambda made: [payload_of(4)], 4, "edited", False),
    "first": (lambda made: [payload_of(1)], 1, "edited", False),
    "last": (lambda made: [payload_of(8)], 8, "edited", False),
    "two": (lambda made: [payload_of(6), payload_of(3)], 3, "edited", False),
    "spaces": (lambda made: ["UPDATE ledger SET payload = payload || ' ' WHERE seq = 4"], 4, "edited", False),
    "actor": (lambda made: ["UPDATE ledger SET actor = 'eve' WHERE seq = 4"], 4, "edited", False),
    "reason": (lambda made: ["UPDATE ledger SET reason = 'why' WHERE seq = 4"], 4, "edited", False),
    "hash": (lambda made: [f"UPDATE ledger SET hash = '{GENESIS}' WHERE seq = 4"], 4, "edited", False),
    "removed": (lambda made: ["DELETE FROM ledger WHERE seq = 4"], 4, "missing", False),
    "beginning": (lambda made: ["DELETE FROM ledger WHERE seq <= 2"], 1, "missing", False),
    "renumbered": (lambda made: ["UPDATE ledger SET seq = 90 WHERE seq = 8"], 8, "edited", False),
    "swapped": (
        lambda made: [f"UPDATE ledger SET seq = {b} WHERE seq = {a}" for a, b in ((4, 90), (5, 4), (90, 5))],
        4,
        "edited",
        False,
    ),
    "other trial": (lambda made: ["UPDATE ledger SET trial = 'other' WHERE seq = 4"], 4, "missing", False),
    "resealed": (
        lambda made: [
            "DELETE FROM ledger WHERE seq = 4",
            f"INSERT INTO ledger VALUES ({row(resealed(made[3], actor='eve'))})",
        ],
        4,
        "edited",
        False,
    ),
    "tail": (lambda made: ["DELETE FROM ledger WHERE seq > 5"], 6, "truncated", True),
    "all": (lambda made: ["DELETE FROM ledger"], 1, "truncated", True),
    "rewritten": (lambda made: rewritten(made, 3), 8, "rewritten", True),
}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_alterations_are_named(store: Any, name: str) -> None:
    alter, first, departure, needs_head = ALTERATIONS[name]
    ledger = store.open()
    made = record(ledger, 8)
    head = ledger.head(TRIAL)
    store.unguard()
    store.run(*alter(made))
    report = ledger.check(TRIAL, head)
    assert (report.first_bad, report.departure) == (first, departure)
    assert f"entry {first} is {departure}" in str(report)
    assert ledger.check(TRIAL).ok == needs_head
    if not needs_head:
        with pytest.raises(LedgerDamagedError):
            ledger.entries(TRIAL)


def test_nothing_is_chained_to_an_altered_entry(store: Any) -> None:
    ledger = store.open()
    record(ledger, 3)
    store.unguard()
    store.run(payload_of(3))
    for read in (lambda: ledger.head(TRIAL), lambda: ledger.entries(TRIAL, after=3)):
        with pytest.raises(LedgerDamagedError, match="entry 3 is edited"):
            read()


# The same check where entries come from elsewhere, in any order


def test_entries_from_elsewhere() -> None:
    made: list[Entry] = []
    for number in range(1, 7):
        made.append(chain(made[-1] if made else None, fact(number), trial=TRIAL, actor="ada", at=utc_now()))
    alien = chain(made[2], fact(4), trial="other", actor="ada", at=utc_now())
    early = resealed(made[3], recorded_at="2000-01-01T00:00:00.000000Z")
    cases: list[tuple[list[Entry], int, str]] = [
        ([*made[:3], made[4], made[3], made[5]], 4, "reordered"),
        ([*made[:4], made[3], *made[4:]], 5, "reordered"),
        ([*made[:3], alien, *made[4:]], 4, "foreign"),
        ([*made[:3], *made[4:]], 4, "missing"),
        ([*made[:3], early], 4, "reordered"),
        ([*made[:3], resealed(made[3], prev_hash=GENESIS), *made[4:]], 4, "edited"),
        ([resealed(made[0], prev_hash=made[1].hash)], 1, "edited"),
        ([*made[:3], replace(made[3], payload={"set": {1}})], 4, "edited"),
    ]
    assert check_chain(made, made[-1].hash).ok
    assert check_chain([]).ok
    for entries, first, departure in cases:
        report = check_chain(entries)
        assert (report.first_bad, report.departure) == (first, departure)


@given(st.data())
def test_one_change_is_named_exactly(data: st.DataObject) -> None:
    made: list[Entry] = []
    for number in range(data.draw(st.integers(1, 8))):
        made.append(chain(made[-1] if made else None, fact(number), trial=TRIAL, actor="ada", at=utc_now()))
    place = data.draw(st.integers(0, len(made) - 1))
    field = data.draw(st.sampled_from(FIELDS))
    value: Any = {"seq": data.draw(st.integers(-2, 12)), "payload": {"mark": None}}.get(field, "x")
    assume(value != getattr(made[place], field))
    head = made[-1].hash
    edited = [replace(entry, **{field: value}) if at == place else entry for at, entry in enumerate(made)]
    report = check_chain(edited, head, trial=TRIAL)
    assert (report.first_bad, report.head.seq) == (place + 1, place)
    report = check_chain(made[:place] + made[place + 1 :], head, trial=TRIAL)
    assert (report.first_bad, report.departure) == (place + 1, "missing" if place + 1 < len(made) else "truncated")


def test_errors_do_not_show_what_was_recorded(store: Any) -> None:
    ledger = store.open()
    store.run("DROP TABLE ledger")
    with pytest.raises(LedgerError) as error:
        ledger.append(TRIAL, [fact(1)], actor="ada", expected_version=0)
    assert "mark" not in f"{error.value} {error.value.__cause__}"
