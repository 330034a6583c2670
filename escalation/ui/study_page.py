"""Study: every value of the study in hand in forms or as text, validated while it is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import streamlit as st

from escalation.ui import blocks, draft, study_parts, study_scenarios, study_sources, study_texts
from escalation.ui.draft import Draft
from escalation.ui.parameter_form import Form
from escalation.ui.recent import recent_studies
from escalation.ui.study_in_hand import chooser
from escalation.ui.study_state import state_of

PARTS: Final[dict[str, Callable[[Form, Draft], None]]] = {
    "Trial": study_parts.trial,
    "Regimens": study_parts.regimens,
    "Design": study_parts.design,
    "Safety": study_parts.safety,
    "Timing": study_parts.timing,
    "Scenarios": study_scenarios.scenarios,
    "Criteria": study_parts.criteria,
    "Sources": study_sources.sources,
    "Text": study_texts.text,
    "Changes": study_texts.changes,
}
"""Parts of the editor, in the order a protocol is written."""
_NEEDS_NO_DATA: Final = ("Text", "Changes")
_LONG: Final = frozenset({"description", "dlt_definition", "reference", "alternatives"})


def page() -> None:
    """Edit the study in hand."""
    chooser()
    draft.restore()
    blocks.heading("Study", "Every change is checked at once. A sound study is what all other pages work with.")
    now = draft.draft()
    names = list(PARTS) if now.data is not None else list(_NEEDS_NO_DATA)
    part = st.segmented_control(
        "Part of the study", names, default=names[0], required=True, key="part", bind="query-params", wrap=True
    )
    with st.container(key="study_editor"):
        left, right = st.columns([13, 7], gap="large")
        with right, st.container(key="study_state"):
            state_of(now)
        with left:
            _editor(now, part if part in names else names[0])
    recent_studies(asks=False)


def _editor(now: Draft, part: str) -> None:
    target = now.study.target if now.study is not None else 0.30
    form = Form("study", draft.change, now.faults, _LONG, {"target": target, "n": 9, "size": 6})
    PARTS[part](form, now)
