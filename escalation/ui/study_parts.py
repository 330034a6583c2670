"""The forms of the protocol and the criteria."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import streamlit as st

from escalation.errors import DesignError
from escalation.plain_data import NOTHING
from escalation.protocol import Protocol
from escalation.registry import design_class, design_names
from escalation.study import Criteria, Study
from escalation.ui import blocks
from escalation.ui.draft import Draft
from escalation.ui.form_kinds import fields, fits
from escalation.ui.parameter_form import Change, Form

_DESIGN: Final = ("protocol", "design")


def _protocol(now: Draft) -> Mapping[str, Any]:
    part = (now.data or {}).get("protocol")
    return part if isinstance(part, Mapping) else {}


def _of_protocol(form: Form, now: Draft, *keys: str) -> None:
    form.model(Protocol, ("protocol",), _protocol(now), only=keys)


def trial(form: Form, now: Draft) -> None:
    """What the trial is, and what a DLT is."""
    form.model(Study, (), now.data, only=("id", "title", "registry", "description"))
    _of_protocol(form, now, "dlt_window", "dlt_definition")


def regimens(form: Form, now: Draft) -> None:
    """The doses, the frequencies and where escalation starts."""
    if now.study is not None:
        grid = now.study.protocol.grid
        st.caption("  \n".join(blocks.plain(f"{grid.level(k)}: {grid.describe(k)}") for k in range(grid.size)))
    protocol = _protocol(now)
    part, path = protocol.get("regimens"), ("protocol", "regimens")
    found = {each.key: each for each in fields(Protocol.model_fields["regimens"].annotation)}  # type: ignore[arg-type]
    given = part if isinstance(part, Mapping) else {}
    form.field(found["unit"], (*path, "unit"), given.get("unit", NOTHING))
    for key, inside in (("doses", "amount"), ("frequencies", "days")):
        raw = given.get(key, NOTHING)
        before: tuple[Change, ...] = ()
        if isinstance(raw, list) and raw and not all(isinstance(each, Mapping) for each in raw):
            # plain amounts, or plain days, become mappings when one of them is edited
            spelled = [each if isinstance(each, Mapping) else {inside: each} for each in raw]
            before, raw = (Change((*path, key), spelled, raw, False),), spelled
        form.field(found[key], (*path, key), raw, before)
    _of_protocol(form, now, "start")


def design(form: Form, now: Draft) -> None:
    """The design with its parameters, and the sizes."""
    part = _protocol(now).get("design")
    given = part if isinstance(part, Mapping) else {}
    names = list(design_names())
    key = "study:design:name"
    name = given.get("name")
    st.session_state[key] = name if name in names else None

    def chosen() -> None:
        new = st.session_state[key]
        if new is not None:
            form.change([Change(_DESIGN, {"name": new, **_kept(given, new)})])

    st.selectbox(
        "Design",
        names,
        None,
        lambda each: f"{design_class(each).title} ({each})",
        key=key,
        on_change=chosen,
        help="Values that the new design knows too are kept; the rest are its defaults.",
    )
    if name in names:
        st.caption(f"Published in: {design_class(str(name)).citation}")
        form.model(design_class(str(name)).Parameters, _DESIGN, given, without=("name",))
    for fault in form.faults:
        if fault.path in ("protocol.design", "protocol.design.name"):
            st.error(blocks.plain(f"{fault.problem} ({fault.remedy})" if fault.remedy else fault.problem))
    st.markdown("**Sizes**")
    _of_protocol(form, now, "cohort_size", "max_patients", "last_cohort")


def _kept(given: Mapping[str, Any], new: str) -> dict[str, Any]:
    """Values of the present design that an entry of the new one asks for and can hold."""
    try:
        old = {each.key: each for each in fields(design_class(str(given.get("name"))).Parameters)}
    except DesignError:
        return {}
    wanted = {each.key: each for each in fields(design_class(new).Parameters)}
    return {
        key: value
        for key, value in given.items()
        if key in wanted
        and key in old
        and wanted[key].default == old[key].default
        and wanted[key].kind == old[key].kind
        and fits(wanted[key].kind, value)
    } | ({"target": given["target"]} if "target" in given and "target" in wanted else {})


def safety(form: Form, now: Draft) -> None:
    """The guards, the expansion stage and who is evaluable."""
    if now.study is not None:
        st.caption(
            "  \n".join(f"{k}. {blocks.plain(step)}" for k, step in enumerate(now.study.protocol.rule.steps(), 1))
        )
    _of_protocol(form, now, "guards", "expansion", "evaluability")


def timing(form: Form, now: Draft) -> None:
    """How far participants are apart, when decisions are taken, and who is backfilled meanwhile."""
    _of_protocol(form, now, "stagger", "review_lag_days", "escalate_when", "close_cohort_when_certain", "backfill")


def criteria(form: Form, now: Draft) -> None:
    """How results are judged."""
    part = (now.data or {}).get("criteria")
    form.model(Criteria, ("criteria",), part if isinstance(part, Mapping) else {})
