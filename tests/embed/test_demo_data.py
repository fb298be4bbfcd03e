"""The bundled demo conversation and its questions hang together."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import agentmem
from agentmem.embed import StaticEmbedder

DATA = Path(agentmem.__file__).parent / "cli" / "data"
KEYS = {"id", "role", "speaker", "content", "session", "thread", "created_at"}


@pytest.fixture(scope="module")
def turns() -> list[dict[str, Any]]:
    lines = (DATA / "demo_conversation.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def questions() -> list[dict[str, Any]]:
    return json.loads((DATA / "demo_questions.json").read_text(encoding="utf-8"))


def test_turns_are_whole_and_unique(turns: list[dict[str, Any]]) -> None:
    assert len(turns) >= 300
    assert all(set(turn) == KEYS for turn in turns)
    assert len({turn["id"] for turn in turns}) == len(turns)
    assert all(turn["content"].strip() == turn["content"] != "" for turn in turns)
    contents = [turn["content"] for turn in turns]
    assert len(set(contents)) == len(contents), "nobody says the same thing twice"


def test_speakers_sessions_and_roles(turns: list[dict[str, Any]]) -> None:
    assert {(turn["speaker"], turn["role"]) for turn in turns} == {
        ("Nadia", "user"),
        ("Owen", "user"),
        ("Wren", "assistant"),
    }
    assert [turn["session"] for turn in turns] == sorted(turn["session"] for turn in turns)
    assert {turn["session"] for turn in turns} == set(range(1, 9))
    assert {turn["thread"] for turn in turns} == {"household"}


def test_times_ascend_over_several_months(turns: list[dict[str, Any]]) -> None:
    times = [datetime.fromisoformat(turn["created_at"]) for turn in turns]
    assert all(time.tzinfo is not None for time in times)
    assert all(earlier < later for earlier, later in pairwise(times))
    assert times[-1] - times[0] > timedelta(days=180)
    starts = {turn["session"]: time for turn, time in reversed(list(zip(turns, times, strict=True)))}
    assert all(time - starts[turn["session"]] < timedelta(hours=2) for turn, time in zip(turns, times, strict=True))


def test_questions_point_at_turns(turns: list[dict[str, Any]], questions: list[dict[str, Any]]) -> None:
    ids = {turn["id"] for turn in turns}
    assert len(questions) == 12
    for question in questions:
        assert set(question) == {"question", "answer", "kind", "relevant"}
        assert question["question"].endswith("?")
        assert question["answer"]
        assert question["relevant"]
        assert set(question["relevant"]) <= ids
    kinds = {question["kind"] for question in questions}
    assert kinds == {"single-hop", "multi-hop", "temporal", "changed fact", "cancelled plan", "paraphrase"}


def test_a_changed_fact_is_answered_by_its_latest_version(
    turns: list[dict[str, Any]], questions: list[dict[str, Any]]
) -> None:
    session = {turn["id"]: turn["session"] for turn in turns}
    changed = [question for question in questions if question["kind"] == "changed fact"]
    assert len(changed) >= 4
    assert all(session[turn] >= 6 for question in changed for turn in question["relevant"])


def test_the_bundled_model_knows_every_turn(turns: list[dict[str, Any]]) -> None:
    assert StaticEmbedder().embed([turn["content"] for turn in turns]).any(axis=1).all()
