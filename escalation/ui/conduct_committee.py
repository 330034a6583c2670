"""The committee record: who was there, what was weighed, what was decided, and why where it departs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from escalation.conduct import records as r
from escalation.conduct.decision_gates import JUSTIFICATION_LENGTH
from escalation.conduct.draws import frozen_shares
from escalation.conduct.roles import Permission
from escalation.conduct.service import Receipt
from escalation.conduct.treatment import dlt_window
from escalation.regimens import Regimen
from escalation.ui.conduct_acts import Attempt, Values, act
from escalation.ui.conduct_desk import Desk, barred
from escalation.ui.conduct_fields import Field, ask, fields_of, read_fields

AS_RECOMMENDED = -1
"""Stands for the regimen the design recommends, in the choice of the regimen."""


def committee_form(desk: Desk, recommendation: int) -> None:
    """The form of the committee's decision on a recommendation."""
    st.markdown("#### 3. Committee record")
    if barred(desk, Permission.COMMITTEE_RECORD):
        return
    advice = desk.state.recommendations[recommendation].advice
    fields = _fields(advice, open_beside(desk))

    def show(key: Callable[[str], str]) -> list[str]:
        names = ask(fields[:4], key, desk.now)
        names += _regimen(desk, advice, key)
        st.caption(
            f"When the decision departs from the recommendation it is justified in {JUSTIFICATION_LENGTH} characters "
            "or more and takes two signatures."
        )
        if "draw" in advice:
            st.caption(
                "Another regimen the design allows does not depart from it. It sets the draw aside, which is said in "
                f"{JUSTIFICATION_LENGTH} characters or more."
            )
        return [*names, *ask(fields[4:], key, desk.now)]

    def write(values: Values, attempt: Attempt) -> Receipt:
        record = committee_record(desk, recommendation, fields, values)
        return desk.conduct.record(desk.token, desk.trial, record, expected_version=attempt.version, key=attempt.key)

    act(desk, f"decision:committee:{recommendation}", show, write, button="Record decision", again="Continue")


def open_beside(desk: Desk) -> list[str]:
    """The windows that do not decide and are still open, for the committee to acknowledge."""
    found = []
    for person in desk.state.people.values():
        if person.first_infusion is None or person.assigned is None or person.left is not None:
            continue
        for window in dlt_window(desk.state, person).shown(desk.today):
            if not window.decides and window.phase == "open" and person.outcome == "complete":
                found.append(f"{window.name} of {person.code} is open until {window.last_date}")
    return found


def _fields(advice: dict[str, Any], acknowledged: list[str]) -> list[Field]:
    drawn = ("draw_set_aside",) if "draw" in advice else ()
    names = ("meeting", "attendance", "discussion", "action", "justification", *drawn, "dissent", "acknowledged")
    found = {each.name: each for each in fields_of(r.CommitteeRecorded, *names)}
    action = advice["action"] if advice["action"] in found["action"].choices else None
    found["action"] = found["action"].starting(action, help="The design's recommendation is chosen at first.")
    found["acknowledged"] = found["acknowledged"].starting("\n".join(acknowledged))
    return list(found.values())


def _regimen(desk: Desk, advice: dict[str, Any], key: Callable[[str], str]) -> list[str]:
    """Where the next cohort goes and how large it is; the recommended ones unless somebody changes them."""
    grid = desk.state.in_force().protocol.grid
    options = [AS_RECOMMENDED, *range(grid.size)]
    shares = frozen_shares(advice, grid) if "draw" in advice else None

    def said(k: int) -> str:
        if k == AS_RECOMMENDED:
            return "as recommended" if shares is None else "as drawn"
        allowed = shares is not None and shares[k] > 0
        return f"{grid.describe(k)} (the design allows it)" if allowed else grid.describe(k)

    left, right = st.columns(2)
    left.selectbox("Regimen", options, format_func=said, key=key("regimen"))
    right.number_input(
        "Participants of the next cohort", min_value=0, value=int(advice.get("size") or 0), step=1, key=key("size")
    )
    tried = [k for k in range(grid.size) if desk.state.trial_state().n[k]]
    st.multiselect(
        "Selected at the end (with the decision to stop)",
        tried,
        default=[grid.index(Regimen(**each)) for each in advice.get("selected", ())],
        format_func=grid.describe,
        key=key("selected"),
    )
    return ["regimen", "size", "selected"]


def committee_record(desk: Desk, recommendation: int, fields: list[Field], values: Values) -> r.CommitteeRecorded:
    """The record of what stands in the form; regimen, size and selection only where the decision has them."""
    grid, advice = desk.state.in_force().protocol.grid, desk.state.recommendations[recommendation].advice
    given = read_fields(fields, values, desk.state.zone, desk.now)
    treats = given.get("action") not in ("stop", "suspend")
    chosen = values.get("regimen")
    regimen = advice.get("next") if chosen == AS_RECOMMENDED else dict(grid.regimen(int(chosen or 0))._asdict())
    if given.get("action") == "stop":
        given["selected"] = [dict(grid.regimen(k)._asdict()) for k in values.get("selected") or ()]
    if treats:
        given |= {"regimen": regimen, "size": int(values.get("size") or 0)}
    return r.CommitteeRecorded.model_validate({"recommendation": recommendation, **given})
