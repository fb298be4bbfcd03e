"""Clients and servers for the tests of the MCP server."""

import os
import re
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager

import anyio
import pytest

pytest.importorskip("mcp", reason='pip install "agentmem[mcp]"')

import httpx2
from jsonschema import validate
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

MODES = ("legacy", "auto")
"""With the handshake of the protocol's older versions, and without."""
MEMORY = ["remember", "recall", "update", "forget", "list_namespaces", "feedback"]
GRAPH = [
    *("create_entities", "create_relations", "add_observations", "delete_entities", "delete_observations"),
    *("delete_relations", "read_graph", "search_nodes", "open_nodes"),
]
ATTENTION = ["attention_list", "attention_compute", "attention_benchmark", "attention_recommend"]


def run(function, *arguments):
    """Run a coroutine function to its end, two minutes at most."""

    async def bounded():
        with anyio.fail_after(120):
            return await function(*arguments)

    return anyio.run(bounded)


def command(db, *options):
    """Return the command line of a server."""
    return [sys.executable, "-m", "agentmem.cli", "mcp", "--db", str(db), *options]


def stdio(db, *options):
    """Return how a client starts a server for itself."""
    program, *arguments = command(db, *options)
    return StdioServerParameters(command=program, args=arguments, env={"PYTHONPATH": os.environ["PYTHONPATH"]})


async def ask(client, tool, /, **arguments):
    """Call a tool and return its structured answer; it must not be an error."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content[0].text
    return result.structured_content


async def refusal(client, tool, /, **arguments):
    """Call a tool and return the text of its error; it must be one, in one line."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error, result.structured_content
    text = result.content[0].text
    assert "\n" not in text
    assert "Traceback" not in text
    return text


def fits(result, tool):
    """Check a structured answer against the schema that the tool publishes."""
    validate(result.structured_content, tool.output_schema)


async def names(client):
    """Return the names of a server's tools, in their order."""
    return [tool.name for tool in (await client.list_tools()).tools]


class HttpServer:
    """A server process on loopback."""

    def __init__(self, db, *options, env=None):
        arguments = command(db, "--transport", "streamable-http", "--port", "0", *options)
        self.process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | (env or {}),
        )
        self.url = re.fullmatch(r"agentmem: serving .* at (http://\S+/mcp)", self.line())[1]
        self.token = None

    def line(self):
        """Return the next line that it tells."""
        return self.process.stderr.readline().rstrip("\n")

    def read_token(self):
        """Return the token that it has made."""
        self.token = re.fullmatch(r"agentmem: token (\S{43})", self.line())[1]
        return self.token

    def headers(self):
        """Return what a client sends."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    @asynccontextmanager
    async def client(self, mode="auto"):
        """Give a client that is connected."""
        async with (
            httpx2.AsyncClient(headers=self.headers(), timeout=60) as http,
            Client(streamable_http_client(self.url, http_client=http), mode=mode) as client,
        ):
            yield client


@contextmanager
def http_server(db, *options, env=None):
    """Give a server process, and end it; it has written nothing to its standard output."""
    server = HttpServer(db, *options, env=env)
    try:
        yield server
    finally:
        server.process.terminate()
        output, _ = server.process.communicate(timeout=60)
    assert output == ""


@contextmanager
def guarded_server(db, *options):
    """Give a server process that has made a token, which is read."""
    with http_server(db, *options) as server:
        server.read_token()
        yield server
