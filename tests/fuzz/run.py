"""Fuzz one target: ``python tests/fuzz/run.py --target filters --seconds 600``.

With atheris (``pip install -e ".[fuzz]"``) libFuzzer looks for inputs that reach new code; without it the corpus is
mutated at random, from a seed.  An input that breaks the target is written to the working folder, and the traceback
shown; ``--input FILE`` runs it again.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).parent
TARGETS = sorted(path.stem for path in (HERE / "targets").glob("[!_]*.py"))
TOKENS = [
    *(mark.encode() for mark in '"\\{}[]:,.\n'),
    *(word.encode() for word in ("null", "true", "-0.0", "1e999", "9" * 25, "\ufdd0", "\\u0000", "\\ud800")),
    *(
        f'"{name}"'.encode()
        for name in ("$in", "$not", "$or", "$match", "$contains", "@id", "@position", "id", "links")
    ),
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x80",
    b"\x01\x00\x00\x00",
]

Target = Callable[[bytes], None]


def load(name: str) -> Target:
    """Return a target's ``run``."""
    target: Target = importlib.import_module(f"targets.{name}").run
    return target


def corpus(name: str) -> list[bytes]:
    """Return the inputs that fuzzing starts from."""
    return [path.read_bytes() for path in sorted((HERE / "corpus" / name).iterdir())]


def mutated(seeds: list[bytes], chance: random.Random) -> bytes:
    """Return one of the inputs with one to four changes."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 2, 4))):
        start = chance.randint(0, len(data))
        stop = min(len(data), start + chance.choice((0, 1, 1, 2, 4, 16)))
        other = chance.choice(seeds)
        cut = chance.randint(0, len(other))
        data[start:stop] = chance.choice(
            [
                b"",
                chance.choice(TOKENS),
                chance.randbytes(stop - start or 1),
                other[cut : cut + 16],
                data[start:stop] * 2,
            ]
        )
    return bytes(data)


def inputs(name: str, seed: int) -> Iterator[bytes]:
    """Yield the corpus, and then mutations of it without end."""
    seeds = corpus(name)
    yield from seeds
    chance = random.Random(seed)
    while True:
        yield mutated(seeds, chance)


def attempt(target: Target, data: bytes, folder: Path) -> None:
    """Run a target; an input that breaks it is kept in ``folder``."""
    try:
        target(data)
    except BaseException:
        path = folder / f"crash-{time.time_ns()}"
        path.write_bytes(data)
        print(f"{path} broke the target", file=sys.stderr)
        raise


def plain(name: str, *, seconds: float, rounds: int | None = None, seed: int = 0, folder: Path = Path()) -> int:
    """Fuzz without guidance until the time is over or the rounds are done; return the number of inputs tried."""
    target = load(name)
    end = time.monotonic() + seconds
    done = 0
    for data in inputs(name, seed):
        if done == rounds or time.monotonic() > end:
            break
        attempt(target, data, folder)
        done += 1
    return done


def guided(name: str, seconds: int, seed: int) -> None:
    """Fuzz with atheris; it ends the process."""
    import atheris

    with atheris.instrument_imports(include=["agentmem"]):
        target = load(name)
    found = tempfile.mkdtemp(prefix=f"fuzz-{name}-")
    options = [f"-max_total_time={seconds}", f"-seed={seed}", "-print_final_stats=1", "-max_len=4096", "-timeout=20"]
    atheris.Setup([sys.argv[0], found, str(HERE / "corpus" / name), *options], target)
    print(f"new inputs go to {found}", file=sys.stderr)
    atheris.Fuzz()


def main() -> None:
    """Parse the command line and fuzz."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=TARGETS, required=True)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="without atheris, even where it is installed")
    parser.add_argument("--input", type=Path, help="run this one input only")
    arguments = parser.parse_args()
    if arguments.input:
        load(arguments.target)(arguments.input.read_bytes())
    elif arguments.plain or importlib.util.find_spec("atheris") is None:
        done = plain(arguments.target, seconds=arguments.seconds, seed=arguments.seed)
        print(f"{arguments.target}: {done} inputs in {arguments.seconds} s, without atheris; nothing broke")
    else:
        guided(arguments.target, arguments.seconds, arguments.seed)


if __name__ == "__main__":
    main()
