"""The ledger's transitions in the order in which they were written, for whoever follows them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from features.life_cycle import LIFE_MAX_US, LIVE_STATES
from monitoring.errors import LedgerError
from monitoring.ledger import CLAIMS, COUNTERS, TRANSITION_BATCH, TRANSITIONS

CHUNK = 500
"""Customers named in one statement."""


@dataclass(frozen=True, order=True)
class Moment:
    """How far somebody has followed: everything written up to a batch, as of an instant.

    Attributes
    ----------
    batch
        Number of the last batch of transitions.
    us
        The instant up to which expiries count, microseconds since the epoch, UTC.
    """

    batch: int
    us: int


@dataclass
class TagHistory:
    """One customer's steps and claims of one tag.

    Attributes
    ----------
    steps
        ``(batch, at_us, 0 for an expiry and else 1, state)``.
    claims
        ``(assigned_at_us, expires_at_us)``.
    """

    steps: list[tuple[int, int, int, str]] = field(default_factory=list)
    claims: list[tuple[int, int]] = field(default_factory=list)

    def is_live(self, at: Moment) -> bool:
        """Tell whether the tag held at a moment, its expiry written down or not."""
        last = max((step for step in self.steps if step[0] <= at.batch), default=None)
        if last is None or last[3] not in LIVE_STATES:
            return False
        claim = max((claim for claim in self.claims if claim[0] <= last[1]), default=None)
        return claim is not None and at.us < claim[1]


Histories = dict[str, dict[str, TagHistory]]
"""By customer and tag."""


def live_tags(histories: Histories, ids: Collection[str], at: Moment) -> set[str]:
    """Return the tags that held at a moment of the customer who has some ids."""
    joined: dict[str, TagHistory] = {}
    for one in ids:
        for tag_id, history in histories.get(one, {}).items():
            mine = joined.setdefault(tag_id, TagHistory())
            mine.steps += history.steps
            mine.claims += history.claims
    return {tag_id for tag_id, history in joined.items() if history.is_live(at)}


class TagChanges:
    """Reads transitions and claims of a ledger's database. Safe to share between threads.

    Parameters
    ----------
    engine
        Of a `monitoring.ledger.Ledger`, which makes the tables.

    Raises
    ------
    LedgerError
        If the database refuses; so does every method.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def latest_batch(self) -> int:
        """Return the number of the last batch: all up to it are readable."""
        with self._reading() as connection:
            query = sa.select(COUNTERS.c.value).where(COUNTERS.c.name == TRANSITION_BATCH)
            return int(connection.execute(query).scalar() or 0)

    def carrying(self, us: int, *, behind: str, limit: int) -> list[str]:
        """Return the first customers behind an id who have a claim that has not expired at an instant."""
        return self._customers(
            CLAIMS.c.customer_id,
            (~CLAIMS.c.is_control, CLAIMS.c.assigned_at_us > us - LIFE_MAX_US, CLAIMS.c.expires_at_us > us),
            behind,
            limit,
        )

    def changed(self, since: Moment, until: Moment, *, behind: str, limit: int) -> list[str]:
        """Return the first customers behind an id with a transition or an expiry between two moments."""
        batch, expiry = TRANSITIONS.c.batch, CLAIMS.c.expires_at_us
        moved = self._customers(
            TRANSITIONS.c.customer_id, (batch > since.batch, batch <= until.batch), behind, limit
        )
        expired = self._customers(
            CLAIMS.c.customer_id,
            (
                ~CLAIMS.c.is_control,
                CLAIMS.c.assigned_at_us > since.us - LIFE_MAX_US,
                CLAIMS.c.assigned_at_us <= until.us,
                expiry > since.us,
                expiry <= until.us,
            ),
            behind,
            limit,
        )
        return sorted({*moved, *expired})[:limit]

    def histories(self, customers: Collection[str], since_us: int) -> Histories:
        """Return what tells which tags some customers carried at any moment from an instant on."""
        found: Histories = defaultdict(lambda: defaultdict(TagHistory))
        first_us = since_us - LIFE_MAX_US
        listed = sorted(customers)
        with self._reading() as connection:
            for start in range(0, len(listed), CHUNK):
                some = listed[start : start + CHUNK]
                steps = sa.select(TRANSITIONS).where(
                    TRANSITIONS.c.customer_id.in_(some), TRANSITIONS.c.at_us >= first_us
                )
                for row in connection.execute(steps):
                    step = (row.batch or 0, row.at_us, int(row.to_state != "expired"), row.to_state)
                    found[row.customer_id][row.tag_id].steps.append(step)
                claims = sa.select(
                    CLAIMS.c.customer_id, CLAIMS.c.tag_id, CLAIMS.c.assigned_at_us, CLAIMS.c.expires_at_us
                ).where(
                    CLAIMS.c.customer_id.in_(some),
                    CLAIMS.c.assigned_at_us >= first_us,
                    ~CLAIMS.c.is_control,
                )
                for row in connection.execute(claims):
                    claim = row.assigned_at_us, row.expires_at_us
                    found[row.customer_id][row.tag_id].claims.append(claim)
        return found

    def _customers(
        self,
        column: sa.Column[Any],
        conditions: Sequence[sa.ColumnElement[bool]],
        behind: str,
        limit: int,
    ) -> list[str]:
        query = (
            sa.select(column).where(*conditions, column > behind).group_by(column).order_by(column)
        ).limit(limit)
        with self._reading() as connection:
            return [str(one) for one, _ in groupby(connection.execute(query).scalars())]

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
            raise LedgerError(
                f"ledger database refused: {str(cause).splitlines()[0]}", "check the database and its disk"
            ) from None
