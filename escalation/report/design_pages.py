"""Reference pages of the designs, written from what the code says of itself.

A page is the module's documentation, the parameters with their defaults and meaning, the decision table where
the design has one, and the catalogue of reasons. ``escalation designs --pages FOLDER`` writes them.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticUndefined

from escalation.design import Design, Parameters, Setting
from escalation.errors import EscalationError
from escalation.regimens import RegimenGrid
from escalation.registry import design_class, design_names

_TABLE_COLUMNS = (3, 6, 9, 12, 15, 18)
"""Numbers evaluable of the printed decision table: cohorts of three."""


def write_pages(folder: Path) -> tuple[Path, ...]:
    """Write the page of every registered design into a folder; returns the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name in design_names():
        files.append(folder / f"{name}.md")
        files[-1].write_text(page_of(name), encoding="utf-8")
    return tuple(files)


def page_of(name: str) -> str:
    """The reference page of a registered design, as Markdown."""
    cls = design_class(name)
    module = sys.modules[cls.__module__]
    parts = [
        f"# {cls.title}\n",
        f"`name: {name}`. {cls.citation}.\n",
        _markdown(module.__doc__ or "", cls.__module__),
        "## Parameters\n",
        _parameters(cls.Parameters),
        _decision_table(cls),
        "## Reasons\n",
        _reasons(cls),
    ]
    return "\n".join(part for part in parts if part)


def _markdown(text: str, module: str) -> str:
    """A module's documentation as Markdown: sections, literal blocks and examples."""
    text = re.sub(r"^(\w[\w ]*)\n-{3,}$", r"## \1\n", text.strip(), flags=re.MULTILINE)
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    text = re.sub(
        r"::\n\n((?: {4}.*\n|\n)+?)(?=\S)", lambda m: f":\n\n```text\n{_dedented(m[1])}\n```\n\n", text + "\n"
    )
    head, references, rest = text.partition("## References\n")
    if references:
        listed, blank, after = rest.lstrip("\n").partition("\n\n")
        rest = "\n" + re.sub(r"^(?=\S)", "- ", listed.strip(), flags=re.MULTILINE) + "\n" + blank + after.lstrip("\n")
    lines, inside, imported = [], False, False
    for line in (head + references + rest).splitlines():
        if line.startswith(">>>") and not inside:
            lines.append("```python")
            if not imported and f"from {module} import" not in text:
                lines.append(f">>> from {module} import *")
            inside = imported = True
        elif inside and not line.strip():
            lines += ["", "```"]
            inside = False
        lines.append(line)
    if inside:
        lines += ["", "```", ""]
    return "\n".join(lines) + ("" if inside else "\n")


def _dedented(block: str) -> str:
    return "\n".join(line[4:] for line in block.rstrip().splitlines())


def _parameters(model: type[Parameters]) -> str:
    schema = model.model_json_schema()
    rows = ["| parameter | values | default | meaning |", "|---|---|---|---|"]
    for key, field in model.model_fields.items():
        default = "required" if field.default is PydanticUndefined else _shown(field.default)
        kind = _kind(schema["properties"][key], schema.get("$defs", {}))
        meaning = (field.description or "").replace("|", "\\|")
        rows.append(f"| `{key}` | {kind} | {default} | {meaning} |")
    return "\n".join(rows) + "\n"


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _kind(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """The values a field takes, in words."""
    if "$ref" in schema:
        return _kind(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    if "anyOf" in schema:
        return ", or ".join(_kind(each, definitions) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    words = {"number": "number", "integer": "whole number", "boolean": "true, false", "string": "text", "null": "null"}
    word = words.get(schema.get("type", ""), "list" if schema.get("type") == "array" else "mapping")
    bounds = [
        f"{sign} {_shown(schema[key])}"
        for key, sign in (("exclusiveMinimum", ">"), ("minimum", "≥"), ("exclusiveMaximum", "<"), ("maximum", "≤"))
        if key in schema
    ]
    return " ".join([word, *([" and ".join(bounds)] if bounds else [])])


def _decision_table(cls: type[Design[Any]]) -> str:
    """The table under the default parameters, empty for designs without one or without defaults."""
    grid = RegimenGrid(doses=(1, 2, 3, 4, 5), schedules=((0,),))
    try:
        setting = Setting(grid, cohort_size=3, start=0, max_patients=max(_TABLE_COLUMNS))
        table = cls(cls.Parameters(), setting).table()
    except (ValidationError, EscalationError):
        return ""
    if table is None:
        return ""
    shown = [(position, n) for position, n in enumerate(table.n) if n in _TABLE_COLUMNS]
    rows = [
        f"| {' | '.join(['evaluable at the level', *(str(n) for _, n in shown)])} |",
        "|---" * (len(shown) + 1) + "|",
    ]
    for title, column in (
        ("escalate if DLTs at most", table.escalate_if_at_most),
        ("de-escalate if DLTs at least", table.de_escalate_if_at_least),
        ("eliminate if DLTs at least", table.eliminate_if_at_least),
    ):
        limits = ["never" if column[position] is None else str(column[position]) for position, _ in shown]
        rows.append(f"| {' | '.join([title, *limits])} |")
    head = "## Decision table\n\nWith the default parameters; `escalation table STUDY` prints a study's own.\n\n"
    return head + "\n".join(rows) + "\n"


def _reasons(cls: type[Design[Any]]) -> str:
    found = []
    for reason in cls.reasons:
        ends = f" Ends the trial (`{reason.stop}`)." if reason.stop else ""
        found.append(f"- `{reason.code}`: **{reason.line}**{ends} {reason.paragraph}")
    return "\n".join(found) + "\n"
