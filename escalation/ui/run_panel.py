"""A run on a page: started once, found again through the address, watched, cancelled, its result read."""

from __future__ import annotations

import time
from typing import Any, Final

import streamlit as st

from escalation.errors import EngineError
from escalation.simulate import Simulation
from escalation.stored import read_simulations
from escalation.ui import blocks, runs

ADDRESS: Final = "run"
"""Query parameter that names the run."""
DOUBLE_CLICK_SECONDS: Final = 3.0
_SAID: Final = {
    "cancelled": "Cancelled before it was finished; there is no result.",
    "refused": "The engine refuses this.",
    "failed": "This run failed.",
    "stopped": "This run stopped.",
}


def begin(page: str, request: dict[str, Any]) -> None:
    """Start a run and name it in the address; a second click on the same button starts no second one."""
    asked, at, begun = st.session_state.get(f"{page}:begun", (None, 0.0, ""))
    if asked == request and time.monotonic() - at < DOUBLE_CLICK_SECONDS and runs.look(begun).open:
        return
    try:
        key = runs.start(request)
    except runs.RunError as error:
        st.session_state[f"{page}:refused"] = str(error)
        return
    st.session_state[f"{page}:begun"] = (request, time.monotonic(), key)
    show(page, key)


def show(page: str, key: str | None) -> None:
    """Work with a run, or with none, from now on."""
    st.session_state[f"{page}:run"] = key
    if key is None:
        st.query_params.pop(ADDRESS, None)
    else:
        st.query_params[ADDRESS] = key


def run_in_hand(page: str, text: str) -> str | None:
    """The run of the address, else the one this page showed last of the study in hand; None when there is none."""
    refused = st.session_state.pop(f"{page}:refused", None)
    if refused:
        st.error(refused)
    asked = st.query_params.get(ADDRESS)
    if asked is None:
        asked = st.session_state.get(f"{page}:run")
        if asked is None or not runs.exists(asked) or runs.look(asked).request["studies"][0] != text:
            return None
    if not runs.exists(asked) or kind(runs.look(asked).request) != page:
        st.session_state[f"{page}:run"] = None
        st.query_params.pop(ADDRESS, None)
        st.info("The address names no run kept here; runs are kept for a week. Start it again.")
        return None
    show(page, asked)
    return str(asked)


def kind(request: dict[str, Any]) -> str:
    """The page a run belongs to."""
    return "simulate" if len(request.get("studies", ())) == 1 else "compare"


def watch(page: str, key: str) -> tuple[Simulation, ...] | None:
    """The result of a run; while there is none, how far it is or how it ended."""
    run = runs.look(key)
    if run.open:
        _progress(key)
        return None
    if run.status != "finished":
        (st.info if run.status == "cancelled" else st.error)(f"{_SAID[run.status]} {blocks.plain(run.message)}".strip())
        left, right = st.columns(2)
        left.button("Run it again", type="primary", on_click=begin, args=(page, without_time(run.request)))
        right.button("Change the settings", on_click=show, args=(page, None))
        return None
    try:
        return result_of(key)
    except EngineError as error:
        blocks.show_refusal(error)
        st.button("Run it again", type="primary", on_click=begin, args=(page, without_time(run.request)))
        return None


def without_time(request: dict[str, Any]) -> dict[str, Any]:
    """What was asked, to be asked again."""
    return {name: value for name, value in request.items() if name != "asked"}


@st.cache_resource(max_entries=12, show_spinner="Reading the result")
def result_of(key: str) -> tuple[Simulation, ...]:
    """The result of a finished run; the key names one result for ever."""
    return read_simulations(runs.look(key).result)


@st.fragment(run_every=1.0)
def _progress(key: str) -> None:
    """How far the run is, asked for every second until it is over."""
    run = runs.look(key)
    if not run.open:
        st.rerun()
    if run.status == "waiting":
        behind = f", {run.ahead} before it" if run.ahead else ""
        st.progress(0.0, f"Waiting for its turn{behind}. At most {runs.cores()} runs are at work at once.")
    else:
        st.progress(min(run.done / run.total, 1.0) if run.total else 0.0, _told(run))
    st.button("Cancel", key=f"cancel:{key}", on_click=runs.cancel, args=(key,))
    st.caption("The run goes on when you leave or reload this page; the address brings you back to it.")


def _told(run: runs.Run) -> str:
    if not run.total:
        return f"Starting, {run.seconds:.0f} s"
    if run.request["engine"] == "exact":
        return f"Finding every state the rule can reach, {run.seconds:.0f} s"
    told = f"{run.done:,} of {run.total:,} trials, {run.seconds:.0f} s"
    if run.done > 0.05 * run.total and run.seconds > 2:
        told += f", about {run.seconds * (run.total - run.done) / run.done:.0f} s left"
    return told
