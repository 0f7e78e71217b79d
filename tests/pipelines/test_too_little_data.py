"""Homes whose data cannot carry a model, brought to the command line: one message, a next step, code 2."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.events import EVENT_TYPES
from tests.small_shop import Run, tagtide
from tests.training.rhythmic_shop import OPENED, shop_events

COLUMNS = (
    *("event_id", "customer_id", "event_type", "event_time", "category", "brand"),
    *("quantity", "amount_minor", "order_id"),
)
MAPPING = f"""
source: shop
read: {{parquet: events.parquet}}
time_zone: UTC
columns: {{{", ".join(f"{name}: {name}" for name in COLUMNS)}}}
"""

SHOP = shop_events(130, 150)
DID, IS_PURCHASE = pl.col("event_type") != "contact", pl.col("event_type") == "purchase"


def imported(folder: Path, events: pl.DataFrame) -> Path:
    """Return a home that holds some events."""
    events.select(COLUMNS).write_parquet(folder / "events.parquet")
    (folder / "shop.yaml").write_text(MAPPING, encoding="utf-8")
    run = tagtide(folder / "home", "import", str(folder / "shop.yaml"))
    assert run.code == 0, run.err
    return folder / "home"


@pytest.fixture(scope="module")
def home_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Homes by the name of what is wrong with them, each made once."""
    made: dict[str, Path] = {}

    def home(name: str) -> Path:
        if name not in made:
            made[name] = imported(tmp_path_factory.mktemp("poor"), POOR[name])
        return made[name]

    return home


POOR = {
    "a single customer": SHOP.filter(pl.col("customer_id") == "1"),
    "49 customers": SHOP.filter(pl.col("customer_id").cast(pl.Int64) < 49),
    "contacts only": SHOP.filter(~DID),
    "20 days": SHOP.filter(pl.col("event_time") < OPENED + timedelta(days=20)),
    "nobody buys": SHOP.filter(~IS_PURCHASE),
    "no amounts": SHOP.with_columns(amount_minor=pl.lit(None, pl.Int64)),
    "no categories": SHOP.with_columns(category=pl.lit(None, pl.String)),
    "few spend": SHOP.filter(~IS_PURCHASE | (pl.col("customer_id").cast(pl.Int64) < 110)).with_columns(
        amount_minor=pl.when(pl.col("customer_id").cast(pl.Int64) < 12).then("amount_minor")
    ),
}


def assert_refused(run: Run, *parts: str) -> None:
    """Demand what a refusal is: exit code 2, one line of error, one of what to do, no stack trace."""
    assert run.code == 2, run.err
    assert "Traceback" not in run.err
    assert run.err.count("error: ") == 1
    error, next_step = run.err.rstrip().splitlines()[-2:]
    assert error.startswith("error: ")
    assert next_step.startswith("next step: ")
    for part in parts:
        assert part in error


FEW = [
    ("a single customer", ["train"], ["1 customers who did something", "expected 50", "expected 100"]),
    ("a single customer", ["train", "clv"], ["clv as of", "1 customers who bought", "expected 100 or more"]),
    ("a single customer", ["backtest", "tags"], ["1 customers who did something; expected 50"]),
    ("a single customer", ["backtest", "propensity"], ["1 customers who did something; expected 50"]),
    ("a single customer", ["backtest", "clv"], ["60 days of history"]),
    (
        "a single customer",
        ["backtest", "clv", "--as-of", "2024-04-01", "--horizon-days", "40"],
        ["1 customers who bought something"],
    ),
    ("49 customers", ["train"], ["49 customers who did something; expected 50 or more", "49 customers who"]),
    ("contacts only", ["train"], ["0 customers who did something", "0 customers who bought something"]),
    ("contacts only", ["backtest", "tags"], ["holds contacts only"]),
    ("contacts only", ["backtest", "clv"], ["holds contacts only"]),
    (
        "20 days",
        ["train", "tags", "propensity", "clv"],
        ["20 days before, where 82 are needed", "CLV needs at least 60 days", "got 19"],
    ),
    ("20 days", ["train", "tags"], ["the data begins 2024-01-01", "an instant not before 2024-03-23"]),
    ("20 days", ["backtest", "tags"], ["a backtest needs 90 days"]),
    ("20 days", ["backtest", "propensity"], ["a backtest needs 90 days"]),
    ("20 days", ["backtest", "clv"], ["needs 60 days of history", "the data has 20.0, from 2024-01-01"]),
    ("20 days", ["backtest", "clv", "--horizon-days", "5"], ["60 days of history", "and 5 after it"]),
    ("nobody buys", ["train", "propensity"], ["propensity 72h", "0 rows with and", "expected 200 of each"]),
    ("nobody buys", ["train", "clv"], ["0 customers who bought something; expected 100"]),
    ("nobody buys", ["backtest", "clv"], ["needs 60 days of history", "the data has 149.9"]),
    ("no amounts", ["train", "clv"], ["at least 20 customers who spent something", "got 0 of 1"]),
    ("few spend", ["train", "clv"], ["at least 20 customers who spent something", "got 12 of 110"]),
    ("no categories", ["train", "tags", "--families", "interest"], ["'interest'", "events with a category"]),
    (
        "no categories",
        ["train", "tags", "--families", "interest,brand_preference"],
        ["no model can be trained", "'interest'", "'brand_preference'", "events with a brand"],
    ),
]


@pytest.mark.parametrize(
    ("name", "arguments", "parts"), FEW, ids=[f"{one[0]}: {' '.join(one[1])}" for one in FEW]
)
def test_too_little_is_refused_with_what_there_is_and_what_it_takes(
    home_of: Callable[[str], Path], name: str, arguments: list[str], parts: list[str]
) -> None:
    assert_refused(tagtide(home_of(name), *arguments), *parts)


def test_families_without_events_are_named_and_the_other_models_are_trained(
    home_of: Callable[[str], Path],
) -> None:
    run = tagtide(home_of("no categories"), "train", "tags", "clv", "--families", "interest", "--json")
    assert run.code == 0, run.err
    by_task = {model["task"]: model for model in run.json["models"]}
    assert by_task["tags-interest"]["skipped"] == "the data has no events with a category"
    assert by_task["clv"]["model_version"] == "clv/1"
    assert {"refund_lifetime_minor", "refund_90d_minor"} <= set(by_task["clv"]["unlearnt"])
    assert "clv learnt nothing from" in run.err


def test_inputs_that_never_change_or_are_missing_throughout_are_named(small_shop) -> None:
    run = small_shop.runs["train"]
    by_task = {model["task"]: model for model in run.json["models"]}
    for task in ("tags-high_intent", "propensity"):
        unlearnt = set(by_task[task]["unlearnt"])
        assert {"refund_count_30d", "seconds_since_last_refund", "discount_share_90d"} & unlearnt >= {
            *("refund_count_30d", "seconds_since_last_refund")
        }
        assert "order_count_30d" not in unlearnt
        assert f"{task} learnt nothing from" in run.err


TIMES = st.integers(0, 200 * 24 * 3600)


@st.composite
def homes(draw: st.DrawFn) -> pl.DataFrame:
    """Any few events, of a few customers or of many alike."""
    kinds = draw(st.lists(st.sampled_from(EVENT_TYPES), min_size=1, max_size=4))
    span = draw(st.sampled_from([3600, 20 * 86400, 100 * 86400, 200 * 86400]))
    rows = [
        {
            "customer_id": f"c{draw(st.integers(0, 3))}",
            "event_type": draw(st.sampled_from(kinds)),
            "event_time": OPENED + timedelta(seconds=draw(TIMES) % span),
            "category": draw(st.sampled_from(["tea", "牛奶", None])),
            "brand": draw(st.sampled_from(["1", None])),
            "quantity": draw(st.sampled_from([1, None])),
            "amount_minor": draw(st.sampled_from([0, 300, 2**40, None])),
            "order_id": draw(st.sampled_from(["o1", None])),
        }
        for _ in range(draw(st.integers(1, 12)))
    ]
    events = pl.DataFrame(rows, infer_schema_length=None)
    copies = pl.DataFrame({"copy": range(draw(st.sampled_from([1, 1, 120])))})
    return (
        events.join(copies, how="cross")
        .with_columns(customer_id=pl.format("{}-{}", "customer_id", "copy"))
        .with_columns(event_id=pl.format("e{}", pl.int_range(pl.len())))
        .with_columns(pl.col("category", "brand", "order_id").cast(pl.String))
    )


COMMANDS = st.sampled_from(
    [
        ["train"],
        ["train", "clv"],
        ["backtest", "tags"],
        ["backtest", "propensity"],
        ["backtest", "clv"],
        ["backtest", "clv", "--horizon-days", "30"],
        ["backtest", "tags", "--as-of", "2024-05-01"],
        ["backtest", "clv", "--as-of", "2024-04-01", "--horizon-days", "40"],
    ]
)


def check_any_home(folder: Path, events: pl.DataFrame, arguments: list[str]) -> None:
    run = tagtide(imported(folder, events), *arguments)
    if run.code != 0:
        assert_refused(run)


ANY_HOME = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@settings(ANY_HOME, max_examples=12)
@given(homes(), COMMANDS)
def test_whatever_a_small_home_holds_it_is_refused_or_answered(tmp_path_factory, events, arguments) -> None:
    check_any_home(tmp_path_factory.mktemp("any"), events, arguments)


@pytest.mark.slow
@settings(ANY_HOME, max_examples=150)
@given(homes(), COMMANDS)
def test_whatever_many_small_homes_hold_they_are_refused_or_answered(
    tmp_path_factory, events, arguments
) -> None:
    check_any_home(tmp_path_factory.mktemp("any"), events, arguments)
