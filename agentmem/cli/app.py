"""The command group: loads a command's module when it is asked for, and turns exceptions into one line and a code.

Exit codes: 0 done; 1 an error in the store or in the data; 2 a command line that cannot be used; 3 no record with that
id; 4 the store is busy, try again; 5 a check found problems; 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import click

from agentmem.errors import AgentMemError, InvalidInput, NotFound, StoreBusy

COMMANDS = {
    "add": "records",
    "attention": "attention",
    "backup": "care",
    "calibrate": "care",
    "check": "care",
    "delete": "records",
    "demo": "demo",
    "evaluate": "evaluate",
    "export": "transfer",
    "feedback": "records",
    "get": "records",
    "import": "transfer",
    "info": "care",
    "inspect": "inspector",
    "learn": "learning",
    "mcp": "mcp",
    "optimize": "care",
    "recover": "recovery",
    "reembed": "care",
    "search": "search",
    "simulate": "simulate",
    "stats": "care",
    "verify": "care",
    "weights": "learning",
}
DONE, FAILED, USAGE, MISSING, BUSY, PROBLEMS, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


class Failure(click.ClickException):
    """An error told in one line, with the exit code that goes with it."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(" ".join(message.split()))
        self.code = exit_code


def failure(error: Exception) -> Failure:
    """Return the line and the exit code that stand for ``error``."""
    if isinstance(error, StoreBusy):
        return Failure(f"{error} (another process is writing; try again)", BUSY)
    if isinstance(error, NotFound):
        return Failure(str(error), MISSING)
    if isinstance(error, InvalidInput):
        return Failure(str(error), USAGE)
    if isinstance(error, (AgentMemError, OSError)):
        return Failure(str(error) or type(error).__name__)
    return Failure(f"internal error, {type(error).__name__} (run again with --debug and report the traceback)")


def load(name: str) -> click.Command:
    """Import the module that holds a command and return the command."""
    module = importlib.import_module(f"agentmem.cli.{COMMANDS[name]}")
    command: click.Command = module.__dict__[f"{name}_command"]
    return command


def leaves() -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something under the words that call it, such as "attention list"; sorted."""
    for name in sorted(COMMANDS):
        command = load(name)
        if isinstance(command, click.Group):
            yield from ((f"{name} {each}", command.commands[each]) for each in sorted(command.commands))
        else:
            yield name, command


class Commands(click.Group):
    """The group ``agentmem``; each command lives in a module of its own, imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name, or None."""
        return load(cmd_name) if cmd_name in COMMANDS else None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an exception becomes a ``Failure`` unless --debug asks for its traceback."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if ctx.meta.get("agentmem.debug"):
                raise
            raise failure(error) from error

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line and leave the process with the exit code."""
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else "agentmem"
            click.echo(f"agentmem: {' '.join(error.format_message().split())} (see: {where} --help)", err=True)
            code = error.exit_code
        except Failure as error:
            click.echo(f"agentmem: {error.format_message()}", err=True)
            code = error.code
        except click.ClickException as error:
            click.echo(f"agentmem: {error.format_message()}", err=True)
            code = FAILED
        except click.Abort:
            click.echo("agentmem: interrupted", err=True)
            code = INTERRUPTED
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = DONE
        sys.exit(code if isinstance(code, int) else DONE)


@click.group(cls=Commands, context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]})
@click.version_option(package_name="agentmem")
def main() -> None:
    """Keep memories in one file and find them again: an embedded vector store with attention rerank.

    Exit codes: 0 done; 1 an error in the store or the data; 2 wrong usage; 3 no record with that id; 4 the store is
    busy, try again; 5 a check found problems; 130 interrupted. An error is one line on standard error; --debug shows
    the traceback.
    """
