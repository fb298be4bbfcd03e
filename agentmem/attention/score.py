"""``score`` and ``rank``: what a mechanism makes of each candidate, one definition for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentmem.attention import registry
from agentmem.attention.call import Call, Weights, checked_edges, make_call, require_inputs
from agentmem.attention.engine import Engine, engine
from agentmem.attention.forms import SCORED, run_form
from agentmem.attention.forms.memory import memory_scores
from agentmem.attention.inputs import Floats, floats, integers, require_finite, require_width, same_dtype
from agentmem.attention.mechanism import Mechanism
from agentmem.attention.reference.common import normalised
from agentmem.attention.weights import checked_weights
from agentmem.errors import InvalidInput

Given = dict[str, Any]


class Ranked(NamedTuple):
    """Candidates in order.

    Attributes:
        order: int64 (k,), indices of candidates, best first.
        scores: float32 (k,), their scores.
    """

    order: NDArray[np.int64]
    scores: NDArray[np.float32]


def _late_interaction(ran: Engine, query: Floats, keys: Floats, segment_ids: object, weights: Weights) -> Floats:
    """Keys of one segment are one record's vectors; without segments every key is a record."""
    require_finite(query=query, keys=keys)
    unit = normalised(np.atleast_2d(query).astype(np.float64)).astype(np.float32)
    table = normalised(keys.astype(np.float64)).astype(np.float32)
    declared = registry.get("late-interaction")
    learned = checked_weights(declared, weights, {"n_vectors": len(unit)}, np.float32)
    importance = learned.get("tokens", np.ones(len(unit), np.float32))
    group = np.arange(len(keys)) if segment_ids is None else integers("segment_ids", segment_ids, len(keys))
    if len(group) and group.min() < 0:
        raise InvalidInput(f"segment_ids: expected record numbers from 0, came {group.min()}")
    order = np.argsort(group, kind="stable")
    offsets = np.searchsorted(group[order], np.arange(group.max(initial=-1) + 2)).astype(np.int64)
    scores = ran.maxsim(unit, importance, table, None, offsets, order.astype(np.uint32), None)
    scores[offsets[1:] == offsets[:-1]] = 0  # a number that no vector belongs to
    return scores


def _order(positions: object, count: int) -> tuple[NDArray[np.int64], Any]:
    """Return the candidates' order, and the positions of candidates so ordered and of the query behind them."""
    if positions is None:
        return np.arange(count), None
    of_query, of_keys = positions if isinstance(positions, tuple) else (None, positions)
    place = np.asarray(of_keys, np.float64)
    if place.shape != (count,) or not np.isfinite(place).all():
        raise InvalidInput(f"positions: expected finite numbers of shape ({count},), one per key, came {place.shape}")
    now = place.max(initial=-1) + 1 if of_query is None else float(np.ravel(of_query)[0])
    order = np.argsort(place, kind="stable")
    return order, np.append(place[order], now)


def _sequence_call(
    declared: Mechanism, query: Floats, keys: Floats, params: Mapping[str, object] | None, given: Given
) -> tuple[Call, NDArray[np.int64]]:
    """Return the call over the candidates in their own order with the query behind them, and that order."""
    order, positions = _order(given["positions"], len(keys))
    segments, edges = given["segment_ids"], given["edges"]
    if segments is not None:
        of_query, of_keys = segments if isinstance(segments, tuple) else (-1, segments)
        segments = np.append(integers("segment_ids", of_keys, len(keys))[order], of_query)
    if edges is not None:
        edges = np.append(np.argsort(order), len(keys))[checked_edges(edges, len(keys) + 1, len(keys) + 1)]
        edges = edges[edges[:, 0] == len(keys)] - (len(keys), 0)  # the query, the only row that asks
    rows = np.concatenate([keys[order], query[None]])
    inputs = given | {"positions": positions, "segment_ids": segments, "edges": edges}
    return make_call(declared, query[None], rows, None, params=params, want_weights=True, **inputs), order


def score(
    query: object,
    keys: object,
    *,
    mechanism: str,
    params: Mapping[str, object] | None = None,
    positions: object = None,
    segment_ids: object = None,
    edges: object = None,
    weights: Weights = None,
    backend: str = "auto",
) -> NDArray[np.float32]:
    """Return each candidate's ranking score for one query; higher is better.

    A candidate's score is its *effective weight*: what the query's output would take of it, as a share, mean over
    heads, before value and output projections, residual, feed-forward part and midpoint.  Mechanisms over a sequence
    (``Mechanism.sequence``) see the candidates in the order of their ``positions`` and the query behind them, as "now";
    for the others the candidates are the keys.  A candidate outside a sparse support scores 0.  Two are their own:
    "late-interaction" scores the best match of each query vector, and "memory-attention" judges a candidate with its
    own local context, g · p_j + (1 − g) · Σ a_i p_i.

    Args:
        query: float32 or float64 (dim,); for late-interaction also (n_vectors, dim).
        keys: (n, dim), one row a candidate; for late-interaction one row a vector.
        mechanism: a name of ``registry.list()``.
        params: the mechanism's parameters.
        positions: numbers (n,), each candidate's place or time, the query's being one behind the last; or a pair
            (query's, candidates').  NaN, for none, is taken by memory-attention alone.
        segment_ids: integers (n,): the thread or session, negative for none; the record that a vector belongs to,
            counted from 0, for late-interaction.
        edges: integers (n_edges, 2) between candidates, row n being the query.
        weights: learned arrays by name; what the declaration requires is never made up.
        backend: "auto", "native" or "numpy".

    Returns:
        float32 (n,); for late-interaction with segment_ids (largest + 1,).

    Raises:
        UnknownMechanism: no such name.
        InvalidInput: arrays or parameters that do not fit, or missing inputs; InvalidVector for dimensions, NaN and
            infinity.
        BackendUnavailable: the backend asked for cannot run.
    """
    declared = registry.get(mechanism)
    q = floats("query", query, (1, 2) if declared.form == SCORED else (1,))
    k = floats("keys", keys, (2,))
    require_width(k, q.shape[-1], "keys")
    q, k = same_dtype(q, k)
    given: Given = {"positions": positions, "segment_ids": segment_ids, "edges": edges, "weights": weights}
    require_inputs(declared, given, declared.rerank_needs)
    if declared.form == SCORED:
        declared.resolve(params)
        return _late_interaction(engine(backend), q, k, segment_ids, weights).astype(np.float32, copy=False)
    if len(k) == 0:
        return np.zeros(0, np.float32)
    if declared.form == "memory":
        return memory_scores(declared, q, k, params, positions, segment_ids, weights)
    order = np.arange(len(k))
    if declared.sequence:
        call, order = _sequence_call(declared, q, k, params, given)
    else:
        call = make_call(declared, q[None], k, None, params=params, want_weights=True, **given)
    shares = run_form(call, backend)[1]
    assert shares is not None, f"form {declared.form} gave no weights"
    row = shares[..., -1, : len(k)]
    result = np.empty(len(k), np.float32)
    result[order] = row.mean(0) if row.ndim == 2 else row
    return result


def prf(
    query: object, keys: object, *, mechanism: str = "scaled-dot", blend: float = 0.5, **inputs: Any
) -> NDArray[np.float32]:
    """Return each candidate's similarity to the attended query: pseudo-relevance feedback, higher is better.

    The attended query is (1 − blend) · q + blend · Σ_j w_j k_j, both parts of length one, w the candidates' scores by
    ``score``.  It rewards candidates that resemble what was found already, and measured retrieval is worse for it: see
    docs/quality.md.

    Args:
        query: float32 or float64 (dim,).
        keys: (n, dim), one row a candidate.
        mechanism: what weighs the candidates.
        blend: the attended part, from 0 (the cosine) to 1.
        inputs: as for ``score``.

    Raises:
        InvalidInput: a blend out of range, and what ``score`` raises.

    Source: Rocchio 1971, with attention in the place of equal weights.
    """
    if not 0 <= blend <= 1:
        raise InvalidInput(f"blend must be from 0 to 1, not {blend!r}")
    weights = score(query, keys, mechanism=mechanism, **inputs).astype(np.float64)
    q, rows = floats("query", query, (1,)).astype(np.float64), floats("keys", keys, (2,)).astype(np.float64)
    if len(weights) != len(rows):
        raise InvalidInput(f"prf: {mechanism} scored {len(weights)} of {len(rows)} candidates; leave segment_ids out")
    attended = (1 - blend) * normalised(q) + blend * normalised(weights @ rows)
    return (normalised(rows) @ attended).astype(np.float32)


def rank(query: object, keys: object, *, mechanism: str, k: int | None = None, **inputs: Any) -> Ranked:
    """Return candidates best first by ``score``; equal scores, such as outside a support, by dot product, then index.

    Args:
        query: (dim,); keys: (n, dim); mechanism and the other inputs as for ``score``.
        keys: as for ``score``.
        mechanism: as for ``score``.
        k: how many; all where None.
        inputs: as for ``score``.
    """
    scores = score(query, keys, mechanism=mechanism, **inputs)
    q, rows = np.asarray(query), np.asarray(keys)
    dense = rows @ q if q.ndim == 1 and len(rows) == len(scores) else scores
    order = np.lexsort((-dense, -scores))[:k].astype(np.int64)
    return Ranked(order, scores[order])
