"""What a committee is shown: the gaps in the data, and the design's advice on the trial as it stands."""

from __future__ import annotations

from datetime import date
from typing import Any

from escalation.advice import Advice, Advisor
from escalation.conduct.state import ConductState
from escalation.report.wording import headline, outlook_lines


def gaps(state: ConductState) -> list[str]:
    """What is missing in the data of a decision: pending participants and open critical queries (G4)."""
    found = [f"{code} is pending" for code, each in state.outcomes().items() if each["outcome"] == "pending"]
    found += [
        f"{person.code} is assigned and not treated"
        for person in state.people.values()
        if person.assigned is not None and person.outcome == "untreated" and person.left is None
    ]
    found += [
        f"critical query {code} is {query.status}"
        for code, query in state.queries.items()
        if query.raised.critical and query.status != "closed"
    ]
    return found


def advise(state: ConductState, on: date | None = None) -> Advice:
    """The advice of the rule in force on the trial as it stands: the same that simulation takes.

    Designs that read follow-up times see open windows followed up to a date, that of the last entry when None.
    """
    protocol = state.in_force().protocol
    advisor = Advisor(protocol.rule, windows_complete=protocol.escalate_when == "windows_complete")
    return advisor.advise(state.trial_state(on))


def advice_form(state: ConductState, on: date | None = None) -> dict[str, Any]:
    """The advice as a recommendation records it; ``on`` as for :func:`advise`."""
    advice, rule = advise(state, on), state.in_force().protocol.rule
    grid = rule.grid

    def level(regimen: int) -> dict[str, int]:
        return dict(grid.regimen(regimen)._asdict())

    treats = advice.action.word in ("escalate", "stay", "de_escalate")
    drawn = {}
    if treats and advice.allocation is not None:  # a design that draws leaves the draw to whoever conducts the trial
        shares = [(k, share) for k, share in enumerate(advice.allocation) if share > 0]
        drawn = {"allocation": [{**level(k), "probability": share} for k, share in shares]}
    return {
        **drawn,
        "action": advice.action.word,
        "next": level(advice.regimen) if treats else None,
        "size": advice.size,
        "selected": [level(k) for k in advice.selected],
        "decides": advice.decides,
        "certain": advice.certain,
        "reasons": list(advice.reasons),
        "memory": list(advice.memory),
        "design": rule.design.label,
        "text": headline(advice, rule),
        "outlook": outlook_lines(advice, grid),
    }
