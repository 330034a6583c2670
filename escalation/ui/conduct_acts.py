"""Acts on the screen: a form, one short call of the service, and the receipt that takes the form's place.

Four things together keep an act from being recorded twice or on what its author has not seen. A form carries the
version of the trial it was shown at; it carries a key under which the ledger records once; once accepted it is replaced
by its receipt; and while its call is under way a second click waits for it. Nothing of a record is kept here but the
numbers of its entries: what a receipt says is read back from the ledger.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

import streamlit as st
from pydantic import ValidationError

from escalation.conduct.imports import ImportRefused
from escalation.conduct.ledger import Entry, StaleVersionError
from escalation.conduct.listings import signature_words
from escalation.conduct.service import Receipt
from escalation.trial_desk import refusal
from escalation.ui import blocks
from escalation.ui.conduct_desk import Place
from escalation.ui.conduct_fields import label_of, plain_fault

_ATTEMPTS: Final = "conduct_attempts"
_WHERE: Final = "conduct_where"

Values = Mapping[str, Any]
"""What stands in a form's fields, by their names."""


@dataclass
class Attempt:
    """A form from its first showing to its receipt.

    Attributes
    ----------
    area
        Which form of which trial, and of which participant.
    version
        The version of the trial its author has read.
    key
        The key under which the ledger records it once, however often it is sent.
    trial, entries
        The stream of the ledger and the numbers of the entries it became, none before it is accepted.
    done
        What was done, for an act of the accounts that makes no entry in the ledger.
    said
        The last refusal in words.
    """

    area: str
    version: int
    key: str = field(default_factory=lambda: f"screen-{secrets.token_hex(12)}")
    trial: str = ""
    entries: tuple[int, ...] = ()
    done: str = ""
    said: tuple[str, tuple[str, ...]] | None = None
    lock: Any = field(default_factory=Lock, repr=False)

    @property
    def accepted(self) -> bool:
        return bool(self.entries or self.done)

    def widget(self, name: str) -> str:
        """The key of one of its fields."""
        return f"{self.key}:{name}"


Ask = Callable[[Callable[[str], str]], Iterable[str]]
"""Shows the fields, given how their keys are made; the names of what it asked for."""
Write = Callable[[Values, Attempt], Receipt | str]
"""Calls the service with what stands in the fields; a text when no entry of the ledger tells what was done."""


def here(where: str) -> None:
    """Say which page this is; going to another one leaves the forms behind."""
    if st.session_state.get(_WHERE) != where:
        st.session_state[_WHERE] = where
        st.session_state[_ATTEMPTS] = {}


def attempt_at(desk: Place, area: str) -> Attempt:
    """The form under way in an area of this page, begun at the version shown now."""
    attempts: dict[str, Attempt] = st.session_state.setdefault(_ATTEMPTS, {})
    if area not in attempts:
        attempts[area] = Attempt(area, desk.version)
    return attempts[area]


def receipt_at(prefix: str) -> Attempt | None:
    """The receipt that stands in the areas of this page whose names begin so, if one does."""
    attempts: dict[str, Attempt] = st.session_state.get(_ATTEMPTS, {})
    return next((each for area, each in attempts.items() if each.accepted and area.startswith(prefix)), None)


def act(
    desk: Place,
    area: str,
    ask: Ask,
    write: Write,
    *,
    button: str = "Record",
    again: str = "Record another",
) -> None:
    """A form with its button, or the receipt of what it recorded.

    Parameters
    ----------
    area
        Which form of the page this is.
    ask
        Shows the fields and names them.
    write
        Makes the record of what stands in them; called once, between two runs of the page.
    button, again
        What the buttons of the form and of the receipt say.
    """
    attempt = attempt_at(desk, area)
    if attempt.accepted:
        show_receipt(desk, attempt, again)
        return
    _changed_since(desk, attempt)
    if attempt.said is not None:
        message, reasons = attempt.said
        said = map(blocks.plain, (message, *(f"• {reason}" for reason in reasons)))
        st.error("  \n".join(said), icon=":material/block:")
    with st.form(attempt.widget("form"), enter_to_submit=False):
        names = tuple(ask(attempt.widget))
        st.form_submit_button(
            button,
            type="primary",
            key=attempt.widget(f"submit:{attempt.version}"),
            on_click=_submit,
            args=(attempt, names, write),
        )


def _submit(attempt: Attempt, names: tuple[str, ...], write: Write) -> None:
    """Read the fields, call the service, keep the numbers of the entries."""
    values = {name: st.session_state.get(attempt.widget(name)) for name in names}
    with attempt.lock:  # a second click of a double click finds the first one's receipt
        if attempt.accepted:
            return
        said: tuple[str, tuple[str, ...]] | None = None
        try:
            made = write(values, attempt)
            if isinstance(made, str):
                attempt.done = made
            else:
                attempt.trial, attempt.entries = made.entries[0].trial, tuple(each.seq for each in made.entries)
        except Exception as error:
            said = in_words(error)
        attempt.said = said
    for name in names:
        if "password" in name:
            st.session_state[attempt.widget(name)] = ""


def in_words(error: Exception) -> tuple[str, tuple[str, ...]]:
    """A refusal as a message and its reasons."""
    if isinstance(error, ValidationError):
        faults = [
            f"{label_of(str(each['loc'][0]) if each['loc'] else '')}: {plain_fault(each)}" for each in error.errors()
        ]
        return "Nothing was recorded. To mend:", tuple(dict.fromkeys(faults))
    if isinstance(error, StaleVersionError):
        return (
            "Nothing was recorded: others have recorded since you opened this form. Read what is new, then decide.",
            (),
        )
    if isinstance(error, ImportRefused):
        count = len(error.faults)
        return f"Nothing was imported; {count} {'thing' if count == 1 else 'things'} to mend:", tuple(
            map(str, error.faults)
        )
    form = refusal(error)
    if form is None:
        raise error
    if str(form["message"]).startswith("unexpected"):
        logging.getLogger("escalation.ui").error("an act failed", exc_info=error)
    message = str(form["message"])
    reasons = tuple(reason for reason in form["reasons"] if reason != message)
    return f"Nothing was recorded: {message}", reasons


def _changed_since(desk: Place, attempt: Attempt) -> None:
    """What others have recorded since the form was opened; its author says that they have read it."""
    if attempt.version >= desk.version:
        return
    since = desk.conduct.ledger.entries(desk.trial, attempt.version)
    with st.container(border=True):
        st.warning("Recorded since you opened this form:", icon=":material/sync_problem:")
        blocks.records(("entry", "what", "about", "by", "time"), (_row(desk, entry) for entry in since))
        st.button(
            "I have read it; keep what I entered",
            key=attempt.widget(f"read:{desk.version}"),
            on_click=_read_it,
            args=(attempt, desk.version),
        )


def _read_it(attempt: Attempt, version: int) -> None:
    attempt.version, attempt.said = version, None


def _row(desk: Place, entry: Entry) -> tuple[str, ...]:
    about = str(entry.payload.get("participant") or "")
    return str(entry.seq), entry.type.replace("_", " "), about, entry.actor, desk.local(entry.recorded_at)


def show_receipt(desk: Place, attempt: Attempt, again: str) -> None:
    """What is in the ledger now, read back from it."""
    with st.container(border=True):
        if attempt.done:
            st.success(blocks.plain(attempt.done), icon=":material/check_circle:")
            st.button(again, key=attempt.widget("again"), on_click=_another, type="primary")
            return
        recorded = desk.conduct.ledger.entries(attempt.trial, attempt.entries[0] - 1)
        made = [entry for entry in recorded if entry.seq in attempt.entries]
        st.success("Recorded.", icon=":material/check_circle:")
        blocks.records(("entry", "what", "about", "by", "time"), (_row(desk, entry) for entry in made))
        for line in (line for entry in made for line in _noted(entry)):
            st.info(blocks.plain(line), icon=":material/info:")
        if made:
            st.caption(f"Head hash after entry {made[-1].seq}: {made[-1].hash}")
        st.button(again, key=attempt.widget("again"), on_click=_another, type="primary")


def _noted(entry: Entry) -> Iterable[str]:
    """What the service worked out when it recorded an entry."""
    payload = entry.payload
    if entry.type == "eligibility_recorded":
        yield f"{payload['participant']}: {payload['verdict'].replace('_', ' ')}"
    for finding in payload.get("findings", ()):
        yield f"noted: {finding}"
    for gap in payload.get("gaps", ()):
        yield f"gap: {gap}"
    if "data_hash" in payload:
        yield f"data hash {payload['data_hash']}"
    if entry.type == "recommended":
        yield str(payload["advice"]["text"])
    if "signature" in payload:
        yield f"signed: {signature_words(payload['signature'])}"
    if entry.type == "corrected":
        yield f"{payload['field']}: {payload['old']!r} becomes {payload['new']!r}"
    if entry.type == "assigned":
        level = payload["regimen"]
        yield f"dose level {level['dose']}, frequency level {level['frequency']}, {payload['role']}"


def _another() -> None:
    """Done with a receipt: begin anew, at the version that stands now."""
    st.session_state[_ATTEMPTS] = {}
    for key in [key for key in st.session_state if str(key).startswith("act:")]:
        del st.session_state[key]
