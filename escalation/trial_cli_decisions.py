"""The commands of a decision: snapshot, recommendation, committee record and signatures."""

from __future__ import annotations

from typing import Annotated

import typer

from escalation.trial_cli_shared import (
    DatabaseOption,
    JsonOption,
    KeyOption,
    StdinOption,
    TrialArgument,
    VersionOption,
    print_receipt,
    refused,
    signed_in,
    signing,
)


def snapshot(
    trial: TrialArgument,
    expected_version: VersionOption = None,
    key: KeyOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Freeze the data a decision will rest on, with its gaps listed."""
    with signed_in(database) as (conduct, token):
        receipt = conduct.snapshot(token, trial, expected_version=expected_version, key=key)
    made = receipt.entries[-1].payload
    lines = [f"data {made['data_hash']}", *(f"gap: {gap}" for gap in made["gaps"])]
    lines.append(f"next: escalation trial recommend {trial} {receipt.version}")
    print_receipt(receipt, as_json, {"data_hash": made["data_hash"], "gaps": made["gaps"]}, "\n".join(lines))


def recommend(
    trial: TrialArgument,
    snapshot: Annotated[int, typer.Argument(metavar="SNAPSHOT", help="Entry number of the snapshot.")],
    expected_version: VersionOption = None,
    key: KeyOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """What the design recommends on a snapshot; where it randomises, the regimen is drawn and recorded."""
    from escalation.conduct.draws import draw_words

    with signed_in(database) as (conduct, token):
        receipt = conduct.recommend(token, trial, snapshot, expected_version=expected_version, key=key)
    advice = receipt.entries[-1].payload["advice"]
    lines = [advice["text"], *(f"  {line}" for line in advice["outlook"])]
    if "draw" in advice:
        lines.append(f"drawn with {draw_words(advice['draw'])}; asking again draws the same")
    if advice["decides"]:
        lines.append(f"next: escalation trial committee {trial} {receipt.version} --action {advice['action']}")
    else:
        lines.append("there is nothing to decide yet; take a new snapshot when the outcomes awaited are recorded")
    print_receipt(receipt, as_json, {"advice": advice}, "\n".join(lines))


def committee(
    trial: TrialArgument,
    recommendation: Annotated[int, typer.Argument(metavar="RECOMMENDATION", help="Its entry number.")],
    meeting: Annotated[str, typer.Option(help="Name or number of the meeting.")],
    attendance: Annotated[list[str], typer.Option(help="Who was there, with the role; may be repeated.")],
    discussion: Annotated[str, typer.Option(help="What was weighed.")],
    action: Annotated[str, typer.Option(help="escalate, stay, de_escalate, stop or suspend.")],
    regimen: Annotated[
        str | None, typer.Option(metavar="DOSE,FREQUENCY", help="Levels of the regimen; the recommended if left out.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Participants; as recommended if left out.")] = None,
    selected: Annotated[
        list[str] | None, typer.Option(metavar="DOSE,FREQUENCY", help="Regimens selected at the end; may be repeated.")
    ] = None,
    justification: Annotated[str, typer.Option(help="Why the decision departs from the recommendation.")] = "",
    draw_set_aside: Annotated[
        str, typer.Option(help="Why another regimen the design allows is treated than the one drawn.")
    ] = "",
    dissent: Annotated[str, typer.Option(help="Who disagreed, and why.")] = "",
    acknowledged: Annotated[list[str] | None, typer.Option(help="What was acknowledged; may be repeated.")] = None,
    expected_version: VersionOption = None,
    key: KeyOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """What the committee decided; regimen, size and selection are the recommended ones when the action is."""
    from escalation.conduct.draws import may_be_treated
    from escalation.conduct.records import CommitteeRecorded

    with signed_in(database) as (conduct, token):
        known = conduct.state(token, trial).recommendations.get(recommendation)
        asked = None if regimen is None else levels(regimen)
        advice = {} if known is None else known.advice
        if advice.get("action") != action and asked not in may_be_treated(advice):
            advice = {}
        chosen = [levels(each) for each in selected] if selected else advice.get("selected", [])
        record = CommitteeRecorded.model_validate(
            {
                "recommendation": recommendation,
                "meeting": meeting,
                "attendance": attendance,
                "discussion": discussion,
                "action": action,
                "regimen": advice.get("next") if asked is None else asked,
                "size": advice.get("size", 0) if size is None else size,
                "selected": chosen if action == "stop" else [],
                "justification": justification,
                "draw_set_aside": draw_set_aside,
                "dissent": dissent,
                "acknowledged": acknowledged or [],
            }
        )
        receipt = conduct.record(token, trial, record, expected_version=expected_version, key=key)
    print_receipt(receipt, as_json, None, f"next: escalation trial sign {trial} {receipt.version}")


def sign(
    trial: TrialArgument,
    committee: Annotated[int, typer.Argument(metavar="COMMITTEE", help="Entry number of the committee record.")],
    expected_version: VersionOption = None,
    key: KeyOption = None,
    database: DatabaseOption = None,
    password_stdin: StdinOption = False,
    as_json: JsonOption = False,
) -> None:
    """Sign a committee record with the password; the last signature needed puts it in effect."""
    with signed_in(database) as (conduct, token):
        conduct.accounts.authenticate(token)
        receipt = conduct.sign_decision(
            token, trial, committee, signing(password_stdin), expected_version=expected_version, key=key
        )
        decision = conduct.state(token, trial).decisions[committee]
    made, in_effect = receipt.entries[-1].payload["signature"], decision.effective is not None
    after = (
        f"in effect; next: escalation trial circulate {trial} {committee}" if in_effect else "more signatures needed"
    )
    words = f"{made['printed_name']}, {made['role'].replace('_', ' ')}: {made['meaning']} ({made['method']})"
    print_receipt(receipt, as_json, {"signature": made, "in_effect": in_effect}, f"{words}\n{after}")


def levels(text: str) -> dict[str, int]:
    """A regimen as typed: ``1,2`` is dose level 1 at frequency level 2."""
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
        raise refused(f"{text!r} is no regimen; write its dose and frequency levels, for instance 1,2")
    return {"dose": int(parts[0]), "frequency": int(parts[1])}
