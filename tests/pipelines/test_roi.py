from __future__ import annotations

import json

import polars as pl
import pytest

from features.lake import Lake
from tests.small_shop import KNOWN_UNTIL


@pytest.fixture(scope="module")
def shop(small_shop, tmp_path_factory):
    """A copy whose customers redeem coupons: every third purchase after a contact of the same week."""
    shop = small_shop.copy(tmp_path_factory.mktemp("roi"))
    bought = shop.known.filter(pl.col("event_type") == "purchase")
    coupons = bought.filter(pl.int_range(pl.len()) % 3 == 0).with_columns(
        event_id=pl.concat_str(pl.lit("coupon-"), "event_id"),
        event_type=pl.lit("coupon"),
        coupon_minor=pl.lit(50, pl.Int64),
        amount_minor=pl.lit(None, pl.Int64),
    )
    contacts = (
        shop.known.filter(pl.col("event_type") == "purchase")
        .select(pl.col("customer_id").unique().sort())
        .with_row_index("number")
        .filter(pl.col("number") < 120)
    )
    at = KNOWN_UNTIL.replace(day=1)
    template = shop.known.filter(pl.col("event_type") == "contact").head(1).drop("customer_id")
    sent = contacts.join(template, how="cross").with_columns(
        event_id=pl.format("sent-{}", "customer_id"),
        item_id=pl.lit("spring"),
        event_time=pl.lit(at).cast(template.schema["event_time"]),
        ingested_at=pl.lit(at).cast(template.schema["event_time"]),
    )
    lake = Lake(shop.home.lake)
    lake.append(coupons)
    lake.append(sent.select(shop.known.columns))
    return shop


def test_campaigns_are_reckoned_and_written_and_again_the_same(shop, tmp_path):
    runs = [
        shop.run("roi", "--held-out", "0", "--window-days", "14", "--out", str(tmp_path), "--json")
        for _ in range(2)
    ]
    assert [run.code for run in runs] == [0, 0], runs[0].err
    assert runs[0].json == runs[1].json
    spring = next(one for one in runs[0].json["returns"] if one["name"] == "spring")
    assert spring["customers"] == spring["contacts"] == 120
    assert spring["cost_minor"] == 120 * 50
    assert spring["redeemers"] > 50
    redeemed = spring["returns"]["redeemed"]
    assert redeemed["profit_minor"]["value"] == round(0.25 * redeemed["spend_minor"]["value"]) - 6000
    assert redeemed["roi"]["low"] < redeemed["roi"]["value"] < redeemed["roi"]["high"]
    assert runs[0].json["curves"] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "index.html",
        "roi.json",
        "roi.png",
        "roi.svg",
    ]
    assert json.loads((tmp_path / "roi.json").read_text(encoding="utf-8")) == runs[0].json
    assert "spring" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_a_held_out_campaign_is_ranked_by_models_of_before_it_began(shop):
    run = shop.run("roi", "--held-out", "1", "--window-days", "14", "--json")
    assert run.code == 0, run.err
    found = run.json
    assert [name for name, _ in found["held_out"]] == ["spring"]
    assert found["held_out"][0][1].startswith("2024-05-31")
    rankings = {(curve["ranking"], curve["outcome"]) for curve in found["curves"]}
    assert {("random", "redeemed"), ("propensity", "redeemed"), ("spend in 90 days", "redeemed")} <= rankings
    whole = {
        curve["points"][-1]["profit_minor"]["value"]
        for curve in found["curves"]
        if curve["outcome"] == "redeemed"
    }
    assert len(whole) == 1


def test_the_screen_says_that_there_is_no_control_and_where_the_page_is(shop):
    run = shop.run("roi", "--held-out", "0", "--window-days", "14")
    assert run.code == 0
    assert "No randomised control" in run.out
    assert "index.html" in run.out.replace("\n", "")


def test_without_a_contact_the_missing_event_is_named(small_shop, tmp_path):
    shop = small_shop.copy(tmp_path)
    kept = shop.known.filter(pl.col("event_type") != "contact")
    for part in shop.home.lake.rglob("*.parquet"):
        part.unlink()
    Lake(shop.home.lake).append(kept)
    run = shop.run("roi")
    assert run.code == 2
    error, next_step = run.err.splitlines()[-2:]
    assert error == "error: no campaign: the data has no event of type contact"
    assert "item_id names the campaign" in next_step


def test_a_ranking_that_is_none_is_refused_before_anything_is_read(home):
    from tests.small_shop import tagtide

    run = tagtide(home.root, "roi", "--by", "interest", "--as-of", "2024-05-01")
    assert run.code == 2
    assert "ranks nobody alone" in run.err
