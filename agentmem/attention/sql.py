"""Attention as SQL functions of a ``sqlite3`` connection; no loadable extension.

==========================================================  ===========================================================
attention_score(query, key [, type])                        the pair's score before softmax, a number
attention_scores(query, keys [, type])                      each key's weight, a vector; see ``score``
attention_softmax(vector)                                   a vector
multi_head_attention(query, keys, values [, heads])         a vector; heads 4
flash_attention(query, keys, values [, block_size])         a vector; block_size 64
attention_error()                                           why the last of these failed on this connection
table attention_types (name, complexity, best_for)          the types
==========================================================  ===========================================================

A vector is a blob of float32 in the machine's order, or a JSON array of numbers; many are one blob of rows, or a JSON
array of arrays.  The result is of the query's kind, JSON in float64.  A type is a name of the registry, underscores
allowed; "scaled_dot" where none is given.  Where an argument is NULL, so is the result.  What is wrong with arguments
raises an error in SQL, whose text SQLite's Python driver fixes ("user-defined function raised exception"); the reason
is logged (``agentmem.attention.sql``) and is what ``attention_error()`` returns.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agentmem.attention import registry
from agentmem.attention.attend import attend
from agentmem.attention.inputs import require_finite
from agentmem.attention.mechanism import Mechanism
from agentmem.attention.score import score
from agentmem.errors import InvalidInput

if TYPE_CHECKING:
    import sqlite3

log = logging.getLogger("agentmem.attention.sql")

ALIASES = {"multi-head": "standard-mha", "flash": "flash-attention-v2", "flash-v2": "flash-attention-v2"}
DEFAULT = "scaled-dot"
LARGEST = 1e100
"""Numbers in JSON are smaller, so that their products are numbers too."""
SHOWN = 40
"""Characters of a wrong argument that its error shows."""

_TYPES = """CREATE TEMP VIEW IF NOT EXISTS attention_types(name, complexity, best_for) AS
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')
FROM json_each(attention_catalogue())"""

Array = NDArray[Any]


def register_sql_functions(connection: sqlite3.Connection) -> None:
    """Give a connection the functions and the table of this module.

    Raises:
        sqlite3.Error: the connection is closed, or set to query_only (then do it before).
    """
    reasons: list[str | None] = [None]
    for name, arities, function in _FUNCTIONS:
        for arity in arities:
            connection.create_function(name, arity, _told(name, function, reasons), deterministic=True)
    connection.create_function("attention_error", 0, lambda: reasons[0])
    connection.create_function("attention_catalogue", 0, _catalogue)
    connection.execute(_TYPES)


def _told(name: str, function: Callable[..., Any], reasons: list[str | None]) -> Callable[..., Any]:
    """Return the function, made to keep and log the reason when it raises, and to answer NULL with NULL."""

    def call(*arguments: Any) -> Any:
        if None in arguments:
            return None
        try:
            return function(*arguments)
        except Exception as error:
            reasons[0] = f"{name}: {error}"
            log.error("%s", reasons[0])
            raise

    return call


def _catalogue() -> str:
    declared = (registry.get(name) for name in registry.list())
    return json.dumps([[each.name, each.complexity, each.best_for] for each in declared])


def _declared(kind: object) -> Mechanism:
    if not isinstance(kind, str):
        raise InvalidInput(f"type: expected a name such as 'scaled_dot', came {str(kind)[:SHOWN]}")
    name = kind.replace("_", "-")
    return registry.get(ALIASES.get(name, name))


def _vector(name: str, value: object) -> Array:
    """Return a vector: float32 from a blob, float64 from JSON."""
    if isinstance(value, bytes) and value and not len(value) % 4:
        return np.frombuffer(value, np.float32)
    parsed = _parsed(value)
    if not _are_numbers(parsed) or not parsed:
        raise InvalidInput(f"{name}: expected a JSON array of numbers or a blob of float32, came {_shown(value)}")
    return np.array(parsed, np.float64)


def _rows(name: str, value: object, *, dim: int | None = None, count: int | None = None) -> Array:
    """Return rows of ``dim`` numbers, or ``count`` rows of equal length."""
    expected = f"rows of {dim} numbers" if dim else f"{count} rows, one a key"
    if isinstance(value, bytes):
        step = 4 * (dim or count or 1)
        if not len(value) % step and (value or not count):
            numbers = np.frombuffer(value, np.float32)
            return numbers.reshape((-1, dim) if dim else (count or 0, -1 if count else 1))
        raise InvalidInput(
            f"{name}: expected {expected}, a multiple of {step} bytes of float32, came {len(value)} bytes"
        )
    parsed = _parsed(value)
    if not isinstance(parsed, list) or not all(map(_are_numbers, parsed)):
        raise InvalidInput(f"{name}: expected a JSON array of arrays or a blob of float32, came {_shown(value)}")
    width = dim or (len(parsed[0]) if parsed else 1)
    if {len(row) for row in parsed} - {width} or not width or count not in (None, len(parsed)):
        shape = f"{len(parsed)} of {' and '.join(map(str, sorted({len(row) for row in parsed})))}"
        raise InvalidInput(f"{name}: expected {expected}, came {shape} numbers")
    return np.array(parsed, np.float64).reshape(-1, width)


def _parsed(value: object) -> Any:
    """Return what a JSON text holds, None where it is none."""
    try:
        return json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return None


def _are_numbers(parsed: object) -> bool:
    return isinstance(parsed, list) and all(type(number) in (int, float) and abs(number) < LARGEST for number in parsed)


def _shown(value: object) -> str:
    return f"a blob of {len(value)} bytes" if isinstance(value, bytes) else repr(str(value)[:SHOWN])


def _answer(result: Array, query: object) -> object:
    """Return a vector as the query came: a blob, or JSON."""
    return result.astype(np.float32).tobytes() if isinstance(query, bytes) else json.dumps(result.tolist())


def _score(query: object, key: object, kind: object = DEFAULT) -> float:
    declared, q, k = _declared(kind), _vector("query", query), _vector("key", key)
    if len(k) != len(q):
        raise InvalidInput(f"key: expected {len(q)} numbers as in query, came {len(k)}")
    require_finite(query=q, key=k)
    return _pair_score(declared, q.astype(np.float64), k.astype(np.float64))


def _pair_score(declared: Mechanism, q: Array, k: Array) -> float:
    if declared.form == "hyperbolic":  # the weight against that of the query itself, which lies at distance 0
        own, other = score(q, np.stack([q, k]), mechanism=declared.name)
        return math.log(other / own)
    plain = declared.form == "softmax" and declared.score == "dot" and not (declared.bias or declared.support)
    if not plain or declared.needs:
        raise InvalidInput(f"type {declared.name} scores a key among others only; use attention_scores")
    heads = int(declared.resolve(None).get("heads") or 1)
    if len(q) % heads:
        raise InvalidInput(f"query: {heads} heads of type {declared.name} do not divide {len(q)} numbers")
    return float(q @ k) / (heads * math.sqrt(len(q) / heads))  # the mean over heads


def _scores(query: object, keys: object, kind: object = DEFAULT) -> object:
    declared, q = _declared(kind), _vector("query", query)
    k = _rows("keys", keys, dim=len(q))
    ordered = "positions" in (*declared.needs, *declared.rerank_needs)
    positions = np.arange(len(k)) if ordered else None
    return _answer(score(q, k, mechanism=declared.name, positions=positions), query)


def _softmax(vector: object) -> object:
    v = _vector("vector", vector)
    if np.isnan(v).any() or (v == np.inf).any():
        raise InvalidInput("vector: expected numbers or -infinity, came NaN or infinity")
    top = v.max()
    shares = np.exp(v.astype(np.float64) - top) if top > -np.inf else np.zeros(len(v))
    return _answer(shares / (shares.sum() or 1.0), vector)


def _attended(query: object, keys: object, values: object, mechanism: str, params: dict[str, object]) -> object:
    q = _vector("query", query)
    k = _rows("keys", keys, dim=len(q))
    v = _rows("values", values, count=len(k))
    return _answer(attend(q[None], k, v, mechanism=mechanism, params=params).output[0], query)


def _multi_head(query: object, keys: object, values: object, heads: object = 4) -> object:
    return _attended(query, keys, values, "standard-mha", {"heads": heads})


def _flash(query: object, keys: object, values: object, block_size: object = 64) -> object:
    return _attended(query, keys, values, "flash-attention-v2", {"block_size": block_size})


_FUNCTIONS: tuple[tuple[str, tuple[int, ...], Callable[..., Any]], ...] = (
    ("attention_score", (2, 3), _score),
    ("attention_scores", (2, 3), _scores),
    ("attention_softmax", (1,), _softmax),
    ("multi_head_attention", (3, 4), _multi_head),
    ("flash_attention", (3, 4), _flash),
)
