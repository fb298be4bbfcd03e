"""Feature maps of linear attention, and the softmax of groups within a row, in plain float64 NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.inputs import Floats
from agentmem.attention.reference.common import normalised


class LinearReference:
    """Feature maps φ over rows (n, dim), and softmax by groups."""

    def elu_features(self, x: Floats) -> Floats:
        """Return elu(x) + 1, (n, dim)."""
        x = x.astype(np.float64)
        return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))

    def positive_features(self, x: Floats, directions: Floats, scale: float, by_row: bool) -> tuple[Floats, float]:
        """Return exp(ω_r·x √scale − scale |x|²/2 − top), (n, features), and top.

        ``by_row`` gives every row a top of its own, its largest exponent, and returns 0 for it: right where a factor
        on a row does not count.
        """
        x = x.astype(np.float64) * np.sqrt(scale)
        exponents = x @ directions.T.astype(np.float64) - (x**2).sum(1, keepdims=True) / 2
        if by_row:
            return np.exp(exponents - exponents.max(1, keepdims=True)), 0.0
        top = float(exponents.max(initial=-np.inf))
        return np.exp(exponents - top), top

    def wave_features(self, x: Floats, directions: Floats) -> Floats:
        """Return [sin ω_r·u, cos ω_r·u] / √features for the rows u of length one, (n, 2 · features)."""
        angles = normalised(x.astype(np.float64)) @ directions.T.astype(np.float64)
        waves: Floats = np.concatenate([np.sin(angles), np.cos(angles)], 1) * len(directions) ** -0.5
        return waves

    def ramp_features(self, x: Floats, angles: NDArray[np.float64]) -> Floats:
        """Return [cos(angle) · relu(x), sin(angle) · relu(x)], (n, 2 · dim), with one angle a row."""
        kept = np.maximum(x.astype(np.float64), 0)
        ramps: Floats = np.concatenate([np.cos(angles)[:, None] * kept, np.sin(angles)[:, None] * kept], 1)
        return ramps

    def group_softmax(self, scores: Floats, top: Floats, offsets: NDArray[np.int64]) -> Floats:
        """Return top[i, g] times the softmax of scores[i] over columns offsets[g] to offsets[g + 1], none empty.

        A group of −inf alone gives zeros.  ``scores`` may be overwritten.
        """
        scores, starts, counts = scores.astype(np.float64), offsets[:-1], np.diff(offsets)
        peak = np.maximum.reduceat(scores, starts, axis=1)
        exps = np.exp(scores - np.repeat(np.where(np.isfinite(peak), peak, 0.0), counts, axis=1))
        total = np.add.reduceat(exps, starts, axis=1)
        factor = np.divide(top, total, out=np.zeros_like(total), where=total > 0)
        weights: Floats = exps * np.repeat(factor, counts, axis=1)
        return weights
