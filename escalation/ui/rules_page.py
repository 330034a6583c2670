"""Rules: what the study's rule decides and why, in tables, pathways and a proof over every reachable state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import streamlit as st

from escalation.study import Study
from escalation.ui import blocks, rules_decide, rules_pathways, rules_proof, rules_table
from escalation.ui.study_in_hand import chooser, study_in_hand


def page() -> None:
    """The rule of the study in hand."""
    chooser()
    blocks.heading("Rules", "The same function that is simulated and conducted, opened up.")
    with blocks.refusals_shown():
        study = study_in_hand()
        blocks.study_line(study)
        _in_words(study)
        if "show" not in st.session_state and "show" not in st.query_params:
            st.session_state["show"] = next(iter(PARTS))
        part = st.segmented_control("Show", list(PARTS), required=True, key="show", bind="query-params", wrap=True)
        with blocks.refusals_shown():
            PARTS.get(str(part), rules_decide.decide)(study)


def _in_words(study: Study) -> None:
    rule = study.protocol.rule
    steps = "\n".join(f"{k}. {blocks.plain(step)}" for k, step in enumerate(rule.steps(), 1))
    st.markdown(f"**The protocol's rule, in the order it is applied**\n\n{steps}")
    st.caption(f"Published in: {blocks.plain(rule.design.citation)}")


def _reasons(study: Study) -> None:
    """The catalogue of coded reasons in both lengths."""
    rows = [(each.code, each.line, each.paragraph, "yes" if each.stop else "") for each in study.protocol.rule.reasons]
    blocks.table(
        ("code", "in one line", "explained", "ends the trial"), rows, "Every reason this rule can give", text=True
    )
    blocks.trace(study, f"{len(rows)} reasons")


PARTS: Final[dict[str, Callable[[Study], None]]] = {
    "What would it decide?": rules_decide.decide,
    "Decision table": rules_table.decision_table,
    "Pathways": rules_pathways.pathways,
    "Safety proof": rules_proof.proof,
    "Reasons": _reasons,
}
"""What the page can show."""
