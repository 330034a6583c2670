"""The truth behind a trial by hand, shown when it has ended or when it is asked for."""

from __future__ import annotations

import streamlit as st

from escalation.report.charts.regimens import dose_toxicity, heat_map
from escalation.simulate import judgement_of
from escalation.study import Study
from escalation.teach.hand_run import HandRun
from escalation.teach.patients import Patients
from escalation.ui import blocks, teach_address
from escalation.ui.teach_exhibits import chart


def truth_shown(study: Study, scenario: str, run: HandRun, patients: Patients, *, hidden: bool, ended: bool) -> None:
    """What was assumed to be true, and how the trial did against it."""
    asked = teach_address.value("truth") == "1"

    def changed() -> None:
        teach_address.put(truth="1" if st.session_state["teach:truth"] else "")

    st.toggle(
        "Show the truth",
        key=teach_address.follow("teach:truth", asked),
        on_change=changed,
        help="The assumed DLT probabilities",
    )
    if not asked:
        return
    grid, rule = study.protocol.grid, study.protocol.rule
    truth, judgement = patients.truth, judgement_of(study)
    right = judgement.true_mtd_of(truth, rule)
    said = ", ".join(f"level {grid.level(k)} {truth[k]:.1%}" for k in range(grid.size))
    with st.container(width=860):
        if grid.axis == "grid":
            made = heat_map(grid, truth, "Assumed DLT probability", marked=right, height=260)
        else:
            made = dose_toxicity(grid, {scenario: truth}, study.target, within=study.criteria.within, height=280)
        chart(made, f"Assumed DLT probabilities: {said}; target {study.target:g}", "teach:truth-chart")
    best = ", ".join(grid.level(k) for k in range(grid.size) if right[k]) or "none"
    above = judgement.above(truth)
    toxic = sum(bool(above[person.regimen]) for person in run.treated)
    cards = [
        ("Scenario", scenario, "drawn by the seed" if hidden else "chosen"),
        ("True MTD", f"level {best}" if right.any() else "none", f"target {study.target:g}"),
        ("Treated above the target", f"{toxic} of {len(run.treated)}", "patients of this trial"),
    ]
    if ended:
        chosen = ", ".join(grid.level(k) for k in run.selected)
        correct = {k for k in range(grid.size) if right[k]} == set(run.selected) or (
            not rule.design.selects_contour and any(right[k] for k in run.selected)
        )
        cards.append(("Selected", f"level {chosen}" if chosen else "none", "right" if correct else "not the true MTD"))
    blocks.cards(cards)
    st.caption(study.scenario(scenario).description)
