"""A process that changes a store without end and prints each acknowledged operation; the kill test ends it."""

import json
import random
import sys

import agentmem


def main(path: str, seed: int) -> None:
    """Add, update and delete at random; one JSON line an acknowledged operation."""
    chance = random.Random(seed)
    with agentmem.MemoryStore(path, embedder=None, dimension=4, merge="manual") as store:
        alive = [record.id for record in store.iterate()]
        number = 0
        while True:
            number += 1
            roll = chance.random()
            vector = [chance.random() + 0.1 for _ in range(4)]
            text = f"memory {seed} {number}"
            if roll < 0.5 or not alive:
                rid = f"{seed}-{number}"
                announce("try", "put", rid, text)
                store.add(text, id=rid, embedding=vector)
                alive.append(rid)
                announce("done", "put", rid, text)
            elif roll < 0.75:
                rid = chance.choice(alive)
                announce("try", "put", rid, text)
                store.update(rid, text=text, embedding=vector)
                announce("done", "put", rid, text)
            elif roll < 0.97:
                rid = alive.pop(chance.randrange(len(alive)))
                announce("try", "delete", rid, None)
                store.delete(rid)
                announce("done", "delete", rid, None)
            else:
                announce("try", "merge", "", None)
                store.merge()
                announce("done", "merge", "", None)


def announce(state: str, op: str, rid: str, text: str | None) -> None:
    """Print one line and have it leave this process."""
    sys.stdout.write(json.dumps([state, op, rid, text]) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
