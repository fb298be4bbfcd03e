"""The boundary: every argument of the public face is checked here, once, and becomes what the rooms below trust."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import datetime, timezone
from typing import Any, cast

import numpy as np

from agentmem.errors import InvalidFilter, InvalidInput, InvalidVector
from agentmem.records import METRICS, Float32, Metric

Timestamp = float | int | datetime | str
"""Epoch seconds (UTC), a datetime, or an ISO 8601 string; without an offset it is taken as UTC."""

MAX_K = 100_000
MAX_INTEGER = 2**63 - 1
MAX_METADATA_DEPTH = 100
_SHOWN = 200
_FLOAT32 = np.dtype(np.float32)


def shown(value: object) -> str:
    """Return what an error message shows of a value: its repr, cut where it is long; its type where it has none."""
    try:
        text = repr(value)
    except Exception:  # repr is the caller's code, or refuses a huge integer: the message is about something else
        return f"<{type(value).__name__}>"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def check_path(value: str | os.PathLike[str]) -> str:
    """Return a path as a string that can name a file."""
    try:
        path = check_string(os.fspath(value), "path")
    except TypeError:
        raise InvalidInput(f"path must be a string or a Path, got {shown(value)} ({type(value).__name__})") from None
    if not path or "\0" in path:
        raise InvalidInput(f"path {shown(path)} is empty or holds U+0000; no file has such a name")
    return path


def check_choice(value: object, name: str, choices: Iterable[str]) -> str:
    """Return a word that is one of those that exist."""
    known = tuple(choices)
    if not isinstance(value, str) or value not in known:
        raise InvalidInput(f"{name} must be one of {', '.join(map(repr, known))}, got {shown(value)}")
    return value


def check_flag(value: object, name: str) -> bool:
    """Return True or False."""
    if value is True or value is False:
        return value
    if not isinstance(value, (bool, np.bool_)):
        raise InvalidInput(f"{name} must be True or False, got {came(value)}")
    return bool(value)


def check_list(value: Any, name: str) -> Sequence[Any]:
    """Return what has a length and an order: a list, a tuple, an array; not one string and not a mapping or set."""
    try:
        len(value)
    except TypeError:
        raise InvalidInput(f"{name} must be a list, got {came(value)}") from None
    if isinstance(value, (str, bytes, Mapping, Set)):
        raise InvalidInput(f"{name} must be a list, got {came(value)}")
    sequence: Sequence[Any] = value
    return sequence


def check_scope(filter: object, namespace: object) -> tuple[Mapping[str, Any] | None, str | None]:
    """Return a filter and a namespace, or None where there is none; what is in the filter is looked at later.

    Raises:
        InvalidFilter: the filter is not a mapping.
        InvalidInput: the namespace is not a string that SQLite can hold.
    """
    if filter is not None and not isinstance(filter, Mapping):
        raise InvalidFilter(f"a filter must be a mapping, got {came(filter)}")
    return filter, None if namespace is None else check_string(namespace, "namespace")


def came(value: object) -> str:
    """Return what came, as an error message says it: a number as it is, of anything else the type.

    What a caller meant to be remembered must not turn up in a log because it stood in the wrong argument.
    """
    plain = value is None or isinstance(value, (bool, int, float, np.number))
    return shown(value) if plain else f"a value of type {type(value).__name__}"


def check_metric(metric: str) -> Metric:
    """Return the metric, or raise InvalidInput naming those that exist."""
    return cast(Metric, check_choice(metric, "metric", METRICS))


def check_string(value: object, name: str) -> str:
    """Return a string that SQLite can hold as UTF-8.

    Raises:
        InvalidInput: not a string, or one with lone surrogates.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{name} must be a string, got {type(value).__name__}")
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{name} holds a lone surrogate at character {error.start}, which is not valid Unicode; "
            "repair it first, e.g. text.encode('utf-8', 'replace').decode()"
        ) from None
    return value


def check_id(value: object) -> str:
    """Return a record id: a string that is not empty."""
    text = check_string(value, "id")
    if not text:
        raise InvalidInput("id is empty; give a non-empty string, or None to have one generated")
    return text


def optional_string(value: object, name: str) -> str | None:
    """Return None or a valid string; numbers are taken as their decimal text, since sessions are often counted."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > MAX_INTEGER:
            raise InvalidInput(f"{name} is an integer beyond 64 bits, which is no number of anything; give a string")
        return str(value)
    return check_string(value, name)


def check_text(value: object, *, has_embedding: bool) -> str | None:
    """Return the text of a record; it may be empty or None only where an embedding is given."""
    if value is None or (isinstance(value, str) and not value.strip()):
        if not has_embedding:
            raise InvalidInput("text is empty and no embedding is given; give at least one of the two")
        return None if value is None else check_string(value, "text")
    return check_string(value, "text")


def check_metadata(value: object) -> Mapping[str, Any]:
    """Return the metadata, a mapping that JSON can hold exactly (no NaN, string keys).

    Raises:
        InvalidInput: not a mapping, or not JSON.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInput(f"metadata must be a JSON object (a dict), got {type(value).__name__}")
    if not value:
        return {}
    _check_keys(value)
    try:
        encoded = json.dumps(value, allow_nan=False, ensure_ascii=False)
        encoded.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"metadata is not JSON: {error}") from None
    return value


def _check_keys(value: object, depth: int = 0) -> None:
    if depth > MAX_METADATA_DEPTH:
        raise InvalidInput(f"metadata is nested deeper than {MAX_METADATA_DEPTH} levels; flatten it")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidInput(f"metadata keys must be strings, got {came(key)}")
            if isinstance(item, (Mapping, list, tuple)):
                _check_keys(item, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            if isinstance(item, (Mapping, list, tuple)):
                _check_keys(item, depth + 1)


def check_number(value: object, name: str, *, low: float = -math.inf, high: float = math.inf) -> float:
    """Return a finite number within [low, high] as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise InvalidInput(f"{name} must be a number, got {came(value)}")
    try:
        number = float(value)
    except OverflowError:
        raise InvalidInput(f"{name} is too large for a float: {shown(value)}") from None
    if not math.isfinite(number) or not low <= number <= high:
        bounds = "" if low == -math.inf and high == math.inf else f" from {low:g} to {high:g}"
        raise InvalidInput(f"{name} must be a finite number{bounds}, got {shown(value)}")
    return number


def check_count(value: object, name: str, *, low: int, high: int = MAX_K) -> int:
    """Return an integer within [low, high]."""
    if type(value) is int and low <= value <= high:
        return value
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise InvalidInput(f"{name} must be an integer from {low} to {high}, got {came(value)}")
    return int(value)


def check_timestamp(value: object, name: str) -> float:
    """Return a point of time (see ``Timestamp``) as epoch seconds, UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            raise InvalidInput(f"{name} is a string but no ISO 8601 time; e.g. '2026-05-08T13:56:00'") from None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp()
    return check_number(value, name)


def check_vector(value: object, dimension: int, metric: Metric, name: str = "embedding") -> Float32:
    """Return one vector as a C-contiguous float32 array of shape (dimension,).

    Raises:
        InvalidVector: wrong dimension, NaN, infinity, a magnitude that float32 cannot hold, or zero under cosine.
    """
    if type(value) is np.ndarray and value.dtype == _FLOAT32 and value.shape == (dimension,):
        vector: Float32 = np.ascontiguousarray(value)
    else:
        vector = check_matrix([value], dimension, metric, name)[0]
    if not 1e-30 < vector.dot(vector) < math.inf:
        _explain_vectors(vector[None], metric, name)
    return vector


def check_matrix(value: object, dimension: int, metric: Metric, name: str = "embeddings") -> Float32:
    """Return vectors as a C-contiguous float32 array of shape (n, dimension); errors as ``check_vector``."""
    try:
        with np.errstate(over="ignore"):
            matrix = np.ascontiguousarray(value, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        raise InvalidVector(f"{name} is not an array of numbers of one length, got {came(value)}") from None
    if matrix.ndim != 2 or matrix.shape[1] != dimension:
        shape = matrix.shape[1:] if len(matrix) else matrix.shape
        raise InvalidVector(f"{name}: expected vectors of dimension {dimension}, got shape {shape}")
    squares = np.einsum("ij,ij->i", matrix, matrix)
    if not ((squares > 1e-30) & (squares < np.inf)).all():
        _explain_vectors(matrix, metric, name)
    return matrix


def _explain_vectors(matrix: Float32, metric: Metric, name: str) -> None:
    """Raise InvalidVector where a row is not finite, or zero under cosine; tiny and huge rows may still be fine."""
    where = f"{name}[{{}}]" if len(matrix) > 1 else name
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        raise InvalidVector(f"{where.format(int(np.argmin(finite)))} holds NaN or infinity")
    norms = np.linalg.norm(matrix.astype(np.float64), axis=1)
    if metric == "cosine" and not (norms > 1e-15).all():
        row = int(np.argmin(norms))
        raise InvalidVector(
            f"{where.format(row)} is a zero vector (norm {norms[row]:g}), which has no direction under cosine; "
            "leave the record without an embedding to have it found by its words"
        )
    if not (norms < 1e18).all():
        raise InvalidVector(
            f"{where.format(int(np.argmax(norms)))} is too long for float32 arithmetic (norm above 1e18)"
        )


def check_links(value: object) -> tuple[tuple[str, str], ...]:
    """Return links as (kind, target id) pairs."""
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InvalidInput(f"links must be a list of (kind, target id) pairs, got {type(value).__name__}")
    links = []
    for link in value:
        if not isinstance(link, (tuple, list)) or len(link) != 2:
            raise InvalidInput(f"a link must be a (kind, target id) pair, got {came(link)}")
        links.append((check_string(link[0], "link kind"), check_id(link[1])))
    return tuple(links)


def expiry(ttl: object, now: float) -> float | None:
    """Return when a record with this time to live (seconds, above 0) expires, or None for never."""
    if ttl is None:
        return None
    seconds = check_number(ttl, "ttl", low=0.0)
    if seconds == 0:
        raise InvalidInput("ttl must be above 0 seconds; use delete() to remove a record now")
    return now + seconds


def wall_clock() -> float:
    """Return the time by which records expire: epoch seconds, UTC."""
    return time.time()


def check_query(text: object) -> str:
    """Return the text of a query, which is not empty."""
    value = check_string(text, "query text")
    if not value.strip():
        raise InvalidInput("the query text is empty; give some words, or an embedding alone")
    return value
