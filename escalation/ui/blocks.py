"""What pages are made of besides Streamlit's widgets: headings, cards, tables, faults and what traces a number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

import streamlit as st

from escalation import __version__
from escalation.errors import EscalationError, Fault, StudyError
from escalation.regimens import RegimenGrid
from escalation.study import Study
from escalation.tally import Bools, Floats

_CSS: Final = Path(__file__).with_name("style.css")
_LARGE: Final = Path(__file__).with_name("large.css")


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


def table(
    headers: Sequence[str], rows: Iterable[Sequence[str | Markup]], caption: str = "", *, text: bool = False
) -> None:
    """A table that screen readers can read and phones can scroll; the first column heads its row.

    ``text`` tells that the cells are words, not numbers.
    """
    st.html(table_html(headers, rows, caption, text=text))


def table_html(
    headers: Sequence[str], rows: Iterable[Sequence[str | Markup]], caption: str = "", *, text: bool = False
) -> str:
    """The table as HTML text."""
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in headers)
    body = "".join(
        "<tr>" + "".join(_cell(cell, first=not position) for position, cell in enumerate(row)) + "</tr>" for row in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    kind = "esc words" if text else "esc"
    return (
        f'<div class="esc-scroll" tabindex="0"><table class="{kind}">{title}<thead><tr>{head}</tr></thead>'
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


def records(headers: Sequence[str], rows: Iterable[Sequence[str | Markup]], caption: str = "") -> None:
    """A table of texts, read from the left."""
    st.html(table_html(headers, rows, caption).replace('class="esc"', 'class="esc esc-texts"', 1))


def tag(said: str) -> Markup:
    """A word set apart: a state, a role, a kind."""
    return Markup(f'<span class="esc-tag">{escape(said)}</span>')


def lines(listed: Iterable[tuple[str, str]]) -> None:
    """What is to be done, a line each: how urgent in one word, and what it is."""
    inside = "".join(
        f'<li class="esc-{escape(tone)}"><b>{escape(tone)}</b> {escape(said)}</li>' for tone, said in listed
    )
    st.html(f'<ul class="esc-lines">{inside}</ul>')


def bar(share: float, said: str, tone: str) -> Markup:
    """A share as a number with a bar behind it."""
    width = f"{100 * min(max(share, 0.0), 1.0):.1f}%"
    return Markup(f'<span class="esc-bar" style="--share:{width};--tone:{tone}"><span>{escape(said)}</span></span>')


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


def letter(text: str, colour: str, word: str) -> Markup:
    """A letter on its colour; the word is read out and shown on hovering."""
    return Markup(
        f'<span class="esc-cell" style="background:{escape(colour)}" title="{escape(word)}">'
        f'{escape(text)}<span class="esc-read">, {escape(word)}</span></span>'
    )


def legend(listed: Iterable[tuple[str, str, str]]) -> None:
    """What letters on colours mean: letter, colour, word."""
    inside = "".join(f"<li>{letter(text, colour, word).html} {escape(word)}</li>" for text, colour, word in listed)
    st.html(f'<ul class="esc-legend">{inside}</ul>')


def mark(text: str, *, good: bool) -> Markup:
    """A verdict: a sign and a word."""
    return Markup(f'<span class="esc-{"good" if good else "bad"}">{"✓" if good else "✗"} {escape(text)}</span>')


def nested(lines: Sequence[tuple[int, str, str]]) -> None:
    """A nested list: depth, what stands out, and the rest of each entry."""
    html, depth = "", -1
    for here, head, rest in lines:
        html += "<ul>" * (here - depth) if here > depth else "</li>" + "</ul></li>" * (depth - here)
        html += f"<li><b>{escape(head)}</b> {escape(rest)}"
        depth = here
    st.html(f'<div class="esc-nested">{html}{"</li></ul>" * (depth + 1)}</div>')


def plain(text: str) -> str:
    """Text in which Markdown has nothing to read."""
    escaped = "".join(f"\\{each}" if each in "\\`*_{}[]<>#|~$:!" else each for each in text)
    return re.sub(r"^(\d*)([-+.)])", r"\1\\\2", escaped)  # nor a list to begin


def show_refusal(error: EscalationError) -> None:
    """What was refused, each fault with its path and how to mend it."""
    if isinstance(error, StudyError):
        rows = [(fault.path or "study", fault.problem, fault.remedy) for fault in error.faults]
        st.error(f"This study cannot be used yet: {len(rows)} {'thing' if len(rows) == 1 else 'things'} to mend.")
        table(("where", "what is wrong", "what to do"), rows)
    else:
        st.error(plain(str(error)))


def faults(listed: Iterable[Fault]) -> None:
    """Faults one below the other: where, what is wrong, how to mend it."""
    entries = "".join(
        f"<li><code>{escape(fault.path or 'study')}</code> {escape(fault.problem)}"
        + (f"<br><small>{escape(fault.remedy)}</small>" if fault.remedy else "")
        + "</li>"
        for fault in listed
    )
    st.html(f'<ul class="esc-faults" aria-label="Things to mend">{entries}</ul>')


@contextmanager
def refusals_shown() -> Iterator[None]:
    """Refusals of the engines in words on the page; anything else is a defect and goes to the log."""
    try:
        yield
    except EscalationError as error:
        show_refusal(error)


def large_type() -> None:
    """Everything larger, for a projector."""
    st.html(_LARGE)
