"""Items of LangGraph as records: one record a text that an item is found by, each with the item's value.

A record has a text or a vector, so an item that is not to be found by queries has one record with a fixed vector, which
no query compares.  The first record of an item, part 0, is always there; it answers for the item.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import datetime, timezone
from typing import Any, NamedTuple

import numpy as np
from langgraph.store.base import Item, PutOp, SearchItem

from agentmem.adapters.langgraph.names import branch_of, escape, labels_of
from agentmem.records import Float32, Record
from agentmem.validation import check_number

VALUE = "value"
"""The path of an item's value in its records' metadata."""
ANSWERS = {"part": 0}
INDEXED = {"indexed": True}
UNINDEXED = {"part": 0, "indexed": False}
MINUTE = 60.0


class Place(NamedTuple):
    """Where an item is: the path of its namespace, and its key."""

    branch: str
    key: str

    def id(self, part: int = 0) -> str:
        """Return the id of one of the item's records; two items never share one."""
        return f"{self.branch}{escape(self.key)}/{part}"


def place_of(root: str, namespace: Sequence[str], key: str) -> Place:
    """Return where an item is."""
    return Place(branch_of(root, namespace), key)


def place_of_record(record: Record) -> Place:
    """Return where the item is that a record belongs to."""
    return Place(record.namespace, record.metadata["key"])


def ids_of(record: Record) -> list[str]:
    """Return the ids of all records of the item that a record belongs to."""
    place = place_of_record(record)
    return [place.id(part) for part in range(record.metadata["parts"])]


def item_of(record: Record) -> Item:
    """Return the item that a record answers for."""
    return Item(**_fields(record))


def found_item_of(record: Record, score: float | None) -> SearchItem:
    """Return the item that a search found by one of its records."""
    return SearchItem(**_fields(record), score=score)


def _fields(record: Record) -> dict[str, Any]:
    return {
        "value": deepcopy(record.metadata[VALUE]),
        "key": record.metadata["key"],
        "namespace": labels_of(record.namespace),
        "created_at": datetime.fromtimestamp(record.created_at, timezone.utc),
        "updated_at": datetime.fromtimestamp(record.metadata["updated_at"], timezone.utc),
    }


def rows_of(
    place: Place, op: PutOp, texts: Sequence[str], vectors: Mapping[str, Float32], dimension: int, now: float
) -> list[dict[str, Any]]:
    """Return the records of an item to write, by the arguments of ``add``.

    Args:
        place: where it is put.
        op: what is put there; its value is not None.
        texts: what it is found by.
        vectors: those of the texts; a text that the model knows no word of has zeros, and finds nothing.
        dimension: of the store.
        now: epoch seconds, UTC.
    """
    known: list[tuple[str | None, Float32]] = [(text, vectors[text]) for text in texts if vectors[text].any()]
    parts = known or [(None, np.eye(1, dimension, dtype=np.float32)[0])]
    return [
        {
            "id": place.id(part),
            "text": text,
            "embedding": vector,
            "namespace": place.branch,
            "metadata": {
                VALUE: dict(op.value or {}),
                "key": place.key,
                "part": part,
                "parts": len(parts),
                "indexed": bool(known),
                "updated_at": now,
                "ttl": op.ttl,
            },
            "ttl": None if op.ttl is None else check_number(op.ttl, "ttl") * MINUTE,
        }
        for part, (text, vector) in enumerate(parts)
    ]
