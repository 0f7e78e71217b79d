from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from configs.settings import load_settings
from features.outcomes import UNOBSERVED
from features.tags import load_catalogue
from tests.training.rhythmic_shop import AS_OF, OPENED, join_directly, shop_events
from training.datasets import (
    CALIBRATE,
    CENSUS,
    CERTIFY,
    FIT,
    TEST,
    SamplingBudget,
    customer_snapshot,
    key_frame,
)
from training.errors import TrainingDataError
from training.tag_data import tag_data
from training.workbench import Budget, Workbench

BUDGET = Budget(SamplingBudget(fit=1600, calibrate=800, certify=800), propensity_rows=1000)
FAMILIES = load_catalogue()
INTEREST, HIGH_INTENT, BRANDS = (FAMILIES[name] for name in ("interest", "high_intent", "brand_preference"))
REPLENISHMENT, SLIPPING = (FAMILIES[name] for name in ("replenishment", "slipping_away"))
EARLIER = datetime(2024, 5, 1, tzinfo=UTC)
TEST_DAYS = [EARLIER + timedelta(days=day) for day in (0, 4, 8)]


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return load_settings(tmp_path_factory.mktemp("home"), {"TAGTIDE_THREADS": "1"}).settings


@pytest.fixture(scope="module")
def events():
    """Events of which some came late, and customers and categories that are new after `EARLIER`."""
    made = shop_events(120)
    number = pl.col("event_id").str.slice(1).cast(pl.Int64)
    later = pl.col("event_time") > EARLIER
    return made.with_columns(
        ingested_at=pl.when(number % 11 == 0)
        .then(pl.col("event_time") + timedelta(days=3))
        .otherwise("event_time"),
        customer_id=pl.when(later & (number % 5 == 0))
        .then(pl.format("0{}", "customer_id"))
        .otherwise("customer_id"),
        category=pl.when(later & (number % 3 == 0)).then(pl.lit("a new one")).otherwise("category"),
    )


@pytest.fixture(scope="module")
def then(events, settings):
    """As it was known back then."""
    known = events.filter(pl.max_horizontal("event_time", "ingested_at") <= EARLIER)
    return Workbench(known, EARLIER, settings, FAMILIES, BUDGET)


@pytest.fixture(scope="module")
def looking_back(events, settings):
    """The same instant, with everything that came after it: a backtest's."""
    return Workbench(events, EARLIER, settings, FAMILIES, BUDGET, TEST_DAYS)


def by_name(bench, rows):
    return key_frame(bench.history, rows).with_columns(kind=pl.Series(rows.kind), part=pl.Series(rows.part))


def learnt_from(rows):
    return rows.take(rows.part != TEST)


def test_the_future_changes_neither_whom_a_model_learns_from_nor_when(then, looking_back):
    assert by_name(then, then.rows_of(INTEREST)).equals(
        by_name(looking_back, learnt_from(looking_back.rows_of(INTEREST)))
    )
    assert then.tag_slices == looking_back.tag_slices
    for horizon in ("72h", "7d"):
        rows = [by_name(bench, bench.propensity_rows(horizon)) for bench in (then, looking_back)]
        assert rows[0].equals(rows[1])
        assert rows[0].height > 1000


def test_the_future_changes_no_feature_that_a_model_learns_from(then, looking_back):
    parts = learnt_from(looking_back.rows_of(INTEREST))
    assert {FIT, CALIBRATE, CERTIFY} == set(parts.part.tolist())
    customers = customer_snapshot(then.history, then.rows_of(INTEREST))
    assert customers.equals(customer_snapshot(looking_back.history, parts), null_equal=True)
    wanted = ["customer_id", "event_timestamp", "category"]
    until = pl.col("event_timestamp") < EARLIER
    pairs = [bench.pair_snapshot(INTEREST).filter(until).sort(wanted) for bench in (then, looking_back)]
    assert pairs[0].height > 5000
    assert pairs[0].equals(pairs[1], null_equal=True)


def test_the_future_changes_no_outcome_of_what_came_in_time(settings, events):
    in_time = events.with_columns(ingested_at="event_time")
    known = in_time.filter(pl.col("event_time") <= EARLIER)
    outcomes = []
    for bench in (
        Workbench(known, EARLIER, settings, FAMILIES, BUDGET),
        Workbench(in_time, EARLIER, settings, FAMILIES, BUDGET, TEST_DAYS),
    ):
        join = join_directly(bench.history, INTEREST)
        data = tag_data(bench.judge, INTEREST, bench.rows_of(INTEREST), bench.claims(INTEREST), join)
        told = data.pairs.frame.with_columns(outcome=pl.Series(data.outcome)).filter(
            pl.Series(~data.in_part(TEST))
        )
        outcomes.append(told.sort("customer_id", "event_timestamp", "category"))
    assert outcomes[0].equals(outcomes[1])


def test_a_backtest_also_asks_for_everybody_active_on_its_days(looking_back, events):
    rows = looking_back.rows_of(INTEREST)
    tested = by_name(looking_back, rows.take(rows.part == TEST))
    own = events.filter(pl.col("event_type") != "contact").with_columns(
        known=pl.max_horizontal("event_time", "ingested_at")
    )
    expected = {
        (name, day)
        for day in TEST_DAYS
        for name in own.filter((pl.col("known") <= day) & (pl.col("event_time") > day - timedelta(hours=72)))[
            "customer_id"
        ].to_list()
    }
    assert set(tested.select("customer_id", "event_timestamp").iter_rows()) == expected
    assert set(tested["kind"]) == {CENSUS}


def test_horizons_that_the_history_is_too_short_for_are_named_with_the_days_it_takes(then):
    carried, left_out = then.propensity_horizons()
    assert carried == ["72h", "7d"]
    assert list(left_out) == ["30d"]
    assert "121 days before" in left_out["30d"]
    assert "163 are needed" in left_out["30d"]


def test_a_history_too_short_for_any_horizon_is_refused(events, settings):
    early = Workbench(events, OPENED + timedelta(days=60), settings, FAMILIES, BUDGET)
    with pytest.raises(TrainingDataError, match="propensity within 72 h"):
        early.propensity_horizons()


def test_newcomers_are_counted_where_priors_are_learnt_and_where_they_are_held_against(events, settings):
    """Customers of whom the first event is new after `EARLIER` are newcomers of the days after it."""
    bench = Workbench(events, EARLIER, settings, FAMILIES, BUDGET)
    found = bench.newcomers("72h", [EARLIER, EARLIER + timedelta(days=14)])
    own = events.filter(pl.col("event_type") != "contact").with_columns(
        known=pl.max_horizontal("event_time", "ingested_at")
    )
    first = own.group_by("customer_id").agg(pl.col("known").min())
    slices = bench.propensity_slices("72h")

    def share(after, until, known_by):
        came = first.filter((pl.col("known") > after) & (pl.col("known") <= until))
        bought = own.filter((pl.col("event_type") == "purchase") & (pl.col("known") <= known_by)).rename(
            {"known": "bought_known"}
        )
        later = came.join(bought, on="customer_id").filter(
            (pl.col("event_time") > pl.col("known"))
            & (pl.col("event_time") <= pl.col("known") + timedelta(hours=72))
        )
        return came.height, later["customer_id"].n_unique()

    end = events["ingested_at"].max()
    assert (len(found.learnt), found.learnt.sum()) == share(slices.fit.first, slices.calibrate.last, EARLIER)
    assert (len(found.later), found.later.sum()) == share(EARLIER, EARLIER + timedelta(days=14), end)
    assert len(found.later) > 20
    certified = bench.newcomers("72h")
    assert (len(certified.later), certified.later.sum()) == share(
        slices.certify.first, slices.certify.last, EARLIER
    )


def test_a_family_without_a_key_claims_about_those_active_lately(then, events):
    wanted = HIGH_INTENT.candidate
    active = events.filter(pl.col("event_type").is_in(wanted.any_of)).with_columns(
        known=pl.max_horizontal("event_time", "ingested_at")
    )
    rows = (
        by_name(then, then.rows_of(HIGH_INTENT))
        .with_row_index("row")
        .select("row", "customer_id", "event_timestamp")
    )
    seen = rows.join(active, on="customer_id").filter(
        (pl.col("known") <= pl.col("event_timestamp"))
        & (pl.col("event_time") > pl.col("event_timestamp") - timedelta(hours=wanted.within_hours))
    )
    claims = then.claims(HIGH_INTENT)
    assert claims.row.tolist() == sorted(seen["row"].unique().to_list())
    assert 0 < len(claims.row) < len(then.rows_of(HIGH_INTENT))
    assert claims.frame.equals(key_frame(then.history, then.rows_of(HIGH_INTENT).take(claims.row)))


def test_features_of_keys_are_not_to_be_had_of_a_family_without_one(then):
    for families in ([HIGH_INTENT], [INTEREST, HIGH_INTENT], [INTEREST, BRANDS]):
        with pytest.raises(ValueError, match="have no key in common"):
            then.pair_snapshot(*families)


def test_features_of_several_families_are_those_of_each_every_pair_and_instant_once(then):
    keys = ["customer_id", "event_timestamp", "category"]
    together = then.pair_snapshot(INTEREST, REPLENISHMENT)
    assert together.select(keys).is_duplicated().sum() == 0
    alone = [then.pair_snapshot(family) for family in (INTEREST, REPLENISHMENT)]
    either = pl.concat(alone).unique(keys, keep="first")
    assert max(one.height for one in alone) <= either.height < sum(one.height for one in alone)
    assert together.sort(keys).equals(either.sort(keys), null_equal=True)


def test_a_family_about_quiet_customers_has_rows_of_its_own(then, looking_back, events):
    near, quiet = then.rows_of(INTEREST), then.rows_of(SLIPPING)
    assert near is then.rows_of(REPLENISHMENT)
    whole = then.rows_of(HIGH_INTENT)
    asked = [INTEREST, SLIPPING, REPLENISHMENT, HIGH_INTENT]
    assert [id(rows) for rows in then.decision_rows(asked)] == [id(near), id(quiet), id(whole)]
    own = events.filter(pl.col("event_type") != "contact").select("customer_id", at="event_time")
    rows = looking_back.rows_of(SLIPPING)
    tested = by_name(looking_back, rows.take(rows.part == TEST))
    gap = (
        tested.join(own, on="customer_id")
        .filter(pl.col("at") <= pl.col("event_timestamp"))
        .group_by("customer_id", "event_timestamp")
        .agg(gap=pl.col("event_timestamp").first() - pl.col("at").max())["gap"]
    )
    assert gap.max() < timedelta(days=30)
    assert gap.max() > timedelta(days=3)
    claims = looking_back.claims(SLIPPING)
    assert 0 < len(claims.row) < len(rows)
    assert claims.frame.equals(key_frame(looking_back.history, rows.take(claims.row)))


def test_of_what_is_fitted_on_only_claims_that_are_observed_are_fetched_and_one_of_each_row(then):
    rows, claims = then.rows_of(INTEREST), then.claims(INTEREST)
    whole = then.claims_at(INTEREST, rows)
    mine = rows.take(whole.row)
    outcome = then.judge.judge(INTEREST, mine.customer, whole.code, mine.instant)
    dropped, seen = [], set()
    for row, part, came in zip(whole.row.tolist(), mine.part.tolist(), outcome.tolist(), strict=True):
        dropped.append(part == FIT and came == UNOBSERVED and row in seen)
        seen.add(row)
    assert 1000 < sum(dropped) < len(dropped)
    assert claims.frame.equals(whole.frame.filter(~pl.Series(dropped)))
    assert set(claims.row.tolist()) == set(whole.row.tolist())


def test_families_that_share_a_key_share_their_claims(then):
    mine = INTEREST.model_copy(update={"family": "mine"})
    assert then.claims(INTEREST) is then.claims(mine)
    assert then.claims(INTEREST) is not then.claims(REPLENISHMENT)


def test_what_the_data_lacks_is_named(then, looking_back, events, settings):
    runs, missing = then.runnable()
    assert [family.family for family in runs] == [
        *("interest", "high_intent", "replenishment", "browsing_no_order", "slipping_away")
    ]
    assert missing == {
        "brand_preference": ("events with a brand",),
        "cart_abandoner": ("add_to_cart",),
        "deal_seeker": ("coupon_minor", "discount_minor"),
    }
    assert then.chosen(()) == runs
    assert then.chosen(["interest", "deal_seeker"]) == [INTEREST]
    searches = events.filter(pl.col("event_type") == "search")
    _, missing = Workbench(searches, AS_OF, settings, FAMILIES, BUDGET).runnable()
    assert missing["high_intent"] == ("purchase",)
    assert missing["interest"] == ("view", "add_to_cart", "purchase")


def test_what_only_the_future_brings_makes_no_family_runnable(events, settings):
    """Purchases begin after the instant."""
    late = events.filter((pl.col("event_type") != "purchase") | (pl.col("event_time") > EARLIER))
    _, missing = Workbench(late, EARLIER, settings, FAMILIES, BUDGET, TEST_DAYS).runnable()
    assert missing["high_intent"] == ("purchase",)


def test_nothing_known_is_said_with_the_instant(events, settings):
    for rows in (events, events.clear()):
        with pytest.raises(TrainingDataError, match="nothing is known by 2023-12-31"):
            Workbench(rows, OPENED - timedelta(days=1), settings, FAMILIES, BUDGET)


def test_value_is_asked_of_everybody_who_had_bought(then):
    rows = by_name(then, then.clv_rows(30))
    bought = then.events.filter(pl.col("event_type") == "purchase")
    for (instant,), part in rows.group_by("event_timestamp"):
        known = bought.filter(pl.max_horizontal("event_time", "ingested_at") <= instant)
        assert set(part["customer_id"]) == set(known["customer_id"])
    assert rows["event_timestamp"].max() == EARLIER


def test_an_instant_may_be_given_in_the_business_zone(events, settings):
    shanghai = settings.model_copy(update={"time_zone": "Asia/Shanghai"})
    local = EARLIER.astimezone(shanghai.zone)
    here, there = (Workbench(events, at, shanghai, FAMILIES, BUDGET) for at in (EARLIER, local))
    assert here.tag_slices == there.tag_slices
    assert {day.astimezone(shanghai.zone).hour for day in there.tag_slices.certify.days()} == {0}
