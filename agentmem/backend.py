"""Which backend runs: the compiled kernels, or NumPy where the package was built without them.

The compiled modules are asked for here and nowhere else.  ``AGENTMEM_BACKEND`` in the environment decides for a whole
process: ``auto`` (the default) takes the kernels where they are built and says once where they are not, ``native``
raises where they are not, ``numpy`` leaves them alone.
"""

from __future__ import annotations

import importlib
import os
import warnings
from functools import cache
from types import ModuleType

from agentmem.errors import BackendUnavailable, InvalidInput

CHOICES = ("auto", "native", "numpy")


@cache
def requested() -> str:
    """Return the backend that the environment asks for: "auto", "native" or "numpy".

    Raises:
        InvalidInput: ``AGENTMEM_BACKEND`` holds another word.
    """
    choice = os.environ.get("AGENTMEM_BACKEND", "auto")
    if choice not in CHOICES:
        raise InvalidInput(f"AGENTMEM_BACKEND is {choice!r}; expected one of {', '.join(CHOICES)}")
    return choice


@cache
def _warn_portable(reason: str) -> None:
    warnings.warn(f"agentmem runs on NumPy: {reason}", RuntimeWarning, stacklevel=3)


@cache
def kernels(name: str) -> ModuleType | None:
    """Return the compiled module ``agentmem._kernels.<name>``, or None where NumPy has to do its work.

    Raises:
        BackendUnavailable: the environment asks for "native" and the module is not built.
    """
    if requested() == "numpy":
        return None
    try:
        return importlib.import_module(f"agentmem._kernels.{name}")
    except ImportError as error:
        reason = "the compiled kernels are not built; reinstall with a C compiler to have them"
        if requested() == "native":
            raise BackendUnavailable(f"AGENTMEM_BACKEND=native, but {reason} ({error})") from error
        _warn_portable(reason)
        return None
