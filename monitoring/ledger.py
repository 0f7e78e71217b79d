"""The ledger: every claim that was made and what became of it, in SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from features.lake import CustomerResolver
from features.windows import HOUR_US
from monitoring.claims import OUTCOMES, Claim, Measurement, Prediction, Transition
from monitoring.errors import LedgerError

__all__ = ["CLAIM_WINDOW_US", "READ_SCHEMA", "Claim", "Ledger", "Measurement", "Prediction", "Transition"]

CLAIM_WINDOW_US = 72 * HOUR_US
"""A claim assigned at ``t`` is about ``(t, t + 72 h]``; no tag promises more."""

BATCH_ROWS = 5_000
"""Rows per statement: large enough to be fast, small enough to keep memory flat."""

METADATA = sa.MetaData()

CLAIMS = sa.Table(
    "claims",
    METADATA,
    sa.Column("claim_id", sa.String(32), primary_key=True),
    sa.Column("customer_id", sa.Text, nullable=False),
    sa.Column("family", sa.Text, nullable=False),
    sa.Column("tag_id", sa.Text, nullable=False),
    sa.Column("key", sa.Text),
    sa.Column("probability", sa.Float, nullable=False),
    sa.Column("probability_if_observed", sa.Float, nullable=False),
    sa.Column("threshold", sa.Float),
    sa.Column("model_version", sa.Text, nullable=False),
    sa.Column("features_hash", sa.Text, nullable=False),
    sa.Column("assigned_at_us", sa.BigInteger, nullable=False),
    sa.Column("expires_at_us", sa.BigInteger, nullable=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("certified_precision", sa.Float),
    sa.Column("certified_lift", sa.Float),
    sa.Column("is_control", sa.Boolean, nullable=False),
    sa.Index("claims_by_time", "assigned_at_us"),
    sa.Index("claims_by_customer", "customer_id"),
)

OUTCOME_ROWS = sa.Table(
    "outcomes",
    METADATA,
    sa.Column("claim_id", sa.String(32), primary_key=True),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("judged_at_us", sa.BigInteger, nullable=False),
)

TRANSITIONS = sa.Table(
    "transitions",
    METADATA,
    sa.Column("customer_id", sa.Text, primary_key=True),
    sa.Column("tag_id", sa.Text, primary_key=True),
    sa.Column("at_us", sa.BigInteger, primary_key=True),
    sa.Column("to_state", sa.Text, primary_key=True),
    sa.Column("from_state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("batch", sa.BigInteger),
    sa.Index("transitions_by_batch", "batch"),
)

COUNTERS = sa.Table(
    "ledger_counters",
    METADATA,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

TRANSITION_BATCH = "transition_batch"
"""Counts what was recorded together; whoever reads up to a number misses nothing that comes later."""

PREDICTIONS = sa.Table(
    "predictions",
    METADATA,
    sa.Column("customer_id", sa.Text, primary_key=True),
    sa.Column("horizon", sa.Text, primary_key=True),
    sa.Column("at_us", sa.BigInteger, primary_key=True),
    sa.Column("probability", sa.Float, nullable=False),
    sa.Column("model_version", sa.Text, nullable=False),
    sa.Index("predictions_by_time", "at_us"),
)

MEASUREMENTS = sa.Table(
    "measurements",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("at_us", sa.BigInteger, primary_key=True),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("how", sa.Text, nullable=False),
)

POLARS_TYPES: dict[type[Any], pl.DataType] = {
    str: pl.String(),
    float: pl.Float64(),
    int: pl.Int64(),
    bool: pl.Boolean(),
}


def _polars_schema(columns: Iterable[sa.Column[Any]]) -> dict[str, pl.DataType]:
    return {column.name: POLARS_TYPES[column.type.python_type] for column in columns}


CLAIM_SCHEMA = _polars_schema(CLAIMS.columns)

READ_SCHEMA = CLAIM_SCHEMA | _polars_schema([OUTCOME_ROWS.c.outcome, OUTCOME_ROWS.c.judged_at_us])
"""Columns of `Ledger.read`: the claim, then ``outcome`` and ``judged_at_us``, null while it is open."""


class Ledger:
    """Claims, transitions, outcomes, served propensities and measurements.

    Parameters
    ----------
    engine
        SQLite or PostgreSQL. Tables are made if they are not there. For SQLite the engine should run in
        write-ahead mode, so that a report can read while the service writes.
    customers
        Resolves ids at reading, so that claims follow a customer who was joined with another; None: they are
        read as they were written.

    Raises
    ------
    LedgerError
        If the database is of another kind, or cannot be opened.
    """

    def __init__(self, engine: sa.Engine, customers: CustomerResolver | None = None) -> None:
        inserts = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
        if engine.dialect.name not in inserts:
            raise LedgerError(
                f"ledger database is {engine.dialect.name!r}; expected one of {', '.join(inserts)}",
                "set TAGTIDE_DATABASE_URL to such a URL, or unset it to use SQLite in the home",
            )
        self._engine = engine
        self._customers = customers
        self.before_commit: Callable[[sa.Connection], None] | None = None
        """Called at the end of the transaction of `record`; what it raises undoes it."""
        self._insert: Any = inserts[engine.dialect.name]
        with self._transaction() as connection:
            for table in METADATA.sorted_tables:
                connection.execute(CreateTable(table, if_not_exists=True))
                if table is TRANSITIONS:
                    _add_batch(connection)
                for index in table.indexes:
                    connection.execute(CreateIndex(index, if_not_exists=True))
            self._add(connection, COUNTERS, [{"name": TRANSITION_BATCH, "value": 0}])

    def record(
        self,
        claims: Sequence[Claim],
        transitions: Sequence[Transition] = (),
        *,
        within: Callable[[sa.Connection], None] | None = None,
    ) -> None:
        """Store claims and transitions in one transaction; what is stored already stays as it is.

        Parameters
        ----------
        within
            Writes what is to be stored with them or not at all, in the same transaction.

        Raises
        ------
        LedgerError
            If a row does not fit its table, or the database refuses; nothing is stored then.
        """
        rows = [{"claim_id": claim.claim_id, **asdict(claim)} for claim in claims]
        with self._transaction() as connection:
            # First of all: in PostgreSQL too batches are then committed in the order of their numbers.
            batch = self._next_batch(connection) if transitions else 0
            steps = [{**asdict(transition), "batch": batch} for transition in transitions]
            self._add(connection, CLAIMS, rows)
            self._add(connection, TRANSITIONS, steps)
            if within is not None:
                within(connection)
            if self.before_commit is not None:
                self.before_commit(connection)

    def record_predictions(self, predictions: Sequence[Prediction]) -> None:
        """Store served propensities; the same (customer, horizon, instant) twice is stored once."""
        rows = [asdict(prediction) for prediction in predictions]
        with self._transaction() as connection:
            self._add(connection, PREDICTIONS, rows)

    def record_measurement(self, measurement: Measurement) -> None:
        """Store a figure measured elsewhere; the same name at the same instant is replaced."""
        row = asdict(measurement)
        statement = self._insert(MEASUREMENTS).on_conflict_do_update(
            index_elements=["name", "at_us"], set_={"value": row["value"], "how": row["how"]}
        )
        with self._transaction() as connection:
            connection.execute(statement, row)

    def write_outcomes(self, outcomes: pl.DataFrame, judged_at_us: int) -> None:
        """Store what became of claims. The first judgement stands.

        Parameters
        ----------
        outcomes
            Columns ``claim_id`` and ``outcome`` (confirmed, refuted or unobserved).

        Raises
        ------
        LedgerError
            If an outcome is none of the three.
        """
        strange = outcomes.filter(~pl.col("outcome").is_in(OUTCOMES) | pl.col("outcome").is_null())
        if strange.height:
            raise LedgerError(
                f"claim {strange['claim_id'][0]} has outcome {strange['outcome'][0]!r}; "
                f"expected one of {', '.join(OUTCOMES)}"
            )
        judged = outcomes.select("claim_id", "outcome", judged_at_us=pl.lit(judged_at_us))
        with self._transaction() as connection:
            self._add(connection, OUTCOME_ROWS, judged.iter_rows(named=True))

    def open_claims(self, closed_by_us: int) -> pl.DataFrame:
        """Return claims (controls too) not judged yet whose window ended at or before an instant.

        Parameters
        ----------
        closed_by_us
            Usually now minus the lateness allowance, in microseconds.

        Returns
        -------
        Columns of the claims table, oldest first.
        """
        query = (
            sa.select(CLAIMS)
            .where(CLAIMS.c.assigned_at_us <= closed_by_us - CLAIM_WINDOW_US)
            .where(~sa.exists().where(OUTCOME_ROWS.c.claim_id == CLAIMS.c.claim_id))
            .order_by(CLAIMS.c.assigned_at_us, CLAIMS.c.claim_id)
        )
        return self._frame(query, CLAIM_SCHEMA)

    def read(self, *, since_us: int | None = None, until_us: int | None = None) -> pl.DataFrame:
        """Return claims assigned in ``(since, until]`` with their outcomes, oldest first.

        Returns
        -------
        Columns of `READ_SCHEMA`; ``outcome`` is null while a claim is open.
        """
        query = (
            sa.select(CLAIMS, OUTCOME_ROWS.c.outcome, OUTCOME_ROWS.c.judged_at_us)
            .select_from(CLAIMS.outerjoin(OUTCOME_ROWS, OUTCOME_ROWS.c.claim_id == CLAIMS.c.claim_id))
            .order_by(CLAIMS.c.assigned_at_us, CLAIMS.c.claim_id)
        )
        return self._frame(_between(query, CLAIMS.c.assigned_at_us, since_us, until_us), READ_SCHEMA)

    def read_transitions(self, *, since_us: int | None = None, until_us: int | None = None) -> pl.DataFrame:
        """Return transitions in ``(since, until]``, oldest first."""
        columns = [column for column in TRANSITIONS.columns if column is not TRANSITIONS.c.batch]
        query = sa.select(*columns).order_by(
            TRANSITIONS.c.at_us, TRANSITIONS.c.customer_id, TRANSITIONS.c.tag_id
        )
        return self._frame(_between(query, TRANSITIONS.c.at_us, since_us, until_us), _polars_schema(columns))

    def read_predictions(self, *, since_us: int | None = None, until_us: int | None = None) -> pl.DataFrame:
        """Return propensities served in ``(since, until]``, oldest first."""
        query = sa.select(PREDICTIONS).order_by(
            PREDICTIONS.c.at_us, PREDICTIONS.c.customer_id, PREDICTIONS.c.horizon
        )
        return self._frame(
            _between(query, PREDICTIONS.c.at_us, since_us, until_us), _polars_schema(PREDICTIONS.columns)
        )

    def latest_measurement(self, name: str, *, until_us: int | None = None) -> Measurement | None:
        """Return the newest measurement of that name at or before an instant, or None."""
        query = sa.select(MEASUREMENTS).where(MEASUREMENTS.c.name == name)
        query = _between(query, MEASUREMENTS.c.at_us, None, until_us)
        with self._transaction() as connection:
            row = connection.execute(query.order_by(MEASUREMENTS.c.at_us.desc()).limit(1)).first()
        return None if row is None else Measurement(row.name, row.value, row.at_us, row.how)

    def first_needed_us(self, since_us: int | None) -> int | None:
        """Return the first instant of a claim or prediction after ``since``, or of any claim still open.

        Returns
        -------
        None if the ledger holds no such entry.
        """
        is_open = ~sa.exists().where(OUTCOME_ROWS.c.claim_id == CLAIMS.c.claim_id)
        first_open = sa.select(sa.func.min(CLAIMS.c.assigned_at_us)).where(is_open)
        first_claim = _between(
            sa.select(sa.func.min(CLAIMS.c.assigned_at_us)), CLAIMS.c.assigned_at_us, since_us, None
        )
        first_served = _between(
            sa.select(sa.func.min(PREDICTIONS.c.at_us)), PREDICTIONS.c.at_us, since_us, None
        )
        with self._transaction() as connection:
            firsts = [connection.execute(query).scalar() for query in (first_open, first_claim, first_served)]
        return min((int(first) for first in firsts if first is not None), default=None)

    def forget(self, customer_id: str) -> int:
        """Erase everything the ledger holds of a customer.

        Parameters
        ----------
        customer_id
            As it was written; nothing is resolved here.

        Returns
        -------
        Rows erased, over all tables.
        """
        theirs = sa.select(CLAIMS.c.claim_id).where(CLAIMS.c.customer_id == customer_id)
        erasures = [sa.delete(OUTCOME_ROWS).where(OUTCOME_ROWS.c.claim_id.in_(theirs))]
        erasures += [
            sa.delete(table).where(table.c.customer_id == customer_id)
            for table in (CLAIMS, TRANSITIONS, PREDICTIONS)
        ]
        with self._transaction() as connection:
            return sum(connection.execute(erasure).rowcount for erasure in erasures)

    def _next_batch(self, connection: sa.Connection) -> int:
        counter = sa.update(COUNTERS).where(COUNTERS.c.name == TRANSITION_BATCH)
        raised = counter.values(value=COUNTERS.c.value + 1).returning(COUNTERS.c.value)
        return int(connection.execute(raised).scalar_one())

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            raise LedgerError(
                f"ledger database refused: {_reason(error)}", "check the database's permissions, disk and URL"
            ) from None

    def _add(self, connection: sa.Connection, table: sa.Table, rows: Iterable[dict[str, Any]]) -> None:
        statement = self._insert(table).on_conflict_do_nothing()
        remaining = iter(rows)
        while batch := list(islice(remaining, BATCH_ROWS)):
            connection.execute(statement, batch)

    def _frame(self, query: sa.Select[Any], schema: dict[str, pl.DataType]) -> pl.DataFrame:
        with self._transaction() as connection:
            rows = [tuple(row) for row in connection.execute(query)]
        frame = pl.DataFrame(rows, schema=schema, orient="row")
        return frame if self._customers is None else self._customers.resolve(frame)


def _add_batch(connection: sa.Connection) -> None:
    """Add the column to a table that is older than it."""
    known = {column["name"] for column in sa.inspect(connection).get_columns(TRANSITIONS.name)}
    if "batch" not in known:
        connection.execute(sa.text("ALTER TABLE transitions ADD COLUMN batch BIGINT"))


def _between(
    query: sa.Select[Any], column: sa.Column[Any], since_us: int | None, until_us: int | None
) -> sa.Select[Any]:
    if since_us is not None:
        query = query.where(column > since_us)
    if until_us is not None:
        query = query.where(column <= until_us)
    return query


def _reason(error: sa.exc.SQLAlchemyError) -> str:
    """Return the driver's own words: the statement and its values may hold personal ids."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return str(cause).splitlines()[0]
