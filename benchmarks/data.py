"""Data for the benchmarks, made from a seed: vectors with the structure of embeddings, texts with that of talk."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import hnswlib
import numpy as np
from numpy.typing import NDArray

import agentmem

TOPICS = 100
"""``metadata.bucket`` runs from 0 to 99, so that ``{"bucket": {"$lt": p}}`` passes p percent."""


def realistic_vectors(count: int, dimension: int, seed: int) -> NDArray[np.float32]:
    """Return unit vectors that are as hard for a graph as sentence embeddings.

    A mixture of 500 topics of unequal size in a space of 64 latent directions with falling variance, and a little noise
    in all directions: the intrinsic dimension of sentence embeddings is some twenty to forty, far below 384.
    """
    chance = np.random.default_rng(seed)
    basis = np.random.default_rng(1234).normal(size=(64, dimension)) * (np.arange(1, 65) ** -0.5)[:, None]
    centres = np.random.default_rng(99).normal(size=(500, 64))
    share = 1.0 / np.arange(1, 501) ** 0.7
    latent = centres[chance.choice(500, size=count, p=share / share.sum())] + chance.normal(size=(count, 64))
    vectors = latent @ basis + 0.1 * chance.normal(size=(count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def talk(count: int, seed: int) -> list[str]:
    """Return turns of 6 to 30 words drawn from the bundled vocabulary by Zipf's law."""
    tokenizer = json.loads((Path(agentmem.__file__).parent / "embed/static/tokenizer.json").read_text())
    words = [word for word in tokenizer["model"]["vocab"] if word.isascii() and word.isalpha() and len(word) > 2]
    chance = np.random.default_rng(seed)
    share = 1.0 / (np.arange(len(words)) + 3.0)
    lengths = chance.integers(6, 31, size=count)
    drawn = chance.choice(len(words), size=int(lengths.sum()), p=share / share.sum())
    ends = np.cumsum(lengths)
    return [
        " ".join(words[word] for word in drawn[end - length : end]) for end, length in zip(ends, lengths, strict=True)
    ]


def vector_store(folder: Path, count: int, dimension: int = 384) -> agentmem.MemoryStore:
    """Open the store of ``count`` given vectors with text and metadata in ``folder``; it is made the first time."""
    path = folder / f"vectors-{count}-{dimension}.db"
    fresh = not path.exists()
    store = agentmem.MemoryStore(path, embedder=None, dimension=dimension, merge="manual")
    if fresh:
        vectors = realistic_vectors(count, dimension, seed=1)
        texts = talk(count, seed=2)
        chance = np.random.default_rng(3)
        buckets = chance.integers(0, TOPICS, size=count).tolist()
        store.add_many(
            texts,
            embeddings=vectors,
            ids=[f"r{i}" for i in range(count)],
            metadatas=[{"bucket": bucket, "kind": "note"} for bucket in buckets],
            progress=True,
        )
        store.optimize(progress=True)
    return store


def talk_store(folder: Path, count: int) -> agentmem.MemoryStore:
    """Open the store of ``count`` turns in threads of 500, embedded by the bundled model; made the first time."""
    path = folder / f"talk-{count}.db"
    fresh = not path.exists()
    store = agentmem.MemoryStore(path, merge="manual")
    if fresh:
        store.add_many(
            talk(count, seed=4),
            threads=[f"thread-{i // 500}" for i in range(count)],
            sessions=[str(i % 500 // 25) for i in range(count)],
            speakers=[("Ada", "Ben")[i % 2] for i in range(count)],
            positions=[i % 500 for i in range(count)],
            created_at=[1.7e9 + 60.0 * i for i in range(count)],
            progress=True,
        )
        store.optimize(progress=True)
    return store


def folder_of(arguments: argparse.Namespace) -> Path:
    """Return the folder that ``--folder`` names, or a temporary one."""
    folder = arguments.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    return Path(folder)


def rows_and_folder(description: str | None, rows: int | list[int] = 100_000) -> argparse.Namespace:
    """Return the arguments of a benchmark over a store, or over stores of several sizes: --rows and --folder."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+" if isinstance(rows, list) else None, default=rows)
    parser.add_argument("--folder", type=Path, default=None, help="keep the store there, for the next run")
    return parser.parse_args()


def hnswlib_index(folder: Path, vectors: NDArray[np.float32]) -> hnswlib.Index:
    """Return the rival over the same vectors, of one thread; it is built the first time."""
    count, dimension = vectors.shape
    index = hnswlib.Index("cosine", dimension)
    saved = folder / f"hnswlib-{count}.bin"
    if saved.exists():
        index.load_index(str(saved))
    else:
        index.init_index(count, M=16, ef_construction=200, random_seed=1)
        index.add_items(vectors)
        index.save_index(str(saved))
    index.set_num_threads(1)
    return index
