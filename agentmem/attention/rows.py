"""Attention over rows of a large matrix, and late interaction over token ids: the store's own hot paths."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.attend import AttentionResult
from agentmem.attention.engine import engine, native
from agentmem.attention.inputs import Floats, floats, require_finite
from agentmem.errors import InvalidInput, InvalidVector

LONGEST_CODES = 131_072
"""Numbers in a row of int8 codes: the inner product of two such rows fits 32 bits."""


def attend_rows(
    matrix: NDArray[np.float32],
    rows: NDArray[np.int64],
    query: NDArray[np.float32],
    *,
    scale: float | None = None,
    backend: str = "auto",
) -> AttentionResult:
    """Attend from each query to chosen rows of a matrix, gathering and attending in one pass, without a copy.

    Args:
        matrix: float32 (N, dim), C-contiguous; may be read-only, such as a mapped file.  Keys and values.
        rows: int64 (m,), or (b, m) with one list a query; a list may end in −1 for no row.
        query: float32 (dim,), or (b, dim).
        scale: factor on q·k; None: 1/√dim.
        backend: "auto", "native" or "numpy".

    Returns:
        output (dim,) or (b, dim), and weights (m,) or (b, m), 0 where there is no row.

    Raises:
        InvalidInput: another dtype or shape, or a row outside the matrix; InvalidVector for NaN and infinity.
        BackendUnavailable: the backend asked for cannot run.
    """
    if (backend == "auto" or backend == "native") and (kernel := native()) is not None:
        result = kernel.rows(matrix, rows, query, scale)  # its own checks are enough where everything fits
        if result is not None and not result[2]:
            return AttentionResult(result[0], result[1], "native")
    ran = engine(backend)
    checked, lists, queries = _checked_rows(matrix, rows, query)
    out, weights = ran.attend_rows(checked, lists, queries, scale)
    lead = np.shape(query)[:-1]
    out, weights = (array.astype(np.float32, copy=False).reshape(*lead, array.shape[-1]) for array in (out, weights))
    return AttentionResult(out, weights, ran.name)


def _checked_rows(matrix: object, rows: object, query: object) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Return the arrays as the kernel wants them, lists and queries two-dimensional; raise where they cannot be."""
    m, q = floats("matrix", matrix, (2,)), floats("query", query, (1, 2))
    for name, array in (("matrix", m), ("query", q)):
        if array.dtype != np.float32:
            raise InvalidInput(f"{name}: expected float32, came {array.dtype}; convert with astype(np.float32)")
    if q.shape[-1] != m.shape[1]:
        raise InvalidVector(f"query: expected {m.shape[1]} numbers a row as in matrix, came shape {q.shape}")
    came = np.asarray(rows)
    batch = len(q) if q.ndim == 2 else 1
    if came.dtype.kind not in "iu" or came.ndim not in (1, q.ndim) or (came.ndim == 2 and len(came) != batch):
        raise InvalidInput(
            f"rows: expected integers of shape (m,), or ({batch}, m) for {batch} queries, "
            f"came {came.dtype} of shape {came.shape}"
        )
    lists = np.ascontiguousarray(np.broadcast_to(came.astype(np.int64), (batch, came.shape[-1])))
    if lists.size and lists.max() >= len(m):
        raise InvalidInput(f"rows: {lists.max()} is outside the matrix of {len(m)} rows")
    if (np.diff((lists >= 0).astype(np.int8), axis=1) > 0).any():
        raise InvalidInput("rows: a negative number means no row, and only other negative ones may follow it")
    return m, lists, np.atleast_2d(q)


def maxsim(
    query_vectors: NDArray[np.float32],
    weights: NDArray[np.float32],
    table: NDArray[np.int8] | NDArray[np.float32],
    offsets: NDArray[np.int64],
    tokens: NDArray[np.unsignedinteger[Any]],
    *,
    scales: NDArray[np.float32] | None = None,
    rows: NDArray[np.int64] | None = None,
    backend: str = "auto",
) -> NDArray[np.float32]:
    """Score rows of token ids: Σ_i weights_i · max over the row's tokens t of q_i · (scales_t · table_t).

    Each distinct token is compared with the query once, however many rows hold it.  A token id outside the table is
    ignored, and a row whose offsets point outside ``tokens`` has none: both may come from a mapped file.

    With an int8 table each q_i is rounded to int8 as well, to multiples of max |q_i| / 127, and met in integers: the
    scores are then the same bits on every processor.  That moves a similarity to a token vector of length one by at
    most √dim · max |q_i| / 254, by about 0.0023 · max |q_i| as a rule, and not at all where q_i is a row of such a
    table whose largest code is ±127.  A q_i shorter than 1e-36 counts as zeros.

    Args:
        query_vectors: float32 (nq, dim), unit rows for cosine.
        weights: float32 (nq,).
        table: int8 (of at most 131072 dimensions) or float32 (V, dim), C-contiguous.
        offsets: int64 (m + 1,): row r has tokens[offsets[r]:offsets[r + 1]].
        tokens: uint16 or uint32 (T,).
        scales: float32 (V,), so that scales_t · table_t has length one; None for 1.
        rows: int64, the rows to score; None for all m.
        backend: "auto", "native" or "numpy".

    Returns:
        float32, one score a row; NaN for a row without a token of the table.

    Raises:
        InvalidInput: another dtype or shape, or a row that does not exist; InvalidVector for NaN and infinity in
            the query.
        BackendUnavailable: the backend asked for cannot run.

    Source: Khattab 2020, arXiv:2004.12832.
    """
    if (backend == "auto" or backend == "native") and (kernel := native()) is not None:
        found: NDArray[np.float32] | None = kernel.late(query_vectors, weights, table, scales, offsets, tokens, rows)
        if found is not None:  # its own checks are enough where everything fits
            return found
    _check_maxsim(query_vectors, weights, table, scales, offsets, tokens, rows)
    scores = engine(backend).maxsim(query_vectors, weights, table, scales, offsets, tokens, rows)
    return scores.astype(np.float32, copy=False)


def _check_maxsim(
    query_vectors: Any, weights: Any, table: Any, scales: Any, offsets: Any, tokens: Any, rows: Any
) -> None:
    """Raise for the first array that ``maxsim`` does not take."""
    _expect("query_vectors", query_vectors, (np.float32,), (None, None))
    _expect("weights", weights, (np.float32,), (len(query_vectors),))
    _expect("table", table, (np.int8, np.float32), (None, query_vectors.shape[1]))
    if table.dtype == np.int8 and table.shape[1] > LONGEST_CODES:
        raise InvalidInput(
            f"table: expected at most {LONGEST_CODES} dimensions of int8, came {table.shape[1]}; pass float32"
        )
    _expect("offsets", offsets, (np.int64,), (None,))
    _expect("tokens", tokens, (np.uint16, np.uint32), (None,))
    if scales is not None:
        _expect("scales", scales, (np.float32,), (len(table),))
    if rows is not None:
        _expect("rows", rows, (np.int64,), (None,))
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(offsets) - 1:
            raise InvalidInput(
                f"rows: expected numbers from 0 to {len(offsets) - 2}, came {rows.min()} to {rows.max()}"
            )
    if len(offsets) == 0:
        raise InvalidInput("offsets: expected m + 1 numbers, came none; no rows are [0]")
    require_finite(query_vectors=query_vectors, weights=weights)


def _expect(name: str, array: Any, dtypes: tuple[Any, ...], shape: tuple[int | None, ...]) -> None:
    """Raise InvalidInput unless ``array`` is C-contiguous of such a dtype and shape (None: any length)."""
    fits = isinstance(array, np.ndarray) and array.dtype in dtypes and array.ndim == len(shape)
    if fits and all(want in (None, came) for want, came in zip(shape, array.shape, strict=True)):
        if array.flags.c_contiguous and array.flags.aligned:
            return
        raise InvalidInput(f"{name}: expected a C-contiguous, aligned array; pass np.ascontiguousarray({name})")
    names = " or ".join(np.dtype(dtype).name for dtype in dtypes)
    expected = tuple("any" if want is None else want for want in shape)
    came = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
    raise InvalidInput(f"{name}: expected a {names} array of shape {expected}, came {came}")
