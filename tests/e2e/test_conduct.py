"""Conduct: a trial lived through in the browser, and what keeps its records right."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Browser, expect

from tests.conduct import kit
from tests.e2e.kit import settled, shot
from tests.e2e.ward import OTHER, TRIAL, BrowserSite, Desk, Ward, at


def infusion(desk: Desk) -> None:
    """The bedside form, filled."""
    desk.choose("Infusion")
    desk.fill(**{"Body weight used (kg)": "60", "Cells given (10^6)": "120", "Viability (%)": "92"})
    desk.fill(**{"Lot or bag": "LOT-1", "Release certificate": "CERT-1", "Verified by": "nurse B"})
    desk.send()


def test_from_the_first_consent_to_a_signed_escalation(browser: Browser, ward: Ward) -> None:
    served, site = ward
    context = browser.new_context()
    ingrid = Desk(context, served, "ingrid", at("participants"))
    ingrid.fill(Participant_code="P001")
    ingrid.send("Record screening")
    ingrid.go(at("participants", "P001"))
    ingrid.choose("Consent")
    ingrid.fill(Version_of_the_consent_form="1.0")
    ingrid.send()
    ingrid.another()
    ingrid.choose("Eligibility")
    ingrid.pick("Eligibility as assessed", "eligible")
    ingrid.send()
    ingrid.another()
    ingrid.choose("Assign")
    ingrid.page.get_by_test_id("stFormSubmitButton").get_by_role("button", name="Assign").click()
    expect(ingrid.page.get_by_text("dose level 1, frequency level 1, sentinel")).to_be_visible()
    ingrid.another()
    infusion(ingrid)
    shot(ingrid.page, "conduct-receipt")
    assert site.person("P001").outcome == "pending"

    site.wait(days=14, hours=1)
    site.treat("P002")
    site.wait(days=3)
    site.treat("P003")
    site.wait(days=2)
    ingrid.close()
    ingrid = Desk(context, served, "ingrid", at("participants", "P002"))
    ingrid.choose("Adverse event")
    ingrid.fill(CTCAE_term="Infusion related reaction", **{"Event in the reporter's words": "chills, hypotension"})
    ingrid.pick("CTCAE grade", "3")
    ingrid.pick("Related to the product", "probable")
    ingrid.send()
    ingrid.another()
    ingrid.choose("Propose DLT")
    ingrid.fill(**{"Criterion of the DLT definition": "infusion reaction of grade 3 or more"})
    ingrid.send("Propose")
    assert site.person("P002").outcome == "pending"
    ingrid.go(at("participants", "P003"))
    ingrid.choose("Withdrawal, death, completed")
    ingrid.pick("How the participation ends", "withdrew consent (nothing more is collected)")
    ingrid.fill(Why="moved away")
    ingrid.send()
    ingrid.another()
    ingrid.choose("Not evaluable")
    ingrid.fill(Why="withdrew consent in the window")
    ingrid.send()
    assert site.person("P003").outcome == "not_evaluable"
    ingrid.close()

    maria = Desk(context, served, "maria", "/trials")
    maria.page.get_by_role("link", name=f"Go to {TRIAL}").click()
    expect(maria.page.get_by_text("To do, most urgent first")).to_be_visible()
    maria.page.get_by_role("radio", name="Adjudication", exact=True).click()
    settled(maria.page)
    shot(maria.page, "conduct-adjudication")
    maria.pick("Outcome", "DLT")
    maria.pick("Related to the product", "probable")
    maria.fill(What_was_weighed="Grade 3, within the window, related.", Your_password=kit.PASSWORD)
    maria.send("Sign and record")
    assert site.person("P002").outcome == "dlt"
    maria.close()

    site.wait(days=1)
    site.treat("P004")
    site.complete("P001")
    site.complete("P004")
    assert site.decide()
    for code, days in (("P005", 3), ("P006", 14), ("P007", 3)):
        site.wait(days=days)
        site.treat(code)
    for code in ("P005", "P006", "P007"):
        site.complete(code)

    stefan = Desk(context, served, "stefan", at("decision"))
    stefan.send("Take snapshot")
    stefan.another("Continue")
    stefan.send("Record recommendation")
    stefan.another("Continue")
    expect(stefan.page.locator(".esc-say")).to_contain_text("level 2")
    stefan.close()
    carlos = Desk(context, served, "carlos", at("decision"))
    carlos.fill(Meeting="SRC 2", Attendance="Maria Tester, chair\nChen Tester", What_was_weighed="Data complete.")
    shot(carlos.page, "conduct-committee")
    carlos.send("Record decision")
    for name in ("maria", "chen"):
        member = Desk(context, served, name, at("decision"))
        member.fill(Your_password=kit.PASSWORD)
        member.send("Sign")
        member.close()
    carlos.go(at("decision"))
    carlos.send()
    shot(carlos.page, "conduct-circulated")
    newest = site.state().effective()[-1]
    assert newest.committee.action == "escalate"
    assert {each["user"] for each in newest.signatures} == {"maria", "chen"}
    assert newest.circulated
    carlos.go(at("dashboard"))
    expect(carlos.page.get_by_text("level 2", exact=True)).to_be_visible()
    shot(carlos.page, "conduct-dashboard")
    assert site.verify().ok
    context.close()


# what keeps records right ---------------------------------------------------------------------------


def entries(site: BrowserSite, kind: str) -> list[Any]:
    return [entry for entry in site.conduct.ledger.entries(OTHER) if entry.type == kind]


AGAIN = "() => [...document.querySelectorAll('button')].find(each => each.innerText.trim() === 'Record')?.click()"
"""A second click, unless the button is gone by then."""


def test_a_double_click_writes_one_row(browser: Browser, ward: Ward) -> None:
    served, site = ward
    context = browser.new_context()
    desk = Desk(context, served, "ingrid", at("participants", "P900", OTHER))
    desk.choose("Deviation")
    for gap in (0, 120, 400):
        before = len(entries(site, "deviation"))
        desk.fill(Category="visit", Description=f"with a gap of {gap} ms")
        desk.page.get_by_role("button", name="Record", exact=True).dispatch_event("click")
        desk.page.wait_for_timeout(gap)
        desk.page.evaluate(AGAIN)
        expect(desk.page.get_by_text("Recorded.")).to_be_visible()
        settled(desk.page)
        assert len(entries(site, "deviation")) == before + 1
        desk.another()
        desk.choose("Deviation")
    context.close()


def test_a_stale_tab_is_refused_and_told_what_changed(browser: Browser, ward: Ward) -> None:
    served, site = ward
    context = browser.new_context()
    first = Desk(context, served, "ingrid", at("participants", "P900", OTHER))
    first.choose("Deviation")
    first.fill(Category="visit", Description="typed in the first tab")
    second = Desk(context, served, "carlos", at("participants", "P900", OTHER))
    second.choose("Deviation")
    second.fill(Category="dosing", Description="recorded in the second tab")
    second.send()
    before = len(entries(site, "deviation"))
    page = first.page
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.get_by_text("Nothing was recorded: others have recorded")).to_be_visible()
    row = page.get_by_role("row", name=re.compile("deviation.*P900.*carlos")).first
    expect(row).to_be_visible()
    assert len(entries(site, "deviation")) == before
    shot(page, "conduct-stale")
    page.get_by_role("button", name="I have read it; keep what I entered").click()
    settled(page)
    expect(page.get_by_role("textbox", name="Description").first).to_have_value("typed in the first tab")
    first.send()
    assert entries(site, "deviation")[-1].payload["description"] == "typed in the first tab"
    page.reload()
    settled(page)
    expect(page.get_by_role("row", name=re.compile("typed in the first tab")).first).to_be_visible()
    context.close()


def test_a_role_cannot_act_by_address_and_a_deactivated_session_ends(browser: Browser, ward: Ward) -> None:
    served, site = ward
    context = browser.new_context()
    maria = Desk(context, served, "maria", at("participants", "P900", OTHER))
    expect(maria.page.get_by_role("radio", name="Query", exact=True)).to_be_visible()
    expect(maria.page.get_by_role("radio", name="Consent", exact=True)).to_have_count(0)
    maria.go(at("participants", "", OTHER))
    expect(maria.page.get_by_text("who may not screen")).to_be_visible()
    stefan = Desk(browser.new_context(), served, "stefan", at("dashboard", "", OTHER))
    expect(stefan.page.get_by_text("has no delegation in T-2")).to_be_visible()
    site.conduct.accounts.deactivate("mona", by="admin", reason="left")
    site.conduct.accounts.reactivate("mona", by="admin", reason="came back")
    mona = Desk(browser.new_context(), served, "mona", at("dashboard"))
    expect(mona.page.get_by_text("To do, most urgent first")).to_be_visible()
    site.conduct.accounts.deactivate("mona", by="admin", reason="left the hospital")
    mona.page.get_by_role("radio", name="Participants", exact=True).click()
    expect(mona.page.get_by_text("the account was deactivated")).to_be_visible()
    context.close()
