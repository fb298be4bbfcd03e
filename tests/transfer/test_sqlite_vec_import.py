"""Tables written by the real sqlite-vec come over; reading them needs no extension."""

import sqlite3
import struct

import numpy as np
import pytest

from agentmem import MemoryStore
from agentmem.errors import AgentMemError
from agentmem.transfer import open_source

sqlite_vec = pytest.importorskip("sqlite_vec", reason='pip install "agentmem[integrations]"')

COUNT = 2_100
KINDS = "genre text, year integer, score float, ok boolean, +body text, +number integer, user text partition key"
DECLARED = {
    "docs": f"embedding float[4] distance_metric=cosine,\n {KINDS}, chunk_size=64",
    "named": "name text primary key, small int8[8], vec float[2], bits bit[8]",
    "plain": "v float[3]",
}


def connected(path):
    """Return a connection that has the extension, and skip where none can load it."""
    if hasattr(sqlite3.Connection, "enable_load_extension"):
        connection = sqlite3.connect(path, isolation_level=None)
    else:
        reason = 'this Python\'s sqlite3 cannot load extensions; pip install "agentmem[integrations]" has one that can'
        connection = pytest.importorskip("apsw", reason=reason).Connection(str(path))
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    return connection


def packed(vector):
    """Return a vector as sqlite-vec takes it."""
    return np.asarray(vector, np.float32).tobytes()


@pytest.fixture
def database(tmp_path):
    """Return a connection to ``tmp_path / "vec.db"``, with the tables of ``DECLARED``, some of them filled."""
    connection = connected(tmp_path / "vec.db")
    for name, columns in DECLARED.items():
        connection.execute(f"CREATE VIRTUAL TABLE {name} USING vec0({columns})")
    vectors = np.random.default_rng(3).standard_normal((COUNT, 4)).astype(np.float32)
    connection.execute("BEGIN")
    for n in range(COUNT):
        row = (n + 10, packed(vectors[n]), "g" * (n % 30), 1900 + n, n / 7, n % 2, f"body {n}", n, f"u{n % 3}")
        connection.execute(
            "INSERT INTO docs(rowid, embedding, genre, year, score, ok, body, number, user) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
    connection.execute("COMMIT")
    connection.execute("DELETE FROM docs WHERE rowid IN (12, 700)")
    yield connection
    connection.close()


def test_a_table_comes_over(agentmem, database, tmp_path):
    command = ["import", "vec.db", "--from", "sqlite-vec", "--table", "docs", "--text", "body", "--prefix", "docs/"]
    done = agentmem(*command, "--json")
    assert done.counts == {"lines": COUNT - 2, "written": COUNT - 2, "skipped": 0, "expired": 0}
    with MemoryStore(tmp_path / "memory.db", embedder="stored") as store:
        assert (store.identity.dimension, store.identity.metric) == (4, "cosine")
        for n in (0, 1, 13, 29, 1234, COUNT - 1):
            record = store.get(f"docs/{n + 10}")
            assert record.text == f"body {n}"
            assert record.metadata == {
                "genre": "g" * (n % 30), "year": 1900 + n, "score": n / 7, "ok": bool(n % 2), "number": n,
                "user": f"u{n % 3}",
            }  # fmt: skip
        query = [1.0, -0.5, 0.25, 2.0]
        rows = database.execute(
            "SELECT rowid FROM docs WHERE embedding MATCH ? AND k = 15 ORDER BY distance", (packed(query),)
        )
        theirs = [f"docs/{rowid}" for (rowid,) in rows]
        assert [hit.id for hit in store.search(embedding=query, k=15, mechanism="dense", exact=True)] == theirs
        (stored,) = database.execute("SELECT embedding FROM docs WHERE rowid = 44").fetchone()
        assert store.vector("docs/44").tobytes() == stored
    again = agentmem(*command, "--json").json
    assert (again["written"], again["skipped"]) == (0, COUNT - 2)


def test_texts_come_from_another_table(agentmem, database):
    database.execute("CREATE TABLE notes(id INTEGER PRIMARY KEY, content TEXT, author TEXT)")
    for n in range(3):
        database.execute("INSERT INTO plain(rowid, v) VALUES (?, ?)", (n + 1, packed([1, n, 2])))
        database.execute("INSERT INTO notes VALUES (?, ?, ?)", (n + 1, f"note {n}", "Ada"))
    options = ["--from", "sqlite-vec", "--table", "plain", "--texts", "notes", "--text", "content", "-n", "notes"]
    assert agentmem("import", "vec.db", *options, "--json").json["written"] == 3
    record = agentmem("get", "2", "--json").json
    assert (record["text"], record["namespace"]) == ("note 1", "notes")
    assert record["metadata"] == {"id": 2, "author": "Ada"}
    assert agentmem("info", "--json").json["metric"] == "l2"


def test_text_keys_int8_vectors_and_a_choice(agentmem, database, tmp_path):
    database.execute("CREATE TABLE words(name TEXT, text TEXT)")
    database.execute(
        "INSERT INTO named(name, small, vec, bits) VALUES (?, vec_int8(?), ?, vec_bit(?))",
        ("é/1", struct.pack("8b", *range(-4, 4)), packed([1, 2]), b"\x0f"),
    )
    database.execute("INSERT INTO words VALUES ('é/1', 'a word')")
    options = ["--from", "sqlite-vec", "--table", "named", "--texts", "words"]
    several = agentmem("import", "vec.db", *options)
    assert several.code == 2
    assert "'small', 'vec'" in several.err
    assert agentmem("import", "vec.db", *options, "--vector", "small", "--json").json["written"] == 1
    with MemoryStore(tmp_path / "memory.db", embedder="stored") as store:
        assert store.get("é/1").text == "a word"
        assert store.vector("é/1").tolist() == list(range(-4, 4))


def test_what_is_not_there_is_named(agentmem, database, tmp_path):
    assert "'docs', 'named', 'plain'" in agentmem("import", "vec.db", "--from", "sqlite-vec").err
    for options in (["--table", "nothing"], ["--table", "docs", "--text", "x"], ["--table", "docs", "--texts", "x"]):
        done = agentmem("import", "vec.db", "--from", "sqlite-vec", *options)
        assert (done.code, done.err.count("\n")) == (2, 1), done
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t(x)").connection.close()
    assert "no vec0 table" in agentmem("import", "other.db", "--from", "sqlite-vec").err
    (tmp_path / "text.db").write_text("no database " * 100)
    assert "not an SQLite database" in agentmem("import", "text.db", "--from", "sqlite-vec").err
    assert not (tmp_path / "memory.db").exists()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("UPDATE docs_vector_chunks00 SET vectors = x'00' WHERE rowid = 2", "chunk 2 of 'embedding' is not as long"),
        ("DELETE FROM docs_metadatachunks00 WHERE rowid = 1", "chunk 1 is missing in docs_metadatachunks00"),
        ("DROP TABLE docs_chunks", "cannot be read"),
        ("DELETE FROM docs_metadatatext00", "cannot be read as sqlite-vec writes it"),
        ("UPDATE docs_chunks SET rowids = x'00' WHERE chunk_id = 1", "cannot be read as sqlite-vec writes it"),
        ("UPDATE docs_metadatachunks01 SET data = x'00' WHERE rowid = 1", "cannot be read as sqlite-vec writes it"),
    ],
)
def test_damage_is_told(agentmem, database, harm, words):
    database.execute(harm)
    done = agentmem("import", "vec.db", "--from", "sqlite-vec", "--table", "docs")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert words in done.err


def test_a_file_with_wrong_bytes_is_read_or_refused(database, tmp_path):
    database.close()
    whole = (tmp_path / "vec.db").read_bytes()
    drawn = np.random.default_rng(4)
    outcomes = set()
    for number in range(80):
        content = bytearray(whole)
        for place in drawn.integers(0, len(content), 1 + number):
            content[place] = drawn.integers(256)
        path = tmp_path / f"{number}.db"
        path.write_bytes(content)
        try:
            with open_source("sqlite-vec", str(path), table="docs") as source:
                outcomes.add(type(list(source.lines)).__name__)
        except AgentMemError as error:
            outcomes.add(type(error).__name__)
    assert {"list", "BadSource"} <= outcomes
