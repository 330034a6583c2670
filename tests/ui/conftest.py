"""Pages run without a browser, in a workspace of their own."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from escalation.ui import runs


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The workspace; workers that are still at it when the test ends are stopped."""
    monkeypatch.setenv("ESCALATION_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("ESCALATION_DATABASE", str(tmp_path / "conduct.sqlite"))
    yield tmp_path
    for process in list(runs._started.values()):
        process.kill()
        process.wait()
    runs._started.clear()


Opener = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def main_stays() -> Iterator[None]:
    """A page run in a test puts itself in the place of the main module, which worker processes would run again."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture
def opened(place: Path) -> Callable[..., AppTest]:
    """A page as somebody who opens an address sees it."""

    def open_page(page: str, **address: str) -> AppTest:
        module = page if page.endswith("_page") else f"{page}_page"
        at = AppTest.from_string(f"from escalation.ui import {module}\n{module}.page()\n", default_timeout=60)
        for name, value in address.items():
            at.query_params[name] = value
        return at.run()

    return open_page


def ended(key: str, seconds: float = 60) -> runs.Run:
    """The run once it is over."""
    for _ in range(int(seconds / 0.05)):
        if not runs.look(key).open:
            return runs.look(key)
        time.sleep(0.05)
    raise AssertionError("the run goes on")


def html_of(at: AppTest) -> str:
    """Everything the page wrote as HTML."""
    return "\n".join(str(each.proto.body) for each in at.get("html"))


def button(at: AppTest, label: str):
    """The button of a label."""
    return next(each for each in at.button if each.label == label)


def address(at: AppTest, name: str) -> str:
    """A value of the page's address."""
    value = at.query_params[name]
    return value if isinstance(value, str) else str(value[0])
