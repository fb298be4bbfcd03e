"""``agentmem mcp``: a store as a Model Context Protocol server."""

from __future__ import annotations

import logging
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from agentmem.cli.common import TIMEOUT, db_option, debug_option, open_store

if TYPE_CHECKING:
    from agentmem.adapters.mcp import Toolset
    from agentmem.store import MemoryStore

TOOLSETS = ("memory", "graph", "attention", "all")
HTTP_ONLY = {"host": "--host", "port": "--port", "token": "--token", "no_token": "--no-token"}


@click.command("mcp", short_help="Serve a store to agents by the Model Context Protocol.")
@db_option
@click.option(
    "--transport",
    type=click.Choice(["stdio", "streamable-http"]),
    default="stdio",
    show_default=True,
    help="How clients come: over this process's standard input and output, or over HTTP.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="HTTP: the address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8000,
    show_default=True,
    help="HTTP: the port; 0 takes a free one.",
)
@click.option(
    "--token",
    envvar="AGENTMEM_MCP_TOKEN",
    show_envvar=True,
    help="HTTP: what clients send as bearer token; without one, a random one is made and printed.",
)
@click.option("--no-token", is_flag=True, help="HTTP: let in whoever reaches the port; on loopback only.")
@click.option("--namespace", "-n", help="Confine everything to this namespace and the branch below it.")
@click.option("--read-only", is_flag=True, help="Serve only the tools that read; the store must exist.")
@click.option(
    "--toolset",
    type=click.Choice(TOOLSETS),
    default="memory",
    show_default=True,
    help="Serve the memory tools, and those of a knowledge graph, of the attention library, or all.",
)
@debug_option
@click.pass_context
def mcp_command(
    ctx: click.Context,
    db: Path,
    transport: str,
    host: str,
    port: int,
    token: str | None,
    no_token: bool,
    namespace: str | None,
    read_only: bool,
    toolset: Toolset,
) -> None:
    """Serve a store to agents by the Model Context Protocol, until the client is gone or the process is stopped.

    A store that is not there is made. On stdio nothing but the protocol is written to standard output.
    """
    sources = {option: ctx.get_parameter_source(name) for name, option in HTTP_ONLY.items()}
    given = [option for option, source in sources.items() if source is ParameterSource.COMMANDLINE]
    if transport == "stdio" and given:
        raise click.UsageError(f"{', '.join(given)}: for --transport streamable-http only")
    if token is not None and no_token:
        raise click.UsageError("--token and --no-token (or AGENTMEM_MCP_TOKEN) exclude each other")

    from agentmem.adapters.mcp import memory_server, serve_http, serve_stdio

    logging.basicConfig(level=logging.WARNING, format="agentmem: %(name)s: %(message)s")
    with _opened(db, read_only) as store:
        server = memory_server(store, namespace=namespace, read_only=read_only, toolset=toolset)
        if transport == "stdio":
            # A thread waits for standard input, and nothing wakes it: Ctrl-C ends the process at once, as a kill does.
            with _on(signal.SIGINT, signal.SIG_DFL):
                serve_stdio(server)
            return
        made = None if no_token or token is not None else secrets.token_urlsafe(32)

        def ready(url: str) -> None:
            click.echo(f"agentmem: serving {db} at {url}", err=True)
            if made is not None:
                click.echo(f"agentmem: token {made}", err=True)

        with _on(signal.SIGTERM, lambda *_: sys.exit(0)):
            serve_http(server, host=host, port=port, token=made if token is None else token, ready=ready)


@contextmanager
def _on(number: signal.Signals, handler: Any) -> Iterator[None]:
    """Have a signal handled so for as long as the block runs."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def _opened(db: Path, read_only: bool) -> MemoryStore:
    """Open a store for as long as a server runs: it merges in the background."""
    from agentmem.store import MemoryStore

    if read_only:
        return open_store(db, read_only=True)
    return MemoryStore(db, embedder="stored" if db.exists() else "static", timeout=TIMEOUT)
