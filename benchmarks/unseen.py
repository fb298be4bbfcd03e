"""Quality on collections beside the labelled sets, made of what every Python installation holds.

    python benchmarks/unseen.py [--folder DIR] [--model FOLDER]

The standard library's sources and the manual that pydoc prints are cut into labelled sets in the BEIR layout: what
somebody wrote about a piece of text is the query, the piece without it the document.  The same Python version makes
the same sets.  They stay in ``--folder``.  With ``--model``, a folder of sentence-transformers, their vectors are made
there and measured beside the bundled model's; those that are there already are taken as they are.  For each set the
default is compared with the best of dense, lexical, rrf and convex *of that set*, query by query.  Writes
results/unseen.json.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import random
import re
import sysconfig
import tempfile
import textwrap
import tokenize
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, NamedTuple

import machine
import numpy as np

from agentmem.extras import need
from agentmem.rerank.promotion import interval
from agentmem.simulation import evaluate, filled_store, pipelines_named, read_dataset

BASELINES = ("dense", "lexical", "rrf", "convex")
DOCUMENTS, QUERIES = 2_000, 250
LONGEST = 1_500
SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "pydoc_data", "turtledemo"}
DEFINED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])|\n\s*\n")


class Pair(NamedTuple):
    """A query and the document that answers it; what has the same ``group`` answers it too."""

    query: str
    document: str
    group: str


class Piece(NamedTuple):
    """A function, method or class of the standard library."""

    owner: str
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    source: str
    docstring: str


def _words(text: str) -> int:
    return len(re.findall(r"[A-Za-z]{2,}", text))


def _split(text: str) -> tuple[str, str]:
    """Return the first sentence of a text, on one line, and the rest."""
    parts = _END.split(text.strip(), maxsplit=1)
    return " ".join(parts[0].split()), parts[1].strip() if len(parts) > 1 else ""


@lru_cache(1)
def pieces() -> list[Piece]:
    """Return every function and class of the standard library, in the order of its files."""
    root, found = Path(sysconfig.get_path("stdlib")), []
    for path in sorted(root.rglob("*.py")):
        where = path.relative_to(root)
        if SKIPPED & set(where.parts[:-1]):
            continue
        text = path.read_text("utf-8", "replace")
        stack: list[tuple[str, ast.AST]] = [(str(where), ast.parse(text))]
        while stack:
            owner, parent = stack.pop()
            for node in ast.iter_child_nodes(parent):
                if isinstance(node, DEFINED):
                    source = textwrap.dedent(ast.get_source_segment(text, node, padded=True) or "")
                    found.append(Piece(owner, node, source, ast.get_docstring(node) or ""))
                    stack.append((f"{owner}:{node.name}", node))
    return found


def _code(piece: Piece, comments: bool = True) -> str:
    """Return a function's source without its docstring, with or without its comments."""
    lines, first = piece.source.splitlines(), piece.node.body[0]
    offset = piece.node.lineno - 1
    if piece.docstring:
        for line in range(first.lineno - 1 - offset, (first.end_lineno or first.lineno) - offset):
            lines[line] = ""
    if not comments:
        for token in tokenize.generate_tokens(io.StringIO("\n".join(lines) + "\n").readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line for line in lines if line.strip())


def _functions() -> Iterator[Piece]:
    return (piece for piece in pieces() if not isinstance(piece.node, ast.ClassDef))


def code() -> Iterator[Pair]:
    """What a function's docstring says first -> its code."""
    for piece in _functions():
        query = _split(piece.docstring)[0]
        if _words(query) >= 4 and len(code := _code(piece)) >= 120:
            yield Pair(query, code, code)


def comments() -> Iterator[Pair]:
    """The longest comment in a function -> its code without comments."""
    for piece in _functions():
        blocks = re.findall(r"(?:^[ \t]*#.*\n)+", piece.source, re.M)
        query = max((" ".join(re.sub(r"(?m)^\s*#+", " ", block).split()) for block in blocks), key=len, default="")
        if 6 <= _words(query) <= 60 and len(code := _code(piece, comments=False)) >= 120:
            yield Pair(query, code, code)


def errors() -> Iterator[Pair]:
    """The longest message of an error that a function raises -> its code without any message."""
    for piece in _functions():
        texts = {
            node.value
            for raised in ast.walk(piece.node)
            if isinstance(raised, ast.Raise)
            for node in ast.walk(raised)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        query, code = max(sorted(texts), key=len, default=""), _code(piece)
        for text in sorted(texts, key=len, reverse=True):
            code = code.replace(text, "")
        if _words(query) >= 4 and len(code) >= 120:
            yield Pair(" ".join(query.split()), code, code)


def names() -> Iterator[Pair]:
    """A name, as words, with that of its class or module -> the docstring."""
    for piece in pieces():
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", f"{piece.owner.split(':')[-1]} {piece.node.name}")
        query = " ".join(re.sub(r"\.py|__init__|/", " ", name).split())
        if len(query.split()) >= 3 and _words(piece.docstring) >= 12:
            yield Pair(query, piece.docstring, piece.docstring)


def docstrings() -> Iterator[Pair]:
    """The first sentence of a docstring -> the rest of it."""
    for piece in pieces():
        query, rest = _split(piece.docstring)
        if _words(query) >= 5 and _words(rest) >= 15:
            yield Pair(query, rest, rest)


def members() -> Iterator[Pair]:
    """What a class's docstring says first -> the docstrings of its methods, each an answer."""
    about = {
        f"{piece.owner}:{piece.node.name}": _split(piece.docstring)[0]
        for piece in pieces()
        if isinstance(piece.node, ast.ClassDef)
    }
    for piece in _functions():
        query = about.get(piece.owner, "")
        if _words(piece.docstring) >= 6:
            yield Pair(query if _words(query) >= 4 else "", piece.docstring, piece.owner)


def manual() -> Iterator[Pair]:
    """The first sentence of a paragraph of the manual -> the rest of it."""
    for text in topics.values():
        for paragraph in re.split(r"\n\s*\n", text):
            query, rest = _split(paragraph)
            if _words(query) >= 6 and _words(rest) >= 12:
                yield Pair(query, " ".join(rest.split()), rest)


SETS: dict[str, Callable[[], Iterator[Pair]]] = {
    each.__name__: each for each in (code, comments, errors, names, docstrings, members, manual)
}


def make(folder: Path, pairs: Iterator[Pair]) -> None:
    """Write a set: so many documents drawn at random, no two alike, and so many queries among theirs."""
    chance = random.Random(0)
    distinct = list({pair.document: pair for pair in pairs}.values())
    drawn = chance.sample(distinct, min(DOCUMENTS, len(distinct)))
    groups: dict[str, list[str]] = {}
    for row, pair in enumerate(drawn):
        groups.setdefault(pair.group, []).append(f"d{row}")
    asked = {pair.query: pair.group for pair in reversed(drawn) if pair.query}
    queries = chance.sample(sorted(asked), min(QUERIES, len(asked)))
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    texts = {"corpus": [(f"d{row}", pair.document[:LONGEST]) for row, pair in enumerate(drawn)]}
    texts["queries"] = [(f"q{row}", query) for row, query in enumerate(queries)]
    for name, rows in texts.items():
        lines = [json.dumps({"_id": id, "text": text}) for id, text in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    judged = [f"q{row}\t{id}\t1" for row, query in enumerate(queries) for id in groups[asked[query]]]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n")


@lru_cache(1)
def loaded(model: str) -> Any:
    """Return a model of sentence-transformers."""
    return need("sentence_transformers", "sentence-transformers", "--model").SentenceTransformer(model, device="cpu")


def add_vectors(folder: Path, model: str) -> None:
    """Write the vectors of a set, as a model of sentence-transformers makes them."""
    for name in ("corpus", "queries"):
        texts = [json.loads(line)["text"] for line in (folder / f"{name}.jsonl").read_text("utf-8").splitlines()]
        vectors = loaded(model).encode(texts, normalize_embeddings=True, show_progress_bar=True)
        np.save(folder / f"{name}.npy", vectors.astype(np.float16))


def compared(folder: Path, given: bool) -> dict[str, Any]:
    """Return NDCG@10 of every pipeline on a set, and how far the default is from the best of the others."""
    dataset = read_dataset(folder, split="test", vectors=given)
    with filled_store(dataset, show=True) as store:
        found = evaluate(store, dataset, pipelines_named((*BASELINES, "auto")))
    values = {each.pipeline.name: each.values["ndcg@10"] for each in found}
    best = max(BASELINES, key=lambda name: float(values[name].mean()))
    more, scale = values["auto"] - values[best], float(values[best].mean())
    low, high = interval(more, seed=0)
    return {
        "documents": len(dataset.documents),
        "queries": len(dataset.queries),
        "ndcg": {name: float(each.mean()) for name, each in values.items()},
        "best": best,
        "change": float(more.mean()) / scale,
        "ci95": [low / scale, high / scale],
    }


def measure(root: Path, model: str | None) -> None:
    """Make the sets that ``root`` lacks, with their vectors where there is a model; write the results."""
    results: dict[str, Any] = {}
    for name, pairs in SETS.items():
        folder = root / name
        if not folder.exists():
            make(folder, pairs())
        if model and not (folder / "queries.npy").exists():
            add_vectors(folder, model)
        for given in (False, True) if (folder / "queries.npy").exists() else (False,):
            each = results[f"{name}/{'given' if given else 'static'}"] = compared(folder, given)
            print(f"{name:<11} {'given' if given else 'static'} {each['best']:<8} {each['change']:+.1%}", flush=True)
    print(machine.write("unseen", {"sets": results, "model": Path(model).name if model else None}))


def main() -> None:
    """Make the sets, measure them, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keep the sets there, for the next run")
    parser.add_argument("--model", metavar="FOLDER", help="of sentence-transformers, to measure its vectors too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        measure(options.folder or Path(made), options.model)


if __name__ == "__main__":
    main()
