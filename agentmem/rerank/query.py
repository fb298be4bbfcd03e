"""What a query's words alone tell: how complex it is, and what kind of task it serves.  Pure functions, some 20 µs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

TaskType = Literal["memory-retrieval", "code-analysis", "long-context", "swarm-coordination", "default"]
QuestionForm = Literal["who", "what", "when", "where", "why", "how", "which", "yes-no", "none"]

LONG_QUERY_WORDS = 48
"""Past some four dozen words a query is a document of its own rather than a question."""

LOOKED_AT = 1_000
"""Characters of a query that are looked at: some patterns take time in the square of a word's length."""

_WORD = re.compile(r"[^\W_]+(?:['’_.-]*[^\W_]+)*")
_RARE = re.compile(r"\d\w*[^\W\d_]|[^\W\d_]\w*\d|\w_\w|[a-z]+[A-Z]|\w\.\w|[^\W\d_]{13,}")
_TIME = re.compile(
    r"\b(?:when|ago|yesterday|today|tonight|recent(?:ly)?|latest|before|after|since|until|last|past|"
    r"(?:sun|mon|tues|wednes|thurs|fri|satur)day|(?:19|20)\d{2}|(?:day|week|month|year)s?|january|february|april|june|"
    r"july|august|september|october|november|december)\b",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"\s*(?:(who|whom|whose|what|when|where|why|how|which)|(?:is|are|was|were|do|does|did|has|have|had|can|could|"
    r"will|would|should|may|might))\b",
    re.IGNORECASE,
)
_FORMS: dict[str, QuestionForm] = {
    "who": "who",
    "whom": "who",
    "whose": "who",
    "what": "what",
    "when": "when",
    "where": "where",
    "why": "why",
    "how": "how",
    "which": "which",
}

_TASKS: tuple[tuple[TaskType, re.Pattern[str]], ...] = (
    (
        "code-analysis",
        re.compile(
            r"```|\b(?:def|class|import|return|lambda|async|await)\s+\w+\s*[(:]|\w+\(\w*\)|\w+::\w+|"
            r"\b(?:python|javascript|typescript|java|rust|c\+\+|golang|sql|regex|function|method|stack ?trace|"
            r"traceback|exception|compil(?:e|er|ation)|refactor|unit tests?|source code|codebase|bugfix|api call)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "swarm-coordination",
        re.compile(
            r"\b(?:swarm|multi-?agent|agents|subagents?|orchestrat\w+|coordinat(?:e|es|ion|or)|delegat(?:e|ed|ion)|"
            r"consensus|worker pool|task queue|assign(?:ed)? tasks?)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "memory-retrieval",
        re.compile(
            r"\b(?:remember|recall|remind|memory|memories|earlier|previously|last time|we (?:talked|discussed|agreed)|"
            r"(?:i|you|he|she|we|they) (?:said|told|mentioned)|my|did (?:i|we|you|he|she|they|[A-Z]\w+))\b"
            r"|^\s*(?:who|whose|when|where)\b",
            re.IGNORECASE,
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class QueryProfile:
    """What a query looks like.

    Attributes:
        n_words: runs of letters and digits.
        rare_terms: words that look like identifiers, numbers with letters, or are very long: exact match matters.
        entities: capitalised words that do not open a sentence.
        has_time: whether a word speaks of time.
        question: the question's form; "none" for a statement or a list of keywords.
        complexity: in [0, 1]; about 0.1 for one or two keywords, 1 for a long text with names, times and identifiers.
    """

    n_words: int
    rare_terms: tuple[str, ...]
    entities: tuple[str, ...]
    has_time: bool
    question: QuestionForm
    complexity: float


def _entities(text: str, words: list[re.Match[str]]) -> tuple[str, ...]:
    """Return the words with a capital that stand inside a sentence, each once, "I" excepted."""
    found = []
    for match in words:
        word, before = match.group(), text[: match.start()].rstrip(" \t\"'(“‘")
        if word[0].isupper() and word.lower() != "i" and before and before[-1] not in ".!?:\n":
            found.append(word)
    return tuple(dict.fromkeys(found))


def _question_form(text: str) -> QuestionForm:
    match = _QUESTION.match(text)
    if match is None:
        return "none"
    return _FORMS[match[1].lower()] if match[1] else "yes-no"


def analyze_query_complexity(text: str) -> QueryProfile:
    """Return the query's profile, from its words alone.

    The complexity is a weighted sum of length (half of it; saturating at ``LONG_QUERY_WORDS``, on a square-root
    scale), entities, rare terms, time words and the question's form (why and how ask for more than who and when).
    """
    text = text[:LOOKED_AT]
    words = list(_WORD.finditer(text))
    entities = _entities(text, words)
    rare = tuple(dict.fromkeys(match.group() for match in words if _RARE.search(match.group())))
    has_time = _TIME.search(text) is not None
    question = _question_form(text)
    length = min(1.0, len(words) / LONG_QUERY_WORDS) ** 0.5
    complexity = (
        0.5 * length
        + 0.15 * min(1.0, len(entities) / 3)
        + 0.15 * min(1.0, len(rare) / 3)
        + 0.1 * has_time
        + 0.1 * (question in ("why", "how"))
    )
    return QueryProfile(len(words), rare, entities, has_time, question, min(1.0, complexity))


def detect_task_type(text: str) -> TaskType:
    """Return the kind of task that the query's words point to; "default" where none does.

    "long-context" is a query of more than ``LONG_QUERY_WORDS`` words; the others are told by their vocabulary, code
    before coordination before memory.
    """
    if text.count(" ") >= LONG_QUERY_WORDS:
        return "long-context"
    text = text[:LOOKED_AT]
    for task, pattern in _TASKS:
        if pattern.search(text):
            return task
    return "default"
