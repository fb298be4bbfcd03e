"""Segments: row order, ranges, labels, and what is refused at open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_data import clustered, make_rows, make_segment, segment_bytes

from agentmem.errors import SegmentDamaged
from agentmem.index.build import build_segment
from agentmem.index.container import container_bytes, open_container
from agentmem.index.segment import COLUMNS, Segment
from agentmem.rows import Rows

NAMES = ["users/10", "users/1/a", "users/1", "", "users/1/b", "users/2", "users/1-x", "\ud800odd", "ünï"]


def mixed_rows(n: int, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    position = rng.integers(0, 5, n).astype(np.float64)
    position[rng.random(n) < 0.3] = np.nan
    sizes = rng.integers(0, 6, n)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    return make_rows(
        rng.normal(size=(n, 5)),
        labels=np.cumsum(rng.integers(1, 4, n)).astype(np.int64),
        namespaces=[NAMES[i] for i in rng.integers(0, len(NAMES), n)],
        thread_key=rng.integers(-2, 3, n),
        position=position,
        has_vector=rng.random(n) < 0.8,
        token_offsets=offsets,
        tokens=rng.integers(0, 60000, offsets[-1]).astype(np.uint16),
        term_offsets=offsets,
        terms=rng.integers(0, 12, offsets[-1]).astype(np.uint32),
        expires_at=np.where(rng.random(n) < 0.5, np.inf, rng.integers(10, 99, n)),
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 60), st.integers(0, 10**6))
def test_rows_are_sorted_and_every_column_follows(n: int, seed: int) -> None:
    rows = mixed_rows(n, seed)
    segment = make_segment(rows, metric="ip")
    keys = [
        (rows.namespaces[i], rows.thread_key[i], np.isnan(rows.position[i]), np.nan_to_num(rows.position[i]), label)
        for i, label in enumerate(rows.labels)
    ]
    order = sorted(range(n), key=keys.__getitem__)
    np.testing.assert_array_equal(segment.labels, rows.labels[order])
    np.testing.assert_array_equal(segment.position, rows.position[order])
    np.testing.assert_array_equal(segment.expires_at, rows.expires_at[order])
    np.testing.assert_array_equal(segment.has_vector, rows.has_vector[order])
    expected = np.where(rows.has_vector[:, None], rows.vectors, 0)[order]
    np.testing.assert_array_equal(segment.vectors, expected)
    np.testing.assert_allclose(segment.norms, np.square(expected).sum(axis=1), rtol=1e-5)
    approximate = segment.scales[:, None] * segment.codes[:, :5]
    assert np.all(np.abs(approximate - expected) <= segment.scales[:, None] * 0.51)
    assert not segment.codes[:, 5:].any()
    for row, source in enumerate(order):
        begin, end = rows.token_offsets[source : source + 2]
        mine = slice(segment.token_offsets[row], segment.token_offsets[row + 1])
        np.testing.assert_array_equal(segment.tokens[mine], rows.tokens[begin:end])
        assert segment.lengths[row] == end - begin


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 60), st.integers(0, 10**6))
def test_postings_are_the_inverted_terms(n: int, seed: int) -> None:
    rows = mixed_rows(n, seed)
    segment = make_segment(rows)
    found = {}
    postings = segment.postings
    for index, term in enumerate(postings.terms.tolist()):
        part = slice(postings.offsets[index], postings.offsets[index + 1])
        assert np.all(np.diff(postings.rows[part].astype(np.int64)) > 0)
        for row, count in zip(postings.rows[part].tolist(), postings.counts[part].tolist(), strict=True):
            found[term, int(segment.labels[row])] = count
    expected: Counter[tuple[int, int]] = Counter()
    for index, label in enumerate(rows.labels.tolist()):
        terms = rows.terms[rows.term_offsets[index] : rows.term_offsets[index + 1]]
        expected.update((term, label) for term in terms.tolist())
    assert found == dict(expected)
    assert np.all(np.diff(postings.terms.astype(np.int64)) > 0)


def test_counts_of_a_term_stop_at_255() -> None:
    rows = make_rows(np.ones((1, 3)), term_offsets=np.array([0, 300]), terms=np.full(300, 9, np.uint32))
    assert make_segment(rows).postings.counts.tolist() == [255]


def test_namespace_and_prefix_ranges() -> None:
    rows = mixed_rows(200)
    segment = make_segment(rows)
    by_label = dict(zip(rows.labels.tolist(), rows.namespaces, strict=True))
    names = [by_label[label] for label in segment.labels.tolist()]
    assert segment.namespaces == tuple(sorted(set(rows.namespaces)))
    for name in [*NAMES, "users", "absent", "zzz"]:
        start, stop = segment.namespace_range(name)
        assert [names[row] for row in range(start, stop)] == [other for other in names if other == name]
    for prefix in ["", "users/1/", "users/1", "users/", "absent/", "ü", "z", "\ud800"]:
        start, stop = segment.prefix_range(prefix)
        inside = [row for row, name in enumerate(names) if name.startswith(prefix)]
        assert list(range(start, stop)) == inside
    assert "users/10" not in names[slice(*segment.prefix_range("users/1/"))]


@pytest.mark.parametrize("n", [0, 1, 2, 50])
def test_rows_of_labels(n: int) -> None:
    rows = mixed_rows(n)
    segment = make_segment(rows)
    wanted = np.arange(-2, 250, dtype=np.int64)
    found = segment.rows_of(wanted)
    known = set(rows.labels.tolist())
    for label, row in zip(wanted.tolist(), found.tolist(), strict=True):
        assert (row >= 0 and segment.labels[row] == label) if label in known else row == -1


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("n", [0, 1, 2])
def test_hardly_any_rows(n: int, graph: bool, tmp_path: Path) -> None:
    path = tmp_path / "few.seg"
    rows = mixed_rows(n)
    options = {"store_uuid": "s", "seq": 1, "kind": "delta", "metric": "cosine", "tokenizer_hash": "", "graph": graph}
    assert build_segment(path, rows, **options) == path
    segment = Segment.open(path, store_uuid="s")
    segment.verify()
    assert (segment.n, segment.path) == (n, path)
    assert segment.min_expiry == (rows.expires_at.min() if n else np.inf)
    assert (segment.graph is not None) == graph
    assert [entry.name for entry in tmp_path.iterdir()] == ["few.seg"]


def test_cosine_rows_are_normalised_and_zeros_stay() -> None:
    vectors = np.array([[3, 4], [0, 0], [-1e-20, 0], [1e20, 1e20]], np.float32)
    segment = make_segment(make_rows(vectors))
    np.testing.assert_allclose(segment.vectors, [[0.6, 0.8], [0, 0], [-1, 0], [0.5**0.5, 0.5**0.5]], rtol=1e-6)


def test_close_lets_go_and_views_taken_before_stay(tmp_path: Path) -> None:
    path = tmp_path / "one.seg"
    path.write_bytes(segment_bytes(mixed_rows(20)))
    segment = Segment.open(path)
    vectors = segment.vectors
    path.unlink()
    segment.close()
    assert np.isfinite(vectors).all()


def test_another_store_is_refused() -> None:
    with pytest.raises(SegmentDamaged, match="store other"):
        Segment.open(segment_bytes(mixed_rows(3)), store_uuid="other")


@pytest.mark.parametrize("name", [*COLUMNS, "vectors", "codes", "links", "upper_offsets", "token_offsets", "tokens"])
def test_blocks_of_another_shape_or_type_are_refused(name: str) -> None:
    whole = open_container(segment_bytes(make_rows(clustered(30, 4, 0)), graph=True))
    header = {key: value for key, value in whole.header.items() if key != "blocks"}
    block = whole.blocks[name]
    other = np.int32 if block.dtype != np.int32 else np.int64
    for wrong in (np.zeros(block.shape, other), np.zeros((3, *block.shape), block.dtype)):
        with pytest.raises(SegmentDamaged, match=name):
            Segment.open(container_bytes(header, {**whole.blocks, name: wrong}))
    with pytest.raises(SegmentDamaged, match=name):
        Segment.open(container_bytes(header, {key: value for key, value in whole.blocks.items() if key != name}))


Spoil = Callable[[np.ndarray], object]


@pytest.mark.parametrize(
    "name", ["token_offsets", "posting_offsets", "namespace_rows", "upper_offsets", "group_offsets"]
)
@pytest.mark.parametrize(
    "spoil", [lambda a: a.__setitem__(0, 1), lambda a: a.__setitem__(-1, 10**9), lambda a: a.__setitem__(1, -5)]
)
def test_wild_offsets_are_refused(name: str, spoil: Spoil) -> None:
    vectors = clustered(30, 4, 0)
    vectors[7] = vectors[3]
    offsets = np.arange(31) * 2
    rows = make_rows(
        vectors,
        token_offsets=offsets,
        tokens=np.zeros(60, np.uint16),
        term_offsets=offsets,
        terms=np.arange(60, dtype=np.uint32) % 7,
    )
    whole = open_container(segment_bytes(rows, graph=True))
    header = {key: value for key, value in whole.header.items() if key != "blocks"}
    wrong = whole.blocks[name].copy()
    spoil(wrong)
    with pytest.raises(SegmentDamaged, match="ascending offsets"):
        Segment.open(container_bytes(header, {**whole.blocks, name: wrong}))


HEADERS: list[dict[str, object]] = [
    {"n": -1}, {"n": "9"}, {"dimension": 0}, {"metric": "taxicab"}, {"max_label": None}, {"tokenizer_hash": 5},
    {"graph": 1}, {"graph": {"M": 0, "entry": 0, "max_level": 0}}, {"graph": {"M": 16, "entry": 9, "max_level": 0}},
    {"graph": {"M": 16, "entry": 0}},
]  # fmt: skip


@pytest.mark.parametrize("wrong", HEADERS, ids=str)
def test_a_wild_header_is_refused(wrong: dict[str, object]) -> None:
    whole = open_container(segment_bytes(mixed_rows(9), graph=True))
    header = {key: value for key, value in whole.header.items() if key != "blocks"}
    with pytest.raises(SegmentDamaged, match="header"):
        Segment.open(container_bytes(header | wrong, whole.blocks))


@pytest.mark.parametrize(("name", "value"), [("labels", -1), ("namespace_bytes", 255), ("namespace_bytes", 0)])
def test_wild_labels_and_names_are_refused(name: str, value: int) -> None:
    whole = open_container(segment_bytes(mixed_rows(9)))
    header = {key: each for key, each in whole.header.items() if key != "blocks"}
    wrong = np.full_like(whole.blocks[name], value)
    with pytest.raises(SegmentDamaged, match=r"labels|namespaces"):
        Segment.open(container_bytes(header, {**whole.blocks, name: wrong}))


def test_a_wild_label_order_is_refused() -> None:
    whole = open_container(segment_bytes(mixed_rows(9)))
    header = {key: value for key, value in whole.header.items() if key != "blocks"}
    wrong = whole.blocks["label_order"] + np.int32(1)
    with pytest.raises(SegmentDamaged, match="label_order"):
        Segment.open(container_bytes(header, {**whole.blocks, "label_order": wrong}))
