"""What stands before a server on HTTP: the names by which it may be called, where a page may come from, the token."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from agentmem.addresses import hostname, is_address, is_loopback


class Guard:
    """Lets a request through that comes by a name of this machine, from no foreign page, and with the token.

    A web page can make a browser send requests to this machine, and by DNS rebinding also under the page's own name:
    that name stands in Host, and the page's in Origin.  An address as Host cannot be rebound.

    Args:
        app: what is guarded.
        host: the name or address that the server listens on.
        token: the bearer token; None lets everybody in.
    """

    def __init__(self, app: ASGIApp, *, host: str, token: str | None) -> None:
        self._app = app
        self._host = host.lower()
        self._token = None if token is None else token.encode()
        self._loopback = is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 421, 403 or 401 and the remedy."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await (self._refusal(Headers(scope=scope)) or self._app)(scope, receive, send)

    def _refusal(self, headers: Headers) -> JSONResponse | None:
        host = hostname(f"//{headers.get('host', '')}")
        if not self._is_ours(host):
            where = "localhost or 127.0.0.1" if self._loopback else f"{self._host} or the machine's address"
            return _refused(421, f"Host is not a name of this server; call it as {where}")
        origin = headers.get("origin")
        if origin is not None and not self._may_come_from(origin, host):
            return _refused(403, "Origin is a page that may not call this server; call it from a program instead")
        if self._token is not None:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
                return _refused(
                    401,
                    "the bearer token is missing or wrong; send 'Authorization: Bearer TOKEN' with the token that "
                    "the server was started with, or printed when it started",
                    {"WWW-Authenticate": "Bearer"},
                )
        return None

    def _is_ours(self, name: str | None) -> bool:
        if name is None:
            return False
        if name == self._host or is_loopback(name):
            return True
        return not self._loopback and is_address(name)

    def _may_come_from(self, origin: str, host: str | None) -> bool:
        name = hostname(origin) if origin.startswith(("http://", "https://")) else None
        return name is not None and (name == host or is_loopback(name))


def _refused(status: int, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": reason}, status_code=status, headers=headers)
