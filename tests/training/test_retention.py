from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from features import customer
from features.history import History
from features.windows import to_us
from tests.training.rhythmic_shop import ZONE, shop_events, shop_history
from training.errors import TrainingDataError
from training.retention import retention
from training.retention_plot import plot_retention
from training.stages import STAGE_FEATURES, STAGES, life_cycle_stages

AS_OF = datetime(2024, 5, 30, tzinfo=ZONE)
MONTHS = [(2024, month) for month in (1, 2, 3, 4)]


@pytest.fixture(scope="module")
def found():
    events, history, _ = shop_history()
    return retention(history, events, AS_OF, ZONE)


def months_bought():
    events, _, _ = shop_history()
    bought = defaultdict(set)
    purchases = events.filter(pl.col("event_type") == "purchase").select("customer_id", "event_time")
    for name, at in purchases.iter_rows():
        local = at.astimezone(ZONE)
        bought[name].add((local.year, local.month))
    return bought


def test_newcomers_are_followed_as_by_hand(found):
    expected = {}
    bought = months_bought()
    for first in MONTHS:
        members = [months for months in bought.values() if min(months) == first]
        for later in [month for month in MONTHS if month > first]:
            if members:
                key = date(*first, 1), later[1] - first[1]
                expected[key] = len(members), sum(later in months for months in members)
    rows = found.by_first_purchase
    table = {
        (row["cohort"], row["months_later"]): (row["customers"], row["buying"]) for row in rows.to_dicts()
    }
    assert table == expected
    assert rows["share"].to_list() == pytest.approx([buying / size for size, buying in expected.values()])
    assert max(size for size, _ in expected.values()) > 200


def test_stages_are_followed_as_by_hand(found):
    _, history, _ = shop_history()
    names, bought, expected = history.columns.customers, months_bought(), {}
    for first in MONTHS[1:]:
        at = np.full(len(names), to_us(datetime(*first, 1, tzinfo=ZONE)))
        rows = history.customer_rows(np.arange(len(names)), at)
        features = customer.CATALOGUE.compute(rows, STAGE_FEATURES)
        members = defaultdict(list)
        for name, stage, seen in zip(
            names, life_cycle_stages(features), features["seconds_since_first_event"], strict=True
        ):
            if not np.isnan(seen):
                members[stage].append(name)
        for stage, of_stage in members.items():
            for later in [month for month in MONTHS if month >= first]:
                key = date(*first, 1), stage, later[1] - first[1] + 1
                expected[key] = len(of_stage), sum(later in bought[name] for name in of_stage)
    table = {
        (row["cohort"], row["stage"], row["months_later"]): (row["customers"], row["buying"])
        for row in found.by_stage.to_dicts()
    }
    assert table == expected
    assert {stage for _, stage, _ in expected} >= {"repeat", "loyal"}


def test_pooled_cohorts_are_sums_in_the_order_of_the_stages(found):
    pooled = found.pooled()
    for row in pooled.to_dicts():
        parts = found.by_stage.filter(stage=row["stage"], months_later=row["months_later"])
        assert (row["customers"], row["buying"]) == (parts["customers"].sum(), parts["buying"].sum())
        assert row["share"] == pytest.approx(row["buying"] / row["customers"])
    order = [STAGES.index(stage) for stage in pooled["stage"].to_list()]
    assert order == sorted(order)


def test_whoever_left_is_missed_in_the_months_after(found):
    shares = found.pooled().filter(stage="loyal").sort("months_later")["share"].to_list()
    assert shares[0] > 0.8


def small(days_of, as_of, zone=UTC):
    """Return retention of customers who buy on given days of 2024."""
    rows = [(name, datetime(2024, *day, 12, tzinfo=UTC)) for name, days in days_of.items() for day in days]
    template = shop_events(2, 3).head(1)
    events = pl.concat(
        [
            template.with_columns(
                customer_id=pl.lit(name),
                event_type=pl.lit("purchase"),
                event_time=pl.lit(at).cast(template.schema["event_time"]),
                ingested_at=pl.lit(at).cast(template.schema["event_time"]),
                event_id=pl.lit(f"e{number}"),
            )
            for number, (name, at) in enumerate(rows)
        ]
    )
    return retention(History(events, ZONE, timedelta(hours=6)), events, as_of, ZONE)


def test_the_month_the_data_end_in_is_left_out_and_a_cohort_nobody_joins_is_missing():
    found = small({"a": [(1, 5), (2, 5), (4, 2)], "b": [(1, 9), (3, 1)]}, datetime(2024, 4, 20, tzinfo=ZONE))
    rows = found.by_first_purchase.select("cohort", "months_later", "customers", "buying").rows()
    assert rows == [(date(2024, 1, 1), 1, 2, 1), (date(2024, 1, 1), 2, 2, 1)]


def test_too_short_a_history_is_refused_with_the_numbers():
    with pytest.raises(
        TrainingDataError, match=r"needs 2 whole months.*January 2024 to 2024-02-10 there are 1"
    ):
        small({"a": [(1, 5)]}, datetime(2024, 2, 10, tzinfo=ZONE))


def test_without_purchases_there_is_nothing_to_follow():
    events, history, _ = shop_history()
    with pytest.raises(TrainingDataError, match="needs purchases"):
        retention(history, events.filter(pl.col("event_type") != "purchase"), AS_OF, ZONE)


def test_the_pictures_are_the_same_each_time(found, tmp_path):
    first = [path.read_bytes() for path in plot_retention(found, tmp_path, "Retention")]
    second = [path.read_bytes() for path in plot_retention(found, tmp_path, "Retention")]
    assert first == second
    assert first[0].startswith(b"\x89PNG")
    assert b"<svg" in first[1]
