"""``agentmem inspect``, in this process and as a process of its own."""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from command_kit import run
from page_kit import TOKEN

pytest.importorskip("starlette", reason='pip install "agentmem[inspect]"')
pytest.importorskip("uvicorn", reason='pip install "agentmem[inspect]"')
from agentmem import MemoryStore
from agentmem.addresses import is_loopback
from agentmem.inspector import server


@pytest.fixture
def served(monkeypatch):
    """Note what would be served rather than serving it; the address is announced."""
    calls = []

    def noted(store, place, announce, *, writable=False):
        calls.append((store.database.read_only, place, writable))
        announce("http://127.0.0.1:1/?token=x")

    monkeypatch.setattr(server, "serve", noted)
    return calls


def test_the_store_is_read_only_unless_asked_for(copy, served):
    assert run("inspect", "--db", copy).code == 0
    assert run("inspect", "--db", copy, "--write").code == 0
    assert [(read_only, writable) for read_only, _, writable in served] == [(True, False), (False, True)]
    assert served[0][1] == server.Place("127.0.0.1", 0, None, False)


def test_where_and_for_whom_is_passed_on(copy, served):
    run("inspect", "--db", copy, "--host", "::1", "--port", "8123", "--token", TOKEN)
    run("inspect", "--db", copy, "--no-token")
    assert [place for _, place, _ in served] == [
        server.Place("::1", 8123, TOKEN, False),
        server.Place("127.0.0.1", 0, None, True),
    ]


def test_the_address_is_printed_and_opened_when_asked_for(copy, served, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert "http://127.0.0.1:1/?token=x" in run("inspect", "--db", copy).out.splitlines()
    assert not opened
    assert run("inspect", "--db", copy, "--json", "--open").json == {
        "url": "http://127.0.0.1:1/?token=x",
        "write": False,
    }
    assert opened == ["http://127.0.0.1:1/?token=x"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--token", TOKEN, "--no-token"], "exclude"),
        (["--host", "example.com"], "IP address"),
        (["--host", "0.0.0.0", "--no-token"], "0.0.0.0"),
        (["--token", "short"], "8 characters"),
        (["--token", "with\ttabulator"], "printable"),
        (["--port", "70000"], "70000"),
    ],
)
def test_a_command_line_that_cannot_be_served_is_refused(copy, options, told):
    done = run("inspect", "--db", copy, *options)
    assert done.code == 2
    assert told in done.err
    assert done.err.count("\n") == 1


def test_an_address_that_is_taken_is_told(copy):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("inspect", "--db", copy, "--port", taken.getsockname()[1])
    assert done.code == 1
    assert "in use" in done.err


def test_there_must_be_a_store(tmp_path, served):
    assert run("inspect", "--db", tmp_path / "none.db").code == 1
    assert not served


def test_without_the_extra_the_command_that_installs_it_is_named(copy):
    code = "import sys; sys.modules['uvicorn'] = None; from agentmem.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "inspect", "--db", copy], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert 'pip install "agentmem[inspect]"' in done.stderr


def test_loopback_is_known():
    assert all(is_loopback(host) for host in ("localhost", "127.0.0.1", "127.1.2.3", "::1"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "192.0.2.1", "::"))


def test_agentmem_imports_neither_server_nor_page():
    code = (
        "import sys, agentmem, agentmem.cli.app\nagentmem.MemoryStore\n"
        "assert not {'starlette', 'uvicorn', 'agentmem.inspector'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_process_serves_until_it_is_interrupted(copy):
    command = [sys.executable, "-m", "agentmem.cli", "inspect", "--db", str(copy), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            printed = "".join(process.stdout.readline() for _ in range(4))
            url = json.loads(printed)["url"]
            browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(), urllib.request.ProxyHandler({}))
            with browser.open(url) as answer:
                assert b"<title>agentmem</title>" in answer.read()
            with browser.open(url.partition("?")[0] + "api/about") as answer:
                assert json.load(answer)["records"] == MemoryStore(copy, read_only=True).count()
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url.partition("?")[0])
            refused.value.close()
            assert refused.value.code == 401
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert (out, err) == ("", "")
