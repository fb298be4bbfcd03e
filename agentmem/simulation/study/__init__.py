"""A study of multi-head attention as a reranker, on labelled data: what heads, width, layers and dropout are worth.

It repeats on labels what RuVector's "Multi-Head Attention Mechanism Analysis" of 2025-11-30 reports without any.  The
query attends to the candidates of the store's own search (``model``), fitted by gradients of our own (``training``);
``measuring`` says what is measured of a configuration, ``running`` how a folder of results is filled, ``summary``,
``report`` and ``plots`` what comes out.
"""

from agentmem.simulation.study.configuration import Configuration, Corpus, Shape, grid, shapes
from agentmem.simulation.study.corpora import corpus_of, embedded, searched
from agentmem.simulation.study.cross_modal import read_checkout
from agentmem.simulation.study.made import made_set
from agentmem.simulation.study.measuring import measure_one
from agentmem.simulation.study.running import Study
from agentmem.simulation.study.summary import summary

__all__ = [
    "Configuration",
    "Corpus",
    "Shape",
    "Study",
    "corpus_of",
    "embedded",
    "grid",
    "made_set",
    "measure_one",
    "read_checkout",
    "searched",
    "shapes",
    "summary",
]
