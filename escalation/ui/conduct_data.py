"""Data of a trial: listings, exports, imports, and the verification of the ledger."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

import streamlit as st

from escalation.conduct.import_apply import apply
from escalation.conduct.import_columns import COLUMNS, Kind, describe
from escalation.conduct.imports import ImportRefused, read_csv
from escalation.conduct.listings import LISTINGS, listings
from escalation.conduct.roles import Permission
from escalation.conduct.service import Receipt
from escalation.conduct.verify import verify_trial
from escalation.trial_desk import check_version, refused
from escalation.ui import blocks
from escalation.ui.conduct_acts import Attempt, Values, act, receipt_at, show_receipt
from escalation.ui.conduct_desk import Desk, barred
from escalation.ui.conduct_files import FILES, listing_csv

PARTS: Final = ("Listings", "Exports", "Import", "Verify")


def data_view(desk: Desk) -> None:
    """The chosen part."""
    part = st.segmented_control(
        "Part", PARTS, default=PARTS[0], key=f"data:{desk.trial}", persist_state="session", label_visibility="collapsed"
    )
    {PARTS[1]: _exports, PARTS[2]: _import, PARTS[3]: _verify}.get(part or PARTS[0], _listings)(desk)


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _listings(desk: Desk) -> None:
    name = st.selectbox(
        "Listing",
        list(LISTINGS),
        format_func=lambda each: each.replace("_", " "),
        key="data:listing",
        persist_state="page",
    )
    frame = listings(desk.book, desk.conduct.accounts.now())[name]
    if desk.may(Permission.EXPORT):
        st.download_button(
            "Download as CSV",
            partial(listing_csv, desk, name),
            f"{desk.trial}-{name}.csv",
            "text/csv",
            on_click="ignore",
            key=f"data:csv:{name}",
        )
    rows = [tuple("" if value is None else str(value) for value in row) for row in frame.itertuples(index=False)]
    st.caption(f"{len(rows)} rows, made of {desk.head.seq} entries, head {desk.head.hash[:16]}")
    blocks.records([column.replace("_", " ") for column in frame.columns], rows)


def _exports(desk: Desk) -> None:
    if barred(desk, Permission.EXPORT):
        return
    st.caption("A file is made when its button is pressed, and the account log says who took it.")
    for name, (label, ending, mime, made, what) in FILES.items():
        with st.container(border=True):
            st.markdown(f"**{label}**. {what}")
            st.download_button(
                f"Download {label}",
                partial(made, desk),
                f"{desk.trial}-{name}.{ending}",
                mime,
                on_click="ignore",
                key=f"data:file:{name}",
            )
    st.code(f"escalation trial export {desk.trial} --excel FILE", language="shell")


def _import(desk: Desk) -> None:
    if barred(desk, Permission.IMPORT_DATA):
        return
    receipt = receipt_at("data:import")
    if receipt is not None:
        show_receipt(desk, receipt, "Continue")
        return
    kind = cast(
        Kind,
        st.selectbox(
            "What the file holds", list(COLUMNS), format_func=lambda each: each.replace("_", " "), key="data:kind"
        ),
    )
    with st.expander("Columns of this file"):
        st.code(describe(kind), language=None)
    file = st.file_uploader(
        "CSV file, UTF-8; times without offset are the site's", type="csv", key=f"data:upload:{kind}", max_upload_size=5
    )
    if file is None:
        return
    data = file.getvalue()
    try:
        records = read_csv(kind, data, zone=desk.zone)
    except ImportRefused as error:
        st.error(f"Nothing can be imported from this file; {len(error.faults)} things to mend.")
        rows = [(str(each.row), each.column, each.value, each.rule, each.remedy) for each in error.faults]
        blocks.records(("row", "column", "value", "what is wrong", "what to do"), rows)
        return

    def show(key: Callable[[str], str]) -> list[str]:
        people = {getattr(each, "participant", "") for each in records}
        st.markdown(f"**{len(records)} records** of {len(people)} participants were read. All are recorded, or none.")
        return []

    def write(values: Values, attempt: Attempt) -> Receipt:
        check_version(desk.conduct, desk.trial, attempt.version)
        made: Any = apply(desk.conduct, desk.token, desk.trial, records)
        if not made:
            raise refused("every record of this file is in the ledger already")
        return Receipt(made)

    act(desk, f"data:import:{kind}:{file.file_id}", show, write, button="Import", again="Continue")


def _verify(desk: Desk) -> None:
    st.markdown(
        "Every entry is hashed again, the trial is folded again from its first entry, and every recorded "
        "recommendation is decided again."
    )
    if barred(desk, Permission.VERIFY):
        return
    known = st.text_input(
        "A head hash you kept (optional)", "", key="data:head", help="Only a hash kept elsewhere shows a cut-off tail."
    )
    if not st.button("Verify now", type="primary", key="data:verify"):
        return
    with st.spinner("Verifying"):
        desk.conduct.authorise(desk.token, desk.trial, Permission.VERIFY)
        head = known.strip() or None
        chain = desk.conduct.ledger.check(desk.trial, head)
        report = verify_trial(desk.trial, desk.conduct.ledger.entries(desk.trial), head) if chain.ok else None
    if report is None:
        st.error(blocks.plain(str(chain)), icon=":material/gpp_bad:")
    elif report.ok:
        st.success(blocks.plain(str(report)), icon=":material/verified:")
    else:
        st.error(blocks.plain(str(report)), icon=":material/gpp_bad:")
        blocks.records(("entry", "how it departs"), [(str(each.seq), each.problem) for each in report.findings])
    st.caption("Keep the head hash: a chain alone cannot show that its tail was cut off.")
    st.code(desk.head.hash, language=None)
