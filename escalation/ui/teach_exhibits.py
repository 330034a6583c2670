"""What a lesson or a trial by hand shows: figures, tables, a trial cohort by cohort, a decision with its reasons."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import streamlit as st

from escalation.outcomes import OUTCOMES
from escalation.report.charts.teaching import enlarged
from escalation.report.charts.trials import cohort_steps
from escalation.report.wording import headline
from escalation.teach.hand_run import HandRun, figure_records, look_ahead
from escalation.teach.lesson import Exhibit, Figure, Listed, Reasons, Trial
from escalation.ui import blocks, teach_address

LARGER: Final = 1.5
"""How much larger charts are on a projector; words follow ``large.css``."""


def show(exhibits: Iterable[Exhibit], scope: str) -> None:
    """Exhibits one below the other, figures of one kind side by side."""
    listed = list(exhibits)
    figures = [each for each in listed if isinstance(each, Figure)]
    columns = iter(st.columns(len(figures)) if len(figures) > 1 else [st.container(width=860)] if figures else ())
    for position, each in enumerate(listed):
        if isinstance(each, Figure):
            with next(columns):
                if each.title:
                    st.markdown(f"**{each.title}**")
                chart(each.make(), each.alt, f"teach:figure:{scope}:{position}")
        elif isinstance(each, Listed):
            with st.container(width=860):
                blocks.table(each.headers, each.rows, each.caption)
        elif isinstance(each, Trial):
            steps(each.run, f"{scope}:{position}")
        elif isinstance(each, Reasons):
            decision(each.run)


def chart(made: Any, alt: str, key: str) -> None:
    """A chart, larger when the page is shown to the class."""
    if teach_address.value("large") == "1":
        st.vega_lite_chart(enlarged(made, LARGER), alt=alt, key=key)
    else:
        st.altair_chart(made, alt=alt, key=key)


def steps(run: HandRun, scope: str, *, title: str = "", decided: bool = True) -> None:
    """A trial cohort by cohort: the figure, and the outcome string; ``decided`` tells to draw the decision now due."""
    if title:
        st.markdown(f"**{title}**")
    if run.treated:
        grid = run.study.protocol.grid
        people, decisions = figure_records(run, last_decision=decided)
        levels = [grid.level(k) for k in range(grid.size) if grid.axis != "grid" or _near(run, k)]
        spoken = ", ".join(
            f"{i + 1:03d} level {grid.level(regimen)} {OUTCOMES[letter]}"
            for i, (regimen, letter) in enumerate(run.treated)
        )
        with st.container(width=860):
            chart(
                cohort_steps(people, levels, decisions, places=max(12, len(people))),
                f"Trial cohort by cohort: {spoken}",
                f"teach:steps:{scope}:{run.text}",
            )
        st.code(run.text, language=None, wrap_lines=True)


def _near(run: HandRun, regimen: int) -> bool:
    """Whether a regimen of the grid was treated, or is one step above one that was."""
    grid = run.study.protocol.grid
    used = {person.regimen for person in run.treated}
    return regimen in used or any(grid.predecessors[k, regimen] for k in used)


def decision(run: HandRun) -> None:
    """What the rule says, why in one line and at length, and what is being waited for."""
    rule, advice = run.study.protocol.rule, run.advice
    blocks.say(headline(advice, rule))
    for code in advice.reasons:
        reason = rule.reason(code)
        with st.container(width=860):
            st.markdown(f"**{reason.line}**")
            st.markdown(reason.paragraph)
    if rule.expansion is not None and run.state.stage == "escalation" and len(advice.selected) == 1:
        st.markdown(f"Then {rule.expansion.describe(rule.grid)}.")
    if advice.certain:
        st.markdown("Certain already: no outcome still open can change it.")
    ahead = look_ahead(run)
    if ahead:
        st.markdown(
            "**Look-ahead.** "
            + "\n".join((f"It {ahead[0]}" + ("" if ahead[1:] else "."), *(f"- {line}" for line in ahead[1:])))
        )
