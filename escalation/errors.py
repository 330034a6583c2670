"""What can go wrong, as values a person can act on.

Every message names the field, the value, the rule it breaks and what to do next.
"""

from __future__ import annotations

from dataclasses import dataclass


class EscalationError(Exception):
    """The root of every error this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in an input: where it stands, what is wrong, how to mend it."""

    path: str
    problem: str
    remedy: str = ""

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{where}{self.problem}" + (f" ({self.remedy})" if self.remedy else "")


class StudyError(EscalationError):
    """A study file that cannot be used; carries every fault found, not only the first."""

    def __init__(self, faults: tuple[Fault, ...], source: str = "study") -> None:
        super().__init__(faults, source)
        self.faults = faults
        self.source = source

    def __str__(self) -> str:
        if len(self.faults) == 1:
            return f"{self.source}: {self.faults[0]}"
        listed = "\n".join(f"  - {fault}" for fault in self.faults)
        return f"{self.source}: {len(self.faults)} things to mend\n{listed}"


class DesignError(EscalationError):
    """Design parameters that cannot work on the regimens they are given."""

    def __init__(self, field: str, problem: str, remedy: str = "") -> None:
        super().__init__(field, problem, remedy)
        self.fault = Fault(field, problem, remedy)

    def __str__(self) -> str:
        return str(self.fault)


class OutcomeError(EscalationError):
    """An outcome string that cannot be read, or that no trial of this study can produce."""


class TrialError(EscalationError):
    """An event that contradicts the trial it is added to."""


class EngineError(EscalationError):
    """A calculation that the chosen engine cannot do."""


class StateBudgetError(EngineError):
    """The reachable states outgrow the exact engine's budget."""

    def __init__(self, states: int, budget: int) -> None:
        super().__init__(states, budget)
        self.states = states
        self.budget = budget

    def __str__(self) -> str:
        return (
            f"the design reaches more than {self.budget:,} distinct states ({self.states:,} and counting); "
            "raise the state budget (--budget), make the trial smaller (--set protocol.max_patients=N), or simulate "
            "with the sampled engine (--engine sampled)"
        )
