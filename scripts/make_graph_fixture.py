"""Ask the reference MCP memory server what it does over random sequences of calls, and write that down for a test.

Run with the server installed beside it (``npm install @modelcontextprotocol/server-memory`` in some folder)::

    python scripts/make_graph_fixture.py FOLDER tests/fixtures/graph.json
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters

SEQUENCES, CALLS = 16, 22
READING = ("read_graph", "search_nodes", "open_nodes")
MAKING = ("create_entities", "create_relations", "add_observations")
DELETING = ("delete_entities", "delete_observations", "delete_relations")
TOOLS = (*MAKING, *MAKING, *DELETING, *READING)
NAMES = ("Ana", "ana", "Bo Li", "Çelik")
TYPES = ("person", "Place")
FACTS = ("likes tea", "lives by the SEA", "éclair", "two\nlines")
KINDS = ("knows", "lives_in")
QUERIES = ("an", "SEA", "É", "", "person", "nothing")


class Calls:
    """Draws calls, some of them with the same name twice, and with names that are not there."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def some(self, pool: tuple[str, ...], most: int = 3) -> list[str]:
        """Return a few of a pool, with repetitions."""
        return self.random.choices(pool, k=self.random.randint(0, most))

    def relations(self) -> list[dict[str, str]]:
        """Return a few relations."""
        pick = self.random.choice
        return [
            {"from": pick(NAMES), "to": pick(NAMES), "relationType": pick(KINDS)}
            for _ in range(self.random.randint(0, 3))
        ]

    def draw(self) -> tuple[str, dict[str, Any]]:
        """Return a tool and its arguments."""
        name = self.random.choice(TOOLS)
        if name == "create_entities":
            entities = [
                {"name": each, "entityType": self.random.choice(TYPES), "observations": self.some(FACTS)}
                for each in self.some(NAMES)
            ]
            return name, {"entities": entities}
        if name in ("create_relations", "delete_relations"):
            return name, {"relations": self.relations()}
        if name == "add_observations":
            return name, {
                "observations": [{"entityName": each, "contents": self.some(FACTS)} for each in self.some(NAMES, 2)]
            }
        if name == "delete_observations":
            return name, {
                "deletions": [{"entityName": each, "observations": self.some(FACTS)} for each in self.some(NAMES, 2)]
            }
        if name == "delete_entities":
            return name, {"entityNames": self.some(NAMES, 1)}
        if name == "search_nodes":
            return name, {"query": self.random.choice(QUERIES)}
        return name, {"names": self.some(NAMES)} if name == "open_nodes" else {}


async def ask(server: Path, seed: int) -> list[dict[str, Any]]:
    """Return calls and what the reference answers, over an empty graph."""
    calls, told = Calls(seed), []
    with tempfile.TemporaryDirectory() as folder:
        start = StdioServerParameters(
            command="node", args=[str(server)], env={"MEMORY_FILE_PATH": str(Path(folder, "memory.jsonl"))}
        )
        async with Client(start) as client:
            for _ in range(CALLS):
                name, arguments = calls.draw()
                answer = await client.call_tool(name, arguments)
                result = None if answer.is_error else answer.structured_content
                told.append({"tool": name, "arguments": arguments, "result": result})
                if name in READING:
                    continue
                graph = (await client.call_tool("read_graph", {})).structured_content
                told.append({"tool": "read_graph", "arguments": {}, "result": graph})
    return told


async def main(folder: str, output: str) -> None:
    """Write the fixture."""
    package = Path(folder, "node_modules", "@modelcontextprotocol", "server-memory")
    sequences = [await ask(package / "dist" / "index.js", seed) for seed in range(SEQUENCES)]
    version = json.loads((package / "package.json").read_text())["version"]
    document = {"server": "@modelcontextprotocol/server-memory", "version": version, "sequences": sequences}
    Path(output).write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
