"""Signing in as a browser does it: what the cookie is, who may send the form, where it leads, and how it ends."""

from __future__ import annotations

import pytest
from playwright.sync_api import APIRequestContext, BrowserContext, Page, expect

from escalation.conduct.installation import open_conduct
from tests.e2e.kit import Served, settled, shot, sign_in

PASSWORD = "a passphrase long enough"


@pytest.fixture(scope="module")
def ada(served: Served) -> str:
    """The administrator of the served installation."""
    conduct = open_conduct(served.database, create=True)
    if not conduct.ledger.head("installation")[0]:
        conduct.initialise("ada", "Ada Administrator", PASSWORD)
    conduct.ledger.close()
    return "ada"


@pytest.fixture
def request_(context: BrowserContext) -> APIRequestContext:
    return context.request


def post(request: APIRequestContext, served: Served, origin: str, **form: str) -> int:
    answer = request.post(
        f"{served.url}/account/sign-in", form=form, headers={"Origin": origin}, max_redirects=0, timeout=20_000
    )
    return answer.status


def test_the_token_is_kept_where_scripts_cannot_read_it(page: Page, served: Served, ada: str) -> None:
    page.goto(f"{served.url}/account/sign-in")
    shot_of_form = page.get_by_role("heading", name="Sign in")
    expect(shot_of_form).to_be_visible()
    sign_in(page, served, ada, PASSWORD, at="/explore?study=textbook-boin")
    assert page.url.endswith("/explore?study=textbook-boin")
    (cookie,) = [each for each in page.context.cookies() if each["name"] == "escalation_session"]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert "escalation_session" not in page.evaluate("document.cookie")
    settled(page)
    shot(page, "account-signed-in")


def test_a_wrong_password_is_refused_in_words_and_nothing_is_kept(page: Page, served: Served, ada: str) -> None:
    page.goto(f"{served.url}/account/sign-in")
    page.get_by_label("Code name").fill(ada)
    page.get_by_label("Password").fill("not the passphrase")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not right")
    expect(page.get_by_label("Password")).to_have_value("")
    assert not [each for each in page.context.cookies() if each["name"] == "escalation_session"]


@pytest.mark.parametrize(
    "asked", ["https://elsewhere.example/", "//elsewhere.example/", "/\\elsewhere.example", "/account/sign-out", "x"]
)
def test_signing_in_leads_nowhere_else(request_: APIRequestContext, served: Served, ada: str, asked: str) -> None:
    answer = request_.post(
        f"{served.url}/account/sign-in",
        form={"name": ada, "password": PASSWORD, "next": asked},
        headers={"Origin": served.url},
        max_redirects=0,
    )
    assert answer.status == 303
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", "http://localhost:1"])
def test_another_site_cannot_send_the_form(request_: APIRequestContext, served: Served, ada: str, origin: str) -> None:
    assert post(request_, served, origin, name=ada, password=PASSWORD, next="/") == 403
    answer = request_.post(f"{served.url}/account/sign-out", headers={"Origin": origin}, max_redirects=0)
    assert answer.status == 403


def test_what_is_too_long_is_not_read(request_: APIRequestContext, served: Served) -> None:
    assert post(request_, served, served.url, name="x" * 5000, password="y", next="/") == 413


def test_no_page_is_shown_inside_another_site(request_: APIRequestContext, served: Served) -> None:
    for address in ("/", "/account/sign-in"):
        headers = request_.get(f"{served.url}{address}").headers
        assert headers["x-frame-options"] == "SAMEORIGIN"
        assert headers["x-content-type-options"] == "nosniff"
