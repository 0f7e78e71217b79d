from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from features.windows import HOUR_US, to_us
from monitoring.errors import MonitoringError
from monitoring.served_propensity import horizon_us, served_propensity
from tests.monitoring.shop import at_us, event, events_of, random_events


def served(rows: list[tuple[str, str, float, float]]) -> pl.DataFrame:
    """Return predictions of (customer, horizon, probability, hours)."""
    return pl.DataFrame(
        [(who, horizon, probability, at_us(hours)) for who, horizon, probability, hours in rows],
        schema={"customer_id": pl.String, "horizon": pl.String, "probability": pl.Float64, "at_us": pl.Int64},
        orient="row",
    )


def test_outcomes_and_ranking_equal_those_counted_by_hand() -> None:
    events = random_events(5)
    rng = np.random.default_rng(5)
    asked = [
        (f"c{rng.integers(60)}", horizon, round(float(rng.uniform()), 2), float(hour))
        for hour in range(0, 90, 7)
        for horizon in ("72h", "2d")
        for _ in range(5)
    ]
    found = served_propensity(served(asked), events, at_us(1000))
    assert [row.horizon for row in found] == ["2d", "72h"]
    bought = {
        (row["customer_id"], to_us(row["event_time"]))
        for row in events.iter_rows(named=True)
        if row["event_type"] == "purchase"
    }
    first_seen: dict[str, int] = {}
    for each in events.filter(pl.col("event_type") != "contact").iter_rows(named=True):
        first_seen.setdefault(each["customer_id"], to_us(each["event_time"]))
    asked = [each for each in asked if first_seen.get(each[0], at_us(1e4)) <= at_us(each[3])]
    for row in found:
        length = horizon_us(row.horizon)
        labelled = [
            (any(who == other and at_us(hours) < when <= at_us(hours) + length for other, when in bought), p)
            for who, horizon, p, hours in asked
            if horizon == row.horizon
        ]
        assert row.n == len(labelled)
        assert row.base_rate == pytest.approx(np.mean([label for label, _ in labelled]))
        pairs = [(p, q) for label, p in labelled for other, q in labelled if label and not other]
        wins = sum((p > q) + 0.5 * (p == q) for p, q in pairs)
        assert row.auc == pytest.approx(wins / len(pairs))


def test_a_purchase_at_the_instant_does_not_count_and_one_at_the_end_does() -> None:
    asked = served([("early", "72h", 0.5, 0), ("late", "72h", 0.5, 0), ("beyond", "72h", 0.5, 0)])
    before = [event(who, -1, "view") for who in ("late", "beyond")]
    events = events_of([*before, event("early", 0), event("late", 72), event("beyond", 72.001)])
    (row,) = served_propensity(asked, events, at_us(80))
    assert row.base_rate == pytest.approx(1 / 3)


def test_an_open_window_is_left_out() -> None:
    asked = served([("a", "72h", 0.5, 0), ("a", "7d", 0.5, 0)])
    (row,) = served_propensity(asked, events_of([event("a", 0), event("a", 1)]), at_us(0) + 72 * HOUR_US)
    assert (row.horizon, row.n, row.auc, row.lift_top_decile) == ("72h", 1, None, None)
    assert served_propensity(asked, events_of([]), at_us(0)) == ()


def test_thirty_days_are_judged_once_they_are_over_and_listed_last() -> None:
    asked = served([("a", horizon, 0.5, 0) for horizon in ("30d", "72h", "7d")])
    events = events_of([event("a", -1), event("a", 719)])
    open_still = served_propensity(asked, events, at_us(720) - 1)
    assert [(row.horizon, row.base_rate) for row in open_still] == [("72h", 0), ("7d", 0)]
    closed = served_propensity(asked, events, at_us(720))
    assert [(row.horizon, row.base_rate) for row in closed] == [("72h", 0), ("7d", 0), ("30d", 1)]


def test_a_horizon_that_is_none_is_named() -> None:
    with pytest.raises(MonitoringError, match="horizon is 'soon'"):
        horizon_us("soon")


def test_customers_who_did_nothing_for_thirty_days_are_left_out() -> None:
    asked = served([(who, "72h", 0.5, 0) for who in ("just in", "just out", "only written to")])
    events = events_of(
        [event("just in", -719.999), event("just out", -720), event("only written to", -1, "contact", None)]
    )
    (row,) = served_propensity(asked, events, at_us(80))
    assert (row.n, row.base_rate) == (1, 0)
