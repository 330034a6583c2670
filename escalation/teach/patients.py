"""The patients of a class: one latent tolerance each, which fixes the outcome at every regimen.

The tolerances are those of the first replicate of the simulated engines under the same seed, so a trial run
by hand with the dice is the trial ``escalation simulate --trials 1 --seed S`` runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, nextafter
from typing import Final, NamedTuple

from escalation.errors import Fault, StudyError
from escalation.streams import Numbers
from escalation.study import Study
from escalation.tally import Floats

HIGHEST_SEED: Final = 10**9
"""Seeds run from 0 to here: short enough to be read aloud to a class."""


class Treated(NamedTuple):
    """One participant of a trial: the regimen counted from 0, and the outcome's letter (N, M, T, P or X)."""

    regimen: int
    letter: str


def checked_seed(text: str) -> int:
    """A seed as written in an address; raises StudyError."""
    if not (text.isdecimal() and len(text) <= len(str(HIGHEST_SEED)) and int(text) <= HIGHEST_SEED):
        problem = f"{text[:20]!r} names no patients"
        raise StudyError((Fault("seed", problem, f"use a whole number from 0 to {HIGHEST_SEED:,}"),), "the address")
    return int(text)


@dataclass(frozen=True)
class Patients:
    """Patients in the order they arrive, counted from 0.

    Parameters
    ----------
    truth
        (K,) assumed DLT probabilities.
    seed
        Seed of the latent tolerances.
    known
        Tolerances that replace the drawn ones, by arrival: those of patients whose outcome was chosen by hand.
    moderate
        (K,) assumed probabilities of a moderate toxicity, None in a study that does not tell them apart.
    """

    truth: Floats
    seed: int
    known: Mapping[int, float] = field(default_factory=dict)
    moderate: Floats | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "_numbers", Numbers(self.seed, 0))

    @property
    def numbers(self) -> Numbers:
        """The keyed random numbers of these patients."""
        numbers: Numbers = self._numbers  # type: ignore[attr-defined]
        return numbers

    def tolerance(self, arrival: int) -> float:
        """Latent tolerance u: a DLT at every regimen whose DLT probability is at least u."""
        return self.known.get(arrival, self.numbers.at("tolerance", arrival))

    def letter(self, arrival: int, regimen: int) -> str:
        """The outcome at a regimen once the window is complete: T with a DLT, M with a moderate toxicity, N without."""
        u = self.tolerance(arrival)
        return next((letter for letter, (_, up_to) in self._parts(regimen).items() if u <= up_to), "N")

    def _parts(self, regimen: int) -> dict[str, tuple[float, float]]:
        """The part of (0, 1) whose tolerances have each outcome at a regimen, from the worst."""
        p = float(self.truth[regimen])
        if self.moderate is None:
            return {"T": (0.0, p), "N": (p, 1.0)}
        moderate = p + float(self.moderate[regimen])
        return {"T": (0.0, p), "M": (p, moderate), "N": (moderate, 1.0)}

    def seen(self, treated: tuple[Treated, ...]) -> Patients:
        """The same patients, made to agree with what was observed.

        A patient whose observed outcome is the drawn one keeps the tolerance. Where somebody chose the other
        outcome, the drawn number is moved into the part of (0, 1) that gives it: at DLT probability p into
        (0, p) with a DLT, into (p, 1) without; moderate toxicities have their own part above p. Pending and not
        evaluable patients say nothing.
        """
        known = dict(self.known)
        for arrival, (regimen, letter) in enumerate(treated):
            part = self._parts(regimen).get(letter)
            if part is not None and self.letter(arrival, regimen) != letter:
                (low, high), u = part, self.tolerance(arrival)
                known[arrival] = u * high if low == 0 else max(low + u * (high - low), nextafter(low, inf))
        return Patients(self.truth, self.seed, known, self.moderate)


def patients_of(study: Study, scenario: str, seed: int) -> Patients:
    """The patients of a seed under one of a study's scenarios; raises StudyError for an unknown scenario."""
    truth = study.truth(study.scenario(scenario))
    return Patients(truth.probability, seed, moderate=truth.moderate if study.protocol.rule.reads_grades else None)


def hidden_scenario(study: Study, seed: int) -> str:
    """The scenario that stands behind a trial whose truth is hidden: drawn by the seed from the study's own."""
    place = int(Numbers(seed, 1).at("tolerance", 0) * len(study.scenarios))
    return study.scenarios[place].name
