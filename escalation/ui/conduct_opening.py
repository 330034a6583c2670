"""Opening a trial: the study in hand is locked in by its hash, signed, and its starting regimen opens."""

from __future__ import annotations

import json
from collections.abc import Callable
from zoneinfo import available_timezones

import streamlit as st

from escalation.conduct.accounts import User
from escalation.conduct.criteria import criteria_names
from escalation.conduct.service import Conduct, Receipt
from escalation.conduct.windows import site_zone
from escalation.ui import blocks
from escalation.ui.conduct_acts import Attempt, Values, act, receipt_at, show_receipt
from escalation.ui.conduct_desk import place_of
from escalation.ui.study_in_hand import chooser, study_in_hand


def opening_part(conduct: Conduct, token: str, user: User, unopened: list[str]) -> None:
    """The study shown whole, and the form that locks it in."""
    receipt = receipt_at("open:")
    if receipt is not None:
        show_receipt(place_of(conduct, token, user, receipt.trial), receipt, "Continue")
        return
    chooser()
    trial = st.selectbox("Trial", unopened, key="open:trial", help="Trials you are delegated in and nobody has opened.")
    with blocks.refusals_shown():
        study = study_in_hand()
        blocks.study_line(study)
        st.markdown(f"Hash of the study: `{study.hash}`")
        with st.expander("The study, whole", expanded=False):
            st.code(json.dumps(study.as_dict(), indent=2, ensure_ascii=False), language="json")
        names = criteria_names()
        own = names.index(study.id) if study.id in names else None
        zones = sorted(available_timezones())

        def show(key: Callable[[str], str]) -> list[str]:
            left, middle, right = st.columns(3)
            left.selectbox("Time zone of the site", zones, index=zones.index("UTC"), key=key("zone"))
            middle.selectbox(
                "Eligibility criteria", names, index=own, placeholder="none: verdicts as assessed", key=key("criteria")
            )
            right.number_input("Signatures that put a decision in effect", 1, 5, 1, key=key("needed"))
            st.text_input("Your password, to sign", type="password", key=key("password"), autocomplete="off")
            st.caption(blocks.plain(f"Signing as {user.full_name}: opens the trial under this protocol."))
            return ["zone", "criteria", "needed", "password"]

        def write(values: Values, attempt: Attempt) -> Receipt:
            site_zone(str(values["zone"]))
            return conduct.open_trial(
                token,
                trial,
                study,
                str(values["password"] or ""),
                zone=str(values["zone"]),
                criteria=values["criteria"],
                signatures_needed=int(values["needed"] or 1),
                key=attempt.key,
            )

        where = place_of(conduct, token, user, trial)
        act(where, f"open:{trial}:{study.hash}", show, write, button="Sign and open the trial", again="Continue")
