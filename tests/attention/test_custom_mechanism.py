"""Mechanisms of a caller's own, in plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agentmem.attention import Mechanism, Parameter, Weight, attend, rank, registry, score
from agentmem.attention.call import Call
from agentmem.attention.service import AttentionService
from agentmem.errors import BackendUnavailable, InvalidInput, InvalidVector

ROWS = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
WORDS: dict[str, Any] = {
    "category": "own",
    "summary": "s",
    "form": "custom",
    "can_reorder": True,
    "why": "w",
    "paper": "p",
}


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_mechanisms", "_custom"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))


def nearest(call: Call) -> tuple[np.ndarray, np.ndarray]:
    """All weight on the key that is nearest by the L1 distance, times a gain."""
    distance = np.abs(call.query[:, None] - call.key[None]).sum(-1)
    weights = np.eye(call.n_keys)[distance.argmin(1)] * call.params["gain"]
    if "mix" in call.weights:
        weights = weights @ call.weights["mix"]
    return weights @ call.value, weights


def register(**changed: Any) -> Mechanism:
    gain = Parameter(name="gain", default=1.0, meaning="factor", positive=True)
    mix = Weight(name="mix", shape=("n_keys", "n_keys"), init="identity", meaning="of the keys")
    mechanism = Mechanism(name="nearest", parameters=(gain,), weights=(mix,), **WORDS | changed)
    registry.register(mechanism, nearest)
    return mechanism


def test_it_is_a_mechanism_like_any_other() -> None:
    register()
    came = attend(ROWS[2:4], ROWS, mechanism="nearest", params={"gain": 2}, return_weights=True)
    np.testing.assert_array_equal(came.output, 2 * ROWS[2:4])
    assert came.weights is not None
    assert came.weights.shape == (2, 9)
    assert (came.backend, came.output.dtype) == ("python", np.float32)
    assert rank(ROWS[5], ROWS, mechanism="nearest", k=1).order.tolist() == [5]
    shifted = {"mix": np.roll(np.eye(9, dtype=np.float32), 1, axis=1)}
    assert score(ROWS[5], ROWS, mechanism="nearest", weights=shifted).argmax() == 6
    attn = AttentionService(default_mechanism="nearest", fallback_mechanism=None)
    np.testing.assert_array_equal(attn.forward(ROWS[:1], ROWS).output, ROWS[:1])
    assert "nearest" in registry.list()
    assert [m.name for m in registry.by_category("own")] == ["nearest"]


def test_its_inputs_are_checked_like_any_other_s() -> None:
    register(needs=("positions",))
    with pytest.raises(InvalidInput, match="nearest needs positions"):
        attend(ROWS, ROWS, mechanism="nearest")
    with pytest.raises(InvalidInput, match="nearest: gain must be a finite number above 0"):
        attend(ROWS, ROWS, mechanism="nearest", positions=np.arange(9), params={"gain": 0.0})
    with pytest.raises(InvalidVector, match="key: expected finite"):
        attend(ROWS, np.full((9, 4), np.nan, np.float32), mechanism="nearest", positions=np.arange(9))
    with pytest.raises(BackendUnavailable, match="backend='native': nearest is a Python function"):
        attend(ROWS, ROWS, mechanism="nearest", positions=np.arange(9), backend="native")


@pytest.mark.parametrize(
    ("returned", "error", "words"),
    [
        (ROWS[:2], InvalidInput, r"own: expected the output as floats of shape \(9, 4\), came float32 of \(2, 4\)"),
        (None, InvalidInput, "own: expected the output as floats"),
        (np.full((9, 4), np.inf), InvalidVector, "the output of own: expected finite numbers"),
        ((ROWS, ROWS), InvalidInput, r"own: expected the weights as floats of shape \(9, 9\) or \(1, 9, 9\)"),
        (ROWS, InvalidInput, r"own returned no weights; have it return \(output, weights\)"),
    ],
)
def test_what_it_returns_is_checked(returned: object, error: type[Exception], words: str) -> None:
    registry.register(Mechanism(name="own", **WORDS), lambda call: returned)
    with pytest.raises(error, match=words):
        attend(ROWS, ROWS, mechanism="own", return_weights=True)


def test_form_and_function_come_together() -> None:
    with pytest.raises(InvalidInput, match=r"form .custom. and run= .* come together"):
        registry.register(Mechanism(name="own", **WORDS))
    with pytest.raises(InvalidInput, match=r"form .custom. and run= .* come together"):
        registry.register(Mechanism(name="own", **WORDS | {"form": "softmax"}), nearest)
    assert "own" not in registry.list()
