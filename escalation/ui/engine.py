"""The engines as the pages use them: states compiled once for a rule, then every curve at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import numpy as np
import streamlit as st

from escalation.benchmark import Benchmark, benchmark
from escalation.errors import EngineError, EscalationError, StateBudgetError
from escalation.exact import Graph, compile_graph
from escalation.plain_data import replace_truth, set_by_hand, set_value
from escalation.registry import design_names
from escalation.simulate import EngineName, Simulation, evaluate, judgement_of, simulate
from escalation.study import Study, validate
from escalation.tally import Floats

LIVE_TRIALS: Final = 2_000
"""Sampled trials behind a live answer when the states are too many to enumerate."""
BENCHMARK_TRIALS: Final = 10_000
"""Simulated trials behind the optimal benchmark."""
DEFAULT_SIZE: Final = 30
"""Participants of a design that does not end by itself, where the study sets no maximum."""


@st.cache_resource(max_entries=64, show_spinner="Finding every state the design can reach")
def _graph(protocol: str, _study: Study) -> Graph | None:
    try:
        return compile_graph(_study.protocol.rule)
    except (StateBudgetError, EngineError):
        return None


def graph_of(study: Study) -> Graph | None:
    """The states of the study's rule, compiled once for a protocol; None when they are too many or need a clock."""
    return _graph(json.dumps(study.protocol.model_dump(mode="json"), sort_keys=True), study)


def truth_text(study: Study, probabilities: Floats) -> str:
    """DLT probabilities as ``--truth`` takes them on the command line."""
    return " / ".join(" ".join(f"{p:.10g}" for p in row) for row in study.protocol.grid.matrix(probabilities))


def with_truth(study: Study, probabilities: Floats) -> Study:
    """The study judged under one assumed truth in place of its scenarios, as ``--truth`` does.

    Moderate toxicities stay those of the first scenario, as far as the DLT probabilities leave room.
    """
    data = study.as_dict()
    lowered = lowered_moderate(study, probabilities)
    if lowered:
        set_value(data, lowered, study.id)
    replace_truth(data, truth_text(study, probabilities), study.id)
    return validate(data, study.id)


def lowered_moderate(study: Study, probabilities: Floats) -> str:
    """What ``--set`` needs so that moderate toxicities fit beside these DLT probabilities; empty when they do."""
    moderate = study.truth(study.scenarios[0]).moderate
    if moderate is None or (probabilities + moderate <= 1 + 1e-9).all():
        return ""
    fitting = np.minimum(moderate, np.round(1 - probabilities, 6))
    return (
        f"scenarios.0.moderate={json.dumps([[float(m) for m in row] for row in study.protocol.grid.matrix(fitting)])}"
    )


def with_values(study: Study, overrides: Sequence[str]) -> Study:
    """The study with single values replaced, as ``--set PATH=VALUE`` does."""
    data = study.as_dict()
    for override in overrides:
        set_value(data, override, study.id)
    return validate(data, study.id)


def characteristics(study: Study, seed: int = 1) -> Simulation:
    """Operating characteristics at once: exact, or sampled with its error when the states are too many."""
    graph = graph_of(study)
    if graph is not None:
        return evaluate(study, graph)
    engine: EngineName = "calendar" if study.protocol.rule.design.needs_clock else "sampled"
    return simulate(study, engine=engine, trials=LIVE_TRIALS, seed=seed)


@st.cache_resource(max_entries=256, show_spinner=False)
def _under(text: str, design: str) -> Study | None:
    data = json.loads(text)
    data["protocol"]["design"] = {"name": design}
    set_by_hand(data, "protocol.design")
    if data["protocol"].get("max_patients") is None:
        data["protocol"]["max_patients"] = DEFAULT_SIZE + (data["protocol"].get("expansion") or {}).get("size", 0)
    try:
        return validate(data, design)
    except EscalationError:
        return None


def under_design(study: Study, design: str) -> Study | None:
    """The same study under another design with its defaults; None when the design does not fit the regimens."""
    return _under(json.dumps(study.as_dict(), sort_keys=True), design)


def fitting_designs(study: Study) -> dict[str, Study]:
    """Every registered design that fits the study's regimens, by name; the study's own first, as it is."""
    own = study.protocol.rule.design.name
    others = {name: under_design(study, name) for name in design_names() if name != own}
    return {own: study} | {name: each for name, each in others.items() if each is not None}


def best_possible(study: Study, truth: Floats, participants: int) -> Benchmark:
    """The optimal benchmark on simulated participants, with its standard error."""
    return benchmark(truth, judgement_of(study), participants, seed=1, trials=BENCHMARK_TRIALS)
