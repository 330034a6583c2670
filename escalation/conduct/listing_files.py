"""Listings as files: CSV files in a folder or one Excel workbook, with a cover that says what they were made of."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from escalation import safe_text
from escalation.safe_text import ExportError


def cover(frames: Mapping[str, pd.DataFrame], at: datetime) -> pd.DataFrame:
    """What frames of one trial say about themselves, as a sheet of its own."""
    known = [dict(frame.attrs) for frame in frames.values()]
    if not known or any(each != known[0] or "head" not in each for each in known):
        raise ExportError("the frames are not of one trial at one version; make all of them from the same entries")
    about = known[0]
    lines = [
        ("trial", about["trial"]),
        ("study", about["study"]),
        ("notice", about["notices"] or "none"),
        ("version (last entry)", about["version"]),
        ("head hash", about["head"]),
        ("chain", about["chain"]),
        ("study hash", about["study_hash"]),
        ("time zone of the site", about["zone"]),
        ("software", f"escalation {about['software']}"),
        ("recorded with", f"escalation {about['recorded_with']}"),
        ("made at (UTC)", at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")),
        ("texts", "an apostrophe stands before a text that a spreadsheet could calculate; <U+202E> and the like"),
        ("", "stand for characters that hide or reverse text. The ledger keeps every text as it was entered."),
    ]
    lines += [(f"rows in {name}", len(frame)) for name, frame in frames.items()]
    return pd.DataFrame(lines, columns=["item", "value"], dtype=object)


def write_csv(folder: str | os.PathLike[str], frames: Mapping[str, pd.DataFrame], *, at: datetime) -> tuple[Path, ...]:
    """Listings as CSV files in a new folder, with a cover and a README; whole or not at all."""
    front = cover(frames, at)
    readme = "\n".join(f"{item}: {value}" if item else f"  {value}" for item, value in front.itertuples(index=False))
    return safe_text.write_frames(folder, {"cover": front, **frames}, readme + "\n")


def write_excel(path: str | os.PathLike[str], frames: Mapping[str, pd.DataFrame], *, at: datetime) -> Path:
    """Listings as one Excel workbook with a cover sheet; whole or not at all."""
    sheets = {"cover": cover(frames, at), **frames}
    with safe_text.whole_file(path) as made:
        safe_text.write_workbook(made, sheets)
    return Path(path)
