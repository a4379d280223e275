"""Each event is processed once: through duplicates, failures and deliveries at the same time."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from k_payments_webhooks import MemoryDeduplicator, SqlDeduplicator


@pytest.fixture(params=["memory", "sql"])
def deduplicator(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "memory":
        return MemoryDeduplicator()
    deduplicator = SqlDeduplicator(lambda: sqlite3.connect(tmp_path / "receiver.db"))
    deduplicator.create_table()
    deduplicator.create_table()
    return deduplicator


def test_the_second_delivery_of_an_event_does_nothing(deduplicator: Any) -> None:
    ran: list[str] = []
    assert deduplicator.process_once("evt_1", lambda _: ran.append("evt_1"))
    assert not deduplicator.process_once("evt_1", lambda _: ran.append("again"))
    assert deduplicator.process_once("evt_2", lambda _: ran.append("evt_2"))
    assert ran == ["evt_1", "evt_2"]


def test_work_that_failed_is_done_by_the_next_delivery(deduplicator: Any) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("out of stock")

    with pytest.raises(RuntimeError, match="out of stock"):
        deduplicator.process_once("evt_1", fail)
    assert deduplicator.process_once("evt_1", lambda _: None)


def test_of_two_deliveries_at_the_same_time_one_does_the_work(deduplicator: Any) -> None:
    entered, leave = threading.Event(), threading.Event()
    ran: list[bool] = []

    def slow(_: object) -> None:
        entered.set()
        leave.wait(timeout=10)

    first = threading.Thread(target=lambda: ran.append(deduplicator.process_once("evt_1", slow)))
    second = threading.Thread(target=lambda: ran.append(deduplicator.process_once("evt_1", lambda _: None)))
    first.start()
    assert entered.wait(timeout=10)
    second.start()
    leave.set()
    first.join(timeout=10)
    second.join(timeout=10)
    assert sorted(ran) == [False, True]


def test_effects_are_committed_with_the_mark_or_not_at_all(tmp_path: Path) -> None:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(tmp_path / "receiver.db")

    deduplicator = SqlDeduplicator(connect)
    deduplicator.create_table()
    connection = connect()
    connection.execute("CREATE TABLE orders (id TEXT)")
    connection.commit()

    def ship_and_fail(transaction: sqlite3.Connection) -> None:
        transaction.execute("INSERT INTO orders VALUES ('o_1')")
        raise RuntimeError("the power went out")

    with pytest.raises(RuntimeError):
        deduplicator.process_once("evt_1", ship_and_fail)
    assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    deduplicator.process_once("evt_1", lambda t: t.execute("INSERT INTO orders VALUES ('o_1')"))
    deduplicator.process_once("evt_1", lambda t: t.execute("INSERT INTO orders VALUES ('o_1')"))
    assert connection.execute("SELECT count(*) FROM orders").fetchone() == (1,)


def test_memory_forgets_the_oldest_when_it_is_full() -> None:
    deduplicator = MemoryDeduplicator(capacity=2)
    for event in ["evt_1", "evt_2", "evt_3"]:
        assert deduplicator.process_once(event, lambda _: None)
    assert deduplicator.process_once("evt_1", lambda _: None)
    assert not deduplicator.process_once("evt_3", lambda _: None)


def test_a_table_must_be_a_plain_name() -> None:
    with pytest.raises(ValueError, match="plain name"):
        SqlDeduplicator(lambda: None, table="a; DROP TABLE b")


def test_a_connection_that_commits_by_itself_is_refused_before_the_work(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "receiver.db", isolation_level=None)
    deduplicator = SqlDeduplicator(lambda: sqlite3.connect(tmp_path / "receiver.db"))
    deduplicator.create_table()
    ran: list[object] = []
    with pytest.raises(ValueError, match="autocommit"):
        SqlDeduplicator(lambda: connection).process_once("evt_1", ran.append)
    assert ran == []
    assert deduplicator.process_once("evt_1", ran.append), "nor is it marked"
