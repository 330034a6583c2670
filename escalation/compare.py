"""Designs compared on the same participants: paired differences with their standard errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from escalation.benchmark import Benchmark, benchmark
from escalation.characteristics import MEASURES, Estimate, measure_rows
from escalation.errors import Fault, StudyError
from escalation.exact import Progress
from escalation.families import response_shown
from escalation.simulate import Simulation, judgement_of, simulate
from escalation.study import Study
from escalation.tally import Floats

DISTINGUISHED = 2.0
"""Paired standard errors a difference must exceed to be called distinguished."""


OF_THE_TRUE_MTD = frozenset({"correct_selection", "poor_allocation"})
"""Measures of the true MTD; for a contour that is one of every frequency, so other designs are not subtracted."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference: mean over common trials, its standard error, and whether it exceeds two of them."""

    difference: float
    mcse: float

    @property
    def distinguished(self) -> bool:
        return bool(abs(self.difference) > DISTINGUISHED * self.mcse)


@dataclass(frozen=True, slots=True)
class ComparedScenario:
    """One scenario: every entry's measures, and differences of each later entry from the first."""

    name: str
    truth: Floats
    benchmark: Benchmark
    measures: tuple[dict[str, Estimate], ...]
    differences: tuple[dict[str, Difference], ...]

    @property
    def names(self) -> list[str]:
        """The measures that any entry has, in the order they are printed."""
        found = dict.fromkeys(name for each in self.measures for name in each)
        known = [name for name in MEASURES if name in found]
        return [*known, *(name for name in found if name not in MEASURES)]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Studies (or one study under several designs) on common participants."""

    studies: tuple[Study, ...]
    engine: str
    trials: int
    seed: int
    scenarios: tuple[ComparedScenario, ...]
    notes: tuple[str, ...]
    simulations: tuple[Simulation, ...]


def compare(
    studies: Sequence[Study],
    *,
    scenarios: Sequence[str] = (),
    engine: Literal["sampled", "calendar"] = "sampled",
    trials: int = 10_000,
    seed: int = 1,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare studies on common participants under the scenarios they share.

    Raises
    ------
    StudyError
        With fewer than two studies, different regimens, or no common scenario.
    """
    if len(studies) < 2:
        raise StudyError(
            (Fault("studies", "a comparison needs two", "name a second study or add --design NAME"),), "compare"
        )
    grids = {study.protocol.grid.shape for study in studies}
    if len(grids) > 1:
        raise StudyError(
            (Fault("studies", "the studies have different numbers of regimens", "compare like with like"),), "compare"
        )
    names = list(scenarios) or _shared(studies)
    if not names:
        raise StudyError(
            (Fault("scenarios", "the studies share no scenario name", "give them one in common"),), "compare"
        )
    for name in names:
        truths = [study.truth(study.scenario(name)) for study in studies]
        graded = [truth.moderate for truth in truths if truth.moderate is not None]
        if any(
            not np.allclose(each, first, atol=1e-12)
            for each, first in (
                *((truth.probability, truths[0].probability) for truth in truths[1:]),
                *((moderate, graded[0]) for moderate in graded[1:]),
            )
        ):
            raise StudyError(
                (Fault(f"scenario {name}", "the studies assume different truths under this name", "rename one"),),
                "compare",
            )
    runs = [
        simulate(
            study,
            scenarios=names,
            engine=engine,
            trials=trials,
            seed=seed,
            executor=executor,
            progress=None if progress is None else _share(progress, position, len(studies)),
        )
        for position, study in enumerate(studies)
    ]
    return comparison_of(runs)


def comparison_of(runs: Sequence[Simulation]) -> Comparison:
    """The comparison of simulations of the same scenarios with the same trials and seed; the first is the reference."""
    studies, first = [run.study for run in runs], runs[0]
    assert first.trials is not None
    assert first.seed is not None
    compared = tuple(
        _scenario(position, studies, runs, first.trials, first.seed) for position in range(len(first.scenarios))
    )
    notes = tuple(dict.fromkeys((*(note for run in runs for note in run.notes), *_of_contours(studies))))
    return Comparison(tuple(studies), first.engine, first.trials, first.seed, compared, notes, tuple(runs))


def _of_contours(studies: Sequence[Study]) -> Iterator[str]:
    """What to know where designs that select a contour stand beside others."""
    designs = [study.protocol.rule.design for study in studies]
    contours = list(dict.fromkeys(each.title for each in designs if each.selects_contour))
    if contours and not all(each.selects_contour for each in designs):
        yield (
            f"{', '.join(contours)}: a dose is selected for every frequency, and is right only when all of them are. "
            "Correct selection and poor allocation are not compared with designs that select one regimen."
        )


def _share(progress: Progress, position: int, studies: int) -> Progress:
    return lambda done, total: progress(position * total + done, studies * total)


def _shared(studies: Sequence[Study]) -> list[str]:
    others = [{scenario.name for scenario in study.scenarios} for study in studies[1:]]
    return [s.name for s in studies[0].scenarios if all(s.name in names for names in others)]


def _scenario(
    position: int, studies: Sequence[Study], runs: Sequence[Simulation], trials: int, seed: int
) -> ComparedScenario:
    first = runs[0].scenarios[position]
    judgement = judgement_of(studies[0])
    truth = first.truth
    per_trial = [
        measure_rows(run.scenarios[position].rows, study.protocol.rule, truth, judgement)
        for run, study in zip(runs, studies, strict=True)
    ]
    for values, run in zip(per_trial, runs, strict=True):
        rows = run.scenarios[position].rows
        shown = response_shown(run.study, run.study.scenario(first.name), rows)
        if shown is not None:
            values["response_shown"] = shown
        calendar = rows.calendar
        if calendar is not None:
            values["duration_days"] = calendar.duration_days
    root = np.sqrt(trials)
    measures = tuple(
        {
            name: Estimate(
                float(v.mean()), float(v.std(ddof=0 if v.dtype == bool else 1) / root) if trials > 1 else float("nan")
            )
            for name, v in values.items()
        }
        for values in per_trial
    )
    base, contours = per_trial[0], [study.protocol.rule.design.selects_contour for study in studies]
    paired = []
    for values, contour in zip(per_trial[1:], contours[1:], strict=True):
        other = OF_THE_TRUE_MTD if contour != contours[0] else frozenset()
        both = [name for name in values if name in base and name not in other]
        paired.append({name: values[name].astype(float) - base[name] for name in both})
    differences = tuple(
        {
            name: Difference(float(d.mean()), float(d.std(ddof=1) / root) if trials > 1 else float("nan"))
            for name, d in each.items()
        }
        for each in paired
    )
    size = max(int(run.scenarios[position].rows.at_regimen.sum(axis=1).max(initial=1)) for run in runs)
    return ComparedScenario(
        first.name, truth, benchmark(truth, judgement, size, seed=seed, trials=trials), measures, differences
    )
