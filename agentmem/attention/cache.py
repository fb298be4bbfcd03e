"""What a call is known by: the content of its arrays and its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np

from agentmem.errors import InvalidInput


def content_key(*parts: object) -> bytes:
    """Return 16 bytes that are the same for the same content: arrays by dtype, shape and numbers, mappings by items.

    Raises:
        InvalidInput: something whose content cannot be told, such as an object of another library.
    """
    digest = blake2b(digest_size=16)
    for part in parts:
        _feed(digest, part)
    return digest.digest()


def _feed(digest: Any, part: object) -> None:
    if part is None or isinstance(part, (bool, int, float, str, np.generic)):
        text = f"{type(part).__name__}:{part!r}"
        digest.update(f"{len(text)}:{text}".encode())
    elif isinstance(part, np.ndarray) and part.dtype != object:
        digest.update(f"a{part.dtype.str}{part.shape}".encode())
        digest.update(np.ascontiguousarray(part).view(np.uint8) if part.size else b"")
    elif isinstance(part, Mapping):
        digest.update(f"m{len(part)}".encode())
        for name in sorted(part):
            _feed(digest, name)
            _feed(digest, part[name])
    elif isinstance(part, (tuple, list)):
        digest.update(f"s{type(part).__name__}{len(part)}".encode())
        for each in part:
            _feed(digest, each)
    else:
        raise InvalidInput(
            f"a call with {type(part).__name__} cannot be kept in the cache; pass arrays, or cache_size=0"
        )
