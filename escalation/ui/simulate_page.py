"""Simulate: whole trials on a clock, in a run that outlives the page, and every one of them open to look into."""

from __future__ import annotations

from typing import Any, Final

import streamlit as st

from escalation.study import Study
from escalation.ui import blocks, run_panel, runs, simulate_results
from escalation.ui.study_in_hand import chooser, study_in_hand, study_of, text_in_hand

PAGE: Final = "simulate"
ENGINES: Final = {
    "calendar": "On a calendar",
    "exact": "Exact",
    "sampled": "Sampled",
}
SAID: Final = {
    "calendar": "Arrivals, infusions, windows, stagger and reviews on a clock: durations, waiting, and single trials.",
    "exact": "Every state the rule can reach, no Monte Carlo error. Without a clock.",
    "sampled": "Whole cohorts without a clock, where the states are too many to enumerate.",
}
MOST_TRIALS: Final = 100_000


def page() -> None:
    """Simulate the study in hand."""
    chooser()
    blocks.heading("Simulate", "How long would this trial take, whom would it treat, and what would it conclude?")
    with blocks.refusals_shown():
        key = run_panel.run_in_hand(PAGE, text_in_hand())
        if key is None:
            study = study_in_hand()
            blocks.study_line(study)
            _settings(study)
        else:
            _run(key)


def _settings(study: Study) -> None:
    """What to simulate, and the button that starts it."""
    names = [each.name for each in study.scenarios]
    scope = f"{PAGE}:{study.hash[:8]}"
    left, right = st.columns([3, 2], gap="large")
    with left:
        chosen = st.pills(
            "Scenarios",
            names,
            selection_mode="multi",
            default=names,
            format_func=blocks.plain,
            key=f"{scope}:scenarios",
            persist_state="session",
            wrap=True,
            help="What is assumed to be true; the study says more on each.",
        )
        engine = st.segmented_control(
            "Engine",
            list(ENGINES),
            default="calendar",
            required=True,
            format_func=ENGINES.__getitem__,
            key=f"{PAGE}:engine",
            persist_state="session",
        )
        engine = engine or "calendar"
        st.caption(SAID[engine])
    with right:
        exact = engine == "exact"
        trials = st.number_input(
            "Simulated trials a scenario",
            1,
            MOST_TRIALS,
            2_000,
            500,
            key=f"{PAGE}:trials",
            persist_state="session",
            disabled=exact,
            help="10,000 give a share to half a percentage point, 1,000 to one and a half.",
        )
        seed = st.number_input(
            "Seed",
            0,
            2**31 - 1,
            1,
            key=f"{PAGE}:seed",
            persist_state="session",
            disabled=exact,
            help="The same seed gives the same trials, on every computer.",
        )
    request = {
        "studies": [text_in_hand()],
        "scenarios": [name for name in names if name in (chosen or ())],
        "engine": engine,
        "trials": int(trials or 1),
        "seed": int(seed or 0),
    }
    if not chosen:
        st.caption("Choose a scenario.")
    st.button(
        "Simulate",
        type="primary",
        on_click=run_panel.begin,
        args=(PAGE, request),
        disabled=not chosen,
        icon=":material/play_arrow:",
    )


def _run(key: str) -> None:
    """A run: what it is, how far, and what came of it."""
    request = runs.look(key).request
    study = study_of(request["studies"][0])
    blocks.study_line(study)
    if request["studies"][0] != text_in_hand():
        st.info("This result belongs to the study named here, not to the one chosen at the side.")
    left, right = st.columns([4, 1], vertical_alignment="center")
    left.caption(blocks.plain(_asked(request)))
    right.button("New simulation", on_click=run_panel.show, args=(PAGE, None), width="stretch")
    found = run_panel.watch(PAGE, key)
    if found is not None:
        simulate_results.show(key, request, found[0])


def _asked(request: dict[str, Any]) -> str:
    how = ENGINES[request["engine"]]
    if request["engine"] != "exact":
        how += f", {request['trials']:,} trials a scenario, seed {request['seed']}"
    return f"{how}. Scenarios: {', '.join(request['scenarios'])}."
