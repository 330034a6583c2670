"""Truth: what is assumed about dose-limiting toxicities (DLTs), whatever the design.

Either a table of DLT probabilities at the end of the window with a law of onset, or a hazard that every infusion
adds to (Braun, Yuan, Thall 2005, Biometrics, PMID 16011679; Liu, Braun 2009, J R Stat Soc C) and from which
probabilities and times follow. One latent tolerance u ~ U(0, 1) per participant, that of the non-parametric
optimal benchmark (O'Quigley, Paoletti, Maccario 2002, Biostatistics 3:51-56, doi:10.1093/biostatistics/3.1.51),
fixes the outcome under every regimen: a DLT within the window when u <= p, beginning when the cumulative
probability of DLT first reaches u. Times are days since the first infusion.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from escalation.errors import DesignError, OutcomeError
from escalation.regimens import Regimen, RegimenGrid
from escalation.tally import Floats

Schedule = tuple[int, ...]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
_BY_NAME = BeforeValidator(lambda value: {"law": value} if isinstance(value, str) else value)

_RESOLUTION = 1e-8  # days, about a millisecond: far below what any record of onset tells apart
_KNOTS, _CUTS = 2048, 128  # intervals a hazard is tabulated on, and those an interval is cut into for one participant


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Window(_Frozen):
    """The DLT window: the days in which a toxicity counts, its last day included."""

    days: int = Field(default=28, ge=1, description="Last day inside the window, counted from the anchor.")
    anchor: Literal["first", "last"] = Field(default="first", description="The infusion the days are counted from.")

    def end(self, schedule: Schedule) -> int:
        """Last day inside the window, the first infusion being day 0."""
        return self.days if self.anchor == "first" else schedule[-1] + self.days


def _marginal(risk: Floats, v: float) -> Floats:
    """Probability of a DLT at a cumulative hazard, a Gamma frailty of mean 1 and variance v averaged out."""
    return np.asarray(-np.expm1(-risk) if v == 0 else -np.expm1(-np.log1p(v * risk) / v))


def tolerance_from(e: npt.ArrayLike, z: npt.ArrayLike = 1.0, v: float = 0.0) -> Floats:
    """Latent tolerance u ~ U(0, 1): the rank of a tolerated hazard E / Z, E ~ Exp(1), Z ~ Gamma(1/v, scale v)."""
    return _marginal(np.asarray(e, float) / np.asarray(z, float), v)


class Triangular(_Frozen):
    """Delayed hazard that rises for ``rise`` days after an infusion, then falls to nothing over ``fall`` days."""

    law: Literal["triangular"] = "triangular"
    rise: Positive = Field(default=5.0, description="Days from an infusion to the peak.")
    fall: Positive = Field(default=16.0, description="Days from the peak to the end.")

    def cdf(self, since: Floats) -> Floats:
        rise, span = self.rise, self.rise + self.fall
        falling = 1 - np.maximum(span - since, 0) ** 2 / (self.fall * span)
        return np.where(since <= rise, since**2 / (rise * span), falling)


class WeibullKernel(_Frozen):
    """Delayed hazard after an infusion in the shape of a Weibull density."""

    law: Literal["weibull"]
    shape: Positive = Field(description="Weibull shape; above 1 the hazard peaks some time after the infusion.")
    scale: Positive = Field(description="Weibull scale in days.")

    def cdf(self, since: Floats) -> Floats:
        return np.asarray(-np.expm1(-((since / self.scale) ** self.shape)))


class Acute(_Frozen):
    """Infusion reactions: a (d/d0)^dose_exponent ratio^(k-1) at infusion k; a ratio above 1 is sensitisation."""

    a: NotNegative | None = Field(
        default=None,
        title="Size a",
        description="Cumulative hazard of one infusion of the reference dose; left out when calibrated.",
    )
    dose_exponent: NotNegative = Field(default=0.5, description="How the hazard grows with the amount; 0 not at all.")
    tau: Positive = Field(default=0.25, title="Mean tau", description="Mean days from an infusion to its reaction.")
    ratio: Positive = Field(
        default=1.0, description="Hazard of an infusion relative to the one before; above 1 is sensitisation."
    )


class Delayed(_Frozen):
    """Later toxicity: a (d/d0)^dose_exponent for every infusion, spread in time by a kernel."""

    a: NotNegative | None = Field(
        default=None,
        title="Size a",
        description="Cumulative hazard of one infusion of the reference dose; left out when calibrated.",
    )
    dose_exponent: NotNegative = Field(default=1.0, description="How the hazard grows with the amount; 0 not at all.")
    kernel: Annotated[Triangular | WeibullKernel, Field(discriminator="law"), _BY_NAME] = Field(
        default=Triangular(), description="How the hazard of one infusion is spread in time."
    )


class CumulativeDose(_Frozen):
    """Toxicity of the total given so far: a (D/D0)^exponent, D0 the hazard's reference dose unless given."""

    a: NotNegative = Field(title="Size a", description="Cumulative hazard once the reference dose is given in total.")
    exponent: Positive = Field(default=1.0, description="How the hazard grows with the total given.")
    reference_dose: Positive | None = Field(
        default=None, description="The total the size refers to; the hazard's reference dose if left out."
    )


class Calibration(_Frozen):
    """The DLT probability wanted at one regimen, and the acute share of its cumulative hazard."""

    dose: int = Field(default=1, ge=1)
    frequency: int = Field(default=1, ge=1)
    probability: float = Field(gt=0, lt=1, description="DLT probability wanted at this regimen within the window.")
    acute_share: float = Field(ge=0, le=1, description="Acute share of its cumulative hazard; the rest is delayed.")


class Hazard(_Frozen):
    """Cumulative hazard of DLT: a background, and what every infusion given so far adds to it."""

    background: NotNegative = Field(default=0.0, description="Hazard per day that no infusion causes.")
    acute: Acute | None = Field(default=None, description="Infusion reactions.")
    delayed: Delayed | None = Field(default=None, description="Later toxicity of every infusion.")
    cumulative: CumulativeDose | None = Field(default=None, description="Toxicity of the total given so far.")
    frailty: NotNegative = Field(default=0.0, description="Variance between participants; 0 when all are alike.")
    reference_dose: Positive = Field(default=2.0, description="Amount per infusion the sizes refer to.")
    calibrate: Calibration | None = Field(
        default=None, description="Find the sizes that give a regimen a wanted DLT probability."
    )

    @model_validator(mode="after")
    def _one_source_of_size(self) -> Self:
        terms = {name: term for name, term in (("acute", self.acute), ("delayed", self.delayed)) if term is not None}
        sized = {name for name, term in terms.items() if term.a is not None}
        missing = terms.keys() - sized
        if self.calibrate is not None and sized:
            raise ValueError(f"calibrate solves for a: remove a from {' and '.join(sorted(sized))}, or calibrate")
        if self.calibrate is None and missing:
            raise ValueError(f"a is missing from {' and '.join(sorted(missing))}: give it, or calibrate the hazard")
        if not (terms or self.cumulative or self.calibrate or "background" in self.model_fields_set):
            raise ValueError("nothing causes a DLT: give acute, delayed, cumulative, background or calibrate")
        return self

    def sized(self, acute: float, delayed: float) -> Self:
        """The same hazard with these sizes ``a`` of its acute and delayed terms."""
        terms = {
            "acute": (self.acute or Acute()).model_copy(update={"a": acute}),
            "delayed": (self.delayed or Delayed()).model_copy(update={"a": delayed}),
        }
        return self.model_copy(update={**terms, "calibrate": None})

    def risk(self, schedule: Schedule, amount: float, t: npt.ArrayLike) -> Floats:
        """Cumulative hazard at time t of a course of infusions of one amount; a term without ``a`` adds nothing."""
        time, relative = np.asarray(t, float), amount / self.reference_dose
        acute, delayed = self.acute or Acute(), self.delayed or Delayed()
        since = time[..., None] - np.asarray(schedule, float)
        elapsed = np.maximum(since, 0)
        weights = (acute.a or 0.0) * relative**acute.dose_exponent * acute.ratio ** np.arange(len(schedule))
        risk = self.background * time - (weights * np.expm1(-elapsed / acute.tau)).sum(axis=-1)
        if delayed.a:
            risk = risk + delayed.a * relative**delayed.dose_exponent * delayed.kernel.cdf(elapsed).sum(axis=-1)
        if self.cumulative is not None:
            total = amount * (since >= 0).sum(axis=-1) / (self.cumulative.reference_dose or self.reference_dose)
            risk = risk + self.cumulative.a * total**self.cumulative.exponent
        return np.asarray(risk)


def calibrate(hazard: Hazard, wanted: Calibration, schedule: Schedule, amount: float, end: float) -> Hazard:
    """The hazard sized to give a course the wanted DLT probability by day ``end``; only acute and delayed change."""
    v = hazard.frailty
    rest, e = hazard.sized(0, 0).risk(schedule, amount, end), -np.log1p(-wanted.probability)
    left = float((e if v == 0 else np.expm1(v * e) / v) - rest)
    if left < 0:
        alone = f"background and cumulative dose alone give a DLT probability of {_marginal(rest, v):.4g}"
        raise DesignError("truth.hazard.calibrate", alone, f"lower them, or ask for more than {wanted.probability:g}")
    sizes = []
    for share, unit in ((wanted.acute_share, hazard.sized(1, 0)), (1 - wanted.acute_share, hazard.sized(0, 1))):
        risk = float(unit.risk(schedule, amount, end) - rest)
        if share > 0 and risk <= 0:
            problem = "a term with a share of the hazard has no effect within the window of this regimen"
            raise DesignError("truth.hazard.calibrate", problem, "change acute_share, or calibrate at another regimen")
        sizes.append(share * left / risk if share > 0 else 0.0)
    return hazard.sized(*sizes)


class UniformOnset(_Frozen):
    """A DLT is as likely to begin on any day of the window."""

    law: Literal["uniform"] = "uniform"

    def cdf(self, t: Floats, end: float, p: float) -> Floats:
        return t / end


class WeibullOnset(_Frozen):
    """Weibull time to DLT, a chosen share of the DLT probability falling in the second half of the window."""

    law: Literal["weibull"] = "weibull"
    late_share: float = Field(
        default=0.5, gt=0, lt=1, description="Share of the DLT probability in the second half of the window."
    )

    def shape(self, p: float) -> float:
        """Weibull shape solving F(end) = p and F(end/2) = p (1 - late_share)."""
        return float(np.log2(np.log1p(-p) / np.log1p(-p * (1 - self.late_share))))

    def cdf(self, t: Floats, end: float, p: float) -> Floats:
        # The shape exists inside (0, 1) only; a hair inside, the halves keep their shares.
        p = min(max(p, 1e-12), 1 - 1e-9)
        return np.asarray(np.expm1(np.log1p(-p) * (t / end) ** self.shape(p)) / -p)


class AcuteOnset(_Frozen):
    """Reactions to the first infusion: exponential with mean ``tau`` days, cut at the end of the window."""

    law: Literal["acute"] = "acute"
    tau: Positive = Field(default=0.25, title="Mean tau", description="Mean days from the first infusion to a DLT.")

    def cdf(self, t: Floats, end: float, p: float) -> Floats:
        return np.asarray(np.expm1(-t / self.tau) / np.expm1(-end / self.tau))


class HazardOnset(Hazard):
    """Onset in the shape of a hazard's course: only the proportions of its terms matter, not their size."""

    law: Literal["hazard"] = "hazard"


Onset = Annotated[UniformOnset | WeibullOnset | AcuteOnset | HazardOnset, Field(discriminator="law"), _BY_NAME]


class _Truth(_Frozen):
    def warnings(self, grid: RegimenGrid, window: Window = Window()) -> tuple[str, ...]:  # noqa: B008
        """What is allowed but unusual: the first neighbouring regimens whose DLT probabilities are out of order."""
        p = bind(self, grid, window).probability  # type: ignore[arg-type]
        for low, high in np.argwhere(grid.predecessors):
            if p[low] > p[high] + 1e-12:  # more than rounding
                fall = f"from {p[low]:.4g} at {grid.label(low)} to {p[high]:.4g} at {grid.label(high)}"
                return (f"DLT probability falls {fall}",)
        return ()


Probabilities = tuple[tuple[float, ...], ...]
"""Probabilities of the regimens, rows frequencies and columns doses."""


def probability_rows(value: Any, what: str) -> Probabilities:
    """Probabilities of the regimens as rows (frequencies) of columns (doses); raises ValueError naming the cell."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"list {what}: one row per frequency level, one column per dose level")
    rows = value if all(isinstance(row, list | tuple) for row in value) else [value]
    for r, row in enumerate(rows, 1):
        for c, cell in enumerate(row, 1):
            if isinstance(cell, bool) or not isinstance(cell, int | float) or not 0 <= cell <= 1:
                hint = " (write 25 % as 0.25)" if isinstance(cell, int | float) and 1 < cell <= 100 else ""
                raise ValueError(f"{cell!r} in row {r}, column {c} is not a probability between 0 and 1{hint}")
    if len({len(row) for row in rows}) > 1 or not rows[0]:
        raise ValueError("every row (frequency) of the table needs the same number of columns (doses)")
    return tuple(tuple(float(cell) for cell in row) for row in rows)


def fitted_to(rows: Probabilities, grid: RegimenGrid, path: str) -> Floats:
    """Probabilities in the order of the grid's regimens; DesignError at the path when the shapes differ."""
    table = np.asarray(rows, dtype=np.float64)
    one_axis = grid.axis != "grid" and 1 in table.shape and table.size == grid.size
    if table.shape != grid.shape and not one_axis:
        (given, columns), (frequencies, doses) = table.shape, grid.shape
        turned = "; it looks transposed" if (given, columns) == (doses, frequencies) else ""
        problem = f"{given} x {columns} probabilities for {frequencies} x {doses} regimens (frequencies x doses)"
        raise DesignError(path, problem + turned, f"give {frequencies} rows (frequencies) of {doses} doses")
    return table.reshape(-1)


class TableTruth(_Truth):
    """DLT probability of every regimen (rows frequencies, columns doses; a plain list on one axis), and its onset."""

    table: tuple[tuple[float, ...], ...]
    onset: Onset = UniformOnset()

    @field_validator("table", mode="before")
    @classmethod
    def _rows(cls, value: Any) -> tuple[tuple[float, ...], ...]:
        return probability_rows(value, "DLT probabilities")

    def fitted(self, grid: RegimenGrid, path: str = "truth.table") -> Floats:
        """The probabilities in the order of the grid's regimens; DesignError when the shapes differ."""
        return fitted_to(self.table, grid, path)


class HazardTruth(_Truth):
    """DLT probabilities and times of onset that follow from a hazard every infusion adds to."""

    hazard: Hazard


def _kind(value: Any) -> str | None:
    keys = value if isinstance(value, Mapping) else getattr(value, "__dict__", {})
    if "hazard" in keys:
        return None if "table" in keys or "onset" in keys else "hazard"
    return "table" if "table" in keys else None


Truth = Annotated[
    Annotated[TableTruth, Tag("table")] | Annotated[HazardTruth, Tag("hazard")],
    Discriminator(_kind, "truth", "give either a table, with or without onset, or a hazard, which has its own"),
    BeforeValidator(lambda value: {"table": value} if isinstance(value, list | tuple | np.ndarray) else value),
]


@dataclass(frozen=True)
class Course:
    """A course of infusions: its cumulative probability of DLT within the window, and the inverse."""

    law: UniformOnset | WeibullOnset | AcuteOnset | Hazard
    schedule: Schedule
    amount: float
    end: float
    table: float | None = None

    def reached(self, t: Floats) -> Floats:
        """Cumulative probability of DLT at times within the window."""
        if not isinstance(self.law, Hazard):
            return (self.table or 0.0) * self.law.cdf(t, self.end, self.table or 0.0)
        risk = self.law.risk(self.schedule, self.amount, t)
        return _marginal(risk, self.law.frailty) if self.table is None else self.table * (risk / self._whole)

    @cached_property
    def _whole(self) -> float:
        risk = self.law.risk(self.schedule, self.amount, self.end) if isinstance(self.law, Hazard) else 1.0
        return float(risk) or 1.0

    @cached_property
    def _known(self) -> tuple[Floats, Floats]:
        # A cumulative-dose term jumps at an infusion: each infusion is a knot, so a jump ends its bracket.
        times = np.union1d(np.linspace(0, self.end, _KNOTS + 1), [day for day in self.schedule if day <= self.end])
        return times, np.maximum.accumulate(self.reached(times))

    @cached_property
    def probability(self) -> float:
        """DLT probability within the window."""
        return float(self._known[1][-1]) if self.table is None else self.table

    def first(self, u: Floats) -> Floats:
        """Earliest times at which the cumulative probability reaches each u, none above ``probability``."""
        times, levels = self._known
        at = np.minimum(np.searchsorted(levels, u), len(times) - 1)
        low, high = times[np.maximum(at - 1, 0)], times[at]
        cuts = np.linspace(0, 1, max(3, 1 + _CUTS // max(u.size, 1)))[1:-1]
        while np.max(high - low, initial=0) > _RESOLUTION:  # bisection, in more than two parts for a few participants
            inner = low[:, None] + (high - low)[:, None] * cuts
            below = np.sum(self.reached(inner) < u[:, None], axis=1)
            edges = np.column_stack([low, inner, high])
            low, high = np.take_along_axis(edges, below[:, None] + [[0, 1]], axis=1).T
        return high

    @cached_property
    def _by_day(self) -> list[float]:
        # Up to, not including, each midnight: a jump at an infusion belongs to the day of the infusion.
        midnights = np.arange(1, int(self.end) + 1, dtype=np.float64)
        if isinstance(self.law, UniformOnset | WeibullOnset):  # over all whole days, the last of them included
            midnights *= self.end / (self.end + 1)
        midnights -= _RESOLUTION
        levels: list[float] = np.maximum.accumulate(self.reached(midnights)).tolist()
        return levels

    def first_day(self, u: float) -> int:
        """The whole day on which the cumulative probability reaches u, not above ``probability``."""
        return bisect_left(self._by_day, u)


@lru_cache(maxsize=1024)
def _as_given(planned: Course, given: Schedule, end: float) -> Course:
    return replace(planned, schedule=given, end=end)


@dataclass(frozen=True, eq=False)
class BoundTruth:
    """A truth on K regimens, their DLT probability and last window day: where a tolerance becomes an outcome.

    ``moderate`` is the probability of a moderate toxicity without a DLT, (K,), None where none is assumed. A
    participant of tolerance u has one when p < u <= p + m.
    """

    window: Window
    probability: Floats
    ends: npt.NDArray[np.int64]
    courses: tuple[Course, ...] = field(repr=False)
    moderate: Floats | None = None
    moderate_courses: tuple[Course, ...] = field(default=(), repr=False)

    def course(self, k: int, given: Schedule | None = None) -> Course:
        """The course of a regimen, or the one in fact given; a last infusion given late moves the window's end."""
        planned = self.courses[k]
        if given is None or planned.table is not None or given == planned.schedule:
            return planned
        return _as_given(planned, given, max(planned.end, float(self.window.end(given or (0,)))))

    def occurs(self, k: int, u: float) -> bool:
        """Whether the participant of tolerance u has a DLT within the window of regimen k."""
        return bool(u <= self.courses[k].probability)

    def onset(self, k: int, u: float, given: Schedule | None = None) -> float | None:
        """Days to the DLT of tolerance u, None without; infusions ``given`` off plan matter under a hazard only."""
        course = self.course(k, given)
        return float(course.first(np.array([u], dtype=np.float64))[0]) if u <= course.probability else None

    def onset_day(self, k: int, u: float, given: Schedule | None = None) -> int | None:
        """The whole day on which the DLT begins, counted from the first infusion, which is on day 0.

        The last day of the window belongs to it as a whole day. A law that spreads DLTs over the window (uniform,
        Weibull) spreads them over its ``end + 1`` whole days; where infusions cause them it is the day of
        :meth:`onset`.
        """
        course = self.course(k, given)
        return course.first_day(u) if u <= course.probability else None

    def moderate_day(self, k: int, u: float, given: Schedule | None = None) -> int | None:
        """The whole day of the first moderate toxicity of tolerance u, None without one or with a DLT.

        Its onset follows the law of the DLTs. Where infusions ``given`` off plan change p, m stays as assumed.
        """
        if self.moderate is None:
            return None
        course, m = self.course(k, given), float(self.moderate[k])
        beyond = u - course.probability
        if beyond <= 0 or u > course.probability + m:
            return None
        graded = self.moderate_courses[k] if course is self.courses[k] else replace(course, table=m)
        return graded.first_day(min(beyond, m))

    def onsets(self, k: int, u: npt.ArrayLike) -> Floats:
        """Days to the DLT of every tolerance, NaN without a DLT."""
        tolerance = np.asarray(u, dtype=np.float64)
        days, hit = np.full(tolerance.shape, np.nan), tolerance <= self.courses[k].probability
        days[hit] = self.courses[k].first(tolerance[hit])
        return days

    def cumulative(self, k: int, t: npt.ArrayLike) -> Floats:
        """Probability of a DLT by day t within the window of regimen k, constant after its end."""
        day, course = np.asarray(t, dtype=np.float64), self.courses[k]
        reached = np.minimum(course.reached(np.clip(day, 0, course.end)), course.probability)
        return np.where(day < 0, 0.0, np.where(day >= course.end, course.probability, reached))


def bind(
    truth: TableTruth | HazardTruth, grid: RegimenGrid, window: Window, moderate: Probabilities | None = None
) -> BoundTruth:
    """A truth on the regimens of a study and under its DLT window; DesignError when they do not fit.

    ``moderate`` holds the probabilities of a moderate toxicity, rows frequencies and columns doses.
    """
    law = truth.onset if isinstance(truth, TableTruth) else truth.hazard
    if isinstance(law, Hazard) and law.calibrate is not None:
        try:
            at = grid.index(Regimen(law.calibrate.dose, law.calibrate.frequency))
        except OutcomeError as error:
            raise DesignError("truth.hazard.calibrate", str(error), "name a regimen of the study") from error
        law = calibrate(law, law.calibrate, grid.schedule(at), grid.amount(at), window.end(grid.schedule(at)))
    table = truth.fitted(grid).tolist() if isinstance(truth, TableTruth) else [None] * grid.size
    ends = np.array([window.end(grid.schedule(k)) for k in range(grid.size)], dtype=np.int64)
    courses = tuple(Course(law, grid.schedule(k), grid.amount(k), float(ends[k]), table[k]) for k in range(grid.size))
    bound = BoundTruth(window, np.array([course.probability for course in courses]), ends, courses)
    if moderate is not None:
        m = fitted_to(moderate, grid, "moderate")
        for k in np.flatnonzero(bound.probability + m > 1 + 1e-9).tolist():
            both = f"{bound.probability[k]:.4g} for a DLT and {m[k]:.4g} for a moderate toxicity"
            problem = f"at {grid.label(k)} the probabilities are {both}, together more than 1"
            raise DesignError("moderate", problem, "lower one: a moderate toxicity is a participant's without a DLT")
        graded = tuple(replace(course, table=float(m[k])) for k, course in enumerate(courses))
        bound = replace(bound, moderate=m, moderate_courses=graded)
    for course in (*courses, *bound.moderate_courses):
        if course.table and course.reached(np.array([course.end]))[0] == 0:
            problem = f"no hazard to place DLTs in time after infusions of {course.amount:g} on days {course.schedule}"
            raise DesignError("truth.onset", problem, "choose another law of onset")
    return bound
