"""Import and export: lines of JSON, there and back, also when something goes wrong half-way."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from agentmem.store import MemoryStore


def write(path, lines):
    """Write lines of JSON."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_there_and_back(agentmem, tmp_path):
    lines = [
        {"id": "a", "text": "Tea is hot", "namespace": "n/1", "metadata": {"x": [1, {"y": None}]}, "thread": "t",
         "position": 1.5, "session": "2", "speaker": "Ada", "importance": 0.9, "created_at": 1e9,
         "expires_at": time.time() + 1000, "links": [["to", "b"]]},
        {"id": "b", "text": "Ice is cold, Grüße", "links": [["back", "a"]]},
    ]  # fmt: skip
    done = agentmem("import", write(tmp_path / "in.jsonl", lines), "--json")
    assert done.counts == {"lines": 2, "written": 2, "skipped": 0, "expired": 0}
    assert agentmem("export", "out.jsonl").out == "2 written to out.jsonl\n"
    assert agentmem("import", "out.jsonl", "--db", "copy.db").code == 0
    for db in ("memory.db", "copy.db"):
        exported = {line["id"]: line for line in map(json.loads, agentmem("export", "--db", db).out.splitlines())}
        first, second = exported["a"], exported["b"]
        assert abs(first.pop("expires_at") - lines[0]["expires_at"]) < 5
        assert first.pop("updated_at") > 1e9
        assert first == {key: value for key, value in lines[0].items() if key != "expires_at"}
        assert (second["text"], second["links"]) == (lines[1]["text"], lines[1]["links"])


def test_lines_without_ids_are_not_added_twice(agentmem, tmp_path):
    path = write(tmp_path / "in.jsonl", [{"text": "same"}, {"text": "same"}, {"text": "other"}])
    assert agentmem("import", path, "--json").json["written"] == 3
    assert agentmem("import", path, "--json").counts == {"lines": 3, "written": 0, "skipped": 3, "expired": 0}
    with path.open("a") as file:
        file.write('{"text": "appended"}\n')
    assert agentmem("import", path, "--json").json["written"] == 1
    copy = write(tmp_path / "copy.jsonl", [{"text": "same"}])
    assert agentmem("import", copy, "--json").json["written"] == 1


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("{", ["not JSON"]),
        ("[1]", ["not a JSON object"]),
        ('{"text": "x", "colour": 1}', ["colour", "speaker"]),
        ('{"id": 7, "text": "x"}', ["id must be a string"]),
        ('{"metadata": {}}', ["text is empty"]),
        ('{"text": "x", "importance": 3}', ["importance"]),
        ('{"text": "x", "links": "a"}', ["links"]),
        ('{"text": "x", "links": [["to", "nobody"]]}', ["nobody"]),
        ('{"text": "x", "expires_at": "soon"}', ["expires_at"]),
        ('{"text": "x", "embedding": [1, 2]}', ["dimension"]),
        ('{"text": "\\ud800"}', ["surrogate"]),
        ('{"text": "x", "id": "\\ud800"}', ["surrogate"]),
        ('{"text": "x", "id": ""}', ["id is empty"]),
        ('{"text": "x", "expires_at": 1' + "0" * 400 + "}", ["expires_at", "too large"]),
        ("[" * 100_000, ["not JSON"]),
    ],
)
def test_a_bad_line_is_named_and_the_import_goes_on_once_mended(agentmem, tmp_path, bad, words):
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "one"}\n\n{"text": "two"}\n' + bad + '\n{"text": "four"}\n')
    done = agentmem("import", path)
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert all(word in done.err for word in ["in.jsonl, line 4", *words])
    path.write_text('{"text": "one"}\n\n{"text": "two"}\n{"text": "three"}\n{"text": "four"}\n')
    assert agentmem("import", path).code == 0
    texts = sorted(json.loads(line)["text"] for line in agentmem("export").out.splitlines())
    assert [text for text in texts if text != "x"] == ["four", "one", "three", "two"]


def test_conflicts(agentmem, tmp_path):
    agentmem("import", write(tmp_path / "in.jsonl", [{"id": "a", "text": "old"}]))
    path = write(tmp_path / "new.jsonl", [{"id": "a", "text": "new"}, {"id": "b", "text": "b"}])
    assert agentmem("import", path, "--on-conflict", "error").code == 1
    assert agentmem("get", "b").code == 3
    assert agentmem("import", path, "--json").counts == {"lines": 2, "written": 1, "skipped": 1, "expired": 0}
    assert agentmem("get", "a", "--json").json["text"] == "old"
    assert agentmem("import", path, "--on-conflict", "replace", "--json").json["written"] == 2
    assert agentmem("get", "a", "--json").json["text"] == "new"


def test_vectors_there_and_back(agentmem, tmp_path):
    lines = [{"id": "n", "embedding": [0, 1, 0]}, {"id": "e", "text": "east", "embedding": [1, 0, 0]}]
    assert agentmem("import", write(tmp_path / "in.jsonl", lines)).code == 0
    assert agentmem("info", "--json").json["dimension"] == 3
    head, *exported = [json.loads(line) for line in agentmem("export", "--embeddings").out.splitlines()]
    assert head == {"store": {"embedder": "given", "dimension": 3, "metric": "cosine"}}
    assert {line["id"]: line["embedding"] for line in exported} == {"n": [0, 1, 0], "e": [1, 0, 0]}


def test_what_has_expired_stays_out(agentmem, tmp_path):
    path = write(tmp_path / "in.jsonl", [{"text": "gone", "expires_at": 5}, {"text": "here"}])
    assert agentmem("import", path, "--json").counts == {"lines": 2, "written": 1, "skipped": 0, "expired": 1}


def test_standard_input_and_an_empty_file(agentmem, tmp_path):
    assert agentmem("import", "-", "--json", stdin='{"text": "piped"}\n').json["written"] == 1
    (tmp_path / "empty.jsonl").touch()
    assert agentmem("import", "empty.jsonl", "--json").json["lines"] == 0


def test_export_takes_a_part(agentmem, tmp_path):
    write(tmp_path / "in.jsonl", [{"id": str(n), "text": "x", "namespace": f"n/{n % 2}", "metadata": {"n": n}}
                                  for n in range(10)])  # fmt: skip
    agentmem("import", "in.jsonl")
    done = agentmem("export", "-n", "n/1", "-f", '{"n": {"$gt": 4}}')
    assert {json.loads(line)["id"] for line in done.out.splitlines()} == {"5", "7", "9"}


def test_a_killed_import_goes_on(agentmem, tmp_path):
    count = 6000
    path = write(tmp_path / "in.jsonl", [{"text": f"memory number {n} of many"} for n in range(count)])
    command = [sys.executable, "-m", "agentmem.cli", "import", str(path), "--json"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    stored = 0
    while not stored and time.monotonic() < deadline:
        time.sleep(0.02)
        if (tmp_path / "memory.db").exists() and agentmem("info").code == 0:
            stored = agentmem("info", "--json").json["records"]
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    before = agentmem("info", "--json").json["records"]
    assert before >= stored > 0
    report = agentmem("import", path, "--json").counts
    assert report == {"lines": count, "written": count - before, "skipped": before, "expired": 0}
    with MemoryStore(tmp_path / "memory.db", merge="manual") as store:
        assert store.count() == count
        assert store.check().ok
