"""What every kernel call shares: the exception for what was not finite."""

from __future__ import annotations

from agentmem.attention.inputs import Floats, require_finite
from agentmem.errors import InvalidInput

OVERFLOW = "the scores exceed float32; scale the vectors down, or pass float64"


def checked(bad: bool, **arrays: Floats | None) -> None:
    """Raise for what a kernel found not finite: InvalidVector where it came so, else InvalidInput for an overflow."""
    if bad:
        require_finite(**arrays)
        raise InvalidInput(OVERFLOW)
