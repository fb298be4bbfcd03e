"""prf: candidates by their similarity to the attended query."""

from __future__ import annotations

import math

import numpy as np
import pytest

from agentmem.attention import prf
from agentmem.errors import InvalidInput

QUERY = np.array([1, 0], np.float32)
KEYS = np.array([[1, 0], [0, 1]], np.float32)


def test_known_answer(backend: str) -> None:
    # weights 3/4 and 1/4: the attended part is (3, 1) / √10; half of it and half of the query
    came = prf(QUERY, KEYS, params={"scale": math.log(3)}, backend=backend)
    part = np.array([3, 1]) / math.sqrt(10)
    np.testing.assert_allclose(came, [0.5 + 0.5 * part[0], 0.5 * part[1]], rtol=1e-6)


def test_without_blend_it_is_the_cosine(backend: str) -> None:
    rng = np.random.default_rng(0)
    query, keys = rng.standard_normal(8).astype(np.float32), rng.standard_normal((33, 8)).astype(np.float32)
    cosine = keys @ query / np.linalg.norm(keys, axis=1) / np.linalg.norm(query)
    np.testing.assert_allclose(prf(query, keys, blend=0.0, backend=backend), cosine, rtol=1e-5, atol=1e-6)


def test_a_crowd_pulls_the_query(backend: str) -> None:
    crowd = np.repeat(np.array([[0.6, 0.8]], np.float32), 9, axis=0)
    keys = np.concatenate([np.array([[0.8, -0.6]], np.float32), crowd])
    assert np.argmax(prf(QUERY, keys, blend=0.0, backend=backend)) == 0
    assert np.argmax(prf(QUERY, keys, blend=0.9, backend=backend)) > 0


@pytest.mark.parametrize("blend", [-0.1, 1.5])
def test_a_blend_out_of_range(blend: float) -> None:
    with pytest.raises(InvalidInput, match="blend must be from 0 to 1"):
        prf(QUERY, KEYS, blend=blend)


def test_no_candidates_and_several_vectors_a_record() -> None:
    assert prf(QUERY, KEYS[:0]).shape == (0,)
    with pytest.raises(InvalidInput, match="late-interaction scored 1 of 2 candidates"):
        prf(QUERY, KEYS, mechanism="late-interaction", segment_ids=[0, 0])
