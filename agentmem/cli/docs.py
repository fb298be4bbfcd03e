"""``python -m agentmem.cli.docs [--check]``: write docs/cli.md from the commands' own help, or compare it with them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from agentmem.cli.app import COMMANDS, load, main

PATH = Path("docs/cli.md")
HEAD = """# The command line

Written by `python -m agentmem.cli.docs` from the commands' own help; a test compares the two.

| exit code | meaning |
|---|---|
| 0 | done; a search without hits is an answer too |
| 1 | an error in the store or in the data |
| 2 | a command line that cannot be used |
| 3 | `get`, `delete`, `feedback`: no record with that id |
| 4 | another process holds the store's write lock; try again |
| 5 | `check`, `verify` found problems |
| 130 | interrupted |

An error is one line on standard error that says what to do; `--debug` shows the traceback instead. With `--json`,
standard output is one JSON document (`export` without a file: one object a line), whatever the terminal is.
"""


def _help(context: click.Context) -> str:
    return "\n".join(line.rstrip() for line in context.command.get_help(context).splitlines())


def pages() -> Iterator[tuple[str, str]]:
    """Yield (command, help page) for the group and each of its commands."""
    with main.make_context("agentmem", [], resilient_parsing=True, terminal_width=100) as context:
        yield "agentmem", _help(context)
        for name in sorted(COMMANDS):
            yield from _pages(load(name), name, context)


def _pages(command: click.Command, name: str, parent: click.Context) -> Iterator[tuple[str, str]]:
    """Yield (command, help page) of a command, and of those below it."""
    with command.make_context(name, [], parent, resilient_parsing=True, terminal_width=100) as context:
        yield context.command_path, _help(context)
        if isinstance(command, click.Group):
            for below in sorted(command.commands):
                yield from _pages(command.commands[below], below, context)


def document() -> str:
    """Return the whole of docs/cli.md."""
    return HEAD + "".join(f"\n## {name}\n\n```text\n{page}\n```\n" for name, page in pages())


def run() -> None:
    """Write docs/cli.md, or with --check exit with 1 where it is not what the commands say."""
    if "--check" not in sys.argv[1:]:
        PATH.write_text(document(), encoding="utf-8")
    elif PATH.read_text(encoding="utf-8") != document():
        sys.exit("docs/cli.md is out of date; run: python -m agentmem.cli.docs")


if __name__ == "__main__":
    run()
