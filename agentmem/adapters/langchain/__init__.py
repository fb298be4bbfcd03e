"""LangChain on a store: a vector store, a retriever, a document compressor, and models passed either way.

::

    from agentmem.adapters.langchain import AgentMemVectorStore

    vector_store = AgentMemVectorStore("memory.db", embedding=OpenAIEmbeddings(model="text-embedding-3-small"))

Needs ``pip install "agentmem[langchain]"``.
"""

from agentmem.extras import missing

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise missing("agentmem.adapters.langchain", "langchain", error) from error

from agentmem.adapters.langchain.models import AgentMemEmbeddings, embedder_for, model_name
from agentmem.adapters.langchain.rerank import AgentMemReranker
from agentmem.adapters.langchain.retriever import AgentMemRetriever
from agentmem.adapters.langchain.vector_store import AgentMemVectorStore

__all__ = [
    "AgentMemEmbeddings",
    "AgentMemReranker",
    "AgentMemRetriever",
    "AgentMemVectorStore",
    "embedder_for",
    "model_name",
]
