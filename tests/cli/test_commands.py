"""The verbs of the command line."""

import json

import pytest


@pytest.fixture
def filled(agentmem):
    """The command, on a store of three memories."""
    agentmem("add", "The spare key is under the flower pot", "--id", "key", "-n", "users/1", "-m", '{"topic": "home"}')
    agentmem("add", "Ines is allergic to peanuts", "--id", "nuts", "-n", "users/1", "--speaker", "Ada")
    agentmem("add", "The boat deposit is twenty pounds", "--id", "boat", "-n", "users/2")
    return agentmem


def test_add_prints_the_id_and_get_gives_everything_back(agentmem):
    done = agentmem("add", "Scones at nine", "--id", "s", "--thread", "t", "--position", "2", "--session", "1",
                    "--speaker", "Ada", "--importance", "0.9", "--created-at", "2025-01-12T19:04:00",
                    "--ttl", "100", "--metadata", '{"a": [1]}', "--namespace", "x/y")  # fmt: skip
    assert (done.code, done.out) == (0, "s\n")
    record = agentmem("get", "s", "--json").json
    assert record["text"] == "Scones at nine"
    assert (record["thread"], record["position"], record["session"], record["speaker"]) == ("t", 2.0, "1", "Ada")
    assert (record["importance"], record["created_at"], record["metadata"]) == (0.9, 1736708640.0, {"a": [1]})
    assert record["namespace"] == "x/y"
    assert record["expires_at"] > record["updated_at"]
    shown = agentmem("get", "s").out
    assert "2025-01-12 19:04" in shown
    assert '{"a": [1]}' in shown


def test_ids_are_generated_and_links_kept(agentmem):
    first = agentmem("add", "one", "--json").json["id"]
    second = agentmem("add", "two", "--link", "after", first).out.strip()
    assert agentmem("get", second, "--json").json["links"] == [["after", first]]


def test_search_finds_and_explains(filled):
    done = filled("search", "who must not eat peanuts?", "-k", "2", "--explain", "--json")
    hits = done.json
    assert done.code == 0
    assert hits[0]["id"] == "nuts"
    assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))
    assert sum(hits[0]["explanation"]["heads"].values()) == pytest.approx(hits[0]["score"], abs=1e-4)
    table = filled("search", "who must not eat peanuts?", "--explain").out
    assert "Ines is allergic to peanuts" in table
    assert "dense" in table


def test_search_obeys_namespace_filter_and_k(filled):
    def ids(*options):
        return {hit["id"] for hit in filled("search", "peanuts key boat", "--json", *options).json}

    assert ids() == {"key", "nuts", "boat"}
    assert ids("-n", "users/2") == {"boat"}
    assert ids("-n", "users/") == {"key", "nuts", "boat"}
    assert ids("--filter", '{"topic": "home"}') == {"key"}
    assert len(ids("-k", "1")) == 1
    assert len(ids("--offset", "2")) == 1


def test_no_hits_is_an_answer(filled):
    done = filled("search", "anything", "--namespace", "nowhere")
    assert (done.code, done.out) == (0, "no hits\n")
    assert filled("search", "anything", "--namespace", "nowhere", "--json").json == []


def test_delete_by_id_by_filter_and_expired(filled):
    assert filled("delete", "key").out == "1 deleted\n"
    assert filled("get", "key").code == 3
    assert filled("delete", "--namespace", "users/1", "--json").json == {"deleted": 1}
    filled("add", "soon gone", "--ttl", "0.000001")
    assert filled("delete", "--expired").out == "1 deleted\n"
    done = filled("delete", "boat", "nobody")
    assert (done.code, done.out) == (3, "1 deleted\n")
    assert "1 of the ids" in done.err


def test_info_stats_check_and_optimize(filled):
    assert filled("info", "--json").json["records"] == 3
    assert filled("stats", "--json").json["namespaces"] == {"users/1": 2, "users/2": 1}
    assert filled("optimize", "--json").json["rows"] == 3
    report = filled("check", "--json").json
    assert (report["ok"], report["records"], report["problems"]) == (True, 3, [])
    for verb in ("info", "stats", "optimize"):
        assert filled(verb).code == 0
    assert filled("check").out.startswith("ok: 3 memories")


def test_db_is_an_option_or_in_the_environment(agentmem, tmp_path, monkeypatch):
    other = tmp_path / "other.db"
    agentmem("add", "elsewhere", "--id", "e", "--db", other)
    assert not (tmp_path / "memory.db").exists()
    monkeypatch.setenv("AGENTMEM_DB", str(other))
    assert agentmem("get", "e", "--json").json["text"] == "elsewhere"


def test_text_cannot_play_with_the_terminal(agentmem):
    agentmem("add", "red \x1b[31malert\x07 [bold]loud[/bold] peanuts", "--id", "x")
    for output in (agentmem("search", "peanuts").out, agentmem("get", "x").out):
        assert "\x1b" not in output
        assert "\x07" not in output
        assert "[bold]loud[/bold]" in output


def test_json_is_json_whatever_the_text(agentmem):
    agentmem("add", 'quotes " and\nlines, Grüße', "--id", "x")
    raw = agentmem("get", "x", "--json").out
    assert json.loads(raw)["text"] == 'quotes " and\nlines, Grüße'
    assert "Grüße" in raw


@pytest.mark.parametrize("when", [1e300, -1e300, 253_402_300_800, -62_135_596_801])
def test_times_beyond_the_calendar_are_shown_in_seconds(agentmem, tmp_path, when):
    (tmp_path / "in.jsonl").write_text(json.dumps({"id": "x", "text": "x", "created_at": when}))
    agentmem("import", "in.jsonl")
    assert f"{when:g} s" in agentmem("get", "x").out
    assert f"{when:g} s" in agentmem("search", "x").out


def test_calibrate_measures_and_keeps(agentmem, tmp_path):
    lines = [json.dumps({"id": f"n{row}", "text": f"note {row} about topic {row % 7}"}) for row in range(80)]
    file = tmp_path / "notes.jsonl"
    file.write_text("\n".join(lines))
    agentmem("import", str(file))
    measured = agentmem("calibrate", "--json").json
    assert -1 < measured["mean"] < 1
    assert measured["std"] > 0


def test_calibrate_of_a_few_memories_says_what_is_missing(filled):
    done = filled("calibrate")
    assert done.code == 2
    assert "64 or more records" in done.err
