"""mem0 with its memories in an agentmem file.

mem0 asks a language model for the facts in a conversation and an embedding model for their vectors. Here a small server
on this machine stands for both, so that the example runs without keys: each statement of the user is a fact, and the
vectors are those of the bundled model. With a real provider, leave out `serve` and give its address and key.

    pip install "agentmem[mem0]"
    python examples/mem0_memory.py
"""

import json
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from agentmem import StaticEmbedder
from agentmem.adapters.mem0 import Mem0VectorStore

DIMENSION = StaticEmbedder().dimension


class Model(BaseHTTPRequestHandler):
    """Answers as an OpenAI-compatible server does: /embeddings and /chat/completions."""

    def do_POST(self) -> None:
        """Answer one request."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/embeddings"):
            vectors = StaticEmbedder().embed(asked["input"]).tolist()
            data = [{"object": "embedding", "index": n, "embedding": vector} for n, vector in enumerate(vectors)]
            answer = {"object": "list", "model": asked["model"], "data": data}
        else:
            new = asked["messages"][-1]["content"].split("## New Messages")[1].split("## Observation Date")[0]
            facts = [{"text": text} for text in re.findall(r"user: ([^\n?]+)(?:\n|$)", new)]
            message = {"role": "assistant", "content": json.dumps({"memory": facts})}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            answer = {"id": "1", "object": "chat.completion", "model": asked["model"], "choices": [choice]}
        body = json.dumps(answer | {"created": 0}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serve() -> Iterator[str]:
    """Run the model on this machine; give its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> list[str]:
    """Let mem0 remember a conversation, open the file again, and return what it finds for two questions."""
    with tempfile.TemporaryDirectory() as folder, serve() as address:
        os.environ |= {"MEM0_TELEMETRY": "False", "MEM0_DIR": folder}  # before mem0 is imported
        import mem0

        model = {"provider": "openai", "config": {"model": "local", "api_key": "none", "openai_base_url": address}}
        config = {"llm": model, "embedder": model, "history_db_path": str(Path(folder) / "history.db")}
        found = []
        for say, question in (
            ("The spare key is under the flower pot.", "Where is the key?"),
            ("Ines cannot eat peanuts.", "What does Ines not eat?"),
        ):
            with Mem0VectorStore(Path(folder) / "memory.db", DIMENSION) as store:
                client = {"provider": "langchain", "config": {"client": store}}
                with mem0.Memory.from_config(config | {"vector_store": client}) as memory:
                    memory.add([{"role": "user", "content": say}], user_id="ada")
                    best = memory.search(question, filters={"user_id": "ada"}, top_k=1)["results"][0]
            print(f"{question}\n  {best['memory']} (score {best['score']:.2f})")
            found.append(best["memory"])
    return found


if __name__ == "__main__":
    main()
