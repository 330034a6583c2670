"""The front end as one web application: the pages, and the sign-in that keeps its token out of reach of scripts."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware
from starlette.routing import Route

from escalation.ui import signed_in
from escalation.ui.account_routes import QuietHeaders, sign_in, sign_out


@asynccontextmanager
async def _serving(_: st.App) -> AsyncIterator[None]:
    """While it serves, the sign-in keeps its token in a cookie."""
    signed_in.served = True
    yield


def _log(error: Exception) -> None:
    """Defects go to the server's log; the reader gets no traceback."""
    logging.getLogger("escalation.ui").error("a page failed", exc_info=error)


app = st.App(
    Path(__file__).with_name("router.py"),
    routes=[
        Route(signed_in.SIGN_IN, sign_in, methods=["GET", "POST"]),
        Route(signed_in.SIGN_OUT, sign_out, methods=["POST"]),
    ],
    middleware=[Middleware(QuietHeaders)],
    on_script_error=_log,
    lifespan=_serving,
)
