"""Named steps of merges, publications, migrations, vacuums, re-embeddings and learning, to die at when told so.

``AGENTMEM_FAULT="publish:committed:kill"`` makes the process kill itself with SIGKILL when it comes to that step, so
that tests see that a death at any step costs nothing.  Without the variable a step is one look into the environment.
"""

from __future__ import annotations

import os
import signal

from agentmem.errors import InvalidInput

VARIABLE = "AGENTMEM_FAULT"
POINTS = (
    "merge:begun",
    "merge:rows-read",
    "merge:graph-saved",
    "merge:file-written",
    "merge:file-synced",
    "merge:file-renamed",
    "merge:folder-synced",
    "merge:reopened",
    "merge:verified",
    "merge:probed",
    "publish:begun",
    "publish:manifest-written",
    "publish:committed",
    "publish:old-unlinked",
    "migrate:begun",
    "migrate:applied",
    "migrate:stamped",
    "migrate:committed",
    "vacuum:begun",
    "vacuum:text-optimized",
    "vacuum:rewritten",
    "vacuum:log-emptied",
    "reembed:staged",
    "reembed:switching",
    "reembed:switched",
    "learn:fitted",
    "learn:kept",
    "learn:committed",
)


def point(name: str) -> None:
    """Die here if the environment says so.

    Args:
        name: of the step, one of ``POINTS``.

    Raises:
        InvalidInput: the variable is set to something else than a step and ":kill".
    """
    wanted = os.environ.get(VARIABLE)
    if wanted is None:
        return
    step = wanted.removesuffix(":kill")
    if step == wanted or step not in POINTS:
        raise InvalidInput(f"{VARIABLE} must be a step and ':kill', got {wanted!r}; the steps are {', '.join(POINTS)}")
    if step == name:
        os.kill(os.getpid(), signal.SIGKILL)
