"""Study files as plain data: reading YAML, and replacing single values by their path."""

from __future__ import annotations

import io
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from escalation.errors import Fault, StudyError

NOTHING = object()
"""What stands at a path that does not exist, where null would be a value."""
MOST_VALUES: Final = 100_000
"""Values a text may hold; no study has a tenth of them."""


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
    except RecursionError:
        raise StudyError((Fault("", "the text is nested too deeply", "write fewer levels"),), source) from None
    if not isinstance(data, dict):
        raise StudyError((Fault("", "a study is a mapping of keys to values", "start with 'schema: 1'"),), source)
    if _written_out(data) > MOST_VALUES:
        problem = f"with its repeated parts (*) written out the text holds more than {MOST_VALUES:,} values"
        raise StudyError((Fault("", problem, "write the values themselves in place of &name and *name"),), source)
    return data


def _written_out(value: Any) -> int:
    """Values of the data when every repeated part is counted as often as it stands; stops counting past the most."""
    count, left = 0, [value]
    while left and count <= MOST_VALUES:
        here = left.pop()
        count += 1
        left.extend(here.values() if isinstance(here, dict) else here if isinstance(here, list) else ())
    return count


def child_at(here: Any, step: str) -> Any:
    """The value one step down a path: by key, by position, or by the name of a list's entry; NOTHING without."""
    if isinstance(here, dict):
        return here.get(step, NOTHING)
    if isinstance(here, list):
        if step.isdigit() and int(step) < len(here):
            return here[int(step)]
        return next(
            (each for each in here if isinstance(each, dict) and step in (each.get("name"), each.get("guard"))), NOTHING
        )
    return NOTHING


def set_by_hand(data: dict[str, Any], path: str) -> None:
    """A replaced value no longer comes from where the file says: it counts as a placeholder."""
    notes = data.get("sources")
    if not isinstance(notes, dict):
        return
    touched = [key for key in notes if f"{key}.".startswith(f"{path}.") or f"{path}.".startswith(f"{key}.")]
    critical = any(isinstance(notes[key], dict) and notes[key].get("safety_critical") for key in touched)
    below = [key for key in touched if key.startswith(f"{path}.")]
    for key in below:  # what lay below was replaced as a whole
        del notes[key]
    for key in dict.fromkeys([path if key in below else key for key in touched]):
        before = notes.get(key)
        still = bool(before.get("safety_critical")) if isinstance(before, dict) else critical
        notes[key] = {"source": "placeholder", "reference": "set by hand", "safety_critical": still}


def set_value(data: dict[str, Any], override: str, source: str) -> None:
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
        child = child_at(here, step)
        if child in (NOTHING, None) and isinstance(here, dict):
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
    set_by_hand(data, path)


def replace_truth(data: dict[str, Any], text: str, source: str) -> None:
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
    kept = {key: value for key, value in first.items() if key not in ("name", "description", "truth")}
    data["scenarios"] = [{"name": "truth", "truth": rows[0] if len(rows) == 1 else rows, **kept}]
    set_by_hand(data, "scenarios")
