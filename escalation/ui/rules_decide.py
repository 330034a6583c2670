"""What would it decide: a trial so far, typed or tapped, and the decision with its reasons."""

from __future__ import annotations

from typing import Any, Final

import streamlit as st

from escalation.advice import Advice, Advisor
from escalation.decision import Action
from escalation.errors import EscalationError
from escalation.outcomes import Replay, letters_read, level_of, replay
from escalation.report.forms import decision_form
from escalation.study import Study
from escalation.ui import blocks
from escalation.ui.estimates import estimate_chart
from escalation.ui.study_in_hand import file_name

KEY: Final = "outcomes"
"""Name of the entry, and of the query parameter that keeps it."""


def advisor_of(study: Study) -> Advisor:
    """Who answers for the study's rule."""
    protocol = study.protocol
    return Advisor.of(protocol.rule, protocol.escalate_when)


def replayed(study: Study, outcomes: str, advisor: Advisor) -> Replay:
    """The trial an outcome string describes; raises OutcomeError."""
    protocol = study.protocol
    return replay(protocol.rule, outcomes, advisor=advisor, replace_not_evaluable=protocol.evaluability.replace)


def decide(study: Study) -> None:
    """The entry, and what the rule answers."""
    grid = study.protocol.grid
    example = "1.1NNN 2.1NTN" if grid.axis == "grid" else "1NNN 2NTN"
    outcomes = str(
        st.text_input(
            "The trial so far",
            key=KEY,
            bind="query-params",
            placeholder=f"for example {example}; empty for the start",
            help="A level, then a letter for each participant: "
            + ", ".join(f"{letter} {meaning}" for letter, meaning in letters_read(study.protocol.rule).items())
            + ". On a grid the level is dose.frequency.",
        )
    ).strip()
    tapping = st.container(horizontal=True)
    advisor = advisor_of(study)
    with blocks.refusals_shown():
        try:
            found = replayed(study, outcomes, advisor)
            advice = advisor.advise(found.state)
        except EscalationError:
            _tap(tapping, outcomes, None, study)
            raise
        _tap(tapping, outcomes, advice, study)
        _answer(study, found, advice, decision_form(study, found, advice, outcomes))
        with st.expander("The same on the command line"):
            st.code(f'escalation decide {file_name()} --outcomes "{outcomes}"', language="shell")


def _tap(row: Any, outcomes: str, advice: Advice | None, study: Study) -> None:
    """Buttons that write the next participant's outcome."""
    treats = advice is not None and advice.action not in (Action.STOP, Action.WAIT)
    for letter, meaning in letters_read(study.protocol.rule).items():
        row.button(
            f"{letter}: {meaning}",
            key=f"tap:{letter}",
            disabled=not treats,
            on_click=_write,
            args=(_with(outcomes, letter, advice, study),),
        )
    row.button("Take back", icon=":material/undo:", disabled=not outcomes, on_click=_write, args=(_without(outcomes),))


def _write(outcomes: str) -> None:
    st.session_state[KEY] = outcomes


def _with(outcomes: str, letter: str, advice: Advice | None, study: Study) -> str:
    """The outcome string with one more participant where the rule would treat them."""
    if advice is None:
        return outcomes
    level = study.protocol.grid.level(advice.regimen)
    *before, last = outcomes.split() or [""]
    if last and not advice.decides and level_of(last) == level:
        return " ".join([*before, last + letter])
    return f"{outcomes} {level}{letter}".strip()


def _without(outcomes: str) -> str:
    """The outcome string without its last participant."""
    shorter = outcomes[:-1].rstrip()
    return " ".join(token for token in shorter.split() if token[-1:].isalpha())


def _estimates(study: Study, estimates: dict[str, Any] | None) -> None:
    """What a design that estimates believes of each regimen, and its other numbers."""
    grid = study.protocol.grid
    by_regimen = {
        name: values
        for name, values in (estimates or {}).items()
        if isinstance(values, list) and len(values) == grid.size
    }
    single = [f"{name} {value:.4g}" for name, value in (estimates or {}).items() if isinstance(value, int | float)]
    if by_regimen:
        blocks.table(
            ("regimen", *by_regimen),
            [
                (grid.describe(k), *("" if v[k] is None else f"{v[k]:.4g}" for v in by_regimen.values()))
                for k in range(grid.size)
            ],
            "What the model estimates" + (f": {', '.join(single)}" if single else ""),
        )


def _answer(study: Study, found: Replay, advice: Advice, form: dict[str, Any]) -> None:
    rule, grid = study.protocol.rule, study.protocol.grid
    for departure in form["departures"]:
        st.warning(f"Departure from the design: {blocks.plain(departure)}", icon=":material/fork_right:")
    blocks.say(form["text"])
    for reason, explained in zip(form["reasons"], form["explanations"], strict=True):
        st.markdown(f"{blocks.plain(reason['text'])} `{reason['code']}`")
        st.caption(blocks.plain(explained))
    if rule.expansion is not None and form["stage"] == "escalation" and form["selected"]:
        st.markdown(f"Then {blocks.plain(rule.expansion.describe(grid))}.")
    if form["certain"]:
        st.markdown("Certain already: no outcome still open can change it.")
    if form["waiting_for"]:
        waited = ", ".join(str(each["participant"]) for each in form["waiting_for"])
        st.markdown(f"Pending: participant {waited}")
    if form["outlook"]:
        st.markdown("\n".join(f"- {blocks.plain(line)}" for line in form["outlook"]))
    state = found.state
    graded = rule.reads_grades
    rows: list[tuple[str, ...]] = [
        (
            grid.describe(k),
            str(state.n[k]),
            str(state.dlt[k]),
            *((str(state.moderate[k]),) if graded else ()),
            str(state.pending[k]),
        )
        for k in range(grid.size)
        if state.n[k] or state.pending[k] or state.moderate[k]
    ]
    if state.expansion_n or state.expansion_pending:
        stage = (state.expansion_n, state.expansion_dlt, *(("",) if graded else ()), state.expansion_pending)
        rows.append(("expansion stage, at the selected regimen", *map(str, stage)))
    if rows:
        heads = ("regimen", "evaluable", "DLTs", *(("moderate toxicities",) if graded else ()), "pending")
        blocks.table(heads, rows)
    _estimates(study, form["estimates"])
    estimate_chart(study, state)
    blocks.trace(study, "decided by the rule itself")
