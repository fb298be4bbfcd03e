"""The page's application: addresses, their parameters, and JSON; every answer comes from ``views``."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from agentmem.errors import AgentMemError, InvalidInput, NotFound, StoreBusy, StoreReadOnly
from agentmem.extras import missing
from agentmem.inspector.checks import CheckJob
from agentmem.inspector.guard import Access, Guard
from agentmem.inspector.views import Views
from agentmem.store import MemoryStore

try:
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.types import ASGIApp
except ImportError as error:
    raise missing("agentmem.inspector", "inspect", error) from error

log = logging.getLogger("agentmem.inspector")

TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
MAX_BODY = 64 * 1024
"""Bytes of a request's body, at most."""

Ask = Callable[[Request], Any]


def application(store: MemoryStore, access: Access, *, writable: bool = False) -> ASGIApp:
    """Return the ASGI application over an open store.

    Args:
        store: not closed by the application; opened with ``read_only=True`` unless ``writable``.
        access: who may ask.
        writable: whether feedback is taken.
    """
    views, checks = Views(store, writable=writable), CheckJob(store, full=writable)

    def begin_check() -> Any:
        checks.start()
        return checks.state()

    async def feedback(request: Request) -> Response:
        kind, body = request.headers.get("content-type", ""), await _body(request)
        return await _answer(lambda: _judge(views, kind, body))

    async def start_check(request: Request) -> Response:
        await _body(request)
        return await _answer(begin_check)

    routes = [
        Route("/", _static("index.html")),
        *(Route(f"/static/{name}", _static(name)) for name in _assets()),
        *(Route(f"/api/{name}", _asked(ask)) for name, ask in _questions(views, checks).items()),
        Route("/api/check", start_check, methods=["POST"]),
        Route("/api/feedback", feedback, methods=["POST"]),
    ]
    return Guard(Starlette(routes=routes), access)


def _questions(views: Views, checks: CheckJob) -> dict[str, Ask]:
    """Return what can be asked, each with the way from a request to ``views``."""
    return {
        "about": lambda _: views.about(),
        "namespaces": lambda r: views.namespaces(r.query_params.get("branch", ""), r.query_params.get("after")),
        "threads": lambda r: views.threads(_needed(r, "namespace"), r.query_params.get("after")),
        "timeline": lambda r: views.timeline(
            _needed(r, "namespace"),
            r.query_params.get("thread"),
            r.query_params.get("after"),
            newest_first=r.query_params.get("order") == "newest",
        ),
        "search": lambda r: views.search(
            _needed(r, "text"),
            k=_count(r, "k", 10),
            offset=_count(r, "offset", 0),
            namespace=r.query_params.get("namespace"),
            condition=r.query_params.get("filter"),
            mechanism=r.query_params.get("mechanism", "auto"),
        ),
        "record": lambda r: views.record(_needed(r, "id")),
        "health": lambda _: views.health(),
        "latency": lambda _: views.latency(),
        "learning": lambda _: views.learning(),
        "check": lambda _: checks.state(),
    }


def _assets() -> list[str]:
    return sorted(each.name for each in files(__package__).joinpath("static").iterdir() if each.is_file())


def _static(name: str) -> Callable[[Request], Response]:
    content = files(__package__).joinpath("static", name).read_bytes()
    kind = f"{TYPES[name.rpartition('.')[2]]}; charset=utf-8"
    return lambda _: Response(content, media_type=kind)


def _asked(ask: Ask) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await _answer(lambda: ask(request))

    return endpoint


async def _answer(ask: Callable[[], Any]) -> Response:
    """Return what ``ask`` says in a thread of its own, or what is wrong, as JSON."""
    try:
        return _json(await run_in_threadpool(ask))
    except AgentMemError as error:
        return _json({"error": str(error), "kind": type(error).__name__}, _status(error))
    except Exception as error:
        log.exception("a request of the page failed")
        message = f"internal error, {type(error).__name__}; the log of the command has the traceback"
        return _json({"error": message, "kind": "internal"}, 500)


def _status(error: AgentMemError) -> int:
    """Return the HTTP status that says the same as an exception."""
    kinds: list[tuple[type[AgentMemError], int]] = [
        (InvalidInput, 400),
        (NotFound, 404),
        (StoreReadOnly, 403),
        (StoreBusy, 503),
    ]
    return next((status for kind, status in kinds if isinstance(error, kind)), 500)


def _json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value, allow_nan=False), status, media_type="application/json")


def _needed(request: Request, name: str) -> str:
    value = request.query_params.get(name)
    if value is None:
        raise InvalidInput(f"{name} is missing")
    return value


def _count(request: Request, name: str, default: int) -> int:
    value = request.query_params.get(name, str(default))
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise InvalidInput(f"{name} must be a whole number, 0 or more")
    return int(value)


async def _body(request: Request) -> bytes:
    """Return the body, cut off one byte past what is allowed."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            break
    return body[: MAX_BODY + 1]


def _judge(views: Views, kind: str, body: bytes) -> Any:
    if not views.writable:
        raise StoreReadOnly("the page was opened read-only; run agentmem inspect with --write to give feedback")
    if len(body) > MAX_BODY:
        raise InvalidInput(f"the request is larger than {MAX_BODY} bytes")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise InvalidInput("feedback is sent as application/json, which no form of another site can do")
    try:
        judged = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidInput("the request is not JSON") from None
    return views.judge(judged)
