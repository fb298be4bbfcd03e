"""A small store with every kind of derived block, questions to it, and ways to harm its segment files."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import agentmem
from agentmem import maintenance
from agentmem.index import planner
from agentmem.index.container import open_container

PREFIX = struct.Struct("<8sIIQ36x")
HEAD = PREFIX.size + 4
WORDS = ["lantern", "harbour", "violin", "meadow", "copper", "saffron", "glacier", "orchard", "pebble", "thunder"]
NAMES = ["users/1", "users/10", "users/2/a", "team"]


def shrink() -> None:
    """Let merges and graphs begin at sizes that a test can afford."""
    maintenance.GRAPH_ROWS = 40
    planner.SCAN_ROWS = 20


def open_store(path: Path) -> agentmem.MemoryStore:
    """Open the store of these tests."""
    return agentmem.MemoryStore(path, merge="manual")


def fill(store: agentmem.MemoryStore, first: int, count: int) -> None:
    """Add records with texts (one in ten twice), namespaces, threads, times and an expiry."""
    chance = np.random.default_rng(first)
    texts = [" ".join(chance.choice(WORDS, 6)) for _ in range(count)]
    texts[1::10] = texts[::10][: len(texts[1::10])]
    numbers = range(first, first + count)
    store.add_many(
        texts,
        ids=[f"r{number:03}" for number in numbers],
        namespace=[NAMES[number % len(NAMES)] for number in numbers],
        threads=[f"t{number % 7}" for number in numbers],
        metadatas=[{"even": number % 2 == 0} for number in numbers],
        created_at=[1e9 + number for number in numbers],
        ttl=[4e9 + number for number in numbers],
    )


def make_store(path: Path) -> None:
    """Make a store with a base that has a graph, a delta and a tail, some of each deleted."""
    with open_store(path) as store:
        fill(store, 0, 120)
        assert store.merge().graph
        fill(store, 120, 12)
        assert store.merge().kind == "delta"
        fill(store, 132, 5)
        store.delete("r003", "r050", "r125", "r133")


def answers(store: agentmem.MemoryStore) -> list[Any]:
    """Ask for near vectors, words, both, in namespaces and under filters; return the ids of each answer."""
    result: list[Any] = []
    for rid in ("r000", "r064", "r121", "r135"):
        vector = store.vector(rid)
        for options in ({}, {"namespace": "users/"}, {"namespace": NAMES[1]}, {"filter": {"even": True}}):
            result.append([hit.id for hit in store.search(embedding=vector, k=6, **options)])
    for text in ("violin thunder", "copper orchard meadow"):
        for mechanism in ("auto", "lexical", "late-interaction"):
            result.append([hit.id for hit in store.search(text, k=6, mechanism=mechanism)])
        result.append([hit.id for hit in store.search(text, k=6, namespace="users/", filter={"even": False})])
    result.append(store.knn([store.vector("r007"), store.vector("r100")], 4)[0].tolist())
    return result


def segment(folder: Path, kind: str) -> Path:
    """Return the one segment file of a kind."""
    return next(folder.glob(f"{kind}-*.seg"))


def resealed(raw: bytes, header: object) -> bytes:
    """Return a container with another header under right checksums; the blocks stay where they are."""
    magic, version, room, size = PREFIX.unpack(raw[: PREFIX.size])
    text = json.dumps(header).encode().ljust(room)
    assert len(text) == room, "the forged header does not fit"
    prefix = PREFIX.pack(magic, version, room, size)
    return prefix + struct.pack("<I", zlib.crc32(prefix + text)) + text + raw[HEAD + room :]


def wrong_values(value: object) -> dict[str, object]:
    """Return values that a field should not have, by what is wrong with them."""
    return {
        "wrong": f"{value}x" if isinstance(value, str) else 3,
        "huge": 10**15,
        "negative": -5,
        "other type": 1.5 if isinstance(value, int) else [],
        "null": None if value is not None else 0,
        "true": True,
    }


def forged_headers(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield (what, container) with each field of the header, of its graph and of its first blocks wrong or missing."""
    header = dict(open_container(raw).header)
    room = PREFIX.unpack(raw[: PREFIX.size])[2]
    for place in ([], ["graph"], ["blocks", 0]) if header["graph"] else ([], ["blocks", 0]):
        fields = header
        for step in place:
            fields = fields[step]
        for name, value in fields.items():
            for what, other in (wrong_values(value) | {"missing": ...}).items():
                forged = json.loads(json.dumps(header))
                target = forged
                for step in place:
                    target = target[step]
                target[name] = other
                if other is ...:
                    del target[name]
                if other != value and len(json.dumps(forged)) <= room:
                    yield f"header {place} {name} {what}", resealed(raw, forged)
    for other in ([], "text", 7, None):
        yield f"header is {other!r}", resealed(raw, other)
    yield "header is no JSON", resealed(raw, {})[:HEAD].ljust(HEAD) + b"{" + raw[HEAD + 1 :]


def cut(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the container cut at, before and behind every boundary, and longer than it says."""
    room = PREFIX.unpack(raw[: PREFIX.size])[2]
    table = open_container(raw).header["blocks"]
    bounds = {0, 8, 12, 16, 24, PREFIX.size, HEAD, HEAD + room, len(raw)}
    bounds |= {entry["offset"] for entry in table} | {entry["offset"] + entry["bytes"] for entry in table}
    for size in sorted({bound + step for bound in bounds for step in (-1, 0, 1)} - {len(raw)}):
        if size >= 0:
            yield f"{size} of {len(raw)} bytes", raw[:size].ljust(size, b"\0")


def flipped(raw: bytes, each: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield the container with one bit flipped, ``each`` times in every block."""
    chance = np.random.default_rng(seed)
    for entry in open_container(raw).header["blocks"]:
        for _ in range(each if entry["bytes"] else 0):
            place, bit = int(chance.integers(entry["bytes"])), int(chance.integers(8))
            spoilt = bytearray(raw)
            spoilt[entry["offset"] + place] ^= 1 << bit
            yield f"bit {bit} of byte {place} in {entry['name']}", bytes(spoilt)


def wild(raw: bytes, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield the container with each block overwritten: by ones, zeros and noise, whole or in a tenth of its bytes."""
    chance = np.random.default_rng(seed)
    for entry in open_container(raw).header["blocks"]:
        size, stop = entry["bytes"], entry["offset"] + entry["bytes"]
        old = np.frombuffer(raw[entry["offset"] : stop], np.uint8)
        noise = chance.integers(0, 256, size, np.uint8)
        some = np.where(chance.random(size) < 0.1, noise, old).astype(np.uint8)
        for what, new in (("ones", np.full_like(old, 255)), ("zeros", old * 0), ("noise", noise), ("a tenth", some)):
            if not np.array_equal(new, old):
                yield f"{what} in {entry['name']}", raw[: entry["offset"]] + new.tobytes() + raw[stop:]
