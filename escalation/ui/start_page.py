"""Start: what this is, for whom, and the studies to begin with."""

from __future__ import annotations

from typing import Final

import streamlit as st

from escalation.conduct.accounts import SessionEndedError
from escalation.conduct.service import INSTALLATION
from escalation.errors import EscalationError
from escalation.regimens import RegimenGrid
from escalation.study import Study, preset_names, read_text
from escalation.trial_cli_accounts import roles_today
from escalation.ui import blocks, draft, signed_in, workspace
from escalation.ui.recent import recent_studies
from escalation.ui.router import page_named
from escalation.ui.study_in_hand import study_of, take
from escalation.ui.study_state import template

DOORS: Final = (
    (
        "Design a trial",
        "For the statistician: assume a truth, see exactly what each design would do, compare, and write the rules.",
        (("explore", "Explore a study"), ("study", "Edit a study"), ("compare", "Compare designs")),
    ),
    (
        "Conduct a trial",
        "For the investigator: who is where, what comes next and why, signed and on record.",
        (("trials", "Open the trials"),),
    ),
    (
        "Learn and teach",
        "For lectures and for oneself: play a trial, see why the rule decides as it does.",
        (("teach", "Start learning"), ("rules", "Look into a rule")),
    ),
)
"""Title, whom it is for, and where it leads: page and label."""
_FIRST_RESULTS: Final = (("explore", "Explore"), ("simulate", "Simulate"), ("rules", "Rules"))


def page() -> None:
    """The first page."""
    blocks.heading("Dose escalation")
    st.markdown(
        "Phase I trials that escalate a dose, a number of infusions, or both: their designs with exact operating "
        "characteristics, their calendar, and their conduct. One rule answers everywhere, so what is simulated here "
        "is what is conducted."
    )
    _doors()
    _own_studies()
    _own_trials()
    studies = {name: study_of(read_text(name)[0]) for name in preset_names()}
    _cards("Registered trials", {name: each for name, each in studies.items() if each.registry})
    _cards("Textbook studies", {name: each for name, each in studies.items() if not each.registry})


def _doors() -> None:
    for column, (title, said, links) in zip(st.columns(3), DOORS, strict=True):
        with column.container(border=True, height="stretch"):
            st.subheader(title, anchor=False)
            st.markdown(said)
            for name, label in links:
                st.page_link(page_named(name), label=label, icon=page_named(name).icon)


def _cards(title: str, studies: dict[str, Study]) -> None:
    st.subheader(title, anchor=False)
    names = list(studies)
    for first in range(0, len(names), 2):
        for column, name in zip(st.columns(2), names[first : first + 2], strict=False):
            with column.container(border=True, height="stretch", key=f"card-{name}"):
                _card(name, studies[name])


def _card(name: str, study: Study) -> None:
    protocol = study.protocol
    registered = f"{study.registry} · " if study.registry else ""
    st.markdown(f"**{blocks.plain(study.title)}**")
    count = len(study.scenarios)
    facts = (
        f"{registered}{protocol.rule.design.label} · {regimens_in_words(protocol.grid)} · at most "
        f"{protocol.max_patients or protocol.rule.max_patients} participants · {count} scenarios"
    )
    st.caption(blocks.plain(facts))
    if study.placeholders:
        st.badge(
            f"Not protocol-complete: {len(study.placeholders)} safety-critical placeholders",
            icon=":material/warning:",
            color="orange",
        )
    row = st.container(horizontal=True)
    for position, (target, label) in enumerate(_FIRST_RESULTS):
        if row.button(label, key=f"go:{name}:{target}", type="secondary" if position else "primary"):
            take(name)
            st.switch_page(page_named(target))


def regimens_in_words(grid: RegimenGrid) -> str:
    """The regimens in a few words: ``5 doses, 10 to 50 mg``."""
    times = " x " if grid.unit[:1].isdigit() else " "
    low, high = (f"{amount:g}" for amount in (grid.doses[0], grid.doses[-1]))
    amounts = f"{low} to {high}{times}{grid.unit}" if grid.n_doses > 1 else f"{low}{times}{grid.unit}"
    doses = f"{grid.n_doses} doses, {amounts}" if grid.n_doses > 1 else amounts
    if grid.n_frequencies == 1:
        return doses.strip()
    infusions = ", ".join(str(len(days)) for days in grid.schedules)
    often = f"{grid.n_frequencies} frequencies ({infusions} infusions)"
    return f"{often} of {amounts}".strip() if grid.n_doses == 1 else f"{doses}, by {often}"


def _own_studies() -> None:
    """Studies of this browser, and a new one."""
    st.subheader("Your studies", anchor=False)
    listed = recent_studies()
    for key in listed:
        try:
            study = study_of(workspace.kept_study(key))
        except EscalationError:
            continue
        if st.button(
            f"{study.title} ({study.id}, {study.hash[:8]})",
            key=f"own:{key}",
            icon=":material/description:",
            type="tertiary",
        ):
            take(workspace.kept_study(key))
            st.switch_page(page_named("study"))
    if not listed:
        st.caption("Studies you change or load are listed here, in this browser.")
    if st.button("New study from the commented template", icon=":material/add:"):
        draft.load(template())
        st.switch_page(page_named("study"))


def _own_trials() -> None:
    """Trials of conduct delegated to whoever is signed in; nothing for anybody else."""
    presented = signed_in.token()
    if presented is None:
        return
    conduct = signed_in.conduct()
    try:
        user = conduct.accounts.authenticate(presented)
    except SessionEndedError:
        return
    listed = [trial for trial in roles_today(conduct, user.name) if trial != INSTALLATION]
    if listed:
        st.subheader("Your trials", anchor=False)
        row = st.container(horizontal=True)
        for trial in listed:
            row.page_link(
                page_named("trial"), label=trial, icon=":material/monitor_heart:", query_params={"trial": trial}
            )
