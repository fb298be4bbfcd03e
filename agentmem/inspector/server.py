"""Binds the page's socket, says its address, and answers until it is interrupted."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from agentmem.addresses import is_address, is_loopback
from agentmem.errors import InvalidInput
from agentmem.extras import missing
from agentmem.inspector.app import application
from agentmem.inspector.guard import Access
from agentmem.store import MemoryStore

try:
    import uvicorn
except ImportError as error:
    raise missing("agentmem.inspector", "inspect", error) from error

GRACE = 2
"""Seconds for requests under way when the server is told to end."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to serve, and who is let in.

    Attributes:
        host: an IP address, or "localhost".
        port: 0 for one that is free.
        token: what the first address must carry; None makes a random one.
        open_to_all: no token at all; on loopback only.
    """

    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = None
    open_to_all: bool = False


def serve(store: MemoryStore, place: Place, announce: Callable[[str], None], *, writable: bool = False) -> None:
    """Serve the page until SIGINT or SIGTERM.

    Args:
        store: as for ``app.application``.
        place: where, and for whom.
        announce: told the page's address, with its token, once it can be opened.
        writable: whether feedback is taken.

    Raises:
        InvalidInput: a host that is no address, or no token where other machines can reach it.
        OSError: the address cannot be bound.
    """
    _check(place)
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    with socket.create_server((place.host, place.port), family=family) as bound:
        port = bound.getsockname()[1]
        token = None if place.open_to_all else place.token or secrets.token_urlsafe(32)
        app = application(store, Access(place.host, token, f"agentmem-{port}"), writable=writable)
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE,
        )
        name = f"[{place.host}]" if ":" in place.host else place.host
        announce(f"http://{name}:{port}/" + (f"?token={quote(token, safe='')}" if token else ""))
        try:
            uvicorn.Server(config).run(sockets=[bound])
        except KeyboardInterrupt:
            return


def _check(place: Place) -> None:
    if place.host != "localhost" and not is_address(place.host):
        raise InvalidInput(f"host must be an IP address or localhost, got {place.host!r}")
    if place.open_to_all and not is_loopback(place.host):
        raise InvalidInput(f"without a token only this machine may be let in; {place.host} can be reached from others")
    if place.token is not None and not (place.token.isascii() and place.token.isprintable() and len(place.token) >= 8):
        raise InvalidInput("a token has at least 8 characters, ASCII and printable; leave it out to get a random one")
