"""A store with a little of everything, and the page's server over it, in this process."""

import threading
from contextlib import contextmanager

from agentmem import MemoryStore

HOSTILE = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>\'>&amp;‮\u0007{{7*7}}/'
"""Markup, an escape of an attribute, an entity, a mark that turns the direction of text, a control character."""
TOKEN = "a-token-of-the-tests"
SPOKEN = 60


def fill(path):
    """Make the store: a thread of two sittings, a branch of namespaces, loose records, a link, a hostile record."""
    with MemoryStore(path, merge="manual") as store:
        with store.transaction():
            for turn in range(SPOKEN):
                store.add(
                    f"Turn {turn}: Ines is allergic to peanuts" if turn == 7 else f"Turn {turn} is about the kettle",
                    id=f"turn-{turn}",
                    namespace="users/ada",
                    thread="kitchen",
                    position=turn,
                    session=str(turn // 40),
                    speaker="Ada",
                    created_at=1_700_000_000 + turn * 60 + (turn // 40) * 400_000,
                )
            store.add("Ada keeps bees", id="bees", namespace="users", metadata={"topic": "bees", "big": 2**70})
            store.add("A note of nobody", id="note", links=[("about", "bees")])
            store.add(
                f"{HOSTILE} honey",
                id=HOSTILE,
                namespace=HOSTILE,
                thread=HOSTILE,
                session=HOSTILE,
                speaker=HOSTILE,
                metadata={HOSTILE: HOSTILE},
                links=[(HOSTILE, "bees")],
            )
        hits = store.search("who keeps bees?", k=3)
        store.feedback("who keeps bees?", accepted=["bees"], rejected=["note"], shown=[*hits, "bees"])
        store.feedback(HOSTILE, accepted=[HOSTILE])
        store.learn()
        store.merge()
        store.add("The newest is in the tail", id="tail", namespace="users/bo")


@contextmanager
def served(path, *, writable=False, token=TOKEN):
    """Run the server on a free port of this machine; gives the address that it announces."""
    import uvicorn

    from agentmem.inspector import server

    running, address = [], []
    announced = threading.Event()
    plain = uvicorn.Server

    class Noted(plain):
        """A server that the test can end."""

        def __init__(self, config):
            super().__init__(config)
            running.append(self)

    def announce(url):
        address.append(url)
        announced.set()

    def serve():
        with MemoryStore(path, embedder="stored", read_only=not writable, merge="manual") as store:
            server.serve(store, server.Place(token=token), announce, writable=writable)

    server.uvicorn.Server = Noted
    thread = threading.Thread(target=serve)
    try:
        thread.start()
        assert announced.wait(60), "the server did not start"
        yield address[0]
    finally:
        server.uvicorn.Server = plain
        for each in running:
            each.should_exit = True
        thread.join()
