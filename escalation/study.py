"""Study files: a protocol and the scenarios it is judged under, read strictly and whole."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from escalation.errors import DesignError, EscalationError, Fault, StudyError
from escalation.families import Family, family_faults, family_warnings
from escalation.faults import faults_of
from escalation.plain_data import NOTHING, child_at, parse, replace_truth, set_by_hand, set_value
from escalation.protocol import Model, Protocol, Regimens, parameters_of
from escalation.regimens import RegimenGrid
from escalation.registry import design_class, design_names
from escalation.response import ResponseEndpoint
from escalation.scenario import Scenario
from escalation.truth import BoundTruth, Window, bind
from escalation.two_groups import Groups

Provenance = Literal["registry", "sibling", "inferred", "placeholder"]


class Source(Model):
    """Where one value of the study comes from."""

    source: Provenance = Field(
        description="registry: in the public record; sibling: from a related trial; inferred: deduced from the "
        "record; placeholder: invented so that the study can run."
    )
    reference: str = Field(default="", description="Quotation or citation.")
    safety_critical: bool = Field(default=False, description="Whether a wrong value can harm a participant.")
    alternatives: str = Field(default="", description="Other readings, and the value that selects them.")


class Criteria(Model):
    """How results are judged."""

    target: float | None = Field(
        default=None, gt=0, lt=1, description="Target DLT probability; the design's if left out."
    )
    mtd_rule: Literal["closest", "equal", "largest_le"] = Field(
        default="closest",
        description="Which regimens are the true MTD: closest to the target, equal to it, or the largest not above it.",
    )
    above_margin: float = Field(default=0.0, ge=0, lt=1, description="A regimen is too toxic above target + margin.")
    within: float = Field(default=0.05, gt=0, lt=1, description="Half-width of the band around the target.")
    overdose_denominator: Literal["actual", "planned"] = Field(
        default="actual", description="Whether overdosing is a share of the participants treated or of those planned."
    )


class Study(Model):
    """A protocol, the criteria it is judged by and the scenarios it is judged under."""

    schema_: Literal[1] = Field(alias="schema", description="Version of this file format.")
    id: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    title: str = Field(min_length=1)
    registry: str = Field(default="", description="Registry number of the trial, when it has one.")
    description: str = ""
    family: Family = Field(
        default="escalation",
        description="escalation chooses among regimens; single_arm watches one regimen; two_arm compares it with a "
        "control group.",
    )
    protocol: Protocol
    groups: Groups | None = Field(default=None, description="The two groups of a randomised study.")
    response: ResponseEndpoint | None = Field(default=None, description="Response and its test, beside toxicity.")
    criteria: Criteria = Field(default_factory=Criteria)
    scenarios: tuple[Scenario, ...] = Field(min_length=1)
    sources: dict[str, Source] = Field(default_factory=dict, description="Provenance of single values, by their path.")

    @property
    def target(self) -> float:
        """Target DLT probability results are judged by: the study's, the design's, else 0.30."""
        return self.criteria.target or self.protocol.rule.design.target or 0.30

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the study as it is in force, every default spelled out."""
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """The study as plain data, every default spelled out but those of parts only some families have.

        Leaving these out keeps the hash of a study that has none of them what it was before they existed.
        """
        data = self.model_dump(mode="json", by_alias=True)
        for holder, key, default in (
            (data, "family", "escalation"),
            (data, "groups", None),
            (data, "response", None),
            (data["protocol"], "backfill", None),
            *(
                (each, key, None)
                for each in data["scenarios"]
                for key in ("moderate", "response", "control_response", "responses", "response_day")
            ),
        ):
            if holder[key] == default:
                del holder[key]
        titration = data["protocol"]["titration"]
        if titration is not None and titration["until"] == "first_dlt":
            del titration["moderate_limit"]  # read only where titration ends on moderate toxicities
        return data

    @property
    def placeholders(self) -> tuple[str, ...]:
        """Paths of the safety-critical values that are placeholders."""
        return tuple(
            path for path, note in self.sources.items() if note.safety_critical and note.source == "placeholder"
        )

    @property
    def notices(self) -> tuple[str, ...]:
        """What must be said wherever the study is shown."""
        if not self.placeholders:
            return ()
        return (
            "NOT protocol-complete: safety-critical placeholders in "
            + ", ".join(path.removeprefix("protocol.") for path in self.placeholders)
            + ". Replace them from the approved protocol before any clinical use.",
        )

    def scenario(self, name: str) -> Scenario:
        """The scenario of a name; raises StudyError naming those there are."""
        for each in self.scenarios:
            if each.name == name:
                return each
        names = [each.name for each in self.scenarios]
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise StudyError(
            (Fault("scenario", f"there is no scenario {name!r}", f"{hint}there are: {', '.join(names)}"),), self.id
        )

    def truth(self, scenario: Scenario) -> BoundTruth:
        """A scenario's truth on this study's regimens and window."""
        return bind(scenario.truth, self.protocol.grid, self.protocol.dlt_window, scenario.moderate)

    def warnings(self) -> tuple[str, ...]:
        """What is allowed but unusual, scenario by scenario."""
        found = [
            f"scenario {each.name}: {line}"
            for each in self.scenarios
            for line in each.truth.warnings(self.protocol.grid, self.protocol.dlt_window)
        ]
        found.extend(family_warnings(self))
        aimed = self.protocol.rule.design.target
        if aimed is not None and abs(aimed - self.target) > 1e-9:
            found.append(f"the design aims at {aimed:g}, but results are judged by criteria.target {self.target:g}")
        counts = [len(each.days) for each in self.protocol.regimens.frequencies]
        if any(b < a for a, b in pairwise(counts)):
            found.append("protocol.regimens.frequencies: a higher frequency level has fewer infusions than a lower one")
        return tuple(found)


def preset_names() -> tuple[str, ...]:
    """Names of the studies that come with the package."""
    return tuple(sorted(Path(entry.name).stem for entry in _presets().iterdir() if entry.name.endswith(".yaml")))


def _presets() -> Traversable:
    return files("scenarios")


def read_text(name: str) -> tuple[str, str]:
    """Text and name of a study given as a file or as the name of a preset; raises StudyError."""
    path = Path(name)
    if path.suffix.lower() in {".yaml", ".yml", ".json"} or path.exists():
        try:
            return path.read_text(encoding="utf-8"), str(path)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise StudyError((Fault("", f"the file cannot be read: {reason}", "check the path"),), str(path)) from None
    preset = _presets() / f"{name}.yaml"
    if name not in preset_names():
        near = difflib.get_close_matches(name, preset_names(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise StudyError(
            (
                Fault(
                    "study", f"{name!r} is neither a file nor a preset", f"{hint}presets: {', '.join(preset_names())}"
                ),
            ),
            name,
        )
    return preset.read_text(encoding="utf-8"), name


def load(
    name: str,
    *,
    design: str | None = None,
    overrides: Sequence[str] = (),
    truth: str | None = None,
) -> Study:
    """Read a study.

    Parameters
    ----------
    name
        A file (YAML or JSON) or the name of a preset.
    design
        Use another registered design with its defaults.
    overrides
        ``path=value`` texts that replace single values, for example ``protocol.max_patients=30``.
    truth
        DLT probabilities that replace the scenarios: numbers separated by blanks, grid rows by ``/``.

    Raises
    ------
    StudyError
        With every fault found.
    """
    text, source = read_text(name)
    data = parse(text, source)
    if design is not None and isinstance(data.get("protocol"), dict):
        data["protocol"]["design"] = {"name": design}
        set_by_hand(data, "protocol.design")
    for override in overrides:
        set_value(data, override, source)
    if truth is not None:
        replace_truth(data, truth, source)
    _read_named_files(data, source)
    return validate(data, source)


def _read_named_files(data: dict[str, Any], source: str) -> None:
    """Put the text of files that design parameters name in their place: the study holds all that it depends on."""
    protocol = data.get("protocol")
    design = protocol.get("design") if isinstance(protocol, dict) else None
    if not isinstance(design, dict) or design.get("name") not in design_names():
        return
    for key, field in design_class(design["name"]).Parameters.model_fields.items():
        extra, value = field.json_schema_extra, design.get(key)
        named = isinstance(extra, dict) and "file" in extra and isinstance(value, str) and "\n" not in value.strip()
        if not named or not value:
            continue
        beside = Path(source).parent / value
        try:
            design[key] = (beside if beside.is_file() else Path(value)).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise StudyError(
                (
                    Fault(
                        f"protocol.design.{key}",
                        f"the file {value!r} cannot be read: {reason}",
                        "name a file beside the study, or write its text here",
                    ),
                ),
                source,
            ) from None


def validate(data: Mapping[str, Any], source: str = "study") -> Study:
    """The study of plain data; raises StudyError with every fault found."""
    faults: list[Fault] = []
    study: Study | None = None
    try:
        text = json.dumps(data, allow_nan=True, default=_not_plain)
        study = Study.model_validate_json(text, strict=True)
        protocol: Protocol | None = study.protocol
        scenarios: dict[int, Scenario] = dict(enumerate(study.scenarios))
    except ValidationError as error:
        faults.extend(faults_of(error, (), Study, data))
        protocol, scenarios = _valid_parts(data)
        faults.extend(_faults_despite(data, protocol, scenarios))
    except TypeError as error:
        raise StudyError((Fault("", str(error), "quote the value"),), source) from None
    if protocol is not None:
        faults.extend(protocol.faults())
        faults.extend(_scenario_faults(protocol.grid, protocol.dlt_window, scenarios))
    if study is not None:
        faults.extend(family_faults(study))
        faults.extend(_name_faults(study))
        faults.extend(_grade_faults(study))
        faults.extend(_source_faults(study))
    if faults:
        raise StudyError(tuple(dict.fromkeys(faults)), source)
    assert study is not None
    return study


def _not_plain(value: object) -> object:
    raise TypeError(f"{value!r} is a {type(value).__name__}, not text or a number")


def _valid_parts(data: Mapping[str, Any]) -> tuple[Protocol | None, dict[int, Scenario]]:
    """The parts of a faulty study that are sound by themselves, so that their faults are found too."""

    def sound(model: type[Any], part: Any) -> Any:
        try:
            return model.model_validate_json(json.dumps(part), strict=True)
        except ValidationError:
            return None

    listed = data.get("scenarios")
    parts = enumerate(listed) if isinstance(listed, list) else ()
    scenarios = {position: sound(Scenario, part) for position, part in parts}
    return sound(Protocol, data.get("protocol")), {k: s for k, s in scenarios.items() if s is not None}


def _faults_despite(
    data: Mapping[str, Any], protocol: Protocol | None, scenarios: Mapping[int, Scenario]
) -> list[Fault]:
    """What can be said of design parameters and truths although the protocol around them is faulty."""
    part = data.get("protocol")
    if protocol is not None or not isinstance(part, dict):
        return []
    found: list[Fault] = []
    design = part.get("design")
    if isinstance(design, dict) and isinstance(design.get("name"), str):
        try:
            parameters_of(design)
        except ValidationError as error:
            found.extend(faults_of(error, ("protocol", "design"), design_class(design["name"]).Parameters, design))
        except DesignError as error:
            found.append(error.fault)
    try:
        regimens = Regimens.model_validate_json(json.dumps(part.get("regimens")), strict=True)
        window = Window.model_validate_json(json.dumps(part.get("dlt_window", {})), strict=True)
    except ValidationError:
        return found
    return [*found, *_scenario_faults(regimens.grid(), window, scenarios)]


def _scenario_faults(grid: RegimenGrid, window: Window, scenarios: Mapping[int, Scenario]) -> list[Fault]:
    found = []
    for position, scenario in scenarios.items():
        try:
            bind(scenario.truth, grid, window, scenario.moderate)
            scenario.response_probabilities(grid)
        except EscalationError as error:
            fault = getattr(error, "fault", None)
            path = f"scenarios.{position}"
            if fault is None:
                found.append(Fault(f"{path}.truth", str(error)))
            else:
                found.append(Fault(f"{path}.{fault.path}", fault.problem, fault.remedy))
    return found


def _grade_faults(study: Study) -> list[Fault]:
    """Scenarios that assume no moderate toxicities although the protocol reads them."""
    titration = study.protocol.titration
    if titration is None or not titration.reads_grades:
        return []
    return [
        Fault(
            f"scenarios.{position}.moderate",
            "titration ends on moderate toxicities, and their probabilities are not assumed",
            "give one for every regimen, for example [0.1, 0.15, 0.2], 0 where none are expected",
        )
        for position, scenario in enumerate(study.scenarios)
        if scenario.moderate is None
    ]


def _name_faults(study: Study) -> list[Fault]:
    names = [each.name for each in study.scenarios]
    return [
        Fault(f"scenarios.{position}.name", f"the name {name!r} is used twice", "give every scenario its own name")
        for position, name in enumerate(names)
        if name in names[:position]
    ]


def _source_faults(study: Study) -> list[Fault]:
    data = study.model_dump(mode="json", by_alias=True)
    found = []
    for path in study.sources:
        here: Any = data
        for step in path.split("."):
            here = child_at(here, step)
        if here is NOTHING:
            found.append(
                Fault(
                    f"sources.{path}", "no value of the study has this path", "name a value that the study file holds"
                )
            )
    return found
