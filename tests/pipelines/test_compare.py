from __future__ import annotations

import json
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from configs.settings import load_settings
from features import customer
from features.history import History
from features.windows import to_us
from tests.small_shop import clean_environ
from training import metrics
from training.artifact import load_bundle
from training.clv_bundle import load_models
from training.clv_inputs import ClvInputs
from training.comparison_rows import AFTER_BOTH, CERTIFYING
from training.model_inputs import features_read
from training.propensity import PropensityModel
from training.registry import challenger, champion, find_version

EARLIER = "2024-05-20"


@pytest.fixture(scope="module")
def shop(small_shop, tmp_path_factory):
    """The shop with a challenger trained as of an earlier day, and two older versions of value."""
    shop = small_shop.copy(tmp_path_factory.mktemp("compared"))
    for arguments in (
        ["propensity", "tags", "--families", "interest", "--as-of", EARLIER, "--challenger"],
        ["clv", "--as-of", "2024-04-20", "--no-challenger"],
        ["clv", "--as-of", "2024-04-26", "--no-challenger"],
    ):
        run = shop.run("train", *arguments)
        assert run.code == 0, run.err
    return shop


@pytest.fixture(scope="module")
def compared(shop, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "compared.json"
    run = shop.run("compare", "champion", "challenger", "--json", "--out", str(out))
    assert run.code == 0, run.err
    assert json.loads(out.read_text("utf-8")) == run.json
    return {one["task"]: one for one in run.json["models"]}


def test_training_a_challenger_leaves_the_champion_at_work(shop):
    assert champion(shop.home, "propensity").model_version == "propensity/1"
    assert challenger(shop.home, "propensity").model_version == "propensity/2"
    assert challenger(shop.home, "clv") is None


def test_every_model_that_has_both_is_compared_and_the_others_say_what_they_lack(compared):
    assert {task for task, one in compared.items() if "verdict" in one} == {"propensity", "tags-interest"}
    assert compared["clv"]["skipped"] == "clv has no challenger"
    assert [part["name"] for part in compared["propensity"]["parts"]] == ["72h", "7d"]


def test_rows_are_later_than_what_either_was_calibrated_on_and_that_is_said(shop, compared):
    for one in compared.values():
        for part in one.get("parts", ()):
            assert part["rows_are"] == CERTIFYING
            first, last = (datetime.fromisoformat(part[name]) for name in ("first_day", "last_day"))
            hours = 168 if part["name"] == "7d" else 72
            assert last + timedelta(hours=hours) <= shop.as_of
            # calibrated up to 20 days before, a horizon longer than 72 h two further embargoes earlier
            assert first > shop.as_of - timedelta(days=20 + 2 * (hours - 72) / 24) + timedelta(hours=hours)


def scored_by_hand(shop, part, hours: int):
    """Outcomes from the events, and both models' probabilities from features of each midnight."""
    settings = load_settings(shop.home.root, clean_environ()).settings
    history = History(shop.known, settings.zone, settings.publication_lag)
    first, last = (datetime.fromisoformat(part[name]) for name in ("first_day", "last_day"))
    models = [
        PropensityModel(load_bundle(find_version(shop.home, "propensity", name).directory))
        for name in ("1", "2")
    ]
    wanted = list(dict.fromkeys(name for model in models for name in features_read(model.bundle)))
    active = shop.known.filter(pl.col("event_type") != "contact")
    seen, said = [], [[], []]
    step = timedelta(days=2)
    for day in (first + step * number for number in range((last - first) // step + 1)):
        since = pl.col("event_time") > day - timedelta(days=30)
        lately = active.filter(since & (pl.col("event_time") <= day))["customer_id"].unique().sort()
        later = (pl.col("event_time") > day) & (pl.col("event_time") <= day + timedelta(hours=hours))
        buyers = set(shop.known.filter(later & (pl.col("event_type") == "purchase"))["customer_id"])
        numbers = history.numbers(lately.to_list())
        at = np.full(len(numbers), to_us(day))
        columns = customer.CATALOGUE.compute(history.customer_rows(numbers, at), wanted)
        seen += [name in buyers for name in lately]
        for model, found in zip(models, said, strict=True):
            found += model.score(columns)[part["name"]].tolist()
    return np.array(seen), np.array(said[0]), np.array(said[1])


def test_figures_are_those_of_a_second_derivation(shop, compared):
    part = compared["propensity"]["parts"][0]
    seen, first, second = scored_by_hand(shop, part, 72)
    assert part["rows"] == len(seen)
    figures = part["figures"]
    assert figures["72h.auc"]["first"] == pytest.approx(roc_auc_score(seen, first))
    assert figures["72h.auc"]["second"] == pytest.approx(roc_auc_score(seen, second))
    assert figures["72h.brier"]["second"] == pytest.approx(brier_score_loss(seen, second))
    assert figures["72h.ece"]["first"] == pytest.approx(metrics.ece(seen, first))
    gain = figures["72h.auc"]["second"] - figures["72h.auc"]["first"]
    assert figures["72h.auc"]["difference"] == pytest.approx(gain)
    assert figures["72h.auc"]["low"] <= gain <= figures["72h.auc"]["high"]


def test_tags_are_compared_by_what_they_would_have_given_out(compared):
    (part,) = compared["tags-interest"]["parts"]
    given = [part["further"][side]["n_assigned"] for side in ("first", "second")]
    assert min(given) > 0
    assert given[0] != given[1]
    for name in ("precision_observed", "precision_strict", "useful_tags_per_customer_day"):
        one = part["figures"][name]
        assert one["low"] <= one["difference"] <= one["high"]
    assert part["figures"]["precision_observed"]["first"] >= part["figures"]["precision_strict"]["first"]
    assert compared["tags-interest"]["verdict"].count("tags-interest/2") == 1


def test_pictures_lie_in_the_homes_reports(shop, compared):
    folder = shop.home.reports / "compare" / "propensity-1-2"
    names = compared["propensity"]["plots"]
    assert names == ["differences.png", "reliability.png", "ranking.png"]
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in names)
    kept = json.loads((folder / "comparison.json").read_text("utf-8"))
    assert kept["verdict"] == compared["propensity"]["verdict"]


def test_versions_by_number_the_other_way_round_mirror_the_difference(shop, compared):
    run = shop.run("compare", "propensity/2", "1", "--json")
    (one,) = run.json["models"]
    for part, other in zip(one["parts"], compared["propensity"]["parts"], strict=True):
        for name, figure in part["figures"].items():
            straight = other["figures"][name]
            assert (figure["first"], figure["second"]) == (straight["second"], straight["first"])
            assert figure["low"] == pytest.approx(-straight["high"])
            assert figure["high"] == pytest.approx(-straight["low"])


def test_values_are_compared_with_what_was_spent_since(shop):
    run = shop.run("compare", "2", "3", "--task", "clv", "--json")
    assert run.code == 0, run.err
    (part,) = run.json["models"][0]["parts"]
    assert part["rows_are"].startswith(AFTER_BOTH)
    assert "35 of 90 days are over" in part["rows_are"]
    at = datetime.fromisoformat(part["first_day"])
    bought = pl.col("event_type") == "purchase"
    then = shop.known.filter(bought & (pl.col("event_time") <= at))["customer_id"].unique().sort()
    after = (pl.col("event_time") > at) & (pl.col("event_time") <= at + timedelta(days=35))
    paid = shop.known.filter(bought & after).group_by("customer_id").agg(pl.col("amount_minor").sum())
    actual = (
        then.to_frame()
        .join(paid, on="customer_id", how="left")
        .sort("customer_id")["amount_minor"]
        .fill_null(0)
    )
    model = load_models(load_bundle(find_version(shop.home, "clv", "2").directory), threads=1).models[0]
    settings = load_settings(shop.home.root, clean_environ()).settings
    history = History(shop.known, settings.zone, settings.publication_lag)
    rows = history.customer_rows(history.numbers(then.to_list()), np.full(len(then), to_us(at)))
    columns = customer.CATALOGUE.compute(rows, model.inputs)
    predicted = model.predict(ClvInputs.of(columns, model.inputs)).expected_minor * 35 / 90
    assert part["rows"] == len(then)
    assert part["figures"]["bias"]["first"] == pytest.approx(metrics.bias(actual, predicted))
    gini = metrics.normalized_gini(actual, predicted)
    assert part["figures"]["normalized_gini"]["first"] == pytest.approx(gini)


def test_values_need_a_month_after_both(shop):
    run = shop.run("compare", "1", "2", "--task", "clv")
    assert run.code == 2
    assert "0 days of spend are known after both were trained" in run.err
    assert "expected 30" in run.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["1", "champion", "--task", "propensity"], "propensity/1 is one model, not two"),
        (["1", "9", "--task", "propensity"], "propensity has no version 9: registered are 1, 2"),
        (["1", "latest", "--task", "clv"], "clv has no version 'latest': expected champion, challenger"),
        (["clv/1", "propensity/2"], "cannot compare models of clv and propensity"),
        (["1", "2", "--task", "propensty"], "did you mean 'propensity'"),
        (["champion", "challenger", "--task", "clv"], "clv has no challenger"),
        (["1", "2", "--task", "propensity", "--as-of", "2024-05-25"], "was trained as of 2024-05-31"),
        (["/1", "2"], "cannot compare '/1'"),
    ],
)
def test_what_cannot_be_compared_says_why(shop, arguments, said):
    run = shop.run("compare", *arguments)
    assert run.code == 2
    assert said in run.err


def test_before_any_training_the_step_is_named(home):
    from pipelines.compare import Asked, compare
    from pipelines.errors import MissingStepError

    settings = load_settings(home.root, {}).settings
    with pytest.raises(MissingStepError, match="no trained model"):
        compare(home, settings, Asked(), datetime.fromisoformat("2024-05-31T00:00+00:00"), print)


def test_the_table_says_rows_verdict_and_where_the_pictures_are(shop):
    shown = shop.run("compare", "champion", "challenger", "--task", "tags-interest").out
    assert "useful_tags_per_customer_day" in shown
    assert "tags-interest/2" in shown
    assert "Pictures:" in shown
    assert max(len(line) for line in shown.splitlines() if "Pictures" not in line) <= 80
