"""How fast are lexical candidates from the index's own postings beside SQLite's FTS5, and do both find the same?

    python benchmarks/lexical.py [--rows 10000 100000] [--folder DIR]

The 30 best of turns for queries of nine words, without stop words, by BM25.  FTS5 has the same texts in a table of its
own, with Porter stems and column sizes, so that its bm25() has what it needs; its terms are joined with OR.
"""

from __future__ import annotations

import sqlite3
import statistics
from collections.abc import Callable
from typing import Any

from data import folder_of, rows_and_folder, talk, talk_store
from machine import paired, write

import agentmem
from agentmem.terms import query_terms

K = 30
QUERIES = 200
REPEATS = 7


def full_text(texts: dict[int, str]) -> sqlite3.Connection:
    """Return a connection to an FTS5 table of texts by label."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE turns USING fts5(text, tokenize = 'porter unicode61')")
    connection.executemany("INSERT INTO turns(rowid, text) VALUES (?, ?)", texts.items())
    connection.execute("INSERT INTO turns(turns) VALUES ('optimize')")
    return connection


def measured(store: agentmem.MemoryStore, queries: list[str], rows: int) -> dict[str, Any]:
    """Time both on one store, turn by turn."""
    fts5 = full_text({record.label: record.text or "" for record in store.iterate()})
    sql = f"SELECT rowid FROM turns WHERE turns MATCH ? ORDER BY bm25(turns) LIMIT {K}"
    terms = [query_terms(query, store.analyzer) for query in queries]
    scored = [[w for w, term in zip(t.words, t.word_ids, strict=True) if term in t.ids] for t in terms]
    matches = [" OR ".join(words) for words in scored]
    with store.snapshot() as (_, view):
        scope = view.scope(None, 0.0)
        ways: dict[str, Callable[[], list[list[int]]]] = {
            "FTS5": lambda: [[row for (row,) in fts5.execute(sql, (match,))] for match in matches],
            "postings": lambda: [view.labels(view.lexical(words.ids, K, scope).rows).tolist() for words in terms],
        }
        timed = paired(ways, repeats=REPEATS)
        found = zip(*(way() for way in ways.values()), strict=True)
        shared = statistics.mean(len(set(a) & set(b)) / K for a, b in found)
    micros = {name: value / QUERIES for name, value in timed["medians_us"].items()}
    return {
        "rows": rows,
        "median_us": micros,
        "times_faster": micros["FTS5"] / micros["postings"],
        "shared_of_30": shared,
        "raw_us": {name: [value / QUERIES for value in values] for name, values in timed["raw_us"].items()},
    }


def main() -> None:
    """Run and write results/lexical.json."""
    arguments = rows_and_folder(__doc__, rows=[10_000, 100_000])
    folder = folder_of(arguments)
    queries = [" ".join(text.split()[:9]) for text in talk(QUERIES, seed=11)]
    results = []
    for rows in arguments.rows:
        with talk_store(folder, rows) as store:
            results.append(measured(store, queries, rows))
        print({key: value for key, value in results[-1].items() if key != "raw_us"}, flush=True)
    print(write("lexical", {"k": K, "queries": QUERIES, "by_rows": results}))


if __name__ == "__main__":
    main()
