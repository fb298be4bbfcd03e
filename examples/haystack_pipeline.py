"""Haystack on a store: one pipeline writes a folder into a file, another finds, ranks, and makes the prompt.

The store embeds documents and questions itself, with the bundled model, so that neither pipeline has an embedder; with
`AgentMemDocumentStore(path, embedding_dimension=...)` Haystack's embedders bring the vectors. The query pipeline is
written down and read again: a generator would stand behind the prompt.

    pip install "agentmem[haystack]"
    python examples/haystack_pipeline.py [QUESTION]
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")

from haystack import Document, Pipeline
from haystack.components.builders import PromptBuilder
from haystack.components.preprocessors import DocumentSplitter
from haystack.components.writers import DocumentWriter

from agentmem.adapters.haystack import AgentMemDocumentStore, AgentMemHybridRetriever, AgentMemRanker

HANDBOOK = Path(__file__).with_name("handbook")
QUESTION = "The water has risen past the yellow mark, what do I have to do?"
TEMPLATE = """Answer from these passages.
{% for document in documents %}
[{{ document.meta.file }}] {{ document.content }}{% endfor %}

Question: {{ question }}"""


def index(path: Path, folder: Path) -> int:
    """Write the paragraphs of a folder's text files into a store; return how many there are."""
    pipeline = Pipeline()
    pipeline.add_component("splitter", DocumentSplitter(split_by="passage", split_length=1))
    pipeline.add_component("writer", DocumentWriter(AgentMemDocumentStore(path)))
    pipeline.connect("splitter.documents", "writer.documents")
    files = [
        Document(content=each.read_text(encoding="utf-8"), meta={"file": each.name})
        for each in sorted(folder.glob("*.txt"))
    ]
    written = pipeline.run({"splitter": {"documents": files}})["writer"]["documents_written"]
    pipeline.close()
    return written


def query_pipeline(path: Path) -> Pipeline:
    """Return a pipeline from a question to the prompt."""
    pipeline = Pipeline()
    pipeline.add_component("retriever", AgentMemHybridRetriever(AgentMemDocumentStore(path), top_k=8))
    pipeline.add_component("ranker", AgentMemRanker(top_k=3))
    pipeline.add_component("prompt", PromptBuilder(TEMPLATE, required_variables=["documents", "question"]))
    pipeline.connect("retriever.documents", "ranker.documents")
    pipeline.connect("ranker.documents", "prompt.documents")
    return pipeline


def main(question: str = QUESTION) -> str:
    """Index the handbook, and return the prompt that a pipeline read from YAML makes of a question."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "handbook.db"
        print(f"{index(path, HANDBOOK)} passages\n")
        pipeline = Pipeline.loads(query_pipeline(path).dumps(), allowed_modules=["agentmem.adapters.haystack"])
        inputs = {"retriever": {"query": question}, "ranker": {"query": question}, "prompt": {"question": question}}
        prompt = pipeline.run(inputs)["prompt"]["prompt"]
        pipeline.close()
    print(prompt)
    return prompt


if __name__ == "__main__":
    main(*sys.argv[1:2])
