"""Twenty browsers on one trial beside a long simulation: nothing is lost or mixed up, and everybody is answered."""

from __future__ import annotations

from uuid import uuid4

from playwright.sync_api import Browser, Page, expect

from escalation.conduct.roles import Role
from escalation.ui.signed_in import COOKIE
from tests.conduct import kit
from tests.e2e.kit import settled, shot
from tests.e2e.ward import Ward, at

BROWSERS = 20
PATIENCE = 150_000
"""Milliseconds: twenty browsers and a simulation share two cores with the other tests."""
PEOPLE = {"ingrid": Role.INVESTIGATOR, "carlos": Role.COORDINATOR}
SIMULATION = "/simulate?study=nct07212335"


def screen(page: Page, code: str) -> None:
    page.get_by_role("textbox", name="Participant code").fill(code)
    page.get_by_role("button", name="Record screening", exact=True).click()


def test_twenty_browsers_and_a_long_simulation(browser: Browser, ward: Ward) -> None:
    served, site = ward
    trial = f"T-MANY-{uuid4().hex[:4]}"  # one of its own, should the story be told again
    for name, role in PEOPLE.items():
        site.delegate(name, role, trial=trial)
    site.conduct.open_trial(site.token("ingrid"), trial, kit.study(), kit.PASSWORD)
    before = site.conduct.ledger.head(trial).seq

    office = browser.new_context().new_page()
    office.set_default_timeout(PATIENCE)
    office.goto(served.url + SIMULATION)
    settled(office)
    office.get_by_role("spinbutton", name="Simulated trials a scenario").fill("100000")
    office.get_by_role("spinbutton", name="Simulated trials a scenario").press("Tab")
    office.get_by_role("button", name="Simulate", exact=True).click()
    expect(office.get_by_role("button", name="Cancel")).to_be_visible(timeout=PATIENCE)

    contexts = [browser.new_context(viewport={"width": 900, "height": 700}) for _ in range(BROWSERS)]
    pages, names = [], []
    for number, context in enumerate(contexts):
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        names.append(list(PEOPLE)[number % len(PEOPLE)])
        token = site.conduct.accounts.sign_in(names[-1], kit.PASSWORD).token
        context.add_cookies([{"name": COOKIE, "value": token, "url": served.url, "httpOnly": True}])
        page.goto(served.url + at("participants", trial=trial), wait_until="commit")
        pages.append(page)
    for page in pages:
        settled(page)

    codes = [f"P{number:03d}" for number in range(1, BROWSERS + 1)]
    for page, code in zip(pages, codes, strict=True):  # every form was read at the same version of the trial
        screen(page, code)
    answered = [0, 0]
    for page, code in zip(pages, codes, strict=True):
        recorded, refused = page.get_by_text("Recorded."), page.get_by_text("Nothing was recorded", exact=False)
        expect(recorded.or_(refused).first).to_be_visible(timeout=PATIENCE)
        while not recorded.count():  # somebody else was first: look, and record again
            answered[1] += 1
            page.reload()
            settled(page)
            screen(page, code)
            expect(recorded.or_(refused).first).to_be_visible(timeout=PATIENCE)
        answered[0] += 1
    assert answered[0] == BROWSERS
    assert answered[1] > 0  # forms read at an older version were refused, not recorded over it

    office.reload()
    settled(office)
    shot(office, "many-simulation")
    if office.get_by_role("button", name="Cancel").count():
        office.get_by_role("button", name="Cancel").click()

    entries = site.conduct.ledger.entries(trial, after=before)
    assert sorted(entry.payload["participant"] for entry in entries) == codes
    assert {entry.type for entry in entries} == {"screened"}
    by = {entry.payload["participant"]: entry.actor for entry in entries}
    assert by == dict(zip(codes, names, strict=True))

    for page in pages:
        page.goto(served.url + at("today", trial=trial), wait_until="commit")
    for page, name in zip(pages, names, strict=True):
        settled(page)
        expect(page.get_by_text(f"({name})")).to_be_visible(timeout=PATIENCE)
        others = [other for other in PEOPLE if other != name]
        assert not any(page.get_by_text(f"({other})").count() for other in others)
        expect(page.get_by_role("row", name=codes[-1])).to_be_visible(timeout=PATIENCE)
    shot(pages[0], "many-dashboard")
    for context in contexts:
        context.close()
    office.context.close()
