"""The level: which view of the history sets the total."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.training.made_spend import day, events, shoppers
from training.clv_level import choose_level, level_totals, ratio_total
from training.spend_history import DAY_US, SpendHistory, spend_history


def winter_peak(at: float) -> float:
    """Return the share of visits that buy: three times as many in the last quarter of each year."""
    return 1.0 if at % 365 > 270 else 0.33


def actual(history: SpendHistory, at: int, days: int) -> int:
    return int(history.spend_between(day(at), day(at + days))[history.buyers(day(at))].sum())


def test_the_ratio_total_is_reckoned_as_told() -> None:
    history = spend_history(
        events(
            [
                ("a", 5.0, 100, "purchase"), ("a", 15.0, 300, "purchase"), ("a", 25.0, 50, "purchase"),
                ("b", 1.0, 900, "purchase"), ("b", 12.0, 40, "purchase"),
                ("c", 8.0, 100, "purchase"), ("d", 2.0, 10, "purchase"),
            ]
        )
    )  # fmt: skip
    # as of day 30 with a horizon of 10 days; the example date is day 10, when a and c had been active in
    # (0, 10], and so had b and d
    total = ratio_total(history.known_by(day(30)), day(30), day(10), 10 * DAY_US)
    assert total == pytest.approx(50 * (300 + 40) / (100 + 900 + 100 + 10))


def test_dormant_customers_are_worth_the_mean_of_last_times_dormant() -> None:
    history = spend_history(
        events(
            [
                ("a", 1.0, 100, "purchase"), ("a", 11.0, 100, "purchase"), ("a", 21.0, 100, "purchase"),
                ("b", 1.0, 100, "purchase"), ("b", 25.0, 60, "purchase"),
                ("c", 2.0, 100, "purchase"),
            ]
        )
    )  # fmt: skip
    # on day 20 a was active; b and c were dormant and spent 60 and 0 in the ten days after
    total = ratio_total(history.known_by(day(30)), day(30), day(20), 10 * DAY_US)
    # the example is the latest closed window itself, so that its dormant customers count once
    assert total == pytest.approx((100 + 60) * 100 / 100 + 1 * 30)


def test_new_and_returning_customers_move_by_ratios_of_their_own() -> None:
    """Last year half of the active were new and left; now all have been customers for long."""
    rows = []
    for number in range(100):
        rows += [(f"old{number}", at, 100, "purchase") for at in (5.0, 55.0, 65.0, 115.0)]
        rows += [(f"new{number}", 56.0, 100, "purchase")]
    history = spend_history(events(rows))
    total = ratio_total(history.known_by(day(120)), day(120), day(60), 10 * DAY_US)
    # on day 60 the returning spent 100 before and after, the new 100 before and nothing after
    idle_at_110 = 0.0
    assert total == pytest.approx(100 * 100 * 1.0 + 100 * idle_at_110)


def test_the_long_asleep_are_worth_what_their_like_were_lately_at_the_example_season() -> None:
    """A history that had only just begun at the example date shows no customer asleep for long."""
    generator = np.random.default_rng(3)
    rows = []
    for number in range(400):
        name = f"c{number:03d}"
        regular = number < 100
        times = np.arange(generator.uniform(0, 20), 130, 7.0 if regular else 200.0)
        rows += [(name, float(at), 100 if at < 110 or at >= 120 else 50, "purchase") for at in times]
        if 100 <= number < 110:
            rows.append((name, 115.0, 40, "purchase"))
    history = spend_history(events(rows))
    at, example, horizon = day(120), day(30), 10 * DAY_US
    known = history.known_by(at)
    total = ratio_total(known, at, example, horizon)

    def window(instant: int) -> tuple[np.ndarray, np.ndarray]:
        before = known.spend_between(instant - horizon, instant)[:400]
        return before, known.spend_between(instant, instant + horizon)[:400]

    before, after = window(example)
    active = before > 0
    ratio = after[active].sum() / before[active].sum()
    before, after = window(at - horizon)
    active = before > 0
    season = ratio / (after[active].sum() / before[active].sum())
    # whoever was idle then had been so for longer than the 30 days before the example
    asleep = season * after[~active].mean()
    now = known.spend_between(at - horizon, at)[:400]
    assert total == pytest.approx(now.sum() * ratio + (now == 0).sum() * asleep, rel=1e-6)
    assert asleep == pytest.approx(season * 10 * 40 / 300)


def test_last_years_season_beats_a_model_that_knows_of_none() -> None:
    history = spend_history(shoppers(700, 730, seed=5, season=winter_peak, dropout=0.005))
    known = history.known_by(day(635))
    level = choose_level(history, day(635), 90)
    assert level.name == "same_season"
    assert level.total_minor is not None
    truth = actual(history, 635, 90)
    totals = level_totals(known, day(635), 90)
    assert abs(math.log(level.total_minor / truth)) < 0.15
    assert abs(math.log(level.total_minor / truth)) < abs(math.log(totals["bgnbd_gg"] / truth))


def test_an_ageing_cohort_within_its_first_year_is_left_to_bgnbd() -> None:
    history = spend_history(shoppers(700, 330, seed=6, dropout=0.1))
    level = choose_level(history, day(240), 90)
    assert level.name == "bgnbd_gg"
    assert level.total_minor == pytest.approx(actual(history, 240, 90), rel=0.15)
    assert "same_season" not in level_totals(history, day(240), 90)


def test_a_level_far_off_on_every_closed_origin_is_replaced() -> None:
    # trade began a year ago and has doubled every hundred days: last year's season says nothing of it
    history = spend_history(
        shoppers(
            900, 760, seed=7, joined_within=30, season=lambda at: min(1.0, 0.02 * 2 ** (at / 110)), dropout=0
        )
    )
    level = choose_level(history, day(600), 30)
    assert level.name != "run_rate" or "nearer" in level.reason
    assert level.errors
    assert min(level.errors.values()) <= level.errors[level.name] + 0.15


def test_nothing_after_the_instant_is_used() -> None:
    frame = shoppers(200, 400, seed=8)
    whole, cut = spend_history(frame), spend_history(frame).known_by(day(300))
    assert choose_level(whole, day(300), 60) == choose_level(cut, day(300), 60)


def test_a_history_too_short_for_any_level_says_so() -> None:
    rows = [(f"c{number}", 5.0 + number / 10, 1000, "purchase") for number in range(5)]
    level = choose_level(spend_history(events(rows)), day(10), 90)
    assert (level.name, level.total_minor) == ("ranker", None)
    assert level_totals(spend_history(events(rows)).known_by(day(1)), day(1), 90) == {}


def test_an_example_without_active_customers_gives_no_total() -> None:
    history = spend_history(events([("a", 5.0, 100, "purchase"), ("a", 45.0, 100, "purchase")]))
    assert math.isnan(ratio_total(history, day(60), day(30), 10 * DAY_US))
    assert np.isfinite(ratio_total(history, day(60), day(10), 10 * DAY_US))
