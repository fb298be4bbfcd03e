"""What the verbs of a store share: the open database, its index, its ingest, and whether it is still open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from agentmem import maintenance
from agentmem.cache import ResultCache
from agentmem.embed import StaticEmbedder
from agentmem.errors import InvalidInput, StoreClosed
from agentmem.hooks import HookRegistry
from agentmem.identity import settle
from agentmem.index.view import View
from agentmem.ingest import Ingest
from agentmem.live_index import LiveIndex
from agentmem.metrics import Metrics
from agentmem.records import Hit
from agentmem.storage.database import Database
from agentmem.storage.reader import Reader
from agentmem.storage.terms import Analyzer
from agentmem.validation import check_count, check_number


class StoreCore:
    """The composition; see ``MemoryStore`` for the arguments."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        embedder: object,
        dimension: int | None,
        metric: str,
        durability: str,
        read_only: bool,
        timeout: float,
        candidates: int,
        cache_size: int,
        cache_ttl: float,
        hook_errors: Literal["report", "raise"],
        merge: str,
    ) -> None:
        if merge not in ("background", "manual"):
            raise InvalidInput(f"merge must be 'background' or 'manual', got {merge!r}")
        self.candidates = check_count(candidates, "candidates", low=1, high=100)
        self.hooks = HookRegistry(hook_errors)
        self.metrics = Metrics()
        cache: ResultCache[tuple[Hit, ...]] = ResultCache(
            check_count(cache_size, "cache_size", low=0, high=1_000_000), check_number(cache_ttl, "cache_ttl", low=0.0)
        )
        self.cache = cache
        self.tokenizer = StaticEmbedder()
        self.analyzer = Analyzer()
        self._closed = False
        self._read_only = read_only
        self._database = Database.open(os.fspath(path), read_only=read_only, timeout=timeout, durability=durability)
        try:
            self.identity, self.embedder = settle(self._database, embedder, dimension, metric, self.tokenizer)
        except BaseException:
            self._database.close()
            raise
        self.index = LiveIndex(self._database, self.identity)
        self.ingest = Ingest(
            self.embedder, self.tokenizer, self.analyzer, self.identity.dimension, self.identity.metric
        )
        background = merge == "background" and not read_only and self._database.path != ":memory:"
        self._merger = maintenance.BackgroundMerger(self.path, self.index.reload) if background else None

    @property
    def path(self) -> str:
        """Return the path of the database, or ":memory:"."""
        return self._database.path

    @property
    def database(self) -> Database:
        """Return the database.

        Raises:
            StoreClosed: the store was closed.
        """
        if self._closed:
            raise StoreClosed(f"the store {self._database.path} is closed; open it again with MemoryStore(...)")
        return self._database

    @contextmanager
    def snapshot(self) -> Iterator[tuple[Reader, View]]:
        """Give one read transaction and the index's view of the same seq."""
        database = self.database
        private = database.in_transaction()
        while True:
            with database.read() as reader:
                view = self.index.view(reader, private=private)
                if view is not None:
                    yield reader, view
                    return

    def merge_if_due(self, view: View) -> None:
        """Start a background merge when the tail has grown past its bound."""
        if self._merger is not None and view.tail_rows > maintenance.TAIL_ROWS:
            self._merger.start()

    def close(self) -> None:
        """Close the store; a background merge goes on by itself.  Closing twice is fine, as is closing after a fork."""
        if not self._closed:
            self._closed = True
            self._database.close()
            if not self._database.inherited:
                self.index.reload()

    def __repr__(self) -> str:
        """Show path, embedder, dimension and metric."""
        identity = self.identity
        state = ", closed" if self._closed else ""
        return (
            f"MemoryStore({self._database.path!r}, embedder={identity.embedder!r}, dimension={identity.dimension}, "
            f"metric={identity.metric!r}{state})"
        )
