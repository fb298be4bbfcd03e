"""Retrieval-augmented generation with LlamaIndex: an index on one file, a rerank, and the prompt.

The handbook is split, embedded by the bundled model, which needs no download, and kept in one file; the index is then
opened again from it. `MockLLM` answers with the prompt that it gets: put a language model in its place.

    pip install "agentmem[llama-index]"
    python examples/llama_index_rag.py [QUESTION]
"""

import sys
import tempfile
from pathlib import Path

from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter

import agentmem
from agentmem.adapters.llama_index import AgentMemPostprocessor, AgentMemVectorStore

HANDBOOK = Path(__file__).with_name("handbook")
QUESTION = "The water has risen past the yellow mark, what do I have to do?"
BUNDLED = agentmem.StaticEmbedder()


class BundledEmbedding(BaseEmbedding):
    """agentmem's bundled model as LlamaIndex's; any other of LlamaIndex's does as well."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return BUNDLED.embed([text])[0].tolist()

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


def read(folder: Path) -> list[Document]:
    """Return a folder's text files."""
    return [
        Document(id_=path.name, text=path.read_text(encoding="utf-8"), metadata={"file": path.name})
        for path in sorted(folder.glob("*.txt"))
    ]


def main(question: str = QUESTION) -> str:
    """Index the handbook in a file, open the file again, and return what a language model is asked."""
    with tempfile.TemporaryDirectory() as folder:
        store = AgentMemVectorStore(Path(folder) / "handbook.db", embed_dim=BUNDLED.dimension)
        VectorStoreIndex.from_documents(
            read(HANDBOOK),
            storage_context=StorageContext.from_defaults(vector_store=store),
            embed_model=BundledEmbedding(),
            transformations=[SentenceSplitter(chunk_size=120, chunk_overlap=0)],
        )
        print(f"{len(store.get_nodes())} passages of {len(read(HANDBOOK))} files\n")
        store.close()

        store = AgentMemVectorStore(Path(folder) / "handbook.db")
        engine = VectorStoreIndex.from_vector_store(store, embed_model=BundledEmbedding()).as_query_engine(
            llm=MockLLM(),
            vector_store_query_mode="hybrid",
            similarity_top_k=8,
            node_postprocessors=[AgentMemPostprocessor(top_n=3)],
        )
        answer = engine.query(question)
        store.close()
    for source in answer.source_nodes:
        print(f"{source.score:7.3f}  {source.node.metadata['file']}: {' '.join(source.node.text.split())[:70]}")
    print(f"\n{answer}")
    return str(answer)


if __name__ == "__main__":
    main(*sys.argv[1:2])
