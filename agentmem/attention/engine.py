"""Which engine runs: the compiled kernels or NumPy; attention's only door to ``agentmem._kernels``."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from agentmem import backend as backends
from agentmem.attention.native import Native
from agentmem.attention.reference import Reference
from agentmem.attention.torch_engine import TorchEngine, torch_engine
from agentmem.errors import BackendUnavailable, InvalidInput

Engine = Native | Reference | TorchEngine
CHOICES = (*backends.CHOICES, "torch")
REFERENCE = Reference()


@cache
def native() -> Native | None:
    """Return the compiled engine, or None where NumPy has to do its work."""
    modules = {name: module for name in Native.MODULES if (module := backends.kernels(name)) is not None}
    return Native(modules) if len(modules) == len(Native.MODULES) else None


def engine(backend: str, dtype: Any = np.float32) -> Engine:
    """Return the engine that ``backend`` means for inputs of that dtype.

    Args:
        backend: "auto" (the kernels where they are built and the input is float32), "native", "numpy" or "torch".
        dtype: of the inputs; float64 is computed in float64, by NumPy.

    Raises:
        InvalidInput: another word.
        BackendUnavailable: "native" or "torch" cannot run; the message says why.
    """
    if backend not in CHOICES:
        raise InvalidInput(f"backend: expected one of {', '.join(CHOICES)}, came {backend!r}")
    if backend == "torch":
        return torch_engine()
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
