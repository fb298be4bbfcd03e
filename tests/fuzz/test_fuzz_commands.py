"""Every command with every option, given anything: an exit code that means something, one line of error, no harm."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz_kit as kit
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentmem import MemoryStore
from agentmem.attention import registry
from agentmem.cli import main
from agentmem.cli.app import BUSY, DONE, FAILED, MISSING, PROBLEMS, USAGE, leaves
from agentmem.transfer import SOURCES

CODES = {DONE, FAILED, USAGE, MISSING, BUSY, PROBLEMS}


def dumped(value: object) -> str:
    """Return JSON; an integer that Python does not write is written anyhow."""
    try:
        return json.dumps(value, default=float)
    except ValueError:
        return '{"text": ' + "9" * 5_000 + "}"


texts = (kit.any_string | st.just("\udcff")).map(lambda text: text.replace("\0", ""))
"""What may stand in an argument: no U+0000, but bytes that are no UTF-8."""
numbers = st.sampled_from(
    ["0", "1", "-1", "2.5", "nan", "inf", "-inf", "1e999", "9" * 30, "9" * 5_000, "1_0", "٣", "", "x"]
)
documents = st.one_of(
    texts,
    kit.metadata.map(dumped),
    kit.filters.map(dumped),
    st.sampled_from(
        ["[" * 100_000, '{"a":' * 5_000, "NaN", '{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}', "{}", "[]"]
    ),
    st.just(5_000).map(lambda digits: f'{{"a": {"9" * digits}}}'),
)
known_ids = st.sampled_from(["a", "b", "c"]) | texts
files = st.sampled_from(["in.jsonl", "folder", "nowhere/x", "nowhere.jsonl", "-", "/", "..", ""])
stores = st.sampled_from(
    ["memory.db", "memory.db", "memory.db", "folder", "words.txt", "no/where.db", "", "%.db", "?.db"]
)
mechanisms = st.sampled_from(registry.list()) | texts
JSONL = st.lists(
    documents.map(lambda text: text.encode("utf-8", "surrogatepass").replace(b"\n", b" "))
    | st.binary(max_size=6)
    | st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(("metadata", "links", "embedding", "created_at", "expires_at", "ttl"), kit.json_values),
            **dict.fromkeys(("id", "text", "namespace", "thread", "session", "speaker", "position"), kit.scalars),
            "importance": kit.numbers,
        },
    ).map(lambda value: dumped(value).encode()),
    max_size=3,
).map(b"\n".join)

# Of each command: its arguments, and its options that take a value; None stands for a switch.
Values = dict[str, Any]
PLAIN: Values = {"--json": None, "--debug": None}
STORE: Values = {"--db": stores, **PLAIN}
SCOPE: Values = {"--namespace": texts, "--filter": documents}
ARGUMENTS: dict[str, tuple[list[Any], Values]] = {
    "add": (
        [texts],
        {
            "--id": texts,
            "--namespace": texts,
            "--metadata": documents,
            "--thread": texts,
            "--position": numbers,
            "--session": texts,
            "--speaker": texts,
            "--importance": numbers,
            "--created-at": texts | st.sampled_from(["2026-05-08", "1e300", "0001-01-01", "9999-12-31T23:59:59+14:00"]),
            "--ttl": numbers,
            "--link": texts,
            **STORE,
        },
    ),
    "attention backend-status": ([], PLAIN),
    "attention benchmark": (
        [],
        {"--mechanism": mechanisms, "--all": None, "--size": numbers, "--dim": numbers}
        | {"--output": files, "--report": files, **PLAIN},
    ),
    "attention compute": (
        [],
        {"--mechanism": mechanisms, "--sequence-length": numbers, "--dim": numbers, "--seed": numbers}
        | {"--backend": st.sampled_from(["auto", "native", "numpy", "x"]), **PLAIN},
    ),
    "attention list": ([], {"--category": texts | st.sampled_from(["cross", "moe"]), "--native-only": None, **PLAIN}),
    "attention recommend": (
        [],
        {"--sequence-length": numbers, "--batch-size": numbers, "--hierarchical": None, "--graph": None}
        | {"--moe": None, "--task": texts | st.just("memory-retrieval"), **PLAIN},
    ),
    "backup": ([files], STORE),
    "check": ([], {"--sample": numbers, **STORE}),
    "delete": ([texts | st.sampled_from(["a", "b", "c"])], {**SCOPE, "--expired": None, **STORE}),
    "demo": (
        [],
        {"--data": files, "--vectors": texts, "--split": texts, "--exclude-category": texts}
        | PLAIN,
    ),
    "evaluate": (
        [],
        {
            "--data": files | st.just("set"),
            "--split": texts | st.sampled_from(["all", "test", "train"]),
            "--vectors": texts | st.just("given"),
            "--pipelines": texts | st.sampled_from(["dense,auto", "hnsw,lexical", ","]),
            "--weights": files | st.just("w.npz"),
            "--k": numbers,
            "--exclude-category": texts,
            "--folds": texts | st.just("namespace"),
            "--links": None,
            "--max-descendants": numbers,
            "--seed": numbers,
            "--output": files,
            "--json": None,
            "--debug": None,
        },
    ),
    "feedback": (
        [texts],
        {**dict.fromkeys(("--accepted", "--rejected", "--used", "--shown"), known_ids), **STORE},
    ),
    "export": (
        [files],
        {**SCOPE, "--format": st.sampled_from(["jsonl", "parquet", "x"]), "--embeddings": None, **STORE},
    ),
    "get": ([texts | st.sampled_from(["a", "b"])], STORE),
    "import": (
        [files],
        {
            "--from": st.sampled_from([*sorted(SOURCES.keys() - {"sqlite-vec"}), "x"]),  # it opens databases only
            **dict.fromkeys(("--collection", "--id", "--text", "--vector", "--texts"), texts),
            **dict.fromkeys(("--namespace", "--prefix"), texts),
            "--re-embed": None,
            "--on-conflict": st.sampled_from(["skip", "replace", "error", "x"]),
            **STORE,
        },
    ),
    "info": ([], STORE),
    "inspect": (
        [],
        {
            "--host": st.sampled_from(["127.0.0.1", "::1", "localhost", "0.0.0.0", "x.y", "[", ""]),
            "--port": numbers,
            "--token": texts | st.just("long enough"),
            **dict.fromkeys(("--write", "--no-token", "--open")),
            **STORE,
        },
    ),
    "learn": (
        [],
        {"--data": files, "--vectors": texts, "--split": texts, "--exclude-category": texts, "--folds": texts}
        | {"--output": st.sampled_from(["w.npz", "folder", "nowhere/w"]), "--seed": numbers, **STORE},
    ),
    "mcp": (
        [],
        {"--transport": st.sampled_from(["stdio", "stdio", "sse"]), "--host": texts, "--port": numbers}
        | {"--token": texts, "--no-token": None, "--namespace": texts, "--read-only": None, "--db": stores}
        | {"--toolset": texts | st.sampled_from(["memory", "graph", "all"]), "--debug": None},
    ),
    "optimize": ([], STORE),
    "recover": ([stores], {"--output": files, **PLAIN}),
    "reembed": (
        [],
        {
            "--embedder": st.just("static") | texts,
            "--metric": st.sampled_from(["cosine", "x"]),
            "--batch": numbers,
            **STORE,
        },
    ),
    "search": (
        [texts],
        {
            "-k": numbers,
            "--offset": numbers,
            **SCOPE,
            "--mechanism": texts | st.sampled_from(["dense", "lexical", "rrf", "standard-mha"]),
            "--ef": numbers,
            "--exact": None,
            "--min-score": numbers,
            "--explain": None,
            **STORE,
        },
    ),
    "simulate": (
        [],
        {
            "--data": files | st.just("splits"),
            "--cross-modal": files,
            "--transfer": files | st.just("splits"),
            "--vectors": texts | st.just("given"),
            "--exclude-category": texts,
            **dict.fromkeys(("--heads", "--hidden", "--layers", "--dropout", "--sizes", "--dimensions"), numbers),
            "--seeds": numbers,
            "--quick": None,
            "--workers": numbers,
            "--ray-address": st.just("local"),
            "--output": st.sampled_from(["simulation", "in.jsonl", "in.jsonl/x", ""]),
            **PLAIN,
        },
    ),
    "calibrate": ([], STORE),
    "stats": ([], {"--prometheus": None, **STORE}),
    "verify": ([stores], PLAIN),
    "weights": (
        [st.sampled_from(["history", "rollback", "save", "install", "x"])],
        {"--file": st.sampled_from(["w.npz", "folder", "nowhere/w", ""]), **STORE},
    ),
}  # fmt: skip
SMALL = "--heads 1 --hidden 8 --layers 1 --dropout 0 --sizes 0 --dimensions 256 --seeds 1"
REQUIRED = {"evaluate": ["--data", "set"], "simulate": ["--data", "splits", *SMALL.split()]}
EXAMPLES = {"add": 120, "import": 300, "search": 120, "recover": 120, "demo": 4, "evaluate": 40, "learn": 40}
EXAMPLES |= {"attention benchmark": 20, "simulate": 12}
WRITES = {"add", "delete", "import"}
NEEDS = {
    "mcp": ("mcp.server", None, 'pip install "agentmem[mcp]"'),
    "simulate": ("matplotlib", None, 'pip install "agentmem[simulate]"'),
}
"""What a command cannot do its work without: a module, any version of it, and what brings it."""
UNDONE = {"calibrate", "inspect"}
"""A few memories are too few for the one, the other may lack what it needs to be installed."""


def test_every_command_and_option_is_fuzzed() -> None:
    commands = dict(leaves())
    assert set(ARGUMENTS) == set(commands)
    for name, (arguments, options) in ARGUMENTS.items():
        command = commands[name]
        assert set(options) == {
            max(parameter.opts, key=len) for parameter in command.params if parameter.param_type_name == "option"
        }
        assert len(arguments) == sum(parameter.param_type_name == "argument" for parameter in command.params)


@st.composite
def lines(draw: Callable[..., Any], command: str) -> list[str]:
    """Draw a command line, without --debug, which asks for a traceback."""
    arguments, options = ARGUMENTS[command]
    words = [*command.split(), *REQUIRED.get(command, ()), *(draw(each) for each in arguments)]
    for option in draw(st.lists(st.sampled_from(sorted(set(options) - {"--debug"})), max_size=3, unique=True)):
        words.append(option)
        if options[option] is not None:
            words += [draw(options[option]) for _ in range(2 if option == "--link" else 1)]
    return words


def judge(done: Result) -> None:
    assert done.exit_code in CODES, done.exception
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert "internal error" not in done.stderr
    assert "Traceback" not in done.output
    if done.exit_code not in (DONE, PROBLEMS):
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("agentmem: ")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder two levels down, with a store in it."""
    inner = tmp_path / "outer" / "inner"
    (inner / "folder").mkdir(parents=True)
    two = '{"_id": "1", "text": "tea"}\n{"_id": "2", "text": "rain"}\n'
    three = "".join(f'{{"_id": "q{number}", "text": "rain and tea"}}\n' for number in range(3))
    for name, queries in (("set", two), ("splits", three)):
        (inner / name / "qrels").mkdir(parents=True)
        (inner / name / "corpus.jsonl").write_text(two)
        (inner / name / "queries.jsonl").write_text(queries)
    (inner / "set" / "qrels" / "test.tsv").write_text("query\tdocument\tgrade\n1\t2\t1\n2\t1\t1\n")
    for query, split in enumerate(("train", "dev", "test")):
        (inner / "splits" / "qrels" / f"{split}.tsv").write_text(f"query\tdocument\tgrade\nq{query}\t2\t1\n")
    (inner / "words.txt").write_text("no database, but words")
    monkeypatch.chdir(inner)
    monkeypatch.delenv("AGENTMEM_DB", raising=False)
    monkeypatch.setattr("webbrowser.open", lambda url: True)
    if importlib.util.find_spec("uvicorn"):
        monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: None)
    with MemoryStore(inner / "memory.db", merge="manual") as store:
        kit.fill(store)
    return inner


@pytest.mark.parametrize("command", sorted(ARGUMENTS))
def test_a_command_line_works_or_is_refused_in_one_line(folder: Path, command: str) -> None:
    if command in NEEDS:
        pytest.importorskip(*NEEDS[command])
    codes = set()
    with MemoryStore(folder / "memory.db", merge="manual") as store:
        tables, before = kit.schema(store), kit.contents(store)

        @settings(max_examples=EXAMPLES.get(command, 60), suppress_health_check=list(HealthCheck))
        @given(lines(command), JSONL if command == "import" else st.just(b""))
        def one(words: list[str], content: bytes) -> None:
            (folder / "in.jsonl").write_bytes(content)
            done = CliRunner().invoke(main, words, input=content, prog_name="agentmem")
            judge(done)
            codes.add(done.exit_code)
            after = kit.contents(store)
            if done.exit_code == USAGE or command not in WRITES:
                assert after == before
            elif command != "delete":
                assert all(name in after for name in before)
            if after != before:
                kit.fill(store)
                before.clear()
                before.update(kit.contents(store))

        one()
        assert DONE in codes or command in UNDONE
        assert kit.schema(store) == tables
        assert store.check().ok
