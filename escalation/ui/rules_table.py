"""The decision table as the field draws it: letters on colours, and the boundaries the engine compares with."""

from __future__ import annotations

import streamlit as st

from escalation.decision import Action
from escalation.report.charts.style import ACTIONS, ELIMINATE
from escalation.report.decision_matrix import decision_matrix
from escalation.report.wording import why_no_table
from escalation.study import Study
from escalation.ui import blocks
from escalation.ui.study_in_hand import file_name


def decision_table(study: Study) -> None:
    """The matrix of participants by DLTs, and the boundaries."""
    design, size = study.protocol.rule.design, study.protocol.cohort_size
    table = design.table()
    if table is None:
        st.info(
            f"{blocks.plain(why_no_table(design))}. The pathways show what it decides, cohort by cohort.",
            icon=":material/account_tree:",
        )
        st.button("Show the pathways", on_click=lambda: st.session_state.update(show="Pathways"))
        return
    whole = [n for n in table.n if n % size == 0]
    every = len(whole) == len(table.n) or st.toggle(
        "Every number of participants", key="table:every", persist_state="session", help=f"Else whole cohorts of {size}"
    )
    matrix = decision_matrix(table, None if every else size)
    columns = len(matrix.cells[0])
    heads = [str(dlt) for dlt in range(columns)]
    if matrix.closed:
        heads[-1] += " or more"
    rows = [
        (str(n), *("" if cell is None else cell_of(cell) for cell in row))
        for n, row in zip(matrix.n, matrix.cells, strict=True)
    ]
    blocks.table(
        ("evaluable", *heads), rows, "Decision by evaluable participants (rows) and DLTs (columns) at the current level"
    )
    legend = [ACTIONS[Action.ESCALATE], ACTIONS[Action.STAY], ACTIONS[Action.DE_ESCALATE], ELIMINATE]
    blocks.legend(legend)
    st.caption(
        "At the lowest and the highest level the rule has nowhere further to go, and the protocol's guards come after "
        "the table: what then happens is under What would it decide? and Pathways."
    )
    limits = zip(
        table.n, table.escalate_if_at_most, table.de_escalate_if_at_least, table.eliminate_if_at_least, strict=True
    )
    blocks.table(
        ("evaluable", "escalate if at most", "de-escalate if at least", "eliminate if at least"),
        [
            (str(n), *("never" if each is None else str(each) for each in bounds))
            for n, *bounds in limits
            if every or n % size == 0
        ],
        "The boundaries, as the engine compares with them",
    )
    blocks.trace(study, "exact integer boundaries")
    with st.expander("The same on the command line"):
        st.code(f"escalation table {file_name()}", language="shell")


def cell_of(cell: Action | str) -> blocks.Markup:
    """A cell: the letter on its colour, the word for who cannot see either."""
    letter, colour, word = ACTIONS[cell] if isinstance(cell, Action) else ELIMINATE
    return blocks.letter(letter, colour, word)
