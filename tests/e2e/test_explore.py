"""Explore: an assumed curve is moved and every design answers at once."""

from __future__ import annotations

import json
import subprocess
import sys

from playwright.sync_api import Page, expect

from tests.e2e.kit import Served, set_slider, settled, shot


def test_a_moved_curve_gives_the_numbers_of_the_command_line(page: Page, served: Served) -> None:
    page.goto(f"{served.url}/explore?study=textbook-5-doses")
    settled(page)
    shot(page, "explore")
    set_slider(page, "dose 3", 25.0)
    truth = ".05 .15 .25 .45 .60"
    printed = subprocess.run(
        [sys.executable, "-m", "escalation.cli", "simulate", "textbook-5-doses", "--truth", truth, "--json"],
        capture_output=True,
        check=True,
        text=True,
    )
    expected = json.loads(printed.stdout)["scenarios"][0]
    row = page.get_by_role("row", name="Correct selection (PCS)")
    expect(row).to_contain_text(f"{expected['measures']['correct_selection']:.4f}")
    selected = page.get_by_role("row", name="3+3, this study").first
    for share in expected["selection"][0]:
        expect(selected).to_contain_text(f"{share:.1%}")
    shot(page, "explore-moved")


def test_the_grid_shows_the_contour(page: Page, served: Served) -> None:
    page.goto(f"{served.url}/explore?study=nct05672420")
    settled(page)
    expect(page.get_by_text("bold line: MTD contour")).to_be_visible()
    page.get_by_label("Start from").click()
    page.get_by_role("option", name="Both axes matter").click()
    expect(page.get_by_role("table", name="Assumed DLT")).to_contain_text("30.0%")
    settled(page)
    shot(page, "explore-grid")
