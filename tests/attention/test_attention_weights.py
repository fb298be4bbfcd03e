"""Learned weights: initialised by a seed, checked against their declaration, kept as safetensors."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from agentmem.attention import AttentionWeights, attend
from agentmem.errors import InvalidInput, InvalidVector, MissingExtra, UnknownMechanism

ROWS = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)


def test_the_same_seed_gives_the_same_weights_of_the_declared_shapes() -> None:
    made = AttentionWeights.init("moe-attention", dim=8, value_dim=6, params={"experts": 3}, seed=4)
    again = AttentionWeights.init("moe-attention", dim=8, value_dim=6, params={"experts": 3}, seed=4)
    other = AttentionWeights.init("moe-attention", dim=8, value_dim=6, params={"experts": 3}, seed=5)
    assert made["router"].shape == (8, 3)
    assert made["output"].shape == (3, 6, 6)
    np.testing.assert_array_equal(made["query"], np.broadcast_to(np.eye(8), (3, 8, 8)))
    np.testing.assert_array_equal(made["router"], again["router"])
    assert not np.array_equal(made["router"], other["router"])
    assert all(array.dtype == np.float32 for array in made.values())
    assert repr(made).startswith("AttentionWeights('moe-attention': router (8, 3)")


def test_a_length_that_is_not_known_is_asked_for() -> None:
    with pytest.raises(InvalidInput, match="give n_keys="):
        AttentionWeights.init("linformer-attention", dim=8)
    assert AttentionWeights.init("linformer-attention", dim=8, n_keys=5)


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    made = AttentionWeights.init("moe-attention", dim=8, seed=1)
    made.save(tmp_path / "w.safetensors")
    read = AttentionWeights.load(tmp_path / "w.safetensors")
    assert (read.mechanism, set(read)) == ("moe-attention", set(made))
    outputs = [attend(ROWS, ROWS, mechanism="moe-attention", weights=each).output for each in (made, read)]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize(
    ("arrays", "metadata", "error", "words"),
    [
        ({"query": np.eye(2, dtype=np.float32)}, None, InvalidInput, "expected the mechanism's name"),
        ({"query": np.eye(2, dtype=np.float32)}, {"mechanism": "none"}, UnknownMechanism, "no mechanism 'none'"),
        ({"other": np.eye(2, dtype=np.float32)}, {"mechanism": "standard-mha"}, InvalidInput, "unknown 'other'"),
        ({"query": np.eye(2, dtype=np.float16)}, {"mechanism": "standard-mha"}, InvalidInput, "came float16"),
        (
            {"query": np.full((2, 2), np.nan, np.float32)},
            {"mechanism": "standard-mha"},
            InvalidVector,
            r"weights\['query'\]: expected finite",
        ),
    ],
)
def test_files_that_are_no_weights(
    tmp_path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str], error: type[Exception], words: str
) -> None:
    save_file(arrays, tmp_path / "w", metadata=metadata)
    with pytest.raises(error, match=words):
        AttentionWeights.load(tmp_path / "w")


def test_no_file_and_another_kind_of_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"cannot be read .*; check the path"):
        AttentionWeights.load(tmp_path / "absent")
    (tmp_path / "text").write_text("these are no weights at all")
    with pytest.raises(InvalidInput, match="not a safetensors file"):
        AttentionWeights.load(tmp_path / "text")


def test_weights_of_another_mechanism_and_of_another_shape() -> None:
    made = AttentionWeights.init("standard-mha", dim=8)
    with pytest.raises(InvalidInput, match="expected those of cross-attention, came those of standard-mha"):
        attend(ROWS, ROWS, mechanism="cross-attention", weights=made)
    with pytest.raises(InvalidInput, match=r"weights\['query'\]: expected shape \(dim=8, inner\), came \(6, 6\)"):
        attend(ROWS, ROWS, mechanism="standard-mha", weights={"query": np.eye(6, dtype=np.float32)})


def test_without_safetensors_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(MissingExtra, match=r'pip install "agentmem\[weights\]"'):
        AttentionWeights.from_bytes(b"")
