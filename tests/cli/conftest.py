"""The command, run in this process on a store of the test's own."""

import json
from dataclasses import dataclass

import pytest
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


@pytest.fixture
def agentmem(tmp_path, monkeypatch):
    """Return a function that runs ``agentmem`` with arguments, on ``tmp_path / "memory.db"``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AGENTMEM_DB", raising=False)

    def run(*arguments, stdin=None):
        done = CliRunner().invoke(main, [str(each) for each in arguments], input=stdin, prog_name="agentmem")
        return Done(done.exit_code, done.stdout, done.stderr)

    return run
