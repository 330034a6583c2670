"""Rules: what is decided and why, the table, the pathways and the proof, as the command line has them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from playwright.sync_api import Page, expect

from tests.e2e.kit import Served, settled, shot


def printed(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "escalation.cli", *arguments, "--json"]
    form: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return form


def show(page: Page, part: str) -> None:
    page.get_by_role("radio", name=part).click()
    settled(page)


def test_the_three_plus_three_is_tapped_from_start_to_decision(page: Page, served: Served) -> None:
    page.goto(f"{served.url}/rules?study=textbook-5-doses")
    settled(page)
    say = page.get_by_role("status").filter(has_text="level")
    for button, outcomes in (("N: no DLT", "1N"), ("N: no DLT", "1NN"), ("T: DLT", "1NNT")):
        page.get_by_role("button", name=button).click()
        expect(page.get_by_role("textbox", name="The trial so far")).to_have_value(outcomes)
    form = printed("decide", "textbook-5-doses", "--outcomes", "1NNT")
    expect(say).to_have_text(form["text"])
    expect(page.get_by_text(form["reasons"][0]["code"])).to_be_visible()
    page.get_by_role("button", name="Take back").click()
    expect(page.get_by_role("textbox", name="The trial so far")).to_have_value("1NN")
    page.reload()
    settled(page)
    expect(page.get_by_role("textbox", name="The trial so far")).to_have_value("1NN")
    show(page, "Decision table")
    three = page.get_by_role("row", name="3 E", exact=False).first
    for cell, said in enumerate(("E, escalate", "S, stay", "DU, de-escalate and never return")):
        expect(three.get_by_role("cell").nth(cell)).to_have_text(said)
    shot(page, "rules-three-plus-three")


def test_boin_has_a_broken_property_that_can_be_replayed(page: Page, served: Served) -> None:
    page.goto(f"{served.url}/rules?study=textbook-boin&show=Decision+table")
    settled(page)
    table = printed("table", "textbook-boin")
    six = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="6", exact=True)).last
    at = table["n"].index(6)
    for cell, column in enumerate(("escalate_if_at_most", "de_escalate_if_at_least", "eliminate_if_at_least")):
        expect(six.get_by_role("cell").nth(cell)).to_have_text(str(table[column][at]))
    shot(page, "rules-boin-table")
    show(page, "Safety proof")
    page.get_by_role("button", name="Check every reachable state").click()
    proof = printed("verify", "textbook-boin")
    expect(page.get_by_text(f"{proof['states']:,}", exact=True)).to_be_visible()
    broken = [each for each in proof["properties"] if not each["holds"]]
    expect(page.get_by_text("✗ BROKEN")).to_have_count(len(broken))
    shot(page, "rules-boin-proof")
    page.get_by_role("button", name=f"Replay {broken[0]['counterexample']}").click()
    expect(page.get_by_role("status").filter(has_text="Escalate to level 2")).to_be_visible()


def test_the_contour_grid_has_pathways_with_probabilities(page: Page, served: Served) -> None:
    page.goto(f"{served.url}/rules?study=textbook-grid-3x3&show=Pathways&from=1.1NNN")
    settled(page)
    form = printed("pathways", "textbook-grid-3x3", "--from", "1.1NNN", "--cohorts", "2")
    page.get_by_text("The same as a list").click()
    node = next(each for each in form["nodes"] if each["depth"] == 2)
    listed = page.get_by_role("listitem").filter(has_text=f"probability {node['probability']:.4f}")
    expect(listed.first).to_be_visible()
    expect(page.locator("[data-testid=stVegaLiteChart]")).to_be_visible()
    shot(page, "rules-grid-pathways")


def test_a_design_without_a_table_says_why(page: Page, served: Served) -> None:
    page.goto(f"{served.url}/rules?study=textbook-crm&show=Decision+table")
    settled(page)
    expect(page.get_by_text("decides on more than the counts")).to_be_visible()
    page.get_by_role("button", name="Show the pathways").click()
    expect(page.get_by_text("Cohorts ahead")).to_be_visible()
