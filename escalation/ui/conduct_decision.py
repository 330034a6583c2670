"""A decision from its data to its effect: snapshot, recommendation, committee record, signatures, circulation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import streamlit as st

from escalation.conduct import records as r
from escalation.conduct.decision_gates import departs, sets_draw_aside
from escalation.conduct.decisions import gaps
from escalation.conduct.draws import draw_words
from escalation.conduct.listings import signature_words
from escalation.conduct.roles import Permission
from escalation.conduct.service import Receipt
from escalation.conduct.state import Decision
from escalation.regimens import Regimen, RegimenGrid
from escalation.ui import blocks
from escalation.ui.conduct_acts import Attempt, Values, act, receipt_at, show_receipt
from escalation.ui.conduct_committee import committee_form
from escalation.ui.conduct_desk import Desk, barred
from escalation.ui.conduct_fields import ask, fields_of, word
from escalation.ui.conduct_participant_acts import writer


def decision_view(desk: Desk) -> None:
    """The decision under way, step by step, and the decisions taken before."""
    receipt = receipt_at("decision:")
    if receipt is not None:
        show_receipt(desk, receipt, "Continue")
    else:
        _step(desk)
    _taken(desk)


def _step(desk: Desk) -> None:
    """The next step of the decision under way, with what it rests on."""
    state = desk.state
    newest = state.decisions.get(max(state.decisions, default=0))
    if newest is not None and newest.effective is None:
        if void(desk, newest):
            st.warning(
                f"The committee record {newest.seq} and its {len(newest.signatures)} signatures are void: the data "
                "changed since its snapshot. Take a new snapshot.",
                icon=":material/warning:",
            )
        else:
            _show_basis(desk, newest.recommendation)
            _sign(desk, newest)
            with st.expander("Start over with a new snapshot instead"):
                _take_snapshot(desk)
            return
    elif newest is not None and newest.circulated_at is None:
        _circulate(desk, newest)
    if state.trial_state().stage == "closed":
        st.info("The trial has ended by its rule; there is nothing left to decide.")
        return
    recommended = _current(desk)
    if recommended is not None:
        _show_basis(desk, state.recommendations[recommended])
        committee_form(desk, recommended)
        with st.expander("Start over with a new snapshot instead"):
            _take_snapshot(desk)
        return
    snapshot = _fresh(desk)
    if snapshot is not None:
        _show_snapshot(desk, snapshot)
        _recommend(desk, snapshot)
    else:
        _take_snapshot(desk)


def void(desk: Desk, decision: Decision) -> bool:
    """Whether the data of a decision have changed since its snapshot."""
    return bool(decision.snapshot.data.get("outcomes") != desk.state.outcomes())


def _last_effective(desk: Desk) -> int:
    return max((each.effective or 0 for each in desk.state.effective()), default=0)


def _fresh(desk: Desk) -> int | None:
    """The newest snapshot on which a decision can still be taken."""
    after = max(_last_effective(desk), max(desk.state.decisions, default=0))
    found = [
        seq
        for seq, each in desk.state.snapshots.items()
        if seq > after and each.data.get("outcomes") == desk.state.outcomes()
    ]
    return max(found, default=None)


def _current(desk: Desk) -> int | None:
    """The newest recommendation on the newest snapshot that holds."""
    snapshot = _fresh(desk)
    found = [seq for seq, each in desk.state.recommendations.items() if each.snapshot == snapshot]
    return max(found, default=None) if snapshot is not None else None


# the steps ------------------------------------------------------------------------------------------


def _button_only(text: str) -> Callable[[Callable[[str], str]], list[str]]:
    def show(key: Callable[[str], str]) -> list[str]:
        st.markdown(text)
        return []

    return show


def _take_snapshot(desk: Desk) -> None:
    st.markdown("#### 1. Snapshot")
    missing = gaps(desk.state)
    if missing:
        st.markdown("Gaps the snapshot would list:")
        blocks.lines(("gap", each) for each in missing)
    else:
        st.markdown("No gaps: every outcome is settled and no critical query is open.")
    if barred(desk, Permission.TAKE_SNAPSHOT):
        return

    def write(values: Values, attempt: Attempt) -> Receipt:
        return desk.conduct.snapshot(desk.token, desk.trial, expected_version=attempt.version, key=attempt.key)

    text = "Freeze the data the decision will rest on. It gets a hash; later changes void what is signed on it."
    act(desk, "decision:snapshot", _button_only(text), write, button="Take snapshot", again="Continue")


def _recommend(desk: Desk, snapshot: int) -> None:
    st.markdown("#### 2. Recommendation")
    if barred(desk, Permission.RECOMMEND):
        return

    def write(values: Values, attempt: Attempt) -> Receipt:
        return desk.conduct.recommend(
            desk.token, desk.trial, snapshot, expected_version=attempt.version, key=attempt.key
        )

    text = f"Ask the design on the snapshot of entry {snapshot}. The answer is recorded with rule, inputs and version."
    act(desk, "decision:recommend", _button_only(text), write, button="Record recommendation", again="Continue")


def _sign(desk: Desk, decision: Decision) -> None:
    committee = decision.committee
    needed = needed_signatures(desk, decision)
    st.markdown(f"#### 4. Signatures: {len({s['user'] for s in decision.signatures})} of {needed}")
    _show_committee(desk, decision)
    if barred(desk, Permission.SIGN_DECISION):
        return
    if desk.user.name in {each["user"] for each in decision.signatures}:
        st.caption("You have signed already; another member's signature is needed.")
        return

    def show(key: Callable[[str], str]) -> list[str]:
        st.markdown(
            f"**{blocks.plain(desk.user.full_name)}** agrees to: **{word(committee.action)}**. {desk.local(desk.now)}"
        )
        st.text_input("Your password, to sign", type="password", key=key("password"), autocomplete="off")
        return ["password"]

    def write(values: Values, attempt: Attempt) -> Receipt:
        password = str(values["password"] or "")
        return desk.conduct.sign_decision(
            desk.token, desk.trial, decision.seq, password, expected_version=attempt.version, key=attempt.key
        )

    act(desk, f"decision:sign:{decision.seq}", show, write, button="Sign", again="Continue")


def needed_signatures(desk: Desk, decision: Decision) -> int:
    """Signatures that put a decision in effect."""
    opened = desk.state.opened
    return max(opened.signatures_needed if opened is not None else 1, 2 if decision.committee.justification else 1)


def _circulate(desk: Desk, decision: Decision) -> None:
    st.markdown(f"#### 5. Circulate decision {decision.seq}")
    st.markdown("Clinic and pharmacy are told before the next dosing (G7).")
    if barred(desk, Permission.CIRCULATE):
        return
    fields = fields_of(r.Circulated, "to", "at")
    fields = [
        fields[0].starting("ward\npharmacy", required=True),
        fields[1].starting(None, label="Told at (empty: now)", required=True),
    ]
    write = writer(desk, r.Circulated, fields, {"committee": decision.seq}, now_where_empty="at")
    act(desk, f"decision:circulate:{decision.seq}", lambda key: ask(fields, key, desk.now), write, again="Continue")


# what a decision rests on ---------------------------------------------------------------------------


def _show_snapshot(desk: Desk, seq: int) -> None:
    snapshot = desk.state.snapshots[seq]
    st.markdown(f"**Snapshot of entry {seq}**: data as of entry {snapshot.as_of}")
    st.caption(f"Data hash {snapshot.data_hash}")
    _counts(desk, snapshot.data)
    if snapshot.gaps:
        blocks.lines(("gap", each) for each in snapshot.gaps)
    else:
        st.caption("No gaps.")


def _counts(desk: Desk, data: dict[str, Any]) -> None:
    grid = desk.state.in_force().protocol.grid
    rows = [
        (grid.describe(k), str(data["n"][k]), str(data["dlt"][k]), str(data["pending"][k])) for k in range(grid.size)
    ]
    blocks.table(("regimen", "evaluable", "with DLT", "pending"), rows)
    if "backfill" in data:
        counted = (*data["backfill"], data["responses"])
        below = [(grid.describe(k), *(str(each[k]) for each in counted)) for k in range(grid.size)]
        blocks.table(("regimen", "backfilled, evaluable", "with DLT", "pending", "responses, of all"), below)


def _show_basis(desk: Desk, recommendation: r.Recommended) -> None:
    """A recommendation with its snapshot, reasons and look-ahead."""
    advice, rule = recommendation.advice, desk.state.in_force().protocol.rule
    _show_snapshot(desk, recommendation.snapshot)
    st.markdown("**The design recommends**")
    blocks.say(str(advice["text"]))
    st.caption(
        f"{advice['design']} · study hash {recommendation.study_hash[:12]} · escalation {recommendation.software}"
    )
    for code in advice.get("reasons", ()):
        st.markdown(f"- {blocks.plain(rule.reason(code).line)}")
    _show_draw(advice, rule.grid)
    for line in advice.get("outlook", ()):
        st.markdown(f":material/event_upcoming: {blocks.plain(line)}")


def _show_draw(advice: dict[str, Any], grid: RegimenGrid) -> None:
    """The regimens the design recommends with their probabilities, and the draw between them."""
    possible = [(grid.index(Regimen(each["dose"], each["frequency"])), each) for each in advice.get("allocation", ())]
    if len(possible) < 2:
        return
    draw, taken = advice.get("draw"), advice.get("next")
    rows = []
    for k, each in possible:
        here = draw is not None and taken == {"dose": each["dose"], "frequency": each["frequency"]}
        rows.append((grid.describe(k), f"{each['probability']:.3g}", "drawn" if here else ""))
    blocks.table(("the design allows", "probability", ""), rows)
    if draw is not None:
        st.caption(
            f"Drawn by the service with {draw_words(draw)}. Asking again draws the same; the committee may treat at "
            "another of these regimens, and then says why it sets the draw aside."
        )


def _show_committee(desk: Desk, decision: Decision) -> None:
    committee, grid = decision.committee, desk.state.in_force().protocol.grid
    where = ""
    if committee.regimen is not None:
        index = grid.index(Regimen(committee.regimen.dose, committee.regimen.frequency))
        where = f" {grid.describe(index)}, {committee.size} participants"
    advice = decision.recommendation.advice
    aside = sets_draw_aside(committee, advice)
    kept = "kept" if committee.regimen is not None and not departs(committee, advice) else "not followed"
    rows = [
        ("Decision", f"{word(committee.action)}{where}"),
        ("Meeting", committee.meeting),
        ("Attendance", "; ".join(committee.attendance)),
        ("Discussion", committee.discussion),
        ("Departs from the recommendation", "yes" if departs(committee, advice) else "no"),
        ("Justification", committee.justification or "none"),
        *([("Draw", f"set aside: {committee.draw_set_aside}" if aside else kept)] if "draw" in advice else []),
        ("Dissent", committee.dissent or "none"),
        ("Acknowledged", "; ".join(committee.acknowledged) or "nothing"),
        *(("Signature", signature_words(each)) for each in decision.signatures),
    ]
    blocks.records(("committee record", f"entry {decision.seq}"), rows)


def _taken(desk: Desk) -> None:
    """Decisions in effect, with what contradicts them, and those that never came into effect, with why."""
    decisions = list(desk.state.decisions.values())
    if not decisions:
        return
    st.markdown("#### Decisions")
    contradicted = desk.state.contradicted()
    for decision in reversed(decisions):
        heading = f"Decision {decision.seq}: {word(decision.committee.action)}, {standing(desk, decision)}"
        with st.expander(heading, expanded=decision.seq in contradicted):
            if decision.seq in contradicted:
                st.error(
                    f"The outcome of {', '.join(contradicted[decision.seq])} has changed since. The snapshot stays as "
                    "it was; the committee must meet again before anybody is assigned.",
                    icon=":material/warning:",
                )
            _show_committee(desk, decision)
            recommended = blocks.plain(str(decision.recommendation.advice["text"]))
            st.caption(f"Recommended: {recommended} Snapshot {decision.snapshot.data_hash}")


def standing(desk: Desk, decision: Decision) -> str:
    """Where a decision stands, in words."""
    if decision.effective is not None:
        told = decision.circulated_at
        circulated = f"circulated {desk.local(told)}" if isinstance(told, datetime) else "not circulated"
        return f"in effect since entry {decision.effective}, {circulated}"
    if decision.seq < max(desk.state.decisions):
        return "never in effect: superseded by a later committee record"
    if void(desk, decision):
        return f"void: the data changed before it had its {needed_signatures(desk, decision)} signatures"
    return "waits for signatures"
