"""The conduct pages in a test: one person's browser tab on the trial site of the conduct tests."""

from __future__ import annotations

from typing import Any

from streamlit.testing.v1 import AppTest

from tests.conduct import kit


def _trial() -> None:
    from escalation.ui import trial_page

    trial_page.page()


def _trials() -> None:
    from escalation.ui import trials_page

    trials_page.page()


class Screen:
    """A tab in which somebody is signed in; widgets are found by what they are called."""

    def __init__(self, site: kit.Site, name: str, *, page: str = "trial", **address: str) -> None:
        self.site = site
        self.at = AppTest.from_function(_trial if page == "trial" else _trials, default_timeout=60)
        self.at.session_state["conduct_token"] = site.token(name)
        if page == "trial":
            self.at.query_params["trial"] = site.trial
        for key, value in address.items():
            self.at.query_params[key] = value
        self.run()

    def run(self) -> Screen:
        self.at.run()
        assert not self.at.exception, self.at.exception[0].message
        return self

    @property
    def text(self) -> str:
        """Everything the page says."""
        kinds = ("title", "subheader", "markdown", "caption", "error", "warning", "success", "info")
        said = [str(each.value) for kind in kinds for each in getattr(self.at, kind)]
        whole = "\n".join([*said, *(str(each.proto.body) for each in self.at.get("html"))])
        return whole.replace("\\", "")  # of text in which Markdown has nothing to read

    def widget(self, label: str) -> Any:
        kinds = ("text_input", "text_area", "number_input", "date_input", "datetime_input", "selectbox", "radio")
        for kind in (*kinds, "checkbox", "multiselect", "button_group"):
            for each in self.at.get(kind):
                if each.label.replace("\\", "") == label:
                    return each
        raise AssertionError(f"there is no field {label!r}")

    def fill(self, **values: Any) -> Screen:
        for label, value in values.items():
            self.widget(label).set_value(value)
        return self

    def choose(self, label: str, value: Any) -> Screen:
        self.widget(label).set_value(value)
        return self.run()

    def press(self, label: str) -> Screen:
        found = [each for each in self.at.button if each.label == label]
        assert found, f"there is no button {label!r}, only {[each.label for each in self.at.button]}"
        found[0].click()
        return self.run()
