"""Embeddings over HTTP, as OpenAI's interface has them and many servers besides: ``POST .../embeddings``."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from agentmem.embed.callable import CallableEmbedder
from agentmem.errors import EmbeddingFailed, InvalidInput
from agentmem.extras import need

Vector = NDArray[np.floating[Any]]

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
"""The pause before another attempt doubles from the first to the longest, less up to a half by chance."""
_CODE = re.compile(r"[a-z_]{1,64}").fullmatch


class HttpEmbedder(CallableEmbedder):
    """A model behind an OpenAI-compatible interface.  Safe to share between threads; needs ``agentmem[http]``.

    Neither the key nor a text gets into a log or an error message by this class.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str | None = None,
        api_key_variable: str | None = None,
        dimension: int | None = None,
        name: str | None = None,
        encoding: Literal["float", "base64"] = "float",
        batch: int = 64,
        timeout: float = 30.0,
        total_timeout: float = 120.0,
        retries: int = 5,
    ) -> None:
        """Say where the model is; nothing is sent yet.

        Args:
            url: of the interface, e.g. "https://api.openai.com/v1"; "/embeddings" is put behind its path.
            model: as the server calls it.
            api_key: sent as a bearer token.
            api_key_variable: the environment variable that holds the key, in place of ``api_key``.
            dimension: the length of each vector; None embeds one word, once, when it is first asked for.
            name: with which a store is stamped; the model's when None.
            encoding: that is asked for, "base64" is a quarter of the bytes; an answer may have either.
            batch: texts in one request, at most.
            timeout: seconds to wait for a connection, and for each part of an answer.
            total_timeout: seconds for one request with all its further attempts and the pauses between them.
            retries: attempts after the first, where the connection fails or the server answers 429 or 5xx; the pauses
                double, and last as long as the server's Retry-After says at least.

        Raises:
            InvalidInput: an argument that cannot be used.
            MissingExtra: the package httpx2 is not installed.
        """
        if encoding not in ("float", "base64"):
            raise InvalidInput(f"encoding must be 'float' or 'base64', got {encoding!r}")
        if batch < 1 or retries < 0 or not (timeout > 0 and total_timeout > 0):
            raise InvalidInput(
                "batch must be at least 1, retries at least 0, timeout and total_timeout above 0 seconds, got "
                f"{batch!r}, {retries!r}, {timeout!r}, {total_timeout!r}"
            )
        super().__init__(self._all_vectors, model if name is None else name, dimension)
        httpx = _httpx()
        key = _key(api_key, api_key_variable)
        self._url = _endpoint(httpx, url)
        self._where = f"POST {self._url.copy_with(query=None)}"
        self._model = model
        self._encoding = encoding
        self._batch = batch
        self._timeout = timeout
        self._total_timeout = total_timeout
        self._retries = retries
        self._client = httpx.Client(headers={} if key is None else {"Authorization": f"Bearer {key}"})

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._client.close()

    def _all_vectors(self, texts: list[str]) -> list[Vector]:
        parts = (texts[start : start + self._batch] for start in range(0, len(texts), self._batch))
        vectors = [vector for part in parts for vector in self._vectors(part)]
        sizes = sorted({len(vector) for vector in vectors})
        if len(sizes) > 1:
            raise self._failed(f"vectors of several lengths came: {', '.join(map(str, sizes))}")
        return vectors

    def _vectors(self, texts: list[str]) -> list[Vector]:
        """Return the vectors of one batch, after as many attempts as it takes and may take."""
        httpx = _httpx()
        body = json.dumps({"model": self._model, "input": texts, "encoding_format": self._encoding}).encode()
        deadline = time.monotonic() + self._total_timeout
        attempt = 0
        while True:
            attempt += 1
            cause, wait = None, 0.0
            try:
                status, headers, content = self._post(httpx, body, deadline)
            except httpx.RequestError as error:
                problem, cause = f"{type(error).__name__}: {error}", error
            else:
                if 200 <= status < 300:
                    return self._parsed(content, len(texts))
                problem = f"HTTP {status}{_code_of(content)}"
                if status != 429 and status < 500:
                    raise self._failed(problem)
                wait = _retry_after(headers)
            if attempt > self._retries:
                raise self._failed(f"{problem}, at each of {attempt} attempts") from cause
            pause = max(wait, _pause(attempt))
            if time.monotonic() + pause > deadline:
                raise self._failed(
                    f"{problem}, at attempt {attempt}; the next, in {pause:.1f} s, would be past "
                    f"total_timeout={self._total_timeout:g} s"
                ) from cause
            time.sleep(pause)

    def _post(self, httpx: ModuleType, body: bytes, deadline: float) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and content of the answer to one attempt."""
        timeout = max(0.001, min(self._timeout, deadline - time.monotonic()))
        headers = {"Content-Type": "application/json"}
        content = bytearray()
        with self._client.stream("POST", self._url, content=body, headers=headers, timeout=timeout) as response:
            for chunk in response.iter_bytes():
                content += chunk
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("the answer was still coming in")
            return response.status_code, response.headers, bytes(content)

    def _parsed(self, content: bytes, count: int) -> list[Vector]:
        """Return the vectors of an answer, in the order of the texts."""
        try:
            items = {item["index"]: _decoded(item["embedding"]) for item in json.loads(content)["data"]}
        except (ValueError, TypeError, KeyError) as error:
            raise self._failed(
                f"the answer is not that of an embeddings interface ({type(error).__name__}); check the URL"
            ) from error
        if set(items) != set(range(count)):
            raise self._failed(f"{count} texts were sent, and {len(items)} embeddings came, or not numbered from 0")
        return [items[index] for index in range(count)]

    def _failed(self, problem: str) -> EmbeddingFailed:
        return EmbeddingFailed(f"embedder {self._name!r}: {self._where}: {problem}")


def _httpx() -> ModuleType:
    return need("httpx2", "http", "HttpEmbedder")


def _key(given: str | None, variable: str | None) -> str | None:
    """Return the key, which must be fit for a header; messages never show it."""
    if given is not None and variable is not None:
        raise InvalidInput("give api_key or api_key_variable, not both")
    key = given
    if variable is not None:
        key = os.environ.get(variable, "").strip()
        if not key:
            raise InvalidInput(f"api_key_variable names {variable}, which is not set; set it to the key")
    if key is not None and not re.fullmatch(r"[!-~]+", key):
        raise InvalidInput("the API key is empty, or has characters that a header cannot hold; check that it is whole")
    return key


def _endpoint(httpx: ModuleType, url: str) -> Any:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise InvalidInput(f"url cannot be used ({error}); e.g. 'https://api.openai.com/v1'") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidInput("url must begin with http:// or https:// and a host, e.g. 'https://api.openai.com/v1'")
    if parsed.userinfo:
        raise InvalidInput("url holds a user or password, which would get into messages; give the key as api_key")
    return parsed.copy_with(path=f"{parsed.path.rstrip('/')}/embeddings")


def _decoded(embedding: Any) -> Vector:
    """Return an embedding that is a list of numbers, or little-endian float32 in base64."""
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
    vector = np.array(embedding, np.float64)
    if vector.ndim != 1:
        raise ValueError("not a vector")
    return vector


def _code_of(content: bytes) -> str:
    """Return the server's word for an error, where it is one; what else it says may repeat texts, or the key."""
    try:
        error = json.loads(content)["error"]
        words = [error.get("code"), error.get("type")]
    except (ValueError, TypeError, KeyError, AttributeError):
        return ""
    return next((f" ({word})" for word in words if isinstance(word, str) and _CODE(word)), "")


def _retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that the server asks to wait, 0 where it does not."""
    told = headers.get("Retry-After", "")
    try:
        return max(0.0, float(told))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(told) - datetime.now(timezone.utc)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _pause(attempt: int) -> float:
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (attempt - 1))
    return longest * random.uniform(0.5, 1.0)
