"""The file that a segment lives in: a JSON header and named, aligned, checksummed arrays, mapped rather than read.

Layout (little-endian)::

    prefix   64 bytes: magic "agmemseg", uint32 format version, uint32 bytes of the header, uint64 bytes of the file,
             zeros, uint32 CRC-32 of the prefix before it and of the header
    header   JSON in UTF-8, padded with spaces to a multiple of 64 bytes; "blocks" lists name, dtype, shape, offset,
             bytes and CRC-32 of each block
    blocks   each at a multiple of 64 bytes
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import tempfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from agentmem import faults
from agentmem.errors import SegmentDamaged
from agentmem.files import sync_folder

MAGIC = b"agmemseg"
FORMAT_VERSION = 1
ALIGN = 64
DTYPES = frozenset({"|i1", "|u1", "<u2", "<u4", "<i4", "<i8", "<f4", "<f8"})
_PREFIX = struct.Struct("<8sIIQ36x")
_CHECK = struct.Struct("<I")
_PREFIX_BYTES = _PREFIX.size + _CHECK.size
_WRITE_BYTES = 1 << 24
_ENTRY = {"name": str, "dtype": str, "shape": list, "offset": int, "bytes": int, "crc32": int}
_MOST_AXES = 4

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Container:
    """An open container.

    Attributes:
        name: the path, or "<memory>".
        header: what was written, with the table of blocks under "blocks".
        blocks: read-only arrays by name, all views of one map.
        checksum: CRC-32 of prefix and header, which hold the checksums of the blocks.
    """

    name: str
    header: Mapping[str, Any]
    blocks: dict[str, NDArray[Any]]
    checksum: int

    def verify(self, only: Collection[str] | None = None) -> None:
        """Compare blocks with their checksums: those named in ``only``, or every one.

        Raises:
            SegmentDamaged: a block holds other bytes than were written.
        """
        for entry in self.header["blocks"]:
            if only is not None and entry["name"] not in only:
                continue
            found = zlib.crc32(_raw(self.blocks[entry["name"]]))
            if found != entry["crc32"]:
                raise damaged(self.name, f"block {entry['name']!r} with CRC-32 {entry['crc32']}", found)

    def close(self) -> None:
        """Let go of the blocks; the map ends with the last array that was taken from it."""
        self.blocks.clear()


def damaged(name: str, expected: str, found: object) -> SegmentDamaged:
    """Return the error for the file ``name`` where ``found`` stands in the place of ``expected``."""
    return SegmentDamaged(f"{name}: expected {expected}, found {found}; merge() or optimize() rebuilds it")


def _aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


def _raw(block: NDArray[Any]) -> memoryview:
    return block.reshape(-1).view(np.uint8).data


def _little_endian(array: NDArray[Any]) -> NDArray[Any]:
    result = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    if result.dtype.str not in DTYPES:
        raise TypeError(f"a block cannot hold {result.dtype}")
    return result


def _header_bytes(header: Mapping[str, Any], blocks: Mapping[str, NDArray[Any]]) -> tuple[bytes, list[int]]:
    """Return prefix and header, and the offset of each block; they depend on each other through the header's size."""
    table: list[dict[str, Any]] = [
        {
            "name": name,
            "dtype": block.dtype.str,
            "shape": list(block.shape),
            "bytes": block.nbytes,
            "crc32": zlib.crc32(_raw(block)),
            "offset": 10**15,
        }
        for name, block in blocks.items()
    ]
    room = _aligned(len(json.dumps({**header, "blocks": table})))
    offsets: list[int] = []
    end = _PREFIX_BYTES + room
    for entry in table:
        entry["offset"] = end
        offsets.append(end)
        end += _aligned(entry["bytes"])
    text = json.dumps({**header, "blocks": table}).encode().ljust(room)
    prefix = _PREFIX.pack(MAGIC, FORMAT_VERSION, room, end)
    return prefix + _CHECK.pack(zlib.crc32(prefix + text)) + text, [*offsets, end]


def _pieces(head: bytes, offsets: list[int], blocks: Mapping[str, NDArray[Any]]) -> Iterator[bytes | memoryview]:
    yield head
    for block, offset, following in zip(blocks.values(), offsets, offsets[1:], strict=False):
        view = _raw(block)
        for start in range(0, len(view), _WRITE_BYTES):
            yield view[start : start + _WRITE_BYTES]
        yield bytes(following - offset - block.nbytes)


def container_bytes(header: Mapping[str, Any], blocks: Mapping[str, NDArray[Any]]) -> bytes:
    """Return a container in memory; see ``write_container``."""
    arrays = {name: _little_endian(block) for name, block in blocks.items()}
    head, offsets = _header_bytes(header, arrays)
    return b"".join(_pieces(head, offsets, arrays))


def write_container(
    path: Path, header: Mapping[str, Any], blocks: Mapping[str, NDArray[Any]], progress: Progress | None = None
) -> None:
    """Write a container under a temporary name, sync it, check its size, and move it to ``path``.

    Args:
        path: where it is to lie; its folder must exist.
        header: JSON; the key "blocks" is taken.
        blocks: arrays of the types in ``DTYPES``.
        progress: told the share that is written.

    Raises:
        OSError: the disk refused; nothing is left behind.
    """
    arrays = {name: _little_endian(block) for name, block in blocks.items()}
    head, offsets = _header_bytes(header, arrays)
    total, done = offsets[-1], 0
    handle, temporary = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in _pieces(head, offsets, arrays):
                done += file.write(piece)
                if progress is not None:
                    progress(done / total)
            _sync(file, total)
        faults.point("merge:file-synced")
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    faults.point("merge:file-renamed")
    sync_folder(path.parent)
    faults.point("merge:folder-synced")


def _sync(file: BinaryIO, expected: int) -> None:
    file.flush()
    faults.point("merge:file-written")
    os.fsync(file.fileno())
    size = os.fstat(file.fileno()).st_size
    if size != expected:
        raise OSError(f"{file.name}: {size} of {expected} bytes were written")


def open_container(source: Path | bytes, checksum: int | None = None) -> Container:
    """Map a container and check its prefix, its header and the bounds of its blocks, but not the blocks' bytes.

    Args:
        source: a path, or the bytes of a container.
        checksum: that it must have, or None for whatever it says itself.

    Raises:
        SegmentDamaged: it is missing, shorter or longer than it says, of another format, or its header is not what
            was written.
    """
    if isinstance(source, bytes):
        return _parse("<memory>", np.frombuffer(source, np.uint8), checksum)
    name = str(source)
    try:
        with open(source, "rb") as file:
            if os.fstat(file.fileno()).st_size < _PREFIX_BYTES:
                raise damaged(name, f"at least {_PREFIX_BYTES} bytes", os.fstat(file.fileno()).st_size)
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        if isinstance(error, SegmentDamaged):
            raise
        raise damaged(name, "a readable file", error) from error
    return _parse(name, np.frombuffer(mapped, np.uint8), checksum)


def _parse(name: str, data: NDArray[np.uint8], expected: int | None) -> Container:
    if len(data) < _PREFIX_BYTES:
        raise damaged(name, f"at least {_PREFIX_BYTES} bytes", len(data))
    prefix = data[: _PREFIX.size].tobytes()
    magic, version, room, size = _PREFIX.unpack(prefix)
    if magic != MAGIC:
        raise damaged(name, f"a file that begins with {MAGIC!r}", repr(magic))
    if version != FORMAT_VERSION:
        raise damaged(name, f"format version {FORMAT_VERSION}", version)
    if size != len(data) or _PREFIX_BYTES + room > size:
        raise damaged(name, f"{size} bytes", len(data))
    text = data[_PREFIX_BYTES : _PREFIX_BYTES + room].tobytes()
    checksum = _CHECK.unpack(data[_PREFIX.size : _PREFIX_BYTES].tobytes())[0]
    if zlib.crc32(prefix + text) != checksum:
        raise damaged(name, f"a header with CRC-32 {checksum}", zlib.crc32(prefix + text))
    if expected is not None and checksum != expected:
        raise damaged(name, f"the file with checksum {expected}, as the store names it", checksum)
    header = _header(name, text)
    blocks = {entry["name"]: _block(name, data, entry, _PREFIX_BYTES + room) for entry in header["blocks"]}
    return Container(name, header, blocks, checksum)


def _header(name: str, text: bytes) -> dict[str, Any]:
    """Return the header, in which the table of blocks has the types that it should."""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(name, "a header of JSON", error) from error
    table = header.get("blocks") if isinstance(header, dict) else None
    if not isinstance(table, list) or not all(map(_is_entry, table)):
        raise damaged(name, "a header with a table of blocks", "another")
    checked: dict[str, Any] = header
    return checked


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and all(type(entry.get(key)) is kind for key, kind in _ENTRY.items())
        and all(type(side) is int for side in entry["shape"])
    )


def _block(name: str, data: NDArray[np.uint8], entry: Mapping[str, Any], least: int) -> NDArray[Any]:
    offset, size, shape, dtype = entry["offset"], entry["bytes"], entry["shape"], entry["dtype"]
    fits = least <= offset <= offset + size <= len(data) and offset % ALIGN == 0
    shaped = len(shape) <= _MOST_AXES and all(0 <= side <= len(data) for side in shape)
    if not fits or not shaped or dtype not in DTYPES or prod(shape) * np.dtype(dtype).itemsize != size:
        raise damaged(name, f"block {entry['name']!r} within {len(data)} bytes", entry)
    block: NDArray[Any] = data[offset : offset + size].view(dtype)
    return block.reshape(shape)
