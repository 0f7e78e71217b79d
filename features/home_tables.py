"""Tables of one store in the home's database: made where they are missing, written in transactions."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from configs.errors import TagtideError
from features.database import make_tables, transaction

CHUNK = 500
"""Ids named in one statement."""

DIALECTS = ("sqlite", "postgresql")

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""Type of a column that numbers its rows: SQLite does so only if the type is exactly INTEGER."""


class HomeTables:
    """The tables of one store.

    Parameters
    ----------
    engine
        From `features.database.open_engine`.
    metadata
        The tables, made at once where they are missing.
    what
        The store's name in messages.
    error
        What is raised where the database refuses.

    Raises
    ------
    TagtideError
        If the database refuses, or is of another kind than SQLite or PostgreSQL.
    """

    def __init__(
        self, engine: sa.Engine, metadata: sa.MetaData, what: str, error: type[TagtideError]
    ) -> None:
        self._engine = engine
        self._what = what
        self._error = error
        if engine.dialect.name not in DIALECTS:
            raise error(
                f"{what}: the database is {engine.dialect.name!r}; expected one of {', '.join(DIALECTS)}",
                "set TAGTIDE_DATABASE_URL to such a URL, or unset it to use SQLite in the home",
            )
        self.is_postgresql = engine.dialect.name == "postgresql"
        with self.transaction() as connection:
            make_tables(connection, metadata)

    def insert(self, table: sa.Table) -> Any:
        """Return an INSERT of the database's kind, which knows what to do on a conflict."""
        return postgresql.insert(table) if self.is_postgresql else sqlite.insert(table)

    def transaction(self) -> AbstractContextManager[sa.Connection]:
        """Begin a transaction and end it; see `features.database.transaction`."""
        return transaction(self._engine, self._error, f"{self._what}: the database refused")
