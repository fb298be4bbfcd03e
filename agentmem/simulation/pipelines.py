"""The ways to search that are measured, by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agentmem.errors import InvalidInput
from agentmem.ranking import check_mechanism
from agentmem.rerank.weights import HeadWeights

GRAPH = "hnsw"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One way to search: a mechanism, whether vectors are compared exactly, and learned weights to rank by.

    Without weights a store ranks by its own: those that are active in it, else the constants.
    """

    name: str
    mechanism: str = "auto"
    exact: bool = False
    weights: HeadWeights | None = None

    @property
    def approximate(self) -> bool:
        """Whether it is dense search that may lose hits to an exact one."""
        return self.mechanism == "dense" and not self.exact


DENSE = Pipeline("dense", "dense", exact=True)
DEFAULT_PIPELINES = (DENSE, Pipeline("auto"))
FUSIONS = ("lexical", "rrf", "convex")


def pipelines_named(names: Iterable[str], weights: Iterable[Path] = ()) -> tuple[Pipeline, ...]:
    """Return the pipelines of these names, and behind them one for each file of saved weights, called as the file is.

    ==================  =====================================================================================
    "dense"             similarity of vectors, every row scanned in float32
    "hnsw"              the same as a plain search does it: by the graph where the index has one
    any other name      the store's search with this mechanism: "auto", "lexical", "rrf", "convex", or an
                        attention mechanism of the catalogue
    ==================  =====================================================================================

    Args:
        names: of the table above.
        weights: files that ``agentmem learn --output`` or ``agentmem weights save`` wrote.

    Raises:
        InvalidInput: none, one twice, or a file that holds no weights.
        UnknownMechanism: the message lists those that exist.
    """
    wanted, files = tuple(names), tuple(weights)
    chosen = (*wanted, *(file.name for file in files))
    if not chosen or len(set(chosen)) < len(chosen):
        raise InvalidInput(f"expected names of pipelines, each once, came {', '.join(chosen) or 'none'}")
    saved = (Pipeline(file.name, weights=HeadWeights.from_bytes(file.read_bytes())) for file in files)
    return (*map(_named, wanted), *saved)


def _named(name: str) -> Pipeline:
    if name == DENSE.name:
        return DENSE
    if name == GRAPH:
        return Pipeline(GRAPH, "dense")
    return Pipeline(name, check_mechanism(name))
