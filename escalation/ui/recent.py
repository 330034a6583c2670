"""Studies this browser worked with: their keys are kept by the browser itself, their texts in the workspace."""

from __future__ import annotations

from typing import Any, Final

import streamlit as st

from escalation.study import preset_names
from escalation.ui import workspace
from escalation.ui.study_in_hand import REPLACED

MOST: Final = 12
_SCRIPT: Final = """
export default function ({ data, setStateValue }) {
  const name = "escalation.studies";
  let kept = [];
  try { kept = JSON.parse(localStorage.getItem(name)) || []; } catch { kept = []; }
  const later = kept.filter((key) => !data.own.includes(key) && !data.replaced.includes(key));
  const all = [...data.own, ...later].slice(0, data.most);
  try { localStorage.setItem(name, JSON.stringify(all)); } catch { return; }
  if (data.asks && JSON.stringify(all) !== JSON.stringify(data.known)) setStateValue("studies", all);
}
"""


def recent_studies(*, asks: bool = True) -> list[str]:
    """Keys of own studies, the latest first; tells the browser about those of this tab.

    Without ``asks`` the browser is only told, which costs no further run of the page.
    """
    own = list(reversed(st.session_state.get("own_studies", [])))
    known: list[str] = st.session_state.get("recent_studies", [])
    component: Any = st.components.v2.component("escalation_recent_studies", js=_SCRIPT)
    found = component(
        key="recent_studies_component",
        data={"own": own, "replaced": st.session_state.get(REPLACED, []), "known": known, "most": MOST, "asks": asks},
        on_studies_change=lambda: None,
    )
    heard = getattr(found, "studies", None)
    if isinstance(heard, list):
        known = [each for each in heard if isinstance(each, str)]
        st.session_state["recent_studies"] = known
    replaced = st.session_state.get(REPLACED, [])
    listed = [*own, *(each for each in known if each not in own and each not in replaced)]
    return [each for each in listed if each not in preset_names() and workspace.is_kept(each)]
