"""Retrieval-augmented generation with LangChain: a vector store on one file, then a rerank, then the prompt.

The handbook's paragraphs become documents. The bundled embedding model needs no download; give `embedding=...` to use
one of LangChain's. What stands in for the language model shows the prompt: put a chat model in its place.

    pip install "agentmem[langchain]"
    python examples/langchain_rag.py [QUESTION]
"""

import sys
import tempfile
from pathlib import Path

from langchain_core.documents import Document
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough

from agentmem.adapters.langchain import AgentMemReranker, AgentMemVectorStore

HANDBOOK = Path(__file__).with_name("handbook")
QUESTION = "The water has risen past the yellow mark, what do I have to do?"
PROMPT = ChatPromptTemplate.from_template("Answer from these passages.\n\n{passages}\n\nQuestion: {question}")


def documents(folder: Path) -> list[Document]:
    """Return the paragraphs of a folder's text files."""
    return [
        Document(id=f"{path.stem}-{number}", page_content=" ".join(part.split()), metadata={"file": path.name})
        for path in sorted(folder.glob("*.txt"))
        for number, part in enumerate(path.read_text(encoding="utf-8").split("\n\n"))
        if part.strip()
    ]


def chain(store: AgentMemVectorStore) -> Runnable[str, str]:
    """Return a chain from a question to what the language model is asked."""
    reranker = AgentMemReranker(top_n=4)

    def passages(question: str) -> str:
        found = store.as_retriever(search_kwargs={"k": 8}).invoke(question)
        best = reranker.compress_documents(found, question)
        return "\n\n".join(f"[{each.id}] {each.page_content}" for each in best)

    model = RunnableLambda(lambda prompt: prompt.to_string())
    return {"passages": RunnableLambda(passages), "question": RunnablePassthrough()} | PROMPT | model


def main(question: str = QUESTION) -> str:
    """Write the handbook into a file, open the file again, and return the prompt for one question."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.db"
        with AgentMemVectorStore(path) as store:
            print(f"{len(store.add_documents(documents(HANDBOOK)))} passages\n")
        with AgentMemVectorStore(path) as store:
            prompt = chain(store).invoke(question)
    print(prompt)
    return prompt


if __name__ == "__main__":
    main(*sys.argv[1:2])
