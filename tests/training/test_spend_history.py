"""Spend histories against a loop over events."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.made_spend import day, events
from training.spend_history import spend_history

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "d"]),
        st.integers(0, 12),
        st.integers(0, 500),
        st.sampled_from(["purchase", "purchase", "refund", "view"]),
    ),
    min_size=1,
    max_size=40,
).filter(lambda rows: any(row[3] == "purchase" for row in rows))


@given(ROWS, st.integers(0, 12))
def test_summaries_and_spend_equal_a_loop_over_the_events(
    rows: list[tuple[str, int, int, str]], at: int
) -> None:
    history = spend_history(events([(name, float(when), paid, kind) for name, when, paid, kind in rows]))
    buyers = history.buyers(day(at))
    names = history.customers[buyers].tolist()
    assert names == sorted({name for name, when, _, kind in rows if kind == "purchase" and when <= at})
    summary = history.summary(day(at), buyers)
    later = history.spend_between(day(at), day(at + 3))[buyers]
    for place, name in enumerate(names):
        own = [row for row in rows if row[0] == name and row[3] != "view"]
        orders = {when for _, when, _, kind in own if kind == "purchase" and when <= at}
        signed = [(when, paid if kind == "purchase" else -paid) for _, when, paid, kind in own]
        assert summary.order_count[place] == len(orders)
        assert summary.frequency[place] == len(orders) - 1
        assert summary.recency_days[place] == max(orders) - min(orders)
        assert summary.age_days[place] == at - min(orders)
        assert summary.net_minor[place] == sum(paid for when, paid in signed if when <= at)
        assert later[place] == sum(paid for when, paid in signed if at < when <= at + 3)


def test_what_arrived_later_was_not_known() -> None:
    frame = events([("a", 1.0, 100, "purchase"), ("a", 2.0, 50, "purchase"), ("b", 1.0, 70, "purchase")])
    late = frame.with_columns(
        ingested_at=pl.when(pl.col("event_id") == "1")
        .then(pl.col("event_time") + timedelta(days=3))
        .otherwise("event_time")
    )
    history = spend_history(late)
    customers = history.buyers(day(4))
    assert history.summary(day(4), customers).order_count.tolist() == [1.0, 1.0]
    assert history.summary(day(5), customers).order_count.tolist() == [2.0, 1.0]
    assert history.spend_between(day(1), day(2)).tolist() == [50, 0]
    assert history.spend_between(day(1), day(2), known_by_us=day(4)).tolist() == [0, 0]
    assert history.known_by(day(4)).time_us.size == 2


def test_lines_of_one_order_that_arrived_apart_are_one_order() -> None:
    frame = events([("a", 1.0, 100, "purchase"), ("a", 1.0, 50, "purchase")])
    apart = frame.with_columns(
        ingested_at=pl.when(pl.col("event_id") == "1")
        .then(pl.col("event_time") + timedelta(days=1))
        .otherwise("event_time")
    )
    history = spend_history(apart)
    assert history.summary(day(1), np.array([0])).net_minor.tolist() == [100.0]
    after = history.summary(day(3), np.array([0]))
    assert after.order_count.tolist() == [1.0]
    assert after.net_minor.tolist() == [150.0]


def test_money_beyond_the_exact_range_of_floats_adds_up() -> None:
    history = spend_history(events([("a", 1.0, 2**53, "purchase"), ("a", 2.0, 1, "purchase")]))
    assert history.spend_between(day(0), day(9))[0] == 2**53 + 1


def test_a_summary_of_a_customer_without_an_order_is_refused() -> None:
    history = spend_history(events([("a", 5.0, 100, "purchase")]))
    assert history.first_us == day(5)
    with pytest.raises(ValueError, match="without an order"):
        history.summary(day(1), np.array([0]))
