"""Every stage in plain float64 NumPy: the oracle of the kernels, and what runs where they are not built.

Inputs come validated; outputs are float64 and are rounded to the caller's dtype at the boundary.  A stage that has a
kernel is a method of ``Reference``, with the signature of the method of ``native.Native``.
"""

from __future__ import annotations

import numpy as np

from agentmem.attention.reference.flash import FlashReference
from agentmem.attention.reference.hyperbolic import HyperbolicReference
from agentmem.attention.reference.interaction import InteractionReference
from agentmem.attention.reference.linear import LinearReference
from agentmem.attention.reference.routing import RoutingReference
from agentmem.attention.reference.softmax import SoftmaxReference
from agentmem.attention.reference.support import SupportReference


class Reference(
    SoftmaxReference,
    SupportReference,
    FlashReference,
    HyperbolicReference,
    InteractionReference,
    LinearReference,
    RoutingReference,
):
    """The engine in NumPy."""

    name = "numpy"
    dtype = np.float64
