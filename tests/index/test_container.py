"""The container: what is written is read; anything else is SegmentDamaged."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from agentmem.errors import SegmentDamaged
from agentmem.index import container
from agentmem.index.container import ALIGN, container_bytes, open_container, write_container

BLOCKS = {
    "words": np.arange(37, dtype=np.uint32),
    "matrix": np.linspace(0, 1, 30, dtype=np.float32).reshape(5, 6),
    "none": np.zeros((0, 4), np.int8),
    "bytes": np.frombuffer(b"seven..", np.uint8),
}
HEADER = {"kind": "base", "seq": 3, "name": "é"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "one.seg"
    write_container(target, HEADER, BLOCKS)
    return target


def test_blocks_come_back_read_only_and_aligned(path: Path) -> None:
    opened = open_container(path)
    assert {key: opened.header[key] for key in HEADER} == HEADER
    assert list(opened.blocks) == list(BLOCKS)
    for name, block in BLOCKS.items():
        found = opened.blocks[name]
        np.testing.assert_array_equal(found, block)
        assert found.dtype == block.dtype
        assert not found.flags.writeable
        assert block.size == 0 or found.ctypes.data % ALIGN == 0
    opened.verify()


def test_memory_and_file_hold_the_same_bytes(path: Path) -> None:
    assert container_bytes(HEADER, BLOCKS) == path.read_bytes()
    np.testing.assert_array_equal(open_container(path.read_bytes()).blocks["matrix"], BLOCKS["matrix"])


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.int8, np.uint16, np.int32, np.int64, np.float32, np.float64]),
        hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=9),
    )
)
def test_any_array_comes_back(block: np.ndarray) -> None:
    found = open_container(container_bytes({}, {"it": block, "again": block})).blocks
    np.testing.assert_array_equal(found["again"], block)
    assert found["it"].shape == block.shape


def test_survives_being_unlinked_while_mapped(path: Path) -> None:
    opened = open_container(path)
    path.unlink()
    np.testing.assert_array_equal(opened.blocks["words"], BLOCKS["words"])
    taken = opened.blocks["matrix"]
    opened.close()
    assert opened.blocks == {}
    np.testing.assert_array_equal(taken, BLOCKS["matrix"])


def test_every_truncation_and_every_extension_is_found(path: Path) -> None:
    whole = path.read_bytes()
    table = open_container(path).header["blocks"]
    ends = {entry["offset"] + entry["bytes"] for entry in table} | {entry["offset"] for entry in table}
    for size in sorted({0, 1, 8, 63, 64, 65, len(whole) - 1} | (ends - {len(whole)})):
        path.write_bytes(whole[:size])
        with pytest.raises(SegmentDamaged, match="one"):
            open_container(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(SegmentDamaged, match=str(len(whole))):
        open_container(path)


def test_every_flipped_byte_before_the_blocks_is_found() -> None:
    whole = container_bytes(HEADER, BLOCKS)
    first = open_container(whole).header["blocks"][0]["offset"]
    for place in range(first):
        with pytest.raises(SegmentDamaged):
            open_container(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])


def test_verify_names_the_block_that_changed() -> None:
    whole = container_bytes(HEADER, BLOCKS)
    entry = open_container(whole).header["blocks"][1]
    place = entry["offset"] + 5
    opened = open_container(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(SegmentDamaged, match="matrix"):
        opened.verify()


@pytest.mark.parametrize(
    "wrong",
    [
        {"offset": 0},
        {"offset": 1 << 40},
        {"offset": -64},
        {"bytes": 10},
        {"shape": [-1, -37]},
        {"shape": [38]},
        {"dtype": "|O8"},
        {"dtype": None},
        {"name": 5},
        {"crc32": "x"},
        {"offset": 0.5},
        {"shape": 37},
        {"shape": [37, "1"]},
        {"shape": [1, 1, 1, 1, 37]},
        {"shape": [0, 1 << 80], "bytes": 0},
        {"dtype": "<f4,<f4"},
    ],
)
def test_a_table_that_points_elsewhere_is_refused(wrong: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    dumps = json.dumps

    def forged(header: dict[str, list[dict[str, object]]]) -> str:
        return dumps({**header, "blocks": [{**header["blocks"][0], **wrong}]})

    monkeypatch.setattr(container.json, "dumps", forged)
    whole = container_bytes({}, {"words": BLOCKS["words"]})
    with pytest.raises(SegmentDamaged, match=r"words|table of blocks"):
        open_container(whole)


@pytest.mark.parametrize("text", [b"{", b"[]", b"{}", b'{"blocks": 5}', b"\xff", b"[" * 9_000])
def test_a_header_that_is_none_is_refused(text: bytes) -> None:
    room = text.ljust(-(-len(text) // ALIGN) * ALIGN)
    prefix = container._PREFIX.pack(container.MAGIC, container.FORMAT_VERSION, len(room), 64 + len(room))
    whole = prefix + container._CHECK.pack(zlib.crc32(prefix + room)) + room
    with pytest.raises(SegmentDamaged, match="header"):
        open_container(whole)


def test_other_versions_missing_files_and_folders_are_damaged(path: Path, tmp_path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[8] = 2
    with pytest.raises(SegmentDamaged, match="format version 1, found 2"):
        open_container(bytes(whole))
    for wrong in (tmp_path / "absent.seg", tmp_path):
        with pytest.raises(SegmentDamaged, match="readable file"):
            open_container(wrong)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_container(path, {"seq": 4}, BLOCKS)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["one.seg"]


def test_a_short_write_is_not_published(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()
    pieces = container._pieces
    monkeypatch.setattr(container, "_pieces", lambda *args: list(pieces(*args))[:-1])
    with pytest.raises(OSError, match="bytes were written"):
        write_container(path, {"seq": 4}, BLOCKS)
    assert path.read_bytes() == before


def test_progress_ends_at_one(tmp_path: Path) -> None:
    shares: list[float] = []
    write_container(tmp_path / "p.seg", HEADER, BLOCKS, shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_objects_are_not_blocks() -> None:
    with pytest.raises(TypeError, match="object"):
        container_bytes({}, {"it": np.array([None])})
