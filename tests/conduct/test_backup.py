"""Backup, restoration and dumps: the same hashes everywhere, or an error that names the first bad entry."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from escalation.conduct.accounts import Accounts, SessionEndedError
from escalation.conduct.backup import (
    BackupError,
    Manifest,
    backup,
    check_backup,
    check_dump,
    dump,
    manifest_path,
    restore,
)
from escalation.conduct.ledger import Draft, Head, LedgerClosedSchemaError, LedgerDamagedError, LedgerError
from escalation.conduct.passwords import Passwords
from escalation.conduct.store import Ledger

TRIALS = ("a", "b ‘;--", "ünï")


def fact(number: int) -> Draft:
    payload = {"mark": f"mark-{number:04d}-", "filling": "x" * 400}
    return Draft("fact", payload, "2027-03-01", idempotency_key=f"key {number}", reason="two\nlines")


def filled(ledger: Ledger, count: int = 20) -> dict[str, Head]:
    for trial in TRIALS:
        ledger.append(trial, [fact(n) for n in range(1, count + 1)], actor="ada", expected_version=0)
    return {trial: ledger.head(trial) for trial in TRIALS}


@pytest.fixture
def kept(store: Any, tmp_path: Path) -> tuple[Path, dict[str, Head]]:
    """A backup of three trials, and their heads."""
    ledger = store.open()
    heads = filled(ledger)
    backup(ledger, tmp_path / "backup")
    return tmp_path / "backup", heads


def elsewhere(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    return request.getfixturevalue("postgresql").database() if kind == "postgresql" else str(folder / "restored.sqlite")


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
@pytest.mark.parametrize("verify", [True, False])
def test_a_restored_ledger_is_the_same(
    store: Any, target: str, verify: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    ledger = store.open()
    heads = filled(ledger)
    manifest = backup(ledger, tmp_path / "backup")
    assert manifest.trials == heads == check_backup(tmp_path / "backup").trials
    where = elsewhere(target, request, tmp_path)
    assert restore(tmp_path / "backup", where, verify=verify) == manifest
    with Ledger.open(where) as restored:
        for trial in TRIALS:
            assert restored.entries(trial) == ledger.entries(trial)
            assert restored.check(trial, heads[trial]).ok
        restored.append("a", [fact(21)], actor="ada", expected_version=20)


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_accounts_come_back_with_their_passwords_and_their_log(
    store: Any, target: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    ledger = store.open()
    ledger.append("a", [fact(1)], actor="ada", expected_version=0)
    passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    accounts = Accounts(ledger.engine, passwords=passwords)
    accounts.create("ada", "Ada Lovelace", "a word of the wise 7", by="root")
    accounts.create("bob", "Bob", "another word 8 long", by="ada")
    accounts.deactivate("bob", by="ada", reason="left")
    session = accounts.sign_in("ada", "a word of the wise 7")
    backup(ledger, tmp_path / "backup")
    where = elsewhere(target, request, tmp_path)
    restore(tmp_path / "backup", where)
    with Ledger.open(where) as restored:
        again = Accounts(restored.engine, passwords=passwords)
        assert again.users() == accounts.users()
        assert again.log() == accounts.log()
        with pytest.raises(SessionEndedError):
            again.authenticate(session.token)
        again.sign_in("ada", "a word of the wise 7")
        assert [line.seq for line in again.log()] == list(range(1, len(accounts.log()) + 2))
    with pytest.raises(BackupError, match="new, empty store"):
        restore(tmp_path / "backup", where)


def test_a_backup_of_a_ledger_in_use(store: Any, writers: Any, tmp_path: Path) -> None:
    ledger = store.open()
    pid = writers.start("endless", store.where, "a", told=tmp_path / "told")
    writers.wait_until(lambda: ledger.head("a").seq >= 30)
    manifest = backup(ledger, tmp_path / "backup")
    writers.kill(pid)
    assert manifest.trials["a"].seq % 3 == 0
    assert ledger.check("a", manifest.trials["a"]).ok
    assert ledger.head("a").seq >= manifest.trials["a"].seq


def test_an_empty_ledger(store: Any, tmp_path: Path) -> None:
    assert backup(store.open(), tmp_path / "backup").trials == {}
    restore(tmp_path / "backup", tmp_path / "restored.sqlite")
    with Ledger.open(tmp_path / "restored.sqlite") as restored:
        assert restored.trials() == ()


def test_what_stands_in_the_manifest(kept: tuple[Path, dict[str, Head]]) -> None:
    path, heads = kept
    manifest = json.loads(manifest_path(path).read_text(encoding="utf-8"))
    assert manifest["trials"]["a"] == {"entries": 20, "head": heads["a"].hash}
    assert set(manifest) == {"format", "file", "form", "sha256", "made_at", "software", "schema", "trials"}
    assert Manifest.beside(path).as_dict() == manifest
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["backup", "backup.manifest.json"]
    assert path.stat().st_mode & 0o777 == 0o400


def test_a_backup_is_never_overwritten(store: Any, kept: tuple[Path, dict[str, Head]]) -> None:
    path, _ = kept
    with pytest.raises(BackupError, match="never overwritten"):
        backup(store.open(), path)
    with pytest.raises(BackupError, match="no backup was made"):
        backup(store.open(), path / "no such folder" / "backup")


def test_a_damaged_ledger_is_not_backed_up(store: Any, tmp_path: Path) -> None:
    ledger = store.open()
    filled(ledger)
    store.unguard()
    store.run("UPDATE ledger SET actor = 'eve' WHERE seq = 4 AND trial LIKE 'b%'")
    with pytest.raises(LedgerDamagedError, match=r"trial 'b ‘;--': entry 4 is edited.*no backup was made"):
        backup(ledger, tmp_path / "backup")
    assert list(tmp_path.glob("backup*")) == []


def test_only_an_empty_store_is_restored_into(store: Any, kept: tuple[Path, dict[str, Head]]) -> None:
    path, _ = kept
    before = store.open().entries("a")
    with pytest.raises(BackupError, match="holds entries already, of trial 'a'"):
        restore(path, store.where)
    assert store.open().entries("a") == before


def test_a_backup_is_restored_not_opened(sqlite: Any, tmp_path: Path) -> None:
    backup(sqlite.open(), tmp_path / "backup")
    with pytest.raises(LedgerError, match="readonly"):
        Ledger.open(f"sqlite:///file:{tmp_path}/backup?mode=ro&uri=true")


# Damaged backups


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "edited": (lambda content: content.replace(b"mark-0007-", b"MARK-0007-"), "trial 'a': entry 7 is edited"),
    "no text": (lambda content: content.replace(b"mark-0007-", b"mark\xff0007-"), "trial 'a': entry 7 is edited"),
    "cut": (lambda content: content[: len(content) * 6 // 10], r"trial '.*': entry \d+ is (unreadable|edited)"),
    "one byte": (lambda content: content[:-1], r"trial '.*': entry \d+ is (unreadable|edited)"),
    "empty": (lambda content: b"", "trial 'a': entry 1 is"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_a_damaged_backup_is_refused(
    kept: tuple[Path, dict[str, Head]], damage: str, target: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path, _ = kept
    change, message = DAMAGES[damage]
    path.chmod(0o600)
    path.write_bytes(change(path.read_bytes()))
    where = elsewhere(target, request, tmp_path)
    for attempt in (lambda: check_backup(path), lambda: restore(path, where)):
        with pytest.raises(LedgerDamagedError, match=message):
            attempt()
    with pytest.raises(LedgerClosedSchemaError):
        Ledger.open(where)


def test_missing_lines_of_a_dump_are_named(kept: tuple[Path, dict[str, Head]]) -> None:
    path, _ = kept
    path.chmod(0o600)
    if Manifest.beside(path).form == "sqlite":
        with sqlite3.connect(path) as connection:
            connection.execute("DROP TRIGGER ledger_no_delete")
            connection.execute("DELETE FROM ledger WHERE trial = 'a' AND seq IN (9, 20)")
        connection.close()
    else:
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(line for place, line in enumerate(lines) if place not in (8, 19)))
    with pytest.raises(LedgerDamagedError, match="trial 'a': entry 9 is missing"):
        check_backup(path)


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ('"entries":20', '"entries":21', LedgerDamagedError, "entry 21 is truncated"),
        ('"entries":20', '"entries":19', LedgerDamagedError, "entry 19 is rewritten"),
        ('"a":{', '"A":{', LedgerDamagedError, "trial 'A': entry 1 is truncated"),
        ('"trials":{"a":{', '"trials":{"b":{', LedgerDamagedError, "holds trial 'a', its manifest does not"),
        ('"sha256":"', '"sha256":"0', LedgerDamagedError, "not the one of its manifest"),
        ('"format":"', '"format":"x', BackupError, "not the manifest"),
        ("{", "", BackupError, "not the manifest"),
    ],
)
def test_a_manifest_that_does_not_fit(
    kept: tuple[Path, dict[str, Head]], old: str, new: str, error: type[Exception], message: str
) -> None:
    path, _ = kept
    place = manifest_path(path)
    text = place.read_text(encoding="utf-8")
    assert old in text
    place.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(error, match=message):
        check_backup(path)


def test_a_backup_without_its_other_half(kept: tuple[Path, dict[str, Head]]) -> None:
    path, _ = kept
    shutil.move(path, path.with_name("kept"))
    with pytest.raises(BackupError, match="copy both files"):
        check_backup(path)
    manifest_path(path).unlink()
    with pytest.raises(BackupError, match="copy both files"):
        check_backup(path)


def test_a_killed_restoration_leaves_all_or_nothing(
    kept: tuple[Path, dict[str, Head]], store: Any, writers: Any, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path, heads = kept
    moment = random.Random(7)
    complete = 0
    for number in range(12):
        folder = tmp_path / str(number)
        folder.mkdir()
        where = elsewhere(store.dialect, request, folder)
        pid = writers.start("bring_back", str(path), where, told=folder / "told")
        time.sleep(moment.uniform(0.0, 0.12))
        writers.kill(pid)
        try:
            with Ledger.open(where) as restored:
                assert {trial: restored.head(trial) for trial in restored.trials()} == heads
            complete += 1
        except LedgerClosedSchemaError:
            restore(path, where)
    assert complete < 12


# Dumps


def test_a_dump_proves_itself(store: Any) -> None:
    ledger = store.open()
    heads = filled(ledger, 5)
    text = dump(ledger, "a")
    assert dump(ledger, "a") == text
    assert check_dump(text, heads["a"]).ok
    assert check_dump(text + "\n").head == heads["a"]
    assert check_dump(text, heads["ünï"].hash).departure == "truncated"
    assert check_dump(text.replace("mark-0003", "mark-0033")).first_bad == 3
    assert check_dump(dump(ledger, "nothing")).entries == 0
    shorter = json.loads(text)
    del shorter["entries"][4]
    again = json.dumps(shorter, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert (check_dump(again).first_bad, check_dump(again).departure) == (5, "truncated")
    for other in ("", "[]", "{}", text.replace("dump 1", "dump 9"), text.replace(",", ", "), text[:-1]):
        with pytest.raises(LedgerDamagedError, match="not the dump"):
            check_dump(other)
