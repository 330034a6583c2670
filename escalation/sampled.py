"""The sampled engine: rows are simulated trials, drawn where the states are too many to enumerate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from escalation.branching import decide
from escalation.decision import Decisions
from escalation.errors import EngineError
from escalation.numerics import distinct_rows
from escalation.results import TrialRows
from escalation.rule import Rule
from escalation.streams import BLOCK, drawn, tolerances, uniforms
from escalation.tally import Floats, Tally


def decide_distinct(rule: Rule, tally: Tally) -> Decisions:
    """The rule's decisions, worked out once for every distinct state."""
    columns = [tally.n, tally.dlt, tally.current[:, None], tally.memory]
    if rule.titration is not None and rule.reads_grades:  # grades are read while the trial titrates only
        columns.append(tally.moderate * rule.titration.titrates(tally.n)[:, None])
    if rule.uses_last_cohort:
        columns += [tally.cohort_n[:, None], tally.cohort_dlt[:, None]]
    first, inverse = distinct_rows(np.concatenate(columns, axis=1))
    return decide(rule, tally.take(first)).take(inverse)


def sample(
    rule: Rule, probability: Floats, seed: int, first: int, trials: int, moderate: Floats | None = None
) -> TrialRows:
    """Simulate trials on common participants.

    Parameters
    ----------
    rule
        The design with its guards and expansion stage.
    probability
        (K,) DLT probabilities.
    seed, first, trials
        Replicates first, first + 1, ... of a master seed.
    moderate
        (K,) probabilities of a moderate toxicity; none occur when None.

    Raises
    ------
    EngineError
        When the design does not end by itself, or waits although every window is complete.
    """
    regimens, most = rule.grid.size, rule.max_patients
    extra = rule.expansion.size if rule.expansion else 0
    tolerance = tolerances(seed, first, trials, most + extra)
    decided = np.zeros(trials, np.int32)  # cohorts, the key of randomised allocations
    n = np.zeros((trials, regimens), np.int32)
    dlt = np.zeros((trials, regimens), np.int32)
    graded = None if moderate is None else np.zeros((trials, regimens), np.int32)
    at_least_moderate = probability if moderate is None else probability + moderate
    regimen = np.full(trials, rule.start, np.int32)
    size = np.full(trials, rule.start_size, np.int32)
    memory = np.zeros((trials, rule.design.memory_size), np.int32)
    selected = np.zeros((trials, regimens), dtype=bool)
    reason = np.zeros(trials, np.int32)
    open_rows = np.arange(trials)
    for _ in range(most + 1):
        if not open_rows.size:
            break
        here, cohort = regimen[open_rows], size[open_rows]
        enrolled = n[open_rows].sum(axis=1)
        places = np.arange(int(cohort.max()))
        index = np.minimum(enrolled[:, None] + places, tolerance.shape[1] - 1)
        latent = np.take_along_axis(tolerance[open_rows], index, axis=1)
        toxic = latent <= probability[here][:, None]
        seen = (toxic & (places < cohort[:, None])).sum(axis=1).astype(np.int32)
        n[open_rows, here] += cohort
        dlt[open_rows, here] += seen
        tally = Tally.complete(n[open_rows], dlt[open_rows], here, cohort, seen, memory[open_rows])
        if graded is not None:
            milder = ~toxic & (latent <= at_least_moderate[here][:, None]) & (places < cohort[:, None])
            graded[open_rows, here] += milder.sum(axis=1).astype(np.int32)
            if rule.reads_grades:
                tally = replace(tally, moderate=graded[open_rows])
        decisions = decide_distinct(rule, tally)
        over = decisions.stops
        ended = open_rows[over]
        reason[ended] = decisions.reason[over]
        selected[ended] = rule.select(tally.take(over), decisions.reason[over])
        going = ~over
        rows = open_rows[going]
        regimen[rows], size[rows] = (
            _allocate(decisions.take(going), seed, first, trials, rows, decided),
            decisions.size[going],
        )
        if decisions.memory is not None:
            memory[rows] = decisions.memory[going]
        decided[rows] += 1
        open_rows = rows
    if open_rows.size:
        raise EngineError(f"{rule.design.title} did not end within {most} participants; correct its decide()")
    results = TrialRows.of(n=n, dlt=dlt, selected=selected, reason=reason, moderate=graded)
    return results if rule.expansion is None else _expand(rule, results, probability, tolerance)


def _allocate(
    decisions: Decisions, seed: int, first: int, trials: int, rows: np.ndarray, decided: np.ndarray
) -> np.ndarray:
    """The regimen of the next cohort; randomised allocations are drawn from their own stream."""
    if decisions.allocation is None:
        return decisions.regimen
    step = int(decided[rows].max(initial=0))
    numbers = uniforms(seed, "allocation", step // BLOCK, first, trials)[rows, step % BLOCK]
    share = decisions.allocation
    return np.where(share.any(axis=1), drawn(share, numbers), decisions.regimen).astype(np.int32)


def _expand(rule: Rule, results: TrialRows, probability: Floats, tolerance: Floats) -> TrialRows:
    """The expansion stage of every trial that selected a regimen."""
    stage = rule.expansion
    assert stage is not None
    n, dlt = results.expansion_n.copy(), results.expansion_dlt.copy()
    withdrawn = results.withdrawn.copy()
    at = np.argmax(results.selected, axis=1)
    rows = np.flatnonzero(results.selected.any(axis=1))
    treated = results.n.sum(axis=1)
    while rows.size:
        group = stage.next_group(int(n[rows[0]]))  # every open trial has the same number so far
        index = (treated + n)[rows][:, None] + np.arange(group)
        dlt[rows] += (np.take_along_axis(tolerance[rows], index, axis=1) <= probability[at[rows]][:, None]).sum(axis=1)
        n[rows] += group
        out = stage.withdraws(results.n[rows, at[rows]], results.dlt[rows, at[rows]], n[rows], dlt[rows])
        withdrawn[rows] = out
        rows = rows[~out & (n[rows] < stage.size)]
    return results.with_expansion(n, dlt, withdrawn)
