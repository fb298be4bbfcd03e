"""How much memory a call needs beyond its result."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable

from agentmem.attention.attend import AttentionResult

_ONE_AT_A_TIME = threading.Lock()


def measured(run: Callable[[], AttentionResult]) -> tuple[AttentionResult, int]:
    """Return a call's result, and the bytes of arrays that it needed beyond it at the worst moment.

    Calls that are measured run one at a time.  What the kernels allocate outside NumPy is not counted.
    """
    with _ONE_AT_A_TIME:
        tracing = tracemalloc.is_tracing()
        if not tracing:
            tracemalloc.start()
        try:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            result = run()
            peak = tracemalloc.get_traced_memory()[1] - before
        finally:
            if not tracing:
                tracemalloc.stop()
    held = sum(array.nbytes for array in result[:2] if array is not None)
    return result, max(0, peak - held)
