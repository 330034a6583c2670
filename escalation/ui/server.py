"""The front end as one web application: the pages, and the sign-in that keeps its token out of reach of scripts."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

app = st.App(Path(__file__).with_name("router.py"))
