"""Operating characteristics of a study: three engines behind one call."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from escalation.characteristics import Characteristics, Estimate, Judgement, characterise
from escalation.errors import EngineError, Fault, StateBudgetError, StudyError
from escalation.exact import STATE_BUDGET, Graph, Progress, compile_graph
from escalation.families import response_measures, response_notes
from escalation.results import TrialRows
from escalation.scenario import Scenario
from escalation.study import Study, validate

EngineName = Literal["auto", "exact", "sampled", "calendar"]
NOBODY_BACKFILLED = "nobody is backfilled without a clock: escalation alone is shown (--engine calendar backfills)"
CHUNK = {"sampled": 2048, "calendar": 256}
"""Replicates simulated at a time; no result depends on it."""


@dataclass(frozen=True)
class ScenarioResult:
    """One scenario's operating characteristics; ``response`` is None in a study without a response."""

    name: str
    truth: np.ndarray
    characteristics: Characteristics
    rows: TrialRows
    participants: Any = None
    response: dict[str, Estimate] | None = None


@dataclass(frozen=True)
class Simulation:
    """A study's operating characteristics under its scenarios.

    ``engine`` is the engine that ran, ``notes`` say what a reader must know about it.
    """

    study: Study
    engine: Literal["exact", "sampled", "calendar"]
    trials: int | None
    seed: int | None
    scenarios: tuple[ScenarioResult, ...]
    notes: tuple[str, ...]
    states: int | None = None


def judgement_of(study: Study) -> Judgement:
    """How a study's results are judged."""
    criteria = study.criteria
    return Judgement(
        study.target, criteria.mtd_rule, criteria.above_margin, criteria.within, criteria.overdose_denominator
    )


def simulate(
    study: Study,
    *,
    scenarios: Sequence[str] = (),
    engine: EngineName = "auto",
    trials: int = 10_000,
    seed: int = 1,
    executor: Executor | None = None,
    records: bool = False,
    progress: Progress | None = None,
    budget: int | None = None,
) -> Simulation:
    """Operating characteristics of a study.

    Parameters
    ----------
    scenarios
        Names of the scenarios, all when empty.
    engine
        ``auto`` is exact when the states fit, else sampled; calendar for designs that read follow-up times and for
        protocols that backfill.
    trials, seed
        Of the simulated engines; the same seed gives the same numbers whatever the executor.
    executor
        Runs the replicates in parallel; this process when None.
    records
        Keep participant records (calendar engine), a data frame per scenario.
    progress
        Told the trials done and in all.
    budget
        Most rows the exact engine may hold, its own limit when None.

    Raises
    ------
    EngineError, StudyError
    """
    if trials < 1:
        raise StudyError((Fault("--trials", f"{trials} trials cannot be simulated", "ask for 1 or more"),), study.id)
    if seed < 0:
        raise StudyError((Fault("--seed", f"{seed} is negative", "use a whole number from 0"),), study.id)
    chosen = [study.scenario(name) for name in scenarios] or list(study.scenarios)
    notes: list[str] = []
    if engine == "auto" and (_reads_open_windows(study) or study.protocol.backfill is not None):
        engine = "calendar"
    if engine in ("auto", "exact"):
        try:
            graph = compile_graph(study.protocol.rule, budget=budget or STATE_BUDGET, progress=progress)
        except StateBudgetError as error:
            if engine == "exact":
                raise
            notes.append(f"sampled, not exact: more than {error.budget:,} distinct states (--budget raises the limit)")
        else:
            return evaluate(study, graph, chosen)
    ran: Literal["sampled", "calendar"] = "calendar" if engine == "calendar" else "sampled"
    if ran == "sampled":
        notes.extend((*_whole_windows(study), *_timeless(chosen)))
    notes.extend(response_notes(study))
    results = []
    for position, scenario in enumerate(chosen):
        share = _part(progress, position, len(chosen), trials)
        parts = list(_chunks(study, scenario, ran, seed, trials, executor, records, share))
        people = _frame([person for _, listed in parts for person in listed]) if records else None
        rows = TrialRows.join([part for part, _ in parts])
        results.append(judged(study, scenario, rows, seed, people))
    return Simulation(study, ran, trials, seed, tuple(results), tuple(notes))


def evaluate(study: Study, graph: Graph, scenarios: Sequence[Scenario] = ()) -> Simulation:
    """Exact operating characteristics from the states of the study's rule, found before.

    Parameters
    ----------
    graph
        The compiled states of ``study.protocol.rule``; they serve every scenario.
    scenarios
        Those to evaluate, all of the study's when empty.
    """
    chosen = list(scenarios) or list(study.scenarios)
    rows = [_exact_rows(study, graph, scenario) for scenario in chosen]
    results = tuple(judged(study, scenario, each) for scenario, each in zip(chosen, rows, strict=True))
    notes = (*_whole_windows(study), *_timeless(chosen), *response_notes(study))
    return Simulation(study, "exact", None, None, results, notes, graph.states)


def _exact_rows(study: Study, graph: Graph, scenario: Scenario) -> TrialRows:
    truth = study.truth(scenario)
    return TrialRows.exact(graph, truth.probability, truth.moderate)


def judged(study: Study, scenario: Scenario, rows: TrialRows, seed: int = 0, people: Any = None) -> ScenarioResult:
    """One scenario's result from its finished trials; ``seed`` keys the bootstrap of the quantiles' errors."""
    truth = study.truth(scenario).probability
    characteristics = characterise(rows, study.protocol.rule, truth, judgement_of(study), seed=seed)
    response = response_measures(study, scenario, rows)
    return ScenarioResult(scenario.name, truth, characteristics, rows, people, response)


def _reads_open_windows(study: Study) -> bool:
    """Whether the design decides while windows are open."""
    return study.protocol.rule.design.needs_clock and study.protocol.escalate_when == "certain"


def _whole_windows(study: Study) -> list[str]:
    """What an engine without a clock does with a design that reads open windows, and with a backfill."""
    left = [NOBODY_BACKFILLED] if study.protocol.backfill is not None else []
    if not _reads_open_windows(study):
        return left
    return [*left, "every window is taken as complete before the next cohort; --engine calendar lets windows be open"]


def _timeless(scenarios: Sequence[Scenario]) -> list[str]:
    """What an engine without a clock leaves out of the scenarios."""
    left = {
        "drop-out": any(s.drop_out for s in scenarios),
        "missed infusions": any(s.missed_infusion for s in scenarios),
    }
    named = [name for name, present in left.items() if present]
    return [f"{' and '.join(named)} need a clock and are left out here (--engine calendar)"] if named else []


def _part(progress: Progress | None, position: int, scenarios: int, trials: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, _: progress(position * trials + done, scenarios * trials)


def _chunks(
    study: Study,
    scenario: Scenario,
    engine: str,
    seed: int,
    trials: int,
    executor: Executor | None,
    records: bool,
    progress: Progress | None,
) -> Iterator[tuple[TrialRows, list[dict[str, Any]]]]:
    """The replicates in chunks, in their order whatever the executor finishes first."""
    size = CHUNK[engine]
    jobs = [
        (json.dumps(study.as_dict()), scenario.name, engine, seed, first, min(size, trials - first), records)
        for first in range(0, trials, size)
    ]
    done = 0
    if executor is None:
        for job in jobs:
            part = run_chunk(*job)
            done += job[5]
            if progress:
                progress(done, trials)
            yield part
        return
    waiting = {executor.submit(run_chunk, *job): position for position, job in enumerate(jobs)}
    finished: dict[int, tuple[TrialRows, list[dict[str, Any]]]] = {}
    for future in as_completed(waiting):
        position = waiting[future]
        finished[position] = future.result()
        done += jobs[position][5]
        if progress:
            progress(done, trials)
    yield from (finished[position] for position in range(len(jobs)))


@lru_cache(maxsize=8)
def _study_of(text: str) -> Study:
    return validate(json.loads(text))


@lru_cache(maxsize=8)
def _calendar_of(text: str, name: str) -> Any:
    return calendar_engine(_study_of(text), name)


def calendar_engine(study: Study, name: str) -> Any:
    """The calendar of a study under a scenario; of two groups, both are enrolled."""
    scenario = study.scenario(name)
    if study.groups is not None:
        from escalation.two_groups_calendar import TwoGroupsEngine

        return TwoGroupsEngine(study.protocol, scenario, study.truth(scenario), study.groups)
    from escalation.calendar import CalendarEngine

    return CalendarEngine(study.protocol, scenario, study.truth(scenario))


def run_chunk(
    text: str, name: str, engine: str, seed: int, first: int, trials: int, records: bool
) -> tuple[TrialRows, list[dict[str, Any]]]:
    """Replicates first, first + 1, ... of a study given as text; what an executor's workers call."""
    if engine == "calendar":
        result: tuple[TrialRows, list[dict[str, Any]]] = _calendar_of(text, name).run(
            seed, first, trials, records=records
        )
        return result
    from escalation.sampled import sample

    study = _study_of(text)
    truth = study.truth(study.scenario(name))
    return sample(study.protocol.rule, truth.probability, seed, first, trials, truth.moderate), []


def _frame(people: list[dict[str, Any]]) -> Any:
    import pandas as pd

    return pd.DataFrame.from_records(people)


def write_records(simulation: Simulation, folder: Path) -> None:
    """One row per trial as CSV, and with the calendar engine one per participant; raises StudyError."""
    import pandas as pd

    from escalation.safe_text import without_formulas

    tables = {"trials": [trial_frame(result, simulation.study) for result in simulation.scenarios]}
    if simulation.engine == "calendar":
        tables["participants"] = [result.participants for result in simulation.scenarios]
    names = [result.name for result in simulation.scenarios]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, frames in tables.items():
            whole = pd.concat(frames, keys=names, names=["scenario"]).reset_index(level=0)
            without_formulas(whole).to_csv(folder / f"{name}.csv", index=False)
    except OSError as error:
        raise StudyError(
            (Fault("--records", f"{folder}: {error.strerror}", "choose a folder you can write to"),)
        ) from None


def trial_frame(result: ScenarioResult, study: Study) -> Any:
    """One row per simulated trial: totals, selection, stop reason and, with a clock, its times.

    Raises EngineError for exact results, whose rows are states and not trials.
    """
    import pandas as pd

    rows = result.rows
    if rows.trials is None:
        raise EngineError("exact results have no single trials; use the sampled or the calendar engine for records")
    rule, grid = study.protocol.rule, study.protocol.grid
    codes = np.array([reason.code for reason in rule.reasons])
    columns: dict[str, Any] = {
        "trial": np.arange(1, rows.trials + 1),
        "patients": rows.total,
        "dlts": rows.total_dlt,
        "selected": [" ".join(grid.level(int(k)) for k in np.flatnonzero(row)) for row in rows.selected],
        "stop_reason": codes[rows.reason],
        "expansion_patients": rows.expansion_n,
        "expansion_dlts": rows.expansion_dlt,
        "withdrawn": rows.withdrawn,
    }
    for k in range(grid.size):
        columns[f"n_{grid.level(k)}"] = rows.n[:, k]
        columns[f"dlt_{grid.level(k)}"] = rows.dlt[:, k]
        if rows.backfill_n is not None and rows.backfill_dlt is not None:
            columns[f"backfill_n_{grid.level(k)}"] = rows.backfill_n[:, k]
            columns[f"backfill_dlt_{grid.level(k)}"] = rows.backfill_dlt[:, k]
        if rows.moderate is not None:
            columns[f"moderate_{grid.level(k)}"] = rows.moderate[:, k].astype(int)
    if rows.calendar is not None:
        columns |= {name: getattr(rows.calendar, name) for name in rows.calendar.__dataclass_fields__}
        if study.groups is None:
            del columns["control"]
    return pd.DataFrame(columns)
