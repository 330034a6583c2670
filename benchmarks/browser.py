"""How fast Explore repaints in a real browser: one press of a slider's key until the page stands still."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.e2e.kit import CHROMIUM, Served, settled, slider

WATCHED = (("textbook-boin", "dose 3"), ("textbook-5-doses", "dose 3"), ("nct05672420", "All regimens"))
WATCH = """
() => {
  const main = document.querySelector('[data-testid=stMain]');
  window.lastChange = 0;
  new MutationObserver(() => { window.lastChange = performance.now(); })
    .observe(main, {subtree: true, childList: true, characterData: true, attributes: true});
  document.addEventListener('keydown', () => { window.pressed = performance.now(); }, true);
}
"""
STILL = """
() => window.lastChange > window.pressed && performance.now() - window.lastChange > 400
  && document.querySelector('[data-testid=stApp]').getAttribute('data-test-script-state') === 'notRunning'
"""


def repaints(page: Page, address: str, name: str, moves: int) -> list[float]:
    """Milliseconds from a key press to the last change of the page, for several presses."""
    page.goto(address)
    settled(page)
    page.wait_for_timeout(3000)
    page.evaluate(WATCH)
    thumb = slider(page, name).first
    thumb.focus()
    found = []
    for move in range(moves):
        thumb.press("ArrowLeft" if move % 2 else "ArrowRight")
        page.wait_for_function(STILL)
        found.append(page.evaluate("window.lastChange - window.pressed"))
    return found


def main() -> None:
    """Print median and slowest repaint."""
    moves = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        served = Served(Path(folder))
        served.start()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        for study, name in (
            ("textbook-boin", "dose 3"),
            ("textbook-5-doses", "dose 3"),
            ("nct05672420", "All regimens"),
        ):
            found = repaints(page, f"{served.url}/explore?study={study}", name, moves)
            print(f"Explore, {study}: median {statistics.median(found):.0f} ms, slowest {max(found):.0f} ms of {moves}")
        browser.close()
        served.stop()


if __name__ == "__main__":
    main()
