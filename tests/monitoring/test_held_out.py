from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from features.tags import load_catalogue
from features.windows import DAY_US, to_us
from monitoring.campaigns import Campaign, SpendAxis
from monitoring.errors import CampaignError
from monitoring.held_out import (
    LEAST_CUSTOMERS,
    LEAST_HISTORY_DAYS,
    LEAST_REDEEMERS,
    before_it_began,
    held_out_campaigns,
    past_spend,
    require_rankings,
)
from monitoring.roi import Judged
from tests.monitoring.campaign_shop import START, bought, events_of
from tests.training.rhythmic_shop import ZONE

ZERO = to_us(START)


def judged(day=LEAST_HISTORY_DAYS, size=LEAST_CUSTOMERS, redeemers=LEAST_REDEEMERS, at=None):
    one = np.ones(size, np.int64)
    began = np.full(size, ZERO + day * DAY_US if at is None else at)
    redeemed = (np.arange(size) < redeemers).astype(np.int64)
    return Judged(Campaign(f"c{day}", np.arange(size), began, one, redeemed, one, one), None, None, one)


def test_the_latest_campaigns_that_can_tell_rankings_apart_are_held_out():
    fit = [judged(day) for day in (LEAST_HISTORY_DAYS, 200, 250)]
    unfit = [
        judged(LEAST_HISTORY_DAYS - 1),
        judged(size=LEAST_CUSTOMERS - 1),
        judged(redeemers=LEAST_REDEEMERS - 1),
    ]
    assert held_out_campaigns([*unfit, *fit], ZERO, 2) == fit[1:]
    assert held_out_campaigns([*fit, *unfit], ZERO, 9) == fit
    assert held_out_campaigns(fit, ZERO, 0) == []


@pytest.mark.parametrize(
    ("contact", "expected"),
    [
        # a campaign dated only is stamped at the end of its day: models know nothing of that day
        (datetime(2024, 6, 3, 23, 59, 59, 999999, tzinfo=ZONE), datetime(2024, 6, 3, tzinfo=ZONE)),
        (datetime(2024, 6, 3, 0, 0, tzinfo=ZONE), datetime(2024, 6, 2, tzinfo=ZONE)),
        (datetime(2024, 6, 3, 0, 0, 1, tzinfo=ZONE), datetime(2024, 6, 3, tzinfo=ZONE)),
    ],
)
def test_models_are_trained_as_of_the_midnight_before_the_first_contact(contact, expected):
    at = before_it_began(judged(at=to_us(contact)), ZONE)
    assert at == expected < contact
    assert contact - at <= timedelta(days=1)


def test_the_plain_rule_is_the_spend_of_the_last_90_days():
    events = events_of(
        [bought("a", 9.5, 7), bought("a", 10.5, 50), bought("a", 100, 30), bought("b", 101, 9)]
    )
    one = Judged(
        Campaign("c", np.array([0, 1]), np.full(2, ZERO), *(np.ones(2, np.int64) for _ in range(4))),
        None,
        None,
        np.ones(2),
    )
    found = past_spend(one, SpendAxis(events), START + timedelta(days=100))
    assert found.tolist() == [80.0, 0.0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("propensty", "did you mean 'propensity'"),
        ("interest", "tag family 'interest' is about a customer and a category"),
    ],
)
def test_what_ranks_no_customer_is_refused(name, message):
    with pytest.raises(CampaignError, match=message):
        require_rankings([name], load_catalogue())


def test_propensity_and_families_without_a_key_rank_customers():
    families = load_catalogue()
    keyless = [name for name, family in families.items() if family.key is None]
    assert "high_intent" in keyless
    require_rankings(["propensity", *keyless], families)
