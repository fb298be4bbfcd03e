"""A folder of results: what is missing in it is measured, on all cores or on a Ray cluster, one JSON line each."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from agentmem.errors import BackendUnavailable, InvalidInput
from agentmem.extras import need
from agentmem.progress import track
from agentmem.simulation.datasets import DEV, TEST, TRAIN, Dataset
from agentmem.simulation.study.configuration import Configuration, Corpus
from agentmem.simulation.study.corpora import corpus_of, searched
from agentmem.simulation.study.measuring import measure_one
from agentmem.simulation.study.pools import Searched

VERSION = 1
"""Of the lines; a folder of another one is not taken up again."""
RESULTS, HEAD, POOLS = "results.jsonl", "study.json", "pools"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

Line = dict[str, Any]
Tasks = Sequence[tuple[Configuration, Path, Path | None]]
"""Configurations, each with the file of its corpus and that of the set that weights are carried to."""


class Study:
    """A folder that holds the results so far, and the candidates that they were measured on.

    Args:
        folder: made where there is none.
        dataset: embedded, with queries of "train", "dev" and "test".
        other: another set, embedded, whose test split shows what carries over.

    Raises:
        InvalidInput: the folder holds the study of other data, or of another version; a split is missing.
    """

    def __init__(self, folder: Path, dataset: Dataset, other: Dataset | None = None) -> None:
        for split in (TRAIN, DEV, TEST):
            dataset.part(split)
        self.folder, self._dataset, self._other = folder, dataset, None if other is None else other.part(TEST)
        self.head = {
            "version": VERSION,
            "dataset": _told(dataset),
            "transfer": None if self._other is None else _told(self._other),
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / POOLS).mkdir(exist_ok=True)
        kept = folder / HEAD
        if not kept.exists():
            kept.write_text(json.dumps(self.head, indent=1) + "\n", encoding="utf-8")
        elif json.loads(kept.read_text(encoding="utf-8")) != self.head:
            raise InvalidInput(f"{folder} holds the study of other data, or of another version; name another folder")

    @property
    def lines(self) -> list[Line]:
        """The results so far, in the order in which they came; a last line that was cut off counts as none."""
        path = self.folder / RESULTS
        if not path.exists():
            return []
        whole = [line for line in path.read_text(encoding="utf-8").split("\n")[:-1] if line]
        return [json.loads(line) for line in whole]

    def run(
        self,
        configurations: Sequence[Configuration],
        *,
        workers: int,
        ray_address: str | None = None,
        show: bool = False,
    ) -> None:
        """Measure what is missing of the configurations.

        Args:
            configurations: of the study.
            workers: processes; each computes with one thread.
            ray_address: of a Ray cluster that takes the place of the processes; "local" starts one here.
            show: show progress bars on standard error.

        Raises:
            MissingExtra: Ray is asked for and not installed.
            BackendUnavailable: no cluster can be used at that address.
        """
        done = {line["key"] for line in self.lines}
        missing = [each for each in configurations if each.key not in done]
        if not missing:
            return
        if ray_address is not None:
            need("ray", "ray", "a Ray cluster")
        tasks = [(each, *self._searched(each.corpus, show)) for each in missing]
        results = _on_ray(tasks, ray_address) if ray_address is not None else _on_cores(tasks, workers)
        with self._appending() as write, track("training and measuring", len(tasks), show) as advance:
            for line in results:
                write(line)
                advance(1)

    @contextmanager
    def _appending(self) -> Iterator[Callable[[Line], None]]:
        """Give a function that appends one line, behind the last whole one."""
        whole = "".join(json.dumps(line) + "\n" for line in self.lines)
        path = self.folder / RESULTS
        path.write_text(whole, encoding="utf-8")
        with path.open("a", encoding="utf-8") as file:

            def write(line: Line) -> None:
                file.write(json.dumps(line) + "\n")
                file.flush()

            yield write

    def _searched(self, corpus: Corpus, show: bool) -> tuple[Path, Path | None]:
        """Return the files of a corpus's candidates, searched for where they are not there yet."""
        path = self.folder / POOLS / f"{corpus}.npz"
        if not path.exists():
            _search(corpus_of(self._dataset, corpus), path, show)
        if self._other is None:
            return path, None
        away = self.folder / POOLS / f"transfer-{corpus.dimension}.npz"
        if not away.exists():
            _search(corpus_of(self._other, Corpus(0, corpus.dimension)), away, show)
        return path, away


def _search(dataset: Dataset, path: Path, show: bool) -> None:
    with track("searching", len(dataset.queries), show) as advance:
        searched(dataset, show=show, progress=advance).save(path)


def _told(dataset: Dataset) -> dict[str, Any]:
    """Return what a set is: its name, counts, and a checksum of judgements, splits and vectors."""
    digest = sha256()
    for query in dataset.queries:
        digest.update(json.dumps([query.id, query.split, dict(dataset.qrels[query.id])]).encode())
    for vectors in (dataset.document_vectors, dataset.query_vectors):
        digest.update(b"" if vectors is None else vectors.tobytes())
    splits = {split: sum(query.split == split for query in dataset.queries) for split in (TRAIN, DEV, TEST)}
    return {
        "name": dataset.name,
        "documents": len(dataset.documents),
        "dimension": 0 if dataset.document_vectors is None else dataset.document_vectors.shape[1],
        "queries": splits,
        "sha256": digest.hexdigest(),
    }


@lru_cache(maxsize=2)
def _loaded(path: Path) -> Searched:
    return Searched.load(path)


def _from_files(configuration: Configuration, path: Path, other: Path | None) -> Line:
    return measure_one(configuration, _loaded(path), None if other is None else _loaded(other))


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment, which new processes have from their birth."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _on_cores(tasks: Tasks, workers: int) -> Iterator[Line]:
    """Yield results as processes finish them."""
    context = multiprocessing.get_context("spawn")
    with _environment(ONE_THREAD), ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context) as pool:
        futures = [pool.submit(_from_files, *task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _on_ray(tasks: Tasks, address: str) -> Iterator[Line]:
    """Yield results as a Ray cluster's workers finish them; the candidates travel there once a corpus."""
    ray = need("ray", "ray", "a Ray cluster")
    try:
        ray.init(address=address, runtime_env={"env_vars": ONE_THREAD}, log_to_driver=False, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise BackendUnavailable(f"no Ray cluster can be used at {address!r}: {error}") from error
    try:
        paths = {path for _, *both in tasks for path in both if path is not None}
        sent = {path: ray.put(Searched.load(path)) for path in paths}
        remote = ray.remote(measure_one)
        waiting = [remote.remote(each, sent[path], None if away is None else sent[away]) for each, path, away in tasks]
        while waiting:
            ready, waiting = ray.wait(waiting)
            yield from ray.get(ready)
    finally:
        ray.shutdown()
