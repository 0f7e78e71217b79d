"""What each customer agreed to, by purpose, with who said so and when."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from features.errors import ConsentError
from features.home_tables import CHUNK, SERIAL, HomeTables
from features.row_cache import RowCache, generations

Purpose = Literal["profiling", "marketing"]
PURPOSES: tuple[Purpose, ...] = ("profiling", "marketing")

METADATA = sa.MetaData()

STATE = sa.Table(
    "consent",
    METADATA,
    sa.Column("customer_id", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("profiling", sa.Boolean),
    sa.Column("marketing", sa.Boolean),
    sa.Column("do_not_disturb", sa.Boolean),
    sa.Column("takeover", sa.Boolean),
    sa.Column("takeover_until_us", sa.BigInteger),
    sa.Column("time_zone", sa.Text),
    sa.Index("consent_by_seq", "seq"),
)

HISTORY = sa.Table(
    "consent_history",
    METADATA,
    sa.Column("seq", SERIAL, primary_key=True, autoincrement=True),
    sa.Column("customer_id", sa.Text, nullable=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("said_by", sa.Text, nullable=False),
    sa.Column("changes", sa.Text, nullable=False),
    sa.Index("consent_history_by_customer", "customer_id"),
    # No number is given twice, even after the newest lines were erased: readers remember how far they came.
    sqlite_autoincrement=True,
)

REMOVALS = generations(METADATA, "consent_removals")

FIELDS = tuple(column.name for column in STATE.columns if column.name not in ("customer_id", "seq"))
"""What can be said of a customer."""


class Permission(msgspec.Struct, frozen=True):
    """What was said of one customer; None where nothing was.

    Attributes
    ----------
    profiling, marketing
        Whether the customer agreed to this purpose.
    do_not_disturb
        Whether the customer wants no messages now, whatever they agreed to.
    takeover, takeover_until_us
        Whether a person looks after the customer, so that nothing is sent by itself; up to an instant,
        microseconds since the epoch, or until it is switched off.
    time_zone
        IANA name; None: the business's.
    seq
        Number of the last line of the history about the customer.
    """

    profiling: bool | None = None
    marketing: bool | None = None
    do_not_disturb: bool | None = None
    takeover: bool | None = None
    takeover_until_us: int | None = None
    time_zone: str | None = None
    seq: int = 0

    def is_taken_over(self, now_us: int) -> bool:
        """Tell whether a person looks after the customer at an instant."""
        return bool(self.takeover) and (self.takeover_until_us is None or now_us < self.takeover_until_us)


UNSAID = Permission()


def strictest(permissions: Sequence[Permission]) -> Permission:
    """Join what was said of one customer under several ids: what restricts most holds.

    A purpose that was refused once is refused; a takeover without an end outlasts one with an end. Of time
    zones the one set last holds.

    >>> strictest([Permission(marketing=True), Permission(marketing=False)]).marketing
    False
    """
    said = [one for one in permissions if one != UNSAID]
    if len(said) <= 1:
        return said[0] if said else UNSAID
    ends = [one.takeover_until_us for one in said if one.takeover]
    zones = [one for one in said if one.time_zone is not None]
    return Permission(
        profiling=_all(one.profiling for one in said),
        marketing=_all(one.marketing for one in said),
        do_not_disturb=_any(one.do_not_disturb for one in said),
        takeover=_any(one.takeover for one in said),
        takeover_until_us=None
        if None in ends
        else max((end for end in ends if end is not None), default=None),
        time_zone=max(zones, key=lambda one: one.seq).time_zone if zones else None,
        seq=max(one.seq for one in said),
    )


class Consent:
    """What customers agreed to. Safe to share between threads; processes share it by the database.

    Ids are canonical ones, each with its own row: links between them can be taken back.

    Parameters
    ----------
    engine
        From `features.database.open_engine`. Tables are made if they are not there.

    Raises
    ------
    ConsentError
        If the database refuses; so does every method.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._tables = HomeTables(engine, METADATA, "consent", ConsentError)
        self._cache = RowCache(self._tables, STATE, REMOVALS, _read, UNSAID)

    def of(self, customers: Iterable[str]) -> dict[str, Permission]:
        """Return what was said of each customer; `refresh` first to hear of other processes."""
        return self._cache.of(customers)

    def refresh(self) -> None:
        """Hear of what other processes wrote."""
        self._cache.refresh()

    def change(
        self,
        customer: str,
        changes: Mapping[str, Any],
        *,
        at_us: int,
        said_by: str,
        others: Collection[str] = (),
    ) -> None:
        """Write down what a customer said; it holds when this returns.

        Parameters
        ----------
        customer
            Canonical id, known or not.
        changes
            Some of `FIELDS` with their new values.
        at_us
            When, microseconds since the epoch, UTC.
        said_by
            Who told us: the name of a token or of a command.
        others
            Further ids of the same customer: where something was said under them, the changes hold too.

        Raises
        ------
        ConsentError
            If a field is none.
        """
        if strange := sorted(set(changes) - set(FIELDS)):
            raise ConsentError(f"no such field: {strange[0]}; expected some of {', '.join(FIELDS)}")
        if not changes:
            return
        line = {
            "customer_id": customer,
            "at_us": at_us,
            "said_by": said_by,
            "changes": json.dumps(dict(changes), sort_keys=True, ensure_ascii=False),
        }
        with self._tables.transaction() as connection:
            added = sa.insert(HISTORY).values(line).returning(HISTORY.c.seq)
            seq = int(connection.execute(added).scalar_one())
            values = {**changes, "seq": seq}
            upsert = self._tables.insert(STATE).values(customer_id=customer, **values)
            connection.execute(upsert.on_conflict_do_update(index_elements=["customer_id"], set_=values))
            if others:
                theirs = STATE.c.customer_id.in_(sorted(set(others) - {customer}))
                connection.execute(sa.update(STATE).where(theirs).values(values))
        self._cache.drop([customer, *others])

    def history(self, customer: str) -> list[tuple[int, str, dict[str, Any]]]:
        """Return what was ever said under an id: (when in µs, by whom, changes), oldest first."""
        query = sa.select(HISTORY.c.at_us, HISTORY.c.said_by, HISTORY.c.changes)
        query = query.where(HISTORY.c.customer_id == customer).order_by(HISTORY.c.seq)
        with self._tables.transaction() as connection:
            return [(at_us, by, json.loads(said)) for at_us, by, said in connection.execute(query)]

    def forget(self, customers: Collection[str]) -> int:
        """Erase what was said under some ids, history included.

        Returns
        -------
        Rows erased.
        """
        gone, listed = 0, sorted(customers)
        with self._tables.transaction() as connection:
            for start in range(0, len(listed), CHUNK):
                some = listed[start : start + CHUNK]
                for table in (STATE, HISTORY):
                    gone += connection.execute(sa.delete(table).where(table.c.customer_id.in_(some))).rowcount
            self._cache.count_removal(connection)
        self._cache.drop(listed)
        return gone


def _read(connection: sa.Connection, customers: Sequence[str]) -> dict[str, Permission]:
    query = sa.select(STATE).where(STATE.c.customer_id.in_(customers))
    return {
        row.customer_id: Permission(**{name: getattr(row, name) for name in (*FIELDS, "seq")})
        for row in connection.execute(query)
    }


def _all(said: Iterable[bool | None]) -> bool | None:
    given = [one for one in said if one is not None]
    return all(given) if given else None


def _any(said: Iterable[bool | None]) -> bool | None:
    given = [one for one in said if one is not None]
    return any(given) if given else None
