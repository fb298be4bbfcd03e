"""Softmax attention over a support: a few keys a query."""

from __future__ import annotations

from typing import Any

from agentmem.attention.catalogue.shared import CAUSAL, PROJECTIONS, SCALE, heads
from agentmem.attention.mechanism import Mechanism, Parameter, Weight

LARGEST = 2**31 - 1
SOFTMAX = "a_i = SM over j ∈ S_i of q_i·k_j/√d_h"
UP_TO = Parameter(name="causal", default=False, meaning="a row sees the rows up to itself")
ALWAYS_UP_TO = Parameter(name="causal", default=True, meaning=UP_TO.meaning)
SEQUENCE: dict[str, Any] = {
    "category": "sparse",
    "form": "support",
    "weights": PROJECTIONS,
    "takes": ("positions",),
    "rerank_needs": ("positions",),
    "sequence": True,
    "can_reorder": True,
}
"""What every mechanism with a support over a sequence has in common."""


def whole(name: str, default: int, meaning: str, minimum: int = 0) -> Parameter:
    """Return a parameter that counts something; the support's arithmetic is that of 64 bits."""
    return Parameter(name=name, default=default, meaning=meaning, minimum=minimum, maximum=LARGEST)


OWN = tuple(
    Weight(
        name=f"{name}_global",
        shape=(rows, inner),
        init="identity",
        meaning=f"projection of {name} for global rows' own attention; the ordinary one where absent",
    )
    for name, rows, inner in (("query", "dim", "inner"), ("key", "dim", "inner"), ("value", "value_dim", "inner_value"))
)

SEED = whole("seed", 0, "of the random keys; they depend on it, the row and n_keys alone")
STRIDE = whole("stride", 128, "l, near √n", 1)

MECHANISMS = (
    Mechanism(
        name="local-attention",
        summary="each row sees the rows at most window away",
        formula=f"{SOFTMAX}, S_i = {{j: |i − j| <= window}}",
        support="window",
        parameters=(heads(1), SCALE, UP_TO, whole("window", 256, "rows seen on each side")),
        why="candidates further than window from the query in the sequence score 0",
        complexity="O(n · window · d)",
        best_for="long sequences whose meaning is near by",
        paper="Beltagy 2020, arXiv:2004.05150; causal: Jiang 2023, arXiv:2310.06825",
        **SEQUENCE,
    ),
    Mechanism(
        name="sliding-window",
        summary="each row sees the last window rows, itself included",
        formula=f"{SOFTMAX}, S_i = {{j: i − window < j <= i}}",
        support="past",
        parameters=(heads(1), SCALE, whole("window", 512, "rows seen, itself included", 1)),
        why="candidates before the last window − 1 score 0",
        complexity="O(n · window · d)",
        best_for="the most recent of a long history",
        paper="Beltagy 2020, arXiv:2004.05150; Jiang 2023, arXiv:2310.06825",
        **SEQUENCE,
    ),
    Mechanism(
        name="longformer-attention",
        summary="a window, dilated or not, and global rows, of own projections, that see all and are seen by all",
        formula=f"{SOFTMAX}, S_i = {{i + dilation·t: |t| <= window/2}} ∪ global; all j for global i",
        support="dilated | global",
        parameters=(
            heads(1),
            SCALE,
            UP_TO,
            whole("window", 512, "rows seen, half of them on each side, besides itself"),
            whole("dilation", 1, "distance between the rows of the window", 1),
            whole("global_tokens", 1, "how many of the first rows are global"),
        ),
        why="candidates outside the window that are not global score 0",
        complexity="O(n · (window + global_tokens) · d)",
        best_for="long documents with a few rows that sum them up, first in order",
        paper="Beltagy 2020, arXiv:2004.05150",
        **(SEQUENCE | {"form": "longformer", "weights": (*PROJECTIONS, *OWN)}),
    ),
    Mechanism(
        name="bigbird-attention",
        summary="by blocks: a window, global blocks that see all and are seen by all, and random blocks",
        formula=f"{SOFTMAX}, S_i = window ∪ global ∪ random blocks; all j for i in a global block",
        support="block-window | block-global | block-random",
        parameters=(
            heads(1),
            SCALE,
            whole("block", 64, "rows a block", 1),
            whole("window", 3, "blocks of the window, its own in the middle", 1),
            whole("global_first", 1, "how many of the first blocks are global"),
            whole("global_last", 1, "how many of the last blocks are global"),
            whole("random", 3, "random blocks a block of queries"),
            SEED,
        ),
        why="with global_last 0, candidates outside the support score 0; else the query, in the last block, sees all",
        complexity="O(n · block · (window + random + global) · d)",
        best_for="long documents, every row two steps from any other",
        paper="Zaheer 2020, arXiv:2007.14062",
        **SEQUENCE,
    ),
    Mechanism(
        name="strided-attention",
        summary="each row sees the last stride rows and every stride-th before",
        formula=f"{SOFTMAX}, S_i = {{i − l, …, i}} ∪ {{j <= i: (i − j) mod l = 0}}",
        support="reach | stride",
        parameters=(heads(1), SCALE, ALWAYS_UP_TO, STRIDE),
        why="candidates further than stride from the query and not on its stride score 0",
        complexity="O(n · (stride + n/stride) · d), O(n√n d) at stride √n",
        best_for="sequences with a period",
        paper="Child 2019, arXiv:1904.10509",
        **SEQUENCE,
    ),
    Mechanism(
        name="sparse-transformer-attention",
        summary="the fixed pattern: each row sees its chunk and the last rows of every chunk before",
        formula=f"{SOFTMAX}, S_i = {{j <= i: ⌊j/l⌋ = ⌊i/l⌋}} ∪ {{j <= i: j mod l >= l − c}}",
        support="chunk | summary",
        parameters=(heads(1), SCALE, ALWAYS_UP_TO, STRIDE, whole("summary", 8, "c: last rows of a chunk, for all", 1)),
        why="candidates of other chunks that are not among their last rows score 0",
        complexity="O(n · (stride + summary · n/stride) · d)",
        best_for="text, whose chunks end with what later rows need",
        paper="Child 2019, arXiv:1904.10509",
        **SEQUENCE,
    ),
    Mechanism(
        name="star-attention",
        summary="each row sees its ring neighbours, itself, its own embedding and a relay, which sees all",
        formula="s = Attn(mean, [mean; K]); h_i = Attn(q_i, [k_i−1; k_i; k_i+1; k_i; s])",
        support="ring | own | relay",
        parameters=(heads(1), SCALE),
        why="the relay shares out by its own likeness, and only the neighbours in the ring score apart from it",
        complexity="O(n · d)",
        best_for="short texts of modest data; one cycle, the embedding being the row itself",
        paper="Guo 2019, arXiv:1902.09113",
        masks="keys",
        **(SEQUENCE | {"form": "star"}),
    ),
    Mechanism(
        name="random-attention",
        summary="each row sees a few random keys",
        formula=f"{SOFTMAX}, S_i = random distinct keys by seed and row",
        support="random",
        parameters=(heads(1), SCALE, whole("random", 64, "keys a row", 1), SEED),
        why="candidates that were not drawn score 0",
        complexity="O(n · random · d)",
        best_for="a baseline, and part of BigBird",
        paper="Zaheer 2020, arXiv:2007.14062",
        **SEQUENCE,
    ),
    Mechanism(
        name="blockwise-attention",
        category="sparse",
        summary="exact softmax attention, a chunk of queries at a time over the keys in blocks",
        formula="a_i = SM over all j of q_i·k_j/√d_h",
        form="blockwise",
        support="all",
        parameters=(heads(1), SCALE, CAUSAL, whole("chunk_size", 128, "queries at a time, and keys a block", 1)),
        weights=PROJECTIONS,
        can_reorder=True,
        why="only through learned projections or several heads; with one identity head the order is the dot product's",
        complexity="O(n² d), memory O(chunk_size · n) at most",
        best_for="exact attention over long sequences in little memory",
        paper="Rabe & Staats 2021, arXiv:2112.05682; Liu 2023, arXiv:2305.19370",
    ),
)
