"""The database of a home: SQLite in it, or PostgreSQL by URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.schema import CreateIndex, CreateTable

from configs.errors import TagtideError
from configs.home import Home
from features.errors import EventLogError
from features.file_lock import exclusive
from features.write_turns import take_turns

BUSY_SECONDS = 30
POSTGRESQL = frozenset({"postgres", "postgresql"})
OPENING_LOCK = 0x7461677469646532
"""Any constant will do, so long as every process takes the same, and nobody takes it for anything else."""


def open_engine(database_url: SecretStr | str | None, home: Home) -> sa.Engine:
    """Connect to the database of event log and ledger.

    Parameters
    ----------
    database_url
        A SQLAlchemy URL; None for a SQLite file in the home.
    home
        Where that file lies.

    Raises
    ------
    EventLogError
        If the URL is none, or its driver is not installed. The URL, which may hold a password, is not shown.
    """
    if database_url is None:
        url = sa.URL.create("sqlite", database=str(home.database))
    else:
        try:
            url = with_driver(sa.make_url(_revealed(database_url)))
        except sa.exc.ArgumentError:
            raise EventLogError(
                "TAGTIDE_DATABASE_URL is no database URL", "expected DIALECT://USER:PASSWORD@HOST/NAME"
            ) from None
    is_sqlite = url.get_backend_name() == "sqlite"
    try:
        engine = sa.create_engine(
            url,
            connect_args={"timeout": BUSY_SECONDS} if is_sqlite else {},
            # A server may have been started anew since the last statement.
            pool_pre_ping=not is_sqlite,
            # What a statement was given holds customers' ids, which are nothing for a traceback.
            hide_parameters=True,
        )
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        raise EventLogError(
            f"TAGTIDE_DATABASE_URL needs a driver that is not installed: {str(error).splitlines()[0]}",
            "pip install 'tagtide[postgres]' for postgresql://…, or unset the variable to use SQLite",
        ) from None
    if is_sqlite and url.database:
        sa.event.listen(engine, "connect", partial(_make_durable, Path(f"{url.database}.lock")))
        take_turns(engine, str(Path(url.database).absolute()), BUSY_SECONDS)
    return engine


@contextmanager
def one_at_a_time(engine: sa.Engine) -> Iterator[None]:
    """Keep other processes from making tables meanwhile: a PostgreSQL server does not by itself.

    Raises
    ------
    EventLogError
        If the database does not answer.
    """
    if engine.dialect.name != "postgresql":
        yield
        return
    try:
        connection = engine.connect()
    except sa.exc.SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise EventLogError(
            f"the event log refused: {str(cause).splitlines()[0]}", "check the database and its disk"
        ) from error
    # Given back with the transaction, however it ends.
    with connection, connection.begin():
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(OPENING_LOCK)))
        yield


def make_tables(connection: sa.Connection, metadata: sa.MetaData) -> None:
    """Make tables and their indexes where they are missing."""
    for table in metadata.sorted_tables:
        connection.execute(CreateTable(table, if_not_exists=True))
        for index in table.indexes:
            connection.execute(CreateIndex(index, if_not_exists=True))


@contextmanager
def transaction(engine: sa.Engine, error: type[TagtideError], refused: str) -> Iterator[sa.Connection]:
    """Begin a transaction and end it: all or nothing.

    Parameters
    ----------
    error
        What is raised where the database refuses.
    refused
        What the message begins with; the driver's words follow, and no value of a row.

    Raises
    ------
    TagtideError
        If the database refuses.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except sa.exc.SQLAlchemyError as problem:
        cause = problem.orig if isinstance(problem, sa.exc.DBAPIError) else problem
        raise error(f"{refused}: {str(cause).splitlines()[0]}", "check the database and its disk") from None


def _revealed(database_url: SecretStr | str) -> str:
    return database_url if isinstance(database_url, str) else database_url.get_secret_value()


def with_driver(url: sa.URL) -> sa.URL:
    """Choose the driver that the project brings where a URL names only PostgreSQL.

    >>> with_driver(sa.make_url("postgres://ann@localhost/tagtide")).drivername
    'postgresql+psycopg'
    """
    return url.set(drivername="postgresql+psycopg") if url.drivername in POSTGRESQL else url


def _make_durable(lock: Path, connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    # SQLite does not wait for another process that changes the journal mode too.
    with exclusive(lock):
        cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    # Ids come in any order: their index is written page by page, and is best kept at hand and copied seldom.
    cursor.execute("PRAGMA cache_size = -32768")
    cursor.execute("PRAGMA wal_autocheckpoint = 8192")
    cursor.execute("PRAGMA secure_delete = ON")
    cursor.close()
