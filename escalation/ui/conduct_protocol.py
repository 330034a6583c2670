"""The protocol in force in a trial: what is locked in, its amendments, and the closing of the trial."""

from __future__ import annotations

import json
from collections.abc import Callable

import streamlit as st

from escalation.conduct import records as r
from escalation.conduct.listings import signature_words
from escalation.conduct.roles import Permission
from escalation.conduct.service import Receipt
from escalation.trial_desk import check_version
from escalation.ui import blocks
from escalation.ui.conduct_acts import Attempt, Values, act, receipt_at, show_receipt
from escalation.ui.conduct_desk import Desk, barred
from escalation.ui.conduct_fields import ask, fields_of
from escalation.ui.conduct_participant_acts import writer
from escalation.ui.study_in_hand import chooser, study_in_hand


def protocol_view(desk: Desk) -> None:
    """The study as it is locked in, and what an investigator may do about it."""
    study, opened = desk.state.in_force(), desk.state.opened
    assert opened is not None
    rows = [
        ("Study", f"{study.id}: {study.title}"),
        ("Hash", study.hash),
        ("Design", study.protocol.rule.design.label),
        ("Opened", f"{desk.state.opened_on}, {signature_words(opened.signature)}"),
        ("Time zone of the site", opened.zone),
        ("Eligibility criteria", opened.criteria or "none: the verdict is recorded as assessed"),
        ("Signatures that put a decision in effect", str(opened.signatures_needed)),
        ("Closed", desk.state.closed or "no"),
    ]
    for seq, amended in desk.state.amendments:
        said = (
            f"in force from {amended.from_date}, hash {amended.study_hash[:16]}, {signature_words(amended.signature)}"
        )
        rows.append((f"Amendment, entry {seq}", said))
    blocks.records(("what", "as locked in"), rows)
    with st.expander("The study in force, whole"):
        st.code(json.dumps(study.as_dict(), indent=2, ensure_ascii=False), language="json")
    receipt = receipt_at("protocol:")
    if receipt is not None:
        show_receipt(desk, receipt, "Continue")
        return
    acts = {"amend": "Amend the protocol", "close": "Close the trial"}
    chosen = st.pills("What to do", list(acts), format_func=acts.__getitem__, key=f"act:protocol:{desk.trial}")
    if chosen == "amend":
        _amend(desk)
    elif chosen == "close":
        _close(desk)


def _amend(desk: Desk) -> None:
    if barred(desk, Permission.AMEND_PROTOCOL):
        return
    chooser()
    study = study_in_hand()
    st.markdown(f"The study in hand, **{blocks.plain(study.id)}**, hash `{study.hash}`, would come into force.")
    for notice in study.notices:
        st.warning(blocks.plain(notice), icon=":material/warning:")

    def show(key: Callable[[str], str]) -> list[str]:
        st.date_input("In force from", desk.today, key=key("from_date"), format="YYYY-MM-DD", max_value=desk.today)
        st.text_area("Reason", "", key=key("reason"), height=80)
        st.text_input("Your password, to sign", type="password", key=key("password"), autocomplete="off")
        return ["from_date", "reason", "password"]

    def write(values: Values, attempt: Attempt) -> Receipt:
        check_version(desk.conduct, desk.trial, attempt.version)
        password, reason = str(values["password"] or ""), str(values["reason"] or "")
        return desk.conduct.amend(desk.token, desk.trial, study, password, values["from_date"], reason, key=attempt.key)

    act(desk, f"protocol:amend:{study.hash}", show, write, button="Sign and amend", again="Continue")


def _close(desk: Desk) -> None:
    if barred(desk, Permission.CLOSE_TRIAL):
        return
    fields = fields_of(r.TrialClosed, "outcome")
    fields[0] = fields[0].starting("", help="For instance the recommended regimen, or why the trial ends.")
    st.caption("Nobody is treated under the protocol any more; safety follow-up and queries go on.")
    write = writer(desk, r.TrialClosed, fields, {})
    act(
        desk,
        "protocol:close",
        lambda key: ask(fields, key, desk.now),
        write,
        button="Close the trial",
        again="Continue",
    )
