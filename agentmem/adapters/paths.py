"""Keys of a framework's metadata as paths of the filter language."""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"([\\.@])")


def key_path(key: str) -> str:
    """Return the path that leads to a key, whatever characters are in it."""
    return _SPECIAL.sub(r"\\\1", key)
