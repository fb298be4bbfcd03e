"""``agentmem demo``: the store at work on a bundled conversation, or on a labelled set."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentmem.cli.answers import SHOWN, ask, print_answers
from agentmem.cli.common import interactive, plain_options, print_json
from agentmem.progress import track

if TYPE_CHECKING:
    from agentmem.store import MemoryStore

NAMESPACE = "demo"


def _bundled(name: str) -> str:
    return files("agentmem.cli").joinpath("data", name).read_text(encoding="utf-8")


def conversation() -> list[dict[str, Any]]:
    """Return the bundled conversation: id, role, speaker, content, session, thread and created_at of each turn."""
    return [json.loads(line) for line in _bundled("demo_conversation.jsonl").splitlines() if line.strip()]


def questions() -> list[dict[str, Any]]:
    """Return the questions about it: question, answer, and the ids of the turns that answer it."""
    asked: list[dict[str, Any]] = json.loads(_bundled("demo_questions.json"))
    return asked


def remember(store: MemoryStore, turns: list[dict[str, Any]]) -> int:
    """Add a conversation in one transaction, one sitting at a time; return the number of sittings."""
    sittings = [(*where, list(said)) for where, said in groupby(turns, lambda turn: (turn["thread"], turn["session"]))]
    with store.transaction():
        for thread, session, messages in sittings:
            store.add_messages(messages, thread=thread, session=session, namespace=NAMESPACE)
    return len(sittings)


def _demo_conversation(as_json: bool) -> None:
    from agentmem.store import MemoryStore

    turns, asked = conversation(), questions()
    with (
        tempfile.TemporaryDirectory(prefix="agentmem-demo-") as folder,
        MemoryStore(Path(folder) / "memory.db", merge="manual") as store,
        track("asking", len(asked), interactive()) as advance,
    ):
        started = time.perf_counter()
        sittings = remember(store, turns)
        adding = time.perf_counter() - started
        answers = []
        for each in asked:
            relevant = frozenset(each["relevant"])
            answers.append(ask(store, each["question"], each["answer"], relevant, namespace=NAMESPACE))
            advance(1)
    median = statistics.median(answer.seconds for answer in answers)
    if as_json:
        facts = {"memories": len(turns), "add_seconds": adding, "median_search_seconds": median}
        print_json({**facts, "answers": [answer.to_json() for answer in answers]})
        return
    print_answers(answers)
    click.echo(
        f"{len(turns)} memories from {sittings} sittings were embedded and committed in {adding:.2f} s.\n"
        f"{sum(answer.found() for answer in answers)} of {len(answers)} questions are answered among the first {SHOWN} "
        f"hits (✓); a search took {median * 1e3:.1f} ms (median, embedding and explanation included)."
    )


@click.command("demo", short_help="Show the store at work, or measure it on a labelled set.")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A labelled set in the BEIR layout: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv.",
)
@click.option(
    "--vectors",
    type=click.Choice(["static", "given"]),
    default="static",
    show_default=True,
    help="With --data: the bundled model, or the folder's corpus.npy and queries.npy.",
)
@click.option("--split", default="test", show_default=True, help="With --data: which queries.")
@click.option("--exclude-category", multiple=True, help="With --data: leave out such queries; repeatable.")
@plain_options
def demo_command(data: Path | None, vectors: str, split: str, exclude_category: tuple[str, ...], as_json: bool) -> None:
    """Show the store at work: a conversation is remembered, questions are asked, each hit says why it is there.

    With --data, a labelled set takes the conversation's place, and recall@10 and NDCG@10 of plain dense search and of
    the default are measured. Everything happens in a temporary folder.
    """
    if data is None:
        _demo_conversation(as_json)
        return
    from agentmem.cli.demo_data import demo_dataset

    demo_dataset(data, given=vectors == "given", split=split, excluded=exclude_category, as_json=as_json)
