"""Softmax attention with one head or several, by the atoms of its declaration."""

from __future__ import annotations

import numpy as np

from agentmem.attention.bias import Bias
from agentmem.attention.call import Call
from agentmem.attention.engine import Engine
from agentmem.attention.forms.projections import by_row, project, project_output
from agentmem.attention.inputs import Floats, require_finite, split_heads
from agentmem.errors import InvalidInput

THETA = 10_000.0
"""The base of rotary wavelengths where a declaration has no parameter for it."""
ATOMS = {"score": ("dot", "rotary"), "bias": ("", "slopes"), "support": ("", "causal"), "layout": ("", "grouped")}
"""What a declaration may say; the first is plain attention."""


def run_softmax(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """Project, attend with ``heads`` heads, project back.

    Raises:
        InvalidInput: an atom that this form does not know, rows that heads do not divide, or weights that do not fit.
    """
    for atom, known in ATOMS.items():
        if getattr(call.declared, atom) not in known:
            came = getattr(call.declared, atom)
            raise InvalidInput(
                f"{call.declared.name}: {atom} {came!r}; form 'softmax' knows {', '.join(map(repr, known))}"
            )
    q, k, v = projected_heads(call)
    if call.declared.score == "rotary":
        q, k = rotated(call, q, k)
    out, weights = engine.softmax(
        q,
        k,
        v,
        heads=call.heads,
        scale=call.params.get("scale"),
        causal=is_causal(call) and not call.ordered,
        block=_keys_a_block(call),
        block_q=call.params.get("block_q", 0),
        bias=_bias(call),
        dropout=call.params.get("dropout", 0.0),
        seed=call.params.get("seed", 0),
        mask=call.mask,
        want_weights=call.want_weights,
        out=None if call.weights else call.out,
    )
    return project_output(call, out), weights


def _keys_a_block(call: Call) -> int:
    """Return the keys a block, by either name; 0 for the kernel's choice."""
    size, block_kv = int(call.params.get("block_size", 0)), int(call.params.get("block_kv", 0))
    if size and block_kv and size != block_kv:
        raise InvalidInput(
            f"{call.declared.name}: block_kv is another name of block_size, came {block_kv} and {size}; give one"
        )
    return block_kv or size


def is_causal(call: Call) -> bool:
    """Return whether no query sees a later key: by the declaration, or by its parameter."""
    return call.declared.support == "causal" or bool(call.params.get("causal", False))


def projected_heads(call: Call) -> tuple[Floats, Floats, Floats]:
    """Return query, key and value after their projections, rows that split into heads; keys and values in groups.

    Raises:
        InvalidInput: rows that the heads do not divide, or heads of another length than ``head_dim``.
    """
    q, k, v = project(call)
    heads, expected = call.heads, call.params.get("head_dim")
    split_heads(heads, query=q)
    head_dim = q.shape[-1] if q.ndim == 3 else q.shape[1] // heads
    if expected is not None and head_dim != expected:
        raise InvalidInput(
            f"head_dim: expected {heads} heads of {expected}, came rows for {head_dim} each; give projections"
        )
    if call.declared.layout == "grouped":
        require_finite(key=call.key, value=call.value)
        return q, *_grouped(call, k, v, head_dim)
    split_heads(heads, value=v)
    return q, k, v


def _grouped(call: Call, key: Floats, value: Floats, head_dim: int) -> tuple[Floats, Floats]:
    """Return keys and values of ``groups`` heads: as they came or were projected, else the means of each group's heads.

    The mean is how Ainslie 2023 (§2.1) turns the heads of multi-head attention into groups.
    """
    heads, groups = call.heads, int(call.params.get("groups", 1))
    if heads % groups:
        raise InvalidInput(f"groups: {groups} do not divide {heads} heads; choose a divisor")
    if key.ndim == 3:
        if len(key) not in (groups, heads):
            raise InvalidInput(f"key: expected {groups} groups or {heads} heads in front, came {len(key)}")
        if len(key) == groups:
            return key, value
        return tuple(_means(x.reshape(groups, heads // groups, *x.shape[1:]), 1) for x in (key, value))  # type: ignore[return-value]
    pooled = []
    for name, rows in (("key", key), ("value", value)):
        if name not in call.weights:
            split_heads(heads, **{name: rows})
            width = rows.shape[1] // heads
            rows = _means(rows.reshape(len(rows), groups, heads // groups, width), 2).reshape(len(rows), groups * width)
        split_heads(groups, **{name: rows})
        pooled.append(rows)
    if pooled[0].shape[1] != groups * head_dim:
        raise InvalidInput(
            f"weights['key']: {groups} groups of {head_dim} expected, {groups * head_dim} columns, "
            f"came {pooled[0].shape[1]}"
        )
    return pooled[0], pooled[1]


def _means(x: Floats, axis: int) -> Floats:
    return np.ascontiguousarray(x.mean(axis, dtype=np.float64).astype(x.dtype))


def rotated(call: Call, query: Floats, key: Floats) -> tuple[Floats, Floats]:
    """Return query and key, each pair of numbers m of a head turned by place · theta^(−2m/head_dim)."""
    require_finite(query=query, key=key)
    halves = call.params.get("pairs") == "halves"
    theta = call.params.get("theta", THETA)
    groups = len(key) if key.ndim == 3 else key.shape[1] * call.heads // query.shape[1]
    turned = []
    for rows, heads, place in zip((query, key), (call.heads, groups), call.positions, strict=True):
        turned.append(_turned(rows, heads, place, theta, halves))
    return turned[0], turned[1]


def _turned(rows: Floats, heads: int, place: Floats, theta: float, halves: bool) -> Floats:
    split = rows if rows.ndim == 3 else by_row(rows, heads)
    dim = split.shape[-1]
    if dim % 2:
        raise InvalidInput(f"query: heads of {dim} numbers have no pairs to rotate; choose fewer or more heads")
    angle = place[:, None] * theta ** (-np.arange(0, dim, 2) / dim)
    if rows.ndim == 2:
        angle = angle[:, None, :]
    cos, sin = np.cos(angle).astype(rows.dtype), np.sin(angle).astype(rows.dtype)
    pairs = (slice(dim // 2), slice(dim // 2, dim)) if halves else (slice(0, dim, 2), slice(1, dim, 2))
    first, second = split[..., pairs[0]], split[..., pairs[1]]
    out = np.empty_like(split)
    out[..., pairs[0]] = first * cos - second * sin
    out[..., pairs[1]] = second * cos + first * sin
    return out.reshape(rows.shape)


def slopes(heads: int) -> Floats:
    """Return ALiBi's slopes: 2^(−8h/heads) for h = 1 … heads, whether or not heads is a power of two."""
    return np.exp2(-8 * np.arange(1, heads + 1) / heads)


def _bias(call: Call) -> Bias | None:
    sloped = call.declared.bias == "slopes"
    causal = is_causal(call) and call.ordered
    if not sloped and not causal:
        return None
    dtype = call.query.dtype
    return Bias(places=call.positions, causal=causal, slopes=slopes(call.heads).astype(dtype) if sloped else None)
