"""Who and what is known by a day boundary, from no more of an event than its ids, times and keys."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import polars as pl

from features.memory import KEY_COLUMNS
from features.windows import LONG_WINDOWS, IntArray

KNOWN_COLUMNS = ("customer_id", "source", "event_id", "event_time", "ingested_at", *KEY_COLUMNS)
"""Columns of the event schema that are looked at."""

BUCKETS = 4096
"""Into how many groups customers are put by a hash of their id: a fingerprint says of each whether its events
are still the same, and names nobody."""

HASH_SEED = 7
ROW_HASH_SHIFT = 24
"""Of a row's hash 40 bits are kept, so that eight million rows of a group sum up without overflow."""


def bucket_of(customers: pl.Series) -> pl.Series:
    """Return the group of each customer id, 0 to `BUCKETS` - 1."""
    return (customers.hash(HASH_SEED) % BUCKETS).cast(pl.Int64)


class KnownEvents:
    """The events known by a boundary.

    Parameters
    ----------
    events
        `KNOWN_COLUMNS` at least; rows known later are left out.
    boundary_us
        Day boundary, µs since the epoch.
    """

    def __init__(self, events: pl.DataFrame, boundary_us: int) -> None:
        self.boundary_us = boundary_us
        self._rows = (
            events.lazy()
            .select(
                *KNOWN_COLUMNS,
                time_us=pl.col("event_time").dt.epoch("us"),
                known_us=pl.max_horizontal("event_time", "ingested_at").dt.epoch("us"),
            )
            .filter(pl.col("known_us") <= boundary_us)
            .collect()
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known."""
        return self._rows.is_empty()

    def customers(self) -> pl.Series:
        """Return every customer once."""
        return self._rows["customer_id"].unique()

    def texts(self, key_column: str) -> list[str]:
        """Return every ``category`` or ``brand`` once, ascending."""
        return self._rows[key_column].drop_nulls().unique().sort().to_list()

    def fingerprint(self, by_us: int) -> IntArray:
        """Return a number per group of customers that differs once any of their events does.

        Parameters
        ----------
        by_us
            Only events known by then count.

        Returns
        -------
        Shape (`BUCKETS`,), int64.
        """
        known = self._hashes.filter(pl.col("known_us") <= by_us)
        sums = known.group_by("bucket").agg(pl.col("hash").sum())
        fingerprint = np.zeros(BUCKETS, np.int64)
        fingerprint[sums["bucket"].to_numpy()] = sums["hash"].to_numpy()
        return fingerprint

    @cached_property
    def _hashes(self) -> pl.DataFrame:
        identity = self._rows.select(name for name in KNOWN_COLUMNS if name not in KEY_COLUMNS)
        return self._rows.select(
            "known_us",
            bucket=bucket_of(self._rows["customer_id"]),
            hash=(identity.hash_rows(HASH_SEED) // 2**ROW_HASH_SHIFT).cast(pl.Int64),
        )

    def touched_since(self, before_us: int) -> pl.Series:
        """Return the customers whose profile can be another than it was at an earlier boundary.

        They have an event that became known since, or one that was inside a long window then and is no more.
        """
        time, known = pl.col("time_us"), pl.col("known_us")
        leaves = [
            (time > before_us - window.length_us) & (time <= self.boundary_us - window.length_us)
            for window in LONG_WINDOWS
            if window.length_us is not None
        ]
        return self._rows.filter(pl.any_horizontal(known > before_us, *leaves))["customer_id"].unique()


def customers_in(buckets: Sequence[int] | IntArray, customers: pl.Series) -> pl.Series:
    """Return those of some customers who are in one of the groups."""
    wanted = pl.Series(np.asarray(buckets, np.int64), dtype=pl.Int64)
    return customers.filter(bucket_of(customers).is_in(wanted.implode()))
