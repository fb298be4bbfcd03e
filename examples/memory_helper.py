"""An agent loop with a memory of its user: it recalls before it answers, and says afterwards what helped.

There is no language model in it: ``answer`` stands where one would be called with the prompt.

    python examples/memory_helper.py
"""

import agentmem
from agentmem import Memory
from agentmem.memory import Recall, Retention

DAY = 24 * 3600


def answer(question: str, recalled: Recall) -> tuple[str, list[int]]:
    """Return a reply and the numbers of the memories that it uses; a model would read the prompt."""
    said = [(hit.score, number, hit.text) for number, hit in enumerate(recalled.hits, 1) if not hit.text.endswith("?")]
    if not said:
        return "I do not know that yet.", []
    _, number, text = max(said)
    return f"You told me: {text}", [number]


def turn(memory: Memory, question: str) -> str:
    """Answer one question from memory, and tell the memory what was of use."""
    recalled = memory.recall(question, token_budget=200, k=4)
    print(f"--- prompt, {recalled.tokens} tokens\n{recalled.text}")
    reply, used = answer(question, recalled)
    if used:
        memory.feedback(recalled, used=used)
    print(f"--- {question}\n{reply}\n")
    return reply


def main() -> list[str]:
    """Let an agent learn about two users, change its mind, answer, and tidy up; return the answers."""
    with agentmem.MemoryStore(":memory:") as store:
        ada = Memory(store, user="ada", agent="concierge", similarity=0.97)
        ada.remember("Ines, my sister, is allergic to peanuts.", importance=0.9, pinned=True)
        ada.remember("My flight to Lisbon leaves on Tuesday at nine.", key="flight")
        ada.remember("My flight to Lisbon leaves on Wednesday at noon.", key="flight")  # replaces the one before
        ada.remember("My  flight to Lisbon leaves on Wednesday at noon.")  # is known already
        ada.remember(
            [
                {"role": "user", "name": "Ada", "content": "Which bus goes to the airport?"},
                {"role": "assistant", "content": "Bus 12, every twenty minutes from the square."},
            ],
            thread="chat-1",
        )
        Memory(store, user="ben").remember("My flight to Oslo leaves on Friday.")

        replies = [
            turn(ada, "When does my flight leave?"),
            turn(ada, "Who must not eat peanuts?"),
            turn(ada, "How often does bus 12 leave the square?"),
        ]
        print("history of the flight:", [record.text for record in ada.history("flight")])
        policy = Retention(max_age=365 * DAY, max_count=3, order="least useful first")
        for removal in ada.retain(policy, dry_run=True):
            print(f"would go ({removal.reason}, usefulness {removal.usefulness:.2f}): {store.get(removal.id).text}")
        return replies


if __name__ == "__main__":
    main()
