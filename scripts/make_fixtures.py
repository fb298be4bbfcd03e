"""Write a small store of the present schema version, and what it holds, for the tests of migration.

    python scripts/make_fixtures.py

Run it once for each schema version, before that version is first released, and never again for it: the pair
``tests/fixtures/schema-N.db`` and ``schema-N.json`` is what a store of that version looks like from then on.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import numpy as np

from agentmem import MemoryStore
from agentmem.storage.schema import SCHEMA_VERSION

FOLDER = Path(__file__).parents[1] / "tests" / "fixtures"
DIMENSION = 8
FAR = 1e10
"""Seconds until what expires does so: some 300 years."""
PAGE_BYTES = 1024
"""Smaller than a store's own, since most of its tables are nearly empty here."""
ODD = "nul\0, \u202eright to left\u202c, \U0001f600, \ufdd0, quotes \" ' \\, and\nlines"


def vectors(count: int, seed: int) -> np.ndarray[Any, Any]:
    """Return seeded vectors, float32 (count, 8)."""
    return np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)


def fill(store: MemoryStore) -> None:
    """Add some 20 records with every kind of field, and give them a history."""
    given = vectors(30, seed=1)
    store.add_many(
        [f"note {n}: the club meets on day {n}" for n in range(14)],
        embeddings=given[:14],
        ids=[f"note-{n}" for n in range(14)],
        metadatas=[{"n": n, "tags": ["club", f"day {n % 3}"], "deep": {"a": [1, {"b": None}]}} for n in range(14)],
        namespace=[f"users/{n % 2}" for n in range(14)],
        threads=[None if n % 4 == 3 else f"thread {n % 2}" for n in range(14)],
        positions=[None if n % 4 == 3 else n / 2 for n in range(14)],
        created_at=[1_700_000_000.5 + n for n in range(14)],
        importances=[n / 14 for n in range(14)],
    )
    talk = [{"role": "user", "name": "Ada", "content": "Ines must not eat peanuts."},
            {"role": "assistant", "content": "Then no peanut butter in the cake."}]  # fmt: skip
    for place, turn in enumerate(talk):
        store.add(turn["content"], id=f"turn-{place}", embedding=given[14 + place], thread="talk", session=1,
                  speaker=turn.get("name", turn["role"]), position=place, metadata={"role": turn["role"]})  # fmt: skip
    store.add(ODD, id='odd "id" \0 é', embedding=given[16], metadata={ODD: [2**63 - 1, -(2**63), 5e-324, ODD]})
    store.add(id="no text", embedding=given[17], links=[("about", "note-1"), ("about", 'odd "id" \0 é')])
    store.add("", id="empty text", embedding=given[18], thread="", session="", speaker="", namespace="users/1/x")
    store.add("will expire, but not soon", id="expires", embedding=given[19], ttl=FAR, importance=1.0)
    store.add("deleted", id="deleted", embedding=given[20], links=[("to", "note-2")])
    store.add("deleted and added again", id="again", embedding=given[21])
    store.update("note-3", text="note 3: the club meets at Priya's", embedding=given[22])
    store.update("note-4", metadata={"n": -4}, importance=0.125)
    store.update("note-5", links=[("next", "note-6"), ("next", "note-7"), ("back", "no text")])
    store.feedback(
        "when does the club meet?", accepted=["note-3"], rejected=["note-4"], shown=["note-4", "note-11", "note-3"]
    )
    store.feedback(embedding=given[24], accepted=["no text"])
    store.delete("deleted", "again", "note-11")
    store.add("added again", id="again", embedding=given[23])
    store.create_metadata_index("n")


def described(store: MemoryStore) -> dict[str, Any]:
    """Return all that a store holds, as JSON holds it."""
    identity, probe = store.identity, vectors(1, seed=2)[0]
    records = []
    for record in store.iterate():
        vector = store.vector(record.id)
        records.append(
            record._asdict()
            | {
                "vector": None if vector is None else vector.tolist(),
                "links": [list(each) for each in store.links(record.id)],
            }
        )
    return {
        "identity": {name: getattr(identity, name) for name in ("uuid", "embedder", "dimension", "metric")},
        "seq": store.seq,
        "records": records,
        "changes": [[change.seq, change.op, change.id, change.at] for change in store.changes()],
        "feedback": [
            [each.at, each.query, None if each.vector is None else each.vector.tolist(),
             list(each.shown), list(each.accepted), list(each.rejected)]
            for each in store.feedback_log()
        ],
        "namespaces": store.namespaces(),
        "nearest to the probe": [hit.id for hit in store.search(embedding=probe, k=5)],
        "matching club AND priya": sorted(
            record.id for record in store.iterate(filter={"@text": {"$match": "club AND priya"}})
        ),
        "with n above 4": sorted(record.id for record in store.iterate(filter={"n": {"$gt": 4}})),
    }  # fmt: skip


def repack(path: Path) -> None:
    """Make the file small; it stays as a clean close leaves it, in WAL mode without a log."""
    raw = sqlite3.connect(path, isolation_level=None)
    for statement in ("journal_mode = DELETE", f"page_size = {PAGE_BYTES}"):
        raw.execute(f"PRAGMA {statement}")
    raw.execute("VACUUM")
    raw.execute("PRAGMA journal_mode = WAL")
    raw.close()


def main() -> None:
    """Write the pair of the present schema version; refuse where it is there."""
    path = FOLDER / f"schema-{SCHEMA_VERSION}.db"
    if path.exists():
        sys.exit(f"{path} exists; a fixture is made once for each schema version")
    FOLDER.mkdir(exist_ok=True)
    with MemoryStore(path, embedder=None, dimension=DIMENSION, merge="manual") as store:
        fill(store)
        told = described(store)
    repack(path)
    path.with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(f"{path}: {path.stat().st_size} bytes, {len(told['records'])} records")


if __name__ == "__main__":
    main()
