"""One simulated trial, opened and stepped through event by event."""

from __future__ import annotations

from typing import Final

import streamlit as st

from escalation.report.charts.trials import cohort_steps, swimmer
from escalation.report.course import EXEMPLARS, Moment, SimulatedTrial, exemplars
from escalation.report.wording import headline, outlook_lines
from escalation.simulate import ScenarioResult, Simulation
from escalation.ui import blocks

TRIAL: Final = "trial"
"""Query parameter with the number of the trial."""


@st.fragment
def show(key: str, result: ScenarioResult, simulation: Simulation) -> None:
    """Choose one of the simulated trials and look into it."""
    number = _chosen(key, result)
    trial = _trial(key, result.name, number - 1, simulation)
    last = len(trial.steps) - 1
    if last < 0:
        st.info("Nobody was enrolled in this trial.")
        return
    step = _step(f"step:{key}:{result.name}:{number}", trial, last)
    moment, end = trial.at(step), trial.at(last)
    with st.container():  # as many elements outside it at every step, so that the figures stay in place
        _told(moment, trial)
    everyone = tuple(each.participant for each in end.people)
    lanes = swimmer(
        moment.people, moment.decisions, moment.suspended, today=moment.day, last_day=trial.last_day, lanes=everyone
    )
    st.altair_chart(lanes, alt=_lanes_said(moment))
    grid = trial.grid
    used = [grid.level(k) for k in range(grid.size)]
    if grid.axis == "grid":
        used = [level for level in used if level in {each.regimen for each in end.people}]
    steps = cohort_steps(moment.people, used, moment.decisions, places=len(everyone))
    st.altair_chart(steps, alt="Level of every participant in the order of the first infusion, with the outcomes")
    st.caption(
        "Bars: follow-up within the DLT window, its outline what is planned; ticks: infusions; numbers beside the "
        "bars: levels. Letters: decisions, with the level that follows. Shaded: nobody can be enrolled."
    )


@st.cache_resource(max_entries=32, show_spinner=False)
def _trial(key: str, scenario: str, replicate: int, _simulation: Simulation) -> SimulatedTrial:
    assert _simulation.seed is not None
    return SimulatedTrial(_simulation.study, scenario, _simulation.seed, replicate)


def _chosen(key: str, result: ScenarioResult) -> int:
    """Number of the trial, counted from 1: by a rule, or typed in; the address keeps it."""
    assert result.rows.trials is not None
    most, found = result.rows.trials, exemplars(result.rows)
    scope = f"{key}:{result.name}"
    state = f"number:{scope}"
    if state not in st.session_state:
        asked = st.query_params.get(TRIAL, "")
        number = int(asked) if asked.isdigit() and 1 <= int(asked) <= most else found["typical"] + 1
        st.session_state[state] = number

    def by_rule() -> None:
        rule = st.session_state[f"rule:{scope}"]
        if rule in found:
            st.session_state[state] = found[rule] + 1

    def by_number() -> None:
        st.session_state[f"rule:{scope}"] = None

    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with left:
        st.pills(
            "Find",
            list(EXEMPLARS),
            format_func=EXEMPLARS.__getitem__,
            key=f"rule:{scope}",
            on_change=by_rule,
            help="Among the trials simulated, the first that fits; typical is the duration closest to the median.",
        )
    with right:
        number = int(st.number_input("Trial number", 1, most, key=state, on_change=by_number))
    st.query_params[TRIAL] = str(number)
    return number


def _step(state: str, trial: SimulatedTrial, last: int) -> int:
    """Which step is shown: a slider, and buttons for the next one and the next decision."""
    if state not in st.session_state:
        st.session_state[state] = last

    def go(to: int) -> None:
        st.session_state[state] = min(max(to, 0), last)

    here = int(st.session_state[state])
    ahead = next((step for step in trial.decision_steps if step > here), last)
    behind = next((step for step in reversed(trial.decision_steps) if step < here), 0)
    with st.container(horizontal=True):
        st.button("Start", on_click=go, args=(0,), key=f"{state}:start", icon=":material/first_page:")
        st.button("Decision before", on_click=go, args=(behind,), key=f"{state}:behind")
        st.button("Previous", on_click=go, args=(here - 1,), key=f"{state}:previous", disabled=here == 0)
        st.button("Next", on_click=go, args=(here + 1,), key=f"{state}:next", disabled=here == last, type="primary")
        st.button("Next decision", on_click=go, args=(ahead,), key=f"{state}:ahead")
        st.button("End", on_click=go, args=(last,), key=f"{state}:end", icon=":material/last_page:")
    if last == 0:
        return 0
    return int(st.slider("Event", 0, last, key=state, format="%d"))


def _told(moment: Moment, trial: SimulatedTrial) -> None:
    """What happened, why if it is a decision, and what the rule says now."""
    blocks.say(f"Day {moment.day}. {moment.said}")
    for code, line, paragraph in moment.reasons:
        st.markdown(f"**Why:** {line} `{code}`")
        st.caption(paragraph)
    rule = trial.engine.rule
    if not moment.reasons:
        st.markdown(f"**Now:** {blocks.plain(headline(moment.advice, rule))}")
    with st.expander("What the open outcomes can lead to"):
        told = outlook_lines(moment.advice, trial.grid)
        st.markdown("\n".join(f"- {line}" for line in told) if told else "Nothing open can change what is said above.")


def _lanes_said(moment: Moment) -> str:
    dlts = sum(each.outcome == "dlt" for each in moment.people)
    pending = sum(each.outcome == "pending" for each in moment.people)
    return (
        f"Participants over the days up to day {moment.day}: {len(moment.people)} treated, {dlts} with a DLT, "
        f"{pending} with an open window, {len(moment.decisions)} decisions"
    )
