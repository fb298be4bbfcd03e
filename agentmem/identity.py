"""What a store is: its uuid, embedding model, dimension, metric and tokenizer, stamped into it when it is made."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agentmem.embed import StaticEmbedder, resolve
from agentmem.embed.protocol import Embedder
from agentmem.embed.sentence import PREFIX
from agentmem.errors import EmbedderMismatch, InvalidInput, NotAStore
from agentmem.records import Metric
from agentmem.rerank.evidence import Background
from agentmem.storage.database import Database
from agentmem.storage.writer import Writer
from agentmem.validation import check_count, check_metric

GIVEN = "given"
"""The embedder name of a store whose vectors all come from the caller."""
CALIBRATION = "calibration"
"""The key of the store's configuration under which ``calibrate`` keeps what it measured."""
STORED = "stored"
"""As ``embedder``: whatever the store was made with, where it can be had without the caller's code."""
MAX_DIMENSION = 65_536


@dataclass(frozen=True, slots=True)
class Identity:
    """What every derived file and every opener must agree with; ``generation`` counts the models it has had."""

    uuid: str
    embedder: str
    dimension: int
    metric: Metric
    tokenizer_hash: str
    token_bytes: int
    generation: int

    @property
    def token_dtype(self) -> Any:
        """Return the dtype of token ids: uint16, or uint32 for a vocabulary past 65,536."""
        return np.dtype(np.uint16 if self.token_bytes == 2 else np.uint32).type


def read_identity(database: Database) -> Identity:
    """Return the identity stamped into a database.

    Raises:
        NotAStore: it has none.
    """
    stored = _stored(database)
    if stored is None:
        raise NotAStore(f"{database.path} holds no agentmem store yet")
    database.hold_to(stored.generation)
    return stored


def _stored(database: Database) -> Identity | None:
    with database.read() as reader:
        values = {key: reader.config(key) for key in Identity.__slots__}
    if values["uuid"] is None:
        return None
    return Identity(
        uuid=str(values["uuid"]),
        embedder=str(values["embedder"]),
        dimension=int(values["dimension"] or 0),
        metric=check_metric(str(values["metric"])),
        tokenizer_hash=str(values["tokenizer_hash"]),
        token_bytes=int(values["token_bytes"] or 2),
        generation=int(values["generation"] or 1),
    )


def _stamp(writer: Writer, identity: Identity) -> None:
    for key, value in asdict(identity).items():
        writer.set_config(key, str(value))


def keep_calibration(writer: Writer, identity: Identity, background: Background) -> None:
    """Write down how the vectors of the store's present embedder score against each other."""
    value = {"mean": background.mean, "std": background.std, "generation": identity.generation}
    writer.set_config(CALIBRATION, json.dumps(value))


def read_calibration(database: Database) -> dict[int, Background]:
    """Return what was written down: the embedder's generation -> its background; nothing where nothing was."""
    with database.read() as reader:
        kept = reader.config(CALIBRATION)
    if kept is None:
        return {}
    value = json.loads(kept)
    return {int(value["generation"]): Background(float(value["mean"]), float(value["std"]))}


def settle(
    database: Database, embedder: object, dimension: int | None, metric: str, tokenizer: StaticEmbedder
) -> tuple[Identity, Embedder | None]:
    """Return the store's identity and the embedder to use; a new store is stamped with what was asked for.

    Args:
        database: open.
        embedder: "stored", or what ``embed.resolve`` takes.
        dimension: of given vectors; with an embedder it may be None.
        metric: "cosine", "ip" or "l2".
        tokenizer: whose token ids are kept for late interaction.

    Raises:
        EmbedderMismatch: the store was made with another embedder, dimension or metric.
        InvalidInput: a new store with neither an embedder nor a dimension, or an embedder that nobody knows.
    """
    stored = _stored(database)
    if embedder == STORED:
        if stored is None:
            raise InvalidInput("embedder='stored' opens stores that exist; a new one needs an embedder or a dimension")
        return stored, _known(stored, tokenizer)
    wanted = check_metric(metric)
    model = embedder_of(embedder, dimension, tokenizer)
    if stored is not None:
        _agree(stored, model, dimension, wanted)
        return stored, model
    if model is None and dimension is None:
        raise InvalidInput("embedder=None needs dimension=..., the length of the vectors that will be given")
    size = model.dimension if model is not None else check_count(dimension, "dimension", low=1, high=MAX_DIMENSION)
    if dimension is not None and dimension != size:
        raise InvalidInput(f"dimension={dimension}, but embedder {model and model.name!r} makes vectors of {size}")
    identity = Identity(
        uuid=uuid.uuid4().hex,
        embedder=GIVEN if model is None else model.name,
        dimension=size,
        metric=wanted,
        tokenizer_hash=tokenizer.tokenizer_hash,
        token_bytes=2 if len(tokenizer.token_table()[1]) <= 65_536 else 4,
        generation=1,
    )
    with database.transaction() as writer:
        raced = _stored(database)
        if raced is not None:
            _agree(raced, model, dimension, wanted)
            return raced, model
        _stamp(writer, identity)
    return identity, model


def _known(stored: Identity, tokenizer: StaticEmbedder) -> Embedder | None:
    """Return the embedder that a store was made with where its name says all about it."""
    if stored.embedder == tokenizer.name:
        return tokenizer
    return resolve(stored.embedder, stored.dimension) if stored.embedder.startswith(PREFIX) else None


def embedder_of(embedder: object, dimension: int | None, tokenizer: StaticEmbedder) -> Embedder | None:
    """Return the embedder that the caller means; see ``embed.resolve``.  The bundled model is the tokenizer itself."""
    return tokenizer if embedder == "static" else resolve(embedder, dimension)


def _agree(stored: Identity, model: Embedder | None, dimension: int | None, metric: Metric) -> None:
    name = GIVEN if model is None else model.name
    size = dimension if model is None else model.dimension
    problems = []
    if name != stored.embedder:
        problems.append(f"embedder {name!r} instead of {stored.embedder!r}")
    if size is not None and size != stored.dimension:
        problems.append(f"dimension {size} instead of {stored.dimension}")
    if metric != stored.metric:
        problems.append(f"metric {metric!r} instead of {stored.metric!r}")
    if problems:
        raise EmbedderMismatch(
            f"the store was made otherwise: {'; '.join(problems)}. Vectors of two models cannot be compared: open it "
            "with what it was made with, or with embedder='stored' and give it the other model with store.reembed(...)"
        )
