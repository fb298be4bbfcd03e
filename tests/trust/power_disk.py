"""What a disk holds when its power goes: all that was synced, and of the rest whatever chance has brought there.

The model is harsher than most disks and file systems: of the writes to a file since its last sync each is there, is
not, or is there in some of its sectors of 512 bytes, whatever their order was; a file that grew over what is not there
shows zeros or rubbish; of the names that were made, changed or removed in a folder since its last sync, likewise each
is or is not.  A sector changes as a whole, and a write changes nothing beside it, which is what SQLite relies on too.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
_HEADER = struct.Struct("<QQII")


@dataclass(frozen=True)
class Event:
    """One call that the shim recorded; its kinds are there.

    Attributes:
        kind: one letter.
        path: below the root.
        offset: of a write; the new size, of a cut.
        data: of a write; the other path, of a rename.
    """

    kind: str
    path: str
    offset: int
    data: bytes


def recorded(log: Path) -> Iterator[Event]:
    """Yield the events of a recording, in order."""
    content, at = log.read_bytes(), 0
    while at < len(content):
        offset, size, path_bytes, kind = _HEADER.unpack_from(content, at)
        at += _HEADER.size
        path = content[at : at + path_bytes].decode()
        at += path_bytes
        yield Event(chr(kind), path, offset, content[at : at + size])
        at += size


class File:
    """What was synced of a file, and the writes and cuts since."""

    def __init__(self) -> None:
        self._synced = bytearray()
        self.pending: list[Event] = []

    def content(self) -> bytearray:
        """Return what a process reads."""
        content = bytearray(self._synced)
        for event in self.pending:
            _apply(content, event, None)
        return content

    def sync(self) -> None:
        """Bring all that is pending to the disk."""
        self._synced, self.pending = self.content(), []

    def after_loss(self, chance: random.Random) -> bytes:
        """Return what is there when the power has gone."""
        kept = chance.choice((0.0, 0.5, 0.9, 0.99, 1.0))
        rubbish = chance if chance.random() < 0.5 else None
        content = bytearray(self._synced)
        for event in self.pending:
            if chance.random() < kept:
                _apply(content, event, rubbish)
            elif event.kind == "w" and chance.random() < 0.5:
                for offset, data in _sectors(event):
                    if chance.random() < 0.5:
                        _write(content, offset, data, rubbish)
        return bytes(content)


def _apply(content: bytearray, event: Event, rubbish: random.Random | None) -> None:
    if event.kind == "t":
        del content[event.offset :]
        content.extend(bytes(event.offset - len(content)))
    else:
        _write(content, event.offset, event.data, rubbish)


def _write(content: bytearray, offset: int, data: bytes, rubbish: random.Random | None) -> None:
    gap = max(0, offset - len(content))
    content.extend(bytes(gap) if rubbish is None else rubbish.randbytes(gap))
    content[offset : offset + len(data)] = data


def _sectors(event: Event) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes) for each part of a write that lies in one sector."""
    start, end = event.offset, event.offset + len(event.data)
    while start < end:
        following = min(end, (start // SECTOR + 1) * SECTOR)
        yield start, event.data[start - event.offset : following - event.offset]
        start = following


@dataclass
class _Renaming:
    """A change of names that its folder has not been synced after."""

    folder: str
    removed: str | None = None
    added: str | None = None
    file: File = field(default_factory=File)

    def apply(self, names: dict[str, File]) -> None:
        if self.removed is not None:
            names.pop(self.removed, None)
        if self.added is not None:
            names[self.added] = self.file


class Disk:
    """The files below a root, as events change them."""

    def __init__(self) -> None:
        self._names: dict[str, File] = {}
        self._synced_names: dict[str, File] = {}
        self._renamings: list[_Renaming] = []

    def contents(self) -> dict[str, bytes]:
        """Return the contents of all files as long as there is power."""
        return {path: bytes(file.content()) for path, file in self._names.items()}

    @property
    def unsynced(self) -> int:
        """Return the number of writes, cuts and changes of names that are not on the disk for certain."""
        return sum(len(file.pending) for file in self._names.values()) + len(self._renamings)

    def apply(self, event: Event) -> None:
        """Carry out an event."""
        path, names = event.path, self._names
        if event.kind == "s" and path not in names:
            for renaming in self._renamings:
                if renaming.folder == path:
                    renaming.apply(self._synced_names)
            self._renamings = [each for each in self._renamings if each.folder != path]
        elif event.kind == "s":
            names[path].sync()
        elif event.kind == "r":
            self._rename(_Renaming(_folder(path), path, event.data.decode(), names[path]))
        elif event.kind == "u":
            self._rename(_Renaming(_folder(path), removed=path))
        else:
            if path not in names:
                self._rename(_Renaming(_folder(path), added=path))
            if event.kind != "c":
                names[path].pending.append(event)

    def _rename(self, renaming: _Renaming) -> None:
        renaming.apply(self._names)
        self._renamings.append(renaming)

    def after_loss(self, chance: random.Random) -> dict[str, bytes]:
        """Return the contents of all files when the power has gone."""
        names = dict(self._synced_names)
        kept = chance.choice((0.0, 0.5, 1.0))
        for renaming in self._renamings:
            if chance.random() < kept:
                renaming.apply(names)
        return {path: file.after_loss(chance) for path, file in sorted(names.items())}


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
