"""What holds for every mechanism of the registry, whichever they are.

A mechanism has a known answer: a test function of this folder with ``known_answer`` in its name that speaks of the
mechanism by its name, itself or through what it uses of its module.  Parity with the oracle is asked of each here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentmem.attention import attend, rank, registry, score
from agentmem.attention.forms import SCORED
from agentmem.attention.samples import sample
from agentmem.errors import InvalidInput, InvalidVector

HERE = Path(__file__).parent
NAMES = registry.list()
ATTENDED = [name for name in NAMES if registry.get(name).form != SCORED]
FAMILIES = {
    "multi-head": (
        "standard-mha rotary-mha alibi-mha grouped-query-attention multi-query-attention differential-attention "
        "mixture-attention scaled-dot"
    ),
    "self": (
        "causal-self-attention bidirectional-self-attention relative-position-attention disentangled-attention "
        "talking-heads-attention synthesizer-attention"
    ),
    "cross": (
        "cross-attention perceiver-attention gated-cross-attention memory-attention hierarchical-cross-attention"
    ),
    "sparse": (
        "bigbird-attention longformer-attention local-attention strided-attention sparse-transformer-attention "
        "star-attention blockwise-attention random-attention sliding-window"
    ),
    "linear": (
        "linear-attention performer-attention cosformer-attention rfa-attention nystrom-attention linformer-attention"
    ),
    "flash": "flash-attention-v2 flash-attention-v3 flash-decoding",
    "moe": "moe-attention soft-moe-attention switch-attention expert-choice-attention",
    "hyperbolic": "hyperbolic-attention",
    "graph": "graph-attention",
    "interaction": "late-interaction",
}
MIDPOINT = {"hyperbolic-attention", "mixture-attention"}
"""Their output is not the weights' mean of the values: a midpoint, alone or among the members."""
RESIDUAL = {"gated-cross-attention"}
"""Its output adds to the query what the weights make of the values."""
NORMED = {"differential-attention"}
"""What the weights make of the values is normalised by head."""
LOCAL = {"memory-attention"}
"""Its weights are the memory's part; the local context's is apart."""


def test_the_catalogue_has_every_name_in_its_family() -> None:
    assert {name: registry.get(name).category for name in NAMES} == {
        name: family for family, names in FAMILIES.items() for name in names.split()
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_declaration_is_complete(name: str) -> None:
    declared = registry.get(name)
    for field in ("summary", "formula", "why", "complexity", "best_for", "paper"):
        assert getattr(declared, field), field
    assert all(parameter.meaning for parameter in declared.parameters)
    assert all(weight.meaning for weight in declared.weights)


@cache
def known_answers() -> frozenset[str]:
    """Return every string that tests of known answers use, themselves or through what they use of their module."""
    found: set[str] = set()
    for path in HERE.rglob("test_*.py"):
        if path != Path(__file__):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            named = {name: node for node in tree.body for name in _defined(node)}
            for name, node in named.items():
                if isinstance(node, ast.FunctionDef) and name.startswith("test_") and "known_answer" in name:
                    found |= _strings(node, named, set())
    return frozenset(found)


def _defined(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        yield node.name
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    for target in targets:
        yield from (each.id for each in ast.walk(target) if isinstance(each, ast.Name))


def _strings(node: ast.AST, named: dict[str, ast.stmt], seen: set[str]) -> set[str]:
    found = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            found |= {each.value, *each.value.split()}
        elif isinstance(each, ast.Name) and each.id in named and each.id not in seen:
            seen.add(each.id)
            found |= _strings(named[each.id], named, seen)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_it_has_a_known_answer(name: str) -> None:
    assert name in known_answers(), f"no test_*known_answer* speaks of {name}"


def given(name: str, n_queries: int = 33, n_keys: int = 33, dim: int = 32, **options: Any) -> dict[str, Any]:
    return sample(registry.get(name), n_queries, n_keys, dim, **options)


@pytest.mark.parametrize("name", ATTENDED)
@pytest.mark.parametrize("shape", [(1, 1, 16), (5, 31, 32), (33, 33, 48), (97, 97, 32)])
def test_parity_with_the_oracle(backend: str, name: str, shape: tuple[int, int, int]) -> None:
    arguments = given(name, *shape, seed=sum(shape))
    came = attend(**arguments, return_weights=True, backend=backend)
    assert came.backend == backend
    assert came.output.dtype == np.float32
    assert came.output.shape == (shape[0], shape[2])
    exact = {key: _wide(value) for key, value in arguments.items()}
    oracle = attend(**exact, return_weights=True, backend="numpy")
    for array, wanted in ((came.output, oracle.output), (came.weights, oracle.weights)):
        assert array is not None
        assert wanted is not None
        rounding = 256 if name in MIDPOINT else 32  # the rim of the ball magnifies what is rounded
        budget = rounding * np.finfo(np.float32).eps * max(np.abs(wanted).max(), 1e-3)
        assert np.abs(array - wanted).max() <= budget
    again = attend(**arguments, return_weights=True, backend=backend)
    np.testing.assert_array_equal(again.output, came.output)


def _wide(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype == np.float32:
        return value.astype(np.float64)
    if isinstance(value, tuple):
        return tuple(map(_wide, value))
    return {key: _wide(each) for key, each in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("name", ATTENDED)
def test_the_weights_are_what_the_values_are_mixed_by(backend: str, name: str) -> None:
    arguments = given(name, 9, 33, 32)
    heads = int(registry.get(name).resolve(None).get("heads") or 1)  # type: ignore[call-overload]
    arguments["value"] = np.tile(np.eye(33, dtype=np.float32), (1, heads))
    if "context" in arguments:
        arguments["context"] = (arguments["context"][0], np.zeros((16, 33 * heads), np.float32))
    if name in MIDPOINT | RESIDUAL | NORMED | LOCAL:
        pytest.skip("its own tests show it: there is more than the weights in its output")
    came = attend(**_fitted(name, arguments), return_weights=True, backend=backend)
    assert came.weights is not None
    mixed = came.output.reshape(9, -1, 33)
    if came.weights.ndim == 3:
        np.testing.assert_allclose(mixed.transpose(1, 0, 2), came.weights, rtol=1e-4, atol=2e-6)
    else:
        np.testing.assert_allclose(mixed.mean(1), came.weights, rtol=1e-4, atol=2e-6)


def _fitted(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with learned weights for values of that length."""
    fresh = given(name, 9, 33, 32, value_dim=arguments["value"].shape[1])
    return arguments | ({"weights": fresh["weights"]} if "weights" in fresh else {})


@pytest.mark.parametrize("name", ATTENDED)
def test_where_nothing_is_kept_nothing_comes(backend: str, name: str) -> None:
    if registry.get(name).masks == "none":
        pytest.skip("it takes no mask")
    came = attend(**given(name), mask=np.zeros(33, bool), return_weights=True, backend=backend)
    assert came.weights is not None
    assert not came.weights.any()
    if name not in RESIDUAL | LOCAL:
        assert not came.output.any()
    assert np.isfinite(came.output).all()


@pytest.mark.parametrize("name", ATTENDED)
@pytest.mark.parametrize("which", ["query", "key", "value"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(backend: str, name: str, which: str, bad: float) -> None:
    arguments = given(name)
    arguments[which][4, 3] = bad
    with pytest.raises(InvalidVector, match="expected finite numbers, came NaN or infinity"):
        attend(**arguments, backend=backend)


@pytest.mark.parametrize("name", ATTENDED)
def test_what_does_not_fit_is_refused(backend: str, name: str) -> None:
    arguments = given(name)
    rows = arguments["key"]
    for changed, error, words in (
        ({"key": rows[:, :31]}, InvalidVector, "key: expected rows of 32 numbers as in query"),
        ({"value": rows[:32]}, InvalidInput, r"came query \(33, 32\), key \(33, 32\), value \(32, 32\)"),
        ({"query": rows[0]}, InvalidInput, "query: expected 2 dimensions or 3 dimensions"),
        ({"key": rows.astype(np.int32)}, InvalidInput, "key: expected float32 or float64, came int32"),
        ({"mask": np.ones((33, 32), bool)}, InvalidInput, "mask: expected bool|takes no mask"),
        ({"params": {"no such": 1}}, InvalidInput, f"{name} has no parameter 'no such'"),
    ):
        with pytest.raises(error, match=words):
            attend(**arguments | changed, backend=backend)
    wide = np.asfortranarray(np.concatenate([rows, rows])[::2])
    plain = attend(**arguments | {"key": np.ascontiguousarray(wide)}, backend=backend).output
    np.testing.assert_array_equal(attend(**arguments | {"key": wide}, backend=backend).output, plain)


@pytest.mark.parametrize("name", ATTENDED)
def test_all_that_is_missing_is_in_one_error(name: str) -> None:
    declared, arguments = registry.get(name), given(name)
    required = [f"weights['{weight.name}']" for weight in declared.weights if weight.required]
    bare = {key: arguments[key] for key in ("query", "key", "value", "mechanism")}
    if not declared.needs and "weights" not in arguments:
        attend(**bare)
        return
    with pytest.raises(InvalidInput, match=f"^{name} needs ") as caught:
        attend(**bare)
    assert all(missing in str(caught.value) for missing in (*declared.needs, *required))


@pytest.mark.parametrize("name", ATTENDED)
def test_what_it_does_not_take_is_refused(name: str) -> None:
    declared, arguments = registry.get(name), given(name)
    inputs = {"positions": np.arange(33), "segment_ids": np.zeros(33, int), "edges": np.zeros((1, 2), int)}
    inputs |= {"context": (arguments["key"], arguments["value"]), "weights": {"no such": np.ones(3)}}
    for what, value in inputs.items():
        if what not in declared.inputs():
            with pytest.raises(InvalidInput, match=f"{name} takes no {what}"):
                attend(**arguments | {what: value})


def _scored(name: str, seed: int) -> dict[str, Any]:
    arguments = given(name, 20, 20, 32, seed=seed)
    if "weights" in arguments:  # a sequence of candidates has the query behind them
        size = 21 if registry.get(name).sequence else 20
        arguments["weights"] = given(name, size, size, 32, seed=seed)["weights"]
    if "edges" in arguments:
        arguments["edges"] = np.array([[20, j] for j in range(0, 20, 2)])
    return {key: value for key, value in arguments.items() if key not in ("query", "value", "context")}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_parity_of_scores(backend: str, name: str, seed: int) -> None:
    inputs = _scored(name, seed)
    query = np.random.default_rng(80 + seed).standard_normal(32).astype(np.float32)
    keys = inputs.pop("key")
    if name == "memory-attention":
        inputs["positions"] = np.arange(20)
    came = score(query, keys, **inputs, backend=backend)
    oracle = score(_wide(query), _wide(keys), **{key: _wide(value) for key, value in inputs.items()}, backend="numpy")
    assert np.abs(came - oracle).max() <= 64 * np.finfo(np.float32).eps * np.abs(oracle).max()


@pytest.mark.parametrize("name", NAMES)
def test_it_ranks_candidates(backend: str, name: str) -> None:
    query = np.random.default_rng(9).standard_normal(32).astype(np.float32)
    inputs = _scored(name, 1)
    keys = inputs.pop("key")
    if name == "memory-attention":
        inputs["positions"] = np.arange(20)
    scores = score(query, keys, **inputs, backend=backend)
    assert scores.shape == (20,)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    ranked = rank(query, keys, k=5, **inputs, backend=backend)
    assert (np.diff(ranked.scores) <= 0).all()
    np.testing.assert_array_equal(ranked.scores, np.sort(scores)[::-1][:5])


@pytest.mark.parametrize("name", [name for name in NAMES if not registry.get(name).can_reorder])
@pytest.mark.parametrize("seed", range(5))
def test_what_cannot_reorder_keeps_the_order_of_dot_products(backend: str, name: str, seed: int) -> None:
    inputs = _scored(name, seed)
    keys = inputs.pop("key")
    query = np.random.default_rng(50 + seed).standard_normal(32).astype(np.float32)
    came = rank(query, keys, **inputs, backend=backend).order
    np.testing.assert_array_equal(came, np.argsort(-(keys @ query), kind="stable"))
