"""Words and stems."""

from __future__ import annotations

import threading
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem.storage import terms as terms_module
from agentmem.storage.terms import Analyzer

ANALYZER = Analyzer()


def ids(*stems: str) -> list[int]:
    return [zlib.crc32(stem.encode()) for stem in stems]


@pytest.mark.parametrize(
    ("text", "words", "stems"),
    [
        ("Running runners RAN easily", ["running", "runners", "ran", "easily"], ["run", "runner", "ran", "easili"]),
        ("the the", ["the", "the"], ["the", "the"]),
        ("don't x_y 3.14", ["don", "t", "x", "y", "3", "14"], ["don", "t", "x", "y", "3", "14"]),
        ("Café NAÏVE Straße", ["cafe", "naive", "strasse"], ["cafe", "naiv", "strass"]),
        ("Ελληνικά Ёлка", ["ελληνικα", "елка"], ["ελληνικα", "елка"]),
        ("がく 한국어", ["がく", "한국어"], ["がく", "한국어"]),
        ("", [], []),
        ("--- \0 😀 ...", [], []),
        ("nul\0inside", ["nul", "inside"], ["nul", "insid"]),
    ],
)
def test_worked_cases(text, words, stems):
    found, term_ids = ANALYZER.terms(text)
    assert found == words
    assert term_ids.tolist() == ids(*stems)
    assert term_ids.dtype == np.uint32
    assert np.frombuffer(ANALYZER.encode(text), np.uint32).tolist() == term_ids.tolist()


@given(st.text())
def test_any_text_is_cut_into_words(text):
    words, term_ids = ANALYZER.terms(text)
    assert len(words) == len(term_ids)
    assert all(word.isalnum() for word in words)
    assert Analyzer().encode(text) == term_ids.tobytes()


@pytest.mark.parametrize(
    ("word", "stem"),
    [
        ("caresses", "caress"), ("ponies", "poni"), ("plastered", "plaster"), ("motoring", "motor"),
        ("hopping", "hop"), ("failing", "fail"), ("happy", "happi"), ("relational", "relat"), ("digitizer", "digit"),
        ("hopefulness", "hope"), ("electrical", "electr"), ("adjustment", "adjust"), ("rate", "rate"),
        ("controlling", "control"), ("as", "as"), ("is", "is"), ("4s", "4s"),
    ],
)  # fmt: skip
def test_stems_are_those_of_porters_paper(word, stem):
    assert ANALYZER.terms(word)[1].tolist() == ids(stem)


def test_long_words_are_kept_whole_and_not_cached():
    analyzer = Analyzer()
    long = "running" * 100_000
    words, term_ids = analyzer.terms(f"{long} running")
    assert term_ids.tolist() == ids(long, "run")
    assert words[0] == long
    assert list(analyzer._ids) == ["running"]


def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(terms_module, "_REMEMBERED", 10)
    analyzer = Analyzer()
    for turn in range(10):
        text = " ".join(f"word{turn}x{i}" for i in range(4))
        assert len(analyzer.terms(text)[1]) == 4
        assert len(analyzer._ids) <= 15
    assert analyzer.terms("running")[1].tolist() == ids("run")


def test_threads_share_an_analyzer():
    analyzer = Analyzer()
    found: list[list[int]] = []

    def work() -> None:
        for turn in range(30):
            found.append(analyzer.terms(f"running word{turn} happily")[1].tolist())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 120
    assert {(each[0], each[2]) for each in found} == {tuple(ids("run", "happili"))}


@given(st.text(st.characters(max_codepoint=0x7F), max_size=80))
def test_ascii_is_cut_as_any_other_text_is(text):
    words, _ = ANALYZER.terms(text)
    assert words == ANALYZER.terms(f"{text} é")[0][:-1]
