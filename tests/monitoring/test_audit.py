import sqlite3
import threading

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from features.database import open_engine
from features.identities import Space, Spaces
from features.tombstones import ErasureKeys
from monitoring.audit import AuditLog, Entry
from monitoring.errors import AuditError
from tests.features.postgres_database import empty_postgres_schema

SHOP = Spaces([Space("web", "", is_source=True), Space("pos", "pos:", is_source=True)])
KEY = SecretStr("a key of sixteen bytes or more")


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, home):
    if request.param == "sqlite":
        made = open_engine(None, home)
        yield made
        made.dispose()
        return
    with empty_postgres_schema() as url:
        made = open_engine(url, home)
        yield made
        made.dispose()


def log_of(engine, home, key=KEY):
    return AuditLog(engine, ErasureKeys(home, key), lambda: SHOP)


def entries(count, start=0, **changes):
    given = {"who": "scrm", "what": "read", "detail": "get_customer", "customers": 1, "customer": "c-Zq7x"}
    return [
        Entry(start + number, request_id=f"r{start + number}", status=200, **(given | changes))
        for number in range(count)
    ]


def drop_rules(engine):
    """What somebody who owns the database can do all the same."""
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            for name in ("audit_no_update", "audit_no_delete", "audit_at_the_end"):
                connection.execute(sa.text(f"DROP TRIGGER {name}"))
        else:
            connection.execute(sa.text("DROP TRIGGER audit_only_grows ON audit"))


def test_lines_come_back_as_they_were_written_without_the_customers_id(engine, home):
    log = log_of(engine, home)
    log.append(entries(2))
    log.append([Entry(7, "cli", "promotion", "clv 1 -> 2")])
    first, second, third = log.read()
    assert (first["seq"], second["seq"], third["seq"]) == (1, 2, 3)
    assert (first["who"], first["what"], first["detail"], first["customers"]) == (
        "scrm",
        "read",
        "get_customer",
        1,
    )
    assert (third["who"], third["customer_hash"], third["request_id"], third["status"]) == (
        "cli",
        None,
        "",
        0,
    )
    assert "Zq7x" not in str([first, second, third])


def test_a_customer_is_found_by_any_spelling_and_by_a_key_that_was_used_before(engine, home):
    old = log_of(engine, home, None)
    old.append(entries(1, customer="web:c-1"))
    new = log_of(engine, home)
    new.append([*entries(1, 1, customer="c-1"), *entries(1, 2, customer="c-2")])
    assert [row["at_us"] for row in new.read(customers=["c-1"])] == [0, 1]
    assert [row["at_us"] for row in new.read(customers=["c-2", "c-3"])] == [2]
    assert new.verify().problem == ""


def test_what_is_asked_for_is_what_is_returned(engine, home):
    log = log_of(engine, home)
    log.append([*entries(5), *entries(3, 5, what="write")])
    assert [row["at_us"] for row in log.read(since_us=2, what="read")] == [3, 4]
    assert [row["at_us"] for row in log.read(last=2)] == [6, 7]


@pytest.mark.parametrize("change", ["UPDATE audit SET who = 'x'", "DELETE FROM audit WHERE seq = 2"])
def test_the_database_refuses_to_change_what_was_written(engine, home, change):
    log = log_of(engine, home)
    log.append(entries(3))
    with pytest.raises(sa.exc.DBAPIError, match="only grows"), engine.begin() as connection:
        connection.execute(sa.text(change))
    assert len(log.read()) == 3
    log_of(engine, home).append(entries(1))
    assert log.verify().lines == 4


def test_sqlite_does_not_let_a_line_be_replaced_either(home):
    engine = open_engine(None, home)
    log = log_of(engine, home)
    log.append(entries(2))
    engine.dispose()
    connection = sqlite3.connect(home.database)
    with pytest.raises(sqlite3.IntegrityError, match="only grows"):
        connection.execute("REPLACE INTO audit SELECT * FROM audit WHERE seq = 1")
    connection.close()


@pytest.mark.parametrize(
    ("tampering", "told"),
    [
        ("UPDATE audit SET customers = 9 WHERE seq = 3", "line 3 is not what was written"),
        ("UPDATE audit SET hash = 'x' WHERE seq = 3", "line 3 is not what was written"),
        ("DELETE FROM audit WHERE seq = 3", "line 3 is missing"),
        ("DELETE FROM audit WHERE seq = 1", "line 1 is missing"),
        ("UPDATE audit SET key_name = 'x' WHERE seq = 2", "key that is not there"),
    ],
)
def test_tampering_shows(engine, home, tampering, told):
    log = log_of(engine, home)
    log.append(entries(5))
    assert log.verify().lines == 5
    drop_rules(engine)
    with engine.begin() as connection:
        connection.execute(sa.text(tampering))
    verdict = log.verify()
    assert told in verdict.problem
    assert verdict.lines == int(tampering[-1]) - 1


def test_lines_taken_away_at_the_end_show_by_a_head_that_was_noted(engine, home):
    log = log_of(engine, home)
    log.append(entries(3))
    head = log.verify().head
    log.append(entries(2, 3))
    assert log.verify(head).problem == ""
    drop_rules(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM audit WHERE seq > 2"))
    assert log.verify().problem == ""
    assert "line 3 is missing: up to 3 were noted" in log.verify(head).problem
    log.append(entries(1, 9))
    assert "not the one that was noted" in log.verify(head).problem
    for wrong in ("", "3", "x:1", head + "0"):
        with pytest.raises(AuditError, match="SEQ:HASH"):
            log.verify(wrong)


def test_many_who_append_at_once_make_one_chain(engine, home):
    logs = [log_of(engine, home) for _ in range(4)]
    threads = [
        threading.Thread(target=lambda log=log: [log.append(entries(3)) for _ in range(10)]) for log in logs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert logs[0].verify() == logs[1].verify()
    assert (logs[0].verify().lines, logs[0].verify().problem) == (120, "")


def test_an_empty_log_is_whole(engine, home):
    assert log_of(engine, home).verify().lines == 0
