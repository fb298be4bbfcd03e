"""Measuring a store on labelled data: sets in the BEIR layout; recall, NDCG and reciprocal rank of its own searches.

Nothing here is simulated but the user: the searches are the store's own.
"""

from agentmem.simulation.beir import read_dataset
from agentmem.simulation.datasets import Dataset, Document, Fold, LabelledQuery, folds
from agentmem.simulation.evaluate import Evaluation, evaluate, evaluate_folds, search_all, searches
from agentmem.simulation.filling import fill, filled_store, new_store
from agentmem.simulation.pipelines import DEFAULT_PIPELINES, DENSE, Pipeline, pipelines_named
from agentmem.simulation.report import report

__all__ = [
    "DEFAULT_PIPELINES",
    "DENSE",
    "Dataset",
    "Document",
    "Evaluation",
    "Fold",
    "LabelledQuery",
    "Pipeline",
    "evaluate",
    "evaluate_folds",
    "fill",
    "filled_store",
    "folds",
    "new_store",
    "pipelines_named",
    "read_dataset",
    "report",
    "search_all",
    "searches",
]
