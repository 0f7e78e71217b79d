"""Replies kept for a day under the key their request came with, so that asking again gets the same."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from features.database import make_tables, transaction
from serving.errors import Conflict, KeptRepliesError

KEPT_US = 24 * 3600 * 1_000_000
"""How long a reply is kept, microseconds."""

METADATA = sa.MetaData()

REPLIES = sa.Table(
    "idempotent_replies",
    METADATA,
    sa.Column("key_hash", sa.LargeBinary, primary_key=True),
    sa.Column("request_hash", sa.LargeBinary, nullable=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("reply", sa.LargeBinary),
    sa.Index("idempotent_replies_by_time", "at_us"),
)


class IdempotentReplies:
    """Replies by the hash of their key, in SQLite or PostgreSQL. Safe to share between threads.

    A key is bound to its request before that is carried out, and its reply stored afterwards: if the process
    dies in between, the same request is carried out again, which changes nothing that was stored already.

    Parameters
    ----------
    engine
        From `features.database.open_engine`. The table is made if it is not there.

    Raises
    ------
    KeptRepliesError
        If the database refuses; so does every method.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._insert: Any = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        with self._transaction() as connection:
            make_tables(connection, METADATA)

    def claim(self, key: str, request: bytes, now_us: int) -> bytes | None:
        """Bind a key to a request for a day.

        Parameters
        ----------
        key
            As it was sent; only its hash is kept.
        request
            All that makes it this request.
        now_us
            The present, microseconds since the epoch, UTC.

        Returns
        -------
        The reply that the same request got; None if it is to be carried out.

        Raises
        ------
        Conflict
            If the key came with another request.
        """
        wanted = {"key_hash": _hash(key.encode()), "request_hash": _hash(request), "at_us": now_us}
        mine = REPLIES.c.key_hash == wanted["key_hash"]
        with self._transaction() as connection:
            connection.execute(sa.delete(REPLIES).where(REPLIES.c.at_us <= now_us - KEPT_US))
            connection.execute(self._insert(REPLIES).on_conflict_do_nothing(), wanted)
            kept = connection.execute(sa.select(REPLIES.c.request_hash, REPLIES.c.reply).where(mine)).one()
        if kept.request_hash != wanted["request_hash"]:
            raise Conflict("this Idempotency-Key came with another request within the last 24 hours")
        return None if kept.reply is None else bytes(kept.reply)

    def keep(self, key: str, reply: bytes) -> None:
        """Store the reply to the request that a key is bound to."""
        with self._transaction() as connection:
            mine = REPLIES.c.key_hash == _hash(key.encode())
            connection.execute(sa.update(REPLIES).where(mine).values(reply=reply))

    def release(self, key: str) -> None:
        """Unbind a key whose request was refused: it may be sent again, mended."""
        with self._transaction() as connection:
            mine = REPLIES.c.key_hash == _hash(key.encode())
            connection.execute(sa.delete(REPLIES).where(mine, REPLIES.c.reply.is_(None)))

    def forget(self) -> int:
        """Delete every reply: they hold customers' ids, and which ones is not recorded.

        Asked again, a request is then carried out again, which changes nothing that is stored already.
        """
        with self._transaction() as connection:
            return connection.execute(sa.delete(REPLIES)).rowcount

    def _transaction(self) -> AbstractContextManager[sa.Connection]:
        return transaction(self._engine, KeptRepliesError, "the database of kept replies refused")


def _hash(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
