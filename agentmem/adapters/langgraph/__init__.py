"""LangGraph's long-term memory in a store: ``AgentMemStore``.

::

    from agentmem.adapters.langgraph import AgentMemStore

    graph = builder.compile(store=AgentMemStore("memory.db"))

Needs ``pip install "agentmem[langgraph]"``.
"""

from agentmem.extras import missing

try:
    import langgraph.store.base  # noqa: F401
except ImportError as error:
    raise missing("agentmem.adapters.langgraph", "langgraph", error) from error

from agentmem.adapters.langgraph.store import AgentMemStore

__all__ = ["AgentMemStore"]
