"""The graph: distinct vectors only, what hnswlib built and nothing else, every node found, extended, not rebuilt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import hnswlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from segment_data import clustered, make_rows, make_segment, segment_bytes

from agentmem.errors import SegmentDamaged
from agentmem.index import hnsw, kernels
from agentmem.index.hnsw import graph_nodes, group_equal, reachable
from agentmem.index.hnsw_file import write_graph
from agentmem.index.locality import insertion_order
from agentmem.index.part import Graph
from agentmem.index.prune import without_rows
from agentmem.index.segment import Segment


def lists_of(segment: Segment, row: int) -> list[list[int]]:
    """Return the labels linked from a row, level by level."""
    assert segment.graph is not None
    return [segment.labels[line].tolist() for line in linked_rows(segment.graph, row)]


def hnswlib_lists(path: Path, dim: int) -> dict[int, list[list[int]]]:
    """Read hnswlib's saved file word by word: the labels linked from each label, level by level."""
    raw = path.read_bytes()
    sizes = np.frombuffer(raw, "<u8", 6)
    count, record, label_at = int(sizes[2]), int(sizes[3]), int(sizes[4])
    M = int(np.frombuffer(raw, "<u8", 1, 72)[0])
    labels = [int.from_bytes(raw[96 + i * record + label_at :][:8], "little") for i in range(count)]

    def words(at: int) -> list[int]:
        size = int.from_bytes(raw[at : at + 2], "little")
        return [labels[other] for other in np.frombuffer(raw, "<u4", size, at + 4)]

    place = 96 + count * record
    result = {}
    for node in range(count):
        result[labels[node]] = [words(96 + node * record)]
        size = int.from_bytes(raw[place : place + 4], "little")
        result[labels[node]] += [words(place + 4 + at) for at in range(0, size, 4 * (1 + M))]
        place += 4 + size
    assert place == len(raw)
    return result


def test_the_graph_is_the_one_that_hnswlib_built(tmp_path: Path) -> None:
    vectors = clustered(600, 8, 1)
    segment = make_segment(make_rows(vectors), metric="l2", graph=True, M=5, ef_construction=40, seed=3)
    index = hnswlib.Index("l2", 8)
    index.init_index(600, 5, 40, 3)
    order = insertion_order(vectors, np.arange(600), 3)
    index.add_items(vectors[order], order + 1, 1)
    index.save_index(str(tmp_path / "h"))
    expected = hnswlib_lists(tmp_path / "h", 8)
    assert {int(segment.labels[row]): lists_of(segment, row) for row in range(600)} == expected
    assert segment.graph is not None
    assert segment.graph.max_level == max(map(len, expected.values())) - 1 >= 2
    assert len(segment.graph.unreachable) == 0


def test_there_and_back_again(tmp_path: Path) -> None:
    vectors = clustered(500, 6, 2)
    vectors[100:140] = vectors[7]
    has_vector = np.arange(500) % 11 != 5
    segment = make_segment(make_rows(vectors, has_vector=has_vector), metric="ip", graph=True, M=4, threads=2)
    assert segment.graph is not None
    nodes = graph_nodes(segment)
    write_graph(tmp_path / "h", segment.graph, nodes, segment.vectors, segment.labels, 200, np.float32(1))
    assert hnswlib_lists(tmp_path / "h", 6) == {
        int(segment.labels[row]): lists_of(segment, row) for row in nodes.tolist()
    }
    index = hnswlib.Index("ip", 6)
    index.load_index(str(tmp_path / "h"))
    assert sorted(index.get_ids_list()) == segment.labels[nodes].tolist()
    np.testing.assert_array_equal(index.get_items(segment.labels[nodes]), segment.vectors[nodes])


@given(
    st.lists(st.tuples(st.sampled_from([0.0, -0.0, 1.0, 2.5]), st.sampled_from([0.0, 1.0]), st.booleans()), max_size=40)
)
def test_groups_are_the_rows_of_equal_vector(rows: list[tuple[float, float, bool]]) -> None:
    vectors = np.array([row[:2] for row in rows], np.float32).reshape(-1, 2) + np.float32(0)
    has_vector = np.array([row[2] for row in rows], np.bool_)
    groups = group_equal(vectors, has_vector)
    firsts: dict[tuple[float, float], int] = {}
    expected = [
        firsts.setdefault((float(a), float(b)), row) if has else row
        for row, ((a, b), has) in enumerate(zip(vectors, has_vector, strict=True))
    ]
    assert groups.representative.tolist() == expected
    assert groups.nodes.tolist() == sorted(firsts.values())


def test_colliding_hashes_never_join_different_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hnsw, "_hashes", lambda vectors, rows: np.zeros(len(rows), np.uint64))
    vectors = np.array([[1], [2], [1], [2]], np.float32)
    groups = group_equal(vectors, np.ones(4, np.bool_))
    assert groups.representative.tolist() == [0, 1, 0, 3]
    assert groups.nodes.tolist() == [0, 1, 3]


def test_five_thousand_copies_hide_nothing() -> None:
    vectors = np.concatenate([clustered(1500, 16, 3), np.repeat(clustered(1, 16, 4), 5000, 0), clustered(1500, 16, 5)])
    segment = make_segment(make_rows(vectors), graph=True, M=8, ef_construction=60)
    graph = segment.graph
    assert graph is not None
    assert graph.group_offsets is not None
    assert graph.group_rows is not None
    found = set(graph.unreachable.tolist())
    for row in range(segment.n):
        if segment.labels[row] <= 1500 or segment.labels[row] > 6500:
            found.update(kernels.graph_search(graph, segment, "cosine", segment.vectors[row], 3, 60)[0].tolist())
    heads, _ = kernels.graph_search(graph, segment, "cosine", segment.vectors[1500], 1, 60)
    copies = graph.group_rows[graph.group_offsets[heads[0]] : graph.group_offsets[heads[0] + 1]]
    assert copies.tolist() == list(range(1500, 6500))
    assert found | set(copies.tolist()) == set(range(8000))
    assert graph.links[1501:6500].sum() == 0


def extended(old: Segment, vectors: np.ndarray, M: int = 16, **columns: object) -> tuple[Segment, int]:
    """Extend a segment, and count the nodes that hnswlib was given."""
    added = 0

    class Counting(hnswlib.Index):
        def add_items(self, data: np.ndarray, *rest: object) -> None:
            nonlocal added
            added += len(data)
            super().add_items(data, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hnsw, "hnswlib", SimpleNamespace(Index=Counting))
        return make_segment(make_rows(vectors, **columns), graph=True, extend=old, M=M), added


def everything_found(segment: Segment) -> bool:
    graph = segment.graph
    assert graph is not None
    rows = [kernels.graph_search(graph, segment, "cosine", vector, 1, 80)[0][0] for vector in segment.vectors]
    heads = group_equal(segment.vectors, segment.has_vector != 0).representative
    return float(np.mean(np.array(rows) == heads)) == 1.0 and len(graph.unreachable) == 0


def test_extending_adds_only_what_is_new_wherever_it_sorts() -> None:
    vectors = clustered(900, 12, 6)
    names = [("b", "a", "c")[i % 3] for i in range(900)]
    old = make_segment(make_rows(vectors[:600], namespaces=names[:600]), graph=True)
    vectors[650] = vectors[0] * 2  # now equal to an old one, and sorted before it
    assert (names[0], names[650]) == ("b", "c")
    vectors[652] = vectors[2]
    new, added = extended(old, vectors, namespaces=names)
    assert added == 298
    assert everything_found(new)
    assert new.graph is not None
    assert new.graph.group_rows is not None
    shared = {int(new.labels[row]) for row in new.graph.group_rows}
    assert {3, 653} <= shared


def test_extending_with_an_earlier_copy_moves_the_links_to_it() -> None:
    vectors = clustered(301, 12, 7)
    vectors[300] = vectors[10]
    old = make_segment(make_rows(vectors[:300], namespaces=["b"] * 300), graph=True)
    new, added = extended(old, vectors, namespaces=[*["b"] * 300, "a"])
    assert added == 0
    assert new.labels[0] == 301
    assert new.graph is not None
    assert new.graph.links[0, 0] > 0
    assert new.graph.links[new.rows_of(np.array([11]))[0]].sum() == 0
    assert everything_found(new)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.19])
def test_dead_rows_are_dropped_and_their_neighbours_joined(share: float) -> None:
    vectors = clustered(1200, 12, 8)
    old = make_segment(make_rows(vectors[:1000]), graph=True, M=8)
    assert old.graph is not None
    alive = np.random.default_rng(1).random(1200) >= share
    alive[1000:] = True
    alive[old.labels[old.graph.entry] - 1] = share == 0  # the entry dies
    new, added = extended(old, vectors[alive], labels=np.flatnonzero(alive) + 1, M=8)
    assert added == 200
    assert everything_found(new)
    assert new.graph is not None
    counts = new.graph.links[:, 0]
    assert np.all(np.abs(counts.mean() - old.graph.links[:, 0].mean()) < 2)
    for row in range(new.n):
        for level, line in enumerate(linked_rows(new.graph, row)):
            assert row not in line
            assert len(set(line)) == len(line)
            assert all(len(linked_rows(new.graph, other)) > level for other in line)


def linked_rows(graph: Graph, row: int) -> list[list[int]]:
    """Return the rows linked from a row, level by level."""
    upper = graph.upper[graph.upper_offsets[row] : graph.upper_offsets[row + 1]].reshape(-1, 1 + graph.M)
    return [line[1 : 1 + line[0]].tolist() for line in (graph.links[row], *upper)]


def test_a_lost_link_goes_to_the_nearest_heir() -> None:
    vectors = np.array([[0], [1], [2], [9], [4]], np.float32)
    links = np.array([[1, 1, 0], [2, 0, 2], [2, 3, 4], [1, 2, 0], [1, 2, 0]], np.uint32)  # 0 - 1 - 2 - {3, 4}
    none = np.zeros(0, np.int64)
    graph = Graph(links, np.zeros(6, np.int64), np.zeros(0, np.uint32), 2, 0, 1, None, None, none)
    kept = without_rows(graph, np.array([0, 1, 3, 4]), vectors, True)
    assert kept.entry in (0, 1, 3, 4)
    assert [line[0] for line in (linked_rows(kept, row) for row in range(5))] == [[1], [0, 4], [], [4], [3]]


def test_a_graph_that_lost_too_much_or_is_of_another_kind_is_built_anew() -> None:
    vectors = clustered(300, 12, 8)
    many = np.arange(45, 300)
    new, added = extended(make_segment(make_rows(vectors[:200]), graph=True), vectors[many], labels=many + 1)
    assert added == 255
    assert everything_found(new)
    for other in (
        make_segment(make_rows(vectors[:200]), graph=True, M=8),
        make_segment(make_rows(vectors[:200]), metric="l2", graph=True),
        make_segment(make_rows(vectors[:200]), graph=False),
        make_segment(make_rows(vectors[:0]), graph=True),
    ):
        assert extended(other, vectors)[1] == 300


def test_an_extension_that_hides_rows_is_built_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = clustered(300, 12, 8)
    old = make_segment(make_rows(vectors[:250]), graph=True)
    monkeypatch.setattr(hnsw, "without_rows", lambda graph, *rest: replace(graph, links=0 * graph.links))
    alive = np.arange(300) != 7
    new, added = extended(old, vectors[alive], labels=np.flatnonzero(alive) + 1)
    assert added == 50 + 299
    assert everything_found(new)


def test_a_damaged_segment_is_not_extended() -> None:
    raw = bytearray(segment_bytes(make_rows(clustered(100, 12, 8)), graph=True))
    table = {entry["name"]: entry for entry in Segment.open(bytes(raw)).header["blocks"]}
    raw[table["links"]["offset"] + 5] ^= 0xFF
    with pytest.raises(SegmentDamaged, match="links"):
        make_segment(make_rows(clustered(110, 12, 8)), graph=True, extend=Segment.open(bytes(raw)))


def test_nothing_to_link() -> None:
    segment = make_segment(make_rows(clustered(20, 4, 9), has_vector=np.zeros(20, np.bool_)), graph=True)
    assert segment.graph is not None
    assert segment.graph.entry == -1
    rows, scores = kernels.graph_search(segment.graph, segment, "cosine", np.ones(4, np.float32), 3, 10)
    assert len(rows) == len(scores) == 0


def test_unreachable_rows_are_told() -> None:
    segment = make_segment(make_rows(clustered(50, 4, 10)), graph=True)
    graph = segment.graph
    assert graph is not None
    assert reachable(graph).tolist() == list(range(50))
    links = graph.links.copy()
    for row in range(50):
        mine = [other for other in links[row, 1 : 1 + links[row, 0]] if other != 17]
        links[row, 0] = len(mine)
        links[row, 1 : 1 + len(mine)] = mine
    cut = replace(graph, links=links)
    assert sorted(set(range(50)) - set(reachable(cut).tolist())) == ([17] if graph.entry != 17 else [])


class Spoiling(hnswlib.Index):
    """Saves like hnswlib, then changes the file."""

    spoil = staticmethod(lambda raw: raw)
    extra = 0

    def save_index(self, path: str) -> None:
        super().save_index(path)
        Path(path).write_bytes(self.spoil(Path(path).read_bytes()))

    def index_file_size(self) -> int:
        return int(super().index_file_size()) + self.extra


UPPER = 96 + 60 * (4 + 4 * 32 + 4 * 4 + 8)
"""Where the upper lists of 60 nodes begin, M = 16, 4-d."""


@pytest.mark.parametrize(
    ("spoil", "extra", "message"),
    [
        (lambda raw: raw[:-4], 0, "is the disk full"),
        (lambda raw: b"", 0, "is the disk full"),
        (lambda raw: raw[:90], 90 - UPPER, "no graph of hnswlib|is the disk full"),
        (lambda raw: raw[:24] + b"\x01" + raw[25:], 0, "not the layout"),
        (lambda raw: raw[:UPPER] + (400).to_bytes(4, "little") + raw[UPPER + 4 :], 0, "do not end where they should"),
        (
            lambda raw: raw[:UPPER] + (68 * 999).to_bytes(4, "little") + raw[UPPER + 4 :],
            0,
            "do not end where they should",
        ),
        (lambda raw: raw + bytes(240), 240, "60 words lie behind"),
    ],
)
def test_a_file_of_another_layout_or_size_is_refused(
    spoil: object, extra: int, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hnsw, "hnswlib", SimpleNamespace(Index=Spoiling))
    monkeypatch.setattr(Spoiling, "spoil", staticmethod(spoil))
    monkeypatch.setattr(Spoiling, "extra", extra)
    monkeypatch.setattr("agentmem.index.build.gettempdir", lambda: str(tmp_path))
    with pytest.raises(OSError, match=message):
        make_segment(make_rows(clustered(60, 4, 11)), graph=True)
    assert list(tmp_path.iterdir()) == []


def test_progress_rises_to_one() -> None:
    shares: list[float] = []
    make_segment(make_rows(clustered(4500, 4, 12)), graph=True, M=4, ef_construction=10, progress=shares.append)
    assert shares == sorted(shares)
    assert len(shares) > 2
    assert shares[-1] == 1.0
