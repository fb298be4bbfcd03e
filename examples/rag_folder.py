"""Retrieval-augmented generation over a folder of text files, up to the prompt.

Paragraphs become memories: the file is the thread, the paragraph's number the position, so that the rerank judges a
paragraph together with its neighbours. Running it again only touches files that changed.

    python examples/rag_folder.py [FOLDER] [QUESTION]
"""

import sys
from hashlib import sha256
from pathlib import Path

import agentmem

HANDBOOK = Path(__file__).with_name("handbook")
QUESTION = "The water has risen past the yellow mark, what do I have to do?"


def index_folder(store: agentmem.MemoryStore, folder: Path) -> int:
    """Bring the store up to date with the folder's text files; return how many files had changed."""
    changed = 0
    for path in sorted(folder.glob("**/*.txt")):
        name, text = path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8")
        version = sha256(text.encode()).hexdigest()
        if store.count(filter={"file": name, "version": version}):
            continue
        paragraphs = [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
        with store.transaction():
            store.delete_where(filter={"file": name})
            store.add_many(
                paragraphs,
                threads=name,
                positions=range(len(paragraphs)),
                metadatas=[{"file": name, "version": version}] * len(paragraphs),
            )
        changed += 1
    return changed


def prompt(store: agentmem.MemoryStore, question: str, k: int = 4) -> str:
    """Return what a language model would be asked: the best paragraphs, each with its source, and the question."""
    hits = store.search(question, k=k)
    context = "\n\n".join(f"[{hit.rank}] {hit.record.metadata['file']}: {hit.text}" for hit in hits)
    return f"Answer from these passages and name the one you used.\n\n{context}\n\nQuestion: {question}"


def main(folder: Path = HANDBOOK, question: str = QUESTION) -> str:
    """Index a folder in memory and return the prompt for one question."""
    with agentmem.MemoryStore(":memory:") as store:
        print(f"{index_folder(store, folder)} files read, {store.count()} passages\n")
        text = prompt(store, question)
    print(text)
    return text


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HANDBOOK, *sys.argv[2:3])
