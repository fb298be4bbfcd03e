"""The verb by which a store learns how its own vectors score: heads and gate count in deviations of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentmem.core import StoreCore
from agentmem.errors import InvalidInput
from agentmem.identity import keep_calibration
from agentmem.rerank.evidence import MIN_BACKGROUND, Background, measure_background
from agentmem.telemetry import timed

if TYPE_CHECKING:
    from agentmem.index.view import View

SAMPLE = 2_048
"""Records whose vectors are compared with each other, drawn at random: two million pairs, in about a second."""


class CalibrationVerbs(StoreCore):
    """calibrate."""

    @timed()
    def calibrate(self) -> Background:
        """Measure how the store's vectors score against each other, and keep that in the store; committed on return.

        Without it, each process measures a smaller sample by itself, and anew when the store has grown by a quarter;
        with it, every process goes by the same figures until the next call, or until the store has another embedder.
        Processes that have the store open take them up when they open it again.

        Raises:
            InvalidInput: the store holds fewer than 64 vectors, or vectors that are all alike.
        """
        with self.snapshot() as (_, view):
            measured = measured_background(view, SAMPLE)
        if not measured.known:
            raise InvalidInput(
                f"nothing to calibrate by: {MIN_BACKGROUND} or more records with different vectors are needed; add "
                "some, or leave it: until then the heads count by the span of each search's own candidates"
            )
        with self.database.transaction() as writer:
            keep_calibration(writer, self.identity, measured)
        self.calibrated = {self.identity.generation: measured}
        return measured


def measured_background(view: View, rows: int) -> Background:
    """Return the background similarity of a view, from so many of its rows."""
    sample = view.sample(rows, seed=0)
    return measure_background(view.vectors(sample), view.metric == "cosine", view.metric == "l2")
