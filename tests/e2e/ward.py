"""A trial site on a clock moved by hand, served to browsers, and somebody at one of them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, expect

from tests.conduct import kit
from tests.e2e.hand_clock import SharedClock
from tests.e2e.kit import Served, settled, sign_in

TRIAL = "NCT07212335"
OTHER = "T-2"
START = datetime(2026, 1, 5, 1, 0, tzinfo=UTC)


class ServedByHand(Served):
    """The front end on a clock that the test moves."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.clock = SharedClock(folder / "clock.txt")
        self.clock.moment = START

    def start(self) -> None:
        self.command = [sys.executable, "-m", "tests.e2e.hand_clock", str(self.clock.file)]
        super().start()


class BrowserSite(kit.Site):
    """The trial site of the conduct tests, on the clock and database of a served front end."""

    def __init__(self, served: ServedByHand) -> None:
        self._shared = served.clock
        super().__init__(served.folder, "nct07212335", trial=TRIAL, zone="Asia/Shanghai", signatures_needed=2)

    @property
    def clock(self) -> Any:
        return self._shared

    @clock.setter
    def clock(self, _: Any) -> None:
        """The clock is the served one."""


Ward = tuple[ServedByHand, BrowserSite]


def at(view: str, participant: str = "", trial: str = TRIAL) -> str:
    return f"/trial?trial={trial}&view={view}" + (f"&participant={participant}" if participant else "")


class Desk:
    """Somebody at a browser, signed in."""

    def __init__(self, browser: Browser | BrowserContext, served: Served, name: str, where: str) -> None:
        self.page = browser.new_page()
        self.page.set_default_timeout(15_000)
        self.page.set_viewport_size({"width": 1400, "height": 1000})
        self.served, self.name = served, name
        sign_in(self.page, served, name, kit.PASSWORD, where)

    def go(self, where: str) -> None:
        self.page.goto(self.served.url + where)
        settled(self.page)

    def choose(self, act: str) -> None:
        self.page.get_by_role("radio", name=act, exact=True).click()
        settled(self.page)

    def fill(self, **values: str) -> None:
        for label, value in values.items():
            named = self.page.get_by_label(label.replace("_", " "))
            self.page.locator("input, textarea").and_(named).first.fill(value)

    def pick(self, group: str, option: str) -> None:
        self.page.get_by_role("radiogroup", name=group).get_by_text(option, exact=True).click()

    def send(self, button: str = "Record") -> None:
        pressed = self.page.get_by_role("button", name=button, exact=True)
        expect(pressed).to_have_count(1)  # a form being redrawn can stand twice for a moment
        pressed.click()
        expect(self.page.get_by_text("Recorded.")).to_be_visible()
        settled(self.page)

    def another(self, button: str = "Record another") -> None:
        self.page.get_by_role("button", name=button, exact=True).click()
        settled(self.page)

    def close(self) -> None:
        self.page.close()
