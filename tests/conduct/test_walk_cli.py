"""A first trial walked by hand, start to signed escalation; the page of live conduct shows nothing else."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from escalation import trial_cli_shared
from escalation.conduct.installation import open_conduct
from escalation.conduct.invented import HandClock

from .kit import fast
from .walk import Walk, squeezed

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "conduct.md"


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    clock = HandClock(datetime(2026, 3, 2, tzinfo=UTC))

    def opened(database, *, create=False, clock=clock):
        return open_conduct(database, create=create, clock=clock or own, passwords=fast())

    own = clock
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(trial_cli_shared, "open_service", opened)
        walk = Walk(tmp_path_factory.mktemp("walk"), clock)
        walk.run((HERE / "walk_nct07212335.txt").read_text(encoding="utf-8"))
        yield walk


def test_the_walk_prints_what_its_transcript_says(walked):
    """The transcript itself asserts; here: it went all the way, and every kind of act was typed."""
    typed = {command.split()[2] for command in walked.commands}
    assert {"init", "open", "infusion", "left", "not-evaluable", "propose-dlt", "adjudicate", "sign"} <= typed
    assert {"snapshot", "recommend", "committee", "circulate", "complete", "visit", "verify", "audit"} <= typed


def test_the_page_shows_commands_of_the_walk_and_what_they_print(walked):
    """A line of the page after ``$`` was typed in the walk, cut where the page says ``...``."""
    page = PAGE.read_text(encoding="utf-8")
    section = page.split("## A first trial")[1].split("\n## ")[0]
    shown = re.findall(r"^\$ (.*)$", section, re.MULTILINE)
    assert len(shown) > 15
    for line in shown:
        start = squeezed(line.removesuffix("..."))
        assert any(squeezed(command).startswith(start) for command in walked.commands), line
    said = [line for block in re.findall(r"```text\n(.*?)```", section, re.DOTALL) for line in block.splitlines()]
    for line in said:
        if line and not line.startswith(("$", "#")):
            assert any(squeezed(line.removesuffix("...")) in squeezed(each) for each in walked.outputs), line
