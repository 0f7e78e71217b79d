from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.model_inputs import customer_inputs, pair_inputs
from training.reasons import AGAINST, FOR, REASONS, Explainer
from training.tag_model import KEY

NAMES = ["key_order_count_30d", "key_gap_mean_days", "seconds_since_last_key_purchase", "hour_of_day", KEY]
VALUES = dict(zip(NAMES, (6.0, 5.2, 5 * 86400.0, 14.5, 3.0), strict=True))
BASE = -1.5


def explained(added: list[float], values: dict[str, float] | None = None, names=NAMES, key="牛奶"):
    columns = {name: np.array([value]) for name, value in (values or VALUES).items()}
    (one,) = Explainer("CNY").explain(names, np.array([[*added, BASE]]), columns, [key])
    return one


def test_related_features_are_one_sentence_and_their_contributions_one_number() -> None:
    one = explained([0.5, 0.2, 0.1, -0.3, 0.05])
    bought, hour, key = one.reasons
    assert bought.words == "bought 牛奶 6 times in 30 days; usual gap 5 days, last 5 days ago"
    assert bought.contribution == pytest.approx(0.8)
    assert (bought.feature, bought.value) == ("key_order_count_30d", 6.0)
    assert (hour.feature, hour.words, hour.contribution) == ("hour_of_day", "it is 14:30", -0.3)
    assert (key.feature, key.value, key.words) == (KEY, "牛奶", "it is 牛奶")
    assert [reason.direction for reason in one.reasons] == [FOR, AGAINST, FOR]
    assert one.words == (
        "Speaks for: bought 牛奶 6 times in 30 days; usual gap 5 days, last 5 days ago / it is 牛奶. "
        "Speaks against: it is 14:30."
    )
    assert (one.base, one.rest) == (BASE, 0.0)
    assert one.score == pytest.approx(BASE + 0.55)


def test_the_feature_named_is_the_strongest_in_the_direction_of_its_topic() -> None:
    against = explained([0.4, -0.3, -0.35, 0, 0]).reasons[0]
    assert (against.feature, against.direction) == ("seconds_since_last_key_purchase", AGAINST)
    assert against.words.startswith("bought 牛奶 6 times in 30 days")
    assert against.contribution == pytest.approx(-0.25)


def test_a_feature_without_a_role_follows_what_its_topic_knows() -> None:
    names = ["key_overdue_ratio", *NAMES]
    one = explained([2, 0.1, 0, 0, 0, 0], VALUES | {"key_overdue_ratio": 1.44}, names)
    assert one.reasons[0].words == (
        "bought 牛奶 6 times in 30 days; usual gap 5 days, last 5 days ago; "
        "since the last purchase of 牛奶, 1.4 times the usual gap has passed"
    )


def test_a_null_is_worded_and_shown_as_none() -> None:
    never = VALUES | {"seconds_since_last_key_purchase": math.nan, "key_order_count_30d": 0.0}
    reason = explained([0, 0, -0.7, 0, 0], never).reasons[0]
    assert (reason.value, reason.words) == (None, "牛奶 never bought")
    rare = explained([0, 0, 0, 0, -0.2], VALUES | {KEY: math.nan}, key="TEA").reasons[0]
    assert rare.words == "TEA is too rare for the model to know it by name"


def test_a_topic_of_which_nothing_happened_lately_says_so_first() -> None:
    one = explained([-0.7, 0, 0, 0, 0], VALUES | {"key_order_count_30d": 0.0})
    assert one.reasons[0].words == "did not buy 牛奶 in 30 days; usual gap 5 days, last 5 days ago"


def test_what_adds_nothing_is_no_reason() -> None:
    one = explained([0, 0, 0, 0, 0])
    assert (list(one.reasons), one.words, one.rest, one.score) == ([], "", 0.0, BASE)


def test_an_input_nobody_declared_is_told_by_its_name() -> None:
    one = explained([1.0], {"rainy_days": 3.0}, ["rainy_days"])
    assert one.reasons[0].words == "rainy days: 3"


EVERY = [*pair_inputs("tags-interest"), *customer_inputs("tags-interest"), KEY]


@given(st.integers(0, 2**32 - 1))
def test_base_reasons_and_rest_are_the_score_whatever_the_row(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(4, len(EVERY) + 1)) * 10.0 ** rng.integers(-6, 6, size=(4, 1))
    values = {name: np.where(rng.random(4) < 0.3, np.nan, rng.gamma(1.0, 1e4, 4)) for name in EVERY}
    keys = ["牛奶", "TEA", "{key}", "a / b"]
    for row, one in zip(rows, Explainer("CNY").explain(EVERY, rows, values, keys), strict=True):
        told = one.to_json()
        assert len(told["reasons"]) == REASONS
        total = told["base"] + sum(reason["contribution"] for reason in told["reasons"]) + told["rest"]
        assert total == pytest.approx(row.sum(), rel=1e-9, abs=1e-9 * np.abs(row).max())
        assert told["score"] == pytest.approx(row.sum(), rel=1e-12)
        sizes = [abs(reason["contribution"]) for reason in told["reasons"]]
        assert sizes == sorted(sizes, reverse=True)
        assert {"feature", "value", "contribution", "words", "direction"} == set(told["reasons"][0])
        for reason in told["reasons"]:
            assert reason["direction"] == (FOR if reason["contribution"] > 0 else AGAINST)
            assert reason["words"]
