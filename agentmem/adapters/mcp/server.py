"""The server: which tools it has, what it tells an agent of itself, and how it is run on stdio or HTTP."""

from __future__ import annotations

import socket
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Literal, get_args

import anyio
import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings

from agentmem import InvalidInput, MemoryStore
from agentmem.adapters.mcp.attention_tools import attention_tools
from agentmem.adapters.mcp.graph_tools import graph_tools
from agentmem.adapters.mcp.guard import Guard
from agentmem.adapters.mcp.memory_tools import memory_tools
from agentmem.adapters.mcp.scope import Scope
from agentmem.adapters.mcp.tool import Tool
from agentmem.addresses import is_loopback

Toolset = Literal["memory", "graph", "attention", "all"]
TOOLSETS: tuple[Toolset, ...] = get_args(Toolset)
PATH = "/mcp"
CLOSING_S = 5
"""Seconds that open streams are given to end when the server is stopped."""

_MEMORY = (
    "A memory that outlives this conversation. Recall before you answer what you cannot know from the conversation: "
    "about the user, earlier decisions, people, projects. {writing}Memories lie in namespaces, path-like names such as "
    "projects/boat; a name with a '/' at its end means the branch below it."
)
_WRITING = (
    "Remember what will be worth knowing later, one self-contained fact a memory; update what has changed and forget "
    "what is wrong, by id. After a recall that mattered, give feedback: the store learns from it. "
)
_GRAPH = " The knowledge graph holds entities, facts about them and relations; recall finds those too, in graph/."
_ATTENTION = (
    " The attention_ tools compute and compare attention mechanisms; they have nothing to do with the memories."
)


def memory_server(
    store: MemoryStore, *, namespace: str | None = None, read_only: bool = False, toolset: Toolset = "memory"
) -> MCPServer[Any]:
    """Return an MCP server over a store, which stays the caller's to close.

    Args:
        store: open; may be shared with other servers, threads and processes.
        namespace: confine everything to this one and the branch below it, whose names are relative then.
        read_only: have only the tools that read.
        toolset: "memory", or those and the tools of "graph", of "attention", or "all" of them.

    Raises:
        InvalidInput: no such toolset, an empty namespace, or a store that cannot embed what it is to remember.
    """
    if toolset not in TOOLSETS:
        raise InvalidInput(f"toolset must be one of {', '.join(map(repr, TOOLSETS))}, got {toolset!r}")
    if not read_only and store.embedder is None:
        raise InvalidInput(
            f"the store {store.path} has no embedder: a program gives it vectors, which an agent cannot; serve it with "
            "read_only=True, or --read-only on the command line"
        )
    scope = Scope(namespace)
    tools: list[Tool] = [*memory_tools(store, scope)]
    instructions = _MEMORY.format(writing="" if read_only else _WRITING)
    if toolset in ("graph", "all"):
        tools += graph_tools(store, scope)
        instructions += _GRAPH
    if toolset in ("attention", "all"):
        tools += attention_tools()
        instructions += _ATTENTION
    return MCPServer(
        "agentmem",
        title="agentmem",
        version=version("agentmem"),
        instructions=instructions,
        tools=[tool for tool in tools if tool.reads_only or not read_only],
        log_level="WARNING",
        subscriptions=False,
    )


def serve_stdio(server: MCPServer[Any]) -> None:
    """Serve one client on standard input and output, until it closes them.  Nothing else is written there."""
    anyio.run(server.run_stdio_async)


def serve_http(
    server: MCPServer[Any],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None,
    ready: Callable[[str], object] = print,
) -> None:
    """Serve any number of clients on streamable HTTP, until the process is told to stop.

    Args:
        server: with its tools.
        host: to listen on.
        port: to listen on; 0 for one that is free.
        token: that clients have to send as bearer token; None asks for none, on loopback only.
        ready: is called with the URL once it can be called.

    Raises:
        InvalidInput: an empty token, or none on an address that other machines reach.
        OSError: the address cannot be listened on.
    """
    if token is not None and not (token.isascii() and token.isprintable() and token and " " not in token):
        raise InvalidInput("the token must be printable ASCII characters without a blank, as a header takes them")
    if token is None and not is_loopback(host):
        raise InvalidInput(f"{host} is reached from other machines; a server there needs a token")
    listening = _listen(host, port)
    # The guard checks Host and Origin, for every path; the SDK would do so for one, and by a list of names.
    app = server.streamable_http_app(
        streamable_http_path=PATH, transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False)
    )
    guarded = Guard(app, host=host, token=token)
    config = uvicorn.Config(
        guarded,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=CLOSING_S,
    )
    with listening:
        name = f"[{host}]" if ":" in host else host
        ready(f"http://{name}:{listening.getsockname()[1]}{PATH}")
        uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)
