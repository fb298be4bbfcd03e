"""The reranker of the study: its numbers against textbook attention, its gradients against finite differences."""

import numpy as np
import pytest

from agentmem.errors import InvalidInput
from agentmem.simulation.study import Shape, grid, shapes
from agentmem.simulation.study.configuration import Configuration, Corpus
from agentmem.simulation.study.corpora import unit
from agentmem.simulation.study.model import COMPONENTS, forward, initial, loss, scores, softmax

DIM = 6


def drawn(shape, seed=0):
    """Return parameters that no longer rank as the vectors do, and three queries with four candidates, one missing."""
    rng = np.random.default_rng(seed)
    parameters = initial(shape, DIM, seed, np.float64)
    parameters["output"] += 0.4 * rng.normal(size=parameters["output"].shape)
    parameters["query"] += 0.2 * rng.normal(size=parameters["query"].shape)
    parameters["sharpness"][:] = np.log(2.0)
    parameters["scale"][:] = np.log(3.0)
    x = unit(rng.normal(size=(3, DIM))).astype(np.float64)
    keys = unit(rng.normal(size=(3, 4, DIM)).reshape(-1, DIM)).reshape(3, 4, DIM).astype(np.float64)
    missing = np.zeros((3, 4))
    keys[1, 3], missing[1, 3] = 0, -np.inf
    target = rng.random((3, 4)) * (missing == 0)
    return parameters, x, keys, missing, target / target.sum(axis=1, keepdims=True)


def textbook(parameters, x, keys, missing):
    """Return the last query vectors, one query, layer and head at a time, every candidate projected."""
    out = []
    for row, query in enumerate(x):
        there = missing[row] == 0
        candidates = keys[row][there]
        for layer in range(len(parameters["query"])):
            heads = []
            for head in range(parameters["query"].shape[1]):
                q, k, v = (parameters[name][layer, head] for name in ("query", "key", "value"))
                logits = np.exp(parameters["sharpness"][layer, head]) * (candidates @ k) @ (query @ q)
                heads.append(softmax(logits) @ (candidates @ v))
            query = query + np.concatenate(heads) @ parameters["output"][layer]
            query = query / np.linalg.norm(query)
        out.append(query)
    return np.array(out)


@pytest.mark.parametrize("shape", [Shape(1, 4, 1, 0), Shape(2, 6, 2, 0), Shape(3, 24, 3, 0)], ids=str)
def test_it_is_multi_head_attention(shape):
    parameters, x, keys, missing, _ = drawn(shape)
    layers = forward(parameters, x, keys, missing)
    assert len(layers) == shape.layers
    np.testing.assert_allclose(layers[-1].out, textbook(parameters, x, keys, missing), atol=1e-12)
    for layer in layers:
        np.testing.assert_allclose(layer.weights.sum(axis=-1), 1)
        assert not layer.weights[1, :, 3].any()


def test_untrained_it_ranks_as_the_vectors_do():
    shape = Shape(4, 8, 3, 0.1)
    _, x, keys, missing, _ = drawn(shape)
    parameters = initial(shape, DIM, 0)
    out = forward(parameters, x, keys, missing)[-1].out
    np.testing.assert_allclose(out, x, atol=1e-6)
    found = scores(parameters, out, keys, missing)
    assert found[1, 3] == -np.inf
    np.testing.assert_array_equal(
        np.argsort(-found), np.argsort(-np.where(missing == 0, (keys @ x[:, :, None])[..., 0], -9))
    )


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("shape", [Shape(1, 3, 1, 0), Shape(2, 6, 2, 0.2), Shape(2, 16, 3, 0.2)], ids=str)
def test_gradients_are_those_of_finite_differences(shape, dropped):
    parameters, x, keys, missing, target = drawn(shape)
    keep = None
    if dropped:
        keep = (np.random.default_rng(1).random((shape.layers, 3, shape.heads, 4)) >= 0.2) / 0.8
    _, gradient = loss(parameters, x, keys, missing, target, keep)
    assert gradient.keys() == parameters.keys()
    for name, values in parameters.items():
        differences = np.zeros_like(values)
        for place in np.ndindex(values.shape):
            kept, ends = values[place], []
            for step in (1e-6, -1e-6):
                values[place] = kept + step
                ends.append(loss(parameters, x, keys, missing, target, keep)[0])
            values[place] = kept
            differences[place] = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(gradient[name], differences, atol=2e-8, err_msg=name)
        assert differences.any(), name


def test_the_loss_by_hand():
    shape = Shape(1, 2, 1, 0)
    parameters = initial(shape, 2, 0, np.float64)
    parameters["scale"][:] = np.log(np.log(3))
    x, keys = np.array([[1.0, 0.0]]), np.array([[[1.0, 0.0], [0.0, 1.0]]])
    value, _ = loss(parameters, x, keys, np.zeros((1, 2)), np.array([[1.0, 0.0]]))
    assert value == pytest.approx(-np.log(3 / 4))  # e^(ln 3) against e^0


def test_every_component_is_told():
    parameters, x, keys, missing, _ = drawn(Shape(2, 4, 2, 0))
    laps = []
    forward(parameters, x, keys, missing, lap=laps.append)
    assert set(laps) == set(COMPONENTS)


@pytest.mark.parametrize("numbers", [(0, 4, 1, 0), (3, 4, 1, 0), (1, 4, 0, 0), (1, 4, 1, 1.0), (1, 4, 1, -0.1)])
def test_shapes_that_cannot_be(numbers):
    with pytest.raises(InvalidInput):
        Shape(*numbers)


def test_the_grid():
    assert len(shapes()) == len(set(shapes())) == 108
    every = grid(shapes(), [Corpus(10_000, 384), Corpus(50_000, 768)], 3)
    assert len({each.key for each in every}) == len(every) == 108 * 2 * 3
    assert [each.corpus.size for each in every] == [10_000] * 324 + [50_000] * 324
    one = every[-1]
    assert Configuration.from_json(one.as_json()) == one
    assert str(Shape(8, 256, 3, 0.1)) == "8h-256d-3L-0.1"
