"""A small run of stress_churn.py: duplicates and churn hide no record, and nothing grows without bound."""

import stress_churn

from agentmem import maintenance
from agentmem.index import planner


def test_churn_among_copies_hides_nothing_and_stays_within_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr(maintenance, "GRAPH_ROWS", 500)
    monkeypatch.setattr(planner, "SCAN_ROWS", 500)
    monkeypatch.setattr(stress_churn, "FIXED_BYTES", 12 << 20)
    rounds = stress_churn.run(tmp_path / "memory.db", copies=500, others=2000, rounds=6, seed=7)
    assert stress_churn.wrong(rounds) == []
    assert [each["records"] for each in rounds] == [2500] * 7
    assert all(each["disk"] > 500_000 for each in rounds)


def test_what_goes_wrong_is_told():
    good = {"records": 100, "not found exactly": [], "not found by the graph": [], "recall": 1.0, "problems": []}
    good |= {"disk": 5, "disk bound": 6, "memory": 1 << 30}
    assert stress_churn.wrong([good, good]) == []
    harms = {"not found exactly": ["a"], "not found by the graph": ["a"], "recall": 0.8, "problems": ["p"], "disk": 7}
    for name, value in harms.items():
        assert len(stress_churn.wrong([good, good, good | {name: value}])) == 1, name
    assert len(stress_churn.wrong([good, good, good | {"memory": 2 << 30}])) == 1
    assert len(stress_churn.wrong([good | {"memory": 0}, good])) == 0


def test_a_hidden_record_is_noticed(tmp_path):
    churn = stress_churn.Churn(tmp_path / "memory.db", copies=5, others=20, seed=7)
    assert churn.missing(exact=True) == []
    churn.store.delete("r3", "r4")
    assert sorted(churn.missing(exact=True)) == ["r3", "r4"]
    churn.store.close()
