"""Who may ask the page's server: this machine's browser, with the cookie that the token was exchanged for.

Any page in the browser can send requests to a port of this machine; the server therefore looks at ``Host`` (a name
that was made to point here is refused), at ``Origin`` and ``Sec-Fetch-Site`` (another site's page is refused), and at
a cookie that is sent to no other site and that no script can read.  What an answer may do in the browser is told in
its headers.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from html import escape

from agentmem.addresses import hostname, is_address, is_loopback
from agentmem.extras import missing

try:
    from starlette.datastructures import MutableHeaders
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, RedirectResponse, Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
except ImportError as error:
    raise missing("agentmem.inspector", "inspect", error) from error

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Sent with every answer: no script but the package's own, nothing from elsewhere, and no string becomes markup."""


@dataclass(frozen=True, slots=True)
class Access:
    """What the guard goes by.

    Attributes:
        host: the address that the server is bound to, an IP address or "localhost".
        token: what the first address must carry; None lets every browser of this machine in.
        cookie: the name of the cookie; of the port, since cookies do not know ports.
        session: what the cookie holds; it ends with the server.
    """

    host: str = "127.0.0.1"
    token: str | None = None
    cookie: str = "agentmem"
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32))


class Guard:
    """Lets a request through to the application, or answers it."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer = self._refusal(Request(scope)) or self._app
        await answer(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        """Return the answer to a request that goes no further, None for one that does."""
        if not self._known_host(request.headers.getlist("host")):
            return _page(421, "This address is not the page's", "Open the address that agentmem inspect printed.")
        fetched = request.headers.get("sec-fetch-site", "same-origin")
        if request.url.path != "/" and fetched not in ("same-origin", "none"):
            return _page(403, "Asked by another site", "Only the page itself may ask for this.")
        if request.method not in ("GET", "HEAD") and not _same_origin(request):
            return _page(403, "Asked by another site", "A change needs the page's own Origin.")
        given = request.query_params.get("token")
        if request.url.path == "/" and given is not None and _same(given, self._access.token):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(self._access.cookie, self._access.session, httponly=True, samesite="strict")
            return answer
        if self._access.token is None or _same(request.cookies.get(self._access.cookie, ""), self._access.session):
            return None
        return _page(
            401, "A token is needed", "Open the whole address that agentmem inspect printed, with its ?token=…"
        )

    def _known_host(self, given: list[str]) -> bool:
        """Say whether ``Host`` is "localhost" or a number, never a name that somebody else can make point here."""
        name = hostname(f"//{given[0]}") if len(given) == 1 else None
        if name is None:
            return False
        return is_loopback(name) or (is_address(name) and not is_loopback(self._access.host))


def _same(given: str, expected: str | None) -> bool:
    """Compare in a time that does not tell how much of it is right."""
    return expected is not None and hmac.compare_digest(given.encode(), expected.encode())


def _same_origin(request: Request) -> bool:
    origin = request.headers.get("origin", "")
    return origin in (f"http://{request.headers['host']}", f"https://{request.headers['host']}")


def _page(status: int, title: str, text: str) -> Response:
    """Return a page that says in words why there is nothing else."""
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
    return HTMLResponse(f"{head}<main><h1>{escape(title)}</h1><p>{escape(text)}</p></main></html>", status)
