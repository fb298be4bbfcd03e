"""What is added to the scores of softmax attention before it: by distance, by learned table, or as given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.inputs import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Bias:
    """Additions to the score of query i and key j of a head, all optional; arrays are of the dtype of the scores.

    Bucket b holds the distances that round, half up, to b − ⌊buckets / 2⌋; the first and the last hold all beyond.

    Attributes:
        places: float64 (n_queries,) and (n_keys,): where each row stands; needed by all but ``matrix``.
        causal: a query sees no key of a later place.
        slopes: (heads,): − slope · |place_i − place_j|.
        query_table: (heads, n_queries, buckets): + table[i, bucket(place_i − place_j)].
        key_table: (heads, n_keys, buckets): + table[j, bucket(place_j − place_i)].
        bucket_values: (buckets, value_dim): added to the value of key j, by bucket(place_i − place_j).
        matrix: (heads, n_queries, n_keys), or one for all heads: + matrix[i, j].
    """

    places: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    causal: bool = False
    slopes: Floats | None = None
    query_table: Floats | None = None
    key_table: Floats | None = None
    bucket_values: Floats | None = None
    matrix: Floats | None = None

    @property
    def buckets(self) -> int:
        """Number of buckets; 0 where there is no table."""
        table = next((t for t in (self.query_table, self.key_table, self.bucket_values) if t is not None), None)
        return 0 if table is None else int(table.shape[0 if table is self.bucket_values else 2])


def bucket(distance: NDArray[np.float64], buckets: int) -> NDArray[np.int64]:
    """Return the bucket of each distance."""
    rounded = np.clip(np.floor(distance + 0.5) + buckets // 2, 0, buckets - 1)
    at: NDArray[np.int64] = rounded.astype(np.int64)
    return at
