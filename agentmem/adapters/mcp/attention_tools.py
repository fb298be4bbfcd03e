"""Four tools of the attention library: list, compute, benchmark and recommend mechanisms.  They read no store."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import anyio.to_thread
from mcp.server.mcpserver import Context
from pydantic import Field

from agentmem import InvalidInput
from agentmem.adapters.mcp.tool import READS, Answer, Tool
from agentmem.attention import registry
from agentmem.attention.selector import MechanismSelector
from agentmem.attention.service import AttentionService
from agentmem.attention.timing import time_mechanism

MOST_NUMBERS = 65_536
"""In the rows of a call, and in its answer, which an agent has to read."""
LONGEST, WIDEST, MOST_TIMED = 4_096, 1_024, 16

Rows = Annotated[list[list[float]], Field(min_length=1)]


class Mechanism(Answer):
    """What a mechanism is."""

    name: str
    category: str
    summary: str
    complexity: str
    best_for: str | None = None
    parameters: dict[str, Any] | None = Field(default=None, description="Names and defaults.")
    needs: list[str] | None = Field(default=None, description="Inputs without which it does not work.")
    paper: str | None = None


class Mechanisms(Answer):
    """The mechanisms that there are."""

    mechanisms: list[Mechanism]


class Computed(Answer):
    """What attention gives."""

    output: list[list[float]]
    weights: list[Any] | None = Field(default=None, description="Where asked for: by head, query and key.")
    mechanism: str
    backend: str
    reason: str = Field(description="Why that mechanism.")
    milliseconds: float


class Timed(Answer):
    """How long one call takes on this machine."""

    mechanism: str
    backend: str
    median_us: float
    p95_us: float
    calls_per_second: float
    scratch_bytes: int


class Benchmark(Answer):
    """Figures of one machine; compare them with one another only."""

    size: int
    dim: int
    timings: list[Timed]


class Recommended(Answer):
    """A mechanism, and the rule that chose it."""

    mechanism: str
    reason: str


class AttentionTools:
    """The tools over one service."""

    def __init__(self) -> None:
        self._service = AttentionService()

    def tools(self) -> list[Tool]:
        """Return the four."""
        functions = (self.attention_list, self.attention_compute, self.attention_benchmark, self.attention_recommend)
        return [Tool.of(each, READS) for each in functions]

    def attention_list(
        self, category: Annotated[str | None, Field(description="Only this family, e.g. sparse or linear.")] = None
    ) -> Mechanisms:
        """List the attention mechanisms: family, cost, what each is best for, parameters, inputs that it needs."""
        declared = (
            [registry.get(name) for name in registry.list()] if category is None else registry.by_category(category)
        )
        return Mechanisms(
            mechanisms=[
                Mechanism(
                    name=each.name,
                    category=each.category,
                    summary=each.summary,
                    complexity=each.complexity,
                    best_for=each.best_for or None,
                    parameters={p.name: p.default for p in each.parameters} or None,
                    needs=list(each.needs) or None,
                    paper=each.paper or None,
                )
                for each in declared
            ]
        )

    def attention_compute(
        self,
        query: Annotated[Rows, Field(description="One row of numbers a query.")],
        key: Annotated[Rows, Field(description="One row a key, as long as the queries' rows.")],
        value: Annotated[Rows | None, Field(description="One row a key; the keys themselves if left out.")] = None,
        mechanism: Annotated[str | None, Field(description="A name of attention_list.")] = None,
        params: Annotated[dict[str, Any] | None, Field(description="Of the mechanism.")] = None,
        positions: Annotated[list[float] | None, Field(description="Place of each key in its sequence.")] = None,
        segment_ids: Annotated[list[int] | None, Field(description="Group of each key.")] = None,
        edges: Annotated[list[tuple[int, int]] | None, Field(description="Pairs (query row, key row).")] = None,
        return_weights: Annotated[bool, Field(description="Also give how much each query looks at each key.")] = False,
    ) -> Computed:
        """Attend from queries to keys, and give the mixed values: what any mechanism of the catalogue makes of rows."""
        rows = (*query, *key, *(value or ()))
        for name, given in (("query", query), ("key", key), ("value", value or key)):
            if len({len(row) for row in given}) > 1:
                raise InvalidInput(f"{name}: expected rows of one length, came rows of {len(given[0])} and of others")
        told = sum(map(len, rows))
        gives = len(query) * (len((value or key)[0]) + (len(key) if return_weights else 0))
        if max(told, gives) > MOST_NUMBERS:
            raise InvalidInput(
                f"the rows have {told} numbers and the answer would have {gives}, at most {MOST_NUMBERS} are possible; "
                "give fewer or shorter rows, or use the agentmem.attention library for more"
            )
        result = self._service.forward(
            query,
            key,
            value,
            mechanism=mechanism,
            params=params,
            positions=positions,
            segment_ids=segment_ids,
            edges=edges,
            return_weights=return_weights,
        )
        return Computed(
            output=result.output.tolist(),
            weights=None if result.weights is None else result.weights.tolist(),
            mechanism=result.mechanism,
            backend=result.backend,
            reason=result.reason,
            milliseconds=round(result.seconds * 1e3, 4),
        )

    async def attention_benchmark(
        self,
        context: Context[Any, Any],
        mechanisms: Annotated[
            list[str] | None, Field(min_length=1, max_length=MOST_TIMED, description="Names of attention_list.")
        ] = None,
        size: Annotated[int, Field(ge=1, le=LONGEST, description="Queries, and as many keys.")] = 512,
        dim: Annotated[int, Field(ge=1, le=WIDEST, description="Length of a row.")] = 64,
    ) -> Benchmark:
        """Time mechanisms on this machine, one after the other, over random rows; without names, flash-attention-v2."""
        names = [registry.get(name).name for name in mechanisms or ("flash-attention-v2",)]
        timings = []
        for done, name in enumerate(names):
            await context.report_progress(done, len(names), name)
            timing = await anyio.to_thread.run_sync(partial(time_mechanism, name, size, dim))
            timings.append(
                Timed(
                    mechanism=timing.mechanism,
                    backend=timing.backend,
                    median_us=round(timing.median_us, 2),
                    p95_us=round(timing.p95_us, 2),
                    calls_per_second=round(timing.per_second, 2),
                    scratch_bytes=timing.scratch_bytes,
                )
            )
        return Benchmark(size=size, dim=dim, timings=timings)

    def attention_recommend(
        self,
        sequence_length: Annotated[int, Field(ge=0, description="Keys that a query sees at most.")],
        batch_size: Annotated[int, Field(ge=1, description="Calls at a time.")] = 1,
        hierarchical: Annotated[bool, Field(description="The rows form a hierarchy.")] = False,
        graph: Annotated[bool, Field(description="Edges between rows are known.")] = False,
        moe: Annotated[bool, Field(description="Different kinds of queries are to be treated differently.")] = False,
        task: Annotated[
            str,
            Field(description="code-analysis, memory-retrieval, long-context, swarm-coordination or default."),
        ] = "default",
    ) -> Recommended:
        """Say which mechanism the rules choose for calls of a kind, and which rule it was."""
        chosen = MechanismSelector().select(
            sequence_length, batch_size=batch_size, hierarchical=hierarchical, graph=graph, moe=moe, task=task
        )
        return Recommended(mechanism=chosen.mechanism, reason=chosen.reason)


def attention_tools() -> Sequence[Tool]:
    """Return the four tools."""
    return AttentionTools().tools()
