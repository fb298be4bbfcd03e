"""An error is one line with the remedy and an exit code; a traceback comes only with --debug."""

import sqlite3
import subprocess
import sys

import pytest

from agentmem import errors
from agentmem.cli.app import BUSY, FAILED, MISSING, PROBLEMS, USAGE, failure


def one_line(done, code, *words):
    """Assert that a run failed with a code and one line that holds certain words."""
    assert done.code == code, done
    assert done.out == ""
    assert done.err.startswith("agentmem: ")
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err
    for word in words:
        assert word in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["search"], ["TEXT", "agentmem search --help"]),
        (["search", "x", "-k", "0"], ["-k"]),
        (["serch", "x"], ["serch", "agentmem --help"]),
        (["search", "x", "--nope"], ["--nope"]),
        (["add", "x", "-m", "{"], ["--metadata", "not JSON"]),
        (["add", "x", "-m", '{"a":' * 5_000], ["--metadata", "not JSON"]),
        (["add", "x", "-m", "[1]"], ["--metadata", "JSON object"]),
        (["delete"], ["--expired"]),
        (["delete", "a", "--expired"], ["--expired"]),
        (["import", "nowhere.jsonl"], ["nowhere.jsonl"]),
        (["demo", "--data", "nowhere"], ["nowhere"]),
    ],
)
def test_wrong_usage(agentmem, arguments, words):
    one_line(agentmem(*arguments), USAGE, *words)


@pytest.mark.parametrize("verb", [["search", "x"], ["get", "x"], ["delete", "x"], ["export"], ["info"], ["stats"],
                                  ["check"], ["optimize"]])  # fmt: skip
def test_a_store_that_is_not_there_is_not_made(agentmem, tmp_path, verb):
    one_line(agentmem(*verb), FAILED, "memory.db", "agentmem add")
    assert not list(tmp_path.iterdir())


def test_what_the_library_refuses_as_an_argument_is_wrong_usage(agentmem):
    agentmem("add", "x", "--id", "x")
    one_line(agentmem("search", "x", "--filter", '{"a": {"$near": 1}}'), USAGE, "$near", "$in")
    one_line(agentmem("search", "x", "--mechanism", "magic"), USAGE, "magic", "dense")
    one_line(agentmem("add", " "), USAGE, "text is empty")
    one_line(agentmem("add", "y", "--created-at", "noon"), USAGE, "ISO 8601")
    one_line(agentmem("add", "y", "--link", "to", "nobody"), USAGE, "nobody")


def test_an_unknown_id(agentmem):
    agentmem("add", "x", "--id", "x")
    one_line(agentmem("get", "nobody"), MISSING, "nobody")


def test_an_error_of_the_store(agentmem, tmp_path):
    agentmem("add", "x", "--id", "x")
    one_line(agentmem("add", "y", "--id", "x"), FAILED, "x")
    (tmp_path / "text.db").write_text("not a database, but long enough to look like one" * 30)
    one_line(agentmem("info", "--db", "text.db"), FAILED, "text.db")


def test_busy(agentmem, tmp_path, monkeypatch):
    agentmem("add", "x", "--id", "x")
    monkeypatch.setattr("agentmem.cli.common.TIMEOUT", 0.05)
    other = sqlite3.connect(tmp_path / "memory.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        one_line(agentmem("add", "y"), BUSY, "again")
    finally:
        other.close()


def test_problems_have_a_code(agentmem, monkeypatch):
    from agentmem.care import CheckReport
    from agentmem.store import MemoryStore

    agentmem("add", "x")
    monkeypatch.setattr(MemoryStore, "check", lambda self, sample: CheckReport(("page 7 is torn",), 1.0, 1))
    done = agentmem("check")
    assert done.code == PROBLEMS
    assert "page 7 is torn" in done.out
    assert agentmem("check", "--json").json["problems"] == ["page 7 is torn"]


def test_debug_lets_the_exception_through(agentmem):
    from click.testing import CliRunner

    from agentmem.cli import main

    agentmem("add", "x", "--id", "x")
    done = CliRunner().invoke(main, ["get", "nobody", "--debug"])
    assert isinstance(done.exception, errors.NotFound)


def test_a_bug_is_one_line_too(agentmem, monkeypatch):
    from agentmem.store import MemoryStore

    agentmem("add", "x", "--id", "x")
    monkeypatch.setattr(MemoryStore, "get", lambda self, id: 1 / 0)
    one_line(agentmem("get", "x"), FAILED, "internal error", "ZeroDivisionError", "--debug")


def test_each_error_has_a_code():
    kinds = [each for each in vars(errors).values() if isinstance(each, type)]
    codes = {kind.__name__: failure(kind("why")).code for kind in kinds}
    assert codes.pop("NotFound") == MISSING
    assert codes.pop("StoreBusy") == BUSY
    assert {codes.pop(name) for name in ("InvalidInput", "InvalidVector", "InvalidFilter", "UnknownMechanism")} == {
        USAGE
    }
    assert set(codes.values()) == {FAILED}


def test_a_closed_pipe_is_quiet(agentmem, tmp_path):
    for number in range(3):
        agentmem("add", f"memory {number} " + "long " * 20_000)
    command = f"{sys.executable} -m agentmem.cli export | head -c 10"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert len(done.stdout) == 10
