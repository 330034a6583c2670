"""Known vulnerabilities of what is installed: asked of a service where one answers, and of a kept list everywhere.

The service (pip-audit) knows every published advisory; where it cannot be reached nothing was audited, and that is
said aloud instead of passing as clean. The list ``advisories.toml`` holds the advisories that were looked up by hand
up to its date: it can show that an installed version is vulnerable, never that one is not.

The exit status is 1 when a version is known to be vulnerable, when the lowest version that ``pyproject.toml`` permits
is, or when what is installed does not meet the requirements.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

HERE = Path(__file__).resolve().parent
PROJECT = "escalation"
SERVICE = (sys.executable, "-m", "pip_audit", "--skip-editable", "--progress-spinner", "off", "-f", "json")
OLD_DAYS = 90
IDENTIFIER = re.compile(r"CVE-\d{4}-\d{4,}|GHSA(-[23456789cfghjmpqrvwx]{4}){3}|PYSEC-\d{4}-\d+")


@dataclass(frozen=True)
class Advisory:
    """A published advisory: the package, its identifier, and the ranges of versions it names."""

    package: str
    identifier: str
    affected: tuple[SpecifierSet, ...]
    text: str

    def concerns(self, package: str, version: str) -> bool:
        """Whether a version is in a range of the advisory."""
        named = canonicalize_name(package) == self.package
        return named and any(each.contains(version, prereleases=True) for each in self.affected)


def read_list(path: Path = HERE / "advisories.toml") -> tuple[date, tuple[Advisory, ...]]:
    """The day the list was last looked through, and its advisories; raises ValueError for one without identifier."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    found = []
    for each in data["advisory"]:
        if not all(IDENTIFIER.fullmatch(name) for name in (each["id"], *each.get("aliases", ()))):
            raise ValueError(f"{path.name}: {each['id']} is no identifier of a published advisory")
        ranges = tuple(SpecifierSet(text) for text in each["affected"])
        if not ranges or not all(ranges):
            raise ValueError(f"{path.name}: {each['id']} names no range of versions")
        found.append(Advisory(canonicalize_name(each["package"]), each["id"], ranges, each["text"]))
    return data["checked"], tuple(found)


def vulnerable(versions: Mapping[str, str], advisories: Iterable[Advisory]) -> list[str]:
    """The packages whose version an advisory names, in words."""
    return [
        f"{package} {version}: {advisory.identifier}, {advisory.text}"
        for advisory in advisories
        for package, version in versions.items()
        if advisory.concerns(package, version)
    ]


def installed() -> dict[str, str]:
    """Version by package, of everything in this environment."""
    return {canonicalize_name(each.metadata["Name"]): each.version for each in distributions()}


def required(pyproject: Path = HERE.parent / "pyproject.toml") -> list[Requirement]:
    """What the project names, with every extra."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {}).values()
    return [Requirement(line) for line in [*project["dependencies"], *(each for extra in extras for each in extra)]]


def floors(requirements: Iterable[Requirement]) -> dict[str, str]:
    """The lowest version that is permitted, by package."""
    bounds = {
        canonicalize_name(each.name): [
            bound.version for bound in each.specifier if bound.operator in (">=", "==", "~=")
        ]
        for each in requirements
    }
    return {name: bound[0] for name, bound in bounds.items() if bound}


def unmet(requirements: Iterable[Requirement]) -> tuple[set[str], list[str]]:
    """Every package that is needed, those that the needed ones need among them, and what is missing or too old."""
    tree: set[str] = set()
    problems: list[str] = []
    waiting = [(PROJECT, "", each) for each in requirements]
    while waiting:
        by, extra, requirement = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        needed = canonicalize_name(requirement.name)
        try:
            found = distribution(needed)
        except PackageNotFoundError:
            problems.append(f"{by} needs {requirement.name}, which is not installed")
            continue
        if not requirement.specifier.contains(found.version, prereleases=True):
            problems.append(f"{by} needs {requirement.name} {requirement.specifier}, {found.version} is installed")
        if needed not in tree or requirement.extras:
            new = {each for each in ("", *requirement.extras) if f"{needed}[{each}]" not in tree}
            tree |= {needed, *(f"{needed}[{each}]" for each in new)}
            waiting += [(needed, each, Requirement(line)) for each in new for line in found.requires or ()]
    return {each for each in tree if "[" not in each}, problems


def ask_service(command: Sequence[str]) -> tuple[int, list[str], list[str], str]:
    """How many packages a service audited, what it found, what it skipped, and why it did not answer if so."""
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        dependencies = json.loads(told.stdout)["dependencies"]
    except (OSError, subprocess.TimeoutExpired) as problem:
        return 0, [], [], str(problem)
    except (ValueError, KeyError, TypeError):
        return 0, [], [], (told.stderr.strip().splitlines() or [f"exit status {told.returncode}, no report"])[-1]
    audited = [each for each in dependencies if "skip_reason" not in each]
    found = [
        f"{each['name']} {each['version']}: {fault['id']}, fixed in {', '.join(fault['fix_versions']) or 'no version'}"
        for each in audited
        for fault in each["vulns"]
    ]
    skipped = [each["name"] for each in dependencies if "skip_reason" in each and each["name"] != PROJECT]
    return len(audited), found, skipped, "" if audited else "no package was found by it"


def main(service: Sequence[str] | None = None, versions: Mapping[str, str] | None = None) -> int:
    """Ask the service and the list, print what each shows; 1 when anything is wrong."""
    service = service or [
        sys.executable,
        "-m",
        "pip_audit",
        "--skip-editable",
        "--progress-spinner",
        "off",
        "-f",
        "json",
    ]
    audited, faults, skipped, silent = ask_service(service)
    if audited:
        print(f"vulnerability service: {audited} packages audited, {len(faults)} vulnerabilities")
        if skipped:
            print(f"WARNING: NOT AUDITED by the service: {', '.join(skipped)}")
    else:
        print("=" * 100)
        print("WARNING: NOTHING WAS AUDITED: no vulnerability service answered.")
        print(f"It said: {silent}")
        print("What follows rests on the kept list alone. Run this where a service can be reached before a release.")
        print("=" * 100)

    checked, advisories = read_list()
    requirements = required()
    tree, problems = unmet(requirements)
    versions = installed() if versions is None else versions
    faults += [f"installed: {each}" for each in vulnerable(versions, advisories)]
    faults += [f"permitted by pyproject.toml: {each}" for each in vulnerable(floors(requirements), advisories)]
    faults += problems
    listed = tree & {each.package for each in advisories}
    print(
        f"kept list of {checked}: {len(advisories)} advisories on {len(listed)} of the {len(tree)} packages "
        f"that {PROJECT} needs; it says nothing about the others, or about what was published later"
    )
    if (age := (date.today() - checked).days) > OLD_DAYS:
        print(f"WARNING: the kept list is {age} days old; look the dependencies through and date it anew")
    for fault in faults:
        print(f"FAULT: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
