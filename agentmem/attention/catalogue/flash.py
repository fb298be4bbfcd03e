"""Exact attention by blocks, at low precision, and by parts."""

from __future__ import annotations

from agentmem.attention.catalogue.shared import CAUSAL, SCALE, heads
from agentmem.attention.mechanism import Mechanism, Parameter

MECHANISMS = (
    Mechanism(
        name="flash-attention-v2",
        category="flash",
        summary="exact softmax attention over blocks of keys with an online softmax",
        formula="m' = max(m, max s); l' = e^(m−m') l + Σ e^(s−m'); O' = e^(m−m') O + Σ e^(s−m') v; at the end O / l",
        form="softmax",
        parameters=(
            heads(1),
            SCALE,
            CAUSAL,
            Parameter(
                name="block_size",
                default=0,
                meaning="keys a block; 0: 512, 256 or 128, the most whose keys and values fit half of a 1 MiB cache",
                minimum=0,
            ),
            Parameter(name="block_kv", default=0, meaning="another name of block_size; 0: block_size", minimum=0),
            Parameter(
                name="block_q",
                default=0,
                meaning="queries that share a block of keys, rounded up to a panel of registers (8, 16 or 32), at most "
                "512; 0: as many as fit 128 KiB",
                minimum=0,
            ),
        ),
        can_reorder=False,
        why="the same numbers as scaled-dot in another order of summation",
        complexity="O(n² d) time, O(n + block · d) memory",
        best_for="long sequences where the answer must be exact: no n × n matrix",
        paper="Dao 2023, arXiv:2307.08691; Dao 2022, arXiv:2205.14135",
    ),
    Mechanism(
        name="flash-attention-v3",
        category="flash",
        summary="softmax attention over int8 or bfloat16 keys under a Hadamard rotation; values in bfloat16",
        formula="softmax(scale · (Q M) code(K M)ᵀ) V, M = random signs times a Hadamard matrix, M Mᵀ = 1",
        form="low-precision",
        parameters=(
            heads(1),
            SCALE,
            CAUSAL,
            Parameter(
                name="precision",
                default="int8",
                meaning="of the keys; bf16 needs no rotation; int4 is coarse",
                choices=("int8", "bf16", "int4"),
            ),
        ),
        can_reorder=True,
        why="only by rounding: keys whose products differ by less than the error of their codes may change places",
        complexity="O(n² d) time at a half to a quarter of the bytes",
        best_for="a large memory read by one query at a time: code it once with quantise_keys",
        paper="Shah 2024, arXiv:2407.08608",
    ),
    Mechanism(
        name="flash-decoding",
        category="flash",
        summary="exact softmax attention over parts of the keys, each on its own, merged by log-sum-exp",
        formula="O = Σ_t e^(L_t − L) O_t, L_t = log Σ_(j in part t) e^(s_j), L = log Σ_t e^(L_t)",
        form="decoding",
        masks="keys",
        parameters=(
            heads(1),
            SCALE,
            CAUSAL,
            Parameter(
                name="parts", default=0, meaning="parts of the keys; 0: one for each 2,048", minimum=0, maximum=4096
            ),
        ),
        can_reorder=False,
        why="the same numbers as scaled-dot in another order of summation",
        complexity="O(n d) for one query; the parts share the threads",
        best_for="one query, or a few, over very many keys with several threads",
        paper="Dao, Haziza, Massa, Sizov 2023, Flash-Decoding for long-context inference",
    ),
)
