"""Forms made from parameter models: every design's, guard's, scenario's, today's and those still to come.

A form shows a part of a study as it stands in the draft and sends every change back; it keeps nothing itself.
What an entry cannot hold (a word where a number belongs) is shown as the file writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import streamlit as st
from pydantic import BaseModel

from escalation.errors import Fault
from escalation.plain_data import NOTHING
from escalation.study_text import Path
from escalation.ui.blocks import plain
from escalation.ui.form_kinds import (
    AsWritten,
    Choice,
    Chosen,
    Field,
    Group,
    Kind,
    Maybe,
    Number,
    Numbers,
    OneOf,
    Rows,
    Several,
    Whole,
    Words,
    YesNo,
    fields,
    fits,
    label_of,
    meant,
    shown,
    written,
)

LEFT_OUT: Final = "left out"
_ENTRIES: Final = (Whole, Number, YesNo, Choice, Chosen, Words, Numbers, Rows, AsWritten)
_ACROSS: Final = 3
"""Entries beside each other."""


@dataclass(frozen=True, slots=True)
class Change:
    """A value to put at a path, NOTHING to take it out; with ``instead_of`` only where that stands there now."""

    path: Path
    value: Any
    instead_of: Any = None
    always: bool = True


@dataclass(frozen=True)
class Form:
    """A form over parts of one text.

    Parameters
    ----------
    scope
        What tells this form's entries from those of other forms.
    change
        Told every change as it is made.
    faults
        What is wrong in the text; each fault is repeated below the entry it belongs to.
    long
        Keys of texts that need several lines.
    suggested
        Values a new entry of a list starts from, by key.
    """

    scope: str
    change: Callable[[Sequence[Change]], None]
    faults: tuple[Fault, ...] = ()
    long: frozenset[str] = frozenset()
    suggested: Mapping[str, Any] = field(default_factory=dict)

    def model(
        self,
        model: type[BaseModel],
        path: Path,
        value: Any,
        *,
        before: tuple[Change, ...] = (),
        only: Iterable[str] = (),
        without: Iterable[str] = (),
        number: str = "",
    ) -> None:
        """The fields of a model, single entries beside each other, the rest below.

        Parameters
        ----------
        path, value
            Where the model's values stand, and what stands there.
        before
            Changes an entry's change needs first.
        only, without
            Keys shown, all when empty; keys left out.
        number
            Added to the labels, for the entries of a list.
        """
        given = value if isinstance(value, Mapping) else {}
        chosen, hidden = tuple(only), set(without)
        listed = [
            replace(each, label=each.label + number)
            for each in fields(model)
            if each.key not in hidden and (not chosen or each.key in chosen)
        ]
        waiting: list[Field] = []
        for each in [*listed, None]:
            if each is not None and self._is_single(each):
                waiting.append(each)
            if waiting and (each is None or not self._is_single(each) or len(waiting) == _ACROSS):
                self._row(waiting, path, given, before)
                waiting = []
            if each is not None and not self._is_single(each):
                self.field(each, (*path, each.key), given.get(each.key, NOTHING), before)
        for key in given.keys() - {each.key for each in fields(model)} - hidden if not chosen else ():
            extra = Field(str(key), str(key), AsWritten(), "This key is unknown.", NOTHING)
            self.field(extra, (*path, str(key)), given[key], before)

    def _row(self, listed: list[Field], path: Path, given: Mapping[str, Any], before: tuple[Change, ...]) -> None:
        for column, each in zip(st.columns(_ACROSS), listed, strict=False):
            with column:
                self.field(each, (*path, each.key), given.get(each.key, NOTHING), before)

    def _is_single(self, each: Field) -> bool:
        kind = each.kind.of if isinstance(each.kind, Maybe) else each.kind
        return isinstance(kind, _ENTRIES) and each.key not in self.long

    def field(self, each: Field, path: Path, raw: Any, before: tuple[Change, ...] = ()) -> None:
        """One field; ``raw`` is what the file holds, NOTHING when the default is in force."""
        value = each.default if raw is NOTHING else raw
        kind = each.kind
        inner = kind.of if isinstance(kind, Maybe) else kind
        if isinstance(inner, _ENTRIES):
            self._entry(each, path, value, before)
        elif isinstance(kind, Maybe):
            self._switch(each, inner, path, value, before)
        else:
            self._container(each, inner, path, raw, value, before)
        self.faults_at(path)

    # single entries -------------------------------------------------------------------------------------

    def _entry(self, each: Field, path: Path, value: Any, before: tuple[Change, ...]) -> None:
        kind, label = each.kind, each.label
        inner = kind.of if isinstance(kind, Maybe) else kind
        optional = isinstance(kind, Maybe)
        help_ = _help(each)
        if value is not NOTHING and not fits(kind, value) and not isinstance(inner, AsWritten):
            kind = inner = AsWritten()
            label = f"{label} (as written)"
        key = f"{self.scope}:{type(inner).__name__}:{'.'.join(map(str, path))}"
        holds = shown(kind, value)
        call: dict[str, Any] = {
            "key": key,
            "help": help_ or None,
            "on_change": self._entered,
            "args": (key, kind, path, before),
        }
        if isinstance(inner, Whole):
            _hold(key, holds)
            st.number_input(label, inner.low, inner.high, None, 1, **call, placeholder=LEFT_OUT if optional else "")
        elif isinstance(inner, Number):
            _hold(key, holds)
            step = 0.01 if inner.high is not None and inner.high <= 1 else 0.1
            st.number_input(
                label, inner.low, inner.high, None, step, "%g", **call, placeholder=LEFT_OUT if optional else ""
            )
        elif isinstance(inner, YesNo) and isinstance(value, bool) and not optional:
            _hold(key, holds)
            st.checkbox(label, **call)
        elif isinstance(inner, YesNo | Choice):
            options = [True, False] if isinstance(inner, YesNo) else list(inner.options)
            listed = [None, *options] if optional else options
            positions = range(len(listed))
            at = next((k for k in positions if type(listed[k]) is type(holds) and listed[k] == holds), None)
            call["args"] = (key, kind, path, before, listed)
            _hold(key, at)
            st.selectbox(label, list(positions), None if at is None else 0, lambda k: _word(listed[k]), **call)
        elif isinstance(inner, Chosen) and isinstance(value, list):
            _hold(key, holds)
            st.multiselect(label, list(inner.options), format_func=_word, **call)
        elif isinstance(inner, Words) and each.key in self.long:
            _hold(key, holds or "")
            st.text_area(label, **call, height="content")
        else:
            _hold(key, holds or "")
            hint = {Numbers: "numbers with blanks between them", Rows: "rows with / between them"}.get(type(inner))
            st.text_input(label, **call, placeholder=LEFT_OUT if optional else hint)

    def _entered(
        self, key: str, kind: Kind, path: Path, before: tuple[Change, ...], listed: list[Any] | None = None
    ) -> None:
        entry = st.session_state[key]
        if listed is not None:
            entry = None if entry is None else listed[entry]
        elif entry == "" and isinstance(kind, Maybe):
            entry = None
        self.change([*before, Change(path, meant(kind, entry))])

    # what holds further values ----------------------------------------------------------------------------

    def _switch(self, each: Field, inner: Kind, path: Path, value: Any, before: tuple[Change, ...]) -> None:
        """A part that may be left out: a switch, and the part when it is on."""
        key = f"{self.scope}:switch:{'.'.join(map(str, path))}"
        on = value is not None and value is not NOTHING
        start = each.default if each.default not in (None, NOTHING) else self._start(inner)

        def switched() -> None:
            self.change([*before, Change(path, start if st.session_state[key] else None)])

        _hold(key, on)
        st.toggle(each.label, key=key, help=_help(each) or None, on_change=switched)
        if on:
            bare = Field(each.key, "", inner, "", each.default)
            self._container(bare, inner, path, value, value, before)

    def _container(self, each: Field, kind: Kind, path: Path, raw: Any, value: Any, before: tuple[Change, ...]) -> None:
        if raw is NOTHING and value is not NOTHING and not isinstance(kind, Group):
            before = (*before, Change(path, value, NOTHING, False))
        if isinstance(kind, Several):
            self._several(each, kind, path, value, before)
            return
        with st.container(border=True):
            if each.label:
                st.markdown(f"**{each.label}**", help=each.help or None)
            if isinstance(kind, Group):
                self._group(kind, path, value, before)
            elif isinstance(kind, OneOf):
                self._one_of(kind, path, value, before)

    def _group(self, kind: Group, path: Path, value: Any, before: tuple[Change, ...], number: str = "") -> None:
        if value is not NOTHING and not isinstance(value, Mapping):
            odd = Field(str(path[-1]), "As written", AsWritten(), "", NOTHING)
            self._entry(odd, path, value, before)
            return
        self.model(kind.model, path, value, before=before, without=(kind.without,), number=number)

    def _one_of(self, kind: OneOf, path: Path, raw: Any, before: tuple[Change, ...], number: str = "") -> None:
        value = kind.full(raw)
        if value != raw:
            before = (*before, Change(path, value, raw, False))
        names = [each.name for each in kind.alternatives]
        starts = {each.name: each for each in kind.alternatives}
        key = f"{self.scope}:which:{'.'.join(map(str, path))}"

        def chosen() -> None:
            name = st.session_state[key]
            if name is not None:
                start = starts[name].start
                seeded = start | self._start(starts[name].kind) if isinstance(start, Mapping) else start
                self.change([*before, Change(path, seeded)])

        now = kind.which(value)
        _hold(key, now)
        st.selectbox(
            f"Kind of {label_of(_name_of(path)).lower()}",
            names,
            None if now is None else 0,
            _word,
            key=key,
            on_change=chosen,
            label_visibility="collapsed",
        )
        if now is None:
            odd = Field(str(path[-1]), "As written", AsWritten(), "", NOTHING)
            self._entry(odd, path, raw, before)
            return
        inner = starts[now].kind
        if isinstance(inner, Group):
            st.caption(plain(" ".join((inner.model.__doc__ or "").split("\n\n")[0].replace("`", "").split())))
            self._group(inner, path, value, before, number)
        elif not isinstance(inner, Choice):
            self._entry(Field(str(path[-1]), label_of(now), inner, "", NOTHING), path, value, before)

    def _several(self, each: Field, kind: Several, path: Path, value: Any, before: tuple[Change, ...]) -> None:
        if each.label:
            st.markdown(f"**{each.label}**", help=each.help or None)
        entries = value if isinstance(value, list) else []
        if value is not NOTHING and not isinstance(value, list):
            self._entry(Field(str(path[-1]), "As written", AsWritten(), "", NOTHING), path, value, before)
        for position, entry in enumerate(entries):
            where = (*path, position)
            with st.container(border=True):
                inner, remove = st.columns([5, 1], vertical_alignment="bottom")
                with inner:
                    if isinstance(kind.of, Group):
                        self._group(kind.of, where, entry, before, f" {position + 1}")
                    elif isinstance(kind.of, OneOf):
                        self._one_of(kind.of, where, entry, before, f" {position + 1}")
                self._remove_button(remove, where, before)
                self.faults_at(where)
        self._add_buttons(kind, path, len(entries), before)

    def _remove_button(self, where: Any, path: Path, before: tuple[Change, ...]) -> None:
        name = label_of(_name_of(path)).lower()
        where.button(
            "Remove",
            key=f"{self.scope}:remove:{'.'.join(map(str, path))}",
            help=f"Remove {name}",
            on_click=lambda: self.change([*before, Change(path, NOTHING)]),
        )

    def _add_buttons(self, kind: Several, path: Path, count: int, before: tuple[Change, ...]) -> None:
        named: list[tuple[str, Any]] = [("Add", self._start(kind.of))]
        if isinstance(kind.of, OneOf):
            named = [
                (f"Add {_word(each.name)}", {**each.start, **self._start(each.kind)}) for each in kind.of.alternatives
            ]
        row = st.container(horizontal=True)
        for label, start in named:
            row.button(
                label,
                key=f"{self.scope}:add:{'.'.join(map(str, path))}:{label}",
                icon=":material/add:",
                on_click=lambda start=start: self.change([*before, Change((*path, count), start)]),
            )

    def _start(self, kind: Kind) -> Any:
        """What a new part holds: suggestions for what must be given, the defaults for the rest."""
        if not isinstance(kind, Group):
            return []
        wanted = [each.key for each in fields(kind.model) if each.required and each.key in self.suggested]
        return {key: self.suggested[key] for key in wanted}

    def faults_at(self, path: Path) -> None:
        """What is wrong at a path."""
        here = ".".join(map(str, path))
        for fault in self.faults:
            if fault.path == here:
                remedy = f" ({fault.remedy})" if fault.remedy else ""
                st.markdown(f":red[:material/error: {plain(fault.problem + remedy)}]")


def _name_of(path: Path) -> str:
    """The last key of a path, with the position in a list after it."""
    last = path[-1]
    return f"{path[-2]}_{last + 1}" if isinstance(last, int) and len(path) > 1 else str(last)


def _hold(key: str, value: Any) -> None:
    """Let an entry show what the draft holds; one that does already is left alone, and what is being typed with it."""
    if key not in st.session_state or st.session_state[key] != value:
        st.session_state[key] = value


def _word(value: Any) -> str:
    if value is None:
        return LEFT_OUT
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value).replace("_", " ")


def _help(each: Field) -> str:
    said = [each.help] if each.help else []
    if not each.required and not isinstance(each.kind, OneOf | Group | Several):
        default = LEFT_OUT if each.default is None else written(each.default)
        if default != '""':
            said.append(f"Default: {plain(default)}.")
    return " ".join(said)
