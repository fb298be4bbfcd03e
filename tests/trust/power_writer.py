"""The process whose calls are recorded: ``python power_writer.py PATH SEED DURABILITY STEPS END``.

It carries out operations on a store and tells, in a file "told" beside it, what it begins and what is acknowledged.
The write-ahead log is moved into the file often.  END is "close" or "die": leave the log for the next to recover.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from drill_work import Work, held_by, make_small, open_store, perform

from agentmem.storage import connection


def main(path: Path, seed: str, durability: str, steps: int, end: str) -> None:
    make_small()
    connection._CHECKPOINT_PAGES = 150
    connection.SYNCHRONOUS["off"] = 0
    told = os.open(path.with_name("told"), os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    with open_store(path, durability) as store:
        work = Work(seed, held_by(store))
        for _ in range(steps):
            step = work.next()
            os.write(told, json.dumps(asdict(step)).encode())
            perform(store, step)
            work.done(step)
            os.write(told, b"done")
        if end == "die":
            os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
