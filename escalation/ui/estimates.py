"""What a design that estimates believes after the outcomes so far, drawn beside what was observed."""

from __future__ import annotations

import numpy as np
import streamlit as st

from escalation.report.charts.regimens import estimated_curve
from escalation.study import Study
from escalation.trial import TrialState
from escalation.ui import blocks


def estimate_chart(study: Study, state: TrialState) -> None:
    """The estimated curve with its intervals, for designs that estimate and regimens in a row."""
    rule = study.protocol.rule
    found = rule.design.estimates(rule.counted(state.tally()))
    if found is None or rule.grid.axis == "grid" or not np.isfinite(found.curve).any():
        return
    counted = [f"{rule.grid.level(k)}: {state.dlt[k]} of {state.n[k]}" for k in range(rule.grid.size) if state.n[k]]
    st.altair_chart(
        estimated_curve(rule.grid, found, state.n, state.dlt, study.target),
        alt=f"Estimated DLT probabilities with {found.level:.0%} intervals; DLTs by level: {'; '.join(counted)}",
    )
    st.caption(f"{blocks.plain(found.method)}; bars are {found.level:.0%} intervals, rings the observed rates.")
