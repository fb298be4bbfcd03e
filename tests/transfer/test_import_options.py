"""What goes with which kind of source, and what is told where something is missing."""

import json
import subprocess
import sys

import pytest

from agentmem import MemoryStore
from agentmem.transfer import SOURCES, open_source, options_of


@pytest.mark.parametrize("kind", SOURCES)
def test_options_of_another_kind_are_refused(agentmem, tmp_path, kind):
    (tmp_path / "source").touch()
    for option in {"table", "id", "text", "vector", "texts", "namespace", "prefix"} - options_of(kind):
        done = agentmem("import", "source", "--from", kind, f"--{option}", "x")
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert f"--{option} does not go with --from {kind}" in done.err


@pytest.mark.parametrize(
    ("kind", "module", "extra"),
    [("parquet", "pyarrow.parquet", "parquet"), ("chroma", "chromadb", "chroma"), ("lancedb", "lancedb", "lancedb")],
)
def test_a_missing_library_is_named_with_its_command(tmp_path, kind, module, extra):
    (tmp_path / "chroma.sqlite3").touch()
    (tmp_path / "x.lance").mkdir()
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from agentmem.cli import main\n"
        f"main(['import', {str(tmp_path)!r}, '--from', {kind!r}, '--db', 'none.db'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert f'pip install "agentmem[{extra}]"' in done.stderr
    assert not (tmp_path / "none.db").exists()


def test_a_missing_library_leaves_the_file_as_it_is(agentmem, tmp_path):
    agentmem("add", "tea")
    (tmp_path / "x.parquet").write_text("mine")
    code = (
        "import sys; sys.modules['pyarrow.parquet'] = None\n"
        "from agentmem.cli import main\n"
        "main(['export', 'x.parquet', '--format', 'parquet'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert (tmp_path / "x.parquet").read_text() == "mine"


def test_no_framework_is_imported_before_it_is_needed():
    code = (
        "import sys, agentmem.transfer, agentmem.transfer.exporting, agentmem.transfer.importing\n"
        "assert not {'pyarrow', 'chromadb', 'lancedb', 'sqlite_vec', 'mem0'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_lines_are_embedded_anew_on_request(agentmem, tmp_path):
    line = {"id": "a", "text": "tea", "embedding": [1, 2]}
    (tmp_path / "in.jsonl").write_text(json.dumps(line) + "\n")
    agentmem("add", "here before")
    refused = agentmem("import", "in.jsonl")
    assert (refused.code, "--re-embed" in refused.err) == (1, True)
    assert agentmem("import", "in.jsonl", "--re-embed", "--json").json["written"] == 1
    with MemoryStore(tmp_path / "memory.db") as store:
        assert store.vector("a").shape == (256,)


def test_skips_are_listed_in_full_in_json_and_shortly_in_text(agentmem, tmp_path):
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"id": str(n), "text": "x"}) + "\n" for n in range(30)))
    agentmem("add", "other", "--id", "3")
    assert agentmem("import", "in.jsonl", "--json").json["skips"] == [
        {"where": "in.jsonl, line 4", "id": "3", "reason": "another record has its id"}
    ]
    shown = agentmem("import", "in.jsonl").out.splitlines()
    assert "  in.jsonl, line 1: there already" in shown
    assert shown[-1] == "  and 10 more; --json lists all"
    assert len(agentmem("import", "in.jsonl", "--json").json["skips"]) == 30


def test_the_same_id_twice_in_a_source(agentmem, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n')
    done = agentmem("import", "in.jsonl", "--json").json
    assert (done["written"], done["skips"][0]["reason"]) == (1, "its id came before in the same source")


def test_a_store_is_not_imported_into_itself(agentmem, tmp_path):
    agentmem("add", "tea")
    done = agentmem("import", "./memory.db")
    assert (done.code, "the store itself" in done.err) == (2, True)


def test_sources_can_be_opened_without_the_command(tmp_path):
    (tmp_path / "in.jsonl").write_text('{"id": "a", "text": "x"}\n')
    with open_source("jsonl", str(tmp_path / "in.jsonl")) as source:
        assert [(line.id, line.fields["text"]) for line in source.lines] == [("a", "x")]
