"""The schema as its first version makes it, and the two numbers by which a file says what it is."""

from __future__ import annotations

from functools import lru_cache

from agentmem.keys import key64

APPLICATION_ID = 0x61674D6D
""""agMm", in the header of every store."""
SCHEMA_VERSION = 4
"""PRAGMA user_version of the newest schema that this code knows; the number of migrations."""

RECORDS = """
CREATE TABLE records (
    label INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    namespace TEXT NOT NULL,
    scope TEXT NOT NULL,
    thread TEXT,
    position REAL,
    session TEXT,
    speaker TEXT,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    expires_at REAL,
    importance REAL NOT NULL,
    seq INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    text TEXT
)
"""
"""Long columns come last: a scan over the others then stays off their overflow pages."""

TABLES = (
    RECORDS,
    "CREATE INDEX records_place ON records(namespace, thread, position)",
    "CREATE INDEX records_expiry ON records(expires_at) WHERE expires_at IS NOT NULL",
    "CREATE TABLE embeddings (label INTEGER PRIMARY KEY, vector BLOB, tokens BLOB NOT NULL, terms BLOB NOT NULL)",
    "CREATE TABLE links (source TEXT NOT NULL, kind TEXT NOT NULL, target TEXT NOT NULL, "
    "PRIMARY KEY (source, kind, target)) WITHOUT ROWID",
    "CREATE INDEX links_target ON links(target, kind, source)",
    "CREATE TABLE changes (seq INTEGER PRIMARY KEY, op TEXT NOT NULL, id TEXT NOT NULL, label INTEGER, dead INTEGER, "
    "at REAL NOT NULL)",
    "CREATE TABLE config (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE segments (name TEXT PRIMARY KEY, kind TEXT NOT NULL, seq INTEGER NOT NULL, "
    "max_label INTEGER NOT NULL, n_rows INTEGER NOT NULL, bytes INTEGER NOT NULL, checksum NOT NULL, "
    "published_at REAL NOT NULL)",
    "CREATE TABLE feedback (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, query TEXT, vector BLOB, "
    "shown TEXT NOT NULL, accepted TEXT NOT NULL, rejected TEXT NOT NULL)",
    "CREATE TABLE weights (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, mechanism TEXT NOT NULL, "
    "active INTEGER NOT NULL, value BLOB NOT NULL, report TEXT NOT NULL)",
)

FULL_TEXT = (
    "CREATE VIRTUAL TABLE records_fts USING fts5(text, scope, content = 'records', content_rowid = 'label', "
    "columnsize = 0, tokenize = 'porter unicode61')",
    "CREATE TRIGGER records_fts_insert AFTER INSERT ON records BEGIN "
    "INSERT INTO records_fts(rowid, text, scope) VALUES (new.label, new.text, new.scope); END",
    "CREATE TRIGGER records_fts_delete AFTER DELETE ON records BEGIN "
    "INSERT INTO records_fts(records_fts, rowid, text, scope) VALUES ('delete', old.label, old.text, old.scope); END",
    "CREATE TRIGGER records_fts_update AFTER UPDATE OF label, text, scope ON records BEGIN "
    "INSERT INTO records_fts(records_fts, rowid, text, scope) VALUES ('delete', old.label, old.text, old.scope); "
    "INSERT INTO records_fts(rowid, text, scope) VALUES (new.label, new.text, new.scope); END",
)
"""The full-text index over ``records``: Porter stems, and one token for the namespace, so that a match within one
namespace reads only that namespace's postings.  Nothing but these triggers writes to it."""


def hex_key(name: str) -> str:
    """Return a name's key as 16 hexadecimal digits, fit for identifiers and tokens."""
    return f"{key64(name) & 0xFFFF_FFFF_FFFF_FFFF:016x}"


@lru_cache(maxsize=4096)
def scope_token(namespace: str) -> str:
    """Return the one token that stands for a namespace in the full-text index."""
    return f"ns{hex_key(namespace)}"
