"""Who spent how much and when: orders and refunds, summarised as of any instant.

An order is one distinct event time of a customer's purchases. Spend is net of refunds, integer minor units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
TextArray = npt.NDArray[np.str_]

DAY_US = 86_400_000_000


@dataclass(frozen=True)
class PurchaseSummary:
    """Recency, frequency and money of customers with at least one order, as of one instant.

    Attributes
    ----------
    order_count
        Shape (n,), >= 1.
    recency_days
        Shape (n,). Days from first to last order; 0 for a single one.
    age_days
        Shape (n,). Days from first order to the instant.
    net_minor
        Shape (n,). Spend less refunds over all orders; may be negative.
    """

    order_count: FloatArray
    recency_days: FloatArray
    age_days: FloatArray
    net_minor: FloatArray

    @property
    def frequency(self) -> FloatArray:
        """Repeat orders: all but the first."""
        return self.order_count - 1

    @property
    def mean_order_minor(self) -> FloatArray:
        """Net spend per order."""
        return self.net_minor / self.order_count

    def __len__(self) -> int:
        """Return the number of customers."""
        return self.order_count.size


@dataclass(frozen=True)
class SpendHistory:
    """Every customer's orders and refunds, sorted by event time.

    Attributes
    ----------
    customers
        Shape (n_customers,), sorted; everyone with at least one purchase.
    customer
        Shape (n,). Index into ``customers``.
    time_us, known_us
        Shape (n,). Event time, and the instant from which it was known; µs since the epoch, UTC.
    net_minor
        Shape (n,). Paid, or minus refunded.
    is_order
        Shape (n,). False for refunds.
    """

    customers: TextArray
    customer: IntArray
    time_us: IntArray
    known_us: IntArray
    net_minor: IntArray
    is_order: npt.NDArray[np.bool_]

    @property
    def first_us(self) -> int:
        """Time of the earliest order or refund."""
        return int(self.time_us[0])

    def known_by(self, as_of_us: int) -> SpendHistory:
        """Return what was known at an instant: nothing later, and nothing that arrived later."""
        rows = self.known_us <= as_of_us
        return SpendHistory(
            self.customers,
            self.customer[rows],
            self.time_us[rows],
            self.known_us[rows],
            self.net_minor[rows],
            self.is_order[rows],
        )

    def buyers(self, as_of_us: int) -> IntArray:
        """Return the indices of customers with an order known at an instant, ascending."""
        return np.unique(self.customer[(self.known_us <= as_of_us) & self.is_order])

    def order_span_us(self, as_of_us: int) -> tuple[IntArray, IntArray]:
        """Return when each customer's first and latest order known at an instant were.

        Returns
        -------
        (first, latest), shape (n_customers,) each; the largest and the smallest integer for who had none.
        """
        rows = (self.known_us <= as_of_us) & self.is_order
        first = np.full(self.customers.size, np.iinfo(np.int64).max)
        last = np.full(self.customers.size, np.iinfo(np.int64).min)
        np.minimum.at(first, self.customer[rows], self.time_us[rows])
        np.maximum.at(last, self.customer[rows], self.time_us[rows])
        return first, last

    def summary(self, as_of_us: int, customers: IntArray) -> PurchaseSummary:
        """Summarise what was known of customers at an instant.

        Parameters
        ----------
        customers
            Shape (n,). Indices, usually `buyers` of the same instant.

        Raises
        ------
        ValueError
            If one of them had no order known by then.
        """
        known = self.known_by(as_of_us)
        size = self.customers.size
        order_count = np.bincount(known.customer[known.is_order], minlength=size)
        if (order_count[customers] == 0).any():
            raise ValueError("a customer without an order has no summary")
        first, last = self.order_span_us(as_of_us)
        net = sums_by_customer(known.customer, known.net_minor, size)
        return PurchaseSummary(
            order_count[customers].astype(np.float64),
            (last[customers] - first[customers]) / DAY_US,
            (as_of_us - first[customers]) / DAY_US,
            net[customers].astype(np.float64),
        )

    def spend_between(self, after_us: int, until_us: int, known_by_us: int | None = None) -> IntArray:
        """Return each customer's net spend in ``(after, until]``.

        Parameters
        ----------
        known_by_us
            Count only what was known by then. Default: everything.

        Returns
        -------
        Shape (n_customers,), int64.
        """
        rows = (self.time_us > after_us) & (self.time_us <= until_us)
        if known_by_us is not None:
            rows &= self.known_us <= known_by_us
        return sums_by_customer(self.customer[rows], self.net_minor[rows], self.customers.size)


def spend_history(events: pl.DataFrame) -> SpendHistory:
    """Build the history from events.

    Parameters
    ----------
    events
        Columns ``customer_id event_type event_time ingested_at amount_minor`` of the event schema; other
        types than purchase and refund are passed over, and so are refunds of customers who never bought.
    """
    us = pl.col("event_time").dt.epoch("us")
    rows = (
        events.lazy()
        .filter(pl.col("event_type").is_in(["purchase", "refund"]))
        .filter((pl.col("event_type") == "purchase").any().over("customer_id"))
        .select(
            "customer_id",
            is_order=pl.col("event_type") == "purchase",
            time_us=us,
            known_us=pl.max_horizontal(us, pl.col("ingested_at").dt.epoch("us")),
            net_minor=pl.col("amount_minor").fill_null(0)
            * pl.when(pl.col("event_type") == "purchase").then(1).otherwise(-1),
        )
        .group_by("customer_id", "time_us", "is_order", "known_us")
        .agg(pl.col("net_minor").sum())
        .with_columns(
            # lines of one order that arrived at different times are one order, known from the first of them
            is_order=pl.col("is_order")
            & (pl.col("known_us") == pl.col("known_us").min().over("customer_id", "time_us", "is_order"))
        )
        .sort("time_us", "customer_id", "is_order", "known_us")
        .collect()
    )
    customers, index = np.unique(rows["customer_id"].to_numpy().astype(np.str_), return_inverse=True)
    return SpendHistory(
        customers,
        index.astype(np.int64),
        rows["time_us"].to_numpy(),
        rows["known_us"].to_numpy(),
        rows["net_minor"].to_numpy(),
        rows["is_order"].to_numpy(),
    )


def sums_by_customer(customer: IntArray, values: IntArray, size: int) -> IntArray:
    """Sum integers by customer, exactly.

    >>> sums_by_customer(np.array([0, 2, 0]), np.array([1, 5, 2]), 3)
    array([3, 0, 5])
    """
    total = np.zeros(size, dtype=np.int64)
    np.add.at(total, customer, values)
    return total
