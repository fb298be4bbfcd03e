"""Hierarchies without links: a map of embeddings into hyperbolic space, fitted to the links that a store does have.

In the Poincaré ball what is general lies near the centre and what is special near the rim, and a distance from a
special point to a general one in its direction is short (Nickel and Kiela, NIPS 2017; attention by it: Gulcehre et al.,
arXiv:1805.09786).  Embedding models give rows of one length, so that both have to be learned: the direction in which
lies what stands above a record (a linear map), and the depth of each record (its radius).  Both are ridge regressions
in closed form, on NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agentmem import attention
from agentmem.errors import InvalidInput
from agentmem.links import SAMPLE_ROWS, follow, levels_above, merged
from agentmem.progress import track
from agentmem.records import Float32, Int64

if TYPE_CHECKING:
    from agentmem.core import StoreCore
    from agentmem.hooks import SearchContext

RADIUS = 2.0
"""Of a record of average depth, a tangent vector's length; near the rim, where distances tell most."""
DEPTH_SCALES = (0.0, 0.01, 0.02, 0.03, 0.05, 0.1)
"""How much a standard deviation of depth adds to the radius; which is best is chosen on children held out."""
RIDGE = 1.0
HELD_OUT = 200
"""At most this many children, and no more than a tenth of them, choose the scale."""
MOST_ROWS = 32_768
"""Records that a map is fitted to, drawn at random where there are more."""
CANDIDATES = 100
"""At least so many rows near the mapped query are ranked by distance."""
MIN_CHILDREN = 100


@dataclass(frozen=True, slots=True)
class DepthMap:
    """A map from embeddings into the tangent space of the Poincaré ball.

    Attributes:
        mean: float32 (dim,), of the embeddings that it was fitted to.
        up: float32 (dim, dim): ``(x − mean) @ up`` points to what stands above x.
        depth: float32 (dim,): ``(x − mean) @ depth`` is the depth of x, in standard deviations.
        scale: how much one of them adds to the radius.
    """

    mean: Float32
    up: Float32
    depth: Float32
    scale: float

    def above(self, vector: Float32) -> Float32:
        """Return the unit vector towards what stands above an embedding, float32 (dim,)."""
        return _unit((_unit(vector) - self.mean) @ self.up)

    def placed(self, vectors: Float32) -> Float32:
        """Return the tangent vectors of records' embeddings, float32 (n, dim)."""
        centred = _unit(vectors) - self.mean
        radius = np.maximum(RADIUS + self.scale * (centred @ self.depth), 0.1)
        tangents: Float32 = (_unit(centred) * radius[:, None]).astype(np.float32)
        return tangents

    def score(self, above: Float32, vectors: Float32) -> Float32:
        """Return minus the hyperbolic distance of each record from the point ``above`` a query, float32 (n,)."""
        return attention.score(np.float32(RADIUS) * above, self.placed(vectors), mechanism="hyperbolic-attention")

    def attach(self, store: StoreCore) -> None:
        """Let ``store.search(..., mechanism="hyperbolic-attention")`` look for what stands above the query.

        The query's vector is mapped before candidates are taken, and these are ranked by hyperbolic distance.
        """

        def look_up(ctx: SearchContext) -> SearchContext:
            if ctx.query.mechanism == "hyperbolic-attention":
                vector = ctx.embedding
                if vector is None and ctx.text is not None:
                    vector = store.ingest.embed([ctx.text])[0]
                if vector is not None and vector.any():
                    ctx.embedding = self.above(vector)
                    ctx.candidates = max(ctx.candidates, CANDIDATES)
                    ctx.attention_config.params["depth"] = self
            return ctx

        store.hooks.register("pre-retrieval", look_up)


def fit_depth(
    store: StoreCore, kinds: Sequence[str] | None = None, *, without: Sequence[str] = (), progress: bool = False
) -> DepthMap:
    """Fit a map to a store's own links.

    Args:
        store: of any embedder; metric "cosine".
        kinds: of links that lead from the special to the general; None for all.
        without: ids of records whose own links are not to be looked at, e.g. those that are kept for a test.
        progress: show a progress bar on standard error; 20,000 records take some seconds.

    Raises:
        InvalidInput: fewer than ``MIN_CHILDREN`` records have a record above them, or the metric is not "cosine".
    """
    if store.identity.metric != "cosine":
        raise InvalidInput(f"a depth is fitted to directions: metric 'cosine', not {store.identity.metric!r}")
    with store.snapshot() as (reader, view):
        rows = view.sample(MOST_ROWS, seed=0)
        labels = view.labels(rows)
        edges = follow(reader, view, labels, None, SAMPLE_ROWS)
        hidden = {record.label for record in reader.get(list(without)) if record is not None}
        wanted = edges.keys() if kinds is None else kinds
        links = {label: above for label, above in merged(edges, wanted).items() if label not in hidden}
        return fitted(view.vectors(rows), labels, links, progress)


def fitted(vectors: Float32, labels: Int64, links: Mapping[int, Sequence[int]], progress: bool = False) -> DepthMap:
    """Fit a map to links among rows.

    Args:
        vectors: float32 (n, dim), of length 1.
        labels: int64 (n,), distinct.
        links: label -> labels of what is right above it.
        progress: show a progress bar on standard error.

    Raises:
        InvalidInput: fewer than ``MIN_CHILDREN`` rows have a row above them.
    """
    place = {label: row for row, label in enumerate(labels.tolist())}
    above = {
        row: [place[other] for other in levels_above(links, label) if other in place and other != label]
        for label, row in place.items()
        if label in links
    }
    children = np.array(sorted(row for row, rows in above.items() if rows), np.int64)
    if len(children) < MIN_CHILDREN:
        raise InvalidInput(
            f"{len(children)} records have a record above them by links, {MIN_CHILDREN} are needed to fit a depth; "
            'add them with links=[("parent", id)], or name the kinds that lead upwards'
        )
    held = np.random.default_rng(0).choice(children, min(HELD_OUT, len(children) // 10), replace=False)
    children = np.setdiff1d(children, held)
    below = np.bincount(np.concatenate([above[row] for row in children.tolist()]), minlength=len(labels))
    rarity = -np.log((below + 0.5) / (len(children) + 1))
    mean = vectors.mean(axis=0)
    centred = vectors - mean
    unit = _unit(centred)
    sums = np.stack([rarity[above[row]] @ unit[above[row]] for row in children.tolist()])
    predicted = _ridge(centred[children], sums)
    up = np.linalg.solve(unit.T @ unit + RIDGE * np.eye(len(predicted), dtype=unit.dtype), predicted.T).T
    depth = _ridge(centred, (rarity - rarity.mean())[:, None].astype(np.float32))[:, 0]
    depth = (depth / max(float((centred @ depth).std()), 1e-9)).astype(np.float32)
    maps = [DepthMap(mean, up.astype(np.float32), depth, scale) for scale in DEPTH_SCALES]
    asked = {row: above[row] for row in held.tolist()}
    found = []
    with track("choosing the depth", len(maps), progress) as advance:
        for each in maps:
            found.append(_recall(each, vectors, asked, rarity))
            advance(1)
    return maps[int(np.argmax(found))]


def _ridge(rows: Float32, targets: Float32) -> Float32:
    """Return W, (dim, m), that makes ``rows @ W`` come near ``targets``, (n, m)."""
    return np.linalg.solve(rows.T @ rows + RIDGE * np.eye(rows.shape[1], dtype=rows.dtype), rows.T @ targets)


def _recall(each: DepthMap, vectors: Float32, above: Mapping[int, Sequence[int]], rarity: Float32) -> float:
    """Return how much of the rarity above held-out rows is among the ten best of each."""
    found = 0.0
    for row, wanted in above.items():
        direction = each.above(vectors[row])
        near = np.argpartition(-(vectors @ direction), min(CANDIDATES, len(vectors) - 1))[:CANDIDATES]
        near = near[near != row]
        best = near[np.argsort(-each.score(direction, vectors[near]))[:10]]
        found += rarity[np.intersect1d(best, wanted)].sum() / rarity[wanted].sum()
    return found


def _unit(vectors: NDArray[Any]) -> Float32:
    """Return rows of length 1; zeros stay."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Float32 = (vectors / np.where(norms > 0, norms, 1)).astype(np.float32, copy=False)
    return scaled
