"""What the tags of a family have in common, and what claims of the same customers are worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.made_claims import claims_of, joined, outcomes
from training.tag_claims import Claims
from training.tag_prior import (
    PRIOR_STRENGTHS,
    design_effect,
    intra_cluster_correlation,
    kish_effect,
    learn_prior,
)


@pytest.mark.parametrize("size", [1, 2, 5, 20])
def test_clusters_whose_claims_are_all_alike_inflate_the_variance_by_their_size(size: int) -> None:
    confirmed = np.repeat(np.arange(10) < 7, size)
    assert design_effect(confirmed, np.repeat(np.arange(10), size)) == pytest.approx(size)


def test_customers_with_one_claim_each_inflate_nothing() -> None:
    assert design_effect(np.arange(30) < 20, np.arange(30)) == pytest.approx(1)


def test_customers_who_are_right_exactly_half_the_time_are_not_believed_more_than_independent_claims() -> (
    None
):
    assert design_effect(np.tile([True, False], 10), np.repeat(np.arange(10), 2)) == 1.0


def test_without_any_variance_the_sizes_alone_decide() -> None:
    customer = np.array([0, 0, 0, 1, 2])
    assert design_effect(np.ones(5, bool), customer) == (9 + 1 + 1) / 5
    assert design_effect(np.zeros(5, bool), customer) == (9 + 1 + 1) / 5
    assert design_effect(np.empty(0, bool), np.empty(0, np.int64)) == 1.0


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=30))
def test_the_design_effect_is_the_ratio_of_the_variances_written_out(rows: list[tuple[int, bool]]) -> None:
    share = sum(right for _, right in rows) / len(rows)
    residuals: dict[int, float] = {}
    for customer, right in rows:
        residuals[customer] = residuals.get(customer, 0.0) + right - share
    if 0 < share < 1:
        clustered = sum(residual**2 for residual in residuals.values())
        expected = max(clustered / (len(rows) * share * (1 - share)), 1.0)
        found = design_effect(
            np.array([right for _, right in rows]), np.array([customer for customer, _ in rows])
        )
        assert found == pytest.approx(expected)


def test_the_design_effect_foretells_how_much_a_share_really_varies() -> None:
    rng = np.random.default_rng(0)
    customer = np.repeat(np.arange(60), 8)
    samples = rng.random((2000, len(customer))) < np.repeat(rng.beta(2, 2, (2000, 60)), 8, axis=1)
    independent = 0.25 / len(customer)
    foretold = np.mean([design_effect(sample, customer) for sample in samples[:300]])
    # Beta(2, 2) makes two claims of one customer correlate by 1/5, so the effect is 1 + 7/5
    assert samples.mean(axis=1).var() / independent == pytest.approx(2.4, rel=0.1)
    assert foretold == pytest.approx(2.4, rel=0.1)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3), st.booleans()), min_size=2, max_size=25))
def test_the_correlation_is_that_of_all_pairs_of_a_customers_claims_about_a_tag(
    rows: list[tuple[int, int, bool]],
) -> None:
    tag, customer, right = (np.array([row[column] for row in rows], int) for column in range(3))
    found = intra_cluster_correlation(claims_of(0.7, right, tag=tag, customer=customer))
    products = [
        (right[one] - 0.7) * (right[other] - 0.7)
        for one in range(len(rows))
        for other in range(len(rows))
        if one != other and tag[one] == tag[other] and customer[one] == customer[other]
    ]
    expected = np.mean(products) / (0.7 * 0.3) if products else 0.0
    assert found == pytest.approx(min(max(expected, 0.0), 1.0), abs=1e-12)


def test_customers_who_are_always_alike_correlate_fully_and_strangers_not_at_all() -> None:
    rng = np.random.default_rng(0)
    alike = np.repeat(rng.random(4000) < 0.8, 3)
    customer = np.repeat(np.arange(4000), 3)
    assert intra_cluster_correlation(claims_of(0.8, alike, customer=customer)) > 0.95
    strangers = rng.random(12000) < 0.8
    assert intra_cluster_correlation(claims_of(0.8, strangers, customer=customer)) < 0.03
    assert intra_cluster_correlation(claims_of([], [])) == 0.0


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.floats(0, 1))
def test_the_effect_of_clusters_is_what_their_sizes_and_correlation_give(
    customers: list[int], correlation: float
) -> None:
    sizes = [customers.count(each) for each in set(customers)]
    variance = sum(size + size * (size - 1) * correlation for size in sizes)
    assert kish_effect(np.array(customers), correlation) == pytest.approx(variance / len(customers))


def tags_around(strength: float | None, rng: np.random.Generator, tags: int = 150, size: int = 60) -> Claims:
    """Claims whose tags' true shares scatter about the probability as a Beta prior of some strength."""
    centre = rng.uniform(0.7, 0.9, tags)
    share = centre if strength is None else rng.beta(centre * strength, (1 - centre) * strength)
    tag = np.repeat(np.arange(tags), size)
    outcome = (rng.random(tags * size) < share[tag]).astype(np.int8)
    return claims_of(centre[tag], outcome, tag=tag)


@pytest.mark.parametrize("strength", [10.0, 20.0, 40.0])
def test_the_strength_that_tags_were_drawn_with_is_found_again(strength: float) -> None:
    rng = np.random.default_rng(int(strength))
    assert learn_prior(tags_around(strength, rng), 150).strength == pytest.approx(strength, rel=0.4)


def test_tags_that_are_just_as_calibrated_get_a_strong_prior_and_wild_ones_the_weakest() -> None:
    rng = np.random.default_rng(0)
    assert learn_prior(tags_around(None, rng), 150).strength >= PRIOR_STRENGTHS[-2]
    assert learn_prior(tags_around(2.0, rng), 150).strength == pytest.approx(PRIOR_STRENGTHS[0], rel=0.01)


def test_claims_unobserved_improbable_or_alone_say_nothing_about_the_prior() -> None:
    rng = np.random.default_rng(1)
    told = tags_around(20.0, rng)
    silent = [
        claims_of(0.9, outcomes(0, 0, 500), tag=3),
        claims_of(0.4, outcomes(0, 500), tag=4),
        claims_of([0.9], [0], tag=150, customer=[10**6]),
    ]
    assert learn_prior(joined(told, *silent), 151).strength == learn_prior(told, 150).strength
    assert learn_prior(claims_of([], []), 5).strength == pytest.approx(np.mean(PRIOR_STRENGTHS))
