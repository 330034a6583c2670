"""Signing in and out over plain HTTP, so that the session token lives in a cookie no script can read.

The cookie is HttpOnly and SameSite=Strict, and Secure behind HTTPS. A form is accepted only from the site's
own pages. Lock-out, time-outs and the log are the accounts' own; nothing here decides who somebody is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from jinja2 import Environment
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from escalation.conduct.accounts import ABSOLUTE
from escalation.errors import EscalationError
from escalation.ui.signed_in import COOKIE, SIGN_IN, accounts

LONGEST: Final = 4096
"""Bytes a form may have: a name, a password and a place to return to."""

_TEMPLATE: Final = Environment(autoescape=True).from_string(
    Path(__file__).with_name("sign_in.html").read_text(encoding="utf-8")
)


def _safe_next(asked: str) -> str:
    """A page of this site to return to, whatever was asked for."""
    parts = urlsplit(asked)
    path = parts.path or "/"
    if not path.startswith("/") or path.startswith(("//", "/account")) or "\\" in path:
        path = "/"
    return path + (f"?{parts.query}" if parts.query else "")


def _form(next_page: str, name: str = "", refused: str = "", status: int = 200) -> HTMLResponse:
    page = _TEMPLATE.render(refused=refused, action=SIGN_IN, next=next_page, name=name)
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
        "frame-ancestors 'none'",
    }
    return HTMLResponse(page, status, headers)


def _from_here(request: Request) -> bool:
    """Whether the form comes from this site's own page."""
    origin = request.headers.get("origin") or request.headers.get("referer") or ""
    return bool(origin) and urlsplit(origin).netloc == request.headers.get("host")


async def sign_in(request: Request) -> Response:
    """The form, and what it sends."""
    if request.method == "GET":
        return _form(_safe_next(request.query_params.get("next", "/")))
    if int(request.headers.get("content-length") or LONGEST + 1) > LONGEST:
        return _form("/", refused="What was sent is too long for a name and a password.", status=413)
    if not _from_here(request):
        return _form("/", refused="Sign in on this page itself.", status=403)
    async with request.form() as sent:
        name, password, next_page = (str(sent.get(field) or "") for field in ("name", "password", "next"))
    try:
        signed = await run_in_threadpool(accounts().sign_in, name, password)
    except EscalationError as error:
        return _form(_safe_next(next_page), name, str(error), 401)
    answer = RedirectResponse(_safe_next(next_page), 303)
    answer.set_cookie(
        COOKIE,
        signed.token,
        max_age=int(ABSOLUTE.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


async def sign_out(request: Request) -> Response:
    """End the session and forget its cookie."""
    if not _from_here(request):
        return Response("Sign out on the site's own page.", 403)
    presented = request.cookies.get(COOKIE)
    if presented:
        await run_in_threadpool(accounts().sign_out, presented)
    answer = RedirectResponse("/trials", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


class QuietHeaders:
    """Headers that keep the pages out of frames of other sites and addresses out of their logs."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.setdefault("headers", [])
                present = {name.lower() for name, _ in headers}
                for name, value in _HEADERS:
                    if name not in present:
                        headers.append((name, value))
            await send(message)

        await self.app(scope, receive, told if scope["type"] == "http" else send)


_HEADERS: Final = (
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)
