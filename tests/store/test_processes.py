"""Two processes on one store see each other's commits at their next call."""

import subprocess
import sys

import agentmem

CHILD = """
import sys
import agentmem
with agentmem.MemoryStore(sys.argv[1], embedder=None, dimension=3, merge="manual", cache_size=10) as store:
    for line in sys.stdin:
        verb, rid = line.split()
        if verb == "add":
            store.add(f"note {rid}", id=rid, embedding=[1, 2, 3])
        elif verb == "delete":
            store.delete(rid)
        print(",".join(sorted(hit.id for hit in store.search(embedding=[1, 2, 3], k=100))), flush=True)
"""


def test_each_process_sees_the_other_at_once(tmp_path):
    path = tmp_path / "memory.db"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def ask(verb, rid):
        child.stdin.write(f"{verb} {rid}\n")
        child.stdin.flush()
        return child.stdout.readline().strip()

    with agentmem.MemoryStore(path, embedder=None, dimension=3, merge="manual", cache_size=10) as store:

        def ids():
            return ",".join(sorted(hit.id for hit in store.search(embedding=[1, 2, 3], k=100)))

        assert ask("add", "a") == "a"
        assert ids() == "a"
        store.add("mine", id="b", embedding=[3, 2, 1])
        assert ask("search", "-") == "a,b"
        assert ask("delete", "b") == "a"
        assert ids() == "a"
        store.merge()
        assert ask("add", "c") == "a,c"
        assert ids() == "a,c"
        child.stdin.close()
        assert child.wait(30) == 0
        child.stdout.close()
