"""What a committee is shown: the gaps in the data, and the design's advice on the trial as it stands."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any, Final

import numpy as np

from escalation.advice import Advice, Advisor
from escalation.conduct.draws import allocation_form, drawn_advice
from escalation.conduct.state import ConductState
from escalation.report.wording import draw_words, headline, outlook_lines

ROUNDING: Final = 1e-9
"""By how much probabilities may differ that two machines worked out."""


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
    advisor = Advisor.of(protocol.rule, protocol.escalate_when)
    return advisor.advise(state.trial_state(on))


def advice_form(
    state: ConductState,
    on: date | None = None,
    *,
    draws: bool = True,
    frozen: tuple[float, ...] | None = None,
) -> dict[str, Any]:
    """The advice as a recommendation records it, its regimen drawn where the design randomises.

    Parameters
    ----------
    on
        As for :func:`advise`.
    draws
        False for the form of before draws were recorded, which named the first of the possible regimens.
    frozen
        Probabilities recorded before, to be drawn with again; those worked out now when they are other ones.
    """
    advice, rule = advise(state, on), state.in_force().protocol.rule
    grid = rule.grid
    if frozen is not None and advice.allocation is not None and _equal(frozen, advice.allocation):
        advice = replace(advice, allocation=frozen)
    shares = advice.allocation
    if draws:
        taken, draw = drawn_advice(state, advice)
    else:
        ahead = tuple(replace(each, allocation=None) for each in advice.outlook)
        advice = replace(advice, allocation=None, outlook=ahead)
        taken, draw = advice, None

    def level(regimen: int) -> dict[str, int]:
        return dict(grid.regimen(regimen)._asdict())

    treats = advice.action.word in ("escalate", "stay", "de_escalate")
    randomised: dict[str, Any] = {}
    if treats and shares is not None:
        randomised["allocation"] = allocation_form(shares, grid)
    if draw is not None:
        randomised["draw"] = draw.as_dict()
    return {
        **randomised,
        "action": taken.action.word,
        "next": level(taken.regimen) if treats else None,
        "size": advice.size,
        "selected": [level(k) for k in advice.selected],
        "decides": advice.decides,
        "certain": advice.certain,
        "reasons": list(advice.reasons),
        "memory": list(advice.memory),
        "design": rule.design.label,
        "text": headline(taken, rule) + (f" Drawn from {draw_words(shares, grid)}." if draw is not None else ""),
        "outlook": outlook_lines(advice, grid),
    }


def _equal(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether probabilities are equal but for the rounding of another machine."""
    return bool(np.allclose(one, other, rtol=0.0, atol=ROUNDING))
