"""Feature maps of linear attention, and the softmax of groups within a row, by the compiled kernels and BLAS."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.inputs import Floats


class LinearKernels:
    """Feature maps φ over rows (n, dim), and softmax by groups."""

    _linear: Any

    def elu_features(self, x: Floats) -> Floats:
        """Return elu(x) + 1, (n, dim)."""
        features: Floats = self._linear.elu(x)
        return features

    def positive_features(self, x: Floats, directions: Floats, scale: float, by_row: bool) -> tuple[Floats, float]:
        """Return exp(ω_r·x √scale − scale |x|²/2 − top), (n, features), and top."""
        exponents = x @ (np.float32(np.sqrt(scale)) * directions.astype(np.float32)).T
        peaks = exponents.max(1)
        if by_row:
            self._linear.shifted_exp(exponents, peaks)
            return exponents, 0.0
        halves = np.float32(scale / 2) * np.einsum("nd,nd->n", x, x)
        top = (peaks - halves).max(initial=-np.inf)
        self._linear.shifted_exp(exponents, halves + top)
        return exponents, float(top)

    def wave_features(self, x: Floats, directions: Floats) -> Floats:
        """Return [sin ω_r·u, cos ω_r·u] / √features for the rows u of length one, (n, 2 · features)."""
        norms = np.sqrt(np.einsum("nd,nd->n", x, x))[:, None]
        angles = x @ directions.astype(np.float32).T / np.where(norms > 0, norms, np.float32(1))
        features: Floats = self._linear.waves(angles, len(directions) ** -0.5)
        return features

    def ramp_features(self, x: Floats, angles: NDArray[np.float64]) -> Floats:
        """Return [cos(angle) · relu(x), sin(angle) · relu(x)], (n, 2 · dim), with one angle a row."""
        cosine, sine = (wave(angles).astype(np.float32) for wave in (np.cos, np.sin))
        features: Floats = self._linear.ramp(x, cosine, sine)
        return features

    def group_softmax(self, scores: Floats, top: Floats, offsets: NDArray[np.int64]) -> Floats:
        """Return top[i, g] times the softmax of scores[i] over columns offsets[g] to offsets[g + 1], none empty."""
        self._linear.group_softmax(scores, top, offsets)
        return scores
