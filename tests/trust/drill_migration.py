"""A schema after the present one, so that there is something to migrate whatever the present one is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

from agentmem.storage import migrations
from agentmem.storage.schema import SCHEMA_VERSION

present = migrations._registered


@contextmanager
def next_schema(half_way: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Let this process know a migration more: a new column, filled for every record, and a new table.

    Args:
        half_way: called when the first half of it has been done.
    """

    def registered():
        known = present()

        @known(name="drill")
        def drill(db):
            db.execute("ALTER TABLE records ADD COLUMN drilled TEXT")
            db.execute("UPDATE records SET drilled = 'drilled ' || id")
            half_way()
            db.execute("CREATE TABLE drilled (id TEXT PRIMARY KEY)")
            db.execute("INSERT INTO drilled SELECT id FROM records")

        return known

    with (
        patch.object(migrations, "_registered", registered),
        patch.object(migrations, "SCHEMA_VERSION", SCHEMA_VERSION + 1),
    ):
        yield
