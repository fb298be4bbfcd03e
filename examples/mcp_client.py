"""An agent's side of the memory server: start it, remember something, start it again, recall it.

The server is agentmem.adapters.mcp, by the name of ``agentmem mcp``; it needs ``pip install "agentmem[mcp]"``.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from mcp import Client, StdioServerParameters


def server(db: Path) -> StdioServerParameters:
    """Return how the server is started; a configuration file of an MCP client says the same in JSON."""
    return StdioServerParameters(command=sys.executable, args=["-m", "agentmem.cli", "mcp", "--db", str(db)])


async def remember(db: Path, text: str, **options: object) -> str:
    """Keep a memory, in a session of its own; return its id."""
    async with Client(server(db)) as client:
        kept = await client.call_tool("remember", {"text": text, **options})
        return str(kept.structured_content["id"])


async def recall(db: Path, question: str) -> list[str]:
    """Return what is known, best first, and tell the store that the first of it was of use."""
    async with Client(server(db)) as client:
        found = await client.call_tool("recall", {"query": question, "k": 3})
        memories = found.structured_content["memories"]
        if memories:
            await client.call_tool("feedback", {"query": question, "used": [memories[0]["id"]]})
        return [memory["text"] for memory in memories]


async def main() -> list[str]:
    """Remember in one session, recall in the next."""
    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder, "memory.db")
        await remember(db, "The spare key is under the third flower pot.", namespace="house")
        await remember(db, "Ines is allergic to peanuts.", namespace="people", metadata={"who": "Ines"})
        return await recall(db, "where is the spare key?")


if __name__ == "__main__":
    for text in asyncio.run(main()):
        print(text)
