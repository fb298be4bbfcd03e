"""Learned weights of a mechanism: checked against its declaration, initialised by a seed, kept as safetensors."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.attention import registry
from agentmem.attention.inputs import Floats, floats, require_finite
from agentmem.attention.mechanism import Mechanism, Weight
from agentmem.errors import InvalidInput
from agentmem.extras import need

Sizes = Mapping[str, int]

FREE: Mapping[str, Callable[[Sizes], int]] = {
    "inner": lambda s: s["heads"] * s["head_dim"] if "head_dim" in s else s["dim"],
    "inner_value": lambda s: s["heads"] * s["head_dim"] if "head_dim" in s else s["value_dim"],
    "inner_keys": lambda s: FREE["inner"](s) // s["heads"] * s.get("groups", 1),
    "inner_values": lambda s: FREE["inner_value"](s) // s["heads"] * s.get("groups", 1),
    "head": lambda s: FREE["inner"](s) // s["heads"],
    "half_head": lambda s: FREE["inner"](s) // s["heads"] // 2,
    "value_head": lambda s: FREE["inner_value"](s) // s["heads"],
    "hidden": lambda s: s["dim"],
    "out": lambda s: s["value_dim"],
}
"""Axes whose length the arrays themselves decide, the same wherever the symbol stands, and what they start with."""


def length(symbol: str, sizes: Sizes) -> int | None:
    """Return the length that a symbol of ``Weight.shape`` means, None for one that is free and not yet known."""
    total = 0
    for term in symbol.split("+"):
        product = 1
        for factor in term.split("*"):
            known = int(factor) if factor.isdigit() else sizes.get(factor)
            if known is None:
                return None
            product *= known
        total += product
    return total


def _described(weight: Weight, sizes: Sizes) -> str:
    axes = []
    for symbol in weight.shape:
        known = length(symbol, sizes)
        axes.append(symbol if known is None or symbol.isdigit() else f"{symbol}={known}")
    return f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"


class AttentionWeights(Mapping[str, NDArray[Any]]):
    """The learned arrays of one mechanism, by name; read-only.

    Args:
        mechanism: a name of the registry.
        arrays: float32 or float64 arrays by the names that the mechanism declares.

    Raises:
        UnknownMechanism: no such mechanism.
        InvalidInput: an array that the mechanism does not have; InvalidVector for NaN and infinity.
    """

    def __init__(self, mechanism: str, arrays: Mapping[str, object]) -> None:
        declared = registry.get(mechanism)
        known = {weight.name: weight for weight in declared.weights}
        _refuse_unknown(declared, arrays)
        self.mechanism = mechanism
        self._arrays = {
            name: floats(f"weights[{name!r}]", array, (len(known[name].shape),)) for name, array in arrays.items()
        }
        require_finite(**{f"weights[{name!r}]": array for name, array in self._arrays.items()})

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in self.items())
        return f"AttentionWeights({self.mechanism!r}: {shapes})"

    @classmethod
    def init(
        cls,
        mechanism: str,
        *,
        dim: int,
        value_dim: int | None = None,
        n_keys: int | None = None,
        params: Mapping[str, object] | None = None,
        seed: int = 0,
    ) -> AttentionWeights:
        """Return seeded weights, float32, as the declaration initialises them; "identity" is the start of learning.

        Args:
            mechanism: a name of the registry.
            dim: length of query and key rows.
            value_dim: length of value rows; dim where None.
            n_keys: length of the sequence, for mechanisms whose weights depend on it.
            params: the mechanism's parameters.
            seed: the same seed, the same weights.

        Raises:
            UnknownMechanism: no such mechanism.
            InvalidInput: parameters that do not fit, or a length that is needed and not given.
        """
        declared = registry.get(mechanism)
        known = sizes_of(declared, declared.resolve(params), dim, value_dim or dim, n_keys)
        for free in {symbol for weight in declared.weights for symbol in weight.shape} & FREE.keys():
            known[free] = FREE[free](known)
        rng = np.random.default_rng(seed)
        arrays = {}
        for weight in declared.weights:
            shape = [length(symbol, known) for symbol in weight.shape]
            if any(axis is None for axis in shape):
                came = _described(weight, known)
                raise InvalidInput(f"weights of {mechanism}: {weight.name} has shape {came}; give n_keys=")
            arrays[weight.name] = _initialised(weight, tuple(axis for axis in shape if axis is not None), rng)
        return cls(mechanism, arrays)

    def save(self, path: str | Path) -> None:
        """Write the weights as a safetensors file, the mechanism's name in its metadata.

        Raises:
            MissingExtra: safetensors is not installed.
        """
        _safetensors()[0].save_file(dict(self._arrays), path, metadata={"mechanism": self.mechanism})

    @classmethod
    def load(cls, path: str | Path) -> AttentionWeights:
        """Read what ``save`` wrote.

        Raises:
            MissingExtra: safetensors is not installed.
            InvalidInput: not a safetensors file, or not of a mechanism's weights.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise InvalidInput(f"weights {path}: cannot be read ({error}); check the path") from error
        return cls.from_bytes(content, str(path))

    @classmethod
    def from_bytes(cls, content: bytes, name: str = "given") -> AttentionWeights:
        """Read the content of a file that ``save`` wrote; ``name`` is for error messages.

        Raises:
            MissingExtra: safetensors is not installed.
            InvalidInput: not a safetensors file, or not of a mechanism's weights.
        """
        library, refusal = _safetensors()
        try:
            arrays = library.load(content)
        except (refusal, KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"weights {name}: not a safetensors file of floats ({error!r}); use save()") from error
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        mechanism = header.get("__metadata__", {}).get("mechanism")
        if mechanism is None:
            raise InvalidInput(f"weights {name}: expected the mechanism's name in the metadata; write it with save()")
        return cls(mechanism, arrays)


def _safetensors() -> tuple[ModuleType, type[Exception]]:
    """Return safetensors for NumPy, and what it raises for a file that is none."""
    purpose = "a file of weights"
    return need("safetensors.numpy", "weights", purpose), need("safetensors", "weights", purpose).SafetensorError


def _initialised(weight: Weight, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    made: NDArray[Any]
    if weight.init in ("zeros", "ones"):
        made = np.full(shape, float(weight.init == "ones"))
    elif weight.init == "identity":
        made = np.broadcast_to(np.eye(shape[-2], shape[-1]), shape)
    else:
        fan_in = shape[-2] if len(shape) > 1 else shape[-1]
        made = rng.standard_normal(shape) / math.sqrt(fan_in)
        if weight.init == "orthogonal":
            made = np.linalg.qr(made)[0]
    return np.ascontiguousarray(made, np.float32)


def sizes_of(
    declared: Mechanism, params: Mapping[str, Any], dim: int, value_dim: int, n_keys: int | None
) -> dict[str, int]:
    """Return the lengths that symbols may name; a parameter that lists names, separated by commas, counts them."""
    known = {name: value for name, value in params.items() if type(value) is int}
    known |= {name: value.count(",") + 1 for name, value in params.items() if type(value) is str}
    known |= {"dim": dim, "value_dim": value_dim}
    return known if n_keys is None else known | {"n_keys": n_keys}


def _refuse_unknown(declared: Mechanism, arrays: Mapping[str, object]) -> None:
    names = [weight.name for weight in declared.weights]
    if not names and arrays:
        raise InvalidInput(f"{declared.name} takes no weights; leave them out, or choose a mechanism that does")
    for name in arrays:
        if name not in names:
            raise InvalidInput(f"weights of {declared.name}: unknown {name!r}; expected some of {', '.join(names)}")


def checked_weights(
    declared: Mechanism, weights: Mapping[str, object] | None, sizes: dict[str, int], dtype: Any
) -> dict[str, Floats]:
    """Return the arrays given, in ``dtype``, of the shapes declared; required ones are there.

    Raises:
        InvalidInput: of another mechanism, an unknown name, or a wrong shape; InvalidVector for NaN and infinity.
    """
    if weights is None:
        return {}
    if isinstance(weights, AttentionWeights) and weights.mechanism != declared.name:
        raise InvalidInput(f"weights: expected those of {declared.name}, came those of {weights.mechanism}")
    _refuse_unknown(declared, weights)
    known, result = dict(sizes), {}
    for weight in declared.weights:
        if weight.name not in weights:
            continue
        array = floats(f"weights[{weight.name!r}]", weights[weight.name], (len(weight.shape),))
        for symbol, axis in zip(weight.shape, array.shape, strict=True):
            expected = known.setdefault(symbol, axis) if symbol in FREE else length(symbol, known)
            if expected != axis:
                raise InvalidInput(
                    f"weights[{weight.name!r}]: expected shape {_described(weight, known)}, came {array.shape}"
                )
        require_finite(**{f"weights[{weight.name!r}]": array})
        result[weight.name] = array.astype(dtype, copy=False)
    return result
