"""Processing each event once, although it can be delivered more than once.

An event counts as processed when its work has ended well, not when it came: if the work fails the next delivery runs
it again. Two deliveries at the same time do not both run it. Only a mark and effects that are committed together make
this hold through a crash, so in production use a database.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import closing
from typing import Any, Protocol, TypeVar

_Context = TypeVar("_Context", covariant=True)


class Deduplicator(Protocol[_Context]):
    """Remembers which events were processed."""

    def process_once(self, event_id: str, work: Callable[[_Context], object]) -> bool:
        """Runs `work`, unless the event was processed before; says whether it ran.

        If `work` raises, the event stays unprocessed and the exception goes on to the caller.
        """
        ...


class MemoryDeduplicator:
    """Remembers in this process: for tests, and where running twice after a restart does no harm."""

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._changed = threading.Condition()
        self._running: set[str] = set()
        self._processed: OrderedDict[str, None] = OrderedDict()

    def process_once(self, event_id: str, work: Callable[[None], object]) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: event_id not in self._running)
            if event_id in self._processed:
                return False
            self._running.add(event_id)
        done = False
        try:
            work(None)
            done = True
        finally:
            with self._changed:
                self._running.discard(event_id)
                if done:
                    self._processed[event_id] = None
                    if len(self._processed) > self._capacity:
                        self._processed.popitem(last=False)
                self._changed.notify_all()
        return True


class SqlDeduplicator:
    """Remembers in a table of the receiver's own database, in the transaction of the work.

    `connect` opens a DB-API connection that is not in autocommit mode, to SQLite or PostgreSQL. `work` gets it, makes
    its changes with it, and does not commit. A second delivery waits at the primary key until the first transaction
    has ended. `placeholder` is the driver's: `?` for sqlite3, `%s` for psycopg.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        *,
        placeholder: str = "?",
        table: str = "processed_webhook_events",
    ) -> None:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", table):
            raise ValueError("table must be a plain name")
        self._connect = connect
        self._table = table
        self._insert = (
            f"INSERT INTO {table} (event_id, processed_at) VALUES ({placeholder}, {placeholder}) "
            "ON CONFLICT (event_id) DO NOTHING"
        )

    def create_table(self) -> None:
        """Makes the table where there is none."""
        with closing(self._connect()) as connection:
            connection.cursor().execute(
                f"CREATE TABLE IF NOT EXISTS {self._table} "
                "(event_id TEXT PRIMARY KEY, processed_at BIGINT NOT NULL)"
            )
            connection.commit()

    def process_once(self, event_id: str, work: Callable[[Any], object]) -> bool:
        with closing(self._connect()) as connection:
            if _commits_by_itself(connection):
                raise ValueError("connect must open connections that are not in autocommit mode")
            try:
                cursor = connection.cursor()
                cursor.execute(self._insert, (event_id, int(time.time())))
                first = bool(cursor.rowcount == 1)
                if first:
                    work(connection)
                connection.commit()
            except BaseException:
                connection.rollback()
                raise
            return first


def _commits_by_itself(connection: Any) -> bool:
    """In autocommit the mark would stay although the work failed."""
    autocommit = getattr(connection, "autocommit", None)
    if isinstance(autocommit, bool):
        return autocommit
    # sqlite3, where it has no such attribute or says there that the isolation level decides.
    return hasattr(connection, "in_transaction") and connection.isolation_level is None
