"""LangChain's own suites, unchanged: the vector store by each way of having a model, and the retriever."""

import pytest

REASON = 'pip install "agentmem[langchain]" langchain-tests'
pytest.importorskip("langchain_core", reason=REASON)
pytest.importorskip("langchain_tests", reason=REASON)

from langchain_tests.integration_tests import RetrieversIntegrationTests, VectorStoreIntegrationTests  # noqa: E402

from agentmem import MemoryStore  # noqa: E402
from agentmem.adapters.langchain import AgentMemRetriever, AgentMemVectorStore  # noqa: E402
from agentmem.aio import AsyncMemoryStore  # noqa: E402

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    """Run the suites' coroutines by asyncio."""
    return "asyncio"


class TestByPath(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path):
        with AgentMemVectorStore(tmp_path / "memory.db", self.get_embeddings()) as store:
            yield store


class TestDense(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self):
        with AgentMemVectorStore(":memory:", self.get_embeddings(), mechanism="dense", metric="ip") as store:
            yield store


class TestInANamespaceOfAnOpenStoreWithItsOwnModel(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path):
        with MemoryStore(tmp_path / "memory.db") as store:
            store.add("foo", namespace="another")
            yield AgentMemVectorStore(store, namespace="documents")


class TestOnAnAsyncStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path):
        store = AsyncMemoryStore(tmp_path / "memory.db")
        yield AgentMemVectorStore(store)
        store.store.close()


class TestRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _store(self):
        with MemoryStore(":memory:") as self.store:
            self.store.add_many([f"Colm rowed to island number {number}" for number in range(5)])
            yield

    @property
    def retriever_constructor(self):
        return AgentMemRetriever

    @property
    def retriever_constructor_params(self):
        return {"store": self.store}

    @property
    def retriever_query_example(self):
        return "Which island did Colm row to?"
