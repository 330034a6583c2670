"""What pages are made of besides Streamlit's widgets: headings, cards, tables, faults, and where a number is from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

import streamlit as st

from escalation import __version__
from escalation.errors import EscalationError, StudyError
from escalation.regimens import RegimenGrid
from escalation.study import Study
from escalation.tally import Bools, Floats

_CSS: Final = Path(__file__).with_name("style.css")


@dataclass(frozen=True, slots=True)
class Markup:
    """HTML that is already safe; everything else is escaped."""

    html: str


def heading(title: str, subtitle: str = "") -> None:
    """The page's title, and the styles everything below uses."""
    st.html(_CSS)
    st.title(title, anchor=False)
    if subtitle:
        st.caption(subtitle)


def study_line(study: Study) -> None:
    """Which study this is, and what must be said wherever it is shown."""
    registry = f" ({study.registry})" if study.registry and study.registry != study.id else ""
    st.markdown(f"**{study.title}**{registry} · {study.protocol.rule.design.label}")
    for notice in study.notices:
        st.warning(notice, icon=":material/warning:")


def trace(study: Study, how: str) -> None:
    """The line under a result: version, study, engine, and its error or the word exact."""
    line = f"escalation {__version__} · study {study.id}, hash {study.hash[:12]} · {how}"
    st.html(f'<p class="esc-trace">{escape(line)}</p>')


def link_button(label: str, address: str) -> None:
    """A link of this site that looks like a button and stays in this tab."""
    st.html(f'<p><a class="esc-button" href="{escape(address)}" target="_self">{escape(label)}</a></p>')


def post_button(label: str, address: str) -> None:
    """A button that sends an empty form to an address of this site."""
    st.html(
        f'<form method="post" action="{escape(address)}"><button class="esc-button" type="submit">{escape(label)}'
        "</button></form>"
    )


def cards(listed: Iterable[tuple[str, str, str]]) -> None:
    """Large numbers in a row: label, value, note."""
    inside = "".join(
        f'<div class="esc-card"><span class="esc-label">{escape(label)}</span><b>{escape(value)}</b>'
        f"<small>{escape(note)}</small></div>"
        for label, value, note in listed
    )
    st.html(f'<div class="esc-cards">{inside}</div>')


def table(headers: Sequence[str], rows: Iterable[Sequence[str | Markup]], caption: str = "") -> None:
    """A table that screen readers can read and phones can scroll; the first column heads its row."""
    st.html(table_html(headers, rows, caption))


def table_html(headers: Sequence[str], rows: Iterable[Sequence[str | Markup]], caption: str = "") -> str:
    """The table as HTML text."""
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in headers)
    body = "".join(
        "<tr>" + "".join(_cell(cell, first=not position) for position, cell in enumerate(row)) + "</tr>" for row in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="esc-scroll" tabindex="0"><table class="esc">{title}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(cell: str | Markup, *, first: bool) -> str:
    inside = cell.html if isinstance(cell, Markup) else escape(cell)
    return f'<th scope="row">{inside}</th>' if first else f"<td>{inside}</td>"


def say(text: str) -> None:
    """The one sentence a page is opened for."""
    st.html(f'<p class="esc-say" role="status">{escape(text)}</p>')


def noted(text: str, note: str) -> Markup:
    """A text with a smaller note below it."""
    return Markup(f"{escape(text)}<br><small>{escape(note)}</small>")


def bar(share: float, said: str, tone: str) -> Markup:
    """A share as a number with a bar behind it."""
    width = f"{100 * min(max(share, 0.0), 1.0):.1f}%"
    return Markup(f'<span class="esc-bar" style="--share:{width};--tone:{tone}"><span>{escape(said)}</span></span>')


def plain(text: str) -> str:
    """Text in which Markdown has nothing to read."""
    return "".join(f"\\{each}" if each in "\\`*_{}[]()#+-.!|~$<>:" else each for each in text)


def grid_map(
    grid: RegimenGrid, values: Floats, title: str, tone: str, *, marked: Bools | None = None, safe: Bools | None = None
) -> Markup:
    """A share or probability of every regimen as a shaded table, frequency upwards and dose across.

    Parameters
    ----------
    marked
        (K,) regimens with a star.
    safe
        (K,) regimens on the safe side of the contour, whose edge is drawn as a bold line.
    """
    top = max(0.01, float(values.max()))
    line, rows = "3px solid currentColor", []
    for f in reversed(range(grid.n_frequencies)):
        cells = [f'<th scope="row">F{f + 1}</th>']
        for d in range(grid.n_doses):
            k = f * grid.n_doses + d
            right = safe is not None and d + 1 < grid.n_doses and safe[k] != safe[k + 1]
            above = safe is not None and f + 1 < grid.n_frequencies and safe[k] != safe[k + grid.n_doses]
            edge = (f"border-right:{line};" if right else "") + (f"border-top:{line};" if above else "")
            shade = f"background:color-mix(in srgb,{tone} {80 * values[k] / top:.0f}%,transparent)"
            star = " ★" if marked is not None and marked[k] else ""
            cells.append(f'<td style="{edge}{shade}" title="{escape(grid.describe(k))}">{values[k]:.1%}{star}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(f'<th scope="col">D{d + 1}</th>' for d in range(grid.n_doses))
    return Markup(
        f'<table class="esc esc-map"><caption>{escape(title)}</caption>'
        f"<thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def side_by_side(parts: Iterable[Markup]) -> None:
    """Blocks beside each other, as many as fit."""
    st.html(f'<div class="esc-beside">{"".join(part.html for part in parts)}</div>')


def show_refusal(error: EscalationError) -> None:
    """What was refused, each fault with its path and how to mend it."""
    if isinstance(error, StudyError):
        rows = [(fault.path or "study", fault.problem, fault.remedy) for fault in error.faults]
        st.error(f"This study cannot be used yet: {len(rows)} {'thing' if len(rows) == 1 else 'things'} to mend.")
        table(("where", "what is wrong", "what to do"), rows)
    else:
        st.error(str(error))


@contextmanager
def refusals_shown() -> Iterator[None]:
    """Refusals of the engines in words on the page; anything else is a defect and goes to the log."""
    try:
        yield
    except EscalationError as error:
        show_refusal(error)
