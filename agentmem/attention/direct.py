"""Attention without a detour: lean functions for short calls, and buffers to write into.

They compute what ``attend`` computes, and hand float32 arrays to the kernel as they are: no declaration, no parameters,
no result object.  Where an array does not fit, or there is no kernel, the long way takes over and finds the words.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.attention import threads
from agentmem.attention.buffers import deliver
from agentmem.attention.engine import engine, native
from agentmem.attention.inputs import Floats, floats, require_finite, require_width, split_heads, triple
from agentmem.attention.reference.hyperbolic import Space, distances, place
from agentmem.errors import InvalidInput


@cache
def _kernels() -> Any:
    """Return the compiled module of the lean functions, None where NumPy has to do its work."""
    kernel = native()
    return None if kernel is None else kernel.direct


def attention(
    query: Floats,
    keys: Floats,
    values: Floats | None = None,
    *,
    heads: int = 1,
    scale: float | None = None,
    causal: bool = False,
    out: NDArray[np.float32] | None = None,
) -> Floats:
    """Softmax attention; with ``out`` nothing is allocated for float32 arrays.

    Args:
        query: float32 or float64 (dim,), (n_queries, dim) or (n_heads, n_queries, head_dim).
        keys: (n_keys, dim), or (n_heads, n_keys, head_dim).
        values: (n_keys, value_dim), or with heads in front; keys where None.
        heads: how many heads the dimension is split into, where they are not in front.
        scale: factor on q·k; None: 1/√head_dim.
        causal: query i sees the keys up to i + n_keys − n_queries.
        out: of the output's shape and dtype, C-contiguous to be written to without a copy; what it holds after an
            exception is undefined.

    Returns:
        ``out``, or a new array: (value_dim,), (n_queries, value_dim) or (n_heads, n_queries, value_dim).

    Raises:
        InvalidInput: arrays that do not fit; InvalidVector for dimensions, NaN and infinity.

    Source: Vaswani 2017, arXiv:1706.03762; Dao 2023, arXiv:2307.08691.
    """
    kernel, n = _kernels(), threads.current or threads.num_threads()
    if kernel is not None:
        came: Floats | None = kernel.attention(query, keys, values, heads, scale, causal, out, n)
        if came is not None:
            return came
    single = np.ndim(query) == 1
    q, k, v = triple(np.atleast_2d(query), keys, values)
    if q.ndim == 2:
        if heads < 1:
            raise InvalidInput(f"heads: expected a whole number of at least 1, came {heads}")
        split_heads(heads, query=q, value=v)
    ran = engine("auto", q.dtype)
    output = ran.softmax(q, k, v, heads=len(q) if q.ndim == 3 else heads, scale=scale, causal=causal)[0]
    return deliver((output[0] if single else output).astype(q.dtype, copy=False), out)


def scratch_bytes(n_queries: int, n_keys: int, dim: int, *, heads: int = 1) -> int:
    """Return the bytes that ``attention`` takes besides its arrays: by the kernel, or by the NumPy of this backend.

    Args:
        n_queries: number of queries.
        n_keys: number of keys.
        dim: of query, key and value rows, all heads together.
        heads: how many heads the dimension is split into.
    """
    kernel = _kernels()
    if kernel is None:
        return 8 * heads * n_queries * (2 * n_keys + dim // heads)  # float64 scores and weights, and the output
    head_dim = dim // heads
    return int(kernel.scratch_bytes(heads, n_queries, n_keys, head_dim, head_dim, threads.num_threads()))


def poincare_scores(
    query: Floats,
    keys: Floats,
    *,
    curvature: float = 1.0,
    beta: float = 1.0,
    clip: float = 4.0,
    epsilon: float = 1e-5,
    tangent: bool = True,
    out: NDArray[np.float32] | None = None,
) -> Floats:
    """Return −beta · distance in the Poincaré ball from the query to each key; the order of "hyperbolic-attention".

    Args:
        query: float32 or float64 (dim,).
        keys: (n, dim).
        curvature: c; the curvature is −c.
        beta: inverse temperature of the distance.
        clip: longest tangent vector kept.
        epsilon: margin to the ball's rim.
        tangent: rows are tangent vectors at the origin, not points of the ball.
        out: (n,), of the output's dtype, C-contiguous to be written to without a copy.

    Raises:
        InvalidInput: arrays or parameters that do not fit; InvalidVector for dimensions, NaN and infinity.

    Source: Gulcehre 2018, arXiv:1805.09786.
    """
    for name, number in (("curvature", curvature), ("beta", beta), ("clip", clip), ("epsilon", epsilon)):
        if not 0 < number < np.inf:
            raise InvalidInput(f"{name}: expected a finite number above 0, came {number!r}")
    kernel = _kernels()
    if kernel is not None:
        came: Floats | None = kernel.poincare(query, keys, curvature, beta, clip, epsilon, tangent, out)
        if came is not None:
            return came
    q, k = floats("query", query, (1,)), floats("keys", keys, (2,))
    require_width(k, len(q), "keys")
    require_finite(query=q, keys=k)
    space = Space(model="poincare", curvature=curvature, beta=beta, clip=clip, epsilon=epsilon, tangent=tangent)
    dtype = np.result_type(q, k)
    scores = -beta * distances(space, place(space, q[None]), place(space, k))[0]
    return deliver(scores.astype(dtype, copy=False), out)
