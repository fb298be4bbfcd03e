"""Masks as predicates, and positions."""

from __future__ import annotations

import numpy as np
import pytest

from agentmem.attention import attend, masks, positions
from agentmem.errors import InvalidInput


def kept(mask: masks.Keep, n_queries: int, n_keys: int) -> list[str]:
    return ["".join("x" if cell else "." for cell in row) for row in mask.array(n_queries, n_keys)]


def test_masks_by_hand() -> None:
    assert kept(masks.causal(), 3, 3) == ["x..", "xx.", "xxx"]
    assert kept(masks.causal(), 2, 4) == ["xxx.", "xxxx"]  # the queries are the last rows
    assert kept(masks.window(1), 4, 4) == ["xx..", "xxx.", ".xxx", "..xx"]
    assert kept(masks.window(1, 0), 3, 3) == ["x..", "xx.", ".xx"]
    assert kept(masks.first(2), 2, 3) == ["xx.", "xx."]
    assert kept(masks.segments([0, 0, 1, -1]), 4, 4) == ["xx..", "xx..", "..x.", "...."]
    assert kept(masks.window(0) | masks.first(1), 3, 3) == ["x..", "xx.", "x.x"]
    assert kept(masks.window(1) & ~masks.causal(), 3, 3) == [".x.", "..x", "..."]
    assert masks.padding([2, 0, 3], 3).tolist() == [[True, True, False], [False] * 3, [True] * 3]
    assert kept(masks.causal(), 0, 3) == []


def test_a_mask_is_what_attend_takes(backend: str) -> None:
    rows = np.random.default_rng(0).standard_normal((33, 8)).astype(np.float32)
    mask = masks.causal().array(5, 33)
    came = attend(rows[-5:], rows, mask=mask, backend=backend).output
    own = attend(rows[-5:], rows, params={"causal": True}, backend=backend).output
    np.testing.assert_allclose(came, own, rtol=1e-5, atol=1e-6)


def test_sinusoidal_by_hand() -> None:
    came = positions.sinusoidal([0, np.pi / 2], 4, theta=4.0)
    # wavelengths 1 and 4 ** (2 / 4) = 2: sin and cos of p, then of p / 2
    np.testing.assert_allclose(came, [[0, 1, 0, 1], [1, 0, np.sqrt(0.5), np.sqrt(0.5)]], atol=1e-6)


def test_row_order_is_that_of_attend() -> None:
    queries, keys = positions.row_order(2, 4)
    assert queries.tolist() == [2, 3]
    assert keys.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: masks.window(-1), "before: expected a whole number, at least 0, came -1"),
        (lambda: masks.window(1, 0.5), "after: expected a whole number"),  # type: ignore[arg-type]
        (lambda: masks.first(True), "count: expected a whole number"),
        (lambda: masks.segments([0.5]), "ids: expected integers"),
        (lambda: masks.padding([4], 3), r"lengths: expected whole numbers from 0 to 3 .*, came \[4\]"),
        (lambda: masks.causal().array(-1, 3), "n_queries: expected a whole number"),
        (lambda: positions.sinusoidal([0], 3), "dim: expected an even number"),
        (lambda: positions.sinusoidal([np.nan], 4), "positions: expected finite numbers"),
    ],
)
def test_impossible_masks_and_positions(call: object, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        call()  # type: ignore[operator]
