"""``attend``: the one call for every mechanism, and attention's only door to the compiled kernels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentmem import backend as backends
from agentmem.attention import forms
from agentmem.attention.inputs import Floats, Mask, keep_mask, require_finite, triple
from agentmem.attention.reference import Reference, Space
from agentmem.attention.registry import get_mechanism
from agentmem.errors import BackendUnavailable, InvalidInput

OVERFLOW = "the scores exceed float32; scale the vectors down, or pass float64"


class AttentionResult(NamedTuple):
    """What attention gives.

    Attributes:
        output: the dtype of the inputs: (n_queries, value_dim), with n_heads in front where the query had it.
        weights: where asked for: (n_heads, n_queries, n_keys), without n_heads where the mechanism averages over heads;
            None otherwise, and always under flash-attention-v2, which never forms them.
        backend: what ran: "native" or "numpy".
    """

    output: Floats
    weights: Floats | None
    backend: str


def _checked(bad: bool, **arrays: Floats | None) -> None:
    if bad:
        require_finite(**arrays)
        raise InvalidInput(OVERFLOW)


class Native:
    """The engine over the compiled kernels; float32 only, the same methods as ``Reference``."""

    name = "native"

    def __init__(self, attention: ModuleType, hyperbolic: ModuleType, maxsim: ModuleType) -> None:
        """Take the compiled modules."""
        self.rows: Any = attention.attend_rows
        self._attention, self._hyperbolic, self._maxsim = attention, hyperbolic, maxsim

    def softmax(
        self,
        query: Floats,
        key: Floats,
        value: Floats,
        *,
        heads: int = 1,
        scale: float | None = None,
        causal: bool = False,
        block: int = 0,
        top_k: int = 0,
        cosine: bool = False,
        mask: Mask | None = None,
        want_weights: bool = False,
    ) -> tuple[Floats, Floats | None]:
        """Softmax attention in one pass over the keys."""
        head_dim = query.shape[-1] // (heads if query.ndim == 2 else 1)
        scale = head_dim**-0.5 if scale is None else scale
        out, weights, bad = self._attention.attend(
            query, key, value, heads, scale, causal, block, top_k, cosine, mask, want_weights
        )
        _checked(bad, query=query, key=key, value=value)
        if mask is not None:
            require_finite(value=value)  # rows that no query keeps are never read
        return out, weights

    def hyperbolic(
        self, query: Floats, key: Floats, value: Floats, *, space: Space, mask: Mask | None, want_weights: bool
    ) -> tuple[Floats, Floats | None]:
        """Hyperbolic attention."""
        out, weights, bad = self._run_hyperbolic(query, key, value, space, mask, want_weights)
        _checked(bad, query=query, key=key, value=value)
        return out, weights

    def hyperbolic_scores(self, query: Floats, key: Floats, *, space: Space) -> Floats:
        """−beta · distance, (n_queries, n_keys)."""
        scores: Floats
        _, scores, bad = self._run_hyperbolic(query, key, None, space, None, True)
        _checked(bad, query=query, key=key)
        return scores

    def _run_hyperbolic(
        self, query: Floats, key: Floats, value: Floats | None, space: Space, mask: Mask | None, want_weights: bool
    ) -> Any:
        numbers = space.curvature, space.beta, space.clip, space.epsilon
        lorentz = space.model == "lorentz"
        return self._hyperbolic.attend(query, key, value, *numbers, lorentz, space.tangent, mask, want_weights)

    def dots(self, query: Floats, key: Floats, scale: float) -> Floats:
        """Return scale · key·query, (n,)."""
        scores: Floats
        scores, bad = self._attention.dots(query, key, scale)
        _checked(bad, query=query, key=key)
        return scores

    def route(self, logits: Floats, k: int, capacity: int) -> tuple[NDArray[np.int32], Floats]:
        """Experts and gates of each query."""
        routed: tuple[NDArray[np.int32], Floats] = self._attention.route(logits, k, capacity)
        return routed

    def attend_rows(
        self, matrix: Floats, rows: NDArray[np.int64], query: Floats, scale: float | None
    ) -> tuple[Floats, Floats]:
        """Gather and attention; ``rows`` of the compiled module is the same without these checks."""
        out, weights, bad = self.rows(matrix, rows, query, scale)
        _checked(bad, query=query, matrix_rows=matrix[rows[rows >= 0]])
        return out, weights

    def maxsim(
        self,
        query: Floats,
        weights: Floats,
        table: NDArray[Any],
        scales: Floats | None,
        offsets: NDArray[np.int64],
        tokens: NDArray[Any],
        rows: NDArray[np.int64] | None,
    ) -> Floats:
        """Late interaction."""
        scores: Floats = self._maxsim.maxsim(query, weights, table, scales, offsets, tokens, rows)
        return scores


@cache
def native() -> Native | None:
    """Return the compiled engine, or None where NumPy has to do its work."""
    modules = [backends.kernels(name) for name in ("attention", "hyperbolic", "maxsim")]
    attention, hyperbolic, maxsim = modules
    return Native(attention, hyperbolic, maxsim) if attention and hyperbolic and maxsim else None


REFERENCE = Reference()


def engine(backend: str, dtype: Any = np.float32) -> forms.Engine:
    """Return the engine that ``backend`` means for inputs of that dtype.

    Args:
        backend: "auto" (the kernels where they are built and the input is float32), "native" or "numpy".
        dtype: of the inputs; float64 is computed in float64, by NumPy.

    Raises:
        InvalidInput: another word.
        BackendUnavailable: "native" cannot run; the message says why.
    """
    if backend not in backends.CHOICES:
        raise InvalidInput(f"backend: expected one of {', '.join(backends.CHOICES)}, came {backend!r}")
    if backend == "numpy" or (backend == "auto" and dtype != np.float32):
        return REFERENCE
    kernels = native()
    if backend == "auto":
        return kernels or REFERENCE
    if kernels is None:
        raise BackendUnavailable("backend='native': the kernels are not built or AGENTMEM_BACKEND=numpy; use 'auto'")
    if dtype != np.float32:
        raise BackendUnavailable(f"backend='native': the kernels take float32, came {dtype}; convert, or use 'auto'")
    return kernels


def _run(
    form: str,
    ran: forms.Engine,
    resolved: Mapping[str, Any],
    arrays: tuple[Floats, Floats, Floats],
    mask: Mask | None,
    context: tuple[object, object] | None,
    weights: Mapping[str, object] | None,
    want: bool,
) -> tuple[Floats, Floats | None]:
    if form == "softmax":
        return forms.run_softmax(ran, resolved, *arrays, mask=mask, weights=weights, want_weights=want)
    if arrays[0].ndim == 3 or (mask is not None and mask.ndim == 3):
        raise InvalidInput(
            f"{form} attention has no head axis: expected arrays of 2 dimensions, and masks of at most 2"
        )
    if form == "experts":
        out, w = forms.run_experts(ran, resolved, *arrays, mask=mask, weights=weights)
        return out, w if want else None
    if form == "memory":
        return forms.run_memory(ran, resolved, *arrays, context=context, mask=mask, weights=weights, want_weights=want)
    if form == "hyperbolic":
        return ran.hyperbolic(*arrays, space=forms.space_of(resolved), mask=mask, want_weights=want)
    raise InvalidInput("late-interaction has scores and no output; call score() or maxsim()")


def attend(
    query: object,
    key: object,
    value: object = None,
    *,
    mechanism: str = "scaled-dot",
    params: Mapping[str, object] | None = None,
    mask: object = None,
    context: tuple[object, object] | None = None,
    weights: Mapping[str, object] | None = None,
    return_weights: bool = False,
    backend: str = "auto",
) -> AttentionResult:
    """Attend from queries to keys under any mechanism of the catalogue.

    Args:
        query: float32 or float64 (n_queries, dim), or (n_heads, n_queries, head_dim).
        key: (n_keys, dim), or (n_heads, n_keys, head_dim).
        value: (n_keys, value_dim), or (n_heads, n_keys, value_dim); key where None.
        mechanism: a name of ``mechanism_names()``.
        params: the mechanism's parameters; the declaration has their meaning and defaults.
        mask: bool, True = keep: (n_keys,), (n_queries, n_keys) or (n_heads, n_queries, n_keys).  A query that keeps
            nothing gets zeros.
        context: (key, value) of the local context, for "memory-attention".
        weights: learned projections by name, for mechanisms that take them; the identity where silent.
        return_weights: also return the attention weights.
        backend: "auto", "native" or "numpy"; the result says which ran.  float64 runs on NumPy, in float64.

    Raises:
        UnknownMechanism: no such name.
        InvalidInput: arrays or parameters that do not fit; InvalidVector for dimensions, NaN and infinity.
        BackendUnavailable: the backend asked for cannot run.
    """
    declared = get_mechanism(mechanism)
    resolved = declared.resolve(params)
    q, k, v = triple(query, key, value)
    for name, given in (("weights", weights), ("context", context)):
        if given is not None and name not in declared.takes + declared.needs:
            raise InvalidInput(f"{mechanism} takes no {name}; leave it out, or choose a mechanism that does")
    if q.ndim == 3 and "heads" in (params or {}) and resolved["heads"] != len(q):
        raise InvalidInput(f"{mechanism}: heads is {resolved['heads']}, but query has {len(q)} heads in front")
    ran = engine(backend, q.dtype)
    keep = keep_mask(mask, forms.head_count(resolved, q), q.shape[-2], k.shape[-2])
    out, w = _run(declared.form, ran, resolved, (q, k, v), keep, context, weights, return_weights)
    return AttentionResult(
        out.astype(q.dtype, copy=False), None if w is None else w.astype(q.dtype, copy=False), ran.name
    )
