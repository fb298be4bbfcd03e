"""What the verbs of a store share: the open database, its index, its ingest, and whether it is still open."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Literal

from agentmem import maintenance
from agentmem.attention.sql import register_sql_functions
from agentmem.cache import ResultCache
from agentmem.embed import StaticEmbedder
from agentmem.errors import StoreClosed
from agentmem.hooks import HookRegistry
from agentmem.identity import read_calibration, settle
from agentmem.index.view import View
from agentmem.ingest import Ingest
from agentmem.live_index import LiveIndex
from agentmem.metrics import Metrics
from agentmem.records import Hit
from agentmem.rerank.diversity import HeadDiversity
from agentmem.storage.database import Database
from agentmem.storage.reader import Reader
from agentmem.storage.terms import Analyzer
from agentmem.validation import check_choice, check_count, check_flag, check_number


class _Snapshot:
    """A read transaction and the index's view of it; a class of its own, since every search makes one."""

    __slots__ = ("_database", "_index", "_read")

    def __init__(self, database: Database, index: LiveIndex) -> None:
        self._database = database
        self._index = index
        self._read = database.read()

    def __enter__(self) -> tuple[Reader, View]:
        missing: set[str] = set()
        while True:
            reader = self._read.__enter__()
            try:
                view = self._index.view(reader, missing, private=self._read.private)
            except BaseException as error:
                self._read.__exit__(type(error), error, error.__traceback__)
                raise
            if view is not None:
                return reader, view
            self._read.__exit__(None, None, None)
            self._read = self._database.read()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._read.__exit__(kind, error, trace)


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
        check_choice(merge, "merge", ("background", "manual"))
        self.candidates = check_count(candidates, "candidates", low=1, high=100)
        self.hooks = HookRegistry(hook_errors)
        self.metrics = Metrics()
        self.diversity = HeadDiversity()
        cache: ResultCache[tuple[Hit, ...]] = ResultCache(
            check_count(cache_size, "cache_size", low=0, high=1_000_000), check_number(cache_ttl, "cache_ttl", low=0.0)
        )
        self.cache = cache
        self.tokenizer = StaticEmbedder()
        self.analyzer = Analyzer()
        self._closed = False
        self._read_only = check_flag(read_only, "read_only")
        self._database = Database.open(
            path,
            read_only=self._read_only,
            timeout=timeout,
            durability=durability,
            prepare=register_sql_functions,
        )
        try:
            self.identity, self.embedder = settle(self._database, embedder, dimension, metric, self.tokenizer)
            self.calibrated = read_calibration(self._database)
        except BaseException:
            self._database.close()
            raise
        self._database.hold_to(self.identity.generation)
        self.index = LiveIndex(self._database, self.identity)
        self.ingest = Ingest(
            self.embedder, self.tokenizer, self.analyzer, self.identity.dimension, self.identity.metric
        )
        background = merge == "background" and not read_only and self._database.path != ":memory:"
        self._merger = maintenance.BackgroundMerger(self.path, lambda: self.index.reload()) if background else None

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

    def snapshot(self) -> _Snapshot:
        """Return a context manager that gives one read transaction and the index's view of the same seq."""
        return _Snapshot(self.database, self.index)

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
