"""Optional packages: imported when they are asked for, with one error where they are absent."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from agentmem.errors import MissingExtra


def missing(purpose: str, extra: str, error: ImportError) -> MissingExtra:
    """Return the exception for an import that failed: what needs it, why, and the command that installs it."""
    return MissingExtra(
        f'{purpose} needs a package that cannot be imported ({error}); run: pip install "agentmem[{extra}]"'
    )


def need(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional module.

    Args:
        module: its full name.
        extra: the extra of agentmem that installs it.
        purpose: what needs it, for the message.

    Raises:
        MissingExtra: it cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise missing(purpose, extra, error) from error
