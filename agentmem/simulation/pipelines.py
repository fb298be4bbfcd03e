"""The ways to search that are measured, by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agentmem.errors import InvalidInput
from agentmem.ranking import check_mechanism

GRAPH = "hnsw"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One way to search: a mechanism, and whether vectors are compared exactly."""

    name: str
    mechanism: str = "auto"
    exact: bool = False

    @property
    def approximate(self) -> bool:
        """Whether it is dense search that may lose hits to an exact one."""
        return self.mechanism == "dense" and not self.exact


DENSE = Pipeline("dense", "dense", exact=True)
DEFAULT_PIPELINES = (DENSE, Pipeline("auto"))
FUSIONS = ("lexical", "rrf", "convex")


def pipelines_named(names: Iterable[str]) -> tuple[Pipeline, ...]:
    """Return the pipelines of these names.

    ==================  =====================================================================================
    "dense"             similarity of vectors, every row scanned in float32
    "hnsw"              the same as a plain search does it: by the graph where the index has one
    any other name      the store's search with this mechanism: "auto", "lexical", "rrf", "convex", or an
                        attention mechanism of the catalogue
    ==================  =====================================================================================

    Raises:
        InvalidInput: none, or one twice.
        UnknownMechanism: the message lists those that exist.
    """
    chosen = tuple(names)
    if not chosen or len(set(chosen)) < len(chosen):
        raise InvalidInput(f"expected names of pipelines, each once, came {', '.join(chosen) or 'none'}")
    return tuple(map(_named, chosen))


def _named(name: str) -> Pipeline:
    if name == DENSE.name:
        return DENSE
    if name == GRAPH:
        return Pipeline(GRAPH, "dense")
    return Pipeline(name, check_mechanism(name))
