"""Questions with what the store found for them, as the demo shows them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentmem.cli.common import clean, console, hit_json, reasons, when

if TYPE_CHECKING:
    from agentmem.records import Hit
    from agentmem.store import MemoryStore

SHOWN = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """One question and what the store found.

    Attributes:
        question: as it was asked.
        answer: the right answer, as the set gives it, or None.
        relevant: ids of the memories that answer it.
        hits: best first, with explanations.
        seconds: what the search took.
    """

    question: str
    answer: Any
    relevant: frozenset[str]
    hits: Sequence[Hit]
    seconds: float

    def found(self) -> bool:
        """Say whether one of the hits shown answers the question."""
        return any(hit.id in self.relevant for hit in self.hits[:SHOWN])

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {
            "question": self.question,
            "answer": self.answer,
            "relevant": sorted(self.relevant),
            "seconds": self.seconds,
            "hits": [hit_json(hit) for hit in self.hits],
        }


def ask(store: MemoryStore, question: str, answer: Any, relevant: frozenset[str], **how: Any) -> Answer:
    """Search for a question; ``how`` goes to ``MemoryStore.search``."""
    started = time.perf_counter()
    hits = store.search(question, k=10, explain=True, **how)
    return Answer(question, answer, relevant, hits, time.perf_counter() - started)


def print_answers(answers: Sequence[Answer]) -> None:
    """Print questions with their best hits: score, memory, and why it is there; ✓ marks what answers the question."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
    table.add_column("score", justify="right", width=6)
    table.add_column("", width=1)
    table.add_column("question → answer, and the memories found", ratio=3)
    table.add_column("why: the largest heads (sources)", ratio=2)
    for answer in answers:
        head = Text(clean(answer.question), style="bold")
        if answer.answer is not None:
            head.append(f" → {clean(str(answer.answer), 100)}", style="not bold green")
        table.add_row("", "", head, "")
        for hit in answer.hits[:SHOWN]:
            mark = Text("✓" if hit.id in answer.relevant else "", style="bold green")
            text, speaker = clean(hit.text, 160), clean(hit.record.speaker)
            said = "" if not speaker or text.startswith(f"{speaker}:") else f"{speaker}: "
            memory = Text(f"{when(hit.record.created_at).split()[0]} {said}", style="cyan").append(
                text, style="default"
            )
            table.add_row(f"{hit.score:.2f}", mark, memory, Text(reasons(hit), style="dim"))
        table.add_section()
    console().print(table)
