"""Compare: designs on the same simulated participants, with paired differences and their errors."""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np
import streamlit as st

from escalation.study import Study, preset_names, read_text
from escalation.ui import blocks, compare_results, run_panel, runs, workspace
from escalation.ui.engine import fitting_designs
from escalation.ui.study_in_hand import chooser, key_in_hand, study_in_hand, study_of, text_in_hand, title_of

PAGE: Final = "compare"
AT_FIRST: Final = ("three_plus_three", "boin", "crm")
ENGINES: Final = {"sampled": "Sampled", "calendar": "On a calendar"}
SAID: Final = {
    "sampled": "Whole cohorts without a clock: selection, allocation and size.",
    "calendar": "On a clock, which adds durations, drop-out and missed infusions. Takes longer.",
}
MOST_TRIALS: Final = 100_000


def page() -> None:
    """Compare the study in hand under several designs, and with other studies of the same regimens."""
    chooser()
    blocks.heading("Compare", "Designs on the same simulated participants. Only what the pairs can tell apart counts.")
    with blocks.refusals_shown():
        key = run_panel.run_in_hand(PAGE, text_in_hand())
        if key is None:
            study = study_in_hand()
            blocks.study_line(study)
            _settings(study)
        else:
            _run(key)


def _settings(study: Study) -> None:
    """What to compare, and the button that starts it."""
    scope = f"{PAGE}:{study.hash[:8]}"
    fitting = fitting_designs(study)
    others = [name for name in fitting if fitting[name] is not study]
    left, right = st.columns([3, 2], gap="large")
    with left:
        designs = st.pills(
            "This study under other designs",
            others,
            selection_mode="multi",
            default=[name for name in others if name in AT_FIRST],
            format_func={name: each.protocol.rule.design.title for name, each in fitting.items()}.__getitem__,
            key=f"{scope}:designs",
            persist_state="session",
            wrap=True,
            help="Each with its default parameters, on the study's regimens and cohort size.",
        )
        alike = _alike(study)
        chosen = st.multiselect(
            "Other studies with the same regimens",
            list(alike),
            format_func=title_of,
            key=f"{scope}:studies",
            persist_state="session",
            disabled=not alike,
            placeholder="Choose studies" if alike else "None is kept here",
        )
        entries = [fitting[name] for name in designs or ()] + [study_of(alike[key]) for key in chosen]
        common, differing = _common([study, *entries])
        scenarios = st.pills(
            "Scenarios",
            common,
            selection_mode="multi",
            default=common,
            format_func=blocks.plain,
            key=f"{scope}:scenarios:{','.join(common)}",
            persist_state="session",
            wrap=True,
            help="Those that all studies share, with the same DLT probabilities.",
        )
        if differing:
            st.caption(blocks.plain(f"The studies assume different truths under the name {', '.join(differing)}."))
    with right:
        engine = st.segmented_control(
            "Engine",
            list(ENGINES),
            default="sampled",
            required=True,
            format_func=ENGINES.__getitem__,
            key=f"{PAGE}:engine",
            persist_state="session",
        )
        engine = engine or "sampled"
        st.caption(SAID[engine])
        trials = st.number_input(
            "Common simulated trials a scenario",
            2,
            MOST_TRIALS,
            2_000,
            500,
            key=f"{PAGE}:trials",
            persist_state="session",
            help="More trials tell smaller differences apart.",
        )
        seed = st.number_input("Seed", 0, 2**31 - 1, 1, key=f"{PAGE}:seed", persist_state="session")
    texts = [text_in_hand(), *(_text(fitting[name]) for name in designs or ()), *(alike[key] for key in chosen)]
    request = {
        "studies": texts,
        "scenarios": [name for name in common if name in (scenarios or ())],
        "engine": engine,
        "trials": int(trials or 2),
        "seed": int(seed or 0),
    }
    ready = len(texts) > 1 and bool(request["scenarios"])
    if not ready:
        st.caption("Choose a design or a study to compare with, and a scenario.")
    st.button(
        "Compare",
        type="primary",
        on_click=run_panel.begin,
        args=(PAGE, request),
        disabled=not ready,
        icon=":material/play_arrow:",
    )


def _text(study: Study) -> str:
    return json.dumps(study.as_dict(), ensure_ascii=False, indent=1)


def _alike(study: Study) -> dict[str, str]:
    """Other studies kept here that have the same regimens: key -> text."""
    here, found = key_in_hand(), {}
    for key in [*preset_names(), *st.session_state.get("own_studies", [])]:
        if key == here:
            continue
        text = read_text(key)[0] if key in preset_names() else workspace.kept_study(key)
        other = study_of(text).protocol.grid
        if (other.doses, other.schedules) == (study.protocol.grid.doses, study.protocol.grid.schedules):
            found[key] = text
    return found


def _common(studies: list[Study]) -> tuple[list[str], list[str]]:
    """Names of the scenarios that all studies have: those that assume the same truth, and those that do not."""
    held = [{each.name for each in study.scenarios} for study in studies]
    shared = [each.name for each in studies[0].scenarios if all(each.name in names for names in held)]

    def same(name: str) -> bool:
        truths = [study.truth(study.scenario(name)).probability for study in studies]
        return all(np.allclose(truth, truths[0], atol=1e-12) for truth in truths)

    agree = [name for name in shared if same(name)]
    return agree, [name for name in shared if name not in agree]


def _run(key: str) -> None:
    """A run: what it is, how far, and what came of it."""
    request = runs.look(key).request
    study = study_of(request["studies"][0])
    blocks.study_line(study)
    if request["studies"][0] != text_in_hand():
        st.info("This result belongs to the study named here, not to the one chosen at the side.")
    left, right = st.columns([4, 1], vertical_alignment="center")
    left.caption(blocks.plain(_asked(request)))
    right.button("New comparison", on_click=run_panel.show, args=(PAGE, None), width="stretch")
    found = run_panel.watch(PAGE, key)
    if found is not None:
        compare_results.show(key, request, found)


def _asked(request: dict[str, Any]) -> str:
    return (
        f"{ENGINES[request['engine']]}, {request['trials']:,} common trials a scenario, seed {request['seed']}. "
        f"Scenarios: {', '.join(request['scenarios'])}."
    )
