"""A served front end, and what stories in a browser share."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

from playwright.sync_api import Locator, Page, expect

CHROMIUM = next(
    (p for p in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome") if Path(p).exists()), None
)
expect.set_options(timeout=20_000)  # a machine busy with the other tests redraws slowly

SCREENSHOTS = Path(os.environ.get("ESCALATION_SCREENSHOTS", "screenshots"))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Served:
    """The front end in a process of its own, with its own workspace and conduct database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = str(folder / "conduct.sqlite")
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self.environment = os.environ | {
            "ESCALATION_WORKSPACE": str(folder / "workspace"),
            "ESCALATION_DATABASE": self.database,
            "ESCALATION_SESSION": str(folder / "sessions.json"),
        }
        self.command = [sys.executable, "-m", "escalation.cli"]
        self._log = (folder / "server.log").open("w")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [*self.command, "app", "--port", str(self.port), "--no-browser"]
        self.process = subprocess.Popen(command, env=self.environment, stdout=self._log, stderr=subprocess.STDOUT)
        for _ in range(240):
            try:
                if urlopen(f"{self.url}/_stcore/health", timeout=1).status == 200:
                    return
            except (URLError, OSError):
                time.sleep(0.25)
            if self.process.poll() is not None:
                break
        raise RuntimeError((self.folder / "server.log").read_text())

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=20)
            self.process = None
            self._log.close()


STILL = """() => {
  const app = document.querySelector('[data-testid=stApp]')
  const idle = app?.getAttribute('data-test-script-state') === 'notRunning'
  const still = idle && !document.querySelector('[data-stale=true]')
  window.stillSince = still ? window.stillSince ?? performance.now() : undefined
  return still && performance.now() - window.stillSince > 200
}"""
"""Whether the page has stood still for a while: a click reaches the server, and comes back, in less."""


def settled(page: Page) -> None:
    """Wait until the script is idle, nothing old is left on the page, and it stays so."""
    page.wait_for_selector("h1")
    page.evaluate("() => { window.stillSince = undefined }")
    page.wait_for_function(STILL)


def shot(page: Page, name: str) -> None:
    """Keep a picture of the whole page for people to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    before = page.viewport_size
    page.set_viewport_size({"width": before["width"], "height": max(int(height) + 20, 700)})
    page.wait_for_timeout(400)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
    page.set_viewport_size(before)


def sign_in(page: Page, served: Served, name: str, password: str, at: str = "/trials") -> None:
    """Sign in on the sign-in page, and go on to a page."""
    page.goto(f"{served.url}/account/sign-in?next={quote(at, safe='')}")
    page.get_by_label("Code name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    settled(page)


def slider(page: Page, name: str) -> Locator:
    """A slider of the page; points of a curve can be moved too, but are not sliders of their own."""
    return page.locator("input[type=range]").and_(page.get_by_role("slider", name=name))


def set_slider(page: Page, name: str, value: float) -> None:
    """Move a slider to a value with the keyboard, as somebody without a mouse does."""
    thumb = slider(page, name)
    thumb.focus()
    while abs(float(thumb.input_value()) - value) > 1e-9:
        thumb.press("ArrowRight" if float(thumb.input_value()) < value else "ArrowLeft")
    page.wait_for_timeout(300)
    settled(page)
