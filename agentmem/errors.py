"""Every exception that agentmem raises on purpose.

::

    AgentMemError
    ├── InvalidInput (ValueError)            an argument that cannot be used; nothing was changed
    │   ├── InvalidVector                    wrong dimension, NaN or infinity, zero vector under cosine
    │   ├── InvalidFilter                    a filter that is not in the filter language
    │   └── UnknownMechanism (LookupError)   no mechanism of that name; the message lists those that exist
    ├── NotFound (LookupError)               no record with that id
    ├── DuplicateId (ValueError)             a record with that id exists already
    ├── BackendUnavailable (RuntimeError)    the backend asked for cannot run here; the message says why
    │   └── MissingExtra (ImportError)       an optional package is not installed; the message names the command
    ├── EmbeddingFailed (RuntimeError)       the embedder raised, or returned something that is not an embedding
    ├── HookFailed (RuntimeError)            a hook raised, and the store was told to raise then
    ├── BadSource (ValueError)               what is to be imported cannot be read as what it was said to be
    ├── SegmentDamaged (OSError)             a derived index file that cannot be trusted; rebuilt from the database
    └── StoreError                           the store as a whole
        ├── StoreClosed (ValueError)         used after close()
        ├── StoreBusy (TimeoutError)         another process held the lock past the timeout; retry
        ├── StoreReadOnly (PermissionError)  a change to a store that was opened read-only
        ├── NotAStore (OSError)              the path is a directory, another program's file, or cannot be opened
        ├── StoreDamaged (OSError)           SQLite reports a malformed database
        ├── SchemaTooNew                     written by a newer agentmem; left untouched
        └── EmbedderMismatch (ValueError)    another embedding model, dimension or metric than the store was made with

Each also derives from the builtin exception in brackets, so code that knows nothing of agentmem catches it rightly.
"""

from __future__ import annotations


class AgentMemError(Exception):
    """Base of every exception that agentmem raises on purpose."""


class InvalidInput(AgentMemError, ValueError):
    """An argument that cannot be used; nothing was changed."""


class InvalidVector(InvalidInput):
    """A vector of the wrong dimension, with NaN or infinity, or of zero length under cosine."""


class InvalidFilter(InvalidInput):
    """A filter that is not in the filter language."""


class UnknownMechanism(InvalidInput, LookupError):
    """No mechanism of that name; the message lists those that exist."""


class NotFound(AgentMemError, LookupError):
    """No record with that id."""


class DuplicateId(AgentMemError, ValueError):
    """A record with that id exists already."""


class BackendUnavailable(AgentMemError, RuntimeError):
    """The backend asked for cannot run here; the message says why."""


class MissingExtra(BackendUnavailable, ImportError):
    """An optional package is not installed; the message names the command that installs it."""


class EmbeddingFailed(AgentMemError, RuntimeError):
    """The embedder raised, or returned something that is not an embedding."""


class HookFailed(AgentMemError, RuntimeError):
    """A hook raised, and the store was told to raise then."""


class BadSource(AgentMemError, ValueError):
    """What is to be imported cannot be read as what it was said to be; the message names the line or row."""


class SegmentDamaged(AgentMemError, OSError):
    """A derived index file that cannot be trusted; it is rebuilt from the database."""


class StoreError(AgentMemError):
    """The store as a whole cannot do what was asked."""


class StoreClosed(StoreError, ValueError):
    """The store was used after close()."""


class StoreBusy(StoreError, TimeoutError):
    """Another process or thread held the write lock past the timeout; the call may be retried."""


class StoreReadOnly(StoreError, PermissionError):
    """A change was asked of a store that was opened read-only."""


class NotAStore(StoreError, OSError):
    """The path is a directory, another program's file, or cannot be opened."""


class StoreDamaged(StoreError, OSError):
    """SQLite reports a malformed database."""


class SchemaTooNew(StoreError):
    """The file was written by a newer agentmem; it was left untouched."""


class EmbedderMismatch(StoreError, ValueError):
    """Another embedding model, dimension or metric than the store was made with."""
