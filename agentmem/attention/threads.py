"""How many threads one call of attention may take."""

from __future__ import annotations

import os

from agentmem.errors import InvalidInput

MOST = 64
VARIABLE = "AGENTMEM_NUM_THREADS"
current: int | None = None
"""The number once it is known; ``num_threads()`` finds it."""


def num_threads() -> int:
    """Return how many threads a call may take: what ``set_num_threads`` set, else ``AGENTMEM_NUM_THREADS``, else 1.

    Raises:
        InvalidInput: the environment holds something else than a number from 1 to 64.
    """
    global current
    if current is None:
        given = os.environ.get(VARIABLE, "1")
        current = _checked(int(given) if given.isdecimal() else given, VARIABLE)
    return current


def set_num_threads(n: int | None) -> None:
    """Let every later call of the process take up to ``n`` threads, the caller's included.

    They share the tiles of queries and heads of a call with many queries; one query runs in the caller's thread.
    Where the system has no POSIX threads, there is one.

    Args:
        n: from 1 to 64; None goes back to the environment.

    Raises:
        InvalidInput: another number.
    """
    global current
    current = None if n is None else _checked(n, "n")


def _checked(n: object, name: str) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MOST:
        raise InvalidInput(f"{name}: expected a whole number of threads from 1 to {MOST}, came {n!r}")
    return n
