"""Beside the study's forms: whether the draft is sound, what is to be mended, and loading and saving."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

import streamlit as st

from escalation.errors import Fault
from escalation.ui import blocks, draft
from escalation.ui.draft import Draft

LARGEST_MB: Final = 1
"""Largest study file taken, in megabytes; the longest preset is a fiftieth of it."""
_UPLOAD: Final = "study_upload"
_REFUSED: Final = "study_upload_refused"


def state_of(now: Draft) -> None:
    """The state of the draft and what can be done with it as a whole."""
    if now.study is not None:
        st.success("Valid. Every page works with this study.", icon=":material/check_circle:")
        for line in now.study.notices:
            st.warning(blocks.plain(line), icon=":material/warning:")
        for line in now.study.warnings():
            st.warning(f"Unusual: {blocks.plain(line)}", icon=":material/info:")
    else:
        count = len(now.faults)
        st.error(
            f"{count} {'thing' if count == 1 else 'things'} to mend. The draft is kept; the other pages work with the "
            "last sound version until then.",
            icon=":material/error:",
        )
        blocks.faults(now.faults)
    refused: Fault | None = st.session_state.pop(_REFUSED, None)
    if refused is not None:
        st.error(f"The file was not loaded. {blocks.plain(str(refused))}")
    _actions(now)
    if now.study is not None:
        blocks.trace(now.study, "every default spelled out")
        with st.expander("The same on the command line"):
            st.code(f"escalation validate {now.study.id}.yaml", language="shell")
            st.caption(f"A saved file validates with this hash: {now.study.hash}")


def _actions(now: Draft) -> None:
    row = st.container(horizontal=True)
    name = str((now.data or {}).get("id") or "study")
    safe = "".join(each for each in name if each.isalnum() or each in "._-") or "study"
    row.download_button(
        "Save file" if now.study is not None else "Save the faulty draft",
        now.text,
        f"{safe}.yaml",
        "application/yaml",
        on_click="ignore",
        icon=":material/download:",
        help="The text as it stands, with its comments: the file the command line reads.",
    )
    row.button(
        "Undo", on_click=draft.undo, disabled=not draft.can_undo(), icon=":material/undo:", help="Take back a change"
    )
    if now.study is None:
        row.button("Back to the sound version", on_click=draft.discard, icon=":material/restore:")
    with st.expander("Load a study file", icon=":material/upload:"):
        st.file_uploader(
            "Study file (YAML or JSON)",
            ["yaml", "yml", "json"],
            key=_UPLOAD,
            max_upload_size=LARGEST_MB,
            on_change=_uploaded,
            help="Read strictly; every fault is listed.",
        )
        st.button(
            "Start from the commented template",
            on_click=lambda: draft.load(template()),
            help="The file that `escalation new` writes.",
        )


def template() -> str:
    """The commented study file to start from, as ``escalation new`` writes it."""
    return files("escalation").joinpath("template.yaml").read_text(encoding="utf-8")


def _uploaded() -> None:
    file = st.session_state.get(_UPLOAD)
    if file is None:
        return
    try:
        text = file.getvalue().decode("utf-8")
    except UnicodeDecodeError:
        st.session_state[_REFUSED] = Fault(file.name, "it is not UTF-8 text", "save it as UTF-8 and load it again")
        return
    draft.load(text)
