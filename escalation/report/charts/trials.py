"""Figures of one trial: the swimmer plot over days and the cohort steps over participants.

They take plain records, so that a simulated trial, a running one and one in a lesson are drawn alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import altair as alt
import pandas as pd

from escalation.decision import Action
from escalation.report.charts.style import ACTIONS, DLT, INK, MODERATE, PENDING, SAFE, finished

Outcome = Literal["pending", "complete", "moderate", "dlt", "not_evaluable"]
Cause = Literal["outcomes", "review", "stagger"]


@dataclass(frozen=True, slots=True)
class Followed:
    """One participant as figures draw one; days are days of the trial.

    Attributes
    ----------
    participant
        Number or code, each used once.
    regimen
        Level of the regimen, as ``RegimenGrid.level`` writes it.
    cohort
        Number of the cohort, counted from 1.
    first, infusions
        Day of the first infusion, and of every infusion given.
    window_end
        Last day of the DLT window.
    outcome, outcome_day
        What became of the participant, and the day it was known; None while pending.
    backfill
        Whether the participant was backfilled.
    """

    participant: str
    regimen: str
    cohort: int
    first: int
    infusions: tuple[int, ...]
    window_end: int
    outcome: Outcome
    outcome_day: int | None = None
    backfill: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """A decision: the day it took effect, the level of the next cohort (empty when the trial ends) and why."""

    day: int
    action: Action
    regimen: str
    reason: str


@dataclass(frozen=True, slots=True)
class Suspended:
    """Days on which nobody could be enrolled, from ``start`` until ``end``, and for what."""

    start: int
    end: int
    cause: Cause


OUTCOMES: Final[dict[Outcome, tuple[str, str, str]]] = {
    "complete": ("no DLT", SAFE, "circle"),
    "moderate": ("moderate toxicity", MODERATE, "square"),
    "dlt": ("DLT", DLT, "cross"),
    "pending": ("window open", PENDING, "triangle-up"),
    "not_evaluable": ("not evaluable", "#8C8C8C", "diamond"),
}
"""Word, colour and shape of every outcome."""
CAUSES: Final[dict[Cause, tuple[str, str]]] = {
    "outcomes": ("outcomes awaited", "#8A6FB3"),
    "review": ("under review", "#56B4E9"),
    "stagger": ("stagger", "#CC79A7"),
}
"""Word and colour of every cause of suspended accrual: days on which nobody could be enrolled."""


def swimmer(
    people: Sequence[Followed],
    decisions: Sequence[Taken] = (),
    suspended: Sequence[Suspended] = (),
    *,
    today: int | None = None,
    last_day: int | None = None,
    lanes: Sequence[str] = (),
    step: int = 17,
) -> alt.LayerChart | alt.FacetChart:
    """Participants over the days of the trial: infusions, window, outcome, decisions and suspended accrual.

    Parameters
    ----------
    people
        In the order they are drawn, first on top.
    decisions
        Vertical lines with the letter of the action and the level of the next cohort.
    suspended
        Shaded periods.
    today
        How far the trial is: the follow-up of open windows is drawn up to it.
    last_day
        End of the axis, so that a trial shown step by step keeps its scale; what is drawn when None.
    lanes
        Participants the axis holds beside those drawn, for the same purpose.
    step
        Height of one participant in pixels.
    """
    order = list(dict.fromkeys([*(each.participant for each in people), *lanes]))
    drawn = [each.window_end for each in people] + [each.day for each in decisions] + [each.end for each in suspended]
    first = min([0, *(each.first for each in people)])
    end = max(
        [first + 1, *drawn, *([last_day] if last_day is not None else []), *([today] if today is not None else [])]
    )
    now = end if today is None else today
    x = alt.Scale(domain=[first, end], nice=False)
    day_axis = alt.X("from:Q", title="day of the trial", scale=x, axis=alt.Axis(format="d", tickMinStep=1))
    y = alt.Y(
        "participant:N",
        sort=order,
        scale=alt.Scale(domain=order),
        title="participant",
        axis=alt.Axis(labelOverlap=False, grid=False),
    )
    causes = [cause for cause in CAUSES if any(each.cause == cause for each in suspended)]
    kinds = [kind for kind in OUTCOMES if any(each.outcome == kind for each in people)]
    known = [OUTCOMES[kind] for kind in kinds] + [(*CAUSES[cause], "square") for cause in causes]
    said, colours, forms = ([each[place] for each in known] for place in range(3))
    legend = alt.Legend(orient="top", columns=3, symbolOpacity=1, symbolStrokeWidth=0) if said else None
    colour = alt.Color("what:N", scale=alt.Scale(domain=said, range=colours), legend=legend)
    shape = alt.Shape("what:N", scale=alt.Scale(domain=said, range=forms), legend=legend)
    layers: list[alt.Chart] = []
    if suspended:
        periods = pd.DataFrame(
            [
                {"from": each.start, "to": each.end, "what": CAUSES[each.cause][0], "days": each.end - each.start}
                for each in suspended
            ]
        )
        shade = alt.Chart(periods).mark_rect(opacity=0.22)
        layers.append(shade.encode(x=day_axis, x2="to:Q", color=colour, tooltip=["what:N", "from:Q", "to:Q", "days:Q"]))
    if people:
        layers += _lanes(people, now, day_axis, y, colour, shape)
    layers += _decision_lines(decisions, x)
    if today is not None:
        here = pd.DataFrame([{"from": today, "said": f"day {today}"}])
        layers.append(alt.Chart(here).mark_rule(color=INK, strokeDash=[2, 3], strokeWidth=1.5).encode(x=day_axis))
    if not layers:
        layers = [alt.Chart(pd.DataFrame({"from": [first, end]})).mark_point(opacity=0).encode(x=day_axis)]
    return finished(alt.layer(*layers).properties(height=alt.Step(step) if people else 90))


def _lanes(
    people: Sequence[Followed], now: int, x: alt.X, y: alt.Y, colour: alt.Color, shape: alt.Shape
) -> list[alt.Chart]:
    """One lane a participant: the window planned, the days followed, infusions, outcome and level."""
    rows, given = [], []
    for each in people:
        until = each.outcome_day if each.outcome_day is not None else min(now, each.window_end)
        rows.append(
            {
                "participant": each.participant,
                "level": each.regimen,
                "mark": f"{each.regimen} backfill" if each.backfill else each.regimen,
                "stage": "backfill" if each.backfill else f"cohort {each.cohort}",
                "what": OUTCOMES[each.outcome][0],
                "from": each.first,
                "to": max(until, each.first),
                "end": each.window_end,
            }
        )
        given += [
            {"participant": each.participant, "from": day, "said": f"infusion {number}"}
            for number, day in enumerate(each.infusions, 1)
        ]
    lanes = pd.DataFrame(rows)
    tooltip = [
        "participant:N",
        alt.Tooltip("level:N", title="level"),
        "stage:N",
        alt.Tooltip("what:N", title="outcome"),
        alt.Tooltip("from:Q", title="first infusion"),
        alt.Tooltip("end:Q", title="last day of the window"),
    ]
    planned = alt.Chart(lanes).mark_bar(height=9, fillOpacity=0, stroke=INK, strokeOpacity=0.45, strokeWidth=1)
    followed = alt.Chart(lanes).mark_bar(height=9, opacity=0.75)
    layers = [
        planned.encode(x=x, x2="end:Q", y=y, tooltip=tooltip),
        followed.encode(x=x, x2="to:Q", y=y, color=colour, tooltip=tooltip),
        alt.Chart(lanes).mark_text(align="left", dx=6, fontSize=11, color=INK).encode(x="end:Q", y=y, text="mark:N"),
    ]
    if given:
        ticks = alt.Chart(pd.DataFrame(given)).mark_tick(color=INK, thickness=2, size=13, orient="vertical")
        layers.append(ticks.encode(x=x, y=y, tooltip=["participant:N", "said:N", alt.Tooltip("from:Q", title="day")]))
    outcome = alt.Chart(lanes).mark_point(filled=True, size=95, opacity=1, stroke="white", strokeWidth=0.7)
    layers.append(outcome.encode(x="to:Q", y=y, color=colour, shape=shape, tooltip=tooltip))
    return layers


def _decision_lines(decisions: Sequence[Taken], x: alt.Scale) -> list[alt.Chart]:
    """A rule for each decision, its action's letter above; one layer an action, for its colour."""
    layers: list[alt.Chart] = []
    for action, (letter, tone, word) in ACTIONS.items():
        rows = [
            {"day": each.day, "said": f"{letter} {each.regimen}".strip(), "decision": word, "why": each.reason}
            | {"level": each.regimen or "none"}
            for each in decisions
            if each.action == action
        ]
        if not rows:
            continue
        base = alt.Chart(pd.DataFrame(rows)).encode(x=alt.X("day:Q", scale=x))
        tooltip = ["day:Q", "decision:N", alt.Tooltip("level:N", title="next level"), "why:N"]
        layers += [
            base.mark_rule(color=tone, strokeWidth=2).encode(tooltip=tooltip),
            base.mark_text(dy=-7, fontSize=12, fontWeight="bold", color=INK).encode(
                y=alt.value(0), text="said:N", tooltip=tooltip
            ),
        ]
    return layers


def cohort_steps(
    people: Sequence[Followed],
    levels: Sequence[str],
    decisions: Sequence[Taken] = (),
    *,
    places: int | None = None,
    step: int = 34,
) -> alt.LayerChart | alt.FacetChart:
    """Where each participant was treated, in the order of the first infusion, with the outcome at each.

    Parameters
    ----------
    people
        In the order of their first infusion.
    levels
        The levels shown upwards, as ``Followed.regimen`` names them.
    decisions
        Each is written above the gap before the first participant treated after it.
    places
        Participants the axis holds, so that a trial shown step by step keeps its scale.
    step
        Height of one level in pixels.
    """
    number = {each.participant: position for position, each in enumerate(people, 1)}
    rows = [
        {
            "number": number[each.participant],
            "participant": each.participant,
            "level": each.regimen,
            "stage": "backfill" if each.backfill else f"cohort {each.cohort}",
            "outcome": OUTCOMES[each.outcome][0],
        }
        for each in people
    ]
    most = max(places or 0, len(people), 1)
    x = alt.X(
        "number:Q",
        title="participant",
        scale=alt.Scale(domain=[0.3, most + 0.7], nice=False),
        axis=alt.Axis(format="d", tickMinStep=1, grid=False),
    )
    y = alt.Y("level:N", title="level", sort=list(reversed(levels)), scale=alt.Scale(domain=list(reversed(levels))))
    frame = pd.DataFrame(rows, columns=["number", "participant", "level", "stage", "outcome"])
    graded = any(each.outcome == "moderate" for each in people)
    known = [OUTCOMES[kind] for kind in OUTCOMES if kind != "moderate" or graded]
    words = [word for word, _, _ in known]
    colour = alt.Color(
        "outcome:N",
        scale=alt.Scale(domain=words, range=[tone for _, tone, _ in known]),
        legend=alt.Legend(orient="top"),
    )
    shape = alt.Shape(
        "outcome:N",
        scale=alt.Scale(domain=words, range=[form for _, _, form in known]),
        legend=alt.Legend(orient="top"),
    )
    base = alt.Chart(frame)
    layers: list[alt.Chart] = [
        *_steps(frame, y),
        base.mark_point(filled=True, size=150, opacity=1).encode(
            x=x, y=y, color=colour, shape=shape, tooltip=["participant:N", "level:N", "stage:N", "outcome:N"]
        ),
    ]
    said = []
    for each in decisions:
        before = sum(
            person.first < each.day or (person.first == each.day and _known(person, each)) for person in people
        )
        said.append(
            {"number": before + 0.5, "said": ACTIONS[each.action][0], "decision": ACTIONS[each.action][2]}
            | {"why": each.reason, "day": each.day}
        )
    if said:
        marks = alt.Chart(pd.DataFrame(said)).mark_text(dy=-6, fontSize=11, fontWeight="bold", color=INK)
        tooltip = ["day:Q", "decision:N", "why:N"]
        layers.append(marks.encode(x=x, y=alt.value(0), text="said:N", tooltip=tooltip))
        rules = alt.Chart(pd.DataFrame(said)).mark_rule(color=INK, strokeDash=[2, 3], opacity=0.5)
        layers.append(rules.encode(x=x, tooltip=tooltip))
    return finished(alt.layer(*layers).properties(height=alt.Step(step)))


def _steps(frame: pd.DataFrame, y: alt.Y) -> list[alt.Chart]:
    """Lines along the participants of one level, and up or down where the level changes."""
    if frame.empty:
        return []
    run = (frame["level"] != frame["level"].shift()).cumsum()
    flat = frame.groupby(run).agg(level=("level", "first"), start=("number", "min"), end=("number", "max"))
    flat["start"] -= 0.5
    flat["end"] += 0.5
    joins = pd.DataFrame({"number": flat["start"], "level": flat["level"].shift(), "to": flat["level"]}).iloc[1:]
    layers = [
        alt.Chart(flat.reset_index(drop=True))
        .mark_rule(color=INK, strokeWidth=1.5, opacity=0.7)
        .encode(x="start:Q", x2="end:Q", y=y)
    ]
    if not joins.empty:
        steps = alt.Chart(joins).mark_rule(color=INK, strokeWidth=1.5, opacity=0.7)
        layers.append(steps.encode(x="number:Q", y=y, y2="to:N"))
    return layers


def _known(person: Followed, decision: Taken) -> bool:
    """Whether a participant treated on the day of a decision was treated before it."""
    return person.outcome_day is not None and person.outcome_day <= decision.day
