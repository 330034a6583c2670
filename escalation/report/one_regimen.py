"""Tables of a study that gives one regimen: its stopping boundary, its safety monitoring and its response."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby

from rich.table import Table

from escalation import response
from escalation.characteristics import Estimate
from escalation.design import DecisionTable
from escalation.families import planned_test
from escalation.simulate import ScenarioResult
from escalation.study import Study
from escalation.two_groups import Groups

Number = Callable[[Estimate, int], str]

_TESTS = {
    "fisher_mid_p": "Fisher's test with mid-P",
    "fisher": "Fisher's exact test",
    "z_unpooled": "z test with unpooled variance",
}


def groups_line(groups: Groups) -> str:
    """The two groups of a randomised study in one line."""
    first, second = groups.ratio
    return (
        f"{groups.participants} participants randomised {first}:{second} between {groups.control.label} (control) and "
        f"{groups.treatment.label} (treatment); the regimen and its monitoring are the treatment group's"
    )


def response_test_line(study: Study) -> str | None:
    """The response test of a study in one line, None without one."""
    planned, endpoint = planned_test(study), study.response
    if planned is None or endpoint is None:
        return None
    power = f"power {planned['power']:.4f} at {endpoint.target:g}"
    if study.groups is None:
        return (
            f"response test: exact binomial, {planned['critical']} or more of {planned['participants']}; "
            f"level {planned['level']:.4f} at {endpoint.null:g}, {power} (exact, without safety stopping)"
        )
    sizes = f"{planned['control']} in control and {planned['treatment']} in treatment"
    return (
        f"response test: {_TESTS[study.groups.test]}, one-sided {endpoint.level:g}, {sizes}; "
        f"level {planned['level']:.4f} at {endpoint.null:g} in both and at most {planned['level_largest']:.4f} at any "
        f"common probability, {power} against {endpoint.null:g} (exact, without safety stopping)"
    )


def safety_rows(result: ScenarioResult, study: Study, number: Number) -> Iterable[tuple[str, str]]:
    """What one regimen's monitoring does under a scenario."""
    c = result.characteristics
    toxic = "above" if result.truth[0] > study.target + study.criteria.above_margin + 1e-9 else "not above"
    yield "true DLT probability", f"{result.truth[0]:.4g}, {toxic} the limit {study.target:g}"
    out = "trial.accrual_ended" in c.stop_reasons
    yield "stopped for toxicity" + (" or out of participants" if out else ""), number(c.no_selection, 4)
    yield "complete", number(Estimate(float(c.selection[0]), None if c.exact else c.no_selection.mcse), 4)


def response_rows(result: ScenarioResult, study: Study, number: Number) -> Iterable[tuple[str, str]]:
    """What the response test shows under a scenario."""
    if result.response is None:
        return
    scenario = study.scenario(result.name)
    control = "" if scenario.control_response is None else f", control {scenario.control_response:g}"
    yield "true response probability", f"{scenario.response:g}{control}"
    for name, (title, _) in response.MEASURES.items():
        if name in result.response:
            yield title, number(result.response[name], 4 if "shown" in name else 2)


def stopping_table(table: DecisionTable) -> Table:
    """The stopping boundary in ranges of the number evaluable."""
    printed = Table(box=None, pad_edge=False, header_style="bold")
    printed.add_column("evaluable", justify="right")
    printed.add_column("stop if at least", justify="right")
    for limit, group in groupby(zip(table.n, table.eliminate_if_at_least, strict=True), key=lambda pair: pair[1]):
        sizes = [n for n, _ in group]
        span = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        printed.add_row(span, "never" if limit is None else f"{limit}")
    return printed
