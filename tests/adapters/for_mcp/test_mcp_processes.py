"""Server processes: the SDK's own client over stdio and HTTP, two servers on one store, and ends that come too soon."""

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import anyio
import pytest
from mcp_kit import (
    ATTENTION,
    GRAPH,
    MEMORY,
    MODES,
    Client,
    ask,
    command,
    guarded_server,
    http_server,
    names,
    refusal,
    run,
    stdio,
)

import agentmem


@pytest.fixture
def db(tmp_path):
    return tmp_path / "memory.db"


@pytest.mark.parametrize("mode", MODES)
def test_memory_outlives_a_server_on_stdio(db, mode):
    async def first():
        async with Client(stdio(db), mode=mode) as client:
            assert await names(client) == MEMORY
            assert "Field required" in await refusal(client, "remember")
            return await ask(client, "remember", text="The key is under the flower pot", metadata={"where": "porch"})

    async def second():
        async with Client(stdio(db, "--read-only"), mode=mode) as client:
            assert await names(client) == ["recall", "list_namespaces"]
            return await ask(client, "recall", query="where is the key?")

    kept = run(first)
    (found,) = run(second)["memories"]
    assert (found["id"], found["text"], found["metadata"]) == (
        kept["id"],
        "The key is under the flower pot",
        {"where": "porch"},
    )


@pytest.mark.parametrize("mode", MODES)
def test_memory_is_served_over_http_to_two_clients(db, mode):
    with guarded_server(db, "--toolset", "graph", "--namespace", "team") as server:

        async def conversation():
            async with server.client(mode) as one, server.client(mode) as other:
                kept = await ask(one, "remember", text="Standup is at nine")
                found = await ask(other, "recall", query="when is standup?")
                assert [memory["id"] for memory in found["memories"]] == [kept["id"]]
                entity = {"name": "Ana", "entityType": "person", "observations": ["likes tea"]}
                await ask(other, "create_entities", entities=[entity])
                assert (await ask(one, "open_nodes", names=["Ana"]))["entities"] == [entity]

        run(conversation)
    with agentmem.MemoryStore(db) as store:
        assert set(store.namespaces()) == {"team", "team/graph/entities"}


def test_two_servers_on_one_store_see_change_and_delete_each_other_s_memories(db):
    async def conversation(over_http):
        async with Client(stdio(db)) as one, over_http.client() as other:
            async with anyio.create_task_group() as tasks:
                for number in range(15):
                    for client, name in ((one, "one"), (other, "other")):
                        text = f"{name} saw ship number {number}"
                        tasks.start_soon(partial(ask, client, "remember", text=text, metadata={"by": name}))
            for client, name in ((one, "other"), (other, "one")):
                found = (await ask(client, "recall", query="ship", filter={"by": name}, k=100))["memories"]
                assert len(found) == 15
                await ask(client, "update", id=found[0]["id"], text="it was a whale")
                await ask(client, "forget", ids=[memory["id"] for memory in found[1:]])
            for client in (one, other):
                found = (await ask(client, "recall", query="whale", k=100))["memories"]
                assert [memory["text"] for memory in found] == ["it was a whale"] * 2

    with guarded_server(db) as over_http:
        run(conversation, over_http)


def test_two_servers_on_one_store_and_one_is_killed(db):
    """Both write at the same time; one dies by SIGKILL in the middle; what was acknowledged is all there."""
    acknowledged = []

    async def write(client, name, count, enough=None):
        for number in range(count):
            kept = await ask(client, "remember", text=f"{name} saw ship number {number}", metadata={"by": name})
            acknowledged.append(kept["id"])
            if enough is not None and number == 10:
                enough.set()

    async def conversation(victim):
        async with Client(stdio(db)) as survivor:
            enough = anyio.Event()

            async def until_killed():
                with pytest.raises(BaseException) as error:  # noqa: PT011
                    async with victim.client() as client:
                        await write(client, "victim", 10_000, enough)
                assert not isinstance(error.value, AssertionError)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(until_killed)
                tasks.start_soon(write, survivor, "survivor", 40)
                await enough.wait()
                seen = await ask(survivor, "recall", query="ship", filter={"by": "victim"}, k=100)
                assert len(seen["memories"]) >= 11
                victim.process.kill()
            kept = await ask(survivor, "remember", text="survivor saw the end")
            acknowledged.append(kept["id"])
            return await ask(survivor, "recall", query="ship", filter={"by": "survivor"}, k=100)

    with guarded_server(db) as victim:
        assert len(run(conversation, victim)["memories"]) == 40
    with agentmem.MemoryStore(db) as store:
        assert all(record is not None for record in store.get_many(acknowledged))
        assert store.count() - len(acknowledged) in (0, 1)
        assert store.check().ok


def talk_raw(db, lines, *options, until=()):
    """Write lines to a server on stdio, and end its input when these ids are answered.

    Returns:
        The lines that it wrote, its standard error, its exit code.
    """
    with open(db.parent / "errors.txt", "w+", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command(db, *options), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        process.stdin.writelines(f"{line}\n" for line in lines)
        process.stdin.flush()
        first, missing = [], set(until)
        while missing:
            first.append(process.stdout.readline())
            missing.discard(json.loads(first[-1])["id"])
        rest, _ = process.communicate(timeout=60)
        errors.seek(0)
        return [*first, *rest.splitlines()], errors.read(), process.returncode


def request(id, method, **params):
    """Return a request of the protocol's older versions as a line."""
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params})


HELLO = [
    request(0, "initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "raw", "version": "1"}),
    json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}),
]


def call(id, tool, **arguments):
    """Return a call of a tool as a line."""
    return request(id, "tools/call", name=tool, arguments=arguments)


def test_nothing_but_the_protocol_goes_to_standard_output(db):
    lines = [
        *HELLO,
        "this is no JSON",
        '{"jsonrpc": "2.0"}',
        "[]",
        call(1, "remember", text="one"),
        call(2, "recall"),
        request(3, "no/such/method"),
        request(4, "tools/call"),
        request(5, "tools/call", name=7, arguments="x"),
        call(6, "attention_benchmark", size=8, dim=4),
        "{" * 100_000,
    ]
    output, _, code = talk_raw(db, lines, "--toolset", "all", until=range(7))
    answers = [json.loads(line) for line in output]
    assert code == 0
    assert all(answer["jsonrpc"] == "2.0" for answer in answers)
    by_id = {answer["id"]: answer for answer in answers if answer.get("id") is not None}
    assert by_id[2]["result"]["isError"] is True
    assert by_id[3]["error"]["code"] == -32601
    assert by_id[4]["error"]["code"] == by_id[5]["error"]["code"] == -32602
    assert by_id[1]["result"]["isError"] is by_id[6]["result"]["isError"] is False


def test_a_client_that_is_gone_leaves_the_store_unharmed(db):
    """The input ends right behind a hundred calls: those that had begun happen, each whole, and the server ends."""
    calls = [call(number, "remember", text=f"memory {number}", metadata={"n": number}) for number in range(1, 101)]
    output, errors, code = talk_raw(db, [*HELLO, *calls])
    assert code == 0, errors
    answered = {json.loads(line)["id"] for line in output}
    with agentmem.MemoryStore(db) as store:
        kept = {record.metadata["n"] for record in store.iterate()}
        assert all(record.text == f"memory {record.metadata['n']}" for record in store.iterate())
        assert answered - {0} <= kept <= set(range(1, 101))
        assert store.check().ok


def test_http_clients_that_are_gone_in_the_middle_leave_the_store_unharmed(db):
    """Three clients break off with calls under way, each after another answer; the server goes on for the next."""
    kept = set()

    async def broken_off(server, after):
        async with server.client() as client, anyio.create_task_group() as tasks:

            async def remember(number):
                answer = await ask(client, "remember", text=f"memory {number}", metadata={"n": number})
                kept.add(answer["id"])
                if len(kept) >= after:
                    tasks.cancel_scope.cancel()

            for number in range(20):
                tasks.start_soon(remember, number)

    async def conversation(server):
        for after in (1, 8, 15):
            await broken_off(server, after)
        async with server.client() as client:
            assert await ask(client, "remember", text="still here")

    with guarded_server(db) as server:
        run(conversation, server)
    with agentmem.MemoryStore(db) as store:
        assert len(kept) >= 15
        assert all(record is not None for record in store.get_many(sorted(kept)))
        numbers = [record for record in store.iterate() if record.text != "still here"]
        assert all(record.text == f"memory {record.metadata['n']}" for record in numbers)
        assert store.check().ok


def test_a_request_cut_off_in_the_middle_is_none(db):
    process = subprocess.Popen(
        command(db), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    whole = call(1, "remember", text="half a memory")
    process.communicate("\n".join([*HELLO, whole[: len(whole) // 2]]), timeout=60)
    assert process.returncode == 0
    with agentmem.MemoryStore(db) as store:
        assert store.count() == 0


def test_a_cancelled_request_is_answered_no_more_and_the_server_goes_on(db):
    async def conversation():
        async with Client(stdio(db, "--toolset", "attention"), mode="legacy") as client:
            with anyio.move_on_after(0.05):
                await client.call_tool("attention_benchmark", {"size": 2_048, "dim": 64})
            return await ask(client, "remember", text="still here")

    run(conversation)
    with agentmem.MemoryStore(db) as store:
        assert store.count() == 1


def test_a_store_of_another_program_is_refused_in_one_line(tmp_path):
    (tmp_path / "other.db").write_text("this is no store")
    output, errors, code = talk_raw(tmp_path / "other.db", HELLO)
    assert (output, code) == ([], 1)
    assert errors.startswith("agentmem: ")
    assert len(errors.splitlines()) == 1


def test_read_only_makes_no_store(db):
    output, errors, code = talk_raw(db, HELLO, "--read-only")
    assert (output, code) == ([], 1)
    assert "there is no store at" in errors
    assert not db.exists()


def test_a_server_that_is_told_to_stop_closes_its_store(db):
    with guarded_server(db) as server:

        async def conversation():
            async with server.client() as client:
                await ask(client, "remember", text="x")

        run(conversation)
        server.process.terminate()
        assert server.process.wait(60) == 0
    assert not [name for name in os.listdir(db.parent) if name.endswith("-wal")]


def test_the_environment_may_hold_the_token(db):
    with http_server(db, env={"AGENTMEM_MCP_TOKEN": "from-the-environment"}) as server:
        server.token = "from-the-environment"

        async def conversation():
            async with server.client() as client:
                return await names(client)

        assert run(conversation) == MEMORY


def test_importing_the_package_imports_no_mcp():
    loaded = "import sys, agentmem, agentmem.cli.app; agentmem.MemoryStore"
    code = f"{loaded}; assert not {{'mcp', 'anyio', 'pydantic'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_extra_names_the_command():
    code = (
        "import sys; sys.modules['mcp'] = None\n"
        "from agentmem.errors import MissingExtra\n"
        "try:\n    import agentmem.adapters.mcp\n"
        "except MissingExtra as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert 'pip install "agentmem[mcp]"' in done.stdout


def test_the_example_recalls_what_an_earlier_session_remembered(tmp_path):
    example = Path(__file__).parents[3] / "examples" / "mcp_client.py"
    done = subprocess.run(
        [sys.executable, str(example)], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines()[0] == "The spare key is under the third flower pot."
    assert not list(tmp_path.iterdir())


def test_the_page_s_code_runs():
    page = (Path(__file__).parents[3] / "docs" / "integrations.md").read_text(encoding="utf-8")
    section = page[page.index("## MCP: ") :].split("\n## ")[0]
    for code in re.findall(r"^```python[^\n]*\n(.*?)^```$", section, re.M | re.S):
        exec(compile(code, "docs/integrations.md", "exec"), {"__name__": "__docs__"})
    assert set(json.loads(re.search(r"^```json\n(.*?)^```$", section, re.M | re.S)[1])) == {"mcpServers"}


def test_the_page_names_every_tool():
    page = (Path(__file__).parents[3] / "docs" / "integrations.md").read_text(encoding="utf-8")
    assert {*MEMORY, *GRAPH, *ATTENTION} <= set(re.findall(r"`(\w+)`", page))
