"""Results as tables and files: an error beside every number, CSV in an archive, one Excel workbook."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import pandas as pd

from escalation import __version__
from escalation.characteristics import MEASURES, Estimate
from escalation.compare import Comparison
from escalation.report.forms import comparison_form, simulation_form
from escalation.report.measured import how, lines
from escalation.safe_text import csv_text, write_workbook
from escalation.simulate import Simulation, trial_frame
from escalation.study import Study


def _cover(studies: tuple[Study, ...], how_made: str, notes: tuple[str, ...]) -> pd.DataFrame:
    rows: list[tuple[str, str]] = [("software", f"escalation {__version__}"), ("how", how_made)]
    for study in studies:
        rows += [
            ("study", study.title),
            ("study id", study.id),
            ("registry", study.registry),
            ("design", study.protocol.rule.design.label),
            ("study hash", study.hash),
            *(("NOTICE", notice) for notice in study.notices),
            *(("warning", warning) for warning in study.warnings()),
        ]
    rows += [("note", note) for note in notes]
    rows.append(("texts", "an apostrophe stands before a text that a spreadsheet could calculate"))
    return pd.DataFrame(rows, columns=["item", "value"], dtype=object)


def _error(estimate: Estimate) -> float | str:
    return "exact" if estimate.mcse is None else estimate.mcse


def simulation_frames(simulation: Simulation) -> dict[str, pd.DataFrame]:
    """Cover, regimens and measures of a simulation; ``mcse`` says exact where there is no Monte Carlo error."""
    study = simulation.study
    grid, rule = study.protocol.grid, study.protocol.rule
    regimens: list[dict[str, Any]] = []
    measures: list[dict[str, Any]] = []
    for result in simulation.scenarios:
        c = result.characteristics
        for k in range(grid.size):
            row: dict[str, Any] = {
                "scenario": result.name,
                "level": grid.level(k),
                "dose": grid.regimen(k).dose,
                "frequency": grid.regimen(k).frequency,
                "regimen": grid.describe(k),
                "true_dlt_probability": float(result.truth[k]),
                "true_mtd": bool(c.true_mtd[k]),
            }
            for name, values, errors in (
                ("selection", c.selection, c.selection_mcse),
                ("patients", c.patients, c.patients_mcse),
                ("dlts", c.dlts, c.dlts_mcse),
                *((("backfilled", c.backfill, c.backfill_mcse),) if c.backfill is not None else ()),
            ):
                row[name] = float(values[k])
                row[f"{name}_mcse"] = "exact" if errors is None else float(errors[k])
            regimens.append(row)
        measures += [
            {
                "scenario": result.name,
                "group": line.group,
                "measure": line.key,
                "name": line.name,
                "definition": line.definition,
                "value": line.estimate.value,
                "mcse": _error(line.estimate),
            }
            for line in lines(c, rule)
        ]
    return {
        "cover": _cover((study,), how(simulation), simulation.notes),
        "regimens": pd.DataFrame(regimens),
        "measures": pd.DataFrame(measures),
    }


COMPARED: Mapping[str, str] = {
    **{name: title for name, (title, _) in MEASURES.items()},
    "patients": "Participants",
    "dlts": "Participants with a DLT",
    "duration_days": "Duration in days",
}
"""Names of the measures a comparison has."""


def comparison_how(comparison: Comparison) -> str:
    """How a comparison was made, and what its errors are."""
    return (
        f"{comparison.engine} engine, {comparison.trials:,} common simulated trials a scenario, seed "
        f"{comparison.seed}; Monte Carlo standard errors in parentheses, of differences the paired ones"
    )


def comparison_frames(comparison: Comparison) -> dict[str, pd.DataFrame]:
    """Cover, measures with their paired differences from the first study, and the optimal benchmark."""
    measures: list[dict[str, Any]] = []
    best: list[dict[str, Any]] = []
    for scenario in comparison.scenarios:
        for position, (study, values) in enumerate(zip(comparison.studies, scenario.measures, strict=True)):
            apart = scenario.differences[position - 1] if position else {}
            for name, estimate in values.items():
                difference = apart.get(name)
                measures.append(
                    {
                        "scenario": scenario.name,
                        "entry": position + 1,
                        "study": study.id,
                        "design": study.protocol.rule.design.label,
                        "measure": name,
                        "name": COMPARED.get(name, name),
                        "value": estimate.value,
                        "mcse": _error(estimate),
                        "minus_first": None if difference is None else difference.difference,
                        "minus_first_mcse": None if difference is None else difference.mcse,
                        "distinguished": None if difference is None else difference.distinguished,
                    }
                )
        grid = comparison.studies[0].protocol.grid
        best += [
            {
                "scenario": scenario.name,
                "participants": scenario.benchmark.participants,
                "level": grid.level(k),
                "true_dlt_probability": float(scenario.truth[k]),
                "selection": float(scenario.benchmark.selection[k]),
                "correct_selection": scenario.benchmark.correct_selection.value,
                "correct_selection_mcse": scenario.benchmark.correct_selection.mcse,
            }
            for k in range(grid.size)
        ]
    return {
        "cover": _cover(comparison.studies, comparison_how(comparison), comparison.notes),
        "measures": pd.DataFrame(measures),
        "benchmark": pd.DataFrame(best),
    }


def json_text(result: Simulation | Comparison) -> str:
    """The JSON form, as the command line prints it."""
    form = comparison_form(result) if isinstance(result, Comparison) else simulation_form(result)
    return json.dumps(form, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def frames_of(result: Simulation | Comparison) -> dict[str, pd.DataFrame]:
    """The tables of a simulation or a comparison."""
    return comparison_frames(result) if isinstance(result, Comparison) else simulation_frames(result)


def excel(result: Simulation | Comparison) -> bytes:
    """The tables as one Excel workbook."""
    made = io.BytesIO()
    write_workbook(made, frames_of(result))
    return made.getvalue()


def csv_archive(result: Simulation | Comparison) -> bytes:
    """The tables as CSV files in a ZIP archive."""
    return _zipped({f"{name}.csv": csv_text(frame) for name, frame in frames_of(result).items()})


def records_archive(simulation: Simulation) -> bytes:
    """One row per simulated trial, a CSV file a scenario, in a ZIP archive; raises EngineError for exact results."""
    found = {
        f"trials-{number}.csv": csv_text(_named(trial_frame(result, simulation.study), result.name))
        for number, result in enumerate(simulation.scenarios, 1)
    }
    return _zipped(found)


def _named(frame: Any, scenario: str) -> pd.DataFrame:
    named: pd.DataFrame = frame
    named.insert(0, "scenario", scenario)
    return named


def _zipped(files: Mapping[str, str]) -> bytes:
    """Texts as an archive whose bytes depend on nothing but them."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text.encode("utf-8-sig"), zipfile.ZIP_DEFLATED)
    return made.getvalue()
