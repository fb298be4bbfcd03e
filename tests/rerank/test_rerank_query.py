"""What a query's words tell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem.rerank.query import LONG_QUERY_WORDS, analyze_query_complexity, detect_task_type


def test_the_profile_of_a_question():
    profile = analyze_query_complexity("When did Caroline join the LGBTQ support group last May?")
    assert profile.n_words == 10
    assert profile.entities == ("Caroline", "LGBTQ", "May")
    assert profile.has_time
    assert profile.question == "when"


def test_rare_terms_look_like_identifiers():
    profile = analyze_query_complexity("why does parse_times fail on v2beta in fooBar at node1.example")
    assert profile.rare_terms == ("parse_times", "v2beta", "fooBar", "node1.example")
    assert profile.question == "why"


@pytest.mark.parametrize(
    ("text", "form"),
    [("whose cat is it", "who"), ("Did she call?", "yes-no"), ("blue bicycle", "none"), ("isolated words", "none")],
)
def test_question_forms(text, form):
    assert analyze_query_complexity(text).question == form


def test_the_first_word_of_a_sentence_is_no_entity():
    assert analyze_query_complexity("He left. Paris was cold, I think").entities == ()


def test_complexity_grows_with_the_query():
    texts = [
        "",
        "bicycle",
        "where is the blue bicycle",
        "why did Anna and Bob and Cleo meet Dora on Monday 3rd about x_1 y_2 z_3",
    ]
    values = [analyze_query_complexity(text).complexity for text in texts]
    assert values == sorted(values)
    assert values[0] == 0
    assert values[-1] > 0.6


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("python function to sort a list", "code-analysis"),
        ("what does foo() return", "code-analysis"),
        ("assign tasks to the agents and reach consensus", "swarm-coordination"),
        ("do you remember what I said about the trip", "memory-retrieval"),
        ("When did Caroline move?", "memory-retrieval"),
        ("boundary layer on a flat plate", "default"),
        ("word " * (LONG_QUERY_WORDS + 5), "long-context"),
        ("", "default"),
    ],
)
def test_task_types(text, task):
    assert detect_task_type(text) == task


@given(st.text(max_size=300))
def test_any_text_has_a_profile_and_a_task(text):
    profile = analyze_query_complexity(text)
    assert 0 <= profile.complexity <= 1
    assert detect_task_type(text)
