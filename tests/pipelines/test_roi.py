from __future__ import annotations

import json
from datetime import timedelta

import polars as pl
import pytest

from configs.home import open_home
from features.lake import Lake
from tests.small_shop import tagtide
from tests.training.rhythmic_shop import OPENED, shop_events

CUSTOMERS, CONTACTED, SENT_ON_DAY = 160, 120, 123


def campaign_events():
    """A shop where 120 customers get a message in spring, and every third purchase is with a coupon."""
    events = shop_events(CUSTOMERS, 152)
    coupons = events.filter(pl.col("event_type") == "purchase").gather_every(3)
    coupons = coupons.with_columns(
        event_id=pl.concat_str(pl.lit("coupon-"), "event_id"),
        event_type=pl.lit("coupon"),
        coupon_minor=pl.lit(50, pl.Int64),
        amount_minor=pl.lit(None, pl.Int64),
    )
    at = pl.lit(OPENED + timedelta(days=SENT_ON_DAY)).cast(events.schema["event_time"])
    sent = (
        events.filter(pl.col("event_type") == "purchase")
        .unique("customer_id", keep="first", maintain_order=True)
        .head(CONTACTED)
        .with_columns(
            event_id=pl.format("sent-{}", "customer_id"),
            event_type=pl.lit("contact"),
            item_id=pl.lit("spring"),
            category=pl.lit(None, pl.String),
            amount_minor=pl.lit(None, pl.Int64),
            event_time=at,
            ingested_at=at,
        )
    )
    return pl.concat([events.filter(pl.col("event_type") != "contact"), coupons, sent])


class Shop:
    def __init__(self, folder, events):
        self.home = open_home(folder / "home", create=True)
        Lake(self.home.lake).append(events)

    def run(self, *arguments):
        return tagtide(self.home.root, *arguments)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return Shop(tmp_path_factory.mktemp("roi"), campaign_events())


def test_campaigns_are_reckoned_and_written_and_again_the_same(shop, tmp_path):
    runs = [
        shop.run("roi", "--held-out", "0", "--window-days", "14", "--out", str(tmp_path), "--json")
        for _ in range(2)
    ]
    assert [run.code for run in runs] == [0, 0], runs[0].err
    assert runs[0].json == runs[1].json
    spring = next(one for one in runs[0].json["returns"] if one["name"] == "spring")
    assert spring["customers"] == spring["contacts"] == CONTACTED
    assert spring["cost_minor"] == CONTACTED * 50
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
    assert found["held_out"][0][1].startswith("2024-05-02")
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


def test_without_a_contact_the_missing_event_is_named(tmp_path):
    events = campaign_events().filter(pl.col("event_type") != "contact")
    run = Shop(tmp_path, events).run("roi")
    assert run.code == 2
    error, next_step = run.err.splitlines()[-2:]
    assert error == "error: no campaign: the data has no event of type contact"
    assert "item_id names the campaign" in next_step


def test_a_ranking_that_is_none_is_refused_before_anything_is_read(home):
    run = tagtide(home.root, "roi", "--by", "interest", "--as-of", "2024-05-01")
    assert run.code == 2
    assert "ranks nobody alone" in run.err
