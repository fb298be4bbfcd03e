"""What two sources say of rows and of the turns around them, in one pass over a part where all rows lie in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentmem.index import kernels
from agentmem.index.lexical import Lexical
from agentmem.index.scope import PartScope, Scope
from agentmem.index.scores import similarity
from agentmem.index.view import View
from agentmem.records import Float32, Int64


class Around(NamedTuple):
    """m rows, and the n that stand around them in their threads.

    Attributes:
        owner: int32 (n,), the row beside which each stands, an index into the m.
        offset: int8 (n,), how many turns before (negative) or after it.
        distinct: int64, all rows, ascending, each once.
        places: int64 (m + n,), where the m rows and then the n stand among these.
        dense, lexical: float32 (m + n,), as ``said`` has it of each.
    """

    owner: NDArray[np.int32]
    offset: NDArray[np.int8]
    distinct: Int64
    places: Int64
    dense: Float32
    lexical: Float32


def said(view: View, query: Float32 | None, bm25: Lexical | None, rows: Int64) -> tuple[Float32, Float32]:
    """Return what the two sources say of any rows, float32 (m,) each: similarity to a query vector, and BM25.

    NaN for rows without a vector, for all where there is no vector, and for all where there is no text.
    """
    lexical = np.full(len(rows), np.nan, np.float32) if bm25 is None else bm25.scores_of(rows)
    if query is None:
        return np.full(len(rows), np.nan, np.float32), lexical
    return similarity(view.dense_scores(query, rows), view.metric), lexical


def around(view: View, rows: Int64, radius: int, scope: Scope, query: Float32 | None, bm25: Lexical | None) -> Around:
    """Return what stands around rows, and what is said of all of them.

    Args:
        view: that has them.
        rows: int64 (m,).
        radius: ranks to either side, see ``View.neighbours``.
        scope: what may stand around.
        query: float32 (dim,), of any length, or None.
        bm25: the search that scores them, or None.
    """
    part, native = view.sole(scope), kernels.passes()
    if part is not None and native is not None:
        return Around(*native.around(*_search(view, part, query, bm25), rows, radius))
    owner, offset, near = view.neighbours(rows, radius, scope)
    distinct, places = kernels.distinct_places(np.concatenate([rows, near]))
    dense, lexical = said(view, query, bm25, distinct)
    return Around(owner, offset, distinct, places, dense[places], lexical[places])


def beside(
    view: View,
    offered: Sequence[tuple[int, Int64]],
    query: Float32 | None,
    bm25: Lexical | None,
    scope: Scope,
    best: int,
    reach: int,
    mark: int,
) -> tuple[Int64, NDArray[np.uint8]] | None:
    """Return the rows that sources offer, with the turns beside the best; None where that takes more than one pass.

    Args:
        view: that has the rows.
        offered: bits, and int64 rows, as in ``kernels.union``.
        query: float32 (dim,), of any length, or None.
        bm25: the search that scores them, or None.
        scope: of the turns.
        best: how many rows, by the sum of similarity and BM25 each scaled to [0, 1] over the rows, the lower row first
            among equal ones.
        reach: how far from these a turn may stand.
        mark: the bit of the turns.

    Returns:
        as ``kernels.union`` does.
    """
    part, native = view.sole(scope), kernels.passes()
    if part is None or native is None:
        return None
    bits, rows = zip(*offered, strict=True) if offered else ((), ())
    found: tuple[Int64, NDArray[np.uint8]]
    found = native.beside(*_search(view, part, query, bm25), rows, bits, best, reach, mark)
    return found


_UNSCORED = (0, np.empty(0, np.float32))


def _search(view: View, scope: PartScope, query: Float32 | None, bm25: Lexical | None) -> tuple[Any, ...]:
    """Return what the compiled passes are told of a view's only part and of a search."""
    part = scope.part
    first, scores = (0, None) if bm25 is None else bm25.scored[0] if bm25.scored else _UNSCORED
    return (
        (part.vectors, part.has_vector, part.thread_key),
        view.metric == "l2",
        None if query is None else view.prepared(query),
        scores,
        first,
        scope.mask,
        scope.start,
        scope.stop,
    )
