"""Helpers every test file may use: golden data, studies written in the test, and one tolerance for simulations."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from escalation.characteristics import Judgement, characterise
from escalation.exact import compile_graph
from escalation.results import TrialRows
from escalation.rule import Rule
from escalation.study import Study, validate

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("local", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")

INFUSION_DAYS = ([0], [0, 7], [0, 7, 14], [0, 7, 14, 21])


@pytest.fixture(scope="session")
def golden() -> Callable[[str], list[dict[str, Any]]]:
    """The cases of a file of golden data, by its name without ending."""

    def cases(name: str) -> list[dict[str, Any]]:
        path = Path(__file__).parent / "golden" / f"{name}.json"
        found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cases"]
        return found

    return cases


@pytest.fixture(scope="session")
def study_of() -> Callable[..., Study]:
    """A study from a design and its truth: ``study_of({"name": "boin"}, [.1, .2, .3], max_patients=24)``.

    The truth's shape gives the regimens: a list is a dose axis, rows are frequencies. Further
    keywords are protocol values; ``scenario`` and ``criteria`` go where their names say.
    """

    def build(
        design: dict[str, Any],
        truth: Sequence[Any],
        *,
        scenario: dict[str, Any] | None = None,
        criteria: dict[str, Any] | None = None,
        **protocol: Any,
    ) -> Study:
        rows = [list(row) for row in truth] if isinstance(truth[0], list | tuple) else [list(truth)]
        regimens = {
            "doses": [10 * (level + 1) for level in range(len(rows[0]))],
            "frequencies": list(INFUSION_DAYS[: len(rows)]),
        }
        return validate(
            {
                "schema": 1,
                "id": "test",
                "title": "A study written in a test",
                "protocol": {"regimens": regimens, "design": design, **protocol},
                "criteria": criteria or {},
                "scenarios": [{"name": "assumed", "truth": rows, **(scenario or {})}],
            }
        )

    return build


@pytest.fixture(scope="session")
def exact_rows() -> Callable[[Rule, Sequence[float]], TrialRows]:
    """The exact engine's rows of a rule under a truth."""

    def rows(rule: Rule, truth: Sequence[float]) -> TrialRows:
        return TrialRows.exact(compile_graph(rule), np.asarray(truth, dtype=float).reshape(-1))

    return rows


@pytest.fixture(scope="session")
def agree() -> Callable[..., None]:
    """Assert that simulated rows have the law of exact rows, within 4 standard errors on every characteristic.

    The standard errors are those of the exact law. A share so small that the simulation holds hardly
    a trial of it is far from normal, so one and a half trials are allowed beside them.
    """

    def columns(rows: TrialRows, rule: Rule) -> dict[str, np.ndarray]:
        found = {"no_selection": ~rows.selected.any(axis=1), "total": rows.total, "total_dlt": rows.total_dlt}
        found |= {"expansion_n": rows.expansion_n, "expansion_dlt": rows.expansion_dlt, "withdrawn": rows.withdrawn}
        for k in range(rule.grid.size):
            level = rule.grid.level(k)
            found[f"selected {level}"] = rows.selected[:, k]
            found[f"n {level}"] = rows.n[:, k]
            found[f"dlt {level}"] = rows.dlt[:, k]
            found[f"n squared {level}"] = (
                rows.n[:, k].astype(float) ** 2
            )  # numbers that go together show in their spread
        for position, reason in enumerate(rule.reasons):
            found[reason.code] = rows.reason == position
        return {name: np.asarray(values, dtype=float) for name, values in found.items()}

    def check(simulated: TrialRows, exact: TrialRows, rule: Rule, *, only: str = "") -> None:
        assert simulated.trials is not None
        assert exact.trials is None
        expected, observed = columns(exact, rule), columns(simulated, rule)
        wrong = {}
        for name in expected:
            if only and not name.startswith(only):
                continue
            mean = float(exact.weight @ expected[name])
            sd = float(np.sqrt(max(exact.weight @ (expected[name] - mean) ** 2, 0.0)))
            found = float(observed[name].mean())
            allowed = 4 * sd / np.sqrt(simulated.trials) + 1.5 / simulated.trials
            if abs(found - mean) > allowed:
                wrong[name] = (found, mean, allowed)
        assert not wrong, wrong

    return check


@pytest.fixture(scope="session")
def characteristics_of(exact_rows):
    """Exact operating characteristics of a study's first scenario."""

    def of(study: Study):
        scenario = study.scenarios[0]
        truth = study.truth(scenario).probability
        judgement = Judgement(study.target, study.criteria.mtd_rule)
        return characterise(exact_rows(study.protocol.rule, truth), study.protocol.rule, truth, judgement)

    return of
