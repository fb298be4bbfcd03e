"""The ``agentmem`` command."""

from agentmem.cli.app import main

__all__ = ["main"]
