"""The dated look-ahead of a trial: what the decision will be, on whose outcome it waits and until when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from escalation.advice import Advice
from escalation.conduct.state import ConductState
from escalation.regimens import RegimenGrid
from escalation.report.wording import graded_outlook, where_to
from escalation.trial import TrialState

_MONTHS = "January,February,March,April,May,June,July,August,September,October,November,December"


def day_words(day: date) -> str:
    """A date as people say it.

    >>> day_words(date(2026, 3, 3))
    '3 March 2026'
    """
    return f"{day.day} {_MONTHS.split(',')[day.month - 1]} {day.year}"


@dataclass(frozen=True, slots=True)
class Awaited:
    """A participant whose outcome is open: the last date of the DLT window, or what else it waits for."""

    code: str
    last_date: date | None
    otherwise: str = ""


def dated_outlook(advice: Advice, grid: RegimenGrid, awaited: Sequence[Awaited], places: int = 0) -> list[str]:
    """What the decision will be, by whom and by which date; empty when nothing is waited for.

    Parameters
    ----------
    advice
        The advice with its completions of the open outcomes.
    grid
        The regimens.
    awaited
        Participants whose outcome is open.
    places
        Places of the open cohort that nobody holds yet.
    """
    if not advice.outlook:
        return []
    who = _who(awaited, places)
    if any(possibility.moderate for possibility in advice.outlook):
        told = graded_outlook(advice, grid)
        return [f"once {who}:", *(f"{says} with {' or '.join(outcomes)}" for says, outcomes in told)]
    if len(advice.open_at) != 1:
        return [f"once {who}:", *_by_regimen(advice, grid)]
    groups = _groups(advice, grid)
    most = advice.open_at[0][1]
    if len(groups) == 1:
        return [f"{groups[0][2]} whatever is still to come, once {who}"]
    parts = []
    for position, (low, high, says) in enumerate(groups):
        if position == len(groups) - 1:
            parts.append(f"{says} otherwise")
        elif position == 0:
            parts.append(f"{says} if {who} {_among(low, high)}")
        else:
            parts.append(f"{says} with {_dlts(low, high)}{' among them' if most > 1 else ''}")
    return [", ".join(parts)]


def _who(awaited: Sequence[Awaited], places: int) -> str:
    """The open outcomes as the beginning of a condition."""
    by_date: dict[date | None, list[str]] = {}
    parts = [f"{each.code} {each.otherwise}" for each in awaited if each.otherwise]
    for each in sorted(awaited, key=lambda a: (a.last_date or date.max, a.code)):
        if not each.otherwise:
            by_date.setdefault(each.last_date, []).append(each.code)
    for last, codes in by_date.items():
        verb = "completes" if len(codes) == 1 else "complete"
        parts.append(f"{_and(codes)} {verb} {'after treatment' if last is None else f'by {day_words(last)}'}")
    if places:
        parts.append(f"{places} more still to be assigned complete{'s' if places == 1 else ''}")
    return _and(parts) or "the open outcomes complete"


def _groups(advice: Advice, grid: RegimenGrid) -> list[tuple[int, int, str]]:
    """Ranges of further DLTs with the decision they lead to; several decisions of one number stay beside each other."""
    by_number: dict[int, list[str]] = {}
    for each in advice.outlook:
        says = where_to(each.action, each.regimen, each.selected, grid, each.allocation)
        if says not in by_number.setdefault(each.further[0], []):
            by_number[each.further[0]].append(says)
    groups: list[tuple[int, int, str]] = []
    for number in sorted(by_number):
        says = " or ".join(by_number[number]) + (", depending on whose," if len(by_number[number]) > 1 else "")
        if groups and groups[-1][2] == says:
            groups[-1] = (groups[-1][0], number, says)
        else:
            groups.append((number, number, says))
    return groups


def _by_regimen(advice: Advice, grid: RegimenGrid) -> Iterator[str]:
    """One line for each combination when outcomes are open at several regimens."""
    for each in advice.outlook:
        further = [
            f"{_dlts(more, more)} at level {grid.level(regimen)}"
            for more, (regimen, _) in zip(each.further, advice.open_at, strict=True)
        ]
        says = where_to(each.action, each.regimen, each.selected, grid, each.allocation)
        yield f"{says} with {_and(further)}"


def _among(low: int, high: int) -> str:
    return "without DLT" if (low, high) == (0, 0) else f"with {_dlts(low, high)}"


def _dlts(low: int, high: int) -> str:
    if low == high:
        return "no DLT" if low == 0 else f"{low} DLT{'s' if low > 1 else ''}"
    return f"at most {high} DLT{'s' if high > 1 else ''}" if low == 0 else f"{low} to {high} DLTs"


def _and(words: Sequence[str]) -> str:
    return " and ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else "".join(words)


def cohort_complete(state: ConductState, trial: TrialState, awaited: Sequence[Awaited], today: date) -> date | None:
    """Earliest date on which the last window of the open cohort ends, None when that cannot be told yet."""
    if any(each.last_date is None for each in awaited):
        return None
    ends = [each.last_date for each in awaited if each.last_date is not None]
    places = max(trial.open_places, 0)
    if places and state.opened_on is not None:
        protocol = state.in_force().protocol
        stagger = protocol.stagger
        earliest = trial.earliest_next(stagger.sentinel_days, stagger.between_days)
        start = max(today, state.opened_on + timedelta(days=earliest))
        gaps = [stagger.between_days] * (places - 1)
        if gaps and not trial.treated[trial.regimen]:
            gaps[0] = max(stagger.sentinel_days, stagger.between_days)
        window = protocol.dlt_window.end(protocol.grid.schedule(trial.regimen))
        ends.append(start + timedelta(days=sum(gaps) + window))
    return max(ends, default=None)
