"""Study files: a protocol and the scenarios it is judged under, read strictly and whole."""

from __future__ import annotations

import difflib
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from escalation.errors import EscalationError, Fault, StudyError
from escalation.protocol import Model, Protocol
from escalation.scenario import Scenario
from escalation.truth import BoundTruth, bind

Provenance = Literal["registry", "sibling", "inferred", "placeholder"]


class Source(Model):
    """Where one value of the study comes from."""

    source: Provenance = Field(
        description="registry: in the public record; sibling: from a related trial; inferred: deduced from the "
        "record; placeholder: invented so that the study can run."
    )
    reference: str = Field(default="", description="Quotation or citation.")
    safety_critical: bool = False
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
    overdose_denominator: Literal["actual", "planned"] = "actual"


class Study(Model):
    """A protocol, the criteria it is judged by and the scenarios it is judged under."""

    schema_: Literal[1] = Field(alias="schema", description="Version of this file format.")
    id: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    title: str = Field(min_length=1)
    registry: str = Field(default="", description="Registry number of the trial, when it has one.")
    description: str = ""
    protocol: Protocol
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
        """The study as plain data, every default spelled out."""
        return self.model_dump(mode="json", by_alias=True)

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
        return bind(scenario.truth, self.protocol.grid, self.protocol.dlt_window)

    def warnings(self) -> tuple[str, ...]:
        """What is allowed but unusual, scenario by scenario."""
        found = [
            f"scenario {each.name}: {line}"
            for each in self.scenarios
            for line in each.truth.warnings(self.protocol.grid, self.protocol.dlt_window)
        ]
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


def parse(text: str, source: str = "study") -> dict[str, Any]:
    """Plain data of a study text, by the rules of YAML 1.2 (which include JSON); raises StudyError."""
    reader = YAML(typ="safe", pure=True)  # pure: YAML 1.2, where `no` stays a word and 012 is not octal
    try:
        data = reader.load(io.StringIO(text))
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise StudyError(
            (Fault(where, f"this is not valid YAML: {problem}", "mend the text at this place"),), source
        ) from None
    except ValueError as error:  # a scalar that looks like a date or number but is none
        raise StudyError((Fault("", f"a value cannot be read: {error}", "quote it"),), source) from None
    if not isinstance(data, dict):
        raise StudyError((Fault("", "a study is a mapping of keys to values", "start with 'schema: 1'"),), source)
    return data


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
        _forget_sources(data, "protocol.design")
    for override in overrides:
        _set(data, override, source)
    if truth is not None:
        _replace_truth(data, truth, source)
    return validate(data, source)


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
    except TypeError as error:
        raise StudyError((Fault("", str(error), "quote the value"),), source) from None
    if protocol is not None:
        faults.extend(protocol.faults())
        faults.extend(_scenario_faults(protocol, scenarios))
    if study is not None:
        faults.extend(_name_faults(study))
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


def _scenario_faults(protocol: Protocol, scenarios: Mapping[int, Scenario]) -> list[Fault]:
    found = []
    for position, scenario in scenarios.items():
        try:
            bind(scenario.truth, protocol.grid, protocol.dlt_window)
        except EscalationError as error:
            fault = getattr(error, "fault", None)
            path = f"scenarios.{position}"
            if fault is None:
                found.append(Fault(f"{path}.truth", str(error)))
            else:
                found.append(Fault(f"{path}.{fault.path}", fault.problem, fault.remedy))
    return found


def _name_faults(study: Study) -> list[Fault]:
    names = [each.name for each in study.scenarios]
    return [
        Fault(f"scenarios.{position}.name", f"the name {name!r} is used twice", "give every scenario its own name")
        for position, name in enumerate(names)
        if name in names[:position]
    ]


def _source_faults(study: Study) -> list[Fault]:
    data = study.as_dict()
    found = []
    for path in study.sources:
        here: Any = data
        for step in path.split("."):
            here = _child(here, step)
        if here is None:
            found.append(
                Fault(
                    f"sources.{path}", "no value of the study has this path", "name a value that the study file holds"
                )
            )
    return found


def _child(here: Any, step: str) -> Any:
    if isinstance(here, dict):
        return here.get(step)
    if isinstance(here, list):
        if step.isdigit() and int(step) < len(here):
            return here[int(step)]
        return next(
            (each for each in here if isinstance(each, dict) and step in (each.get("name"), each.get("guard"))), None
        )
    return None


def _forget_sources(data: dict[str, Any], path: str) -> None:
    """A value that was replaced no longer comes from where the file says."""
    notes = data.get("sources")
    if isinstance(notes, dict):
        for key in [key for key in notes if key == path or key.startswith(f"{path}.")]:
            del notes[key]


def _set(data: dict[str, Any], override: str, source: str) -> None:
    """Replace the value at a path, as ``--set PATH=VALUE`` asks."""
    path, separator, text = override.partition("=")
    path = path.strip()
    if not separator or not path:
        raise StudyError(
            (Fault("--set", f"{override!r} is not PATH=VALUE", "for example protocol.max_patients=30"),), source
        )
    value = parse(f"value: {text}" if text.strip() else "value: ''", f"--set {path}")["value"]
    steps = path.split(".")
    here: Any = data
    for depth, step in enumerate(steps[:-1]):
        child = _child(here, step)
        if child is None and isinstance(here, dict):
            child = here[step] = {}
        if not isinstance(child, dict | list):
            place = ".".join(steps[: depth + 1])
            raise StudyError((Fault(f"--set {path}", f"{place} holds no further values", "check the path"),), source)
        here = child
    last = steps[-1]
    if isinstance(here, dict):
        here[last] = value
    elif isinstance(here, list) and last.isdigit() and int(last) < len(here):
        here[int(last)] = value
    else:
        raise StudyError(
            (Fault(f"--set {path}", f"there is no entry {last!r} in this list", "entries count from 0"),), source
        )
    _forget_sources(data, path)


def _replace_truth(data: dict[str, Any], text: str, source: str) -> None:
    """Put one scenario of the given probabilities in place of the study's scenarios; accrual stays the first one's."""
    rows = []
    for row in text.split("/"):
        try:
            rows.append([float(number) for number in row.replace(",", " ").split()])
        except ValueError:
            raise StudyError(
                (Fault("--truth", f"{row.strip()!r} is not a row of numbers", 'write for example ".05 .15 .30"'),),
                source,
            ) from None
    listed = data.get("scenarios")
    first = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], dict) else {}
    kept = {key: first[key] for key in ("accrual", "held", "screen_failure", "drop_out") if key in first}
    data["scenarios"] = [{"name": "truth", "truth": rows[0] if len(rows) == 1 else rows, **kept}]
    _forget_sources(data, "scenarios")


_WORDS = {
    "missing": ("this value is missing", "add it"),
    "int_type": ("{input} is not a whole number", "write a whole number without quotes"),
    "int_from_float": ("{input} is not a whole number", "write a whole number"),
    "float_type": ("{input} is not a number", "write a number without quotes"),
    "string_type": ("{input} is not text", "put it in quotes"),
    "bool_type": ("{input} is not true or false", "write true or false"),
    "tuple_type": ("{input} is not a list", "write a list, for example [1, 2]"),
    "dict_type": ("{input} is not a mapping", "write keys and values below it"),
    "model_type": ("{input} is not a mapping", "write keys and values below it"),
    "finite_number": ("{input} is not a finite number", "write a finite number"),
}


def faults_of(
    error: ValidationError, prefix: tuple[str, ...], model: type[BaseModel], data: Any = None
) -> tuple[Fault, ...]:
    """The faults of a validation error, each with its path in the data and how to mend it."""
    return tuple(_fault(item, prefix, model, data) for item in error.errors(include_url=False))


def _fault(item: Any, prefix: tuple[str, ...], model: type[BaseModel], data: Any) -> Fault:
    kind, place = item["type"], _place(item["loc"], data)
    path = ".".join((*prefix, *place))
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(place[-1], _known_keys(model, place[:-1]), n=1)
        return Fault(path, "this key is unknown", f"did you mean {near[0]!r}?" if near else "remove it")
    if kind in _WORDS:
        problem, remedy = _WORDS[kind]
        return Fault(path, problem.format(input=_shown(item.get("input"))), remedy)
    message = item["msg"].removeprefix("Value error, ")
    if kind == "value_error":
        return Fault(path, message)
    return Fault(path, f"{_shown(item.get('input'))}: {message[0].lower()}{message[1:]}")


def _place(steps: Sequence[str | int], data: Any) -> tuple[str, ...]:
    """A validator's path without the names of alternatives it puts in although the data has no such key."""
    if data is None:
        return tuple(str(step) for step in steps)
    here = data
    kept: list[str] = []
    for position, step in enumerate(steps):
        if step in (here if isinstance(here, dict) else range(len(here)) if isinstance(here, list) else ()):
            here = here[step]
        elif position < len(steps) - 1 or kept[-1:] == [str(step)]:
            continue
        kept.append(str(step))
    return tuple(kept)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _known_keys(model: type[BaseModel], place: Sequence[str]) -> list[str]:
    """Keys that a file may use at a place of a model; the keys of every model inside where it cannot be told."""
    here: Any = model
    for step in place:
        fields = getattr(here, "model_fields", {})
        found = next((f for key, f in fields.items() if step in (key, f.alias)), None)
        annotation = getattr(found, "annotation", None)
        candidate = _inner_model(annotation)
        here = candidate if candidate is not None else here
    fields = getattr(here, "model_fields", {})
    return [field.alias or key for key, field in fields.items()]


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _inner_model(part)
        if found is not None:
            return found
    return None
