"""What stands before the server on HTTP: every refusal, by raw requests; and the command's options."""

import httpx2
import pytest
from click.testing import CliRunner
from mcp_kit import guarded_server, http_server

import agentmem
from agentmem.adapters.mcp import TOOLSETS, memory_server, serve_http
from agentmem.adapters.mcp.guard import Guard
from agentmem.addresses import is_loopback
from agentmem.cli import main
from agentmem.cli import mcp as mcp_cli

HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}},
}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with guarded_server(tmp_path_factory.mktemp("http") / "memory.db") as server:
        yield server


@pytest.fixture(scope="module")
def open_server(tmp_path_factory):
    with http_server(tmp_path_factory.mktemp("open") / "memory.db", "--no-token") as server:
        yield server


def post(server, path=None, **headers):
    """Say hello to a server with these headers; None leaves one out."""
    sent = ACCEPT | server.headers() | {name.replace("_", "-"): value for name, value in headers.items()}
    url = server.url if path is None else server.url.replace("/mcp", path)
    return httpx2.post(url, json=HELLO, headers={k: v for k, v in sent.items() if v is not None}, timeout=60)


def port(server):
    return server.url.split(":")[2].split("/")[0]


def test_with_the_token_it_answers(server):
    answer = post(server)
    assert answer.status_code == 200
    assert '"serverInfo"' in answer.text
    assert "server" not in answer.headers


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", "Basic {token}", "{token}", "Bearer {token}x", "Bearer \xe9"],
)
def test_without_the_token_it_is_401(server, authorization):
    given = None if authorization is None else authorization.format(token=server.token).encode("latin-1")
    answer = post(server, Authorization=given)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "Authorization: Bearer TOKEN" in answer.json()["error"]


@pytest.mark.parametrize("path", ["/", "/mcp/", "/other", "/.well-known/oauth-protected-resource"])
def test_no_path_goes_round_the_token(server, path):
    assert post(server, path, Authorization=None).status_code == 401


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "PUT"])
def test_no_method_goes_round_the_token(server, method):
    assert httpx2.request(method, server.url, timeout=60).status_code == 401


FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:{port}",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "192.168.1.7",
    "0.0.0.0:{port}",
    "localhost.",
    "[::1",
    "user@evil.example",
]


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
@pytest.mark.parametrize("kind", ["server", "open_server"])
def test_a_name_that_is_not_this_machine_s_is_421(request, kind, host):
    server = request.getfixturevalue(kind)
    answer = post(server, Host=host.format(port=port(server)))
    assert answer.status_code == 421
    assert "127.0.0.1" in answer.json()["error"]


@pytest.mark.parametrize("host", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "LOCALHOST", "127.0.0.1:9"])
def test_a_name_of_this_machine_is_taken(server, host):
    assert post(server, Host=host.format(port=port(server))).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "https://localhost.evil.example",
        "null",
        "",
        "file://",
        "http://192.168.1.7",
        "http://[",
        "x",
    ],
)
@pytest.mark.parametrize("kind", ["server", "open_server"])
def test_a_foreign_page_is_403(request, kind, origin):
    answer = post(request.getfixturevalue(kind), Origin=origin)
    assert answer.status_code == 403
    assert "Origin" in answer.json()["error"]


@pytest.mark.parametrize("origin", ["http://localhost:6274", "https://127.0.0.1", "http://[::1]:3000"])
def test_a_page_of_this_machine_is_taken(server, origin):
    assert post(server, Origin=origin).status_code == 200


def test_without_token_on_loopback_it_answers(open_server):
    assert post(open_server).status_code == 200


def test_a_body_that_is_no_protocol_is_refused(server):
    headers = ACCEPT | server.headers()
    for body, type in ((b"{", "application/json"), (b"{}", "application/json"), (b"x", "text/plain")):
        answer = httpx2.post(server.url, content=body, headers=headers | {"Content-Type": type}, timeout=60)
        assert 400 <= answer.status_code < 500
    huge = httpx2.post(
        server.url, content=b" " * (5 << 20), headers=headers | {"Content-Type": "application/json"}, timeout=60
    )
    assert huge.status_code == 413
    assert post(server).status_code == 200


def guarded(host, headers, token="t"):
    """Return the status by which a guard refuses, or None where it lets through."""
    import anyio

    sent = []

    async def app(scope, receive, send):
        sent.append({"status": None})

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "headers": [(k.encode(), v.encode()) for k, v in headers.items()]}
    anyio.run(Guard(app, host=host, token=token), scope, None, send)
    return sent[0]["status"]


GOOD = {"authorization": "bearer t"}


@pytest.mark.parametrize(
    ("host", "headers", "status"),
    [
        ("0.0.0.0", {"host": "192.168.1.7:8000"}, None),
        ("0.0.0.0", {"host": "localhost"}, None),
        ("0.0.0.0", {"host": "evil.example"}, 421),
        ("0.0.0.0", {}, 421),
        ("0.0.0.0", {"host": "192.168.1.7", "origin": "http://192.168.1.7:1"}, None),
        ("0.0.0.0", {"host": "192.168.1.7", "origin": "http://192.168.1.8"}, 403),
        ("memory.example", {"host": "Memory.Example:8000"}, None),
        ("memory.example", {"host": "memory.example", "origin": "https://memory.example"}, None),
        ("memory.example", {"host": "other.example"}, 421),
        ("::1", {"host": "[::1]:8000"}, None),
    ],
)
def test_beyond_loopback_an_address_or_the_given_name_is_taken(host, headers, status):
    assert guarded(host, GOOD | headers) == status


@pytest.mark.parametrize(
    ("name", "there"), [("localhost", True), ("127.9.9.9", True), ("::1", True), ("1.1.1.1", False)]
)
def test_what_is_loopback(name, there):
    assert is_loopback(name) is there


@pytest.mark.parametrize("token", ["", "a b", "é", "a\nb"])
def test_a_token_that_no_header_takes_is_refused(token):
    with agentmem.MemoryStore(":memory:") as store, pytest.raises(agentmem.InvalidInput, match="the token must be"):
        serve_http(memory_server(store), port=0, token=token)


WRONG = [
    (["--port", "1"], "--port: for --transport streamable-http only"),
    (["--host", "localhost", "--no-token"], "--host, --no-token: for --transport"),
    (["--transport", "streamable-http", "--token", "x", "--no-token"], "exclude each other"),
    (["--transport", "streamable-http", "--host", "0.0.0.0", "--no-token", "--port", "0"], "needs a token"),
    (["--transport", "sse"], "is not one of"),
    (["--port", "65536"], "65536"),
    (["--toolset", "magic"], "is not one of"),
    (["--namespace", ""], "namespace"),
    (["--transport", "streamable-http", "--token", "a b"], "the token must be"),
]


@pytest.mark.parametrize(("options", "told"), WRONG, ids=range(len(WRONG)))
def test_wrong_usage_is_code_2(tmp_path, options, told):
    done = CliRunner().invoke(main, ["mcp", "--db", str(tmp_path / "m.db"), *options])
    assert done.exit_code == 2
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_port_that_is_taken_is_told(tmp_path, server):
    options = ["mcp", "--db", str(tmp_path / "m.db"), "--transport", "streamable-http", "--port", port(server)]
    done = CliRunner().invoke(main, options)
    assert done.exit_code == 1
    assert "in use" in done.stderr


def test_the_command_knows_the_toolsets():
    assert mcp_cli.TOOLSETS == TOOLSETS
