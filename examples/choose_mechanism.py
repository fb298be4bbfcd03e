"""Choosing how memories are ranked, with a hook at each of the three points of a search.

* pre-retrieval: codes such as "E-417" are exact words, so more candidates are fetched for them;
* intelligence: such queries are ranked by words alone, all others by the default heads;
* post-retrieval: of several notes on one subject only the newest is shown.

    python examples/choose_mechanism.py
"""

import re

import agentmem

NOTES = [
    ("boiler", "2026-01-10", "The boiler shows E-417 when its water pressure is too low."),
    ("boiler", "2026-02-02", "E-417 again: this time the pressure sensor was loose, Ines pushed it back."),
    ("boiler", "2026-02-09", "The heating man comes once a year, in May."),
    ("wifi", "2026-01-15", "The wireless network is called Heron, its password is on the fridge."),
    ("wifi", "2026-03-01", "New wireless password since today, the old one on the fridge is void."),
]
CODE = re.compile(r"\b[A-Z]+-\d+\b")


def widen(ctx):
    """Fetch more candidates for a query that names a code."""
    if ctx.text and CODE.search(ctx.text):
        ctx.candidates = 50
    return ctx


def words_for_codes(ctx):
    """Rank a query that names a code by its words."""
    if ctx.text and CODE.search(ctx.text):
        ctx.attention_config.mechanism = ctx.recommended_attention = "lexical"
        ctx.reason = "the query names a code"
    return ctx


def newest_of_a_subject(ctx):
    """Among the hits that score at least half of the best, keep the newest of each subject."""
    newest = {}
    for hit in ctx.hits:
        if hit.score < ctx.hits[0].score / 2:
            continue
        subject = hit.record.metadata["subject"]
        if subject not in newest or hit.record.created_at > newest[subject].record.created_at:
            newest[subject] = hit
    ctx.hits = [hit for hit in ctx.hits if hit in newest.values()]
    return ctx


def show(store, question):
    """Print the hits with the mechanism that ranked them, and return them."""
    hits = store.search(question, k=3, explain=True)
    print(question)
    for hit in hits:
        print(f"  {hit.score:.2f} {hit.text}  [{hit.explanation.mechanism}: {hit.explanation.reason}]")
    return hits


def main():
    """Ask with and without hooks; return the hits of the three searches."""
    with agentmem.MemoryStore(":memory:", hook_errors="raise") as store:
        store.add_many(
            [text for _, _, text in NOTES],
            created_at=[day for _, day, _ in NOTES],
            metadatas=[{"subject": subject} for subject, _, _ in NOTES],
        )
        plain = show(store, "what is the wireless password?")
        store.hooks.register("pre-retrieval", widen)
        store.hooks.register("intelligence", words_for_codes)
        store.hooks.register("post-retrieval", newest_of_a_subject)
        return plain, show(store, "what is the wireless password?"), show(store, "why does it say E-417?")


if __name__ == "__main__":
    main()
