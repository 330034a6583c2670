"""A ledger's store in SQLite and in PostgreSQL, and processes that write to it and can be killed."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from escalation.conduct.store import Ledger

from . import kit

OWNER = "escalation"
NUMBERS = count(1)

ZYGOTE = """
import json, os, random, resource, signal, sys, time, traceback
from escalation.conduct.backup import restore
from escalation.conduct.ledger import Draft, LedgerFullError, StaleVersionError
from escalation.conduct.database import connect, locate
from escalation.conduct.store import Ledger

for where in ("none.sqlite", "postgresql://"):
    connect(locate(where))  # imports the drivers, once for all writers

def tell(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def fact(**payload):
    return Draft("fact", payload, "2027-03-01")

def endless(where, trial):
    tell("opening")
    with Ledger.open(where) as ledger:
        version = ledger.head(trial).seq
        tell("writing")
        while True:
            batch = [fact(batch=f"{os.getpid()}-{version}", part=part) for part in range(3)]
            try:
                last = ledger.append(trial, batch, actor="writer", expected_version=version)[-1]
            except StaleVersionError as stale:
                version = stale.found
                continue
            version = last.seq
            tell(version, last.hash)

def compete(where, trial, wanted):
    with Ledger.open(where) as ledger:
        version = lost = 0
        for number in range(wanted):
            while True:
                draft = fact(writer=os.getpid(), number=number)
                try:
                    (entry,) = ledger.append(trial, [draft], actor=f"writer {os.getpid()}", expected_version=version)
                    break
                except StaleVersionError as stale:
                    assert [entry.seq for entry in stale.since] == list(range(version + 1, stale.found + 1))
                    lost, version = lost + 1, stale.found
                    time.sleep(random.uniform(0, 0.05))  # reads what was recorded since, and decides again
            version = entry.seq
            tell(version, entry.hash)
        tell("lost", lost)

def fill(where, trial, limit):
    with Ledger.open(where) as ledger:
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        for version in range(100_000):
            try:
                (entry,) = ledger.append(trial, [fact(text="x" * 2000)], actor="writer", expected_version=version)
            except LedgerFullError as problem:
                assert ledger.head(trial).seq == version
                return tell("full", problem)
            tell(entry.seq, entry.hash)

def bring_back(path, where):
    tell("restoring")
    restore(path, where)
    tell("restored")

running = set()
for line in sys.stdin:
    order, *values = json.loads(line)
    if order == "wait":
        running.discard(values[0])
        print(os.waitpid(values[0], 0)[1], flush=True)
        continue
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(os.open(values[0], os.O_CREAT | os.O_APPEND | os.O_WRONLY), 1)
            globals()[order](*values[1:])
        except BaseException:
            tell(traceback.format_exc())
            os._exit(1)
        os._exit(0)
    running.add(pid)
    print(pid, flush=True)
for pid in running:  # of tests that ended early
    os.kill(pid, signal.SIGKILL)
"""
"""A process that has imported everything and forks writers at once; their standard output is a file."""


class Writers:
    """Starts writers in processes of their own, kills them, and reads what they told."""

    def __init__(self) -> None:
        self._zygote = subprocess.Popen(
            [sys.executable, "-c", ZYGOTE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, task: str, *values: Any, told: Path) -> int:
        return int(self._ask(task, str(told), *values))

    def wait(self, pid: int) -> int:
        """How a writer ended: 0, or minus the signal that ended it."""
        return os.waitstatus_to_exitcode(int(self._ask("wait", pid)))

    def wait_until(self, reached: Callable[[], bool]) -> None:
        """Wait for what writers do."""
        until = time.monotonic() + 30
        while not reached():
            assert time.monotonic() < until
            time.sleep(0.002)

    def kill(self, pid: int) -> int:
        """Kill a writer on the spot; how it ended, should it have been faster."""
        os.kill(pid, signal.SIGKILL)
        return self.wait(pid)

    def _ask(self, *order: Any) -> str:
        assert self._zygote.stdin
        assert self._zygote.stdout
        self._zygote.stdin.write(json.dumps(order) + "\n")
        self._zygote.stdin.flush()
        return self._zygote.stdout.readline()

    def close(self) -> None:
        assert self._zygote.stdin
        assert self._zygote.stdout
        self._zygote.stdin.close()
        self._zygote.wait(10)
        self._zygote.stdout.close()


class Server:
    """A PostgreSQL server of the tests' own, on a socket in a folder of its own."""

    def __init__(self) -> None:
        self.programs = self._programs()
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-"))
        self.data = self.folder / "data"
        self.user: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            names = {entry.pw_name: entry for entry in pwd.getpwall()}
            person = names.get("postgres") or names["nobody"]
            os.chown(self.folder, person.pw_uid, person.pw_gid)
            self.user = {"user": person.pw_uid, "group": person.pw_gid, "extra_groups": []}
        made = subprocess.run(
            [self.programs / "initdb", "-D", self.data, "-U", OWNER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            **self.user,
        )
        assert made.returncode == 0, made.stderr
        self.start()

    @staticmethod
    def _programs() -> Path:
        """The folder of PostgreSQL's programs; their absence fails the tests in CI, elsewhere it skips them."""
        folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        if shutil.which("pg_config"):
            told = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=True)
            folders.insert(0, Path(told.stdout.strip()))
        if found := shutil.which("postgres"):
            folders.append(Path(found).resolve().parent)
        for folder in folders:
            if (folder / "initdb").exists() and (folder / "postgres").exists():
                return folder
        missing = "PostgreSQL's initdb and postgres are not found; install it: apt-get install postgresql"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)

    def start(self) -> None:
        settings = ("listen_addresses=", "fsync=off", "max_connections=40", "log_min_messages=panic")
        options = [part for setting in settings for part in ("-c", setting)]
        with (self.folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.data, "-k", self.folder, *options],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                **self.user,
            )
        for _ in range(200):
            try:
                psycopg.connect(self.words("postgres")).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.05)
        pytest.fail("PostgreSQL does not answer: " + (self.folder / "log").read_text())

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop: SIGINT in good order, SIGQUIT as in a crash."""
        self._process.send_signal(how)
        self._process.wait(30)

    def words(self, database: str) -> str:
        return f"host={self.folder} user={OWNER} dbname={database}"

    def database(self) -> str:
        """The URL of a new, empty place: a schema of its own, as quickly made as removed."""
        name = f"ledger_{next(NUMBERS)}"
        with psycopg.connect(self.words("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return f"postgresql://{OWNER}@/postgres?host={self.folder}&options=-csearch_path%3D{name}"


class Store:
    """A place for one ledger, empty at first, and a way round the ledger into its database."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.dialect = "postgresql" if "://" in where else "sqlite"
        self._opened: list[Ledger] = []

    def open(self, *, create: bool = True, **options: Any) -> Ledger:
        self._opened.append(Ledger.open(self.where, create=create, **options))
        return self._opened[-1]

    def close(self) -> None:
        for ledger in self._opened:
            ledger.close()
        self._opened.clear()

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """A bare connection, in autocommit."""
        if self.dialect == "sqlite":
            with closing(sqlite3.connect(self.where, isolation_level=None, timeout=10)) as connection:
                yield connection
        else:
            with closing(psycopg.connect(self.where, autocommit=True)) as connection:
                yield connection

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements past the ledger; the rows of the last."""
        with self.connection() as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def unguard(self) -> None:
        """Remove the guards, as somebody with the owner's rights can."""
        if self.dialect == "sqlite":
            names = [name for (name,) in self.run("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
            self.run(*(f"DROP TRIGGER {name}" for name in names))
        else:
            self.run("ALTER TABLE ledger DISABLE TRIGGER ALL")

    def unguard_accounts(self) -> None:
        """Remove a guard of the account log only."""
        if self.dialect == "sqlite":
            self.run("DROP TRIGGER account_log_no_delete")
        else:
            self.run("ALTER TABLE account_log DISABLE TRIGGER account_log_append_only")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop(signal.SIGQUIT)
    shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def writers() -> Iterator[Writers]:
    started = Writers()
    yield started
    started.close()


def _store(request: pytest.FixtureRequest, factory: pytest.TempPathFactory) -> Store:
    if request.param == "postgresql":
        return Store(request.getfixturevalue("postgresql").database())
    return Store(str(factory.mktemp("store") / "ledger.sqlite"))


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A new, empty place for a ledger."""
    made = _store(request, tmp_path_factory)
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Store]]:
    """Two new, empty places for ledgers, to be compared."""
    made = _store(request, tmp_path_factory), _store(request, tmp_path_factory)
    yield made
    for each in made:
        each.close()


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def lasting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """One ledger for many examples, each of a trial of its own."""
    made = _store(request, tmp_path_factory)
    yield made.open()
    made.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Store]:
    """A new place for a ledger in a SQLite file, for what only files can suffer."""
    made = Store(str(tmp_path / "ledger.sqlite"))
    yield made
    made.close()


@pytest.fixture
def site_of(tmp_path: Path) -> Iterator[Callable[..., kit.Site]]:
    """Builds sites, each a trial on an installation of its own, and lets go of them."""
    made: list[kit.Site] = []

    def build(study: Any = None, **options: Any) -> kit.Site:
        folder = tmp_path / f"site-{len(made)}"
        folder.mkdir()
        made.append(kit.Site(folder, study, **options))
        return made[-1]

    yield build
    for site in made:
        site.close()


@pytest.fixture
def site(site_of: Callable[..., kit.Site]) -> kit.Site:
    """A small trial: BOIN on three doses, single infusions, no stagger."""
    return site_of()
