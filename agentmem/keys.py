"""64-bit keys: how names (threads, sessions, speakers) become numbers that arrays can hold and compare."""

from __future__ import annotations

from hashlib import blake2b


def key64(*parts: str) -> int:
    """Return a stable signed 64-bit key of one or several strings; 0 is never returned, it stands for "none".

    Two different inputs share a key with probability 2⁻⁶⁴ (BLAKE2b, RFC 7693, 8-byte digest).
    """
    digest = blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True) or 1


def thread_key(namespace: str, thread: str | None) -> int:
    """Return the key of a thread; threads of the same name in two namespaces are two threads."""
    return 0 if thread is None else key64(namespace, thread)


def session_key(namespace: str, thread: str | None, session: str | None) -> int:
    """Return the key of a session, which belongs to its thread."""
    return 0 if session is None else key64(namespace, thread or "", session)


def speaker_key(name: str | None) -> int:
    """Return the key of a speaker: the first word of the name, casefolded, as a query would mention it."""
    words = (name or "").casefold().split()
    return key64(words[0]) if words else 0
