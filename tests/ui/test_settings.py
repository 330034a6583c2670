"""The settings the pages run under, from a clone and as installed."""

from __future__ import annotations

import tomllib
from pathlib import Path

import escalation.ui

ROOT = Path(__file__).resolve().parents[2]


def test_a_clone_and_an_installation_run_under_the_same_settings():
    packaged = Path(escalation.ui.__file__).with_name(".streamlit") / "config.toml"
    assert packaged.read_text(encoding="utf-8") == (ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8")


def test_nothing_is_sent_anywhere_and_no_traceback_is_shown():
    settings = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    assert settings["browser"]["gatherUsageStats"] is False
    assert settings["client"]["showErrorDetails"] == "none"
    assert settings["server"]["enableXsrfProtection"] is True
