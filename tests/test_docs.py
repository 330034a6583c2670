"""Documentation that runs: every console block is executed, every command and design has its place."""

from __future__ import annotations

import fnmatch
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from escalation.cli import app
from escalation.registry import design_names
from escalation.report.design_pages import page_named
from escalation.study import preset_names

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"```console\n\$ (escalation [^\n]*)\n(.*?)```", re.DOTALL)


def blocks():
    for page in PAGES:
        for command, expected in BLOCK.findall(page.read_text(encoding="utf-8")):
            yield pytest.param(command, expected, id=f"{page.name}: {command}")


@pytest.mark.parametrize(("command", "expected"), list(blocks()))
def test_a_documented_command_prints_what_the_page_shows(command, expected):
    result = CliRunner().invoke(app, shlex.split(command)[1:])
    assert result.exit_code == 0, result.output
    printed = [line.rstrip() for line in result.stdout.splitlines()]
    at, skipping = 0, False
    for line in expected.rstrip("\n").splitlines():
        if line.strip() == "...":
            skipping = True
            continue
        wanted = line.rstrip()
        while skipping and at < len(printed) and not matches(printed[at], wanted):
            at += 1
        assert at < len(printed), f"not printed: {wanted}"
        assert matches(printed[at], wanted)
        at, skipping = at + 1, False
    assert skipping or at >= len(printed.copy()) or not any(printed[at:])


def matches(printed: str, wanted: str) -> bool:
    """A boxed line is compared up to its text: the box is as wide as its content."""
    if wanted.startswith("│") and not wanted.endswith("│"):
        return printed.startswith(wanted)
    return fnmatch.fnmatchcase(printed, wanted.replace("[", "[[]"))


def test_every_command_has_its_section():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"[a-z]+", " ".join(re.findall(r"^## (.*)$", page, re.MULTILINE))))
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert commands <= headings


def test_every_design_has_its_section():
    page = (ROOT / "docs" / "designs.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^## (\w+)$", page, re.MULTILINE)) == set(design_names())


@pytest.mark.parametrize("name", design_names())
def test_the_page_of_a_design_is_what_the_code_says(name):
    """If this fails after a change to a design: escalation designs --pages docs/designs."""
    page = ROOT / "docs" / "designs" / f"{name}.md"
    assert page.read_text(encoding="utf-8") == page_named(name)


def test_there_is_no_page_without_a_design():
    assert {page.stem for page in (ROOT / "docs" / "designs").glob("*.md")} == set(design_names())


def test_every_preset_is_named_in_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in preset_names() if f"`{name}`" not in readme] == []


def test_yaml_blocks_in_the_study_page_are_valid():
    from escalation.plain_data import parse
    from escalation.study import validate

    page = (ROOT / "docs" / "study-files.md").read_text(encoding="utf-8")
    first, titrated, one_regimen, second = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert validate(parse(one_regimen)).warnings() == ()
    assert validate(parse(titrated)).protocol.rule.reads_grades
    study = validate(parse(first))
    assert study.protocol.grid.shape == (2, 3)
    data = parse(first)
    data["scenarios"][0]["truth"] = parse(second)["truth"]
    validate(data)
