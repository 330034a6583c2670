"""The pages and how they are reached; run by Streamlit, from a clone through ``app.py``."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import streamlit as st

PAGES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "": (("start", "Start", ":material/home:"),),
    "Design": (
        ("study", "Study", ":material/description:"),
        ("explore", "Explore", ":material/tune:"),
        ("simulate", "Simulate", ":material/calendar_month:"),
        ("compare", "Compare", ":material/balance:"),
        ("rules", "Rules", ":material/account_tree:"),
    ),
    "Conduct": (
        ("trials", "Trials", ":material/clinical_notes:"),
        ("trial", "Trial", ":material/monitor_heart:"),
    ),
    "Learn": (("teach", "Teach", ":material/school:"),),
}
"""Section of the menu -> pages: module of this package and last part of the address, title, icon."""


def _page(module: str) -> Callable[[], None]:
    def page() -> None:
        import_module(f"escalation.ui.{module}_page").page()

    return page


def page_named(name: str) -> st.Page:
    """A page by the last part of its address, for links to it."""
    listed = {each[0]: each for section in PAGES.values() for each in section}
    _, title, icon = listed[name]
    return st.Page(_page(name), title=title, icon=icon, url_path=name, default=name == "start")


def pages() -> dict[str, list[st.Page]]:
    """The pages as Streamlit knows them, by section."""
    return {section: [page_named(name) for name, _, _ in listed] for section, listed in PAGES.items()}


def main() -> None:
    """Show the page of the address."""
    st.set_page_config(page_title="escalation", page_icon=":material/stairs:", layout="wide")
    st.navigation(pages()).run()


if __name__ == "__main__":
    main()
