"""Any sequence of verbs, against a dictionary: what was committed is found, what was deleted or expired is not."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

import agentmem
from agentmem import maintenance
from agentmem.index import planner

DIM = 7
NAMESPACES = ("", "users/1", "users/10", "users/1/notes", "team")
TOPICS = ("life", "work", None)
WORDS = ("book", "club", "tuesday", "garden", "violin", "train", "harbour", "lentil")

integers = st.integers(-3, 3)
vectors = st.lists(integers, min_size=DIM, max_size=DIM).filter(any)
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)


def cosine(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


class StoreMachine(RuleBasedStateMachine):
    """Every rule does one thing to the store and the same to ``self.model``: id -> (vector, text, namespace, topic)."""

    ids = Bundle("ids")

    @initialize()
    def open(self):
        self.folder = tempfile.mkdtemp()
        self.path = Path(self.folder, "memory.db")
        self.clock = 1_700_000_000.0
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("agentmem.validation.wall_clock", lambda: self.clock)
        self.patch.setattr(maintenance, "GRAPH_ROWS", 12)
        self.patch.setattr(planner, "SCAN_ROWS", 6)
        self.store = self.connect()
        self.model = {}

    def connect(self):
        return agentmem.MemoryStore(self.path, embedder=None, dimension=DIM, merge="manual")

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()
            self.patch.undo()
            shutil.rmtree(self.folder)

    def live(self):
        return {key: value for key, value in self.model.items() if value[4] is None or value[4] > self.clock}

    @rule(
        target=ids,
        vector=vectors,
        text=texts,
        namespace=st.sampled_from(NAMESPACES),
        topic=st.sampled_from(TOPICS),
        ttl=st.sampled_from((None, None, None, 5.0)),
        thread=st.sampled_from((None, "t1", "t2")),
    )
    def add(self, vector, text, namespace, topic, ttl, thread):
        rid = self.store.add(
            text, embedding=vector, namespace=namespace, metadata={"topic": topic}, ttl=ttl, thread=thread
        )
        assert rid not in self.model
        self.model[rid] = (vector, text, namespace, topic, None if ttl is None else self.clock + ttl)
        return rid

    @rule(target=ids, batch=st.lists(st.tuples(vectors, texts), min_size=1, max_size=8))
    def add_many(self, batch):
        made = self.store.add_many([text for _, text in batch], embeddings=[vector for vector, _ in batch])
        for rid, (vector, text) in zip(made, batch, strict=True):
            self.model[rid] = (vector, text, "", None, None)
        return multiple(*made)

    @rule(rid=ids, vector=vectors, text=texts, namespace=st.sampled_from(NAMESPACES))
    def upsert(self, rid, vector, text, namespace):
        self.store.upsert(text, id=rid, embedding=vector, namespace=namespace)
        self.model[rid] = (vector, text, namespace, None, None)

    @rule(rid=ids, topic=st.sampled_from(TOPICS))
    def update(self, rid, topic):
        if rid not in self.model:
            with pytest.raises(agentmem.NotFound):
                self.store.update(rid, metadata={"topic": topic})
            return
        self.store.update(rid, metadata={"topic": topic})
        vector, text, namespace, _, expires = self.model[rid]
        self.model[rid] = (vector, text, namespace, topic, expires)

    @rule(rid=consumes(ids))
    def delete(self, rid):
        assert self.store.delete(rid) == (rid in self.model)
        self.model.pop(rid, None)

    @rule(topic=st.sampled_from(("life", "work")))
    def delete_where(self, topic):
        doomed = [key for key, value in self.model.items() if value[3] == topic]
        assert self.store.delete_where({"topic": topic}) == len(doomed)
        for key in doomed:
            del self.model[key]

    @rule(seconds=st.sampled_from((1.0, 4.0)))
    def time_passes(self, seconds):
        self.clock += seconds

    @rule()
    def purge(self):
        assert self.store.purge_expired() == len(self.model) - len(self.live())
        self.model = self.live()

    @rule(batch=st.lists(st.tuples(vectors, texts), min_size=1, max_size=3), keep=st.booleans())
    def transaction(self, batch, keep):
        made = {}
        with pytest.MonkeyPatch.context():
            try:
                with self.store.transaction():
                    for vector, text in batch:
                        made[self.store.add(text, embedding=vector)] = (vector, text, "", None, None)
                    found = {hit.id for hit in self.store.search(embedding=batch[0][0], k=1000)}
                    assert found == set(self.live()) | set(made)
                    if not keep:
                        raise KeyboardInterrupt
            except KeyboardInterrupt:
                made = {}
        self.model |= made

    @rule()
    def merge(self):
        self.store.merge()

    @rule()
    def optimize(self):
        self.store.optimize()

    @rule()
    def reopen(self):
        self.store.close()
        self.store = self.connect()

    @rule(query=vectors, k=st.integers(1, 12), namespace=st.sampled_from((None, *NAMESPACES, "users/1/", "users/")))
    def search_vector(self, query, k, namespace):
        hits = self.store.search(embedding=query, k=k, namespace=namespace)
        expected = self.in_scope(namespace)
        assert len(hits) == min(k, len(expected))
        best = sorted((cosine(query, value[0]) for value in expected.values()), reverse=True)[:k]
        assert [hit.score for hit in hits] == pytest.approx(best, abs=1e-5)
        assert {hit.id for hit in hits} <= set(expected)

    @rule(query=vectors, topic=st.sampled_from(("life", "work")), k=st.integers(1, 12))
    def search_filtered(self, query, topic, k):
        hits = self.store.search(embedding=query, k=k, filter={"topic": topic})
        expected = {key for key, value in self.live().items() if value[3] == topic}
        assert len(hits) == min(k, len(expected))
        assert {hit.id for hit in hits} <= expected

    @rule(query=vectors, text=texts)
    def search_text(self, query, text):
        hits = self.store.search(text, embedding=query, k=5)
        assert len(hits) == min(5, len(self.live()))
        assert all(self.live()[hit.id][1] == hit.text for hit in hits)
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True)

    def in_scope(self, namespace):
        if namespace is None:
            return self.live()
        if namespace.endswith("/"):
            return {key: value for key, value in self.live().items() if value[2].startswith(namespace)}
        return {key: value for key, value in self.live().items() if value[2] == namespace}

    @invariant()
    def counts_agree(self):
        if hasattr(self, "store"):
            assert self.store.count() == len(self.live())

    @rule()
    def check(self):
        report = self.store.check()
        assert report.ok, report.problems
        assert {record.id for record in self.store.iterate(batch=3)} == set(self.live())


TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
