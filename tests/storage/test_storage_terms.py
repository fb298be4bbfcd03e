"""Words and stems."""

from __future__ import annotations

import sqlite3
import threading
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem.storage import terms as terms_module
from agentmem.storage.terms import Analyzer, fold

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


@given(st.lists(st.text(st.characters(categories=["Ll", "Lu", "Nd"], max_codepoint=0x17F), min_size=1, max_size=20)))
def test_stems_are_those_of_fts5(words):
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5(x, tokenize = 'porter unicode61')")
    connection.execute("CREATE VIRTUAL TABLE v USING fts5vocab(t, 'instance')")
    text = " ".join(words)
    connection.execute("INSERT INTO t VALUES (?)", (fold(text),))
    expected = [term for (term,) in connection.execute("SELECT term FROM v ORDER BY offset")]
    connection.close()
    assert ANALYZER.terms(text)[1].tolist() == ids(*expected)


@given(st.text())
def test_any_text_is_cut_into_words(text):
    words, term_ids = ANALYZER.terms(text)
    assert len(words) == len(term_ids)
    assert all(word.isalnum() for word in words)
    assert Analyzer().encode(text) == term_ids.tobytes()


def test_a_word_that_is_many_tokens_or_none_has_one_id():
    stemmer = terms_module._Stemmer()
    assert stemmer.stems(["one two", "...", "running", ""]) == ["on two", "...", "run", ""]
    stemmer._connection.close()


def test_long_words_are_kept_whole_and_not_cached():
    analyzer = Analyzer()
    long = "running" * 100_000
    words, term_ids = analyzer.terms(f"{long} running")
    assert term_ids.tolist() == ids(long, "run")
    assert words[0] == long
    assert list(analyzer._ids) == ["running"]


def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(terms_module, "_CACHED_WORDS", 10)
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
