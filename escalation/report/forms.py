"""JSON forms: the contract of ``--json``. Matrices have one row per frequency and one column per dose."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from escalation import __version__
from escalation.advice import Advice
from escalation.benchmark import Benchmark
from escalation.characteristics import Characteristics, Distribution, Estimate
from escalation.compare import Comparison
from escalation.decision import Action
from escalation.design import DecisionTable
from escalation.families import planned_test
from escalation.outcomes import Replay
from escalation.pathways import Node
from escalation.regimens import RegimenGrid
from escalation.report.proof_notes import proof_notes
from escalation.report.wording import headline, outlook_lines
from escalation.rule import Rule
from escalation.simulate import ScenarioResult, Simulation
from escalation.study import Study
from escalation.trial import PENDING
from escalation.verify import Proof


def plain(value: Any) -> Any:
    """A value as JSON can hold it: numpy numbers unwrapped, NaN and infinities as null."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _form(form: dict[str, Any]) -> dict[str, Any]:
    return {key: plain(value) for key, value in form.items()}


def _identity(study: Study) -> dict[str, Any]:
    return {
        "study": study.id,
        "design": study.protocol.rule.design.name,
        "design_label": study.protocol.rule.design.label,
        "version": __version__,
        "study_hash": study.hash,
        "notices": list(study.notices),
    }


def _regimen(grid: RegimenGrid, index: int) -> dict[str, int]:
    dose, frequency = grid.regimen(index)
    return {"dose": dose, "frequency": frequency}


def _quantiles(distribution: Distribution) -> dict[str, float]:
    return {f"{q:g}": estimate.value for q, estimate in distribution.quantiles.items()}


def _distribution(distribution: Distribution) -> dict[str, Any]:
    return {
        "mean": distribution.mean.value,
        "sd": distribution.sd.value,
        "quantiles": _quantiles(distribution),
        "max": distribution.maximum,
    }


def _value(estimates: dict[str, Estimate]) -> dict[str, float]:
    return {name: estimate.value for name, estimate in estimates.items()}


def _errors(estimates: dict[str, Estimate]) -> dict[str, float | None]:
    return {name: estimate.mcse for name, estimate in estimates.items()}


def _distribution_error(distribution: Distribution) -> dict[str, Any]:
    return {
        "mean": distribution.mean.mcse,
        "sd": distribution.sd.mcse,
        "quantiles": {f"{q:g}": estimate.mcse for q, estimate in distribution.quantiles.items()},
    }


def scenario_form(result: ScenarioResult, grid: RegimenGrid) -> dict[str, Any]:
    """One scenario's operating characteristics."""
    c = result.characteristics
    return {
        "name": result.name,
        "truth": grid.matrix(result.truth),
        "selection": grid.matrix(c.selection),
        "no_selection": c.no_selection.value,
        "patients": grid.matrix(c.patients),
        "dlts": grid.matrix(c.dlts),
        "total_patients": _distribution(c.total_patients),
        "total_dlts": _distribution(c.total_dlts),
        "expansion": None if c.expansion is None else _value(c.expansion),
        "duration_days": None if c.duration_days is None else _distribution(c.duration_days),
        "stop_reasons": _value(c.stop_reasons),
        "calendar": _value(c.calendar) or None,
        **({} if c.backfill is None else {"backfilled": grid.matrix(c.backfill)}),
        "true_mtd": grid.matrix(c.true_mtd),
        "measures": _value(c.measures),
        "response": None if result.response is None else _value(result.response),
        "mcse": None if c.exact else _mcse(c, grid) | _response_mcse(result),
    }


def _response_mcse(result: ScenarioResult) -> dict[str, Any]:
    return {"response": None if result.response is None else _errors(result.response)}


def _mcse(c: Characteristics, grid: RegimenGrid) -> dict[str, Any]:
    assert c.selection_mcse is not None
    assert c.patients_mcse is not None
    assert c.dlts_mcse is not None
    return {
        "selection": grid.matrix(c.selection_mcse),
        "no_selection": c.no_selection.mcse,
        "patients": grid.matrix(c.patients_mcse),
        "dlts": grid.matrix(c.dlts_mcse),
        **({} if c.backfill_mcse is None else {"backfilled": grid.matrix(c.backfill_mcse)}),
        "total_patients": _distribution_error(c.total_patients),
        "total_dlts": _distribution_error(c.total_dlts),
        "expansion": None if c.expansion is None else _errors(c.expansion),
        "duration_days": None if c.duration_days is None else _distribution_error(c.duration_days),
        "stop_reasons": _errors(c.stop_reasons),
        "calendar": _errors(c.calendar) or None,
        "measures": _errors(c.measures),
    }


def simulation_form(simulation: Simulation) -> dict[str, Any]:
    """``escalation simulate --json``."""
    study = simulation.study
    grid = study.protocol.grid
    return _form(
        {
            **_identity(study),
            "engine": simulation.engine,
            "trials": simulation.trials,
            "seed": simulation.seed,
            "target": study.target,
            "family": study.family,
            "response_test": planned_test(study),
            "notes": list(simulation.notes),
            "warnings": list(study.warnings()),
            "scenarios": [scenario_form(result, grid) for result in simulation.scenarios],
        }
    )


def _advice(advice: Advice, rule: Rule) -> dict[str, Any]:
    grid = rule.grid
    treats = advice.action not in (Action.STOP, Action.WAIT)
    return {
        "action": advice.action.word,
        "next": _regimen(grid, advice.regimen) if treats else None,
        "cohort_size": advice.size,
        "selected": _regimen(grid, advice.selected[0]) if len(advice.selected) == 1 else None,
        "reasons": [{"code": code, "text": rule.reason(code).line} for code in advice.reasons],
    }


def decision_form(study: Study, replayed: Replay, advice: Advice, outcomes: str) -> dict[str, Any]:
    """``escalation decide --json``."""
    rule, state = study.protocol.rule, replayed.state
    grid = rule.grid
    waiting = [
        {"participant": number + 1, "regimen": _regimen(grid, person.regimen)}
        for number, person in state.participants.items()
        if person.status == PENDING and not advice.decides
    ]
    form = _advice(advice, rule)
    form |= {
        "waiting_for": waiting,
        "outlook": outlook_lines(advice, grid),
        "certain": advice.certain,
        "selected_contour": [_regimen(grid, k) for k in advice.selected] if rule.design.selects_contour else None,
        "allocation": None if advice.allocation is None else grid.matrix(advice.allocation),
        "stage": state.stage,
        "expansion": _expansion(rule, replayed),
        "text": headline(advice, rule),
        "explanations": [rule.reason(code).paragraph for code in advice.reasons],
        "departures": list(replayed.departures),
        "outcomes": outcomes,
        "n": grid.matrix(state.n),
        "dlt": grid.matrix(state.dlt),
        "pending": grid.matrix(state.pending),
        **({"moderate": grid.matrix(state.moderate)} if rule.reads_grades else {}),
        "estimates": _estimates(study, replayed),
        **_identity(study),
    }
    return _form(form)


def _expansion(rule: Rule, replayed: Replay) -> dict[str, Any] | None:
    state = replayed.state
    if rule.expansion is None:
        return None
    return {
        "size": rule.expansion.size,
        "patients": state.expansion_n,
        "dlts": state.expansion_dlt,
        "pending": state.expansion_pending,
        "withdrawn": state.withdrawn,
    }


def _estimates(study: Study, replayed: Replay) -> dict[str, Any] | None:
    """What a design that estimates says about the DLT probabilities, one number for every regimen."""
    found = study.protocol.rule.design.estimates(study.protocol.rule.counted(replayed.state.tally()))
    if found is None:
        return None
    return {
        "curve": found.curve[0],
        "lower": found.lower[0],
        "upper": found.upper[0],
        "level": found.level,
        "method": found.method,
        **{name: values[0] for name, values in (found.parameters | found.by_regimen).items()},
    }


def rule_form(study: Study) -> dict[str, Any]:
    """``escalation rule --json``."""
    rule = study.protocol.rule
    form = {
        "citation": type(rule.design).citation,
        "parameters": rule.design.parameters.model_dump(mode="json"),
        "constants": rule.design.constants(),
        "steps": list(rule.steps()),
        **_identity(study),
    }
    return _form(form)


def table_form(table: DecisionTable) -> dict[str, Any]:
    """``escalation table --json``."""
    return {
        "n": list(table.n),
        "escalate_if_at_most": list(table.escalate_if_at_most),
        "de_escalate_if_at_least": list(table.de_escalate_if_at_least),
        "eliminate_if_at_least": list(table.eliminate_if_at_least),
    }


def table_csv(table: DecisionTable) -> str:
    """A decision table as comma-separated text: E, S, D or DU for every number evaluable and of DLTs.

    The form the design ``decision_table`` reads.
    """
    columns = zip(
        table.n, table.escalate_if_at_most, table.de_escalate_if_at_least, table.eliminate_if_at_least, strict=True
    )
    cells = {}
    for n, up, down, out in columns:
        for dlt in range(n + 1):
            eliminated, strict = out is not None and dlt >= out, down is not None and dlt >= down
            mild = up is not None and dlt <= up
            cells[dlt, n] = "DU" if eliminated else "D" if strict else "E" if mild else "S"
    rows = [["DLTs", *map(str, table.n)]]
    rows += [[str(dlt), *(cells.get((dlt, n), "") for n in table.n)] for dlt in range(max(table.n) + 1)]
    return "\n".join(",".join(row) for row in rows) + "\n"


def proof_form(study: Study, proof: Proof) -> dict[str, Any]:
    """``escalation verify --json``."""
    return _form(
        {
            **_identity(study),
            "states": proof.states,
            "properties": [
                {
                    "name": verdict.name,
                    "statement": verdict.statement,
                    "holds": verdict.holds,
                    "counterexample": verdict.counterexample,
                }
                for verdict in proof.verdicts
            ],
            "notes": list(proof_notes(study, proof)),
        }
    )


def pathways_form(study: Study, scenario: str, start: str, cohorts: int, nodes: tuple[Node, ...]) -> dict[str, Any]:
    """``escalation pathways --json``: the nodes depth first, each with the position of its parent."""
    rule = study.protocol.rule
    return _form(
        {
            **_identity(study),
            "scenario": scenario,
            "from": start,
            "cohorts": cohorts,
            "nodes": [
                {
                    "depth": node.depth,
                    "parent": node.parent,
                    "outcomes": node.outcomes,
                    "probability": node.probability,
                    **_advice(node.advice, rule),
                }
                for node in nodes
            ],
        }
    )


def _benchmark(found: Benchmark, grid: RegimenGrid) -> dict[str, Any]:
    return {
        "participants": found.participants,
        "selection": grid.matrix(found.selection),
        "correct_selection": found.correct_selection.value,
        "mcse": found.correct_selection.mcse,
    }


def comparison_form(comparison: Comparison) -> dict[str, Any]:
    """``escalation compare --json``; every difference is an entry minus the first entry."""
    grid = comparison.studies[0].protocol.grid
    return _form(
        {
            "version": __version__,
            "engine": comparison.engine,
            "trials": comparison.trials,
            "seed": comparison.seed,
            "notes": list(comparison.notes),
            "entries": [_identity(study) for study in comparison.studies],
            "scenarios": [
                {
                    "name": each.name,
                    "truth": grid.matrix(each.truth),
                    "benchmark": _benchmark(each.benchmark, grid),
                    "results": [
                        {name: {"value": e.value, "mcse": e.mcse} for name, e in measures.items()}
                        for measures in each.measures
                    ],
                    "differences": [
                        {
                            "entry": position,
                            "minus": 0,
                            "measures": {
                                name: {
                                    "difference": d.difference,
                                    "mcse": d.mcse,
                                    "distinguished": d.distinguished,
                                }
                                for name, d in differences.items()
                            },
                        }
                        for position, differences in enumerate(each.differences, 1)
                    ],
                }
                for each in comparison.scenarios
            ],
        }
    )
