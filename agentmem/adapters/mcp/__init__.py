"""A Model Context Protocol server over a store: memory for any agent that speaks MCP.

``agentmem mcp`` starts it; ``memory_server`` makes it for a program of one's own.
"""

from agentmem.extras import missing

try:
    from agentmem.adapters.mcp.server import TOOLSETS, Toolset, memory_server, serve_http, serve_stdio
except ImportError as error:
    raise missing("agentmem.adapters.mcp", "mcp", error) from error

__all__ = ["TOOLSETS", "Toolset", "memory_server", "serve_http", "serve_stdio"]
