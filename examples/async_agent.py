"""An agent on an event loop: it hears several people at once, and its embedder is a coroutine.

The embedder stands for a remote model: it takes its time, and the loop goes on meanwhile.  What one person says in a
turn is one commit, even when the turn is cancelled in the middle.

    python examples/async_agent.py
"""

import asyncio

import agentmem
from agentmem.aio import UNDONE

PEOPLE = {
    "ada": ["My sister Ines is allergic to peanuts.", "The spare key is under the blue flower pot."],
    "ben": ["The red bicycle needs a new chain.", "I moved to Porto in March."],
}
QUESTIONS = {"ada": "Who must not eat peanuts?", "ben": "Where does Ben live now?"}


class RemoteModel:
    """The bundled model behind a pretended network."""

    def __init__(self) -> None:
        self.model = agentmem.StaticEmbedder()
        self.name = f"remote-{self.model.name}"
        self.dimension, self.metric = self.model.dimension, self.model.metric

    async def embed(self, texts: list[str]) -> object:
        """Return vectors, after a moment."""
        await asyncio.sleep(0.01)
        return self.model.embed(texts)


async def hear(store: agentmem.AsyncMemoryStore, person: str, sentences: list[str]) -> None:
    """Keep what a person says in one turn: all of it or nothing."""
    async with store.transaction():
        for sentence in sentences:
            await store.add(sentence, namespace=f"users/{person}")


async def interrupted(store: agentmem.AsyncMemoryStore) -> str:
    """Cancel a turn in the middle; return what the store says has become of it."""
    turn = asyncio.create_task(hear(store, "eve", ["I will tell you something.", "Oh, never mind."]))
    await asyncio.sleep(0.015)
    turn.cancel()
    try:
        await turn
    except asyncio.CancelledError as error:
        return str(error.args[-1]) if error.args else UNDONE
    return "said in time"


async def main() -> tuple[dict[str, str | None], str, int]:
    """Hear everybody at once, answer everybody at once."""
    async with agentmem.AsyncMemoryStore(":memory:", embedder=RemoteModel()) as store:
        await asyncio.gather(*(hear(store, person, said) for person, said in PEOPLE.items()))
        what = await interrupted(store)
        found = await asyncio.gather(
            *(store.search(question, namespace=f"users/{person}", k=1) for person, question in QUESTIONS.items())
        )
        answers = {person: hits[0].text for person, hits in zip(QUESTIONS, found, strict=True)}
        for hits in found:
            await store.used(hits[0])
        for person, answer in answers.items():
            print(f"{QUESTIONS[person]}  {answer}")
        print(f"The turn that was broken off: {what}")
        return answers, what, await store.count()


if __name__ == "__main__":
    asyncio.run(main())
