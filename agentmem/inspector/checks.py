"""The check of a store, run beside the page: one at a time, asked about while it runs."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import asdict
from typing import Any

from agentmem.care import CheckReport, examine
from agentmem.errors import AgentMemError, InvalidInput
from agentmem.store import MemoryStore

log = logging.getLogger("agentmem.inspector")

SAMPLE = 100
"""Records that are searched for, to measure recall."""


class CheckJob:
    """Runs ``check`` in a thread of its own."""

    def __init__(self, store: MemoryStore, *, full: bool) -> None:
        """Check this store; ``full`` says that the full-text index is compared too, which takes the write lock."""
        self._store = store
        self._full = full
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._step = ""
        self._started = self._ended = 0.0
        self._report: CheckReport | None = None
        self._error: str | None = None

    def start(self) -> None:
        """Begin.

        Raises:
            InvalidInput: one is running.
        """
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                raise InvalidInput("a check is running; wait for its end")
            self._report = self._error = None
            self._step, self._started = "beginning", time.monotonic()
            self._thread = threading.Thread(target=self._run, name="agentmem-inspect-check", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Wait until no check is running."""
        if self._thread is not None:
            self._thread.join()

    def state(self) -> dict[str, Any]:
        """Return whether one runs and its step, how long it took, and what the last one found."""
        running = self._thread is not None and self._thread.is_alive()
        report = self._report
        found = None if report is None else asdict(report) | {"ok": report.ok, "full": self._full}
        end = time.monotonic() if running else self._ended
        return {
            "state": "running" if running else "failed" if self._error else "done" if report else "never",
            "step": self._step,
            "seconds": end - self._started,
            "report": found,
            "error": self._error,
        }

    def _run(self) -> None:
        try:
            self._report = examine(self._store, SAMPLE, self._at)
        except AgentMemError as error:
            self._error = str(error)
        except Exception as error:
            log.exception("the check failed")
            self._error = f"internal error, {type(error).__name__}; the log of the command has the traceback"
        self._ended = time.monotonic()

    def _at(self, step: str) -> None:
        self._step = step
