"""Simulate and Compare: a result that outlives the page, a trial stepped through, a report that stands alone."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.e2e.kit import SCREENSHOTS, Served, settled, shot


def number(page: Page, name: str, value: int) -> None:
    """Type a number as people do."""
    field = page.get_by_role("spinbutton", name=name)
    field.fill(str(value))
    field.press("Enter")
    settled(page)


def test_a_preset_is_simulated_and_one_trial_stepped_through(page: Page, served: Served) -> None:
    page.goto(f"{served.url}/simulate?study=nct07212335")
    settled(page)
    number(page, "Simulated trials a scenario", 30)
    page.get_by_role("button", name="Simulate", exact=True).click()
    expect(page.get_by_role("heading", name="One simulated trial")).to_be_visible(timeout=40_000)
    settled(page)
    assert "run=" in page.url
    expect(page.get_by_role("row", name=re.compile("^T1-drop-out")).first).to_be_visible()
    expect(page.get_by_text("Monte Carlo standard errors in parentheses").last).to_be_visible()
    shot(page, "simulate-result")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="Participant 1 is enrolled")).to_be_visible()
    page.get_by_role("button", name="Next decision").click()
    expect(page.get_by_role("status").filter(has_text="Decision: the trial")).to_be_visible()
    expect(page.get_by_text("Why:").first).to_be_visible()
    slider = page.get_by_role("slider", name="Event")
    before = int(slider.input_value())
    page.get_by_role("button", name="Next", exact=True).click()
    expect(slider).to_have_value(str(before + 1))
    shot(page, "simulate-trial-stepped")


def test_a_reload_in_the_middle_loses_nothing_and_a_run_can_be_cancelled(page: Page, served: Served) -> None:
    page.goto(f"{served.url}/simulate?study=textbook-frequency")
    settled(page)
    number(page, "Simulated trials a scenario", 100_000)
    page.get_by_role("button", name="Simulate", exact=True).dblclick()
    cancel = page.get_by_role("button", name="Cancel")
    expect(cancel).to_be_visible()
    address = page.url
    page.reload()
    expect(cancel).to_be_visible()
    expect(page.get_by_text("100,000 trials a scenario")).to_be_visible()
    expect(page.get_by_text(re.compile(r"\d of [\d,]+ trials"))).to_be_visible(timeout=30_000)
    assert page.url == address
    shot(page, "simulate-progress")
    cancel.click()
    expect(page.get_by_text("Cancelled before it was finished")).to_be_visible()
    page.reload()
    expect(page.get_by_text("Cancelled before it was finished")).to_be_visible()
    expect(page.get_by_role("button", name="Run it again")).to_be_visible()
    shot(page, "simulate-cancelled")


def test_three_designs_are_compared_and_the_report_stands_alone(page: Page, served: Served, tmp_path: Path) -> None:
    page.goto(f"{served.url}/compare?study=textbook-5-doses")
    settled(page)
    number(page, "Common simulated trials a scenario", 200)
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("heading", name="Take away")).to_be_visible(timeout=40_000)
    settled(page)
    benchmark = page.get_by_role("row", name=re.compile("^Optimal benchmark"))
    expect(benchmark).to_be_visible()
    shot(page, "compare-result")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Report (HTML)").click()
    report = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(report)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    expect(page.get_by_role("heading", name="Designs compared")).to_be_visible()
    assert asked == [report.as_uri()], "the report loads nothing from elsewhere"
    assert page.locator("figure svg").count() >= 2
    page.screenshot(path=SCREENSHOTS / "compare-report.png", full_page=True)
