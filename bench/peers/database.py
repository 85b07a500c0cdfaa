"""A pool of connections for a web peer, and a transaction that row-level security lets see one organization."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import Any

from psycopg2.pool import ThreadedConnectionPool

# As many as the product's.
MOST = 12
# The pool refuses the next one instead of letting it wait.
_free = BoundedSemaphore(MOST)
_pool = ThreadedConnectionPool(MOST, MOST, os.environ["DATABASE_URL"])


@contextmanager
def transaction(organization_id: str, **options: Any) -> Iterator[Any]:
    """Give a cursor, and commit at the end."""
    with _free:
        connection = _pool.getconn()
        try:
            with connection, connection.cursor(**options) as cursor:
                cursor.execute("SELECT set_config('app.organization_ids', %s, true)", [f"{{{organization_id}}}"])
                yield cursor
        finally:
            _pool.putconn(connection)
