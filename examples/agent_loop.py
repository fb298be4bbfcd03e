"""An agent that remembers across restarts.

It has no language model: what it hears it keeps, and what looks like a question it answers with what it remembers.
Run without arguments it lives twice, on one store: the second life knows what the first one heard.

    python examples/agent_loop.py
"""

import tempfile
from pathlib import Path

import agentmem


class Agent:
    """A note-taker: one conversation thread in a store, one session a life."""

    def __init__(self, path: Path) -> None:
        self.store = agentmem.MemoryStore(path)
        said_before = self.store.count(namespace="user/ada")
        self.session = f"after {said_before} turns"

    def say(self, message: str) -> str:
        """Take one message and return the reply; the message is remembered either way."""
        reply = self.answer(message) if message.endswith("?") else "Noted."
        self.store.add_messages(
            [{"role": "user", "name": "Ada", "content": message}],
            thread="chat",
            session=self.session,
            namespace="user/ada",
        )
        return reply

    def answer(self, question: str) -> str:
        """Return the statement that answers best, or admit that there is none."""
        hits = self.store.search(question, k=5, namespace="user/ada")
        statements = [hit for hit in hits if hit.text and not hit.text.endswith("?")]
        return f"You told me: {statements[0].text}" if statements else "I do not know that yet."

    def close(self) -> None:
        """End this life; the memories stay in the file."""
        self.store.close()


def live(path: Path, messages: list[str]) -> list[str]:
    """Start an agent on a store, let it hear messages, and shut it down."""
    agent = Agent(path)
    try:
        replies = [agent.say(message) for message in messages]
    finally:
        agent.close()
    for message, reply in zip(messages, replies, strict=True):
        print(f"Ada:   {message}\nAgent: {reply}")
    return replies


def main() -> list[str]:
    """Live twice on one file and return what the second life answered."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agent.db"
        print("-- first life")
        live(
            path,
            [
                "Where did I leave the spare key?",
                "The spare key is under the blue flower pot.",
                "My sister Ines is allergic to peanuts.",
                "The dentist moved my appointment to 14 March at nine.",
            ],
        )
        print("-- second life, same file")
        return live(
            path,
            ["Where did I leave the spare key?", "Who must not eat peanuts?", "When is the dentist's appointment?"],
        )


if __name__ == "__main__":
    main()
