"""The audit trail, readable in order and filtered; corrections; and queries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from escalation.conduct import records as r
from escalation.conduct.audit_trail import audit_trail
from escalation.conduct.corrections import FIXED, UNCORRECTABLE
from escalation.conduct.ledger import Entry
from escalation.conduct.roles import Permission
from escalation.conduct.service import Receipt
from escalation.conduct.state import corrected
from escalation.trial_desk import refused
from escalation.ui import blocks
from escalation.ui.conduct_acts import Attempt, Values, act, receipt_at, show_receipt
from escalation.ui.conduct_desk import Desk, barred
from escalation.ui.conduct_fields import Field, Kind, ask, fields_of, label_of
from escalation.ui.conduct_participant_acts import next_code, writer

PARTS = ("Trail", "Correct a value", "Queries", "Deviation of the trial")


def trail_view(desk: Desk) -> None:
    """The chosen part."""
    part = st.segmented_control(
        "Part",
        PARTS,
        default=PARTS[0],
        key=f"trail:{desk.trial}",
        persist_state="session",
        label_visibility="collapsed",
    )
    receipt = receipt_at("trail:")
    if receipt is not None:
        show_receipt(desk, receipt, "Continue")
    elif part == PARTS[1]:
        _correction(desk)
    elif part == PARTS[2]:
        _queries(desk)
    elif part == PARTS[3]:
        fields = fields_of(r.Deviation, "category", "description")
        _plain(desk, "trail:deviation", r.Deviation, fields, {}, Permission.RECORD_DEVIATION)
    if part in (None, PARTS[0]):
        _trail(desk)


def _trail(desk: Desk) -> None:
    """Who recorded what, when, with the old value, the new value and why."""
    entries = desk.book.entries
    with st.container(horizontal=True):
        code = st.selectbox(
            "Participant", list(desk.state.people), index=None, placeholder="everybody", key="trail:who"
        )
        users = sorted({entry.actor for entry in entries})
        user = st.selectbox("Recorded by", users, index=None, placeholder="anybody", key="trail:by")
        kinds = sorted({entry.type for entry in entries})
        kind = st.selectbox(
            "What", kinds, index=None, placeholder="anything", format_func=_plain_kind, key="trail:what"
        )
    frame = audit_trail(desk.book, participant=code, user=user, type=kind)
    st.caption(f"{len(frame)} of {len(entries)} entries, in the order recorded. Nothing is ever removed.")
    names = ("seq", "time_utc", "user", "what", "old_value", "new_value", "reason", "corrected_by_entry")
    rows = [tuple(_short(row[name]) for name in names) for _, row in frame.iterrows()]
    rows = [(seq, time.replace("T", " ")[:19], *more) for seq, time, *more in rows]
    blocks.records(("entry", "time (UTC)", "by", "what", "old value", "new value", "reason", "corrected by"), rows)
    st.caption(f"Head hash after entry {desk.head.seq}: {desk.head.hash}")


def _plain_kind(kind: str) -> str:
    return kind.replace("_", " ")


def _short(value: Any, most: int = 600) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= most else f"{text[:most]} … ({len(text):,} characters; whole in the exports)"


# corrections ----------------------------------------------------------------------------------------


def _correction(desk: Desk) -> None:
    st.caption("A correction replaces one value. The old value, the new one, who, when and why stay readable.")
    if barred(desk, Permission.CORRECT):
        return
    now = {entry.seq: payload for entry, payload in corrected(desk.book.entries)}
    listed = {e.seq: e for e in reversed(desk.book.entries) if e.type not in FIXED and _fields(now[e.seq])}
    left, right = st.columns(2)
    seq = left.selectbox(
        "Entry",
        list(listed),
        index=None,
        format_func=lambda each: _entry_name(listed[each]),
        key=f"act:correct:{desk.trial}",
        placeholder="Choose the entry",
    )
    if seq is None:
        return
    field = right.selectbox(
        "Field", _fields(now[seq]), index=None, format_func=label_of, key=f"act:field:{seq}", placeholder="Choose"
    )
    if field is None:
        return
    old = now[seq][field]
    st.markdown(f"Value in force: {blocks.plain(repr(old))}")

    def show(key: Callable[[str], str]) -> list[str]:
        st.text_input("New value", _as_text(old), key=key("new"), help="Times with their offset from UTC.")
        st.text_input("Reason", "", key=key("reason"), help="Why the old value was wrong, and the source of the new.")
        return ["new", "reason"]

    def write(values: Values, attempt: Attempt) -> Receipt:
        new, reason = _as_value(str(values["new"] or ""), kind_of(listed[seq], field)), str(values["reason"] or "")
        return desk.conduct.correct(
            desk.token, desk.trial, seq, field, new, reason, expected_version=attempt.version, key=attempt.key
        )

    act(desk, f"trail:correct:{seq}:{field}", show, write, button="Record correction", again="Continue")


def _fields(payload: dict[str, Any]) -> list[str]:
    return [name for name in payload if name not in UNCORRECTABLE]


def _entry_name(entry: Entry) -> str:
    about = entry.payload.get("participant") or ""
    return f"{entry.seq}: {_plain_kind(entry.type)} {about}".strip()


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return "" if value is None else str(value)


def _as_value(text: str, kind: Kind) -> Any:
    """What was typed, as the kind of field it is typed for."""
    text = text.strip()
    if kind in ("lines", "several"):
        return [part.strip() for part in text.split(";") if part.strip()]
    if not text:
        return None if kind in ("number", "whole", "moment", "day") else ""
    if kind == "yes_no":
        if text.lower() not in ("true", "false"):
            raise refused(f"{text!r}: write True or False")
        return text.lower() == "true"
    if kind in ("number", "whole") or (text.isdigit() and kind == "choice"):
        try:
            return float(text) if kind == "number" else int(text)
        except ValueError:
            raise refused(f"{text!r} is no {'number' if kind == 'number' else 'whole number'}") from None
    return text


def kind_of(entry: Entry, field: str) -> Kind:
    """What kind of value a field of an entry holds."""
    models = {
        each.model_fields["type"].default: each for each in r.Record.__subclasses__() if "type" in each.model_fields
    }
    return fields_of(models[entry.type], field)[0].kind


# queries --------------------------------------------------------------------------------------------


def _plain(
    desk: Desk, area: str, record: type[r.Record], fields: list[Field], fixed: dict[str, Any], needed: Permission
) -> None:
    if barred(desk, needed):
        return
    act(desk, area, lambda key: ask(fields, key, desk.now), writer(desk, record, fields, fixed), again="Continue")


def _queries(desk: Desk) -> None:
    queries = desk.state.queries
    if queries:
        rows = [
            (
                code,
                each.status,
                "critical" if each.raised.critical else "",
                each.raised.participant or "",
                str(each.raised.about or ""),
                each.raised.question,
            )
            for code, each in queries.items()
        ]
        blocks.records(("query", "status", "", "participant", "about entry", "question"), rows)
    acts = {"raise": "Raise a query", "answer": "Answer", "close": "Close", "reopen": "Re-open"}
    chosen = st.pills("What to do", list(acts), format_func=acts.__getitem__, key=f"act:query:{desk.trial}")
    if chosen == "raise":
        fields = fields_of(r.QueryRaised, "query", "participant", "about", "question", "critical")
        fields[0] = fields[0].starting(next_code("Q", queries))
        fields[1] = fields[1].starting(None, kind="choice", choices=tuple(desk.state.people))
        _plain(desk, "trail:query:raise", r.QueryRaised, fields, {}, Permission.RAISE_QUERY)
    elif chosen is not None:
        wanted = {"answer": ("open", "answered"), "close": ("open", "answered"), "reopen": ("closed",)}[chosen]
        codes = tuple(code for code, each in queries.items() if each.status in wanted)
        record: type[r.Record] = r.QueryAnswered if chosen == "answer" else r.QueryClosed
        fields = fields_of(record, *(("query", "answer") if chosen == "answer" else ("query",)))
        fields[0] = fields[0].starting(codes[0] if codes else None, kind="choice", choices=codes)
        needed = Permission.ANSWER_QUERY if chosen == "answer" else Permission.CLOSE_QUERY
        fixed = {"reopened": True} if chosen == "reopen" else {}
        _plain(desk, f"trail:query:{chosen}", record, fields, fixed, needed)
