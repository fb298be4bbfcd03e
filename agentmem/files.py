"""Files of one's own: readable by their owner only, and durable under their names."""

from __future__ import annotations

import os
from pathlib import Path

PRIVATE = 0o600


def private_opener(path: str, flags: int) -> int:
    """Open a file as ``open(..., opener=private_opener)`` asks; one that is made is for its owner only."""
    return os.open(path, flags, PRIVATE)


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` durable, where the system can open a folder."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
