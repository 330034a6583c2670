"""Explore: an assumed curve is moved and every design answers at once."""

from __future__ import annotations

import json
import subprocess
import sys

from playwright.sync_api import Page, expect

from tests.e2e.kit import Served, set_slider, settled, shot, slider


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


def drag(page: Page, name: str, to: float) -> None:
    """Drag a point of the curves to a DLT probability, in per cent, as a mouse does."""
    point = page.get_by_role("slider", name=f"Drag {name}", exact=True)
    expect(point).to_be_visible()
    x, y, per_percent = point.evaluate(
        """point => {
          const box = point.querySelector('path').getBoundingClientRect()
          const said = [...point.ownerSVGElement.querySelectorAll('text')]
          const height = label => said.find(each => each.textContent === label).getBoundingClientRect().y
          return [box.x + box.width / 2, box.y + box.height / 2, (height('0%') - height('40%')) / 40]
        }"""
    )
    by = (float(point.get_attribute("aria-valuenow") or 0) - to) * per_percent
    page.mouse.move(x, y)
    page.mouse.down()
    for part in range(1, 11):
        page.mouse.move(x, y + by * part / 10)
    page.mouse.up()
    expect(point).to_have_attribute("aria-valuenow", f"{to:g}")
    settled(page)


def test_a_dragged_point_moves_its_slider_and_every_number(page: Page, served: Served) -> None:
    page.goto(f"{served.url}/explore?study=textbook-5-doses")
    settled(page)
    drag(page, "dose 3", 45)
    expect(slider(page, "dose 3")).to_have_value("45")
    printed = page.get_by_text("The same on the command line")
    printed.click()
    expect(page.get_by_text('--truth "0.05 0.15 0.45 0.45 0.6"')).to_be_visible()
    point = page.get_by_role("slider", name="Drag dose 2")
    point.focus()
    for _ in range(4):
        point.press("ArrowDown")
    expect(page.get_by_text('--truth "0.05 0.13 0.45 0.45 0.6"')).to_be_visible()
    expect(slider(page, "dose 2")).to_have_value("13")
    expect(page.get_by_role("alert")).to_have_count(0)
    shot(page, "explore-dragged")
    page.goto(f"{served.url}/explore?study=nct05672420")
    settled(page)
    drag(page, "4.2", 40)
    page.get_by_role("tab", name="Frequency 2").click()
    expect(slider(page, "D, F2")).to_have_value("40")
    shot(page, "explore-grid-dragged")


def test_the_grid_shows_the_contour(page: Page, served: Served) -> None:
    page.goto(f"{served.url}/explore?study=nct05672420")
    settled(page)
    expect(page.get_by_text("bold line: MTD contour")).to_be_visible()
    page.get_by_label("Start from").click()
    page.get_by_role("option", name="Both axes matter").click()
    expect(page.get_by_role("table", name="Assumed DLT")).to_contain_text("30.0%")
    settled(page)
    shot(page, "explore-grid")
