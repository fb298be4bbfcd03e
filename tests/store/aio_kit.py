"""For tests of the async store: coroutines as tests, and embedders that stop where a test wants them to."""

import asyncio
import functools
import threading
from contextvars import Context

DIM = 4
LONGEST_S = 60


def looped(test):
    """Make a test of a coroutine function: a loop of its own, and an end in any case."""

    @functools.wraps(test)
    def run(*arguments, **fixtures):
        asyncio.run(asyncio.wait_for(test(*arguments, **fixtures), LONGEST_S))

    return run


def vectors(texts):
    """Return a vector for each text: not zero, and the same for the same text."""
    return [[1.0, float(len(text)), float(sum(map(ord, text)) % 97), 1.0] for text in texts]


class Doorkeeper:
    """A function that embeds; it waits at texts that begin with "slow" until it is let go on.

    Attributes:
        waits: set by a thread that waits.
        go: lets it go on.
        calls: how many texts were embedded.
    """

    def __init__(self):
        self.waits = threading.Event()
        self.go = threading.Event()
        self.calls = 0

    def __call__(self, texts):
        """Return vectors."""
        if any(text.startswith("slow") for text in texts):
            self.waits.set()
            assert self.go.wait(LONGEST_S)
        self.calls += len(texts)
        return vectors(texts)

    async def waiting(self):
        """Return when a thread waits."""
        await asyncio.to_thread(self.waits.wait, LONGEST_S)


async def ticks(count):
    """Let the event loop go round so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


def apart(coroutine):
    """Start a task that knows nothing of this one: it is in no transaction of this one's."""
    return Context().run(asyncio.ensure_future, coroutine)
