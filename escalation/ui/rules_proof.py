"""The safety proof: properties checked on every state the rule can reach, on demand."""

from __future__ import annotations

import json

import streamlit as st

from escalation.report.proof_notes import proof_notes
from escalation.study import Study
from escalation.ui import blocks
from escalation.ui.rules_decide import KEY
from escalation.ui.study_in_hand import file_name
from escalation.verify import Proof, verify


@st.cache_resource
def _proofs() -> dict[str, Proof]:
    """Proofs already made, by what they depend on: the protocol."""
    return {}


def proof(study: Study) -> None:
    """The proof when it is known, else the button that makes it."""
    st.markdown(
        "Every state the rule can reach is enumerated, and each property is checked on each of them. A broken property "
        "comes with outcomes that break it."
    )
    known, key = _proofs(), json.dumps(study.protocol.model_dump(mode="json"), sort_keys=True)
    if key not in known:
        if not st.button("Check every reachable state", type="primary", icon=":material/verified_user:"):
            return
        bar = st.progress(0.0, "Checking")

        def progress(done: int, most: int) -> None:
            bar.progress(min(done / max(most, 1), 1.0), f"Checked to {done} participants")

        known[key] = verify(study.protocol.rule, progress=progress)
        st.rerun()
    _shown(study, known[key])


def _shown(study: Study, found: Proof) -> None:
    broken = [each for each in found.verdicts if not each.holds]
    blocks.cards(
        (
            ("Reachable decision states", f"{found.states:,}", "checked, every one"),
            ("Properties that hold", f"{len(found.verdicts) - len(broken)}", f"of {len(found.verdicts)}"),
            ("Broken", str(len(broken)), "each with a counterexample" if broken else "none"),
        )
    )
    blocks.table(
        ("property", "verdict", "counterexample"),
        [
            (
                each.statement,
                blocks.mark("holds", good=True) if each.holds else blocks.mark("BROKEN", good=False),
                each.counterexample or "",
            )
            for each in found.verdicts
        ],
        text=True,
    )
    for note in proof_notes(study, found):
        st.caption(note)
    for each in broken:
        if each.counterexample:
            st.button(
                f"Replay {each.counterexample}",
                key=f"replay:{each.name}",
                on_click=_replay,
                args=(each.counterexample.split(";")[0],),  # what is backfilled cannot be replayed
                icon=":material/replay:",
            )
    blocks.trace(study, f"{found.states:,} states enumerated")
    with st.expander("The same on the command line"):
        st.code(f"escalation verify {file_name()}", language="shell")


def _replay(outcomes: str) -> None:
    st.session_state[KEY] = outcomes
    st.session_state["show"] = "What would it decide?"
