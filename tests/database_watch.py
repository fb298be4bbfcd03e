"""Watches what opens a database: closing any other descriptor of one drops the locks that SQLite holds in this process.

An audit hook sees every open of Python's, but none of SQLite's own, and the paths that ``sqlite3.connect`` is given.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import agentmem

PACKAGE = os.path.join(os.path.dirname(agentmem.__file__), "")
SUFFIXES = ("", "-wal", "-shm", "-journal")
NEW = os.O_CREAT | os.O_EXCL
"""With these an open makes a file that nobody can have locked, or fails."""
FOLDER = getattr(os, "O_DIRECTORY", 0)
"""With this it opens a folder, or fails."""


class Watch:
    """What was opened by the package, and what is a database; either may come first."""

    def __init__(self) -> None:
        self.connected: set[str] = set()
        self.opened: dict[str, str] = {}

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note an audit event."""
        if event == "open":
            path, _, flags = arguments
            if flags & NEW != NEW and not flags & FOLDER and not isinstance(path, int):
                where = _in_the_package()
                if where is not None:
                    self.opened.setdefault(_real(path), where)
        elif event == "sqlite3.connect":
            self.connected.add(_real(arguments[0]))

    def found(self) -> list[str]:
        """Return each file of a database that the package opened otherwise than by SQLite, and where."""
        files = {path + suffix for path in self.connected for suffix in SUFFIXES}
        return [f"{where} opened {path}" for path, where in self.opened.items() if path in files]


def _in_the_package() -> str | None:
    """Return the innermost line of the package that is running, or None."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def _real(path: Any) -> str:
    """Return the true path of a file that is given by its path or as an SQLite URI."""
    name = os.fsdecode(path)
    if name.startswith("file:"):
        name = unquote(name.removeprefix("file:").partition("?")[0])
    return os.path.realpath(name)


_watches: list[Watch] = []
_hooked = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("open", "sqlite3.connect") and _watches:
        _watches[-1].see(event, arguments)


@contextmanager
def watching() -> Iterator[Watch]:
    """Watch this process; a watch within another one sees everything in its place."""
    global _hooked
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    watch = Watch()
    _watches.append(watch)
    try:
        yield watch
    finally:
        _watches.remove(watch)
