"""FlashAttention and its runner: what is reported is what was measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from oracle import assert_within_budget, softmax

from agentmem.attention import flash
from agentmem.attention.direct import scratch_bytes
from agentmem.attention.engine import native
from agentmem.attention.flash import Comparison, FlashAttention, Suite, textbook
from agentmem.errors import InvalidInput, MissingExtra


def rows(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def case(flash_us: float, naive_us: float, flash_scratch: int = 10, naive_scratch: int = 100) -> Comparison:
    return Comparison(
        dim=8,
        n_keys=100,
        n_queries=1,
        iterations=3,
        backend="native",
        flash_us=flash_us,
        naive_us=naive_us,
        flash_ops=1e6 / flash_us,
        naive_ops=1e6 / naive_us,
        flash_scratch=flash_scratch,
        naive_scratch=naive_scratch,
    )


@pytest.mark.parametrize("block_size", [0, 3, 64])
def test_it_attends(block_size: int) -> None:
    query, keys, values = rows(1, 3, 24), rows(2, 97, 24), rows(3, 97, 10)
    result = FlashAttention(24, block_size).optimize(query, keys, values)
    assert_within_budget(result.output, softmax, query, keys, values)
    assert result.seconds > 0
    assert result.backend == ("numpy" if native() is None else "native")
    one = FlashAttention(24).optimize(query[0], keys)
    assert one.output.shape == (24,)


def test_the_baseline_is_attention() -> None:
    query, keys = rows(4, 5, 16), rows(5, 50, 16)
    assert_within_budget(textbook(query, keys), softmax, query, keys, keys)


def test_a_comparison_measures_both() -> None:
    runner = FlashAttention(32)
    came = runner.compare(200, n_queries=8, iterations=3)
    assert (came.dim, came.n_keys, came.n_queries, came.iterations) == (32, 200, 8, 3)
    assert came.flash_us > 0
    assert came.naive_us > 0
    assert came.flash_ops == 1e6 / came.flash_us
    assert came.speedup == came.naive_us / came.flash_us
    assert came.naive_scratch >= 8 * 200 * 4, "the baseline holds all scores"
    assert came.flash_scratch == scratch_bytes(8, 200, 32)
    assert runner.metrics()["comparisons"] == 1
    assert runner.metrics()["peak_speedup"] == came.speedup
    assert runner.validate_targets() == Suite((came,)).targets()


@pytest.mark.skipif(native() is None, reason="NumPy keeps every score")
def test_scratch_does_not_grow_with_the_sequence() -> None:
    assert scratch_bytes(4096, 4096, 512, heads=8) == scratch_bytes(32_768, 32_768, 512, heads=8) < 1 << 20
    profile = FlashAttention(16).memory_profile((500, 2000))
    assert list(profile) == [500, 2000]
    few, many = profile.values()
    assert many[1] > 3 * few[1], "the baseline's grows with the keys"
    assert many[0] <= few[0] * 1.1
    assert many[2] > few[2]


def test_targets_are_as_measured() -> None:
    least, most, saved = Suite((case(1, 2), case(1, 8))).targets()
    assert (least.measured, least.reached) == (2, False)
    assert (most.measured, most.reached) == (8, True)
    assert (saved.measured, saved.reached) == (0.9, True)
    assert not Suite((case(1, 9, 60),)).targets()[2].reached
    with pytest.raises(InvalidInput, match="nothing was compared"):
        FlashAttention(8).validate_targets()


def test_reports(tmp_path: Path) -> None:
    ran = flash.suite((8, 16), (20, 50), queries=(1, 6), iterations=2)
    assert [(c.dim, c.n_keys, c.n_queries) for c in ran.cases][:3] == [(8, 20, 1), (8, 20, 6), (8, 50, 1)]
    kept = json.loads(json.dumps(ran.to_dict()))
    assert len(kept["cases"]) == 8
    assert kept["cases"][0]["speedup"] == ran.cases[0].speedup
    assert {target["goal"] for target in kept["targets"]} == {2.49, 7.47, 0.5}
    table = Suite((case(2, 8),)).to_markdown()
    assert "| 8 | 100 | 1 | 2.0 | 8.0 | 4.00× | 500,000 |" in table
    assert "| greatest speed-up over the baseline | 7.47 | 4.00 | no |" in table


def test_a_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason='matplotlib is not installed: pip install "agentmem[plot]"')
    Suite((case(1, 3), case(1, 4))).plot(tmp_path / "speed.png")
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"agentmem\[plot\]"):
        Suite((case(1, 3),)).plot(tmp_path / "speed.png")


def test_short_forms() -> None:
    assert flash.quick_benchmark(16).n_keys == 1000
    assert len(flash.quick_validation()) == 3


def test_impossible_numbers() -> None:
    for arguments in ((0,), (8, -1)):
        with pytest.raises(InvalidInput, match="at least"):
            FlashAttention(*arguments)
    with pytest.raises(InvalidInput, match="rows of 8 numbers"):
        FlashAttention(8).optimize(rows(0, 9), rows(0, 3, 9))
    for name in ("n_keys", "n_queries", "iterations"):
        with pytest.raises(InvalidInput, match=f"{name}: expected at least 1"):
            FlashAttention(8).compare(**{name: 0})
    with pytest.raises(InvalidInput, match="no case"):
        flash.suite(())
