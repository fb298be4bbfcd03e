"""A LangGraph agent that remembers across restarts: its long-term memory is one file.

The graph has one node, which looks up what it was told and keeps what it hears. It has no language model: a question is
answered with the memory that fits best. Every message is handled by a graph that is made anew on the same file, as if
the program had been started again.

    pip install "agentmem[langgraph]"
    python examples/langgraph_memory.py
"""

import tempfile
from pathlib import Path
from typing import TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.store.base import BaseStore

from agentmem.adapters.langgraph import AgentMemStore


class State(TypedDict, total=False):
    """What goes through the graph: who speaks, the message, and the reply."""

    user: str
    message: str
    reply: str


def answer(state: State, *, store: BaseStore) -> State:
    """Answer a question from the speaker's memories, or remember a statement."""
    memories = ("memories", state["user"])
    if state["message"].endswith("?"):
        known = store.search(memories, query=state["message"], limit=1)
        return {"reply": f"You told me: {known[0].value['text']}" if known else "I do not know that yet."}
    number = len(store.search(memories, limit=1_000))
    store.put(memories, f"memory-{number}", {"text": state["message"]})
    return {"reply": "Noted."}


def talk(path: Path, user: str, message: str) -> str:
    """Start the agent on a file, let it hear one message, and shut it down."""
    graph = StateGraph(State)
    graph.add_node("answer", answer)
    graph.add_edge(START, "answer")
    graph.add_edge("answer", END)
    with AgentMemStore(path, index={"fields": ["text"]}) as store:
        reply = graph.compile(store=store).invoke({"user": user, "message": message})["reply"]
    print(f"{user}: {message}\nAgent: {reply}")
    return reply


def main() -> list[str]:
    """Talk to the agent over several lives; return its replies to the questions."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.db"
        for message in ("The spare key is under the flower pot.", "My daughter Ines cannot eat peanuts."):
            talk(path, "Ada", message)
        return [
            talk(path, "Ada", "Where is the spare key?"),
            talk(path, "Ada", "What can Ines not eat?"),
            talk(path, "Colm", "Where is the spare key?"),
        ]


if __name__ == "__main__":
    main()
