"""Dose transition pathways: what happens over the next cohorts, outcome by outcome.

The walk uses the same fold and the same advice as live conduct, so it starts from any state,
participants with open windows included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from scipy.special import comb

from escalation.advice import Advice, Advisor
from escalation.decision import Action
from escalation.errors import EngineError
from escalation.outcomes import settle
from escalation.tally import Floats
from escalation.trial import PENDING, DltObserved, Enrolled, TrialState, WindowCompleted

MOST_NODES = 200_000


@dataclass(frozen=True, slots=True)
class Node:
    """A state on a pathway and the decision taken there.

    ``depth`` counts the cohorts completed since the start of the pathways, ``parent`` is the
    position of the node before, None for the first.
    """

    depth: int
    parent: int | None
    outcomes: str
    probability: float
    advice: Advice


def pathways(advisor: Advisor, state: TrialState, text: str, cohorts: int, truth: Floats) -> tuple[Node, ...]:
    """Every pathway of the next cohorts from a state, depth first.

    Parameters
    ----------
    state, text
        Where the pathways start, and the outcome string that led there.
    cohorts
        How many cohorts ahead.
    truth
        (K,) DLT probabilities that the pathway probabilities are worked out under. Participants with
        an open window count with the whole probability: what is followed so far is not credited.

    Raises
    ------
    EngineError
        When there are more pathways than anyone could read.
    """
    nodes: list[Node] = []

    def walk(here: TrialState, written: str, depth: int, parent: int | None, chance: float) -> None:
        if len(nodes) >= MOST_NODES:
            raise EngineError(f"more than {MOST_NODES:,} pathways; ask for fewer cohorts (--cohorts)")
        advice = advisor.advise(here)
        position = len(nodes)
        nodes.append(Node(depth, parent, written, chance, advice))
        if depth >= cohorts or advice.action == Action.STOP or here.stage != "escalation":
            return
        for nxt, share in _openings(here, advice):
            for done, letters, weight in _completions(nxt, truth):
                walk(done, letters(written), depth + 1, position, chance * share * weight)

    walk(state, text, 0, None, 1.0)
    return tuple(nodes)


def _openings(state: TrialState, advice: Advice) -> Iterator[tuple[TrialState, float]]:
    """The state with the next cohort open, for every regimen a randomised allocation can draw."""
    if not advice.decides:
        yield state.fork(), 1.0
    elif advice.allocation is None:
        nxt = state.fork()
        settle(nxt, advice, advice.regimen)
        yield nxt, 1.0
    else:
        for regimen, share in enumerate(advice.allocation):
            if share > 0:
                nxt = state.fork()
                settle(nxt, advice, regimen)
                yield nxt, share


class _Letters:
    """How a completion changes the outcome string: pending letters become outcomes, new ones are added."""

    def __init__(
        self, level_of: dict[int, str], resolved: dict[int, tuple[int, int]], regimen: int, new: tuple[int, int]
    ):
        self.level_of, self.resolved, self.regimen, self.new = level_of, resolved, regimen, new

    def __call__(self, written: str) -> str:
        tokens = []
        left = {self.level_of[k]: list(counts) for k, counts in self.resolved.items()}
        for token in written.split():
            level = token.rstrip("NTPXntpx")
            letters = ""
            for letter in token[len(level) :].upper():
                if letter == "P" and level in left:
                    letter = "T" if left[level][1] else "N"
                    left[level][1 if letter == "T" else 0] -= 1
                letters += letter
            tokens.append(level + letters)
        clear, toxic = self.new
        if clear + toxic:
            tokens.append(f"{self.level_of[self.regimen]}{'N' * clear}{'T' * toxic}")
        return " ".join(tokens)


def _completions(state: TrialState, truth: Floats) -> Iterator[tuple[TrialState, _Letters, float]]:
    """Every outcome of the pending participants and of the open cohort, with its probability."""
    grid = state.rule.grid
    waiting: dict[int, list[int]] = {}
    for number, person in state.participants.items():
        if person.status == PENDING:
            waiting.setdefault(person.regimen, []).append(number)
    places, regimen = state.open_places, state.regimen
    groups = [(k, len(people)) for k, people in waiting.items()] + ([(regimen, places)] if places else [])
    levels = {k: grid.level(k) for k in range(grid.size)}
    for dlts in product(*(range(count + 1) for _, count in groups)):
        done, weight = state.fork(), 1.0
        resolved: dict[int, tuple[int, int]] = {}
        for (k, count), toxic in zip(groups, dlts, strict=True):
            p = float(truth[k])
            weight *= float(comb(count, toxic)) * p**toxic * (1 - p) ** (count - toxic)
        for (k, people), toxic in zip(waiting.items(), dlts, strict=False):
            resolved[k] = (len(people) - toxic, toxic)
            for position, number in enumerate(people):
                done.apply(DltObserved(0, number) if position < toxic else WindowCompleted(0, number))
        new = (places - dlts[-1], dlts[-1]) if places else (0, 0)
        first = max(done.participants, default=-1) + 1
        for number in range(first, first + places):
            done.apply(Enrolled(0, number, regimen))
            done.apply(DltObserved(0, number) if number - first >= new[0] else WindowCompleted(0, number))
        yield done, _Letters(levels, resolved, regimen, new), weight
