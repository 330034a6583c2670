"""A trial run by hand: treat, predict, then see the decision and its reason."""

from __future__ import annotations

from typing import Final

import streamlit as st

from escalation.advice import Advisor
from escalation.errors import EscalationError, OutcomeError
from escalation.outcomes import OUTCOMES, letters_read
from escalation.study import Study, preset_names
from escalation.teach.hand_run import (
    HandRun,
    added,
    advisor_of,
    followed_up,
    hand_run,
    resolved,
    rolled,
    undone,
)
from escalation.teach.hand_run import to_the_end as run_to_the_end
from escalation.teach.patients import Patients, hidden_scenario, patients_of
from escalation.teach.predictions import Prediction, moment_of, read, written
from escalation.ui import blocks, teach_address
from escalation.ui.engine import fitting_designs
from escalation.ui.study_in_hand import key_in_hand, study_in_hand
from escalation.ui.teach_beside import beside
from escalation.ui.teach_exhibits import steps
from escalation.ui.teach_predictions import keep, predict, say, score
from escalation.ui.teach_truth import truth_shown

HIDDEN: Final = "hidden"


def trial() -> None:
    """The trial of the address, one act further with every click."""
    own = study_in_hand()
    blocks.study_line(own)
    fitting = {name: each for name, each in fitting_designs(own).items() if not each.protocol.rule.design.needs_clock}
    seed = teach_address.seed()
    left, right = st.columns(2)
    with left:
        study = _design(own, fitting)
    with right:
        scenario, hidden = _scenario(study, seed)
    patients = patients_of(study, scenario, seed)
    try:
        run = hand_run(study, teach_address.value("outcomes"), seed, _advisor(study.hash, study))
        predictions = read(teach_address.value("said"))
    except OutcomeError as error:
        blocks.show_refusal(error)
        st.button("Start again", type="primary", on_click=_start_again)
        return
    patients = patients.seen(run.treated)
    made = {each.moment for each in predictions}
    waits_for_prediction = run.asks and moment_of(run) not in made
    left, right = st.columns([5, 3], gap="large")
    with left:
        for departure in run.departures:
            st.warning(f"Departure from the design: {departure}")
        steps(run, "trial", decided=not waits_for_prediction)
        if waits_for_prediction:
            predict(run, predictions)
        else:
            say(run, predictions)
            _pending(run, patients)
            _treat(run, patients)
    with right:
        _acts(run, patients, predictions)
        score(run, predictions)
    ended = run.ends and not waits_for_prediction
    truth_shown(study, scenario, run, patients, hidden=hidden, ended=ended)
    beside(study, fitting, run, patients)
    _links(own, study, seed)
    name = "hidden" if hidden and not ended else scenario
    blocks.trace(study, f"patients of seed {seed}, scenario {name}; every decision is the rule's own, exact")


@st.cache_resource(max_entries=128, show_spinner=False)
def _advisor(study_hash: str, _study: Study) -> Advisor:
    return advisor_of(_study)


def _go(run: HandRun) -> None:
    teach_address.put(outcomes=run.text)


def _start_again() -> None:
    teach_address.put(**dict.fromkeys(teach_address.OF_ONE_TRIAL, ""))


# what the trial is --------------------------------------------------------------------------------------


def _design(own: Study, fitting: dict[str, Study]) -> Study:
    """The study's design, or another one on the same regimens."""
    asked = teach_address.value("design")
    chosen = asked if asked in fitting else own.protocol.rule.design.name
    own_name = own.protocol.rule.design.name
    titles = {
        name: each.protocol.rule.design.title + (", as in the study" if name == own_name else "")
        for name, each in fitting.items()
    }

    def changed() -> None:
        name = str(st.session_state["teach:design"])
        teach_address.put(design="" if name == own_name else name, **dict.fromkeys(teach_address.OF_ONE_TRIAL, ""))

    if not fitting:
        return own
    if own_name not in fitting:
        st.info(
            f"{own.protocol.rule.design.title} reads follow-up times, which an outcome string does not hold. Another "
            "design is run here."
        )
    listed = list(fitting)
    chosen = chosen if chosen in listed else listed[0]
    st.selectbox(
        "Design",
        listed,
        format_func=titles.__getitem__,
        key=teach_address.follow("teach:design", chosen),
        on_change=changed,
        help="Another design starts the trial again, on the same patients.",
    )
    return fitting[chosen]


def _scenario(study: Study, seed: int) -> tuple[str, bool]:
    """The assumed truth behind the dice, and whether it is hidden."""
    names = [each.name for each in study.scenarios]
    asked = teach_address.value("scenario", HIDDEN)
    asked = asked if asked in names else HIDDEN

    def changed() -> None:
        chosen = str(st.session_state["teach:scenario"])
        teach_address.put(scenario="" if chosen == HIDDEN else chosen, **dict.fromkeys(teach_address.OF_ONE_TRIAL, ""))

    listed = [HIDDEN, *names]
    st.selectbox(
        "Truth behind the dice",
        listed,
        format_func=lambda name: "Hidden: one of the study's, drawn by the seed" if name == HIDDEN else str(name),
        key=teach_address.follow("teach:scenario", asked),
        on_change=changed,
        help="The assumed DLT probabilities. Another truth starts the trial again.",
    )
    return (hidden_scenario(study, seed), True) if asked == HIDDEN else (asked, False)


# the next patients -------------------------------------------------------------------------------------


def _pending(run: HandRun, patients: Patients) -> None:
    """Outcomes that can become known now."""
    if not run.pending:
        return
    with st.container(border=True):
        names = ", ".join(f"{i + 1:03d}" for i in run.pending)
        st.markdown(f"**Window open: {names}**")
        st.button(
            "Follow up to the end of the window",
            icon=":material/casino:",
            key=f"teach:follow:{run.text}",
            on_click=_go,
            args=(followed_up(run, patients),),
        )
        for i in run.pending:
            row = st.container(horizontal=True)
            for letter in (each for each in letters_read(run.study.protocol.rule) if each != "P"):
                row.button(
                    f"{i + 1:03d}: {OUTCOMES[letter]}",
                    key=f"teach:resolve:{run.text}:{i}:{letter}",
                    on_click=_resolve,
                    args=(run, i, letter),
                )


def _resolve(run: HandRun, participant: int, letter: str) -> None:
    try:
        _go(resolved(run, participant, letter))
    except EscalationError as error:
        st.toast(str(error))


def _treat(run: HandRun, patients: Patients) -> None:
    """The places that are open, filled by the dice or by choice."""
    opening = run.opening
    if opening is None:
        return
    grid = run.study.protocol.grid
    first = len(run.treated)
    people = f"{opening.places} patient{'s' if opening.places > 1 else ''}"
    with st.container(border=True):
        st.markdown(f"**Next: {people} at level {grid.level(opening.regimen)}**, {grid.describe(opening.regimen)}")
        left, right = st.columns(2)
        left.button(
            f"Roll the dice for {'all ' if opening.places > 1 else ''}{opening.places}",
            type="primary",
            icon=":material/casino:",
            key=f"teach:roll:{run.text}",
            on_click=_go,
            args=(rolled(run, patients),),
        )
        if opening.places > 1:
            right.button(
                "Roll the dice for one",
                key=f"teach:roll-one:{run.text}",
                on_click=_go,
                args=(rolled(run, patients, 1),),
            )
        with st.expander("Choose the outcomes yourself"), st.form(f"teach:choose:{run.text}", border=False):
            keys = [f"teach:outcome:{run.text}:{i}" for i in range(opening.places)]
            for i, key in enumerate(keys):
                st.radio(
                    f"Outcome of {first + i + 1:03d}",
                    [*letters_read(run.study.protocol.rule), ""],
                    format_func=lambda letter: OUTCOMES.get(str(letter), "not treated yet"),
                    horizontal=True,
                    key=key,
                )
            st.form_submit_button("Treat them", on_click=_chosen, args=(run, keys))


def _chosen(run: HandRun, keys: list[str]) -> None:
    letters = "".join(str(st.session_state.get(key) or "") for key in keys)
    if letters:
        _go(added(run, letters))


def _acts(run: HandRun, patients: Patients, predictions: tuple[Prediction, ...]) -> None:
    """What can be done with the trial as a whole."""
    row = st.container(horizontal=True)
    row.button(
        "Undo",
        icon=":material/undo:",
        disabled=not run.treated,
        key=f"teach:undo:{run.text}",
        on_click=_undo,
        args=(undone(run), predictions),
        help="Take the last cohort away",
    )
    row.button(
        "To the end",
        icon=":material/fast_forward:",
        disabled=run.opening is None and not run.pending,
        key=f"teach:end:{run.text}",
        on_click=_finish,
        args=(run, patients),
        help="Roll the dice until the trial ends",
    )
    row.button("New trial", icon=":material/restart_alt:", disabled=not run.treated, on_click=_start_again)


def _undo(before: HandRun, predictions: tuple[Prediction, ...]) -> None:
    """Predictions of what is taken away go with it: other outcomes may follow."""
    kept = [each for each in predictions if each.after <= len(before.treated)]
    teach_address.put(outcomes=before.text, said=written(kept))


def _finish(run: HandRun, patients: Patients) -> None:
    done = run_to_the_end(run, patients)
    after, held = moment_of(done)
    others = read(teach_address.value("said"))
    _go(done)
    keep(others, Prediction(after, held, None))


# the same elsewhere ------------------------------------------------------------------------------------


def _links(own: Study, study: Study, seed: int) -> None:
    key = key_in_hand()
    name = key if key in preset_names() else "STUDY.yaml"
    option = "" if study is own else f" --design {study.protocol.rule.design.name}"
    if option and own.protocol.max_patients is None:
        option += f" --set protocol.max_patients={study.protocol.max_patients}"
    with st.expander("The same on the command line"):
        st.code(f'escalation decide {name}{option} --outcomes "{teach_address.value("outcomes")}"', language="shell")
    with st.expander("Link for the class"):
        st.caption(
            "Everybody who opens it starts this trial with the same patients. The address of this page holds the "
            "trial as it stands, with your predictions."
        )
        link = teach_address.class_link(
            **teach_address.study_parameter(key),
            show="trial",
            seed=str(seed),
            design=teach_address.value("design"),
            scenario=teach_address.value("scenario"),
        )
        st.code(link, language=None, wrap_lines=True)
