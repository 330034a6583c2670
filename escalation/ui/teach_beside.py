"""The same patients under another design: each design's path beside the other."""

from __future__ import annotations

from typing import Final

import streamlit as st

from escalation.outcomes import OUTCOMES
from escalation.report.wording import headline
from escalation.study import Study
from escalation.teach.hand_run import HandRun, to_the_end, under
from escalation.teach.patients import Patients
from escalation.ui import blocks, teach_address
from escalation.ui.teach_exhibits import steps

AT_FIRST: Final = ("boin", "crm", "three_plus_three", "three_plus_three_path")
"""Designs shown first where they fit, one of them."""


def beside(study: Study, fitting: dict[str, Study], run: HandRun, patients: Patients) -> None:
    """Other designs on the patients treated so far, each patient's outcome fixed by the same latent tolerance."""
    own = study.protocol.rule.design.name
    others = [name for name in fitting if name != own]
    if not others or not run.treated:
        return
    asked = [name for name in teach_address.value("beside").split(",") if name in others]
    st.markdown("#### The same patients under another design")
    st.caption(
        "Every patient has one latent tolerance, drawn by the seed and made to agree with the outcome seen above. It "
        "fixes the outcome at every level, so another design meets the same people. Pending patients stay pending."
    )

    def changed() -> None:
        teach_address.put(beside=",".join(st.session_state["teach:beside"] or ()))

    titles = {name: fitting[name].protocol.rule.design.title for name in others}
    st.pills(
        "Other designs",
        others,
        selection_mode="multi",
        format_func=titles.__getitem__,
        key=teach_address.follow("teach:beside", asked),
        on_change=changed,
    )
    if not asked:
        return
    on = _to_come()
    runs = {own: to_the_end(run, patients) if on else run}
    for name in asked:
        other = under(fitting[name], run.treated, patients)
        runs[name] = to_the_end(other, patients) if on else other
    columns = st.columns(min(len(runs), 2))
    for position, (name, each) in enumerate(runs.items()):
        with columns[position % len(columns)]:
            title = each.study.protocol.rule.design.title + (" (above)" if name == own else "")
            steps(each, f"beside:{name}", title=title)
            st.markdown(headline(each.advice, each.study.protocol.rule))
            unused = len(run.treated) - len(each.treated)
            if unused > 0:
                st.caption(f"{unused} of the {len(run.treated)} patients have no place under this design so far.")
    _people(runs)


def _to_come() -> bool:
    """Whether the trials go on with patients nobody has met yet."""
    on = teach_address.value("on") == "1"

    def changed() -> None:
        teach_address.put(on="1" if st.session_state["teach:on"] else "")

    label = "Also the patients to come, until each trial ends"
    st.toggle(label, key=teach_address.follow("teach:on", on), on_change=changed)
    return on


def _people(runs: dict[str, HandRun]) -> None:
    """Patient by patient: where each design treats them, and what happens to them there."""
    most = max(len(each.treated) for each in runs.values())
    rows = [(f"{i + 1:03d}", *(_seen(each, i) for each in runs.values())) for i in range(most)]
    titles = [each.study.protocol.rule.design.title for each in runs.values()]
    rows.append(("with a DLT", *(str(sum(p.letter == "T" for p in each.treated)) for each in runs.values())))
    with st.expander("Patient by patient"):
        blocks.table(("patient", *titles), rows)


def _seen(run: HandRun, i: int) -> str:
    if i >= len(run.treated):
        return "not treated"
    person = run.treated[i]
    return f"level {run.study.protocol.grid.level(person.regimen)}: {OUTCOMES[person.letter]}"
