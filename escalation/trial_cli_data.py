"""The commands of data in and out: exports, imports, backups and their restoration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from escalation.trial_cli_shared import (
    DatabaseOption,
    JsonOption,
    TrialArgument,
    allow,
    print_json,
    refused,
    signed_in,
)

BackupArgument = Annotated[Path, typer.Argument(metavar="PATH", help="The backup; its manifest stands beside it.")]


def export(
    trial: TrialArgument,
    csv: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Listings as CSV files in a new folder.")] = None,
    excel: Annotated[Path | None, typer.Option(metavar="FILE", help="Listings as one Excel workbook.")] = None,
    sdtm: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Domains in the shape of SDTM, in a new folder.")
    ] = None,
    dump: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Every entry with its hash, for an inspector to verify.")
    ] = None,
    site: Annotated[str | None, typer.Option(help="The site's number in SDTM; 01 if left out.")] = None,
    country: Annotated[
        str | None, typer.Option(metavar="CODE", help="Its country in SDTM, by ISO 3166-1 alpha-3, for instance CHN.")
    ] = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a trial out: listings, SDTM-shaped domains, or its entries as they are."""
    asked = {"csv": csv, "excel": excel, "sdtm": sdtm, "dump": dump}
    named = [(form, path) for form, path in asked.items() if path is not None]
    if len(named) != 1:
        raise refused("name one of --csv FOLDER, --excel FILE, --sdtm FOLDER and --dump FILE")
    ((form, path),) = named
    place = {key: value for key, value in {"site": site, "country": country}.items() if value is not None}
    if place and form != "sdtm":
        belong = "belong" if len(place) > 1 else "belongs"
        raise refused(f"--{' and --'.join(place)} {belong} to --sdtm FOLDER; the other forms have no such column")
    if country is not None and not re.fullmatch("[A-Z]{3}", country):
        raise refused(f"country {country!r} is no ISO 3166-1 alpha-3 code; write for example CHN")
    if site is not None and not re.fullmatch("[A-Za-z0-9-]{1,20}", site):
        raise refused(f"site {site!r} is no site number; write up to 20 letters, digits and hyphens, for example 01")
    with signed_in(database) as (conduct, token):
        allow(conduct, token, "EXPORT", trial)
        files, version, head = _written(conduct, trial, form, path, place)
    if as_json:
        shown = {"trial": trial, "version": version, "head": head, "form": form}
        print_json({**shown, "files": [str(file) for file in files]})
        return
    for file in files:
        typer.echo(str(file))
    typer.echo(f"{trial}, {version} entries, head {head}")


def _written(
    conduct: Any, trial: str, form: str, path: Path, place: dict[str, str]
) -> tuple[tuple[Path, ...], int, str]:
    """Write an export; its files, and the last entry it was made of with its hash."""
    entries, now = conduct.ledger.entries(trial), conduct.accounts.now()
    if not entries:
        raise refused(f"there is no trial {trial!r}")
    files: tuple[Path, ...] = (path,)
    if form == "dump":
        from escalation.conduct.backup import dump
        from escalation.conduct.canonical import parse
        from escalation.conduct.safe_text import whole_file

        text = dump(conduct.ledger, trial)
        head = parse(text)["head"]
        with whole_file(path) as made:
            made.write_bytes(text.encode("utf-8", "surrogatepass") + b"\n")
        return files, head["seq"], head["hash"]
    if form == "sdtm":
        from escalation.conduct.sdtm_files import write_sdtm

        files = write_sdtm(path, entries, **place)
    else:
        from escalation.conduct.listing_files import write_csv, write_excel
        from escalation.conduct.listings import listings

        frames = listings(entries, now)
        if form == "csv":
            files = write_csv(path, frames, at=now)
        else:
            write_excel(path, frames, at=now)
    return files, entries[-1].seq, entries[-1].hash


def import_(
    trial: TrialArgument,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="participants, infusions, adverse_events or laboratory.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV file, UTF-8; times without offset are the site's.")],
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record what a CSV file holds, once all of it is sound; a refusal lists every fault with its row."""
    from escalation.conduct.import_apply import apply
    from escalation.conduct.imports import read_csv

    with signed_in(database) as (conduct, token):
        allow(conduct, token, "IMPORT_DATA", trial)
        chosen: Any = kind
        records = read_csv(chosen, file.read_bytes(), zone=conduct.state(token, trial).zone)
        entries = apply(conduct, token, trial, records)
        head = conduct.ledger.head(trial)
    if as_json:
        made = [entry.seq for entry in entries]
        print_json({"trial": trial, "kind": kind, "version": head.seq, "head": head.hash, "recorded": made})
        return
    before = len(records) - len(entries)
    typer.echo(f"recorded: {len(entries)} entries of {trial}{f', {before} were there already' if before else ''}")
    typer.echo(f"head {head.hash}")


def backup(path: BackupArgument, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Copy the database into a new file that has been read back and verified, with its manifest beside it."""
    from escalation.conduct.backup import backup as copied

    with signed_in(database) as (conduct, token):
        allow(conduct, token, "BACKUP")
        manifest = copied(conduct.ledger, path)
    _told(manifest, f"{path} holds", as_json)


def restore(
    path: BackupArgument,
    database: Annotated[str, typer.Option(metavar="NEW", help="A new or empty database: SQLite file or URL.")],
    as_json: JsonOption = False,
) -> None:
    """Restore the entries and accounts of a verified backup into a new database; nobody needs to be signed in."""
    from escalation.conduct.backup import restore as restored

    _told(restored(path, database), "restored", as_json)


def upgrade(database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Bring a database of an earlier version to this one, wholly or not at all; nobody needs to be signed in."""
    from escalation.conduct.installation import default_database
    from escalation.conduct.store import migrate

    place = database or default_database()
    found = migrate(place, create=False)
    if as_json:
        print_json({"database": place, "schema": found})
    else:
        typer.echo(f"{place} has schema {found}")


def _told(manifest: Any, what: str, as_json: bool) -> None:
    if as_json:
        print_json(manifest.as_dict())
        return
    for trial, head in manifest.trials.items():
        typer.echo(f"{what} {trial}: {head.seq} entries, head {head.hash}")
