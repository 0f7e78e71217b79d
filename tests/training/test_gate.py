"""The promotion gate."""

from __future__ import annotations

import math
from typing import Any

import pytest

from training.errors import RegistryError
from training.gate import RULES, promotion_gate, rules_for

CLV: dict[str, Any] = {
    "normalized_gini": 0.80,
    "bias": -0.10,
    "baseline_bgnbd_gg": {"normalized_gini": 0.75},
    "baseline_past_rate": {"normalized_gini": 0.78},
}


def test_a_first_champion_needs_only_to_beat_its_baselines() -> None:
    decision = promotion_gate(None, CLV, rules_for("clv"))
    assert decision.passed
    assert decision.objections == ()
    assert len(decision.reasons) == 2


@pytest.mark.parametrize("gini", [0.78, 0.76])
def test_a_challenger_no_better_than_a_baseline_is_refused(gini: float) -> None:
    decision = promotion_gate(None, CLV | {"normalized_gini": gini}, rules_for("clv"))
    assert not decision.passed
    assert "does not beat baseline_past_rate.normalized_gini 0.7800" in decision.objections[0]


def test_a_challenger_may_be_worse_than_the_champion_only_within_the_tolerance() -> None:
    champion = CLV | {"normalized_gini": 0.81}
    assert promotion_gate(champion, CLV, rules_for("clv")).passed
    champion = CLV | {"normalized_gini": 0.83}
    decision = promotion_gate(champion, CLV, rules_for("clv"))
    assert decision.objections == ("normalized_gini 0.8000 is worse than the champion's 0.8300 (±0.02)",)


def test_a_bias_is_judged_by_its_distance_from_zero() -> None:
    assert promotion_gate(CLV | {"bias": 0.05}, CLV, rules_for("clv")).passed
    assert not promotion_gate(CLV | {"bias": 0.05}, CLV | {"bias": -0.2}, rules_for("clv")).passed


def test_a_figure_not_measured_or_a_baseline_not_fitted_is_refused() -> None:
    assert not promotion_gate(None, CLV | {"normalized_gini": math.nan}, rules_for("clv")).passed
    unfitted = {name: value for name, value in CLV.items() if name != "baseline_bgnbd_gg"}
    decision = promotion_gate(None, unfitted, rules_for("clv"))
    assert decision.objections == (
        "baseline_bgnbd_gg.normalized_gini was not recorded: the baseline was not fitted",
    )


HORIZON = {"auc": 0.80, "ece": 0.01, "baseline_logistic": {"auc": 0.79}}


def test_a_horizon_that_short_histories_do_not_carry_may_be_missing_but_not_lost() -> None:
    short = {"72h": HORIZON, "7d": HORIZON}
    full = short | {"30d": HORIZON}
    rules = rules_for("propensity")
    assert promotion_gate(None, short, rules).passed
    assert promotion_gate(short, short, rules).passed
    assert promotion_gate(short, full, rules).passed
    assert promotion_gate(full, short, rules).objections == (
        "30d.auc was not measured",
        "30d.ece was not measured",
    )
    worse = short | {"30d": HORIZON | {"auc": 0.78}}
    assert promotion_gate(None, worse, rules).objections == (
        "30d.auc 0.7800 does not beat 30d.baseline_logistic.auc 0.7900",
    )
    assert not promotion_gate(None, {"72h": HORIZON}, rules).passed


def test_a_baseline_that_could_not_be_measured_leaves_nothing_to_beat() -> None:
    metrics = {
        "precision_observed": 0.81,
        "useful_tags_per_customer_day": 0.1,
        "rule_precision_observed": math.nan,
    }
    assert promotion_gate(None, metrics, rules_for("tags-interest")).passed


def test_every_rule_names_paths_within_one_figure() -> None:
    for rules in RULES.values():
        for rule in rules:
            assert rule.tolerance > 0
            for baseline in rule.baselines:
                assert baseline.endswith(rule.metric.rsplit(".", 1)[-1])


def test_an_unknown_task_is_named() -> None:
    with pytest.raises(RegistryError, match="'weather'"):
        rules_for("weather")
