"""The forms of the scenarios: assumed DLT probabilities, onset, accrual and drop-out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import streamlit as st

from escalation.errors import EscalationError
from escalation.plain_data import NOTHING
from escalation.report.charts.regimens import dose_toxicity, heat_map
from escalation.scenario import Scenario
from escalation.truth import HazardTruth, TableTruth
from escalation.ui.draft import Draft
from escalation.ui.form_kinds import Field, Maybe, Numbers, Rows, fields
from escalation.ui.parameter_form import Change, Form

_LATER: Final = ("accrual", "held", "screen_failure", "drop_out", "missed_infusion")
_BACKFILLED: Final = ("responses", "response_day")
"""Fields of a scenario that only a protocol with backfill asks for."""
_HAZARD: Final = {"hazard": {"acute": {"a": 0.02}, "delayed": {"a": 0.03}}}
"""A hazard to start from."""


def scenarios(form: Form, now: Draft) -> None:
    """One scenario at a time."""
    listed = (now.data or {}).get("scenarios")
    entries = listed if isinstance(listed, list) else []
    doses = _regimens(now).get("doses")
    misfits = _misfits(entries, len(_row_labels(now)), len(doses)) if isinstance(doses, list) else []
    if misfits:
        st.button(
            f"Fit {len(misfits)} tables to the regimens",
            icon=":material/fit_screen:",
            on_click=lambda: form.change(misfits),
            help="Surplus values are left out; missing ones repeat the last value, for you to correct.",
        )
    position = _chosen(form, entries)
    if position is None:
        return
    path, entry = ("scenarios", position), entries[position]
    given = entry if isinstance(entry, Mapping) else {}
    form.model(Scenario, path, given, only=("name", "description"))
    _truth(form, now, position, given)
    _moderate(form, now, position, given)
    st.markdown("**Accrual and drop-out** (calendar engine only)")
    backfills = ((now.data or {}).get("protocol") or {}).get("backfill") is not None
    form.model(Scenario, path, given, only=(*(_BACKFILLED if backfills else ()), *_LATER))


def _chosen(form: Form, entries: list[Any]) -> int | None:
    names = [str(each.get("name", "")) if isinstance(each, Mapping) else "" for each in entries]
    key = "study:scenario"
    if st.session_state.get(key) not in range(len(names)):
        st.session_state[key] = 0 if names else None
    position: int | None = st.selectbox(
        "Scenario", range(len(names)), None, lambda k: f"{k + 1}. {names[k]}", key=key, persist_state="session"
    )
    row = st.container(horizontal=True)
    row.button("Add a scenario", icon=":material/add:", on_click=_add, args=(form, entries, None))
    if position is not None:
        row.button("Duplicate it", icon=":material/content_copy:", on_click=_add, args=(form, entries, position))
        row.button(
            "Remove it",
            icon=":material/delete:",
            on_click=lambda: form.change([Change(("scenarios", position), NOTHING)]),
        )
    return position


def _add(form: Form, entries: list[Any], like: int | None) -> None:
    names = {str(each.get("name")) for each in entries if isinstance(each, Mapping)}
    name = next(f"scenario-{k}" for k in range(len(entries) + 1, 2 * len(entries) + 3) if f"scenario-{k}" not in names)
    if like is not None:
        new = {**entries[like], "name": name}
    else:
        first = entries[0] if entries and isinstance(entries[0], Mapping) else {}
        truth = first.get("truth", [])
        new = {"name": name, "truth": truth.get("table", truth) if isinstance(truth, Mapping) else truth}
        new |= {"moderate": first["moderate"]} if first.get("moderate") is not None else {}
    form.change([Change(("scenarios", len(entries)), new)])
    st.session_state["study:scenario"] = len(entries)


def _truth(form: Form, now: Draft, position: int, given: Mapping[str, Any]) -> None:
    path = ("scenarios", position, "truth")
    raw = given.get("truth", [])
    is_hazard = isinstance(raw, Mapping) and "hazard" in raw
    key = f"study:truth:{position}"
    ways = ["DLT probabilities", "hazard of every infusion"]

    def switched() -> None:
        to_hazard = st.session_state[key] == ways[1]
        form.change([Change(path, _HAZARD if to_hazard else _probabilities(now, position))])

    st.session_state[key] = ways[is_hazard]
    st.radio("The truth is given as", ways, key=key, on_change=switched, horizontal=True)
    if is_hazard:
        hazard = next(each for each in fields(HazardTruth) if each.key == "hazard")
        form.field(hazard, (*path, "hazard"), raw.get("hazard"))
    else:
        _table(form, now, path, raw)
    _preview(now, position)


def _table(form: Form, now: Draft, path: tuple[Any, ...], raw: Any) -> None:
    """The table, one entry a frequency; then the law of onset."""
    table = raw.get("table", []) if isinstance(raw, Mapping) else raw
    where = (*path, "table") if isinstance(raw, Mapping) else path
    rows = table if isinstance(table, list) else []
    nested = any(isinstance(row, list) for row in rows)
    labels = _row_labels(now)
    if not nested:
        label = "DLT probabilities" + (f", {labels[0]}" if len(labels) == 1 and labels[0] else ", lowest level first")
        form.field(Field("table", label, Numbers(), _HELP, NOTHING), where, table)
    else:
        for k, row in enumerate(rows):
            label = f"DLT probabilities, {labels[k] if k < len(labels) else f'row {k + 1}'}"
            form.field(Field("table", label, Numbers(), _HELP, NOTHING), (*where, k), row)
    form.faults_at((*path, "table") if not isinstance(raw, Mapping) else where)
    onset = next(each for each in fields(TableTruth) if each.key == "onset")
    given = raw.get("onset", NOTHING) if isinstance(raw, Mapping) else NOTHING
    before = () if isinstance(raw, Mapping) else (Change(path, {"table": table}, raw, False),)
    form.field(onset, (*path, "onset"), given, before)


def _moderate(form: Form, now: Draft, position: int, given: Mapping[str, Any]) -> None:
    """Probabilities of a moderate toxicity, in one row or as rows of the regimens."""
    raw = given.get("moderate", NOTHING)
    flat = isinstance(raw, list) and not any(isinstance(row, list) for row in raw)
    one_row = flat or (raw in (NOTHING, None) and len(_row_labels(now)) == 1)
    listed = next(each for each in fields(Scenario) if each.key == "moderate")
    label = "Moderate toxicity probabilities" + (", lowest level first" if one_row else "")
    shown = replace(listed, label=label, kind=Maybe(Numbers() if one_row else Rows()))
    form.field(shown, ("scenarios", position, "moderate"), raw)


_HELP: Final = "Within the DLT window, as shares between 0 and 1; doses from the lowest, with blanks between them."


def fitted(table: Any, frequencies: int, doses: int) -> Any:
    """A table cut, or filled up with its last values, to the shape of the regimens; it may stay one plain row.

    Examples
    --------
    >>> fitted([0.1, 0.2], 1, 3), fitted([[0.1, 0.2]], 2, 1)
    ([0.1, 0.2, 0.2], [[0.1], [0.1]])
    """

    def of_length(values: list[Any], length: int) -> list[Any]:
        return [*values, *([values[-1]] * (length - len(values)))][:length]

    rows = [row for row in table if row or not isinstance(row, list)] if isinstance(table, list) else []
    rows = rows or [0.1]
    if not any(isinstance(row, list) for row in rows) and 1 in (frequencies, doses):
        return of_length(rows, frequencies * doses)
    nested = [row if isinstance(row, list) else [row] for row in rows]
    return of_length([of_length(row, doses) for row in nested], frequencies)


def _fits(table: Any, frequencies: int, doses: int) -> bool:
    flat = isinstance(table, list) and not any(isinstance(row, list) for row in table)
    return (
        not isinstance(table, list)
        or not table
        or (
            len(table) == frequencies * doses
            if flat
            else [len(row) if isinstance(row, list) else 1 for row in table] == [doses] * frequencies
        )
    )


def _misfits(entries: list[Any], frequencies: int, doses: int) -> list[Change]:
    """What fits every table to the regimens."""
    changes = []
    for position, entry in enumerate(entries):
        truth = entry.get("truth") if isinstance(entry, Mapping) else None
        table = truth.get("table") if isinstance(truth, Mapping) else truth
        if not _fits(table, frequencies, doses):
            path = ("scenarios", position, "truth", *(("table",) if isinstance(truth, Mapping) else ()))
            changes.append(Change(path, fitted(table, frequencies, doses)))
        moderate = entry.get("moderate") if isinstance(entry, Mapping) else None
        if not _fits(moderate, frequencies, doses):
            changes.append(Change(("scenarios", position, "moderate"), fitted(moderate, frequencies, doses)))
    return changes


def _regimens(now: Draft) -> Mapping[str, Any]:
    protocol = (now.data or {}).get("protocol")
    part = protocol.get("regimens") if isinstance(protocol, Mapping) else None
    return part if isinstance(part, Mapping) else {}


def _row_labels(now: Draft) -> list[str]:
    listed = _regimens(now).get("frequencies")
    if not isinstance(listed, list):
        return [""]
    return [
        str(each.get("label") or f"frequency {k}") if isinstance(each, Mapping) else f"frequency {k}"
        for k, each in enumerate(listed, 1)
    ]


def _probabilities(now: Draft, position: int) -> Any:
    """The probabilities the present truth gives, rounded; a flat table where it cannot be worked out."""
    if now.study is not None:
        probability = np.round(now.study.truth(now.study.scenarios[position]).probability, 4)
        return {"table": now.study.protocol.grid.matrix(probability)}
    return {"table": [[0.1]] * len(_row_labels(now))}


def _preview(now: Draft, position: int) -> None:
    if now.study is None or position >= len(now.study.scenarios):
        return
    study, scenario = now.study, now.study.scenarios[position]
    try:
        truth = study.truth(scenario).probability
    except EscalationError:
        return
    grid = study.protocol.grid
    said = " / ".join(" ".join(f"{p:.4g}" for p in row) for row in grid.matrix(truth))
    if grid.axis == "grid":
        st.altair_chart(
            heat_map(grid, truth, "Assumed DLT probability", height=300), alt=f"Assumed DLT probabilities: {said}"
        )
    else:
        chart = dose_toxicity(grid, {scenario.name: truth}, study.target, within=study.criteria.within, height=260)
        st.altair_chart(chart, alt=f"Assumed DLT probabilities: {said}; target {study.target:g}")
