"""``escalation trial``: live conduct from the command line, recommendations and records, never a dose."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from escalation import trial_cli_data, trial_cli_decisions, trial_cli_invented
from escalation.trial_cli_accounts import SETTINGS, app, may, roles_today
from escalation.trial_cli_records import register
from escalation.trial_cli_shared import (
    DatabaseOption,
    JsonOption,
    KeyOption,
    ParticipantArgument,
    StdinOption,
    StudyArgument,
    TrialArgument,
    VersionOption,
    WhyOption,
    allow,
    check_version,
    console,
    print_json,
    print_receipt,
    read_day,
    read_json,
    refused,
    signed_in,
    signing,
    utc_day,
)

__all__ = ["app"]

query = typer.Typer(help="Questions on recorded values.", **SETTINGS)


# the protocol -----------------------------------------------------------------------------------


@app.command("open")
def open_(
    trial: TrialArgument,
    study: StudyArgument,
    criteria: Annotated[str | None, typer.Option(help="Name of the eligibility criteria.")] = None,
    zone: Annotated[str, typer.Option(help="The site's time zone, for instance Asia/Shanghai.")] = "UTC",
    signatures_needed: Annotated[int, typer.Option(help="Signatures that put a decision in effect.", min=1)] = 1,
    draw_seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**63 - 1, help="Seed of a design that draws; from your signature if left out."),
    ] = None,
    expected_version: VersionOption = None,
    key: KeyOption = None,
    database: DatabaseOption = None,
    password_stdin: StdinOption = False,
    as_json: JsonOption = False,
) -> None:
    """Lock the protocol in, signed with the password; this opens the starting regimen."""
    from escalation.conduct.records import DrawStream
    from escalation.conduct.windows import site_zone
    from escalation.study import load

    loaded = load(study)
    site_zone(zone)
    with signed_in(database) as (conduct, token):
        check_version(conduct, trial, None if key else expected_version)  # before the password is asked for
        receipt = conduct.open_trial(
            token,
            trial,
            loaded,
            signing(password_stdin),
            zone=zone,
            criteria=criteria,
            signatures_needed=signatures_needed,
            draws=None if draw_seed is None else DrawStream(seed=draw_seed),
            expected_version=expected_version,
            key=key,
        )
    print_receipt(receipt, as_json, {"study_hash": loaded.hash}, "\n".join([f"study {loaded.hash}", *loaded.notices]))


@app.command()
def amend(
    trial: TrialArgument,
    study: StudyArgument,
    from_date: Annotated[str, typer.Option(metavar="DATE", help="In force from this day on.")],
    reason: WhyOption,
    expected_version: VersionOption = None,
    key: KeyOption = None,
    database: DatabaseOption = None,
    password_stdin: StdinOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put an amended protocol in force, signed; earlier decisions keep the version they were made under."""
    from escalation.study import load

    loaded = load(study)
    with signed_in(database) as (conduct, token):
        check_version(conduct, trial, None if key else expected_version)  # before the password is asked for
        day, password = read_day(from_date, utc_day(conduct)), signing(password_stdin)
        receipt = conduct.amend(token, trial, loaded, password, day, reason, expected_version=expected_version, key=key)
    print_receipt(receipt, as_json, {"study_hash": loaded.hash}, f"study {loaded.hash}")


@app.command("list")
def list_(database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """The trials you are delegated in."""
    with signed_in(database) as (conduct, token):
        user = conduct.accounts.authenticate(token)
        rows = []
        for trial, held in roles_today(conduct, user.name).items():
            row: dict[str, Any] = {"trial": trial, "roles": [str(role) for role in held]}
            if may(conduct, user.name, trial, "READ_TRIAL"):
                state = conduct.state(token, trial)
                row["study"] = None if state.study is None else state.study.id
                row["status"] = "closed" if state.closed else "open" if state.opened else "not opened"
                row["participants"] = len(state.people)
            rows.append(row)
    if as_json:
        print_json({"trials": rows})
        return
    for row in rows:
        more = f"  {row['study'] or ''} {row['status']}, {row['participants']} participants" if "status" in row else ""
        typer.echo(f"{row['trial']}  ({', '.join(row['roles']).replace('_', ' ')}){more}")


# the trial today --------------------------------------------------------------------------------


@app.command()
def status(trial: TrialArgument, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """What is urgent, who is where, when the next may be assigned, and what the design says."""
    from escalation.conduct.status import status_form
    from escalation.report.conduct_tables import print_status

    with signed_in(database) as (conduct, token):
        state = conduct.state(token, trial)
        form = status_form(state, trial, conduct.accounts.now(), conduct.ledger.head(trial))
    if as_json:
        print_json(form)
    else:
        print_status(console(), form)


@app.command()
def evaluate(
    trial: TrialArgument,
    participant: ParticipantArgument,
    answers: Annotated[
        str,
        typer.Argument(
            metavar="ANSWERS_JSON",
            help="JSON file with the list of answers: criterion, value, unit, sample_time, ...; - is standard input.",
        ),
    ],
    anchor: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DATE", help="A day of the trial the criteria count from; may be repeated."),
    ] = None,
    expected_version: VersionOption = None,
    key: KeyOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate the trial's eligibility criteria on the answers, and record both; there are no waivers."""
    from escalation.conduct.eligibility import Answer

    listed = read_json(answers)
    if not isinstance(listed, list):
        raise refused(f"{answers}: no JSON list of answers")
    given = [Answer.model_validate(each) for each in listed]
    with signed_in(database) as (conduct, token):
        today = conduct.accounts.now().astimezone(conduct.state(token, trial).zone).date()
        anchors = {}
        for each in anchor or []:
            name, separator, day = each.partition("=")
            if not separator or name in anchors:
                raise refused(f"{each!r}: write each day once, as NAME=DATE")
            anchors[name] = read_day(day, today)
        receipt = conduct.record_eligibility(
            token, trial, participant, given, anchors=anchors, expected_version=expected_version, key=key
        )
    made = receipt.entries[-1].payload
    lines = [f"{participant}: {made['verdict'].replace('_', ' ')}", *made["findings"]]
    print_receipt(receipt, as_json, {"verdict": made["verdict"], "findings": made["findings"]}, "\n".join(lines))


@app.command()
def assign(
    trial: TrialArgument,
    participant: ParticipantArgument,
    backfill: Annotated[
        bool, typer.Option("--backfill", help="Assign below the open cohort, to the regimen open for backfill.")
    ] = False,
    expected_version: VersionOption = None,
    key: KeyOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Assign a participant to the open regimen, in the role that follows from the cohort, or backfill one."""
    with signed_in(database) as (conduct, token):
        receipt = conduct.assign(
            token, trial, participant, backfill=backfill, expected_version=expected_version, key=key
        )
        grid, made = conduct.state(token, trial).in_force().protocol.grid, receipt.entries[-1].payload
        from escalation.regimens import Regimen

        where = grid.describe(grid.index(Regimen(**made["regimen"])))
    replaces = f", replacing {made['replaces']}" if made["replaces"] else ""
    line = f"{participant}: {where}, {made['role']}{replaces}"
    more = {"regimen": made["regimen"], "role": made["role"], "replaces": made["replaces"]}
    print_receipt(receipt, as_json, more, line)


@app.command()
def adjudicate(
    trial: TrialArgument,
    participant: ParticipantArgument,
    adjudication: Annotated[str, typer.Option(help="The code it was proposed under.")],
    outcome: Annotated[str, typer.Option(help="dlt, not_dlt or deferred.")],
    attribution: Annotated[str, typer.Option(help="unrelated, unlikely, possible, probable or definite.")],
    discussion: Annotated[str, typer.Option(help="What was weighed.")],
    expected_version: VersionOption = None,
    key: KeyOption = None,
    database: DatabaseOption = None,
    password_stdin: StdinOption = False,
    as_json: JsonOption = False,
) -> None:
    """Settle a proposed DLT, signed with the password."""
    from escalation.conduct.records import DltDecided

    said = {"participant": participant, "adjudication": adjudication, "outcome": outcome, "attribution": attribution}
    said["discussion"] = discussion
    DltDecided.model_validate({**said, "proposal_hash": "", "signature": {}})  # refused before a password is asked for
    with signed_in(database) as (conduct, token):
        receipt = conduct.adjudicate(
            token, trial, signing(password_stdin), **said, expected_version=expected_version, key=key
        )
    print_receipt(receipt, as_json)


@app.command()
def correct(
    trial: TrialArgument,
    entry: Annotated[int, typer.Argument(metavar="ENTRY", help="Number of the entry.")],
    field: Annotated[str, typer.Option(help="The field whose value is wrong.")],
    new: Annotated[str, typer.Option(help="The right value; JSON where it is a number, true, null or a list.")],
    reason: WhyOption,
    expected_version: VersionOption = None,
    key: KeyOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replace one value of an earlier entry; the old one, who, when and why stay readable."""
    import json

    with signed_in(database) as (conduct, token):
        conduct.state(token, trial)
        check_version(conduct, trial, None if key else expected_version)
        value: Any = new
        target = next((e for e in conduct.ledger.entries(trial) if e.seq == entry), None)
        if target is not None and not isinstance(target.payload.get(field), str):
            try:
                value = json.loads(new)
            except ValueError:
                value = new
        receipt = conduct.correct(token, trial, entry, field, value, reason, expected_version=expected_version, key=key)
    made = receipt.entries[-1].payload
    print_receipt(
        receipt, as_json, {"old": made["old"], "new": made["new"]}, f"{made['old']!r} becomes {made['new']!r}"
    )


for _act in (
    trial_cli_decisions.snapshot,
    trial_cli_decisions.recommend,
    trial_cli_decisions.committee,
    trial_cli_decisions.sign,
):
    app.command()(_act)


# reading back -----------------------------------------------------------------------------------


@app.command()
def audit(
    trial: TrialArgument,
    participant: Annotated[str | None, typer.Option(help="Only what concerns this participant.")] = None,
    user: Annotated[str | None, typer.Option(help="Only what this user recorded.")] = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Who recorded what, when and why, from the first entry."""
    from escalation.report.conduct_tables import audit_rows, print_audit

    with signed_in(database) as (conduct, token):
        conduct.state(token, trial)
        rows = audit_rows(conduct.ledger.entries(trial), participant, user)
    if as_json:
        print_json({"trial": trial, "entries": [entry.as_dict() for entry in rows]})
    else:
        print_audit(console(), rows)


@app.command()
def verify(
    trial: TrialArgument,
    head: Annotated[str | None, typer.Option(metavar="HASH", help="A head hash printed or kept elsewhere.")] = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hash, fold and decide a trial again from its first entry; exit code 1 when anything departs."""
    from escalation.conduct.verify import verify_trial

    with signed_in(database) as (conduct, token):
        conduct.accounts.authenticate(token)
        chain = conduct.ledger.check(trial, head)
        if chain.ok:
            allow(conduct, token, "VERIFY", trial)
            report = verify_trial(trial, conduct.ledger.entries(trial), head)
            findings = [{"entry": f.seq, "problem": f.problem} for f in report.findings]
            entries, decided, drawn = report.entries, report.recommendations, report.draws
            last, text = report.head, str(report)
        else:  # permissions are in the entries too: when these depart, saying where comes first
            findings = [{"entry": chain.first_bad or 0, "problem": f"{chain.departure}: {chain.detail}"}]
            entries, decided, drawn, last, text = chain.entries, 0, 0, chain.head.hash, str(chain)
    if not entries and not findings:
        raise refused(f"there is no trial {trial!r}")
    if as_json:
        form = {"trial": trial, "holds": not findings, "entries": entries, "recommendations": decided, "draws": drawn}
        print_json({**form, "head": last, "findings": findings})
    else:
        typer.echo(text)
        for finding in findings[1:]:
            typer.echo(f"entry {finding['entry']} departs: {finding['problem']}")
    if findings:
        raise typer.Exit(1)


app.command()(trial_cli_invented.demo)
app.command()(trial_cli_invented.simulate)
app.command("export")(trial_cli_data.export)
app.command("import")(trial_cli_data.import_)
app.command("backup")(trial_cli_data.backup)
app.command("restore")(trial_cli_data.restore)
app.command("upgrade")(trial_cli_data.upgrade)
register(app)
register(query, "query")
app.add_typer(query, name="query")
