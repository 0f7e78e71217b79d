"""The log of links between ids, and the spaces they are of, in SQLite or PostgreSQL."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal

import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from features.database import make_tables
from features.errors import IdentityError
from features.events import INSTANT
from features.identities import LINKS, Resolution, Space, Spaces, as_pair
from features.windows import to_us

Operation = Literal["link", "unlink"]

CHUNK = 500
"""Ids named in one statement."""

GENERATION = "generation"
"""Counted up whenever something other than a new line of the log changed."""

METADATA = sa.MetaData()

SPACES = sa.Table(
    "id_spaces",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("prefix", sa.Text, nullable=False),
    sa.Column("is_source", sa.Boolean, nullable=False),
)

LOG = sa.Table(
    "identity_log",
    METADATA,
    sa.Column(
        "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True
    ),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("operation", sa.String(8), nullable=False),
    sa.Column("left_id", sa.Text, nullable=False),
    sa.Column("right_id", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Index("identity_log_left", "left_id"),
    sa.Index("identity_log_right", "right_id"),
    # No number is given twice, even after the newest lines were erased: readers remember how far they came.
    sqlite_autoincrement=True,
)

STATE = sa.Table(
    "identity_state",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

VERSION = sa.select(
    sa.select(STATE.c.value).where(STATE.c.name == GENERATION).scalar_subquery(),
    sa.select(sa.func.max(LOG.c.seq)).scalar_subquery(),
)
"""What tells whether anything changed: the generation and the newest line."""

LOG_SCHEMA: dict[str, pl.DataType] = {
    "seq": pl.Int64(),
    "at": INSTANT,
    "operation": pl.String(),
    "left": pl.String(),
    "right": pl.String(),
    "why": pl.String(),
}


class Identities:
    """Spaces and links of one home. Safe to share between threads; processes share it by the database.

    The log only grows: an unlink is a line of its own, so that everything can be undone. A link is in force
    if the latest line about its two ids says so. Erasure alone removes lines.

    Parameters
    ----------
    engine
        From `features.database.open_engine`. Tables are made if they are not there.
    pseudonym
        See `features.identities.Spaces`.

    Raises
    ------
    IdentityError
        If the database refuses; so does every method.
    """

    def __init__(self, engine: sa.Engine, pseudonym: Callable[[str], str] | None = None) -> None:
        self._engine = engine
        self._pseudonym = pseudonym
        self._insert: Any = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        self._lock = threading.Lock()
        self._version: tuple[int, int] | None = None
        self._version_sql = str(VERSION.compile(engine, compile_kwargs={"literal_binds": True}))
        self._lines = pl.DataFrame(schema=LOG_SCHEMA)
        self._resolution = Resolution(Spaces(pseudonym=pseudonym))
        with self._transaction() as connection:
            make_tables(connection, METADATA)

    def resolution(self) -> Resolution:
        """Return who is who now. Asking again is cheap while nothing has changed."""
        with self._lock:
            self._refresh()
            return self._resolution

    def resolution_at(self, seq: int) -> Resolution:
        """Return who was who when the log ended with a line."""
        with self._lock:
            self._refresh()
            return Resolution(self._resolution.spaces, _in_force(self._lines.filter(pl.col("seq") <= seq)))

    def log(self) -> pl.DataFrame:
        """Return every line (`LOG_SCHEMA`), oldest first."""
        with self._lock:
            self._refresh()
            return self._lines

    def settle(self, space: Space) -> None:
        """Record a space; one that is there may become a source's, and changes in nothing else."""
        with self._transaction() as connection:
            last = connection.execute(sa.select(sa.func.max(SPACES.c.number))).scalar()
            statement = self._insert(SPACES).values(
                number=0 if last is None else last + 1,
                name=space.name,
                prefix=space.prefix,
                is_source=space.is_source,
            )
            becomes = {"is_source": sa.or_(SPACES.c.is_source, statement.excluded.is_source)}
            connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=becomes))
            self._count_up(connection)

    def link(self, one: str, other: str, *, why: str, at: datetime) -> None:
        """Join two canonical ids.

        Raises
        ------
        IdentityError
            If both are the same, or linked already.
        """
        pair = as_pair(one, other)
        if one == other:
            raise IdentityError("both ids are the same one: there is nothing to link")
        if self._is_in_force(pair):
            raise IdentityError("these two ids are linked already", "see `tagtide identities show`")
        self._write("link", [pair], why, at)

    def unlink(self, one: str, other: str, *, why: str, at: datetime) -> None:
        """Take a link back.

        Raises
        ------
        IdentityError
            If there is no link between the two. They may still belong together by way of others.
        """
        pair = as_pair(one, other)
        if not self._is_in_force(pair):
            raise IdentityError(
                "there is no link between these two ids",
                "`tagtide identities show` names the links of a customer, one by one",
            )
        self._write("unlink", [pair], why, at)

    def add_links(self, pairs: pl.DataFrame, *, why: str, at: datetime) -> int:
        """Join pairs that the log does not know; one that was unlinked once stays so.

        Parameters
        ----------
        pairs
            ``left`` and ``right``: canonical ids. Pairs of one id with itself are nothing to link.

        Returns
        -------
        How many were new.
        """
        is_ordered = pl.col("left") <= pl.col("right")
        ordered = pairs.select(
            left=pl.when(is_ordered).then("left").otherwise("right"),
            right=pl.when(is_ordered).then("right").otherwise("left"),
        ).filter(pl.col("left") != pl.col("right"))
        new = ordered.unique(maintain_order=True).join(
            self.log(), on=list(LINKS), how="anti", maintain_order="left"
        )
        self._write("link", list(new.iter_rows()), why, at)
        return new.height

    def forget(self, ids: Collection[str]) -> int:
        """Remove every line that names one of some canonical ids.

        Returns
        -------
        How many lines that were.
        """
        listed, erased = list(ids), 0
        with self._transaction() as connection:
            for start in range(0, len(listed), CHUNK):
                some = listed[start : start + CHUNK]
                names_one = sa.or_(LOG.c.left_id.in_(some), LOG.c.right_id.in_(some))
                erased += connection.execute(sa.delete(LOG).where(names_one)).rowcount
            self._count_up(connection)
        return erased

    def _is_in_force(self, pair: tuple[str, str]) -> bool:
        with self._lock:
            self._refresh()
            return not self._resolution.links.filter(left=pair[0], right=pair[1]).is_empty()

    def _write(self, operation: Operation, pairs: list[tuple[str, str]], why: str, at: datetime) -> None:
        line = {"at_us": to_us(at), "operation": operation, "why": why}
        rows = [{**line, "left_id": left, "right_id": right} for left, right in pairs]
        if rows:
            with self._transaction() as connection:
                connection.execute(sa.insert(LOG), rows)

    def _refresh(self) -> None:
        if self._newest_version() == self._version:
            return
        with self._transaction() as connection:
            found = connection.execute(VERSION).one()
            version = (int(found[0] or 0), int(found[1] or 0))
            is_same_log = self._version is not None and self._version[0] == version[0]
            known = self._lines if is_same_log else self._lines.clear()
            after = self._version[1] if is_same_log and self._version is not None else 0
            lines = connection.execute(
                sa.select(LOG).where(LOG.c.seq > after, LOG.c.seq <= version[1]).order_by(LOG.c.seq)
            )
            spaces = connection.execute(sa.select(SPACES).order_by(SPACES.c.number))
            new = pl.DataFrame([tuple(line) for line in lines], schema=LOG_SCHEMA, orient="row")
            known_spaces = [Space(row.name, row.prefix, is_source=row.is_source) for row in spaces]
            named = Spaces(known_spaces, self._pseudonym)
        self._lines = pl.concat([known, new])
        self._resolution = Resolution(named, _in_force(self._lines))
        self._version = version

    def _newest_version(self) -> tuple[int, int]:
        """Ask every reader's question, past all of SQLAlchemy that would take ten times as long."""
        with self._mended(), contextlib.closing(self._engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute(self._version_sql)
            found = cursor.fetchone()
        return (0, 0) if found is None else (int(found[0] or 0), int(found[1] or 0))

    def _count_up(self, connection: sa.Connection) -> None:
        statement = self._insert(STATE).values(name=GENERATION, value=1)
        connection.execute(
            statement.on_conflict_do_update(index_elements=["name"], set_={"value": STATE.c.value + 1})
        )

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with self._mended(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _mended(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error) as error:
            # The statement and its values hold ids: the driver's own words do not.
            cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
            raise IdentityError(
                f"the identities' database refused: {str(cause).splitlines()[0]}",
                "check the database and its disk",
            ) from None


def _in_force(lines: pl.DataFrame) -> pl.DataFrame:
    return lines.unique(list(LINKS), keep="last", maintain_order=True).filter(operation="link")
