"""Pages run without a browser, each with a workspace of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

Opener = Callable[..., AppTest]


def _study() -> None:
    from escalation.ui.study_page import page

    page()


def _rules() -> None:
    from escalation.ui.rules_page import page

    page()


PAGES = {"study": _study, "rules": _rules}


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opener:
    monkeypatch.setenv("ESCALATION_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("ESCALATION_DATABASE", str(tmp_path / "conduct.sqlite"))

    def open_(page: str, **address: str) -> AppTest:
        app = AppTest.from_function(PAGES[page], default_timeout=30)
        for name, value in address.items():
            app.query_params[name] = value
        app.run()
        assert not app.exception
        return app

    return open_
