"""A file of learned weights: it is read whole, or refused in words; what is read can be written again."""

from __future__ import annotations

import numpy as np

from agentmem.attention import AttentionWeights
from agentmem.errors import InvalidInput, UnknownMechanism


def run(data: bytes) -> None:
    """Read ``data`` as a file of weights."""
    try:
        weights = AttentionWeights.from_bytes(data)
    except (InvalidInput, UnknownMechanism):
        return
    for name, array in weights.items():
        assert array.dtype in (np.float32, np.float64), name
        assert np.isfinite(array).all(), name
