"""The report of a study: one HTML file that needs nothing beside it, for the screen, for A4 and for the record."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any, Final

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from escalation import __version__
from escalation.characteristics import Estimate
from escalation.compare import Comparison, Difference
from escalation.report.charts.comparisons import designs_named, differences, selection_side_by_side
from escalation.report.charts.regimens import dose_toxicity, heat_map, selection_and_allocation
from escalation.report.charts.style import svg
from escalation.report.charts.times import distribution, spreads, suspended_days
from escalation.report.frames import COMPARED, comparison_how
from escalation.report.measured import RIGHT, how, lines, overview, shares, suspended_by_cause
from escalation.report.protocol_text import judged_by, protocol_sentences, scenario_sentences
from escalation.report.tables import number
from escalation.simulate import ScenarioResult, Simulation, judgement_of
from escalation.study import Study

WIDTH: Final = 620
"""Pixels of a figure across the page; A4 within its margins."""
_SCENARIOS_DRAWN: Final = 12
"""Scenarios with a figure of their own; further ones have their tables."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with what it shows in words."""

    svg: Markup
    caption: str


class _Figures:
    """Figures as inline SVG; the names inside each are its own, for the file holds several."""

    def __init__(self) -> None:
        self.drawn = 0

    def __call__(self, chart: Any, caption: str, width: int = WIDTH) -> Figure:
        self.drawn += 1
        text = svg(chart.properties(width=width))
        own = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>f{self.drawn}-", text)
        return Figure(Markup(own), caption)  # made by the charts' own renderer, which escapes what it is given


def simulation_report(
    simulation: Simulation, *, comparison: Comparison | None = None, command: str = "", made: date | None = None
) -> str:
    """The report of a study's operating characteristics as one HTML text.

    Parameters
    ----------
    simulation
        The operating characteristics.
    comparison
        Designs on common participants, a section of its own when given.
    command
        The same on the command line.
    made
        Day printed on it; none when None, so that the same result gives the same file.
    """
    figure, study = _Figures(), simulation.study
    return _rendered(
        study,
        [result.name for result in simulation.scenarios],
        command,
        made,
        how=how(simulation),
        exact=simulation.engine == "exact",
        trials=simulation.trials,
        notes=simulation.notes,
        overview=overview(simulation),
        overview_figure=_times_overview(simulation, figure),
        scenarios=[
            _scenario(result, simulation, figure if place < _SCENARIOS_DRAWN else None)
            for place, result in enumerate(simulation.scenarios)
        ],
        comparison=None if comparison is None else _comparison(comparison, figure),
    )


def comparison_report(comparison: Comparison, *, command: str = "", made: date | None = None) -> str:
    """The report of a comparison as one HTML text; the first study's protocol is told, of the others what they are."""
    return _rendered(
        comparison.studies[0],
        [scenario.name for scenario in comparison.scenarios],
        command,
        made,
        how=comparison_how(comparison),
        exact=False,
        trials=comparison.trials,
        notes=comparison.notes,
        overview=None,
        overview_figure=None,
        scenarios=[],
        comparison=_comparison(comparison, _Figures()),
    )


def _rendered(study: Study, names: Sequence[str], command: str, made: date | None, **results: Any) -> str:
    environment = Environment(
        loader=PackageLoader("escalation.report", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    grid = study.protocol.grid
    return environment.get_template("report.html.j2").render(
        version=__version__,
        study=study,
        made=made.isoformat() if made else "",
        command=command,
        protocol=protocol_sentences(study.protocol),
        judged=judged_by(study),
        table=study.protocol.rule.design.table(),
        cohort_size=study.protocol.cohort_size,
        regimens=[(grid.level(k), grid.describe(k)) for k in range(grid.size)],
        assumed=_assumed(study, names),
        sources=sorted(study.sources.items()),
        text=json.dumps(study.as_dict(), indent=1, ensure_ascii=False),
        **results,
    )


def _assumed(study: Study, names: Sequence[str]) -> dict[str, Any]:
    """What the scenarios assume beside DLT probabilities: said once where all agree, else for each."""
    told = {name: scenario_sentences(study.scenario(name)) for name in names}
    common = [pair for pair in told[names[0]] if all(pair in each for each in told.values())]
    return {
        "common": common,
        "scenarios": [
            (name, study.scenario(name).description, [pair for pair in told[name] if pair not in common])
            for name in names
        ],
    }


# operating characteristics ---------------------------------------------------------------------------


def _times_overview(simulation: Simulation, figure: _Figures) -> list[Figure]:
    named = {
        result.name: result.characteristics.duration_days
        for result in simulation.scenarios
        if result.characteristics.duration_days is not None
    }
    if not named:
        return []
    held = {result.name: suspended_by_cause(result) for result in simulation.scenarios}
    return [
        figure(spreads(named, "duration in days"), "Duration: 5 % to 95 % quantile, middle half, median."),
        figure(suspended_days(held), "Days on which nobody could be enrolled, mean over trials, by cause."),
    ]


def _scenario(result: ScenarioResult, simulation: Simulation, figure: _Figures | None) -> dict[str, Any]:
    study, c = simulation.study, result.characteristics
    grid, rule = study.protocol.grid, study.protocol.rule

    def cell(values: Any, errors: Any, k: int, digits: int) -> str:
        return number(Estimate(float(values[k]), None if errors is None else float(errors[k])), digits)

    regimens = [
        {
            "level": grid.level(k),
            "name": grid.label(k),
            "truth": f"{result.truth[k]:.4g}",
            "mtd": bool(c.true_mtd[k]),
            "selection": cell(c.selection, c.selection_mcse, k, 4),
            "patients": cell(c.patients, c.patients_mcse, k, 3),
            "backfilled": "" if c.backfill is None else cell(c.backfill, c.backfill_mcse, k, 3),
            "dlts": cell(c.dlts, c.dlts_mcse, k, 3),
        }
        for k in range(grid.size)
    ]
    groups = [
        (name, [(line.name, line.definition, number(line.estimate, line.digits), line.key) for line in listed])
        for name, listed in groupby(lines(c, rule), key=lambda line: line.group)
    ]
    merged: dict[str, list[tuple[str, str, str, str]]] = {}
    for name, listed in groups:
        merged.setdefault(name, []).extend(listed)
    return {
        "name": result.name,
        "description": study.scenario(result.name).description,
        "regimens": regimens,
        "backfill": c.backfill is not None,
        "none": number(c.no_selection),
        "groups": merged,
        "wide": RIGHT,
        "figures": [] if figure is None else _figures(result, study, figure),
    }


def _figures(result: ScenarioResult, study: Study, figure: _Figures) -> list[Figure]:
    c, grid = result.characteristics, study.protocol.grid
    if grid.axis != "grid":
        truth = dose_toxicity(grid, {"assumed": result.truth}, study.target, within=study.criteria.within, height=150)
        drawn = [
            figure(truth, "Assumed DLT probabilities, the target and the band around it."),
            figure(
                selection_and_allocation(grid, shares(c), c.true_mtd, height=150),
                "Selected, and where participants are treated; ★ true MTD" + _whiskers(c.exact),
            ),
        ]
    else:
        safe = ~judgement_of(study).above(result.truth)
        allocated = shares(c).allocation
        maps = [
            heat_map(grid, values, title, marked=c.true_mtd, contour=safe, highest=highest, height=110)
            for values, title, highest in (
                (result.truth, "Assumed DLT", 1.0),
                (c.selection, "Selected", None),
                (allocated, "Participants", None),
            )
        ]
        caption = "Assumed DLT probabilities, selection and share of participants; line: target; ★ true MTD."
        drawn = [figure(each, caption if not place else "", WIDTH // 3 - 40) for place, each in enumerate(maps)]
    clock = result.rows.calendar
    if clock is not None and c.duration_days is not None:
        chart = distribution(clock.duration_days, c.duration_days, "duration in days", height=140)
        drawn.append(figure(chart, "Duration of the trial, from the first enrolment to the last decision."))
    return drawn


def _whiskers(exact: bool) -> str:
    return "." if exact else "; whiskers: one standard error."


# comparison ------------------------------------------------------------------------------------------


def _comparison(comparison: Comparison, figure: _Figures) -> dict[str, Any]:
    named = designs_named([study.protocol.rule.design for study in comparison.studies])
    compared = any("correct_selection" in found for found in comparison.scenarios[0].differences)
    measure, told = ("correct_selection", "Correct selection") if compared else ("patients", "Participants")
    apart = {
        scenario.name: {
            named[position]: found[measure]
            for position, found in enumerate(scenario.differences, 1)
            if measure in found
        }
        for scenario in comparison.scenarios
    }
    title = f"{told} minus that of {named[0]}"
    grid = comparison.studies[0].protocol.grid
    scenarios = []
    for place, scenario in enumerate(comparison.scenarios):
        rows = []
        for key in scenario.names:
            cells = [number(measures[key], 4) if key in measures else "" for measures in scenario.measures]
            gaps = ["", *(difference_text(found.get(key)) for found in scenario.differences)]
            rows.append((key, COMPARED.get(key, key), list(zip(cells, gaps, strict=True))))
        sides = _sides(comparison, place, named)
        drawn = []
        if place < _SCENARIOS_DRAWN:
            mtd = comparison.simulations[0].scenarios[place].characteristics.true_mtd
            chart = selection_side_by_side(grid, sides, mtd, height=140)
            drawn = [
                figure(chart, "Share of trials that select each regimen; ★ true MTD; whiskers: one standard error.")
            ]
        scenarios.append(
            {
                "name": scenario.name,
                "truth": " / ".join(" ".join(f"{p:.4g}" for p in row) for row in grid.matrix(scenario.truth)),
                "rows": rows,
                "best": number(scenario.benchmark.correct_selection),
                "participants": scenario.benchmark.participants,
                "figures": drawn,
            }
        )
    return {
        "how": comparison_how(comparison),
        "entries": [
            {"name": name, "study": study, "steps": study.protocol.rule.steps(), "notices": study.notices}
            for name, study in zip(named, comparison.studies, strict=True)
        ],
        "figure": figure(
            differences(apart, title, share=compared), f"{title}: two paired standard errors to either side; pale: ~."
        ),
        "scenarios": scenarios,
    }


def _sides(comparison: Comparison, place: int, named: Sequence[str]) -> dict[str, Any]:
    found = [run.scenarios[place].characteristics for run in comparison.simulations]
    return {name: (c.selection, c.selection_mcse, c.no_selection.value) for name, c in zip(named, found, strict=True)}


def difference_text(found: Difference | None, digits: int = 4) -> str:
    """A paired difference with its standard error, marked ~ when it is not distinguished from none."""
    if found is None or np.isnan(found.difference):
        return ""
    return f"{'' if found.distinguished else '~'}{found.difference:+.{digits}f} ({found.mcse:.{digits}f})"
