"""The split of the value."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.made_spend import day, kernel_features, shoppers
from training.baselines import fit_bgnbd_gamma_gamma, past_rate
from training.clv_inputs import summary_of_features
from training.clv_split import SplitValues, learn_values, split_terms
from training.spend_history import spend_history


def test_the_worth_of_each_term_is_recovered_whatever_the_base() -> None:
    generator = np.random.default_rng(1)
    terms = np.column_stack(
        [generator.gamma(2, 3000, 3000), generator.poisson(2, 3000), generator.poisson(0.3, 3000)]
    )
    spend = 1000 + terms @ [0.8, 250.0, 2000.0] + generator.normal(0, 500, 3000)
    values = learn_values(terms, spend)
    assert (values.interaction_minor, values.referral_minor) == pytest.approx((250.0, 2000.0), rel=0.1)
    assert (values.base_minor, values.purchase) == pytest.approx((1000.0, 0.8), rel=0.1)


def test_an_event_that_goes_with_less_spend_is_worth_nothing_rather_than_less() -> None:
    terms = np.column_stack([np.full(200, 100.0), np.arange(200) % 5, np.zeros(200)])
    values = learn_values(terms, 1000 - 50 * terms[:, 1])
    assert (values.purchase, values.interaction_minor, values.referral_minor) == (0.0, 0.0, 0.0)
    assert values.base_minor == pytest.approx(900.0)


def test_no_part_is_negative() -> None:
    worth = SplitValues(-500.0, 1.0, 10.0, 20.0).of(np.array([[100.0, 2.0, 0.0], [900.0, 0.0, 1.0]]))
    assert worth.tolist() == [[0.0, 20.0, 0.0], [400.0, 0.0, 20.0]]


def test_the_forecast_from_purchases_is_the_classic_one_or_the_past_rate() -> None:
    frame = shoppers(80, 200, seed=2)
    history = spend_history(frame)
    features = kernel_features(frame, history)(history.buyers(day(150)), day(150))
    summary = summary_of_features(features)
    classic = fit_bgnbd_gamma_gamma(summary)
    assert split_terms(features, classic, 90)[:, 0] == pytest.approx(classic.expected_spend(summary, 90))
    assert split_terms(features, None, 90)[:, 0] == pytest.approx(past_rate(summary, 90))
    assert not split_terms(features, classic, 90)[:, 1:].any()


def test_events_that_merely_go_with_purchases_are_not_credited_twice() -> None:
    """Who buys more also clicks more; a click itself adds 30, and plain averages would make it much more."""
    generator = np.random.default_rng(4)
    purchases = generator.gamma(2, 3000, 6000)
    clicks = generator.poisson(purchases / 2000)
    spend = purchases + 30.0 * clicks + generator.normal(0, 800, 6000)
    terms = np.column_stack([purchases, clicks, np.zeros(6000)])
    values = learn_values(terms, spend)
    alone = float(np.cov(clicks, spend)[0, 1] / clicks.var())
    assert alone > 500
    assert values.interaction_minor == pytest.approx(30.0, abs=15)
    assert values.of(terms)[:, 1].sum() == pytest.approx(30.0 * clicks.sum(), rel=0.5)
    assert values.of(terms).sum() == pytest.approx(spend.sum(), rel=0.01)
