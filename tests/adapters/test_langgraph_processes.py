"""LangGraph's store across processes, threads and event loops."""

import asyncio
import subprocess
import sys
import threading

import pytest

REASON = 'pip install "agentmem[langgraph]"'
pytest.importorskip("langgraph.store.base", reason=REASON)

from langgraph.store.base import PutOp  # noqa: E402
from langgraph_kit import DIMS, embed, opened  # noqa: E402

import agentmem  # noqa: E402
from agentmem.adapters.langgraph import AgentMemStore  # noqa: E402

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    """Run coroutines by asyncio."""
    return "asyncio"


@pytest.fixture
def store():
    with opened() as made:
        yield made


def test_what_was_put_is_there_in_another_process(tmp_path):
    path = str(tmp_path / "memory.db")
    with AgentMemStore(path) as store:
        store.put(("users", "ines/1"), "food", {"memory": "Ines cannot eat peanuts"})
    code = (
        "import sys; from agentmem.adapters.langgraph import AgentMemStore\n"
        "with AgentMemStore(sys.argv[1]) as store:\n"
        "    item = store.search(('users',), query='Which nuts does she avoid?')[0]\n"
        "    print(item.namespace[1], item.key, item.value['memory'])"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "ines/1 food Ines cannot eat peanuts"


GRAPH = """
import sys
from typing import TypedDict
from langgraph.graph import END, START, StateGraph
from langgraph.store.base import BaseStore
from agentmem.adapters.langgraph import AgentMemStore

class State(TypedDict):
    said: str
    answer: str

def talk(state: State, *, store: BaseStore) -> dict:
    known = store.search(("memories", "u/1"), query=state["said"], limit=1)
    if not state["said"].endswith("?"):
        store.put(("memories", "u/1"), str(len(store.search(("memories",)))), {"text": state["said"]})
    return {"answer": known[0].value["text"] if known else "I do not know that yet."}

builder = StateGraph(State)
builder.add_node("talk", talk)
builder.add_edge(START, "talk")
builder.add_edge("talk", END)
with AgentMemStore(sys.argv[1], index={"fields": ["text"]}) as store:
    print(builder.compile(store=store).invoke({"said": sys.argv[2]})["answer"])
"""


def test_a_graph_remembers_across_processes(tmp_path):
    def run(said):
        done = subprocess.run(
            [sys.executable, "-c", GRAPH, str(tmp_path / "memory.db"), said],
            capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        return done.stdout.strip()

    assert run("Where is the key?") == "I do not know that yet."
    assert run("The key is under the flower pot.") == "I do not know that yet."
    run("Ines cannot eat peanuts.")
    assert run("Where is the key?") == "The key is under the flower pot."
    assert run("What must Ines not eat?") == "Ines cannot eat peanuts."


async def test_coroutines_of_the_model_are_used_and_the_loop_is_free(monkeypatch):
    calls = []

    async def aembed(texts):
        await asyncio.sleep(0)
        calls.append(list(texts))
        return embed(texts)

    threads = set()
    for verb in ("search", "add_many", "get_many", "iterate"):
        original = getattr(agentmem.MemoryStore, verb)

        def watched(self, *args, original=original, **kwargs):
            threads.add(threading.get_ident())
            return original(self, *args, **kwargs)

        monkeypatch.setattr(agentmem.MemoryStore, verb, watched)
    with AgentMemStore(":memory:", index={"dims": DIMS, "embed": aembed, "fields": ["text"]}) as store:
        await store.aput(("a",), "k", {"text": "one"})
        assert (await store.asearch(("a",), query="one"))[0].key == "k"
        assert await store.asearch(("a",))
        assert (await store.aget(("a",), "k")).value == {"text": "one"}
        assert await store.alist_namespaces() == [("a",)]
        await store.adelete(("a",), "k")
        assert await store.aget(("a",), "k") is None
        assert calls == [["one"], ["one"]]
        with pytest.raises(ValueError, match="async"):
            store.put(("a",), "k", {"text": "one"})
    assert threading.get_ident() not in threads


async def test_a_batch_that_has_begun_when_its_task_is_cancelled_is_carried_out_whole(store, monkeypatch):
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    carry_out = store._carry_out

    def slow(*args):
        begun.set()
        assert go_on.wait(60)
        try:
            return carry_out(*args)
        finally:
            ended.set()

    monkeypatch.setattr(store, "_carry_out", slow)
    task = asyncio.ensure_future(store.abatch([PutOp(("a",), key, {"text": "one"}) for key in "kl"]))
    await asyncio.to_thread(begun.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await asyncio.to_thread(ended.wait, 60)
    monkeypatch.undo()
    assert {item.key for item in await store.asearch(("a",))} == {"k", "l"}


async def test_tasks_at_once(tmp_path):
    with opened(tmp_path / "memory.db") as store:
        await asyncio.gather(*(store.aput(("a",), str(number), {"text": "one", "n": number}) for number in range(20)))
        found = await store.asearch(("a",), limit=50)
        assert sorted(item.value["n"] for item in found) == list(range(20))
