"""The three families of studies, and what a study of each must hold.

``escalation`` chooses among regimens. ``single_arm`` gives one regimen to one group, watches its toxicity and may test
its response. ``two_arm`` randomises between that regimen and a control and compares the responses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from escalation import response, two_groups
from escalation.characteristics import Estimate
from escalation.errors import DesignError, Fault
from escalation.registry import design_class
from escalation.results import TrialRows
from escalation.scenario import Scenario
from escalation.tally import Floats

if TYPE_CHECKING:
    from escalation.study import Study

Family = Literal["escalation", "single_arm", "two_arm"]


def family_faults(study: Study) -> list[Fault]:
    """Parts of a study that its family does not have, or lacks."""
    found = _design_faults(study)
    if study.family == "escalation":
        if study.response is not None:
            found.append(_unused("response", study, "an escalation is judged by its DLTs"))
    elif study.protocol.expansion is not None:
        found.append(_unused("protocol.expansion", study, "nothing is selected that could be expanded"))
    if study.family != "two_arm" and study.groups is not None:
        found.append(_unused("groups", study, "there are no groups to compare"))
    if study.family == "two_arm":
        found += _group_faults(study)
    for position, scenario in enumerate(study.scenarios):
        found += _scenario_faults(study, f"scenarios.{position}", scenario)
    return found


def _unused(path: str, study: Study, why: str) -> Fault:
    return Fault(path, f"it is not used in a study of the family {study.family}", f"{why}; remove it")


def _design_faults(study: Study) -> list[Fault]:
    name = study.protocol.design.get("name")
    try:
        design = design_class(str(name))
    except DesignError:
        return []  # said already
    if design.chooses_regimen == (study.family == "escalation"):
        return []
    if design.chooses_regimen:
        problem = f"{name} escalates, and a study of the family {study.family} gives one regimen"
        return [Fault("protocol.design.name", problem, "use toxicity_monitor, or set family: escalation")]
    problem = f"{name} watches one regimen and does not escalate"
    return [Fault("protocol.design.name", problem, "choose a design that escalates, or set family: single_arm")]


def _group_faults(study: Study) -> list[Fault]:
    found = [
        Fault(path, "a study of two groups needs it", remedy)
        for path, part, remedy in (
            ("groups", study.groups, "add participants, ratio, control and treatment"),
            ("response", study.response, "add day, null and target; only response is compared"),
        )
        if part is None
    ]
    if study.groups is None:
        return found
    _, treatment = study.groups.sizes
    ratio = f"{study.groups.ratio[0]}:{study.groups.ratio[1]}"
    if study.groups.participants % sum(study.groups.ratio):
        problem = f"{study.groups.participants} participants cannot be divided {ratio}"
        found.append(Fault("groups.participants", problem, "change the number or the ratio"))
    elif study.protocol.max_patients != treatment:
        problem = f"{study.groups.participants} participants divided {ratio} put {treatment:g} into the treatment group"
        found.append(Fault("protocol.max_patients", problem, f"set it to {treatment:g}"))
    return found


def _scenario_faults(study: Study, path: str, scenario: Scenario) -> list[Fault]:
    found: list[Fault] = []
    backfill = study.protocol.backfill
    if backfill is not None and backfill.opens == "response" and scenario.responses is None:
        found.append(
            Fault(
                f"{path}.responses",
                "a regimen opens for backfill with a response, and no response probability is assumed",
                "give the response probability of every regimen, or set protocol.backfill.opens: cleared",
            )
        )
    if scenario.responses is not None and study.family != "escalation":
        found.append(_unused(f"{path}.responses", study, "response gives the probability of the one regimen"))
    given = {"response": scenario.response, "control_response": scenario.control_response}
    needed = {"response": study.response is not None, "control_response": study.family == "two_arm"}
    for name, value in given.items():
        if needed[name] and value is None:
            found.append(Fault(f"{path}.{name}", "the study's response needs it", "add the assumed probability"))
        if not needed[name] and value is not None:
            found.append(Fault(f"{path}.{name}", "the study compares no such response", "remove it"))
    return found


def family_warnings(study: Study) -> list[str]:
    """What is allowed but unusual in a study of one regimen."""
    if study.family == "escalation" or study.criteria.mtd_rule == "largest_le":
        return []
    return [
        f"criteria.mtd_rule {study.criteria.mtd_rule} judges a single regimen by its distance from the target; "
        "largest_le calls it right when it is not too toxic"
    ]


def planned_test(study: Study) -> dict[str, float] | None:
    """The response test at the planned size, None without one."""
    if study.response is None:
        return None
    if study.groups is not None:
        return two_groups.planned_test(study.response, study.groups)
    return response.planned_test(study.response, study.protocol.rule.max_patients)


def response_measures(study: Study, scenario: Scenario, rows: TrialRows) -> dict[str, Estimate] | None:
    """The response part of a scenario's operating characteristics, None without a response."""
    if study.response is None or scenario.response is None:
        return None
    if study.groups is not None and scenario.control_response is not None:
        return two_groups.two_groups(rows, study.response, study.groups, scenario.control_response, scenario.response)
    return response.one_group(rows, study.response, scenario.response)


def response_shown(study: Study, scenario: Scenario, rows: TrialRows) -> Floats | None:
    """Probability that each trial shows response, given its course: (T,); None without a response."""
    if study.response is None or scenario.response is None:
        return None
    if study.groups is not None and scenario.control_response is not None:
        return two_groups.shown(rows, study.response, study.groups, scenario.control_response, scenario.response)
    return response.shown(rows, study.response, scenario.response)


def response_notes(study: Study) -> tuple[str, ...]:
    """What a reader of the response results must know."""
    if study.response is None:
        return ()
    notes = ["DLT and response are taken as independent given the regimen; a trial stopped for toxicity claims nothing"]
    if study.family == "two_arm":
        notes.append("only response is compared: times to progression or death are not simulated")
    return tuple(notes)
