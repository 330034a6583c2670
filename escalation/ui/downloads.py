"""Results to take away: report, tables, records, figures, study files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import streamlit as st

from escalation.compare import Comparison
from escalation.report.charts.style import png, svg
from escalation.report.frames import csv_archive, excel, json_text
from escalation.simulate import Simulation


@dataclass(frozen=True, slots=True)
class Files:
    """What a result can be taken away as.

    Attributes
    ----------
    name
        How the files are called.
    result
        What the tables are made of.
    report
        Makes the HTML report for a day.
    records
        Makes the archive of single trials; None where there are none.
    studies
        File name -> text of the studies behind it.
    figures
        Name -> figure of the page.
    """

    name: str
    result: Simulation | Comparison
    report: Callable[[date], str]
    records: Callable[[], bytes] | None
    studies: Mapping[str, str]
    figures: Mapping[str, Any] = field(default_factory=dict)


def offer(key: str, files: Files) -> None:
    """The buttons; every file is made when it is asked for."""
    st.subheader("Take away", anchor=False)
    name, result = files.name, files.result
    with st.container(horizontal=True):
        _button("Report (HTML)", lambda: files.report(_today()), f"{name}-report.html", "text/html", f"report:{key}")
        _button("Tables (Excel)", lambda: excel(result), f"{name}.xlsx", _EXCEL, f"excel:{key}")
        _button("Tables (CSV)", lambda: csv_archive(result), f"{name}-tables.zip", "application/zip", f"csv:{key}")
        _button("JSON", lambda: json_text(result), f"{name}.json", "application/json", f"json:{key}")
        if files.records is not None:
            _button("Every trial (CSV)", files.records, f"{name}-trials.zip", "application/zip", f"records:{key}")
        for file, text in files.studies.items():
            kind = "application/json" if file.endswith(".json") else "application/yaml"
            _button(f"Study {file}", text, file, kind, f"study:{file}:{key}")
    if files.figures:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            chosen = st.selectbox("Figure", list(files.figures), key=f"figure:{key}", width=280)
            chart = files.figures[chosen].properties(width=700)
            file = f"{name}-{chosen.replace(' ', '-')}"
            _button("SVG", lambda: svg(chart), f"{file}.svg", "image/svg+xml", f"svg:{key}")
            _button("PNG", lambda: png(chart), f"{file}.png", "image/png", f"png:{key}")


_EXCEL = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def _button(label: str, data: Any, file: str, kind: str, key: str) -> None:
    st.download_button(label, data, file, kind, key=key, on_click="ignore", icon=":material/download:")


def _today() -> date:
    return datetime.now(UTC).astimezone().date()
