"""The protocol of a study: everything that is fixed before the first participant."""

from __future__ import annotations

import json
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from escalation.backfill import Backfill
from escalation.cohorts import CohortSizes
from escalation.design import Design, Parameters, Setting
from escalation.errors import DesignError, EscalationError, Fault
from escalation.expansion import Expansion
from escalation.faults import faults_of
from escalation.guards import MaximumSize, MinimumBeforeSelection
from escalation.listed_guards import ListedGuard
from escalation.regimens import Regimen, RegimenGrid
from escalation.registry import design_class
from escalation.rule import Rule
from escalation.titration import Titration
from escalation.truth import Window


class Model(BaseModel):
    """Base of the study models: strict, frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _tupled(value: Any) -> Any:
    """Lists as tuples, all the way down: a value rewritten before strict validation no longer counts as JSON."""
    if isinstance(value, list | tuple):
        return tuple(_tupled(each) for each in value)
    return {key: _tupled(each) for key, each in value.items()} if isinstance(value, dict) else value


class Dose(Model):
    """One dose level."""

    amount: float = Field(gt=0, description="Amount per infusion, in the unit of the regimens.")
    label: str = Field(default="", description="Short name on screens and in tables.")


class Frequency(Model):
    """One frequency level: the days of infusion, day 0 being the first."""

    days: tuple[int, ...] = Field(min_length=1, description="Days of infusion; the first is 0.")
    label: str = Field(default="", description="Short name on screens and in tables.")

    @field_validator("days")
    @classmethod
    def _from_day_0(cls, days: tuple[int, ...]) -> tuple[int, ...]:
        if days[0] != 0 or any(b <= a for a, b in pairwise(days)):
            raise ValueError("infusion days must start at 0 and increase; write for example [0, 7, 14]")
        return days


class Regimens(Model):
    """The dose axis and the frequency axis; a one-axis trial has one level on the other."""

    unit: str = Field(default="", description="Unit of the dose amounts, for example '10^6 cells/kg'.")
    doses: tuple[Dose, ...] = Field(min_length=1, description="Dose levels, lowest first: amounts, or {amount, label}.")
    frequencies: tuple[Frequency, ...] = Field(
        default=(Frequency(days=(0,)),), min_length=1, description="Frequency levels, least intensive first."
    )

    @field_validator("doses", mode="before")
    @classmethod
    def _amounts(cls, doses: Any) -> Any:
        if isinstance(doses, list | tuple):
            return tuple(
                {"amount": dose} if isinstance(dose, int | float) and not isinstance(dose, bool) else _tupled(dose)
                for dose in doses
            )
        return doses

    @field_validator("frequencies", mode="before")
    @classmethod
    def _days(cls, frequencies: Any) -> Any:
        if isinstance(frequencies, list | tuple):
            return tuple(
                {"days": tuple(each)} if isinstance(each, list | tuple) else _tupled(each) for each in frequencies
            )
        return frequencies

    @field_validator("doses")
    @classmethod
    def _increase(cls, doses: tuple[Dose, ...]) -> tuple[Dose, ...]:
        amounts = [dose.amount for dose in doses]
        if any(b <= a for a, b in pairwise(amounts)):
            raise ValueError(
                f"dose amounts must increase, got {', '.join(f'{a:g}' for a in amounts)}; list the lowest first"
            )
        return doses

    def grid(self) -> RegimenGrid:
        """The regimens as the engines use them."""
        named_doses = any(dose.label for dose in self.doses)
        named_frequencies = any(each.label for each in self.frequencies)
        return RegimenGrid(
            doses=tuple(dose.amount for dose in self.doses),
            schedules=tuple(each.days for each in self.frequencies),
            unit=self.unit,
            dose_labels=tuple(dose.label or f"dose {level}" for level, dose in enumerate(self.doses, 1))
            if named_doses
            else (),
            frequency_labels=tuple(each.label or f"frequency {level}" for level, each in enumerate(self.frequencies, 1))
            if named_frequencies
            else (),
        )


class Start(Model):
    """Where escalation starts."""

    dose: int = Field(default=1, ge=1, description="Dose level of the first cohort, counted from 1.")
    frequency: int = Field(default=1, ge=1, description="Frequency level of the first cohort, counted from 1.")


class Stagger(Model):
    """Least number of days between first infusions of participants at one regimen."""

    sentinel_days: int = Field(default=0, ge=0, description="After the first participant ever treated at a regimen.")
    between_days: int = Field(default=0, ge=0, description="After every further participant of a cohort.")


class Evaluability(Model):
    """Who counts for the decision without a DLT. A DLT always counts."""

    minimum_infusions: float = Field(
        default=1.0, ge=0, le=1, description="Share of the planned infusions that must have been given."
    )
    replace: bool = Field(default=True, description="Whether a participant who is not evaluable is replaced.")


def parameters_of(design: dict[str, Any]) -> Parameters:
    """The validated parameters of a design given by its name and values; raises ValidationError or DesignError."""
    given = {key: value for key, value in design.items() if key != "name"}
    return design_class(design["name"]).Parameters.model_validate_json(json.dumps(given), strict=True)


class Protocol(Model):
    """A dose-escalation protocol."""

    regimens: Regimens
    dlt_window: Window = Field(default_factory=Window)
    dlt_definition: str = Field(default="", description="What counts as a DLT, in the protocol's words.")
    design: dict[str, Any] = Field(description="The design's name and its parameters.")
    guards: tuple[ListedGuard, ...] = Field(default=(), description="Safety rules applied after the design, in order.")
    titration: Titration | None = Field(
        default=None, description="Single participants before the cohorts of the design; write {} for the usual stage."
    )
    cohort_size: int = Field(default=3, ge=1, description="Participants of a cohort.")
    cohort_sizes: CohortSizes | None = Field(
        default=None, description="Smaller early cohorts, by level or by the number of DLTs so far."
    )
    start: Start = Field(default_factory=Start)
    max_patients: int | None = Field(
        default=None, ge=1, description="Most evaluable participants, escalation and expansion together."
    )
    last_cohort: Literal["whole", "partial"] = Field(
        default="whole", description="Whether a last cohort that does not fit is left out or made smaller."
    )
    expansion: Expansion | None = Field(
        default=None, description="More participants at the regimen selected, after escalation."
    )
    backfill: Backfill | None = Field(
        default=None,
        description="More participants at lower regimens while escalation waits; write {} for the published rule of "
        "BF-BOIN.",
    )
    stagger: Stagger = Field(default_factory=Stagger)
    review_lag_days: int = Field(default=0, ge=0, description="Days from the last datum needed to the decision.")
    escalate_when: Literal["certain", "windows_complete", "all_windows_complete"] = Field(
        default="certain",
        description="Whether the next cohort waits for every window to complete, or only until no pending outcome "
        "can change the decision. De-escalation and stopping never wait for more than certainty, unless it is "
        "all_windows_complete, as published simulations have it.",
    )
    close_cohort_when_certain: bool = Field(
        default=False,
        description="Whether the calendar simulation leaves the open places of a cohort empty once its decision to "
        "stop or de-escalate is certain (two DLTs in the first two). A live recommendation is always given as soon "
        "as it is certain.",
    )
    evaluability: Evaluability = Field(default_factory=Evaluability)

    @model_validator(mode="after")
    def _window_covers_schedules(self) -> Protocol:
        last = max(each.days[-1] for each in self.regimens.frequencies)
        if self.dlt_window.anchor == "first" and self.dlt_window.days < last:
            raise ValueError(
                f"the DLT window of {self.dlt_window.days} days from the first infusion ends before the last "
                f"infusion on day {last}; lengthen dlt_window.days or set dlt_window.anchor: last"
            )
        return self

    @cached_property
    def grid(self) -> RegimenGrid:
        """The regimens."""
        return self.regimens.grid()

    @cached_property
    def setting(self) -> Setting:
        """What the design is told."""
        start = self.grid.index(Regimen(self.start.dose, self.start.frequency))
        windows = tuple(self.dlt_window.end(self.grid.schedule(k)) for k in range(self.grid.size))
        return Setting(self.grid, self.cohort_size, start, self.escalation_maximum, windows)

    @property
    def escalation_maximum(self) -> int | None:
        """Most evaluable participants in escalation; the places of the expansion stage are kept back."""
        if self.max_patients is None:
            return None
        return self.max_patients - (self.expansion.size if self.expansion else 0)

    @cached_property
    def rule(self) -> Rule:
        """The design with its guards and expansion stage; raises DesignError when they cannot work here."""
        design = self._design()
        guards: list[Any] = list(self.guards)
        if self.escalation_maximum is not None:
            guards.append(MaximumSize(limit=self.escalation_maximum, last_cohort=self.last_cohort))
        if self.expansion is not None and design.selects_contour:
            raise DesignError(
                "protocol.expansion",
                f"{design.title} selects a dose for each frequency, and an expansion stage needs one regimen",
                "remove the expansion or choose a design that selects one regimen",
            )
        self._check_stages(design)
        rule = Rule(design, tuple(guards), self.expansion, self.titration, self.cohort_sizes, self.backfill)
        if design.own_maximum is None and self.max_patients is None:
            raise DesignError(
                "protocol.max_patients",
                f"{design.title} does not end by itself",
                "set a maximum number of participants, for example 30",
            )
        return rule

    def _check_stages(self, design: Design[Any]) -> None:
        """Stages and guards that a design must be able to take histories from."""
        if self.titration is not None:
            if self.cohort_size == 1:
                raise DesignError("protocol.titration", "cohorts of one are single participants already", "remove it")
            if not design.follows_titration:
                raise DesignError(
                    "protocol.titration",
                    f"{design.label} cannot go on from levels that single participants have passed",
                    "use 3+3 in variant V2 or V3, or a design that decides from any counts along one axis",
                )
        if self.cohort_sizes is not None:
            if self.titration is not None:
                raise DesignError("protocol.cohort_sizes", "titration sets the sizes of early cohorts", "remove one")
            if self.cohort_sizes.largest > self.cohort_size:
                raise DesignError(
                    "protocol.cohort_sizes",
                    f"a size of {self.cohort_sizes.largest} is more than a whole cohort of {self.cohort_size}",
                    "lower it or raise protocol.cohort_size",
                )
            if not design.any_tally:
                raise DesignError(
                    "protocol.cohort_sizes",
                    f"{design.title} decides on whole cohorts",
                    "use a design that decides from any counts, for example boin, or remove it",
                )
        if self.backfill is not None:
            self.backfill.check(design)
        for position, guard in enumerate(self.guards):
            if isinstance(guard, MinimumBeforeSelection) and not design.any_tally:
                raise DesignError(
                    f"protocol.guards.{position}",
                    f"{design.title} has its own rule of how many participants a selected regimen needs",
                    "remove the guard and use the design's own switch",
                )

    def _design(self) -> Design[Any]:
        if not isinstance(self.design.get("name"), str):
            raise DesignError("protocol.design.name", "the design has no name", "add name: three_plus_three")
        return design_class(self.design["name"])(parameters_of(self.design), self.setting)

    def faults(self) -> tuple[Fault, ...]:
        """What no single field can know: levels, sizes and design parameters that do not fit together."""
        found: list[Fault] = []
        for axis, level, count in (
            ("dose", self.start.dose, self.grid.n_doses),
            ("frequency", self.start.frequency, self.grid.n_frequencies),
        ):
            if level > count:
                found.append(
                    Fault(
                        f"protocol.start.{axis}",
                        f"level {level} does not exist",
                        f"{axis} levels run from 1 to {count}",
                    )
                )
        least = self.cohort_size + (self.expansion.size if self.expansion else 0)
        if self.max_patients is not None and self.max_patients < least:
            found.append(
                Fault(
                    "protocol.max_patients",
                    f"{self.max_patients} participants do not hold the first cohort and the expansion ({least})",
                    f"raise it to {least} or more",
                )
            )
        if found:
            return tuple(found)
        try:
            _ = self.rule
        except ValidationError as error:
            found.extend(
                faults_of(error, ("protocol", "design"), design_class(self.design["name"]).Parameters, self.design)
            )
        except DesignError as error:
            found.append(error.fault)
        except EscalationError as error:
            found.append(Fault("protocol.design", str(error)))
        return tuple(found)
