from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.outcomes import CONFIRMED, REFUTED, UNOBSERVED
from training.datasets import CALIBRATE, CERTIFY, FIT, TEST
from training.errors import TrainingDataError
from training.sufficiency import (
    LEAST_CUSTOMERS,
    LEAST_SPENDERS,
    joint_refusal,
    require_claims,
    require_customers,
    require_spenders,
)

AS_OF = datetime(2024, 5, 1, tzinfo=UTC)


@dataclass
class Bench:
    """What is asked of a workbench."""

    events: pl.DataFrame
    as_of: datetime = AS_OF


def bench(customers: int, event_type: str, later: timedelta = timedelta(0)) -> Bench:
    rows = {
        "customer_id": [f"c{number}" for number in range(customers)],
        "event_type": [event_type] * customers,
        "event_time": [AS_OF] * customers,
        "ingested_at": [AS_OF + later] * customers,
    }
    return Bench(pl.DataFrame(rows))


@pytest.mark.parametrize("task", sorted(LEAST_CUSTOMERS))
def test_a_customer_too_few_is_refused_with_both_numbers(task: str) -> None:
    least = LEAST_CUSTOMERS[task]
    require_customers(task, bench(least, "purchase"))
    with pytest.raises(TrainingDataError, match=rf"{task} as of 2024.*: {least - 1} customers") as caught:
        require_customers(task, bench(least - 1, "purchase"))
    assert caught.value.message.endswith(f"expected {least} or more")
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("task", "event_type"), [("tags", "contact"), ("propensity", "contact"), ("clv", "view")]
)
def test_who_only_received_messages_or_never_bought_does_not_count(task: str, event_type: str) -> None:
    with pytest.raises(TrainingDataError, match=": 0 customers"):
        require_customers(task, bench(500, event_type))


def test_what_became_known_later_does_not_count() -> None:
    with pytest.raises(TrainingDataError, match=": 0 customers"):
        require_customers("tags", bench(500, "view", later=timedelta(microseconds=1)))


PARTS = (FIT, CALIBRATE, CERTIFY)


@pytest.mark.parametrize(("poor", "name"), [(FIT, "fit"), (CALIBRATE, "calibrate"), (CERTIFY, "certify")])
@pytest.mark.parametrize("lacks", [CONFIRMED, REFUTED])
def test_a_slice_with_claims_of_one_kind_is_named(poor: int, name: str, lacks: int) -> None:
    part = np.repeat([*PARTS, TEST], 10)
    outcome: Any = np.tile([CONFIRMED, CONFIRMED, REFUTED, REFUTED, UNOBSERVED], 8)
    require_claims("interest", part, outcome, least=4)
    outcome[(part == poor) & (outcome == lacks)] = UNOBSERVED
    numbers = "0 confirmed and 4 refuted" if lacks == CONFIRMED else "4 confirmed and 0 refuted"
    with pytest.raises(
        TrainingDataError, match=f"'interest': slice '{name}' has {numbers} claims; expected 4"
    ):
        require_claims("interest", part, outcome, least=4)


def test_rows_of_the_same_customers_at_several_cutoffs_are_no_more_customers() -> None:
    customers, outcome = np.tile(np.arange(99), 6), np.ones(99 * 6)
    with pytest.raises(TrainingDataError, match="100 customers with a closed outcome window, got 99"):
        require_spenders(customers, outcome)


def test_too_few_who_spent_are_refused_and_enough_are_not() -> None:
    customers, outcome = np.arange(500), np.zeros(500)
    with pytest.raises(TrainingDataError, match=r"20 customers who spent something.*got 0 of 500") as caught:
        require_spenders(customers, outcome)
    assert "amount_minor" in caught.value.next_step
    outcome[: LEAST_SPENDERS - 1] = 5.0
    with pytest.raises(TrainingDataError, match=r"20 customers who spent something.*got 19 of 500"):
        require_spenders(customers, outcome)
    outcome[LEAST_SPENDERS - 1] = 5.0
    require_spenders(customers, outcome)


def test_a_run_of_which_nothing_is_possible_tells_every_reason_once() -> None:
    short, empty = TrainingDataError("20 days", "wait"), TrainingDataError("20 days", "wait")
    poor = TrainingDataError("no amounts")
    assert joint_refusal({"tags": short, "propensity": empty}) is empty
    all_of_them = joint_refusal({"clv": poor, "tags": short})
    assert all_of_them.message == "no model can be trained: no amounts; 20 days"
    assert all_of_them.next_step == "wait"
