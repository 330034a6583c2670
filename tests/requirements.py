"""The table of requirements and the tests that show them: ``python tests/requirements.py`` prints it as Markdown.

A test names its requirement in its own name (``test_situation_07_...``, ``test_gate_g3_...``,
``test_oc_2977_...``), or in a marker: ``@pytest.mark.requirement("conduct-15-07")``. The files are read,
not imported. The exit status is 1 when a requirement has no test.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent

GATES = {
    "G1": "no assignment to a regimen that is not open",
    "G2": "a regimen opens only by a signed decision that precedes the first dosing in it",
    "G3": "the decision rests on a frozen, hashed snapshot",
    "G4": "the snapshot is complete or lists who is pending; critical queries are closed",
    "G5": "the signer holds a valid delegated role",
    "G6": "no eligibility waivers",
    "G7": "the decision is circulated before the next dosing",
}
SITUATIONS = (
    "a decision signed after dosing in the new regimen is blocked",
    "a late DLT leaves the snapshot, triggers a review, suspends the regimen and flags every decision since",
    "a regrading that makes a DLT is proposed for adjudication; the participant is pending",
    "a downgraded DLT keeps its history; the recommendation is computed again; review",
    "a partial date is inside the window until it is resolved",
    "a wrong-patient entry corrected shows in both trails, with its reason",
    "a missed fourth infusion: the evaluability rule applies, the dose stream shows three",
    "an unrelated death is decided by adjudication, not by default",
    "a lot that fails viability is not infused, not by override either",
    "daylight saving time changes neither order nor day numbers",
    "the second of two writers gets a conflict; nothing is lost",
    "a restored backup has the identical hash",
    "replaying the log reproduces the state",
    "a committee that departs: justification and two signatures, the recommendation unchanged",
    "two patients and one place: exactly one succeeds",
    "a user deactivated in mid-session is refused at the next act",
    "an amendment in mid-trial: a new version, earlier decisions keep theirs",
    "an onset on day 28 is in, on day 29 out",
    "a waiver for an ineligible participant is refused",
    "the replay of NCT04014166",
)
ELSEWHERE = {
    "OC-2977": "signing writes an audit entry",
    "OC-376": "right user on a change of verification status",
    "OC-377": "right user on a change of verification status",
    "OC-382": "right user on a change of verification status",
    "OC-545": "right user on double data entry",
    "OC-3177": "no contradictory audit entries from two writers",
    "OC-2979": "no duplicate participant-creation entries",
    "OC-2800": "verification information correct",
    "OC-3679": "audit in chronological order",
    "OC-1205": "exports carry full timestamps and reasons",
    "OC-1141": "full signature stored",
    "OC-30": "time zones",
    "OC-41": "one clock for application and database",
    "OC-220": "the first value is audited",
    "LC-40": "logout events present",
    "OC-1823": "one study's log invisible in another",
    "CLINICEDC": "grade boundaries non-empty and gap-free; dates of events that can be",
}
REQUIREMENTS: dict[str, str] = {
    **{f"conduct-02-{gate}": text for gate, text in GATES.items()},
    **{f"conduct-14-{bug}": text for bug, text in ELSEWHERE.items()},
    **{f"conduct-15-{number:02d}": text for number, text in enumerate(SITUATIONS, 1)},
}
"""Every requirement that must have a test, by its id: section and row of the conduct reference."""


def named(test: str) -> Iterator[str]:
    """The requirements a test names in its own name."""
    if found := re.match(r"test_situation_(\d\d)_", test):
        yield f"conduct-15-{found[1]}"
    if found := re.match(r"test_gate_(g\d)_", test):
        yield f"conduct-02-{found[1].upper()}"
    if found := re.match(r"test_(oc|lc)((?:_\d+)+)_", test):
        yield from (f"conduct-14-{found[1].upper()}-{number}" for number in found[2].split("_")[1:])
    if test.startswith("test_clinicedc_"):
        yield "conduct-14-CLINICEDC"


def marked(test: ast.FunctionDef) -> Iterator[str]:
    """The requirements of a test's markers."""
    for mark in test.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.requirement":
            yield from (str(ast.literal_eval(each)) for each in mark.args)


def collect(folder: Path = TESTS) -> dict[str, list[str]]:
    """Tests by requirement, those without a test included."""
    found: dict[str, list[str]] = {requirement: [] for requirement in REQUIREMENTS}
    for path in sorted(folder.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for requirement in dict.fromkeys([*named(node.name), *marked(node)]):
                    found.setdefault(requirement, []).append(f"{path.relative_to(folder).as_posix()}::{node.name}")
    return found


def table(found: dict[str, list[str]]) -> str:
    """The requirements and their tests in Markdown."""
    lines = ["| requirement | text | tests |", "|---|---|---|"]
    for requirement, tests in sorted(found.items()):
        shown = "<br>".join(f"`{test}`" for test in tests) or "**none**"
        lines.append(f"| {requirement} | {REQUIREMENTS.get(requirement, '')} | {shown} |")
    return "\n".join(lines)


def main() -> int:
    """Print the table; 1 when a requirement has no test."""
    found = collect()
    print(table(found))
    return int(any(not tests for tests in found.values()))


if __name__ == "__main__":
    sys.exit(main())
