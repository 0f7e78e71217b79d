"""The precision contract: thresholds, certificates, and whether certified tags keep their promise."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.outcomes import CONFIRMED, REFUTED, UNOBSERVED
from features.tags import Contract
from training.contract import (
    PRIOR_STRENGTHS,
    Certificate,
    Claims,
    certify,
    choose_thresholds,
    design_effect,
    prior_strength,
)
from training.datasets import AFTER_EVENT, CENSUS, RANDOM_HOUR

FloatArray = npt.NDArray[np.float64]

CONTRACT = Contract(precision=0.80, lift=2.0, confidence=0.90, slack=0.05, min_support=50)


def claims_of(
    probability: Any, outcome: Any, *, tag: Any = 0, customer: Any = None, kind: Any = CENSUS
) -> Claims:
    """Claims of one tag by as many customers, unless said otherwise."""
    size = len(outcome)
    return Claims(
        np.broadcast_to(np.asarray(tag, np.int64), size),
        np.broadcast_to(np.asarray(probability, np.float64), size),
        np.asarray(outcome, np.int8),
        np.arange(size) if customer is None else np.asarray(customer, np.int64),
        np.broadcast_to(np.asarray(kind, np.int64), size),
    )


def outcomes(confirmed: int, refuted: int, unobserved: int = 0) -> npt.NDArray[np.int8]:
    return np.repeat([CONFIRMED, REFUTED, UNOBSERVED], [confirmed, refuted, unobserved]).astype(np.int8)


def certificate_of(
    claims: Claims, *, threshold: float = 0.5, base_rate: float = 0.2, strength: float = 10.0
) -> Certificate:
    (found,) = certify(claims, ["milk"], np.array([threshold]), np.array([base_rate]), CONTRACT, strength)
    return found


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


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 6), st.sampled_from([1, 1, 0, -1]), st.integers(0, 5)),
        max_size=40,
    ),
    st.sampled_from([0.0, 2.0, 40.0]),
    # shares that no small counts have exactly, so that rounding decides nothing
    st.sampled_from([0.5237, 0.7931]),
)
def test_a_threshold_is_the_lowest_of_all_that_reach_the_promise(
    rows: list[tuple[int, int, int, int]], strength: float, precision: float
) -> None:
    tags, grades, outcome, customers = (np.array([row[column] for row in rows], int) for column in range(4))
    claims = claims_of(0.4 + grades / 10, outcome, tag=tags, customer=customers)
    found = choose_thresholds(claims, 3, precision, strength)
    for tag in range(3):
        mine = (tags == tag) & (outcome != UNOBSERVED)
        effect = design_effect(outcome[mine] == CONFIRMED, customers[mine])
        reaching = []
        for threshold in sorted(set(claims.probability[mine].tolist())):
            above = mine & (claims.probability >= threshold)
            count, hits = above.sum() / effect, (outcome[above] == CONFIRMED).sum() / effect
            centre = claims.probability[above].mean()
            if (hits + strength * centre) / (count + strength) >= precision:
                reaching.append(threshold)
        np.testing.assert_equal(found[tag], min(reaching, default=np.nan))


def test_a_threshold_never_cuts_through_claims_of_one_score() -> None:
    claims = claims_of([0.9, 0.9, 0.9, 0.9], [1, 1, 0, 0])
    assert np.isnan(choose_thresholds(claims, 1, 0.8, 0.0)[0])
    assert choose_thresholds(claims, 1, 0.5, 0.0)[0] == 0.9


def test_a_tag_without_claims_or_without_observed_ones_has_no_threshold() -> None:
    claims = claims_of(0.95, outcomes(0, 0, 5), tag=1)
    assert np.isnan(choose_thresholds(claims, 3, 0.8, 10.0)).all()
    assert choose_thresholds(claims, 3, 0.8, 10.0).shape == (3,)


def test_a_tag_with_few_claims_is_believed_as_its_calibrated_probability_says() -> None:
    one_hit = claims_of([0.95, 0.5], [1, 1])
    assert choose_thresholds(one_hit, 1, 0.8, 0.0)[0] == 0.5
    assert choose_thresholds(one_hit, 1, 0.8, 100.0)[0] == 0.95


def test_claims_are_grouped_by_tag_whatever_their_order() -> None:
    claims = claims_of(0.5, outcomes(3, 3), tag=[2, 0, 2, 0, 0, 2])
    assert [positions.tolist() for positions in claims.by_tag(4)] == [[1, 3, 4], [], [0, 2, 5], []]


def test_a_certificate_reports_what_its_claims_add_up_to() -> None:
    rng = np.random.default_rng(0)
    above, below = claims_of(0.9, outcomes(180, 20, 30)), claims_of(0.3, outcomes(0, 500))
    both = Claims(
        *(np.concatenate([getattr(above, name), getattr(below, name)]) for name in vars(above))  # in order
    )
    found = certificate_of(both, strength=20.0)
    assert found.certified
    assert found.reason == ""
    assert (found.claims, found.support, found.threshold) == (230, 200, 0.5)
    assert found.precision == 0.9
    assert found.precision_shrunk == pytest.approx((180 + 18) / 220)
    assert found.lift == pytest.approx(4.5)
    drawn = np.quantile(rng.beta(180 + 18, 20 + 2, 1_000_000), 0.1)
    assert found.lower_bound == pytest.approx(drawn, abs=2e-4)


def test_a_score_equal_to_the_threshold_is_given() -> None:
    assert certificate_of(claims_of(0.5, outcomes(95, 5)), threshold=0.5).support == 100
    assert certificate_of(claims_of(0.5, outcomes(95, 5)), threshold=np.nextafter(0.5, 1)).support == 0


@pytest.mark.parametrize(
    ("claims", "changed", "reason"),
    [
        (claims_of(0.9, outcomes(95, 5)), {"threshold": np.nan}, "no score reaches precision 0.80"),
        (claims_of(0.9, outcomes(0, 0, 9)), {}, "no observed claim to judge by"),
        (claims_of(0.2, outcomes(95, 5)), {}, "no observed claim to judge by"),
        (claims_of(0.9, outcomes(49, 0, 50)), {}, "support 49; expected 50"),
        (claims_of(0.8, outcomes(70, 30)), {}, "precision 0.709; expected 0.80"),
        (claims_of(0.8, outcomes(41, 10)), {}, "lower bound 0.736; expected 0.75"),
        (claims_of(0.9, outcomes(95, 5)), {"base_rate": 0.5}, "lift 1.90; expected 2.0"),
        (
            claims_of(0.8, outcomes(388, 112), kind=[CENSUS] * 388 + [RANDOM_HOUR] * 112),
            {},
            "precision 0.776; expected 0.80",
        ),
    ],
    ids=[
        "no threshold",
        "unobserved",
        "below",
        "support",
        "precision",
        "lower bound",
        "lift",
        "first broken",
    ],
)
def test_every_way_to_fail_is_told_with_its_numbers(
    claims: Claims, changed: dict[str, float], reason: str
) -> None:
    found = certificate_of(claims, **changed)
    assert not found.certified
    assert found.reason == reason


def test_a_kind_of_instants_that_is_far_worse_than_the_rest_suspends_the_tag() -> None:
    outcome = np.r_[outcomes(190, 10), outcomes(39, 21)]
    kind = [CENSUS] * 200 + [AFTER_EVENT] * 60
    found = certificate_of(claims_of(0.85, outcome, kind=kind))
    assert not found.certified
    assert found.reason == "precision 0.679 at instants of kind after_event; expected 0.75"
    # with too few claims of that kind nothing is concluded from them
    few = np.r_[outcomes(190, 10), outcomes(30, 19)]
    assert certificate_of(claims_of(0.85, few, kind=[CENSUS] * 200 + [AFTER_EVENT] * 49)).certified


def test_many_claims_of_few_customers_prove_less() -> None:
    # ten customers who always do the same are ten claims, not a hundred
    outcome = outcomes(90, 10)
    shared = certificate_of(claims_of(0.9, outcome, customer=np.arange(100) // 10))
    ten = certificate_of(claims_of(0.9, outcomes(9, 1)))
    assert shared.lower_bound == pytest.approx(ten.lower_bound, abs=1e-9)
    outcome = outcomes(84, 16)
    assert certificate_of(claims_of(0.8, outcome)).certified
    shared = certificate_of(claims_of(0.8, outcome, customer=np.arange(100) // 10))
    assert shared.reason.startswith("lower bound")


def test_tags_are_judged_separately_and_in_order() -> None:
    tag = np.r_[np.full(100, 2), np.full(100, 0)]
    claims = claims_of(0.9, np.r_[outcomes(95, 5), outcomes(10, 90)], tag=tag)
    found = certify(
        claims, ["a", "b", "c"], np.array([0.5, 0.5, 0.5]), np.array([0.1, 0.1, 0.2]), CONTRACT, 10.0
    )
    assert [one.tag for one in found] == ["a", "b", "c"]
    assert [one.certified for one in found] == [False, False, True]
    assert found[1].claims == 0
    assert found[2].lift == pytest.approx(0.95 / 0.2)


def test_a_tag_nobody_would_have_got_right_by_chance_has_a_finite_lift() -> None:
    found = certificate_of(claims_of(0.9, outcomes(95, 5)), base_rate=0.0)
    assert found.certified
    assert found.lift == 1e6


def test_a_certificate_is_plain_json_with_null_for_what_was_not_measured() -> None:
    failed = certificate_of(claims_of(0.9, outcomes(95, 5)), threshold=np.nan).to_json()
    assert failed["threshold"] is None
    assert failed["lift"] is None
    passed = certificate_of(claims_of(0.9, outcomes(95, 5))).to_json()
    for row in (failed, passed):
        assert json.loads(json.dumps(row, allow_nan=False)) == row


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
    assert prior_strength(tags_around(strength, rng), 150) == strength


def test_tags_that_are_just_as_calibrated_get_the_strongest_prior_and_wild_ones_the_weakest() -> None:
    rng = np.random.default_rng(0)
    assert prior_strength(tags_around(None, rng), 150) == PRIOR_STRENGTHS[-1]
    assert prior_strength(tags_around(2.0, rng), 150) == PRIOR_STRENGTHS[0]


def test_claims_unobserved_improbable_or_alone_say_nothing_about_the_prior() -> None:
    rng = np.random.default_rng(1)
    told = tags_around(20.0, rng)
    silent = [
        claims_of(0.9, outcomes(0, 0, 500), tag=3),
        claims_of(0.4, outcomes(0, 500), tag=4),
        claims_of([0.9], [0], tag=150),
    ]
    everything = Claims(
        *(np.concatenate([getattr(part, name) for part in (told, *silent)]) for name in vars(told))
    )
    assert prior_strength(everything, 151) == prior_strength(told, 150)
    assert prior_strength(claims_of([], []), 5) in PRIOR_STRENGTHS


def drawn_claims(rng: np.random.Generator, tags: int, size: int, exponent: float = 1.0) -> Claims:
    """Claims that come true with the probability they state, or with a power of it."""
    probability = rng.beta(4, 2, tags * size)
    tag = np.repeat(np.arange(tags), size)
    customer = rng.integers(0, size // 2, tags * size)
    right = rng.random(tags * size) < probability**exponent
    outcome = np.where(rng.random(tags * size) < 0.3, UNOBSERVED, right).astype(np.int8)
    kind = rng.choice([CENSUS, CENSUS, AFTER_EVENT, RANDOM_HOUR], tags * size)
    return Claims(tag, probability, outcome, customer, kind)


def certified_of(choosing: Claims, certifying: Claims, tags: int) -> tuple[list[Certificate], FloatArray]:
    strength = prior_strength(choosing, tags)
    thresholds = choose_thresholds(choosing, tags, CONTRACT.precision, strength)
    names = [str(tag) for tag in range(tags)]
    return certify(certifying, names, thresholds, np.full(tags, 0.2), CONTRACT, strength), thresholds


def test_certified_tags_keep_their_promise_on_fresh_data() -> None:
    rng, tags = np.random.default_rng(5), 120
    found, thresholds = certified_of(drawn_claims(rng, tags, 400), drawn_claims(rng, tags, 400), tags)
    certified = np.array([one.certified for one in found])
    assert certified.sum() > tags / 2
    fresh = drawn_claims(rng, tags, 4000)
    given = certified[fresh.tag] & (fresh.probability >= thresholds[fresh.tag])
    observed = given & (fresh.outcome != UNOBSERVED)
    precision = (fresh.outcome[observed] == CONFIRMED).mean()
    assert precision >= CONTRACT.precision - 3 * np.sqrt(0.16 / observed.sum())
    by_tag = np.array(
        [
            (fresh.outcome[observed & (fresh.tag == tag)] == CONFIRMED).mean()
            for tag in np.flatnonzero(certified)
        ]
    )
    # what the lower bound promises of each tag: within the slack, but for one in ten
    assert (by_tag >= CONTRACT.precision - CONTRACT.slack).mean() >= CONTRACT.confidence
    promised = np.array([one.precision_shrunk for one in found])[certified]
    assert abs(promised.mean() - by_tag.mean()) < 0.01


def test_tags_that_stop_coming_true_after_the_choosing_slice_are_not_certified() -> None:
    rng, tags = np.random.default_rng(6), 60
    found, _ = certified_of(drawn_claims(rng, tags, 400), drawn_claims(rng, tags, 400, exponent=3.0), tags)
    assert sum(one.certified for one in found) == 0
