"""The HTTP embedder against a server that does what servers do: answer out of order, in part, late, or not at all."""

from __future__ import annotations

import base64
import json
import logging
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

import agentmem
from agentmem.embed import HttpEmbedder, http
from agentmem.errors import EmbeddingFailed, InvalidInput, MissingExtra

KEY = "sk-SECRET123"
Answer = Callable[["Handler", dict[str, Any]], None]


def vector(text: str, dimension: int = 3) -> list[float]:
    return [len(text) + number / 2 for number in range(dimension)]


def items(texts: list[str], **options: Any) -> list[dict[str, Any]]:
    return [{"index": index, "embedding": vector(text, **options)} for index, text in enumerate(texts)]


class Handler(BaseHTTPRequestHandler):
    """Answers with the next of the server's answers, rightly when there is none left."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, self.headers.get("Authorization"), body))
        answer = self.server.answers.pop(0) if self.server.answers else right
        answer(self, body)

    def reply(self, status: int, content: Any, **headers: str) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(raw)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = []
        self.seen: list[tuple[str, str | None, dict[str, Any]]] = []
        self.over = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


def right(handler: Handler, body: dict[str, Any]) -> None:
    handler.reply(200, {"data": items(body["input"])})


def data(make: Callable[[list[str]], Any]) -> Answer:
    return lambda handler, body: handler.reply(200, {"data": make(body["input"])})


def status(code: int, content: Any = b"", **headers: str) -> Answer:
    return lambda handler, body: handler.reply(code, content, **headers)


def hang(handler: Handler, body: dict[str, Any]) -> None:
    assert handler.server.over.wait(30)
    handler.close_connection = True


def trickle(handler: Handler, body: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    while not handler.server.over.wait(0.02):
        try:
            handler.wfile.write(b" ")
        except OSError:
            break
    handler.close_connection = True


def cut(handler: Handler, body: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"data": [')
    handler.close_connection = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that are asked for; none is made."""
    asked: list[float] = []
    monkeypatch.setattr(http.time, "sleep", asked.append)
    return asked


@pytest.fixture
def embedder(server: Server) -> Iterator[HttpEmbedder]:
    embedder = HttpEmbedder(server.url, "model-1", api_key=KEY, batch=3, timeout=5.0)
    yield embedder
    embedder.close()


def test_texts_go_in_batches_and_the_key_in_the_header(server: Server, embedder: HttpEmbedder) -> None:
    texts = ["a", "bb", "ccc", "dddd"]
    vectors = embedder.embed(texts)
    np.testing.assert_array_equal(vectors, [vector(text) for text in texts])
    assert vectors.dtype == np.float32
    assert [body["input"] for _, _, body in server.seen] == [texts[:3], texts[3:]]
    path, key, body = server.seen[0]
    assert (path, key) == ("/v1/embeddings", f"Bearer {KEY}")
    assert body == {"model": "model-1", "input": texts[:3], "encoding_format": "float"}
    assert (embedder.name, embedder.dimension, embedder.metric) == ("model-1", 3, "cosine")
    assert len(server.seen) == 2, "the dimension was known by then"


def test_a_query_stays_behind_the_path_and_nothing_is_sent_without_a_key(server: Server) -> None:
    embedder = HttpEmbedder(f"{server.url}/?api-version=3", "m", name="mine")
    assert embedder.name == "mine"
    assert embedder.dimension == 3
    assert server.seen[0][:2] == ("/v1/embeddings?api-version=3", None)
    server.answers = [status(404)]
    with pytest.raises(EmbeddingFailed, match="/v1/embeddings: HTTP 404"):
        embedder.embed(["a"])
    embedder.close()


def test_answers_are_put_in_order_by_their_index(server: Server, embedder: HttpEmbedder) -> None:
    server.answers = [data(lambda texts: items(texts)[::-1])]
    np.testing.assert_array_equal(embedder.embed(["a", "bb"]), [vector("a"), vector("bb")])


@pytest.mark.parametrize("asked", ["float", "base64"])
@pytest.mark.parametrize("given", ["float", "base64"])
def test_both_encodings_are_read_whichever_was_asked_for(server: Server, asked: Any, given: str) -> None:
    def encoded(texts: list[str]) -> Any:
        if given == "float":
            return items(texts)
        raws = [np.array(vector(text), "<f4").tobytes() for text in texts]
        return [{"index": index, "embedding": base64.b64encode(raw).decode()} for index, raw in enumerate(raws)]

    server.answers = [data(encoded)]
    embedder = HttpEmbedder(server.url, "m", encoding=asked)
    np.testing.assert_array_equal(embedder.embed(["a", "bb"]), [vector("a"), vector("bb")])
    assert server.seen[0][2]["encoding_format"] == asked
    embedder.close()


NAN = base64.b64encode(np.array([1, np.nan, 2], "<f4").tobytes()).decode()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (data(lambda texts: items(texts)[:1]), "2 texts were sent, and 1 embeddings came"),
        (data(lambda texts: items([*texts, "c"])), "2 texts were sent, and 3 embeddings came"),
        (data(lambda texts: [{**each, "index": 0} for each in items(texts)]), "or not numbered from 0"),
        (data(lambda texts: []), "and 0 embeddings came"),
        (data(lambda texts: items(texts, dimension=4)), r"shape \(2, 3\), got shape \(2, 4\)"),
        (data(lambda texts: [*items(texts[:1]), {"index": 1, "embedding": [1.0]}]), "several lengths came: 1, 3"),
        (data(lambda texts: [{"index": 0, "embedding": NAN}, {"index": 1, "embedding": [1, 2, 3]}]), "NaN .* text 0"),
        (data(lambda texts: [*items(texts[:1]), {"index": 1, "embedding": [1, 1e300, 3]}]), "infinity for text 1"),
        (data(lambda texts: [{"index": 0, "embedding": "AAA"}]), r"not that of an embeddings interface.*check the URL"),
        (data(lambda texts: [{"index": 0, "embedding": "AAAA"}]), "not that of an embeddings interface"),
        (data(lambda texts: [{"index": 0, "embedding": None}]), "not that of an embeddings interface"),
        (data(lambda texts: [{"index": 0, "embedding": ["a"]}]), "not that of an embeddings interface"),
        (data(lambda texts: [{"embedding": [1, 2, 3]}]), r"not that of an embeddings interface \(KeyError\)"),
        (status(200, b"<html>"), r"not that of an embeddings interface \(JSONDecodeError\)"),
        (status(200, [1]), "not that of an embeddings interface"),
        (status(302, Location="http://127.0.0.1:1/"), "HTTP 302"),
        (
            status(401, {"error": {"code": "invalid_api_key"}}),
            r"POST http://127.*/v1/embeddings: HTTP 401 \(invalid_api",
        ),
        (
            status(400, {"error": {"code": None, "type": "invalid_request_error"}}),
            r"HTTP 400 \(invalid_request_error\)",
        ),
        (status(404, b"nothing here"), "HTTP 404$"),
    ],
)
def test_what_is_no_answer_fails_at_once_and_says_why(
    server: Server, pauses: list[float], answer: Answer, message: str
) -> None:
    server.answers = [answer]
    embedder = HttpEmbedder(server.url, "model-1", dimension=3)
    with pytest.raises(EmbeddingFailed, match=message) as caught:
        embedder.embed(["a", "bb"])
    assert "'model-1'" in str(caught.value)
    assert (len(server.seen), pauses) == (1, [])
    np.testing.assert_array_equal(embedder.embed(["a"]), [vector("a")])
    embedder.close()


@pytest.mark.parametrize("trouble", [status(500), status(503, b"<html>"), status(429), cut])
def test_what_may_pass_is_tried_again_with_growing_pauses(
    server: Server, embedder: HttpEmbedder, pauses: list[float], trouble: Answer
) -> None:
    server.answers = [trouble] * 5
    np.testing.assert_array_equal(embedder.embed(["a"]), [vector("a")])
    assert len(server.seen) == 6
    assert len(pauses) == 5
    for number, pause in enumerate(pauses):
        assert 0.25 * 2**number <= pause <= 0.5 * 2**number


def test_at_last_it_gives_up(server: Server, embedder: HttpEmbedder, pauses: list[float]) -> None:
    server.answers = [status(500)] * 6
    with pytest.raises(EmbeddingFailed, match="HTTP 500, at each of 6 attempts"):
        embedder.embed(["a"])
    assert len(pauses) == 5


@pytest.mark.parametrize(("form", "low", "high"), [("seconds", 17.0, 17.0), ("date", 15.0, 17.0)])
def test_retry_after_is_honoured(
    server: Server, embedder: HttpEmbedder, pauses: list[float], form: str, low: float, high: float
) -> None:
    at = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=17), usegmt=True)
    server.answers = [status(429, Retry_After="17" if form == "seconds" else at)]
    np.testing.assert_array_equal(embedder.embed(["a"]), [vector("a")])
    assert len(pauses) == 1
    assert low <= pauses[0] <= high


@pytest.mark.parametrize("told", ["-3", "nan", "soon", "", "Mon, 99 Zzz"])
def test_a_retry_after_that_says_nothing_is_passed_over(
    server: Server, embedder: HttpEmbedder, pauses: list[float], told: str
) -> None:
    server.answers = [status(429, Retry_After=told)]
    embedder.embed(["a"])
    assert 0.25 <= pauses[0] <= 0.5


@pytest.mark.parametrize("told", ["1000", "inf"])
def test_nobody_waits_past_the_total_time(
    server: Server, embedder: HttpEmbedder, pauses: list[float], told: str
) -> None:
    server.answers = [status(429, Retry_After=told)]
    with pytest.raises(
        EmbeddingFailed, match=r"HTTP 429, at attempt 1; the next, in .* would be past total_timeout=120 s"
    ):
        embedder.embed(["a"])
    assert (len(server.seen), pauses) == (1, [])


def test_a_server_that_hangs_is_left_after_the_timeout(server: Server, pauses: list[float]) -> None:
    server.answers = [hang, hang]
    embedder = HttpEmbedder(server.url, "m", timeout=0.1, retries=1)
    with pytest.raises(EmbeddingFailed, match=r"ReadTimeout.*at each of 2 attempts"):
        embedder.embed(["a"])
    np.testing.assert_array_equal(embedder.embed(["a"]), [vector("a")])
    embedder.close()


def test_an_answer_that_never_ends_is_left_after_the_total_time(server: Server, pauses: list[float]) -> None:
    server.answers = [trickle]
    embedder = HttpEmbedder(server.url, "m", timeout=5.0, total_timeout=0.3)
    with pytest.raises(EmbeddingFailed, match=r"still coming in, at attempt 1.*total_timeout=0.3 s"):
        embedder.embed(["a"])
    embedder.close()


def test_a_connection_that_is_refused(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    embedder = HttpEmbedder(f"http://127.0.0.1:{port}", "m", retries=2)
    with pytest.raises(EmbeddingFailed, match=r"ConnectError: .*refused, at each of 3 attempts") as caught:
        embedder.embed(["a"])
    assert type(caught.value.__cause__).__name__ == "ConnectError"
    assert len(pauses) == 2
    embedder.close()


def test_neither_the_key_nor_a_text_gets_into_logs_or_messages(
    server: Server, embedder: HttpEmbedder, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    def tell(handler: Handler, body: dict[str, Any]) -> None:
        said = f"wrong key {handler.headers['Authorization']} for {body['input']}"
        handler.reply(code, {"error": {"code": said, "type": said, "message": said}})

    text = "a secret"
    caplog.set_level(logging.DEBUG)
    for code in (401, 500):
        server.answers = [tell] * 6
        with pytest.raises(EmbeddingFailed) as caught:
            embedder.embed([text])
        server.answers = []
        told = "".join([*traceback.format_exception(caught.value), repr(embedder), caplog.text])
        assert f"HTTP {code}" in told
        assert KEY not in told
        assert text not in told


def test_the_key_may_come_from_a_variable(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", f" {KEY}\n")
    embedder = HttpEmbedder(server.url, "m", api_key_variable="SOME_KEY")
    embedder.embed(["a"])
    assert server.seen[0][1] == f"Bearer {KEY}"
    embedder.close()
    monkeypatch.setenv("SOME_KEY", "")
    with pytest.raises(InvalidInput, match="SOME_KEY, which is not set"):
        HttpEmbedder(server.url, "m", api_key_variable="SOME_KEY")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "ftp://host"}, "must begin with http"),
        ({"url": "localhost:80/v1"}, "must begin with http"),
        ({"url": "http://"}, "must begin with http"),
        ({"url": "http://host:port"}, "url cannot be used"),
        ({"url": 7}, "url cannot be used"),
        ({"url": "https://me:secret@host/v1"}, "holds a user or password"),
        ({"model": ""}, "needs a name"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"retries": -1}, "retries at least 0"),
        ({"timeout": 0.0}, "timeout"),
        ({"total_timeout": float("nan")}, "total_timeout"),
        ({"encoding": "hex"}, "'float' or 'base64', got 'hex'"),
        ({"api_key": "a", "api_key_variable": "B"}, "not both"),
        ({"api_key": ""}, "API key is empty"),
        ({"api_key": "two\nlines-SECRET"}, "API key"),
        ({"dimension": 0}, "at least 1"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        HttpEmbedder(**{"url": "http://127.0.0.1:1", "model": "m", **options})
    assert "secret" not in str(caught.value).lower()


def test_without_the_package_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(MissingExtra, match=r'pip install "agentmem\[http\]"'):
        HttpEmbedder("http://127.0.0.1:1", "m")


def test_a_store_embeds_over_http(server: Server, tmp_path: Any, pauses: list[float]) -> None:
    embedder = HttpEmbedder(server.url, "m", batch=2, retries=1)
    with agentmem.MemoryStore(tmp_path / "memory.db", embedder=embedder, merge="manual") as store:
        server.answers = [status(500)]
        store.add_many(["a", "bb", "ccc"])
        server.answers = [right, status(401)]
        with pytest.raises(EmbeddingFailed, match="401"):
            store.add_many(["dddd", "eeeee", "ffffff"])
        assert sorted(record.text for record in store.iterate()) == ["a", "bb", "ccc"]
        assert store.reembed("static").embedded == 3
    embedder.close()
