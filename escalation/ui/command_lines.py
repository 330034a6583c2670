"""The same on the command line: the command that gives the numbers a page shows."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import streamlit as st

from escalation.errors import EscalationError
from escalation.plain_data import parse, set_by_hand
from escalation.study import Study, preset_names, read_text, validate


def name_of(text: str, study: Study) -> str:
    """How the command line is told of a study: the preset's name, or the file it is saved as."""
    return next((name for name in preset_names() if read_text(name)[0] == text), f"{study.id}.yaml")


def options(request: dict[str, Any], study: Study) -> list[str]:
    """Engine, scenarios, trials and seed as the command line takes them."""
    chosen = [] if len(request["scenarios"]) in (0, len(study.scenarios)) else request["scenarios"]
    listed = [part for name in chosen for part in ("--scenario", name)]
    listed += ["--engine", request["engine"]]
    if request["engine"] != "exact":
        listed += ["--trials", str(request["trials"]), "--seed", str(request["seed"])]
    return listed


def simulate_command(
    request: dict[str, Any], study: Study, *, command: str = "simulate", more: Sequence[str] = ()
) -> str:
    """The command of a simulation."""
    name = name_of(request["studies"][0], study)
    return "escalation " + shlex.join([command, name, *more, *options(request, study)])


def compare_command(request: dict[str, Any], studies: Sequence[Study]) -> str:
    """The command of a comparison; studies that no option of it can make are named as files."""
    first, others = request["studies"][0], list(zip(request["studies"][1:], studies[1:], strict=True))
    named, designs = [name_of(first, studies[0])], []
    made = [under_option(first, study.protocol.rule.design.name) == study.hash for _, study in others]
    in_order = made == sorted(made)  # the command line puts designs after studies
    for (text, study), by_option in zip(others, made, strict=True):
        if by_option and in_order:
            designs.append(study.protocol.rule.design.name)
        else:
            named.append(_named(text, study))
    listed = [part for name in designs for part in ("--design", name)]
    return "escalation " + shlex.join(["compare", *named, *listed, *options(request, studies[0])])


def _named(text: str, study: Study) -> str:
    kept = name_of(text, study)
    return kept if kept in preset_names() else file_name(study)


def file_name(study: Study) -> str:
    """The file a study under another design is saved as."""
    return f"{study.id}-{study.protocol.rule.design.name}.json"


def under_option(text: str, design: str) -> str:
    """Hash of the study that ``--design`` makes of a text; empty when it makes none."""
    data = parse(text, "study")
    data["protocol"]["design"] = {"name": design}
    set_by_hand(data, "protocol.design")
    try:
        return validate(data, "study").hash
    except EscalationError:
        return ""


def shown(*commands: str, note: str = "") -> None:
    """The commands, folded away."""
    with st.expander("The same on the command line"):
        for command in commands:
            st.code(command, language="shell", wrap_lines=True)
        if note:
            st.caption(note)
