"""What the page shows of a store, as JSON holds it; every list comes a page at a time, every long text is cut."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from agentmem import validation as check
from agentmem.errors import InvalidInput
from agentmem.inspector.namespaces import NamespaceTree
from agentmem.ranking import mechanisms
from agentmem.records import Feedback, Hit, Record
from agentmem.storage.threads import Place, Thread
from agentmem.store import MemoryStore

Json = dict[str, Any]

PAGE = 50
"""Records, threads, or attempts to learn on a page."""
LEVEL = 200
"""Names of a level of namespaces on a page."""
MAX_HITS = 100
MAX_OFFSET = 10_000
EXCERPT = 600
"""Characters of a text that lists show."""
WHOLE = 100_000
"""Characters of a text, or of metadata, that the page of one record shows."""
FEEDBACK_READ = 2_000
"""Newest judged searches among which those of one record are looked for."""


class Views:
    """Answers for one open store; may be asked by several threads at once."""

    def __init__(self, store: MemoryStore, *, writable: bool) -> None:
        self.store = store
        self.writable = writable
        self._lock = threading.Lock()
        self._tree: tuple[int, NamespaceTree] | None = None

    def about(self) -> Json:
        """Return what the store is, and what may be done with it here."""
        store = self.store
        return {
            "path": store.path,
            "version": version("agentmem"),
            "embedder": store.identity.embedder,
            "embeds": store.embedder is not None,
            "dimension": store.identity.dimension,
            "metric": store.identity.metric,
            "records": store.count(),
            "writable": self.writable,
            "mechanisms": mechanisms(),
        }

    def namespaces(self, branch: str = "", after: str | None = None) -> Json:
        """Return one level of the tree of namespaces."""
        if branch and not branch.endswith("/"):
            raise InvalidInput('branch must be empty or end in "/"')
        nodes, following = self._namespaces().level(branch, after, LEVEL)
        return {"branch": branch, "nodes": [asdict(node) for node in nodes], "after": following}

    def threads(self, namespace: str, after: str | None = None) -> Json:
        """Return threads of exactly one namespace, with the span of time and the number of sittings of each."""
        now = check.wall_clock()
        with self.store.database.read() as reader:
            found = reader.threads(namespace, now, after, PAGE + 1)
            loose = reader.loose(namespace, now) if after is None else None
        shown = found[:PAGE]
        return {
            "namespace": namespace,
            "threads": [_thread(each) for each in shown],
            "loose": None if loose is None else _thread(loose),
            "after": shown[-1].name if len(found) > PAGE else None,
        }

    def timeline(
        self, namespace: str, thread: str | None, after: str | None = None, *, newest_first: bool = False
    ) -> Json:
        """Return records of a thread by time; ``thread=None`` means those of the namespace that are in none."""
        place = None if after is None else _place(after)
        with self.store.database.read() as reader:
            found = reader.turns(namespace, thread, check.wall_clock(), place, PAGE + 1, newest_first=newest_first)
            records = reader.fetch([each.label for each in found[:PAGE]])
        return {
            "records": [_summary(record) for record in records],
            "after": ",".join(map(repr, found[PAGE - 1])) if len(found) > PAGE else None,
        }

    def search(
        self,
        text: str,
        *,
        k: int = 10,
        offset: int = 0,
        namespace: str | None = None,
        condition: str | None = None,
        mechanism: str = "auto",
    ) -> Json:
        """Return hits with every head's part in their scores, and the milliseconds that the search took."""
        k = check.check_count(k, "k", low=1, high=MAX_HITS)
        offset = check.check_count(offset, "offset", low=0, high=MAX_OFFSET)
        filter = _filter(condition)
        started = time.perf_counter()
        hits = self.store.search(
            text, k=k + 1, offset=offset, namespace=namespace, filter=filter, mechanism=mechanism, explain=True
        )
        taken = time.perf_counter() - started
        return {"hits": [_hit(hit) for hit in hits[:k]], "more": len(hits) > k, "milliseconds": taken * 1e3}

    def record(self, id: str) -> Json:
        """Return everything about one record, and the newest feedback that names it."""
        record = self.store.get(id)
        links = self.store.links(id)
        log = self.store.feedback_log(FEEDBACK_READ)
        judged = [_judgement(each, id) for each in reversed(log) if _judged(each, id)]
        return {
            **_summary(record, WHOLE),
            "metadata": _cut(json.dumps(record.metadata, ensure_ascii=False, indent=2), WHOLE),
            "updated_at": record.updated_at,
            "links": [{"kind": kind, "id": target} for kind, target in links[:PAGE]],
            "all_links": len(links),
            "vector": self.store.vector(id) is not None,
            "feedback": judged[:PAGE],
            "all_feedback": len(judged),
            "feedback_read": len(log),
        }

    def judge(self, body: object) -> Json:
        """Keep what a search was worth."""
        if not isinstance(body, Mapping) or not set(body) <= {"query", "accepted", "rejected", "shown"}:
            raise InvalidInput("feedback is an object with query, accepted, rejected and shown")
        self.store.feedback(
            check.check_query(body.get("query")),
            **{name: check.check_list(body.get(name, []), name) for name in ("accepted", "rejected", "shown")},
        )
        return {"kept": True}

    def health(self) -> Json:
        """Return what the store holds, and the state of its index."""
        return self.store.info()

    def latency(self) -> Json:
        """Return latencies by stage and mechanism, of searches that this page made since it was started."""
        return {"stages": self.store.metrics.summary()}

    def learning(self) -> Json:
        """Return the newest attempts to learn and the newest feedback, newest first."""
        history = self.store.weights.history()
        return {
            "attempts": [
                {
                    **{name: getattr(entry, name) for name in ("number", "at", "active", "promoted")},
                    "reason": str(entry.report.get("reason", "")),
                    "report": _cut(json.dumps(entry.report, ensure_ascii=False, indent=2), WHOLE),
                }
                for entry in history[: -PAGE - 1 : -1]
            ],
            "all_attempts": len(history),
            "feedback": [_log_line(each) for each in reversed(self.store.feedback_log(PAGE))],
        }

    def _namespaces(self) -> NamespaceTree:
        """Return the tree as of now; counted anew only when something was committed."""
        with self._lock:
            seq = self.store.seq
            if self._tree is None or self._tree[0] != seq:
                self._tree = (seq, NamespaceTree(self.store.namespaces()))
            return self._tree[1]


def _cut(text: str, most: int) -> Json:
    return {"text": text[:most], "length": len(text)}


def _summary(record: Record, most: int = EXCERPT) -> Json:
    names = ("id", "namespace", "thread", "position", "session", "speaker", "created_at", "expires_at", "importance")
    values = {name: getattr(record, name) for name in names}
    return values | {"version": record.label, "body": None if record.text is None else _cut(record.text, most)}


def _hit(hit: Hit) -> Json:
    why = hit.explanation
    assert why is not None, "every search of the page asks for explanations"
    return {
        "rank": hit.rank,
        "score": hit.score,
        "similarity": hit.similarity,
        "relevance": hit.relevance,
        "record": _summary(hit.record),
        "heads": dict(why.heads),
        "sources": why.sources,
        "mechanism": why.mechanism,
        "reason": why.reason,
    }


def _thread(thread: Thread) -> Json:
    return thread._asdict()


def _place(text: str) -> Place:
    """Return the place that an earlier answer named."""
    try:
        created_at, position, label = text.split(",")
        return Place(float(created_at), float(position), int(label))
    except ValueError:
        raise InvalidInput("after is not what an earlier answer said; begin without it") from None


def _filter(condition: str | None) -> Mapping[str, Any] | None:
    if condition is None or not condition.strip():
        return None
    try:
        parsed = json.loads(condition)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f'the filter is not JSON ({error}); write it like {{"topic": "life"}}') from None
    if not isinstance(parsed, dict):
        raise InvalidInput('the filter must be a JSON object, like {"topic": "life"}')
    return parsed


def _judged(judged: Feedback, id: str) -> bool:
    return any(id in ids for ids in (judged.shown, judged.accepted, judged.rejected, judged.used))


def _judgement(judged: Feedback, id: str) -> Json:
    lists = {"accepted": judged.accepted, "rejected": judged.rejected, "used": judged.used}
    verdicts = [name for name, ids in lists.items() if id in ids]
    return {"at": judged.at, "query": _query(judged), "verdict": verdicts[0] if verdicts else "shown"}


def _log_line(judged: Feedback) -> Json:
    counts = {name: len(getattr(judged, name)) for name in ("shown", "accepted", "rejected", "used")}
    return {"at": judged.at, "query": _query(judged), **counts}


def _query(judged: Feedback) -> str | None:
    return None if judged.query is None else judged.query[:EXCERPT]
