"""The fuzzed targets hold on their corpus and on seeded mutations of it; longer runs are ``tests/fuzz/run.py``'s."""

from __future__ import annotations

from pathlib import Path

import pytest
import run

ROUNDS = {"filters": 12_000, "jsontext": 60_000, "lines": 1_500, "segments": 20_000, "weights": 20_000}


def test_every_target_has_a_corpus_and_a_number_of_rounds() -> None:
    assert set(run.TARGETS) == set(ROUNDS) == {path.name for path in (run.HERE / "corpus").iterdir()}
    assert all(len(run.corpus(name)) >= 5 for name in run.TARGETS)


@pytest.mark.parametrize("name", run.TARGETS)
def test_a_target_holds(name: str, tmp_path: Path) -> None:
    assert run.plain(name, seconds=500, rounds=ROUNDS[name], folder=tmp_path) == ROUNDS[name]
    assert not list(tmp_path.iterdir())


def test_mutations_follow_from_the_seed_and_differ() -> None:
    first, again, other = (
        [data for data, _ in zip(run.inputs("filters", seed), range(200), strict=False)] for seed in (1, 1, 2)
    )
    assert first == again != other
    assert len(set(first)) > 150


def test_an_input_that_breaks_a_target_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(data: bytes) -> None:
        assert b'"$in"' not in data

    monkeypatch.setattr(run, "load", lambda name: breaks)
    with pytest.raises(AssertionError):
        run.plain("filters", seconds=60, folder=tmp_path)
    (kept,) = tmp_path.iterdir()
    assert b'"$in"' in kept.read_bytes()


def test_a_wild_segment_and_a_wild_line_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from targets import lines, segments

    monkeypatch.setattr(segments.Segment, "open", lambda data: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        segments.run(b"")
    monkeypatch.setattr(lines, "import_source", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        lines.run(b"")
