"""Feedback: kept once it is committed, of records that are there, and gone with them."""

import sqlite3

import numpy as np
import pytest
from care_kit import fill, vector

import agentmem


@pytest.fixture
def filled(store):
    """A store of five records."""
    fill(store, 5)
    return store


def test_it_is_kept_and_read_in_order(filled):
    filled.feedback("first", accepted=["id-1"])
    hits = filled.search("number", embedding=vector(2), k=3)
    filled.feedback("second", embedding=vector(9), accepted=hits[:1], rejected=["id-4", "id-4"], shown=hits)
    first, second = filled.feedback_log()
    assert (first.query, first.vector, first.shown, first.accepted, first.rejected) == (
        "first",
        None,
        (),
        ("id-1",),
        (),
    )
    assert second.shown == tuple(hit.id for hit in hits)
    assert (second.accepted, second.rejected) == ((hits[0].id,), ("id-4",))
    np.testing.assert_array_equal(second.vector, vector(9))
    assert first.at <= second.at
    assert [each.query for each in filled.feedback_log(limit=1)] == ["second"]
    assert isinstance(first, agentmem.Feedback)


def test_it_is_committed_when_the_call_returns(filled):
    filled.feedback(embedding=vector(1), rejected=["id-1"])
    with agentmem.MemoryStore(filled.path, embedder=None, dimension=8, read_only=True) as other:
        assert [each.rejected for each in other.feedback_log()] == [("id-1",)]
        with pytest.raises(agentmem.StoreReadOnly):
            other.feedback("x", accepted=["id-1"])


def test_it_belongs_to_a_transaction(filled):
    def fails():
        with filled.transaction():
            filled.feedback("undone", accepted=["id-1"])
            assert len(filled.feedback_log()) == 1
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert filled.feedback_log() == []
    with filled.transaction():
        filled.add("new", id="new", embedding=vector(7))
        filled.feedback("kept", accepted=["new"])
    assert [each.accepted for each in filled.feedback_log()] == [("new",)]


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"query": "x", "accepted": ["ghost", "id-1", "spook"]}, agentmem.NotFound, "'ghost', 'spook'"),
        ({"query": "x", "accepted": ["id-1"], "shown": ["ghost"]}, agentmem.NotFound, "'ghost'"),
        ({"query": "x", "accepted": ["id-1", "id-2"], "rejected": ["id-2"]}, agentmem.InvalidInput, "'id-2'"),
        ({"query": "x"}, agentmem.InvalidInput, "judges nothing"),
        ({"query": "x", "shown": ["id-1"]}, agentmem.InvalidInput, "judges nothing"),
        ({"accepted": ["id-1"]}, agentmem.InvalidInput, "needs the query"),
        ({"query": " ", "accepted": ["id-1"]}, agentmem.InvalidInput, "empty"),
        ({"query": "x", "accepted": "id-1"}, agentmem.InvalidInput, "accepted must be a list"),
        ({"query": "x", "accepted": [3]}, agentmem.InvalidInput, "string"),
        ({"embedding": [1, 2], "accepted": ["id-1"]}, agentmem.InvalidVector, "dimension 8"),
    ],
)
def test_what_is_refused_leaves_nothing(filled, arguments, error, match):
    with pytest.raises(error, match=match):
        filled.feedback(**arguments)
    assert filled.feedback_log() == []
    with pytest.raises(agentmem.InvalidInput, match="limit"):
        filled.feedback_log(limit=-1)


def test_deleting_records_takes_them_out(filled):
    odd = 'quotes " \0 and é'
    filled.add("odd", id=odd, embedding=vector(6))
    filled.feedback("both", accepted=["id-1"], rejected=[odd], shown=["id-2", odd, "id-1"])
    filled.feedback("one", accepted=["id-2"], shown=["id-2", "id-1"])
    filled.delete(odd)
    both, one = filled.feedback_log()
    assert (both.accepted, both.rejected, both.shown) == (("id-1",), (), ("id-2", "id-1"))
    assert one.accepted == ("id-2",)
    filled.update("id-1", importance=0.9)
    assert filled.feedback_log()[0].accepted == ("id-1",)
    filled.delete_where({"n": 2})
    assert [(each.query, each.shown) for each in filled.feedback_log()] == [("both", ("id-1",))]
    filled.delete("id-1")
    assert filled.feedback_log() == []


def test_the_command(filled, command):
    filled.close()
    done = command("feedback", "what day?", "-a", "id-1", "-r", "id-2", "-s", "id-2", "-s", "id-1", "--json")
    assert (done.code, done.json) == (0, {"accepted": 1, "rejected": 1, "used": 0})
    assert command("feedback", "what day?", "--rejected", "id-2").out == "0 accepted, 1 rejected, 0 used\n"
    raw = sqlite3.connect("memory.db")
    assert raw.execute("SELECT query, shown, accepted, rejected FROM feedback ORDER BY id").fetchall() == [
        ("what day?", '["id-2","id-1"]', '["id-1"]', '["id-2"]'),
        ("what day?", "[]", "[]", '["id-2"]'),
    ]
    raw.close()
    unknown = command("feedback", "what day?", "-a", "ghost")
    assert (unknown.code, unknown.err.count("\n")) == (3, 1)
    assert "ghost" in unknown.err
    assert command("feedback", "what day?").code == 2
