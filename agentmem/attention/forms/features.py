"""The feature maps of linear attention: what the atom ``feature`` of a mechanism names, over one head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.call import Call
from agentmem.attention.engine import Engine
from agentmem.attention.inputs import Floats
from agentmem.errors import InvalidInput

Rows = slice | NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Features:
    """φ of one head's rows, by slices or lists of rows.

    Attributes:
        query: rows -> (rows, features), each row up to a positive factor, which cancels.
        key: rows -> (rows, features) and the logarithm of the factor that they still want.
    """

    query: Callable[[Rows], Floats]
    key: Callable[[Rows], tuple[Floats, float]]


@lru_cache(maxsize=32)
def directions(dim: int, features: int, seed: int, orthogonal: bool) -> NDArray[np.float64]:
    """Return ω (features, dim), read-only: Gaussian rows; orthogonal within each block of ``dim`` where asked for.

    Orthogonal rows keep the lengths of Gaussian ones, χ-distributed.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal((features, dim))
    if orthogonal:
        lengths = np.linalg.norm(drawn, axis=1, keepdims=True)
        blocks = [np.linalg.qr(rng.standard_normal((dim, dim)))[0] for _ in range(-(-features // dim))]
        drawn = lengths * np.concatenate(blocks)[:features]
    drawn.flags.writeable = False
    return drawn


def _elu(engine: Engine, call: Call, query: Floats, key: Floats) -> Features:
    return Features(lambda at: engine.elu_features(query[at]), lambda at: (engine.elu_features(key[at]), 0.0))


def _positive(engine: Engine, call: Call, query: Floats, key: Floats) -> Features:
    dim, params = query.shape[1], call.params
    scale = dim**-0.5 if params["scale"] is None else params["scale"]
    omega = directions(dim, params["features"], params["seed"], True)
    return Features(
        lambda at: engine.positive_features(query[at], omega, scale, True)[0],
        lambda at: engine.positive_features(key[at], omega, scale, False),
    )


def _fourier(engine: Engine, call: Call, query: Floats, key: Floats) -> Features:
    params = call.params
    omega = directions(query.shape[1], params["features"], params["seed"], False) / params["sigma"]
    return Features(
        lambda at: engine.wave_features(query[at], omega), lambda at: (engine.wave_features(key[at], omega), 0.0)
    )


def _ramp(engine: Engine, call: Call, query: Floats, key: Floats) -> Features:
    of_query, of_key = call.positions
    every = np.concatenate(call.positions)
    first, span = every.min(initial=np.inf), np.ptp(every) if every.size else 0.0
    length = span + 1 if call.params["length"] is None else call.params["length"]
    if length < span:
        raise InvalidInput(f"{call.declared.name}: length is {length:g}, but positions span {span:g}; make it longer")
    turn = np.pi / 2 / length
    return Features(
        lambda at: engine.ramp_features(query[at], turn * (of_query[at] - first)),
        lambda at: (engine.ramp_features(key[at], turn * (of_key[at] - first)), 0.0),
    )


MAPS = {"elu": _elu, "positive": _positive, "fourier": _fourier, "ramp": _ramp}
"""The atoms: elu(x) + 1; positive orthogonal random features; random Fourier features; relu under a cosine ramp."""
