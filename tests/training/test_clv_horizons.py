"""Several horizons that agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.training.made_spend import day, kernel_features, shoppers
from training.clv import ClvModel, ClvPrediction, train_clv
from training.clv_horizons import ClvHorizons, agreeing, at_least, horizons_within
from training.clv_inputs import ClvInputs
from training.spend_history import DAY_US, spend_history


@pytest.fixture(scope="module")
def trained() -> tuple[list[ClvModel], ClvInputs]:
    frame = shoppers(400, 240, seed=21)
    history = spend_history(frame)
    features_at = kernel_features(frame, history)
    models = [
        train_clv(history, features_at, as_of_us=day(240), horizon_days=days, seed=1, threads=1)
        for days in (30, 60)
    ]
    return models, features_at(history.buyers(day(240)), day(240))


def test_the_span_decides_which_horizons_there_are() -> None:
    assert horizons_within(0, 547 * DAY_US) == ([90, 183, 365], {})
    assert horizons_within(0, 546 * DAY_US)[0] == [90, 183]
    assert horizons_within(0, 273 * DAY_US)[0] == [90]
    allowed, skipped = horizons_within(0, 40 * DAY_US, (183, 90))
    assert allowed == [90]
    assert skipped == {"183": "183 days: needs 274 days of history before the as-of instant, has 40"}


def test_nobody_is_worth_less_over_longer_and_the_total_meets_its_level(
    trained: tuple[list[ClvModel], ClvInputs],
) -> None:
    (short, long), current = trained
    # a tenth above the shorter one's total and spread wider, so that small customers are below it at first
    floor = float(short.predict(current).expected_minor.sum())
    wide = replace(long, blend=replace(long.blend, spread=long.blend.spread * 1.3))
    own = float(wide.predict(current).expected_minor.sum())
    target = floor * 1.1
    shrunk = replace(wide, factor=wide.factor * target / own)
    assert (shrunk.predict(current).expected_minor < short.predict(current).expected_minor).any()
    found = agreeing([short, shrunk], current, {}).predict(current)
    assert list(found) == [30, 60]
    for name in ("expected_minor", "low_minor", "high_minor"):
        assert (getattr(found[60], name) >= getattr(found[30], name)).all()
    assert found[60].expected_minor.sum() == pytest.approx(target)
    assert found[30].expected_minor.sum() == pytest.approx(floor)


def test_a_level_below_the_shorter_total_leaves_that_total(
    trained: tuple[list[ClvModel], ClvInputs],
) -> None:
    (short, long), current = trained
    found = agreeing([short, replace(long, factor=long.factor * 1e-6)], current, {}).predict(current)
    np.testing.assert_allclose(found[60].expected_minor, found[30].expected_minor)


def test_horizons_survive_json_and_text(trained: tuple[list[ClvModel], ClvInputs]) -> None:
    models, current = trained
    horizons = agreeing(models, current, {"365": "too long"})
    again = ClvHorizons.of_pieces(horizons.texts(), horizons.content(), threads=1)
    assert again.skipped == {"365": "too long"}
    assert set(horizons.texts()) == {"any_spend", "amount", "any_spend_60", "amount_60"}
    for days, found in horizons.predict(current).items():
        for name, values in vars(found).items():
            assert (values == vars(again.predict(current)[days])[name]).all()


def test_raising_keeps_the_shares_and_the_order() -> None:
    def made(expected: list[float], low: list[float], high: list[float]) -> ClvPrediction:
        values = np.array(expected)
        return ClvPrediction(values, np.array(low), np.array(high), values * 0.5, values * 0.3, values * 0.2)

    found = at_least(
        made([4.0, 0.0, 9.0], [1, 0, 5], [8, 0, 12]), made([8.0, 2.0, 6.0], [2, 1, 1], [9, 4, 20])
    )
    assert found.expected_minor.tolist() == [8.0, 2.0, 9.0]
    assert found.interaction_minor == pytest.approx([2.4, 0.6, 2.7])
    assert (found.low_minor.tolist(), found.high_minor.tolist()) == ([2, 1, 5], [9, 4, 20])
