"""One call, validated: what every form gets; the boundary behind ``attend`` and ``score``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.buffers import room
from agentmem.attention.inputs import Floats, Mask, distinct, floats, keep_mask, require_width, triple
from agentmem.attention.mechanism import Mechanism
from agentmem.attention.weights import checked_weights, sizes_of
from agentmem.errors import InvalidInput

Params = Mapping[str, Any]
Weights = Mapping[str, object] | None
Pair = tuple[Any, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """What a form computes from; every array is checked, C-contiguous and of one dtype.

    Attributes:
        declared: the mechanism.
        params: every parameter, resolved.
        query: (n_queries, dim), or (n_heads, n_queries, head_dim).
        key: (n_keys, dim), or with heads in front.
        value: (n_keys, value_dim), or with heads in front.
        mask: bool, True = keep: (n_keys,), (n_queries, n_keys) or (n_heads, n_queries, n_keys); None for all.
        positions: float64 (n_queries,) and (n_keys,); the row order where the caller gave none and none are needed.
        ordered: whether the caller gave positions.
        segment_ids: int64 (n_queries,) and (n_keys,), negative for none; None where not given.
        edges: int64 (n_edges, 2): query row, key row; None where not given.
        context: key and value of a local context; None where not given.
        weights: learned arrays by name, in the dtype of the query.
        want_weights: weights are to be returned: (n_heads, n_queries, n_keys), or (n_queries, n_keys) where heads are
            averaged.  They are what the values are mixed by: with the identity as values, before value and output
            projections, residual, feed-forward part and midpoint, they are the output.
        out: where a kernel may write what is the whole call's output; None where it may not.
    """

    declared: Mechanism
    params: Params
    query: Floats
    key: Floats
    value: Floats
    mask: Mask | None
    positions: tuple[NDArray[np.float64], NDArray[np.float64]]
    ordered: bool
    segment_ids: tuple[NDArray[np.int64], NDArray[np.int64]] | None
    edges: NDArray[np.int64] | None
    context: tuple[Floats, Floats] | None
    weights: Mapping[str, Floats]
    want_weights: bool
    out: Floats | None

    @property
    def heads(self) -> int:
        """The heads of a three-dimensional query, else the parameter, else 1."""
        return self.query.shape[0] if self.query.ndim == 3 else int(self.params.get("heads", 1))

    @property
    def n_queries(self) -> int:
        """Number of queries."""
        return int(self.query.shape[-2])

    @property
    def n_keys(self) -> int:
        """Number of keys."""
        return int(self.key.shape[-2])


def _numbers(name: str, array: object, count: int, kind: str) -> NDArray[Any]:
    came = np.asarray(array)
    wanted = "iu" if kind == "integers" else "iuf"
    if came.dtype.kind not in wanted or came.shape != (count,):
        raise InvalidInput(f"{name}: expected {kind} of shape ({count},), came {came.dtype} of shape {came.shape}")
    if not np.isfinite(came).all():
        raise InvalidInput(f"{name}: expected finite numbers, came NaN or infinity; give every row its place")
    return came.astype(np.int64 if kind == "integers" else np.float64)


def _by_row(name: str, given: object, n_queries: int, n_keys: int, kind: str) -> Pair:
    """Return the numbers of queries and keys: a pair is both; one array is the keys', the queries being the last."""
    if isinstance(given, tuple) and len(given) == 2 and np.ndim(given[0]) == 1:
        return (
            _numbers(f"{name}[0]", given[0], n_queries, kind),
            _numbers(f"{name}[1]", given[1], n_keys, kind),
        )
    of_keys = _numbers(name, given, n_keys, kind)
    if n_queries > n_keys:
        raise InvalidInput(f"{name}: {n_queries} queries are more than {n_keys} keys; give a pair (queries', keys')")
    return of_keys[n_keys - n_queries :], of_keys


def checked_edges(given: object, n_queries: int, n_keys: int) -> NDArray[np.int64]:
    """Return the edges sorted, each once; raise InvalidInput for what is none."""
    came = np.asarray(given)
    if came.size == 0:
        return np.zeros((0, 2), np.int64)
    if came.dtype.kind not in "iu" or came.ndim != 2 or came.shape[1] != 2:
        raise InvalidInput(f"edges: expected integers of shape (n_edges, 2), came {came.dtype} of shape {came.shape}")
    if came.min() < 0 or (came.max(0) >= (n_queries, n_keys)).any():
        raise InvalidInput(
            f"edges: expected rows (query, key) below ({n_queries}, {n_keys}) and not negative, "
            f"came {came.min(0).tolist()} to {came.max(0).tolist()}"
        )
    query, key = came.astype(np.int64).T
    return np.stack(np.divmod(distinct(query * n_keys + key), n_keys), axis=1)


def _context(given: object, dim: int, value_dim: int, dtype: Any) -> tuple[Floats, Floats]:
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise InvalidInput("context: expected a pair (key, value)")
    key, value = (floats(f"context[{at}]", array, (2,)) for at, array in enumerate(given))
    require_width(key, dim, "context[0]")
    if value.shape != (len(key), value_dim):
        raise InvalidInput(
            f"context[1]: expected shape {(len(key), value_dim)}, one value per context key, came {value.shape}"
        )
    return key.astype(dtype, copy=False), value.astype(dtype, copy=False)


def require_inputs(declared: Mechanism, given: Mapping[str, object], also: tuple[str, ...] = ()) -> None:
    """Raise InvalidInput for inputs that the mechanism does not take, and one that lists all that are missing."""
    for name, value in given.items():
        if value is not None and name not in declared.inputs() + also:
            raise InvalidInput(f"{declared.name} takes no {name}; leave it out, or choose a mechanism that does")
    missing = [name for name in (*declared.needs, *also) if given.get(name) is None]
    weights = given.get("weights")
    held = weights if isinstance(weights, Mapping) else {}
    missing += [f"weights[{w.name!r}]" for w in declared.weights if w.required and w.name not in held]
    if missing:
        learned = any(name.startswith("weights") for name in missing)
        remedy = "; AttentionWeights.init makes weights to start from" if learned else ""
        raise InvalidInput(f"{declared.name} needs {', '.join(missing)}{remedy}")


def make_call(
    declared: Mechanism,
    query: object,
    key: object,
    value: object,
    *,
    params: Mapping[str, object] | None,
    positions: object,
    segment_ids: object,
    edges: object,
    weights: Weights,
    want_weights: bool,
    mask: object = None,
    context: object = None,
    out: object = None,
) -> Call:
    """Check everything once and return the call.

    Raises:
        InvalidInput: arrays, parameters or inputs that do not fit; InvalidVector for dimensions, NaN and infinity.
    """
    given = {
        "positions": positions,
        "segment_ids": segment_ids,
        "edges": edges,
        "context": context,
        "weights": weights,
    }
    require_inputs(declared, given)
    resolved = declared.resolve(params)
    q, k, v = triple(query, key, value, declared.layout == "grouped")
    n_queries, n_keys, dim, value_dim = q.shape[-2], k.shape[-2], q.shape[-1], v.shape[-1]
    if q.ndim == 3 and "heads" in (params or {}) and resolved["heads"] != len(q):
        raise InvalidInput(f"{declared.name}: heads is {resolved['heads']}, but query has {len(q)} heads in front")
    heads = q.shape[0] if q.ndim == 3 else int(resolved.get("heads") or 1)
    if "heads" in resolved:
        resolved["heads"] = heads
    keep = keep_mask(mask, heads, n_queries, n_keys)
    if keep is not None and (declared.masks == "none" or (declared.masks == "keys" and keep.ndim > 1)):
        allowed = "no mask" if declared.masks == "none" else f"a mask over the keys, shape ({n_keys},)"
        raise InvalidInput(f"{declared.name} takes {allowed}; came one of shape {keep.shape}")
    order = (np.arange(n_keys - n_queries, n_keys, dtype=np.float64), np.arange(n_keys, dtype=np.float64))
    sizes = sizes_of(declared, resolved, dim, value_dim, n_keys)
    return Call(
        declared=declared,
        params=resolved,
        query=q,
        key=k,
        value=v,
        mask=keep,
        positions=order if positions is None else _by_row("positions", positions, n_queries, n_keys, "numbers"),
        ordered=positions is not None,
        segment_ids=None if segment_ids is None else _by_row("segment_ids", segment_ids, n_queries, n_keys, "integers"),
        edges=None if edges is None else checked_edges(edges, n_queries, n_keys),
        context=None if context is None else _context(context, dim, value_dim, q.dtype),
        weights=checked_weights(declared, weights, sizes, q.dtype),
        want_weights=want_weights,
        out=room(out, q.dtype, q, k, v, keep),
    )
