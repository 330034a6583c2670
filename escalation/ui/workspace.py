"""What the front end keeps outside the browser, so that a reload loses nothing: study texts and simulation runs.

Studies are kept under the hash of their text: an address names exactly one text, for whoever has the
address. Nothing clinical is kept here; that belongs to the ledger.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Final

import typer

from escalation.errors import Fault, StudyError

WORKSPACE: Final = "ESCALATION_WORKSPACE"
"""Environment variable naming the folder."""
_KEY: Final = re.compile(r"^[0-9a-f]{32}$")


def workspace() -> Path:
    """The folder, made when it is missing."""
    named = os.environ.get(WORKSPACE)
    folder = Path(named) if named else Path(typer.get_app_dir("escalation")) / "workspace"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def keep_study(text: str) -> str:
    """Keep a study's text; returns the key that finds it again."""
    key = hashlib.sha256(text.encode()).hexdigest()[:32]
    path = _study_path(key)
    if not path.exists():
        write_whole(path, text)
    return key


def is_kept(key: str) -> bool:
    """Whether a key is that of a kept study."""
    return bool(_KEY.match(key)) and _study_path(key).exists()


def kept_study(key: str) -> str:
    """The text kept under a key; raises StudyError when there is none."""
    if not is_kept(key):
        problem = "no study is kept under this address"
        raise StudyError((Fault("study", problem, "choose a preset, or load the study file again"),), key[:32])
    return _study_path(key).read_text(encoding="utf-8")


def _study_path(key: str) -> Path:
    folder = workspace() / "studies"
    folder.mkdir(exist_ok=True)
    return folder / f"{key}.yaml"


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or nothing."""
    handle, name = tempfile.mkstemp(prefix=".part-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
