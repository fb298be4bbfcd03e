"""Measuring a store on labelled data: sets in the BEIR layout; recall, NDCG and reciprocal rank of its own searches.

Nothing here is simulated but the user: the searches are the store's own.
"""

from agentmem.simulation.datasets import Dataset, Document, LabelledQuery, read_dataset
from agentmem.simulation.evaluate import DEFAULT_PIPELINES, Evaluation, Pipeline, evaluate, fill, new_store

__all__ = [
    "DEFAULT_PIPELINES",
    "Dataset",
    "Document",
    "Evaluation",
    "LabelledQuery",
    "Pipeline",
    "evaluate",
    "fill",
    "new_store",
    "read_dataset",
]
