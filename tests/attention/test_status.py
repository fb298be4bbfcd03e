"""What the library says of the machine."""

from __future__ import annotations

import sys

import pytest

from agentmem.attention.engine import native
from agentmem.attention.status import backend_status, blas, cores, instruction_set, is_native_available


def test_the_status_is_what_runs() -> None:
    status = backend_status()
    assert status["native"] is is_native_available() is (native() is not None)
    assert status["auto"] == {"float32": "native" if status["native"] else "numpy", "float64": "numpy"}
    assert status["cores"] == cores() >= 1
    assert (status["instruction_set"] is None) is (not status["native"])
    assert instruction_set() in ("x86-64-v4", "x86-64-v3", "baseline")


def test_what_is_not_installed_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    status = backend_status()
    assert (status["torch"], status["torch_version"], status["cuda"]) == (False, None, None)
    assert blas()["name"]
    assert (blas()["core_type"], blas()["threads"]) == (None, None)
