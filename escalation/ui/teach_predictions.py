"""Predictions on the page: the question before the answer, the decision after it, and the score."""

from __future__ import annotations

import streamlit as st

from escalation.decision import Action
from escalation.teach.hand_run import HandRun
from escalation.teach.lesson import said
from escalation.teach.predictions import Marked, Prediction, choices, marked, moment_of, written
from escalation.ui import blocks, teach_address
from escalation.ui.teach_exhibits import decision


def predict(run: HandRun, predictions: tuple[Prediction, ...]) -> None:
    """The question before the answer."""
    offered = choices(run)
    after, held = moment_of(run)
    scope = f"teach:predict:{run.study.hash[:8]}:{run.text}"
    words = {Action.ESCALATE: "Escalate", Action.STAY: "Stay", Action.DE_ESCALATE: "De-escalate"}
    words |= {Action.WAIT: "Wait", Action.STOP: "Stop"}
    with st.container(border=True):
        st.markdown("**Predict: what does the rule say next?**")
        action = st.radio(
            "Next step",
            list(offered),
            index=None,
            format_func=words.__getitem__,
            horizontal=True,
            key=f"{scope}:action",
        )
        if action is not None and len(offered[action]) > 1:
            label = "Which level is selected?" if action == Action.STOP else "To which level?"
            st.selectbox(
                label, offered[action], format_func=lambda each: _levels(run, each), key=f"{scope}:level:{int(action)}"
            )

        def chosen() -> None:
            """What the widgets hold at the click, which may be later than what this run has seen."""
            action = st.session_state.get(f"{scope}:action")
            if action is not None:
                levels = st.session_state.get(f"{scope}:level:{int(action)}", offered[action][0])
                keep(predictions, Prediction(after, held, action, levels))

        left, right = st.columns(2)
        left.button("Keep my prediction", type="primary", disabled=action is None, key=f"{scope}:keep", on_click=chosen)
        right.button(
            "Show without predicting",
            key=f"{scope}:show",
            on_click=keep,
            args=(predictions, Prediction(after, held, None)),
        )


def _levels(run: HandRun, levels: tuple[str, ...]) -> str:
    grid = run.study.protocol.grid
    described = {grid.level(k): grid.describe(k) for k in range(grid.size)}
    return ", ".join(f"level {level}: {described[level]}" for level in levels) or "none"


def keep(predictions: tuple[Prediction, ...], new: Prediction) -> None:
    """Keep a prediction in the address, in place of another of the same moment."""
    others = [each for each in predictions if each.moment != new.moment]
    teach_address.put(said=written([*others, new]))


def say(run: HandRun, predictions: tuple[Prediction, ...]) -> None:
    """The decision with its reason, and what was predicted."""
    if not run.treated:
        st.markdown("Nobody has been treated yet. The trial opens at its first level.")
        return
    here = [each for each in marked(run, predictions) if each.prediction.moment == moment_of(run)]
    for each in here:
        if each.prediction.action is not None:
            _mark(each, run)
    decision(run)
    if run.ends:
        st.markdown("The trial has ended.")


def _mark(each: Marked, run: HandRun) -> None:
    yours = said(each.prediction, run)
    if each.right:
        st.success(f"You predicted: {yours}. Right.", icon=":material/check:")
    elif each.action_right:
        st.warning(f"You predicted: {yours}. The step is right, the level is not.", icon=":material/adjust:")
    else:
        st.warning(f"You predicted: {yours}. The rule says something else.", icon=":material/close:")


def score(run: HandRun, predictions: tuple[Prediction, ...]) -> None:
    """The predictions of this trial beside what the rule said."""
    made = [each for each in marked(run, predictions) if each.prediction.action is not None]
    shown = len(marked(run, predictions)) - len(made)
    right = sum(each.right for each in made)
    blocks.cards(
        [
            ("Predictions right", f"{right} of {len(made)}", f"{shown} shown without predicting" if shown else ""),
            ("Treated", str(len(run.treated)), f"{sum(p.letter == 'T' for p in run.treated)} with a DLT"),
        ]
    )
    if made:
        rows = [
            (
                f"{each.prediction.after}"
                + (f" ({len(each.prediction.pending)} pending)" if each.prediction.pending else ""),
                said(each.prediction, run) + ("" if each.right else " ✗"),
                said(each.answer, run),
            )
            for each in made
        ]
        blocks.table(("after patients", "you", "the rule"), rows, "Your predictions", text=True)
