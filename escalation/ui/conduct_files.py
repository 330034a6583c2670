"""Exports of a conducted trial as the bytes a browser downloads: made when they are asked for, and logged."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from escalation.conduct.backup import dump
from escalation.conduct.listing_files import write_csv, write_excel
from escalation.conduct.listings import listings
from escalation.conduct.roles import Permission
from escalation.conduct.sdtm_files import write_sdtm
from escalation.safe_text import csv_text
from escalation.ui.conduct_desk import Desk


def _allowed(desk: Desk) -> None:
    """Refuse whoever may not export, and write into the account log that somebody did."""
    desk.conduct.authorise(desk.token, desk.trial, Permission.EXPORT)


def listing_csv(desk: Desk, name: str) -> bytes:
    """One listing as CSV with a byte-order mark."""
    _allowed(desk)
    frame = listings(desk.conduct.ledger.entries(desk.trial), desk.conduct.accounts.now())[name]
    return csv_text(frame).encode("utf-8-sig")


def workbook(desk: Desk) -> bytes:
    """Every listing in one Excel workbook."""
    _allowed(desk)
    at = desk.conduct.accounts.now()
    with TemporaryDirectory() as folder:
        path = write_excel(Path(folder) / "listings.xlsx", listings(desk.conduct.ledger.entries(desk.trial), at), at=at)
        return path.read_bytes()


def listings_zip(desk: Desk) -> bytes:
    """Every listing as CSV files with their cover, in one archive."""
    _allowed(desk)
    at = desk.conduct.accounts.now()
    with TemporaryDirectory() as folder:
        return _zipped(
            write_csv(Path(folder) / "listings", listings(desk.conduct.ledger.entries(desk.trial), at), at=at)
        )


def sdtm_zip(desk: Desk) -> bytes:
    """Domains in the shape of SDTM, in one archive."""
    _allowed(desk)
    with TemporaryDirectory() as folder:
        return _zipped(write_sdtm(Path(folder) / "sdtm", desk.conduct.ledger.entries(desk.trial)))


def dumped(desk: Desk) -> bytes:
    """Every entry with its hash as JSON, for an inspector to verify."""
    _allowed(desk)
    return dump(desk.conduct.ledger, desk.trial).encode("utf-8", "surrogatepass") + b"\n"


def _zipped(files: tuple[Path, ...]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.name)
    return made.getvalue()


FILES: Final[dict[str, tuple[str, str, str, Callable[[Desk], bytes], str]]] = {
    "dump": (
        "Entries with their hashes (JSON)",
        "json",
        "application/json",
        dumped,
        "The copy an inspector takes away and can verify.",
    ),
    "excel": (
        "All listings (Excel)",
        "xlsx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        workbook,
        "One workbook with a cover sheet.",
    ),
    "csv": ("All listings (CSV)", "zip", "application/zip", listings_zip, "One file a listing, with a cover."),
    "sdtm": (
        "SDTM-shaped domains",
        "zip",
        "application/zip",
        sdtm_zip,
        "A CSV file a domain and a README; conformance is not claimed.",
    ),
}
"""Every export: its name on the button, its ending, its type, how it is made, and what it is."""
