"""Start: from the first page to a first result, and back to one's own studies."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.e2e.kit import Served, settled, shot


def test_one_click_leads_to_a_first_result(page: Page, served: Served) -> None:
    page.goto(served.url)
    settled(page)
    shot(page, "start")
    page.locator(".st-key-card-textbook-boin").get_by_role("button", name="Explore").click()
    expect(page.get_by_role("heading", name="Explore")).to_be_visible()
    expect(page.get_by_text("Correct selection", exact=True)).to_be_visible()
    assert "study=textbook-boin" in page.url


def test_a_browser_remembers_its_own_studies(page: Page, served: Served) -> None:
    page.goto(served.url)
    settled(page)
    page.get_by_role("button", name="New study from the commented template").click()
    expect(page.get_by_text("Valid. Every page works with this study.")).to_be_visible()
    page.wait_for_function("() => (localStorage.getItem('escalation.studies') || '').length > 30")
    mine = page.get_by_role("button", name="My dose-escalation study")
    page.goto(served.url)  # a new session of the same browser
    settled(page)
    expect(mine).to_be_visible()
    mine.click()
    expect(page.get_by_role("heading", name="Study")).to_be_visible()
    settled(page)
    expect(page.get_by_role("textbox", name="Title")).to_have_value("My dose-escalation study")


def test_the_first_page_reads_on_a_phone(page: Page, served: Served) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto(served.url)
    settled(page)
    expect(page.get_by_role("heading", name="Registered trials")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    shot(page, "start-phone")
