"""Purchase propensity: labels by hand, slices, figures beside baselines on the same rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from features.history import History
from features.outcomes import OutcomeJudge
from features.windows import DAY_US, HOUR_US, to_us
from tests.features.streams import START, event, frame, streams
from tests.training.rhythmic_shop import AS_OF, OPENED, ZONE, shop_history
from training.artifact import Bundle, load_bundle, save_bundle
from training.datasets import CALIBRATE, CENSUS, CERTIFY, FIT, DecisionRows, customer_snapshot
from training.errors import BundleError, TrainingDataError
from training.metrics import auc, brier, ece, lift_top_decile, pr_auc
from training.propensity import (
    HORIZONS_HOURS,
    RFM_FEATURES,
    PropensityData,
    PropensityModel,
    evaluate_propensity,
    fit_baselines,
    propensity_decisions,
    propensity_slices,
    purchased_within,
    train_propensity,
)


def rows_at(customer: list[int], instant: list[int]) -> DecisionRows:
    nothing = np.zeros(len(customer), np.int64)
    return DecisionRows(np.array(customer, np.int64), np.array(instant, np.int64), nothing, nothing)


@given(
    streams(max_events=30),
    st.lists(st.tuples(st.integers(0, 50 * 24), st.sampled_from([0, 0, 1, -1])), min_size=1, max_size=8),
    st.sampled_from([1, 72, 73, 100, 144, 168, 720]),
)
@settings(max_examples=40)
def test_who_bought_is_what_looking_at_every_purchase_finds(
    rows: list[dict[str, Any]], moments: list[tuple[int, int]], hours: int
) -> None:
    if not rows:
        return
    history = History(frame(rows), ZoneInfo("UTC"), timedelta(0))
    names = history.columns.customers
    asked = [
        (number, to_us(START) + hour * HOUR_US + offset)
        for number in range(len(names))
        for hour, offset in moments
    ]
    expected = [
        any(
            row["customer_id"] == names[number]
            and row["event_type"] == "purchase"
            and at < to_us(row["event_time"]) <= at + hours * HOUR_US
            for row in rows
        )
        for number, at in asked
    ]
    numbers, instants = (list(column) for column in zip(*asked, strict=True))
    found = purchased_within(OutcomeJudge(history.columns), rows_at(numbers, instants), hours)
    assert found.tolist() == expected


@pytest.mark.parametrize("hours", [72, 168])
def test_a_purchase_counts_from_just_after_the_instant_to_the_end_of_the_horizon(hours: int) -> None:
    rows = [event(1, "a", "purchase", START, timedelta(days=40))]
    judge = OutcomeJudge(History(frame(rows), ZoneInfo("UTC"), timedelta(0)).columns)
    bought = to_us(START)
    instants = [
        bought,
        bought - 1,
        bought - 72 * HOUR_US,
        bought - hours * HOUR_US,
        bought - hours * HOUR_US - 1,
    ]
    found = purchased_within(judge, rows_at([0] * 5, instants), hours)
    assert found.tolist() == [False, True, True, True, False]


@cache
def shop_data(horizon: str) -> PropensityData:
    _, history, judge = shop_history()
    hours = HORIZONS_HOURS[horizon]
    rows = propensity_decisions(history, propensity_slices(AS_OF, hours, OPENED, ZONE), 4000, seed=0)
    snapshot = customer_snapshot(history, rows)
    features = {name: snapshot[name].to_numpy() for name in snapshot.columns[2:]}
    return PropensityData(rows, features, purchased_within(judge, rows, hours))


@cache
def shop_bundle() -> Bundle:
    return train_propensity(
        {name: shop_data(name) for name in HORIZONS_HOURS},
        as_of=AS_OF.isoformat(),
        seed=1,
        threads=1,
        fingerprint={"rows": 1},
    )


def test_decisions_are_customers_active_in_90_days_at_every_second_midnight_of_each_slice() -> None:
    events, history, _ = shop_history()
    slices = propensity_slices(AS_OF, 168, OPENED, ZONE)
    rows = propensity_decisions(history, slices, 10**6, seed=0)
    assert (rows.kind == CENSUS).all()
    times: dict[str, list[int]] = {}
    for name, kind, at in events.select("customer_id", "event_type", "event_time").iter_rows():
        if kind != "contact":
            times.setdefault(name, []).append(to_us(at))
    expected = {
        (name, to_us(day), part)
        for part, days in ((FIT, slices.fit), (CALIBRATE, slices.calibrate), (CERTIFY, slices.certify))
        for day in days.days(2)
        for name, moments in times.items()
        if any(to_us(day) - 90 * DAY_US < moment <= to_us(day) for moment in moments)
    }
    names = [history.columns.customers[number] for number in rows.customer.tolist()]
    found = list(zip(names, rows.instant.tolist(), rows.part.tolist(), strict=True))
    assert len(found) == len(expected)
    assert set(found) == expected


def test_only_the_fitting_slice_is_sampled() -> None:
    _, history, _ = shop_history()
    slices = propensity_slices(AS_OF, 72, OPENED, ZONE)
    whole, some, again = (
        np.bincount(propensity_decisions(history, slices, size, seed=0).part) for size in (10**6, 500, 500)
    )
    assert some.tolist() == [500, *whole[1:].tolist()]
    assert some.tolist() == again.tolist()


def test_those_measured_were_active_in_the_last_30_days_contacts_aside() -> None:
    day = 86400.0
    features = {
        "seconds_since_last_purchase": np.array([40 * day, np.nan, 30 * day, 29.9 * day]),
        "seconds_since_last_view": np.array([29 * day, 31 * day, np.nan, np.nan]),
        "seconds_since_last_contact": np.array([1.0, 1.0, 1.0, 1.0]),
        "seconds_since_first_purchase": np.array([1.0, 1.0, 1.0, 1.0]),
    }
    part = np.array([FIT, FIT, FIT, CERTIFY])
    rows = DecisionRows(np.arange(4), np.arange(4), np.zeros(4, int), part)
    data = PropensityData(rows, features, np.zeros(4, bool))
    assert data.part(FIT).tolist() == [True, True, True, False]
    assert data.part(FIT, evaluated=True).tolist() == [True, False, False, False]
    assert data.part(CERTIFY, evaluated=True).tolist() == [False, False, False, True]


def test_habits_are_learnt_and_calibrated_for_every_horizon() -> None:
    figures = shop_bundle().metrics
    for horizon in HORIZONS_HOURS:
        assert figures[horizon]["auc"] > 0.75
        # Of so few rows it depends on the seed: six seeds span 0.057 to 0.083 over 7 days.
        assert figures[horizon]["ece"] < 0.09
        assert figures[horizon]["auc"] > figures[horizon]["baseline_logistic"]["auc"]
    assert figures["72h"]["base_rate"] < figures["7d"]["base_rate"]


def test_model_and_baselines_are_measured_on_the_same_rows() -> None:
    data = shop_data("72h")
    bundle, measured = shop_bundle(), data.part(CERTIFY, evaluated=True)
    rows = {name: values[measured] for name, values in data.features.items()}
    bought = data.bought[measured]
    own = PropensityModel(replace(bundle, content={"horizons_hours": {"72h": 72}})).score(rows)

    fit = data.part(FIT)

    def logs(names: list[str], chosen: Any) -> Any:
        columns = np.column_stack([data.features[name][chosen].astype(float) for name in names])
        return np.sign(columns) * np.log1p(np.abs(columns))

    known = logs(list(RFM_FEATURES), fit)
    never = np.nanmax(known, axis=0)
    known = np.where(np.isnan(known), never, known)
    asked = logs(list(RFM_FEATURES), measured)
    asked = np.where(np.isnan(asked), never, asked)
    centre, scale = known.mean(axis=0), known.std(axis=0)
    logistic = LogisticRegression(max_iter=1000).fit((known - centre) / scale, data.bought[fit])
    plain = logistic.predict_proba((asked - centre) / scale)[:, 1]

    figures = bundle.metrics["72h"]
    assert figures["rows"] == measured.sum()
    assert figures["base_rate"] == bought.mean()
    for scored, told in ((own["72h"], figures), (plain, figures["baseline_logistic"])):
        for name, metric in (
            ("auc", auc),
            ("pr_auc", pr_auc),
            ("brier", brier),
            ("ece", ece),
            ("lift_top_decile", lift_top_decile),
        ):
            assert told[name] == pytest.approx(metric(bought, scored), rel=1e-6), name
    assert figures["baseline_logistic_same_features"]["auc"] > 0.5
    assert figures["auc_gain_lower"] <= figures["auc"] - figures["baseline_logistic_same_features"]["auc"]


@pytest.mark.parametrize("horizon", list(HORIZONS_HOURS))
def test_scores_are_calibrated_on_the_slice_after_the_one_they_were_fitted_on(horizon: str) -> None:
    data, bundle = shop_data(horizon), shop_bundle()
    matrix = np.column_stack(list(data.features.values())).astype(np.float32)
    calibrate = data.rows.part == CALIBRATE
    raw = np.asarray(bundle.boosters()[horizon].predict(matrix[calibrate], num_threads=1))
    reference = IsotonicRegression(out_of_bounds="clip").fit(raw, data.bought[calibrate])
    margin = 1 / (calibrate.sum() + 2)
    expected = np.clip(reference.predict(raw), margin, 1 - margin)
    levels = np.unique(expected)
    centres = np.array([raw[expected == level].mean() for level in levels])
    np.testing.assert_allclose(bundle.calibrators[horizon](centres), levels, atol=1e-9)
    assert len(levels) > 3


def test_a_model_as_good_as_its_baseline_gains_nothing() -> None:
    data = shop_data("72h")
    baselines = fit_baselines(data)
    _, same = baselines.predict(data.features)
    figures = evaluate_propensity(data, CERTIFY, same, baselines, seed=0)
    assert figures["auc_gain_lower"] == 0
    assert figures["auc"] == figures["baseline_logistic_same_features"]["auc"]


def test_a_longer_horizon_is_never_less_probable() -> None:
    data = shop_data("7d")
    scores = PropensityModel(shop_bundle()).score(data.features)
    assert list(scores) == ["72h", "7d"]
    assert (scores["72h"] <= scores["7d"]).all()
    assert (scores["72h"] < scores["7d"]).mean() > 0.3
    for probability in scores.values():
        assert probability.min() > 0
        assert probability.max() < 1


def test_horizons_that_disagree_are_put_in_order_by_raising_the_longer_one() -> None:
    bundle = shop_bundle()
    swapped = replace(
        bundle,
        models={"72h": bundle.models["7d"], "7d": bundle.models["72h"]},
        calibrators={"72h": bundle.calibrators["7d"], "7d": bundle.calibrators["72h"]},
    )
    features = shop_data("7d").features
    told, turned = PropensityModel(bundle).score(features), PropensityModel(swapped).score(features)
    np.testing.assert_array_equal(turned["7d"], told["7d"])
    assert (turned["72h"] <= turned["7d"]).all()


def test_one_customer_is_scored_as_among_others_and_nobody_gets_no_score() -> None:
    model, features = PropensityModel(shop_bundle()), shop_data("72h").features
    together = model.score(features)
    for row in (0, 1000, 4321):
        alone = model.score({name: values[[row]] for name, values in features.items()})
        for horizon, probability in alone.items():
            assert probability[0] == together[horizon][row]
    nobody = model.score({name: values[:0] for name, values in features.items()})
    assert {horizon: len(probability) for horizon, probability in nobody.items()} == {"72h": 0, "7d": 0}


def test_a_feature_that_no_longer_exists_is_named() -> None:
    features = dict(shop_data("72h").features)
    del features["order_overdue_ratio"]
    with pytest.raises(BundleError, match="reads feature 'order_overdue_ratio'"):
        PropensityModel(shop_bundle()).score(features)


def test_priors_are_the_population_share_of_the_calibrating_slice() -> None:
    priors = PropensityModel(shop_bundle()).priors
    for horizon in HORIZONS_HOURS:
        data = shop_data(horizon)
        assert priors[horizon] == data.bought[data.rows.part == CALIBRATE].mean()


def test_a_saved_bundle_scores_as_the_one_that_was_saved(tmp_path: Path) -> None:
    save_bundle(tmp_path, shop_bundle())
    features = shop_data("72h").features
    expected = PropensityModel(shop_bundle()).score(features)
    for horizon, probability in PropensityModel(load_bundle(tmp_path)).score(features).items():
        np.testing.assert_array_equal(probability, expected[horizon])


@pytest.mark.parametrize(("part", "name"), [(FIT, "fit"), (CALIBRATE, "calibrate"), (CERTIFY, "certify")])
@pytest.mark.parametrize("bought", [True, False], ids=["everybody bought", "nobody bought"])
def test_a_slice_of_one_class_is_refused_with_its_numbers(part: int, name: str, bought: bool) -> None:
    data = shop_data("72h")
    alike = np.where(data.rows.part == part, bought, data.bought)
    size = int((data.rows.part == part).sum())
    with_purchase, without = (size, 0) if bought else (0, size)
    with pytest.raises(TrainingDataError) as caught:
        train_propensity(
            {"72h": replace(data, bought=alike)}, as_of=AS_OF.isoformat(), seed=1, threads=1, fingerprint={}
        )
    assert caught.value.message == (
        f"propensity 72h: slice '{name}' has {with_purchase} rows with and {without} without a purchase; "
        "expected 200 of each"
    )
