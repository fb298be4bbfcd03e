"""The compiled stages: float32 only, the same methods as ``reference.Reference``."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from agentmem.attention.native.flash import FlashKernels
from agentmem.attention.native.hyperbolic import HyperbolicKernels
from agentmem.attention.native.interaction import InteractionKernels
from agentmem.attention.native.linear import LinearKernels
from agentmem.attention.native.routing import RoutingKernels
from agentmem.attention.native.softmax import SoftmaxKernels
from agentmem.attention.native.support import SupportKernels


class Native(
    SoftmaxKernels,
    SupportKernels,
    FlashKernels,
    HyperbolicKernels,
    InteractionKernels,
    LinearKernels,
    RoutingKernels,
):
    """The engine over the compiled kernels.

    Args:
        modules: the compiled modules by name.
    """

    name = "native"
    dtype = np.float32
    MODULES = ("attention", "direct", "hyperbolic", "linear", "maxsim", "quantised", "support")

    def __init__(self, modules: Mapping[str, ModuleType]) -> None:
        self.rows: Any = modules["attention"].attend_rows
        self.direct: Any = modules["direct"]
        self._attention: Any = modules["attention"]
        self._quantised: Any = modules["quantised"]
        self._hyperbolic: Any = modules["hyperbolic"]
        self._linear: Any = modules["linear"]
        self.late: Any = modules["maxsim"].maxsim
        self._support: Any = modules["support"]
