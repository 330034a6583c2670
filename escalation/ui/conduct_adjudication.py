"""Adjudication of proposed DLTs: pending is not negative; somebody else than the proposer settles, signed."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from escalation.conduct import records as r
from escalation.conduct.listings import listings
from escalation.conduct.roles import Permission
from escalation.conduct.service import Receipt
from escalation.conduct.state import Person
from escalation.conduct.treatment import dlt_window
from escalation.ui import blocks
from escalation.ui.conduct_acts import Attempt, Values, act, receipt_at, show_receipt
from escalation.ui.conduct_desk import Desk, barred
from escalation.ui.conduct_fields import ask, fields_of, read_fields

_FIELDS = ("outcome", "attribution", "discussion")


def adjudication_view(desk: Desk) -> None:
    """Proposals that wait, the form that settles one, and everything decided before."""
    st.caption(
        "A proposed DLT keeps its participant pending, and treatment stops, until the committee has settled it. "
        "Pending is not negative."
    )
    waiting = [
        (person, code)
        for person in desk.state.people.values()
        for code, each in person.adjudications.items()
        if each.outcome is None
    ]
    settled = [
        (person, code)
        for person in desk.state.people.values()
        for code, each in person.adjudications.items()
        if each.outcome is not None
    ]
    receipt = receipt_at("adjudicate:")
    if receipt is not None:
        show_receipt(desk, receipt, "Continue")
    elif not waiting and not settled:
        st.info("No DLT is proposed. Proposals are made on the participant's page.")
    else:
        if not waiting:
            st.success("No proposal waits.", icon=":material/check:")
        _settle(desk, waiting, settled)
    _history(desk)


def _settle(desk: Desk, waiting: list[tuple[Person, str]], settled: list[tuple[Person, str]]) -> None:
    for person, code in waiting:
        proposed = person.adjudications[code]
        place = dlt_window(desk.state, person).place(proposed.proposed.onset)
        deferred = ", deferred" if proposed.decisions else ""
        with st.container(border=True):
            st.markdown(f"**{person.code} {code}**: waits for adjudication{deferred}; counts as pending")
            st.markdown(blocks.plain(f"Criterion: {proposed.proposed.criterion}"))
            st.markdown(
                blocks.plain(f"Onset {proposed.proposed.onset}: {place.words}. Proposed by {proposed.proposed_by}.")
            )
            for event in proposed.proposed.events:
                found = person.events[event]
                grades = ", ".join(str(grade) for _, grade in person.grades[event])
                said = f"{event} {found.term}: grade {grades}, {found.attribution}, onset {found.onset}"
                st.markdown(f"- {blocks.plain(said)}")
    if barred(desk, Permission.ADJUDICATE_DECIDE):
        return
    listed = [*waiting, *settled]
    names = {f"{person.code} {code}": (person, code) for person, code in listed}
    first = 0 if waiting else None
    chosen = st.selectbox(
        "Settle, or settle again", list(names), index=first, key=f"act:adjudicate:{desk.trial}", placeholder="Choose"
    )
    if chosen is not None:
        _form(desk, *names[chosen])


def _form(desk: Desk, person: Person, code: str) -> None:
    fields = fields_of(r.DltDecided, *_FIELDS)

    def show(key: Callable[[str], str]) -> list[str]:
        names = ask(fields, key, desk.now)
        st.text_input("Your password, to sign", type="password", key=key("password"), autocomplete="off")
        meaning = f"adjudicates the DLT of {person.code} with the outcome above."
        st.caption(blocks.plain(f"Signing as {desk.user.full_name}: {meaning}"))
        return [*names, "password"]

    def write(values: Values, attempt: Attempt) -> Receipt:
        given = read_fields(fields, values, desk.state.zone, desk.now)
        said = {"participant": person.code, "adjudication": code, **given}
        r.DltDecided.model_validate({**said, "proposal_hash": "", "signature": {}})  # refused before anything is signed
        password = str(values["password"] or "")
        return desk.conduct.adjudicate(
            desk.token, desk.trial, password, **said, expected_version=attempt.version, key=attempt.key
        )

    act(desk, f"adjudicate:{person.code}:{code}", show, write, button="Sign and record", again="Continue")


def _history(desk: Desk) -> None:
    frame = listings(desk.book, desk.conduct.accounts.now())["adjudications"]
    if frame.empty:
        return
    st.markdown("#### All adjudications")
    shown = ["participant", "adjudication", "criterion", "onset", "proposed_by", "outcome", "in_force"]
    shown += ["attribution", "discussion", "signed"]
    rows = [tuple("" if row[name] is None else str(row[name]) for name in shown) for _, row in frame.iterrows()]
    blocks.records([name.replace("_", " ") for name in shown], rows)
