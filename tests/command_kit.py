"""The command, run in this process."""

import json
from dataclasses import dataclass

from click.testing import CliRunner

from agentmem.cli import main


@dataclass
class Done:
    """What a run of the command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """Standard output as JSON."""
        return json.loads(self.out)

    @property
    def counts(self):
        """What an import counted: its JSON without the list of what was skipped."""
        return {name: value for name, value in self.json.items() if name != "skips"}


def run(*arguments, stdin=None):
    """Run ``agentmem`` with arguments."""
    done = CliRunner().invoke(main, [str(each) for each in arguments], input=stdin, prog_name="agentmem")
    return Done(done.exit_code, done.stdout, done.stderr)
