"""Study: a study is edited, meets its validation, is mended, saved, and validates on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlparse

from playwright.sync_api import Page, expect

from escalation.study import load, read_text
from tests.e2e.kit import Served, settled, shot


def enter(page: Page, role: str, name: str, value: str) -> None:
    """Change an entry and wait until the address names the changed text."""
    field, before = page.get_by_role(role, name=name, exact=True), page.url
    field.fill(value)
    field.press("Enter" if role != "textbox" else "Tab")
    page.wait_for_url(lambda url: url != before)
    settled(page)


def saved(page: Page, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save file").click()
    file = folder / waiting.value.suggested_filename
    waiting.value.save_as(file)
    return file


def validated(file: Path) -> dict[str, object]:
    command = [sys.executable, "-m", "escalation.cli", "validate", str(file), "--json"]
    printed = subprocess.run(command, capture_output=True, check=True, text=True)
    form: dict[str, object] = json.loads(printed.stdout)
    return form


def test_a_fault_is_met_survives_a_reload_and_is_mended(page: Page, served: Served, tmp_path: Path) -> None:
    page.goto(f"{served.url}/study?study=textbook-boin&part=Design")
    settled(page)
    assert saved(page, tmp_path).read_text() == read_text("textbook-boin")[0]
    assert load(str(tmp_path / "textbook-boin.yaml")).hash == load("textbook-boin").hash

    enter(page, "spinbutton", "Max patients", "2")
    faults = page.get_by_role("list", name="Things to mend")
    expect(faults).to_contain_text("protocol.max_patients")
    expect(faults).to_contain_text("raise it to 3 or more")
    address = parse_qs(urlparse(page.url).query)
    assert address["study"] == ["textbook-boin"], "a faulty draft is not put in hand"

    page.reload()
    settled(page)
    expect(faults).to_contain_text("raise it to 3 or more")
    expect(page.get_by_role("spinbutton", name="Max patients")).to_have_value("2")
    shot(page, "study-faulty")

    enter(page, "spinbutton", "Max patients", "24")
    expect(page.get_by_text("Valid. Every page works with this study.")).to_be_visible()
    enter(page, "spinbutton", "Target", "0.25")
    file = saved(page, tmp_path)
    form = validated(file)
    page.get_by_text("The same on the command line").click()
    expect(page.get_by_text(str(form["study_hash"]))).to_be_visible()
    before, after = read_text("textbook-boin")[0], file.read_text()
    comments = [line for line in before.splitlines() if line.startswith("#")]
    assert [line for line in after.splitlines() if line.startswith("#")] == comments
    study = load(str(file))
    assert (study.protocol.max_patients, study.protocol.design["target"]) == (24, 0.25)

    page.get_by_role("radio", name="Changes").click()
    settled(page)
    row = page.get_by_role("row", name="protocol.max_patients")
    expect(row).to_contain_text("30")
    expect(row).to_contain_text("24")
    shot(page, "study-changes")


def test_a_faulty_file_is_loaded_with_every_fault_and_mended_as_text(
    page: Page, served: Served, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    text = read_text("textbook-5-doses")[0].replace("cohort_size: 3", "cohort_size: three")
    file.write_text(text.replace("title: ", "titel: "))
    page.goto(f"{served.url}/study?study=textbook-5-doses")
    settled(page)
    page.get_by_text("Load a study file").click()
    page.locator('input[type="file"]').set_input_files(file)
    faults = page.get_by_role("list", name="Things to mend")
    expect(faults).to_contain_text("did you mean 'title'?")
    expect(faults).to_contain_text("'three' is not a whole number")
    page.get_by_role("radio", name="Text").click()
    settled(page)
    field = page.get_by_role("textbox", name="Study file")
    field.fill(text.replace("cohort_size: three", "cohort_size: 4"))
    field.press("Control+Enter")
    expect(page.get_by_text("Valid. Every page works with this study.")).to_be_visible()
    page.get_by_role("link", name="Rules").click()
    expect(page.get_by_role("heading", name="Rules")).to_be_visible()
    settled(page)
    expect(page.get_by_text("Treat 4 participants")).to_be_visible()


def test_scenarios_and_guards_are_written_in_forms(page: Page, served: Served) -> None:
    page.goto(f"{served.url}/study?study=nct07212335&part=Safety")
    settled(page)
    page.get_by_role("button", name="Add stop at n").click()
    expect(page.get_by_role("spinbutton", name="Participants 1")).to_have_value("9")
    page.get_by_role("radio", name="Scenarios").click()
    settled(page)
    enter(page, "textbox", "DLT probabilities, C x4", "0.3")
    expect(page.get_by_text("Valid. Every page works with this study.")).to_be_visible()
    shot(page, "study-scenarios")
    page.get_by_role("radio", name="Changes").click()
    expect(page.get_by_role("row", name="scenarios.T1.truth.table")).to_contain_text("0.3")
    expect(page.get_by_role("row", name="protocol.guards.stop_at_n.n")).to_contain_text("9")
