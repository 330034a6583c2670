"""The decision table spelled out: the decision for every number of DLTs among every number of participants."""

from __future__ import annotations

from dataclasses import dataclass

from escalation.decision import Action
from escalation.design import DecisionTable

ELIMINATE = "eliminate"
"""De-escalate and never return; not an action of its own, but a cell of its own."""


@dataclass(frozen=True, slots=True)
class DecisionMatrix:
    """Cells by evaluable participants (rows) and DLTs (columns) at the current regimen.

    Attributes
    ----------
    n
        Participants of each row.
    cells
        A row's decisions for 0, 1, ... DLTs; an Action, ``ELIMINATE``, or None where there are more DLTs than
        participants.
    closed
        Whether the last column stands for that many DLTs or more.
    """

    n: tuple[int, ...]
    cells: tuple[tuple[Action | str | None, ...], ...]
    closed: bool


def decision_matrix(table: DecisionTable, cohort_size: int | None = None) -> DecisionMatrix:
    """The matrix of a decision table.

    Columns end where every row has reached its last boundary: further DLTs change nothing.

    Parameters
    ----------
    cohort_size
        Only rows of whole cohorts; every row of the table when None.

    Examples
    --------
    >>> three = DecisionTable((3, 6), (0, 1), (2, 2), (2, 2))
    >>> [[str(getattr(cell, "word", cell)) for cell in row] for row in decision_matrix(three).cells]
    [['escalate', 'stay', 'eliminate'], ['escalate', 'escalate', 'eliminate']]
    """
    rows = [k for k, n in enumerate(table.n) if cohort_size is None or n % cohort_size == 0] or [*range(len(table.n))]
    most = max(table.n[k] for k in rows)
    bounds = [
        bound
        for k in rows
        for bound in (table.escalate_if_at_most[k], table.de_escalate_if_at_least[k], table.eliminate_if_at_least[k])
        if bound is not None
    ]
    last = min(most, max((*bounds, 1)))
    cells = tuple(
        tuple(decision_at(table, k, dlt) if dlt <= table.n[k] else None for dlt in range(last + 1)) for k in rows
    )
    return DecisionMatrix(tuple(table.n[k] for k in rows), cells, last < most)


def decision_at(table: DecisionTable, row: int, dlt: int) -> Action | str:
    """The decision of a row of the table for a number of DLTs; elimination comes first, then de-escalation."""
    eliminate, down = table.eliminate_if_at_least[row], table.de_escalate_if_at_least[row]
    up = table.escalate_if_at_most[row]
    if eliminate is not None and dlt >= eliminate:
        return ELIMINATE
    if down is not None and dlt >= down:
        return Action.DE_ESCALATE
    return Action.ESCALATE if up is not None and dlt <= up else Action.STAY
