"""Runs: simulations that outlive the page that asked for them, each in a worker process and a folder of its own.

A run's folder holds what was asked (``request.json``), how far it is (``progress.json``), the result,
and how it ended (``end.json``). A lock that the worker holds while it lives says whether anybody is
at work; so a run whose worker died is told from one that is slow, after a restart too. Runs beyond
the number of cores wait for their turn, oldest first.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from escalation.errors import EscalationError
from escalation.ui.workspace import workspace, write_whole

Status = Literal["waiting", "running", "finished", "refused", "failed", "cancelled", "stopped"]
OPEN: Final = ("waiting", "running")
"""Statuses of a run that may still change."""
MOST_OPEN: Final = 20
"""Runs waiting or running at once in one workspace."""
KEPT_DAYS: Final = 7
MOST_KEPT: Final = 100
STARTING_SECONDS: Final = 30.0
"""How long a worker may take to take its lock before the run counts as stopped."""
REQUEST, PROGRESS, RESULT, END, CANCEL, LOCK = (
    "request.json",
    "progress.json",
    "result.npz",
    "end.json",
    "cancel",
    "lock",
)
_KEY: Final = re.compile(r"^[0-9a-f]{32}$")
_started: dict[str, subprocess.Popen[bytes]] = {}


class RunError(EscalationError):
    """A run that cannot be started or found."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it stands.

    Attributes
    ----------
    key
        What addresses name it by.
    status
        ``waiting`` for its turn, ``running``, ``finished``, ``refused`` (the engines said why), ``failed``
        (a defect), ``cancelled`` by a person, or ``stopped``: its process ended before its result was written.
    request
        What was asked.
    done, total
        Trials done and in all; 0 of 0 when not known yet.
    message
        Why it ended, where that needs words.
    ahead
        Runs waiting or at work before it.
    seconds
        How long it has run, or ran.
    """

    key: str
    status: Status
    request: dict[str, Any]
    done: int
    total: int
    message: str
    ahead: int
    seconds: float

    @property
    def open(self) -> bool:
        """Whether the run may still change."""
        return self.status in OPEN

    @property
    def result(self) -> Path:
        """The file of the result."""
        return runs_folder() / self.key / RESULT


def runs_folder() -> Path:
    """The folder of the runs."""
    folder = workspace() / "runs"
    folder.mkdir(exist_ok=True, mode=0o700)
    return folder


def start(request: dict[str, Any]) -> str:
    """Start a run in a process of its own; returns the key that finds it again. Raises RunError."""
    clean()
    if len(open_runs()) >= MOST_OPEN:
        raise RunError(f"{MOST_OPEN} runs are waiting or at work; cancel one or come back when they are done")
    key = secrets.token_hex(16)
    folder = runs_folder() / key
    folder.mkdir(mode=0o700)
    write_whole(folder / REQUEST, json.dumps({**request, "asked": time.time()}, ensure_ascii=False))
    with (folder / "log.txt").open("wb") as log:
        _started[key] = subprocess.Popen(
            [sys.executable, "-m", "escalation.ui.worker", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a server that is stopped does not take its runs with it
        )
    return key


def exists(key: str) -> bool:
    """Whether a run of this key is kept here."""
    return bool(_KEY.match(key)) and (runs_folder() / key / REQUEST).exists()


def look(key: str) -> Run:
    """A run as it stands; raises RunError when there is none."""
    if not exists(key):
        raise RunError("this run is not kept here any more; start it again")
    folder = runs_folder() / key
    request = _read(folder / REQUEST)
    alive = _alive(folder)
    progress, end = _read(folder / PROGRESS), _read(folder / END)  # after the lock: an end is written under it
    status: Status = end["status"] if end else "stopped" if not alive else "running" if progress else "waiting"
    message = str(end.get("message", ""))
    if status == "stopped":
        message = "The run's process ended before its result was written. The same seed gives the same numbers again."
    began = float(progress.get("began", request["asked"]))
    until = float(end.get("ended", time.time()))
    return Run(
        key,
        status,
        request,
        int(progress.get("done", 0)),
        int(progress.get("total", 0)),
        message,
        ahead(key) if status == "waiting" else 0,
        max(until - began, 0.0),
    )


def cancel(key: str) -> None:
    """Ask a run's worker to stop; a run that has ended stays as it is."""
    if exists(key) and look(key).open:
        (runs_folder() / key / CANCEL).touch()


def open_runs() -> list[str]:
    """Keys of the runs that wait or are at work, in the order they were asked for."""
    found = []
    for folder in runs_folder().iterdir():
        if exists(folder.name) and _open(folder):
            found.append((float(_read(folder / REQUEST).get("asked", 0.0)), folder.name))
    return [key for _, key in sorted(found)]


def ahead(key: str) -> int:
    """How many runs asked for earlier still wait or are at work."""
    before = open_runs()
    return before.index(key) if key in before else 0


def clean(now: float | None = None) -> None:
    """Remove runs that nobody works at and that are older than a week, and all but the newest hundred."""
    kept = []
    now = time.time() if now is None else now
    for folder in runs_folder().iterdir():
        if not _KEY.match(folder.name) or _open(folder):
            continue
        with suppress(OSError):
            kept.append((folder.stat().st_mtime, folder))
    kept.sort(reverse=True)
    for place, (changed, folder) in enumerate(kept):
        if place >= MOST_KEPT or now - changed > KEPT_DAYS * 86_400:
            shutil.rmtree(folder, ignore_errors=True)


def _open(folder: Path) -> bool:
    return not (folder / END).exists() and _alive(folder)


def _alive(folder: Path) -> bool:
    """Whether a worker holds the run's lock, or was started and has not come to it yet."""
    lock, started = folder / LOCK, _started.get(folder.name)
    if started is not None:
        if started.poll() is None:
            return True
        del _started[folder.name]
        return False
    if lock_is_held(lock):
        return True
    begun = lock.exists() and lock.stat().st_size > 0  # written once the lock is held
    return not begun and time.time() - float(_read(folder / REQUEST).get("asked", 0.0)) < STARTING_SECONDS


def cores() -> int:
    """Runs at work at once."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


# the lock -------------------------------------------------------------------------------------------


@contextmanager
def lock_held(path: Path, *, patience: float = 5.0) -> Iterator[bool]:
    """Hold a lock for as long as this process lives or the block lasts; False when another process keeps it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        until = time.monotonic() + patience  # whoever looks at a lock holds it for a moment
        while not (taken := _take(handle)) and time.monotonic() < until:
            time.sleep(0.02)
        if taken:
            os.write(handle, str(os.getpid()).encode())
        yield taken
    finally:
        os.close(handle)


def lock_is_held(path: Path) -> bool:
    """Whether a process holds the lock."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _take(handle, shared=True)
    finally:
        os.close(handle)


if sys.platform == "win32":
    import msvcrt

    def _take(handle: int, *, shared: bool = False) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _take(handle: int, *, shared: bool = False) -> bool:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
