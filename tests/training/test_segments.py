from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from tests.training.made_customers import KINDS, customers
from training.artifact import load_bundle, save_bundle
from training.errors import TrainingDataError
from training.gate import promotion_gate, rules_for
from training.high_value import high_value_cut_off
from training.segment_bundle import rfm_groups, segment_bundle
from training.segment_inputs import INPUTS, scaled_matrix
from training.segments import SegmentModel, chosen_count, explained_share, fit_clustering, nearest


@pytest.fixture(scope="module")
def made():
    return customers()


@pytest.fixture(scope="module")
def clustering(made):
    return fit_clustering(made[0], seed=1)


@pytest.fixture(scope="module")
def bundle(made, clustering):
    return bundle_of(made[0], clustering)


def bundle_of(columns, clustering, previous=None):
    return segment_bundle(
        columns,
        clustering,
        previous,
        currency="EUR",
        as_of="2024-01-01T00:00:00+00:00",
        fingerprint={"rows": 1},
    )


def test_kinds_that_are_there_are_found_and_their_number_is_the_most_stable(made, clustering):
    columns, kind = made
    points = scaled_matrix(clustering.scales, columns, list(clustering.scales))
    assert len(clustering.centroids) == len(KINDS)
    assert adjusted_rand_score(kind, nearest(points, clustering.centroids)) > 0.98
    assert clustering.stability[4] > 0.98
    assert clustering.stability[4] == max(clustering.stability.values())
    assert set(clustering.silhouette) == {4, 5, 6, 7, 8}


def test_the_nearest_centroid_is_that_of_the_plain_distance():
    rng = np.random.default_rng(5)
    points, centroids = rng.normal(size=(300, 4)), rng.normal(size=(6, 4))
    plain = [min(range(6), key=lambda one: float(((point - centroids[one]) ** 2).sum())) for point in points]
    assert nearest(points, centroids).tolist() == plain


def test_the_same_data_and_seed_give_the_same_bundle_also_when_trained_again(made, bundle, tmp_path):
    columns, _ = made
    counts = [4, 5]
    first = bundle_of(columns, fit_clustering(columns, seed=1, counts=counts))
    again = bundle_of(columns, fit_clustering(columns, seed=1, counts=counts), SegmentModel(bundle))
    assert save_bundle(tmp_path / "one", first) == save_bundle(tmp_path / "two", again)


def test_a_bundle_read_back_puts_everybody_where_training_did(made, bundle, tmp_path):
    columns, _ = made
    save_bundle(tmp_path / "bundle", bundle)
    model = SegmentModel(load_bundle(tmp_path / "bundle"))
    numbers = model.assign(columns)
    sizes = {one["number"]: one["customers"] for one in bundle.content["segments"]}
    assert {number: int((numbers == number).sum()) for number in sizes} == sizes
    assert set(model.descriptions) == set(sizes)
    one = {name: columns[name][7:8] for name in model.names}
    assert model.assign(one).tolist() == [numbers[7]]


def test_the_first_segment_is_the_one_that_spends_most(made, bundle):
    columns, kind = made
    spend = [columns["spend_365d_minor"][kind == one].mean() for one in range(len(KINDS))]
    most = int(np.argmax(spend))
    first = bundle.content["segments"][0]
    assert first["number"] == 1
    assert first["customers"] == 100
    assert first["spend_365d_minor"] == columns["spend_365d_minor"][kind == most].sum()
    assert first["description"].startswith("25 % of customers: ")
    assert "EUR an order" in first["description"]


def test_customers_drawn_anew_keep_their_segments_numbers(made, bundle):
    columns, kind = customers(seed=9)
    later = bundle_of(columns, fit_clustering(columns, seed=5, counts=[4]), SegmentModel(bundle))
    assert later.metrics["kept_number_share"] == 1.0
    before, after = SegmentModel(bundle).assign(made[0]), SegmentModel(later).assign(columns)
    for one in range(len(KINDS)):
        assert np.bincount(before[made[1] == one]).argmax() == np.bincount(after[kind == one]).argmax()


def test_the_plain_score_groups_by_the_sum_of_three_fifths_and_is_beaten(made, bundle):
    columns, _ = made
    raw = {one.feature: one.raw(columns[one.feature]) for one in INPUTS}
    groups = rfm_groups(raw, 4)
    by_hand = np.zeros(400)
    for name, sign in (
        ("seconds_since_last_purchase", -1),
        ("order_count_365d", 1),
        ("order_value_mean_minor", 1),
    ):
        values = sign * raw[name]
        edges = [np.sort(values)[int(np.ceil(399 * part))] for part in (0.2, 0.4, 0.6, 0.8)]
        by_hand += [sum(value >= edge for edge in edges) for value in values]
    order = np.argsort(by_hand)
    assert (np.diff(groups[order]) >= 0).all()
    assert len(set(groups)) == 4
    figures = bundle.metrics
    assert figures["explained_share"] > figures["baseline_rfm"]["explained_share"]
    assert promotion_gate(None, figures, rules_for("segments")).passed
    worse = {**figures, "baseline_rfm": {"explained_share": 0.99}}
    assert not promotion_gate(None, worse, rules_for("segments")).passed


def test_the_share_explained_is_one_minus_within_over_total():
    rng = np.random.default_rng(2)
    points, clusters = rng.normal(size=(50, 3)), rng.integers(0, 3, 50)
    within = sum(
        ((points[clusters == one] - points[clusters == one].mean(axis=0)) ** 2).sum() for one in range(3)
    )
    total = ((points - points.mean(axis=0)) ** 2).sum()
    assert explained_share(points, clusters) == pytest.approx(1 - within / total)
    assert explained_share(np.ones((5, 2)), np.arange(5)) == 0.0


def test_too_few_customers_are_refused_with_the_numbers():
    columns, _ = customers(each=20)
    with pytest.raises(
        TrainingDataError, match="segments need 100 customers who did something; there are 80"
    ):
        fit_clustering(columns, seed=0)


def test_customers_who_are_all_the_same_are_refused():
    columns = {one.feature: np.ones(200) for one in INPUTS}
    with pytest.raises(TrainingDataError, match="need 2 features that tell customers apart; there is none"):
        fit_clustering(columns, seed=0)


def test_customers_of_two_sorts_make_two_segments():
    columns = {one.feature: np.zeros(200) for one in INPUTS} | {"spend_365d_minor": np.zeros(200, np.int64)}
    rng = np.random.default_rng(0)
    columns["order_count_365d"] = rng.integers(0, 2, 200)
    columns["view_count_90d"] = rng.integers(0, 2, 200)
    columns["view_count_90d"][columns["order_count_365d"] == 1] = 0
    found = fit_clustering(columns, seed=0)
    assert len(found.centroids) == 3
    assert found.stability[3] == 1.0


def test_of_equally_stable_numbers_the_larger_is_chosen():
    assert chosen_count({4: 0.9, 6: 0.9, 8: 0.2}) == 6


def test_a_tenth_of_the_customers_is_of_high_value_and_nobody_who_spends_nothing():
    expected = np.random.default_rng(1).lognormal(8, 1, 1000)
    cut_off = high_value_cut_off(expected)
    assert cut_off == round(np.sort(expected)[900])
    assert (np.round(expected) >= cut_off).sum() == 100
    assert high_value_cut_off(np.array([3.4])) == 3
    assert high_value_cut_off(np.zeros(50)) is None
    assert high_value_cut_off(np.array([])) is None
