"""Keys and values in few bits: int8 and int4 codes under a Hadamard rotation, and bfloat16.

A key of int8 or int4 is rotated by random signs and a Hadamard matrix, which spreads an outlier over all numbers and
keeps every product q·k, and coded symmetrically with one scale for each sixteen numbers.  Values that are not the keys
are int16 with such scales, whose error does not show beside the keys'.  ``QuantisedKeys`` holds a memory so coded,
which is attended to as it is.

Source: Shah 2024, arXiv:2407.08608 (incoherent processing); Ashkboos 2024, arXiv:2404.00456 (rotations).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.engine import engine
from agentmem.attention.inputs import Floats, floats, require_finite, require_width
from agentmem.errors import InvalidInput

PRECISIONS = ("int8", "int4", "bf16")
BITS = {"int8": 8, "int4": 4, "bf16": 16, "int16": 16}
GROUP = 16
SIGNS_SEED = 2407_08608


def to_bf16(x: Floats) -> NDArray[np.uint16]:
    """Return the bits of ``x`` rounded to bfloat16, to the nearest and ties to even; error at most 2⁻⁸ · |x|.

    Raises:
        InvalidVector: NaN, infinity, or a number that rounds to it.
    """
    came = np.ascontiguousarray(x, np.float32)
    require_finite(x=came)
    bits = came.view(np.uint32)
    rounded: NDArray[np.uint16] = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    require_finite(x=from_bf16(rounded))
    return rounded


def from_bf16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return bfloat16 bits as float32, exactly."""
    return np.left_shift(bits.astype(np.uint32), np.uint32(16), dtype=np.uint32).view(np.float32)


def rotate(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rows of (n, dim) under random signs and a Hadamard matrix: an orthogonal map, the same at every call.

    The Hadamard blocks are the largest power of two that divides ``dim``, at most 256.
    """
    matrix = _hadamard(x.shape[1])
    blocks: NDArray[Any] = (x * _signs(x.shape[1])).reshape(-1, len(matrix))
    return (blocks @ matrix).reshape(x.shape)


def unrotate(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Undo ``rotate``: a Hadamard matrix is its own inverse, and so are the signs."""
    matrix = _hadamard(x.shape[1])
    blocks: NDArray[Any] = x.reshape(-1, len(matrix))
    return (blocks @ matrix).reshape(x.shape) * _signs(x.shape[1])


@cache
def _hadamard(dim: int) -> NDArray[np.float32]:
    matrix: NDArray[Any] = np.ones((1, 1), np.float32)
    for _ in range(min(dim & -dim, 256).bit_length() - 1):
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    orthogonal: NDArray[np.float32] = np.float32(len(matrix) ** -0.5) * matrix
    return orthogonal


@cache
def _signs(dim: int) -> NDArray[np.float32]:
    signs: NDArray[np.float32] = np.random.default_rng(SIGNS_SEED).choice(np.array([-1, 1], np.float32), dim)
    return signs


@dataclass(frozen=True, slots=True)
class Codes:
    """Rows in few bits.

    Attributes:
        words: uint32 (n, padded dim · bits / 32); number l of the groups of a block lie in word l, lowest bits first.
        scales: float32 (n, padded dim / 16), one for each sixteen numbers; None for bfloat16.
        bits: 4, 8 or 16.
        dim: numbers of a row before padding.
        rotated: the numbers coded are those of the rotated rows.
    """

    words: NDArray[np.uint32]
    scales: NDArray[np.float32] | None
    bits: int
    dim: int
    rotated: bool

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.words.nbytes + (0 if self.scales is None else self.scales.nbytes)

    def decode(self) -> NDArray[np.float32]:
        """Return the rows as they were coded, rotated and padded: float32 (n, padded dim)."""
        n, groups = len(self.words), 32 // self.bits
        shifts = (np.arange(groups, dtype=np.uint32) * self.bits)[:, None]
        parts = self.words.reshape(n, self.words.shape[1] // GROUP, 1, GROUP) >> shifts
        wide = (n, self.words.shape[1] * groups)
        if self.scales is None:
            return from_bf16((parts & 0xFFFF).astype(np.uint16)).reshape(wide)
        top = 1 << (self.bits - 1)
        codes = ((parts & (2 * top - 1)).astype(np.int32) ^ top) - top
        scaled = codes.reshape(*self.scales.shape, GROUP).astype(np.float32) * self.scales[:, :, None]
        return scaled.astype(np.float32, copy=False).reshape(wide)


def padded(dim: int, bits: int) -> int:
    """Return ``dim`` up to whole blocks of sixteen words."""
    block = GROUP * 32 // bits
    return -(-dim // block) * block


def encode(x: NDArray[np.float32], precision: str) -> Codes:
    """Code finite rows (n, dim): "int4" and "int8" rotated first, "int16" and "bf16" as they are."""
    bits, rotated = BITS[precision], precision in ("int4", "int8")
    n, dim = x.shape
    wide = np.zeros((n, padded(dim, bits)), np.float32)
    wide[:, :dim] = x
    shape = n, wide.shape[1] // GROUP, GROUP
    scales = None
    if precision == "bf16":
        codes = to_bf16(wide).astype(np.uint32)
    else:
        largest = (1 << (bits - 1)) - 1
        groups = (rotate(wide) if rotated else wide).reshape(shape)
        scales = np.abs(groups).max(2).astype(np.float32) / np.float32(largest)
        quotient = np.divide(groups, scales[:, :, None], out=np.zeros_like(groups), where=scales[:, :, None] > 0)
        codes = np.rint(quotient).clip(-largest, largest).astype(np.int32).view(np.uint32) & np.uint32(2 * largest + 1)
    per = 32 // bits
    shifts = (np.arange(per, dtype=np.uint32) * bits)[:, None]
    words = np.bitwise_or.reduce(codes.reshape(n, shape[1] // per, per, GROUP) << shifts, axis=2)
    return Codes(np.ascontiguousarray(words.reshape(n, wide.shape[1] // per)), scales, bits, dim, rotated)


@dataclass(frozen=True, slots=True)
class QuantisedKeys:
    """Keys, and values where they are others, in few bits; made by ``quantise_keys``.

    Attributes:
        keys: the keys' codes.
        values: the values' codes; the keys' own where the keys are the values.
    """

    keys: Codes
    values: Codes

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.keys.nbytes + (0 if self.values is self.keys else self.values.nbytes)

    def decode(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return keys (n, dim) and values (n, value_dim) as the codes have them, in the caller's coordinates."""
        return restore(self.keys), restore(self.values)

    def attend(self, query: Floats, *, scale: float | None = None, backend: str = "auto") -> NDArray[np.float32]:
        """Return softmax attention over the coded keys, one head.

        Args:
            query: float32 (dim,) or (n_queries, dim).
            scale: factor on q·k; None: 1/√dim.
            backend: "auto", "native" or "numpy".

        Returns:
            float32 (value_dim,) or (n_queries, value_dim); zeros where there are no keys.

        Raises:
            InvalidInput: another shape or dtype; InvalidVector for dimensions, NaN and infinity.
            BackendUnavailable: the backend asked for cannot run.
        """
        q = np.atleast_2d(floats("query", query, (1, 2)))
        require_width(q, self.keys.dim, "query")
        if q.dtype != np.float32:
            raise InvalidInput(f"query: expected float32, came {q.dtype}; convert with astype(np.float32)")
        wide = np.zeros((len(q), padded(self.keys.dim, self.keys.bits)), np.float32)
        wide[:, : self.keys.dim] = q
        wide = rotate(wide) if self.keys.rotated else wide
        factor = self.keys.dim**-0.5 if scale is None else scale
        out = engine(backend).attend_codes(wide, self.keys, self.values, factor).astype(np.float32, copy=False)
        out = np.ascontiguousarray(_plain(out, self.values))
        return out[0] if np.ndim(query) == 1 else out


def restore(codes: Codes) -> NDArray[np.float32]:
    """Return what codes say, in the caller's coordinates: float32 (n, dim)."""
    return _plain(codes.decode(), codes)


def _plain(rows: NDArray[np.float32], codes: Codes) -> NDArray[np.float32]:
    """Return rows in a code's coordinates in the caller's: rotated back, without padding."""
    plain = unrotate(rows) if codes.rotated else rows
    return plain[:, : codes.dim]


def quantise_keys(keys: Floats, values: Floats | None = None, *, precision: str = "int8") -> QuantisedKeys:
    """Code a memory's keys, and its values where they are others.

    Error of what is coded: int8 at most 1/254, int4 at most 1/14 of the largest of its sixteen rotated numbers; bf16
    at most 2⁻⁸ of the number itself.

    Args:
        keys: float32 or float64 (n, dim).
        values: (n, value_dim), kept in int16; None where the keys are the values, which then share their codes.
        precision: "int8", "int4" or "bf16", of the keys.

    Raises:
        InvalidInput: another shape, dtype or precision; InvalidVector for NaN and infinity.
    """
    if precision not in PRECISIONS:
        raise InvalidInput(f"precision: expected one of {', '.join(PRECISIONS)}, came {precision!r}")
    k = floats("keys", keys, (2,)).astype(np.float32, copy=False)
    require_finite(keys=k)
    coded = encode(k, precision)
    if values is None:
        return QuantisedKeys(coded, coded)
    v = floats("values", values, (2,)).astype(np.float32, copy=False)
    require_finite(values=v)
    if len(v) != len(k):
        raise InvalidInput(f"values: expected {len(k)} rows, one per key, came shape {v.shape}")
    return QuantisedKeys(coded, encode(v, "int16"))
