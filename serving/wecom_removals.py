"""Tags to be taken off people who were erased: kept until whoever sends them has done so."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from configs.home import Home
from configs.wecom import FILE_NAME, load_wecom
from features.database import make_tables, transaction
from features.home_tables import SERIAL
from features.identities import Spaces
from features.wecom_contacts import Contact, contacts_of
from features.windows import to_us
from monitoring.ledger import Ledger
from monitoring.tag_changes import Moment, TagChanges, live_tags
from serving.errors import RemovalsError

METADATA = sa.MetaData()

REMOVALS = sa.Table(
    "wecom_removals",
    METADATA,
    sa.Column("seq", SERIAL, primary_key=True, autoincrement=True),
    sa.Column("userid", sa.Text, nullable=False),
    sa.Column("external_userid", sa.Text, nullable=False),
    sa.Column("tag_ids", sa.LargeBinary, nullable=False),
    # No number is given twice: whoever follows remembers how far they came.
    sqlite_autoincrement=True,
)


class Removal(NamedTuple):
    """The tags one contact is to lose."""

    seq: int
    contact: Contact
    tag_ids: list[str]


class WecomRemovals:
    """The table of them. An erasure leaves nothing else that names a person, and this only until it is sent.

    Parameters
    ----------
    engine
        From `features.database.open_engine`. The table is made if it is not there.

    Raises
    ------
    RemovalsError
        If the database refuses; so does every method.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        with self._transaction() as connection:
            make_tables(connection, METADATA)

    def note(self, contacts: Sequence[Contact], tag_ids: Sequence[str]) -> None:
        """Note that some contacts are to lose some tags."""
        packed = msgspec.json.encode(sorted(tag_ids))
        rows = [
            {"userid": one.userid, "external_userid": one.external_userid, "tag_ids": packed}
            for one in contacts
        ]
        if rows and tag_ids:
            with self._transaction() as connection:
                connection.execute(sa.insert(REMOVALS), rows)

    def after(self, seq: int, limit: int) -> list[Removal]:
        """Return the first that were noted after one."""
        query = sa.select(REMOVALS).where(REMOVALS.c.seq > seq).order_by(REMOVALS.c.seq).limit(limit)
        with self._transaction() as connection:
            return [
                Removal(
                    row.seq,
                    Contact(row.userid, row.external_userid),
                    msgspec.json.decode(row.tag_ids, type=list[str]),
                )
                for row in connection.execute(query)
            ]

    def sent(self, until_seq: int) -> None:
        """Delete what was sent."""
        with self._transaction() as connection:
            connection.execute(sa.delete(REMOVALS).where(REMOVALS.c.seq <= until_seq))

    def _transaction(self) -> AbstractContextManager[sa.Connection]:
        return transaction(self._engine, RemovalsError, "the database of WeCom removals refused")


def take_tags_off(
    home: Home, engine: sa.Engine, members: Sequence[str], spaces: Spaces, now: datetime
) -> None:
    """Note what a customer who is about to be erased carries at WeCom, where WeCom is in use.

    Parameters
    ----------
    members
        All canonical ids of the customer.

    Raises
    ------
    TagtideError
        If the home's WeCom file is wrong, or the database refuses.
    """
    if not (home.root / FILE_NAME).exists():
        return
    contacts, _ = contacts_of(members, spaces, load_wecom(home.root))
    Ledger(engine)  # makes the tables of a home where nothing was served yet
    changes = TagChanges(engine)
    moment = Moment(changes.latest_batch(), to_us(now))
    carried = live_tags(changes.histories(members, moment.us), members, moment)
    WecomRemovals(engine).note(contacts, sorted(carried))
