"""Dose transition pathways: what happens over the next cohorts, outcome by outcome.

The walk uses the same fold and the same advice as live conduct, so it starts from any state,
participants with open windows included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import comb

from escalation.advice import Advice, Advisor
from escalation.decision import Action
from escalation.errors import EngineError
from escalation.outcomes import level_of, settle
from escalation.tally import Floats
from escalation.trial import PENDING, DltObserved, Enrolled, ModerateObserved, TrialState, WindowCompleted

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


def pathways(
    advisor: Advisor, state: TrialState, text: str, cohorts: int, truth: Floats, moderate: Floats | None = None
) -> tuple[Node, ...]:
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
    moderate
        (K,) probabilities of a moderate toxicity, zero when None; read where the rule reads grades.

    Raises
    ------
    EngineError
        When there are more pathways than anyone could read.
    """
    nodes: list[Node] = []
    milder = np.zeros_like(truth) if moderate is None else moderate

    def walk(here: TrialState, written: str, depth: int, parent: int | None, chance: float) -> None:
        if len(nodes) >= MOST_NODES:
            raise EngineError(f"more than {MOST_NODES:,} pathways; ask for fewer cohorts (--cohorts)")
        advice = advisor.advise(here)
        position = len(nodes)
        nodes.append(Node(depth, parent, written, chance, advice))
        if depth >= cohorts or advice.action == Action.STOP or here.stage != "escalation":
            return
        for nxt, share in _openings(here, advice):
            for done, letters, weight in _completions(nxt, truth, milder):
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

    def __init__(self, named: dict[int, str], resolved: dict[int, str], regimen: int, new: str):
        self.named, self.resolved, self.regimen, self.new = named, resolved, regimen, new

    def __call__(self, written: str) -> str:
        tokens = []
        left = {self.named[k]: iter(letters) for k, letters in self.resolved.items()}
        for token in written.split():
            level = level_of(token)
            letters = token[len(level) :].upper()
            known = "".join(next(left[level]) if letter == "P" and level in left else letter for letter in letters)
            tokens.append(level + known)
        if self.new:
            tokens.append(f"{self.named[self.regimen]}{self.new}")
        return " ".join(tokens)


def _completions(state: TrialState, truth: Floats, moderate: Floats) -> Iterator[tuple[TrialState, _Letters, float]]:
    """Every outcome of the pending participants and of the open cohort, with its probability."""
    grid = state.rule.grid
    waiting: dict[int, list[int]] = {}
    for number, person in state.participants.items():
        if person.status == PENDING:  # those known to have had a moderate toxicity first
            people = waiting.setdefault(person.regimen, [])
            people.insert(0 if person.moderate else len(people), number)
    places, regimen = state.open_places, state.regimen
    groups = [(k, len(people)) for k, people in waiting.items()] + ([(regimen, places)] if places else [])
    known = [sum(state.participants[number].moderate for number in people) for people in waiting.values()]
    known += [0] if places else []
    graded = _grades_are_read(state, groups)
    levels = {k: grid.level(k) for k in range(grid.size)}
    ways = (
        _outcomes(count, mild, float(truth[k]), float(moderate[k]), graded)
        for (k, count), mild in zip(groups, known, strict=True)
    )
    for outcome in product(*ways):
        done, weight = state.fork(), 1.0
        for _, chance in outcome:
            weight *= chance
        resolved = {k: letters for (k, _), (letters, _) in zip(waiting.items(), outcome, strict=False)}
        for (_, people), (letters, _) in zip(waiting.items(), outcome, strict=False):
            for number, letter in zip(people, _worst_first(letters), strict=True):
                _resolve(done, number, letter)
        new = outcome[-1][0] if places else ""
        first = max(done.participants, default=-1) + 1
        for number, letter in enumerate(new, first):
            done.apply(Enrolled(0, number, regimen))
            _resolve(done, number, letter)
        yield done, _Letters(levels, resolved, regimen, new), weight


def _grades_are_read(state: TrialState, groups: list[tuple[int, int]]) -> bool:
    """Whether the outcomes still open will be told apart by grade once all are known."""
    titration = state.rule.titration
    if titration is None or not state.rule.reads_grades:
        return False
    n = np.array([state.n])
    for regimen, count in groups:
        n[0, regimen] += count
    return bool(titration.titrates(n)[0])


def _outcomes(count: int, known: int, p: float, m: float, graded: bool) -> list[tuple[str, float]]:
    """The letters of a group's outcomes, the mildest first, with their probabilities.

    Of the ``known`` participants, who have had a moderate toxicity, nobody is left without one; they count with the
    probability of a DLT given at least a moderate toxicity.
    """
    if not graded:
        return [
            ("N" * (count - toxic) + "T" * toxic, float(comb(count, toxic)) * p**toxic * (1 - p) ** (count - toxic))
            for toxic in range(count + 1)
        ]
    worse = p / (p + m) if p + m > 0 else 0.0
    chances: dict[str, float] = {}
    each = [{"M": 1 - worse, "T": worse}] * known + [{"N": max(1 - p - m, 0.0), "M": m, "T": p}] * (count - known)
    for one in product(*(person.items() for person in each)):
        letters = "".join(sorted((letter for letter, _ in one), key="NMT".index))
        chances[letters] = chances.get(letters, 0.0) + float(np.prod([chance for _, chance in one]))
    return sorted(chances.items(), key=lambda found: (found[0].count("T"), found[0].count("M")))


def _worst_first(letters: str) -> str:
    return "".join(sorted(letters, key="TMN".index))


def _resolve(state: TrialState, number: int, letter: str) -> None:
    """Let a participant's outcome be known."""
    if letter == "T":
        state.apply(DltObserved(0, number))
        return
    if letter == "M" and not state.participants[number].moderate:
        state.apply(ModerateObserved(0, number))
    state.apply(WindowCompleted(0, number))
