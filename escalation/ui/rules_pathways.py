"""Dose transition pathways from any state: a tree, and the same as a list."""

from __future__ import annotations

from typing import Final

import numpy as np
import streamlit as st

from escalation.pathways import Node
from escalation.pathways import pathways as walk
from escalation.report.charts.tree import MOST_LEAVES, leaves, pathway_tree
from escalation.report.wording import latest_outcomes, next_step
from escalation.study import Study
from escalation.ui import blocks
from escalation.ui.rules_decide import advisor_of, replayed
from escalation.ui.study_in_hand import file_name

NO_SCENARIO: Final = "none, only the decisions"
MOST_COHORTS: Final = 3


def pathways(study: Study) -> None:
    """The next cohorts from any outcomes, under a scenario or none."""
    left, middle, right = st.columns([2, 1, 2])
    start = str(
        left.text_input(
            "Start from", key="from", bind="query-params", placeholder="outcomes so far; empty for the start"
        )
    ).strip()
    cohorts = int(
        middle.number_input("Cohorts ahead", 1, MOST_COHORTS, 2, key="pathways:cohorts", persist_state="session") or 1
    )
    names = [*(each.name for each in study.scenarios), NO_SCENARIO]
    scenario = str(right.selectbox("Probabilities under", names, key=f"pathways:{study.hash[:8]}"))
    assumed = None if scenario == NO_SCENARIO else study.scenario(scenario)
    advisor = advisor_of(study)
    state = replayed(study, start, advisor).state
    size = study.protocol.grid.size
    truth = np.full(size, 0.5) if assumed is None else study.truth(assumed).probability
    moderate = None if assumed is None else study.truth(assumed).moderate
    if assumed is None and study.protocol.rule.reads_grades:
        truth = moderate = np.full(size, 1 / 3)
    nodes = walk(advisor, state, start, cohorts, truth, moderate)
    ends = leaves(nodes)
    if ends <= MOST_LEAVES:
        chart = pathway_tree(nodes, study.protocol.grid, probabilities=assumed is not None)
        with st.container(key="pathway_tree"):
            st.altair_chart(
                chart, width="content", alt=f"Tree of {ends} pathways; the list below says the same in words"
            )
    else:
        st.info(f"{ends:,} pathways are too many to draw; the list below has them all.")
    with st.expander("The same as a list", expanded=ends > MOST_LEAVES):
        blocks.nested(_lines(nodes, study, probabilities=assumed is not None))
    under = "no scenario" if assumed is None else f"scenario {assumed.name}, exact probabilities"
    blocks.trace(study, f"{ends:,} pathways, {under}")
    with st.expander("The same on the command line"):
        asked = f' --from "{start}"' if start else ""
        named = "" if assumed is None else f" --scenario {assumed.name}"
        st.code(f"escalation pathways {file_name()}{asked} --cohorts {cohorts}{named}", language="shell")


def _lines(nodes: tuple[Node, ...], study: Study, *, probabilities: bool) -> list[tuple[int, str, str]]:
    """Depth, outcomes and what follows, node by node."""
    grid = study.protocol.grid
    lines = []
    for position, node in enumerate(nodes):
        says = next_step(node.advice, grid)
        chance = f", probability {node.probability:.4f}" if probabilities else ""
        lines.append((node.depth, latest_outcomes(nodes, position), says + chance))
    return lines
