"""What the service says of everybody equals what training would compute of them, cell by cell."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from features import affinity, customer
from features.candidates import seen_within
from features.history import History
from features.packed_store import open_packed_store
from features.tags import load_catalogue
from features.windows import HOUR_US, to_us
from serving.bundle_watch import POINTER, BundleWatch
from serving.scorer import BundleScorer, _row_hashes, load_scorer
from serving.upkeep import BOUNDARY_MARK
from training.artifact import load_bundle, save_bundle
from training.clv_bundle import load_models
from training.clv_inputs import ClvInputs
from training.errors import BundleError
from training.model_inputs import every_feature
from training.propensity import PropensityModel
from training.publication import published
from training.reasons import REASONS
from training.segments import SegmentModel
from training.stages import STAGE_FEATURES
from training.tag_model import KEY, TagModel

HOURS = (0, 1, 11, 24)
"""How long after the last event everybody is scored; the profiles stay those published."""


class Bulk:
    """Everybody at one instant, by the path that training takes."""

    def __init__(self, shop, now_us):
        self.history = History(shop.known, shop.settings.zone, shop.settings.publication_lag)
        self.names = list(self.history.columns.customers)
        count = len(self.names)
        self.rows = self.history.customer_rows(np.arange(count), np.full(count, now_us))
        self.columns = customer.CATALOGUE.compute(self.rows)


@pytest.fixture(scope="module")
def store(small_shop):
    opened = open_packed_store(small_shop.home, small_shop.settings)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def bundles(small_shop):
    return {task: load_bundle(one.directory) for task, one in published(small_shop.home).items()}


@pytest.fixture(scope="module")
def scorer(small_shop, store, bundles):
    return BundleScorer(store, small_shop.settings, bundles, dict.fromkeys(bundles, "v"))


@pytest.fixture(scope="module")
def now_us(small_shop):
    return to_us(small_shop.as_of)


def scored(scorer, names, now_us, *, with_tags=True, with_reasons=False):
    return scorer.score_many(names, now_us, with_tags=with_tags, with_reasons=with_reasons)


def within_the_day(small_shop, store, now_us):
    """Instants whose latest published boundary is the one the profiles are of."""
    boundary = store.mark(BOUNDARY_MARK)
    history = History(small_shop.known, small_shop.settings.zone, small_shop.settings.publication_lag)
    instants = [now_us + hours * HOUR_US for hours in HOURS]
    return [at for at in instants if int(history.boundary(np.array([at]))[0]) == boundary]


def test_no_feature_of_any_customer_differs_from_the_bulk_path(small_shop, store, scorer, now_us):
    instants = within_the_day(small_shop, store, now_us)
    assert len(instants) >= 2
    for at in instants:
        bulk = Bulk(small_shop, at)
        assert len(bulk.names) == 160
        read = {name: bulk.columns[name] for name in scorer.customer_features}
        expected = dict(zip(bulk.names, _row_hashes(read, len(bulk.names)), strict=True))
        online = scored(scorer, bulk.names, at)
        assert {name: one.features_hash for name, one in online.items()} == expected


def test_propensity_value_and_stage_are_those_of_the_bulk_path(small_shop, scorer, bundles, now_us):
    bulk = Bulk(small_shop, now_us)
    online = scored(scorer, bulk.names, now_us)
    purchase = PropensityModel(bundles["propensity"]).score(bulk.columns)
    horizons = load_models(bundles["clv"], threads=1)
    value = horizons.predict(ClvInputs.of(bulk.columns, horizons.inputs))[90]
    for row, name in enumerate(bulk.names):
        one = online[name]
        assert one.status == "ok"
        assert dict(one.propensity) == {horizon: found[row] for horizon, found in purchase.items()}
        assert one.propensity["72h"] <= one.propensity["7d"]
        assert one.clv["expected_minor"] == round(value.expected_minor[row])
        assert one.clv["low_minor"] <= one.clv["expected_minor"] <= one.clv["high_minor"]
        parts = one.clv["purchase_minor"] + one.clv["interaction_minor"] + one.clv["referral_minor"]
        assert parts == pytest.approx(one.clv["expected_minor"], abs=2)


def test_a_third_horizon_is_served_never_below_the_shorter_ones(small_shop, store, bundles, now_us):
    bundle = bundles["propensity"]
    content = bundle.content
    longer = replace(
        bundle,
        models={**bundle.models, "30d": bundle.models["72h"]},
        features={**bundle.features, "30d": bundle.features["72h"]},
        calibrators={**bundle.calibrators, "30d": bundle.calibrators["72h"]},
        content={
            **content,
            "horizons_hours": {**content["horizons_hours"], "30d": 720},
            "blends": {**content["blends"], "30d": content["blends"]["72h"]},
            "priors": {**content["priors"], "30d": 0.9},
            "population": {**content["population"], "30d": 0.95},
        },
    )
    scorer = BundleScorer(store, small_shop.settings, {"propensity": longer}, {"propensity": "v"})
    names = sorted(small_shop.known["customer_id"].unique())
    found = scored(scorer, [*names, "a stranger"], now_us, with_tags=False)
    for name in names:
        said = found[name].propensity
        # The shortest horizon's model put in the longest one's place would say less than 7 days do.
        assert said["72h"] <= said["7d"] == said["30d"]
    assert found["a stranger"].status == "cold_start"
    assert dict(found["a stranger"].propensity) == {**content["priors"], "30d": 0.9}


def test_further_horizons_of_value_stand_beside_the_default_one(small_shop, store, bundles, now_us):
    bundle = bundles["clv"]
    longer = bundle.content["horizons"]["90"]
    longer = longer | {"horizon_days": 183, "factor": 1.5 * longer["factor"]}
    both = replace(
        bundle,
        models=dict(bundle.models) | {f"{role}_183": text for role, text in bundle.models.items()},
        content=dict(bundle.content) | {"horizons": {**bundle.content["horizons"], "183": longer}},
    )
    bulk, horizons = Bulk(small_shop, now_us), load_models(both, threads=1)
    value = horizons.predict(ClvInputs.of(bulk.columns, horizons.inputs))[183]
    names = sorted(small_shop.known["customer_id"].unique())[:30]
    alone = scored(BundleScorer(store, small_shop.settings, {"clv": bundle}, {}), names, now_us)
    beside = scored(BundleScorer(store, small_shop.settings, {"clv": both}, {}), names, now_us)
    for name in names:
        if alone[name].clv is None:
            assert beside[name].clv is None
            continue
        assert "other_horizons" not in alone[name].clv
        default = dict(beside[name].clv)
        (other,) = default.pop("other_horizons")
        assert default == alone[name].clv
        assert other.keys() == default.keys()
        assert other["horizon_days"] == 183
        assert other["expected_minor"] == round(value.expected_minor[bulk.names.index(name)])
        for amount in ("expected_minor", "low_minor", "high_minor"):
            assert other[amount] >= default[amount]


def test_segment_and_static_tags_are_those_of_the_bulk_path(small_shop, scorer, bundles, now_us):
    bulk = Bulk(small_shop, now_us)
    model, cut_off = SegmentModel(bundles["segments"]), bundles["clv"].content["high_value_minor"]
    numbers = model.assign(bulk.columns)
    online = scored(scorer, bulk.names, now_us)
    high = 0
    for name, number in zip(bulk.names, numbers.tolist(), strict=True):
        one = online[name]
        assert one.segment == number
        expected = {f"stage:{one.life_cycle_stage}", f"segment:{number}"}
        if one.clv["expected_minor"] >= cut_off:
            expected.add("high_value")
            high += 1
        assert {tag.tag_id for tag in one.static_tags} == expected
        assert model.descriptions[number] in {tag.description for tag in one.static_tags}
    assert len(set(numbers)) > 2
    assert high / len(bulk.names) == pytest.approx(0.1, abs=0.03)


def test_every_candidate_tag_has_the_probability_of_the_bulk_path(small_shop, scorer, bundles, now_us):
    bulk = Bulk(small_shop, now_us)
    family = load_catalogue()["interest"]
    model = TagModel(bundles["tags-interest"], family)
    row, pair = bulk.history.candidate_pairs("category", bulk.rows, family.candidate.rule)
    lately = seen_within(bulk.rows, family.candidate.seen_within)[row]
    row, pair = row[lately], pair[lately]
    keys = bulk.history.key_texts("category", pair)
    pairs = affinity.CATALOGUE.compute(bulk.history.pair_rows("category", bulk.rows, row, pair))
    scores = model.score(pairs, bulk.columns, row, keys)
    given = model.given(scores)
    expected = {
        (bulk.names[row[place]], f"interest:{key}"): (
            scores.probability[place],
            scores.probability_if_observed[place],
            bool(given[place]),
        )
        for place, key in enumerate(keys)
    }
    online = {
        (name, tag.tag_id): (tag.probability, tag.probability_if_observed, tag.above)
        for name, one in scored(scorer, bulk.names, now_us).items()
        for tag in one.tags
        if tag.family == "interest"
    }
    assert online == expected
    assert len(expected) > 500
    assert 0 < sum(above for _, _, above in expected.values()) < len(expected)


def test_a_family_without_a_key_is_about_those_active_lately(small_shop, scorer, bundles, now_us):
    bulk = Bulk(small_shop, now_us)
    family = load_catalogue()["high_intent"]
    wanted = [f"seconds_since_last_{name}" for name in family.candidate.any_of]
    active = np.flatnonzero(np.fmin.reduce([bulk.columns[name] for name in wanted]) < 72 * 3600)
    scores = TagModel(bundles["tags-high_intent"], family).score({}, bulk.columns, active, [""] * len(active))
    online = {
        name: tag.probability
        for name, one in scored(scorer, bulk.names, now_us).items()
        for tag in one.tags
        if tag.tag_id == "high_intent"
    }
    expected = zip(active.tolist(), scores.probability.tolist(), strict=True)
    assert online == {bulk.names[row]: probability for row, probability in expected}
    assert 0 < len(online) < len(bulk.names)


def test_scores_do_not_depend_on_who_else_is_asked_about(small_shop, scorer, now_us):
    names = sorted(small_shop.known["customer_id"].unique())
    together = scored(scorer, names, now_us)
    for name in names[::16]:
        assert scored(scorer, [name], now_us)[name] == together[name]
    mixed = scored(scorer, ["nobody", *names[:5][::-1]], now_us)
    assert {name: mixed[name] for name in names[:5]} == {name: together[name] for name in names[:5]}


def test_of_a_stranger_the_population_is_told(scorer, bundles, now_us):
    one = scored(scorer, ["nobody"], now_us, with_reasons=True)["nobody"]
    assert (one.status, one.life_cycle_stage, one.clv, list(one.tags)) == ("cold_start", "new", None, [])
    assert (one.segment, list(one.static_tags)) == (None, [])
    assert dict(one.propensity) == bundles["propensity"].content["priors"]


def test_nobody_asked_about_is_nothing_said(scorer, now_us):
    assert scored(scorer, [], now_us) == {}


def test_profiles_older_than_72_hours_are_called_stale_and_tell_no_tags(small_shop, store, scorer, bundles):
    name = small_shop.known["customer_id"][0]
    boundary = store.mark(BOUNDARY_MARK)
    last_moment, stale = (
        scored(scorer, [name], boundary + 72 * HOUR_US - 1)[name],
        scored(scorer, [name], boundary + 73 * HOUR_US)[name],
    )
    assert last_moment.status == "ok"
    assert (stale.status, list(stale.tags), stale.clv) == ("stale_profile", [], None)
    assert dict(stale.propensity) == bundles["propensity"].content["population"]


def sigmoid(score):
    return 1 / (1 + np.exp(-score))


def assert_adds_up(one):
    told = one.to_json()
    total = told["base"] + sum(reason["contribution"] for reason in told["reasons"]) + told["rest"]
    assert total == pytest.approx(told["score"], rel=1e-9, abs=1e-9)
    assert len(told["reasons"]) <= REASONS
    assert told["words"]


def test_reasons_of_a_tag_are_what_its_model_adds_up(small_shop, scorer, bundles, now_us):
    bulk = Bulk(small_shop, now_us)
    family = load_catalogue()["interest"]
    model = TagModel(bundles["tags-interest"], family)
    seen, in_chinese = 0, 0
    for name, one in scored(scorer, bulk.names, now_us, with_reasons=True).items():
        row = bulk.names.index(name)
        for tag in one.tags:
            if not tag.above:
                assert tag.explanation is None
                continue
            assert_adds_up(tag.explanation)
            if tag.family != "interest":
                continue
            code = list(bulk.history.columns.texts("category")).index(tag.key)
            pair = bulk.history.pairs("category")[0].find(np.array([row]), np.array([code]))
            pairs = affinity.CATALOGUE.compute(
                bulk.history.pair_rows("category", bulk.rows, np.array([row]), pair)
            )
            names, contributions = model.contributions(pairs, bulk.columns, np.array([row]), [tag.key])
            raw = contributions[0].sum()
            assert tag.explanation.score == pytest.approx(raw, rel=1e-9)
            assert tag.explanation.base == contributions[0, -1]
            calibrated = model.bundle.calibrators["tag"](sigmoid(raw))
            assert float(calibrated) == pytest.approx(tag.probability_if_observed, abs=1e-9)
            definitions = every_feature()
            by_topic = {}
            for feature, added in zip(names, contributions[0, :-1].tolist(), strict=True):
                topic = definitions[feature].topic if feature != KEY else KEY
                by_topic.setdefault(topic, []).append((feature, added))
            sums = {topic: sum(added for _, added in told) for topic, told in by_topic.items()}
            strongest = sorted(sums.values(), key=abs, reverse=True)[:REASONS]
            told = tag.explanation.reasons
            assert [reason.contribution for reason in told] == pytest.approx(strongest, rel=1e-9)
            for reason in told:
                value = {**pairs, "key": [tag.key]}.get(reason.feature)
                value = bulk.columns[reason.feature][row] if value is None else value[0]
                if isinstance(value, str):
                    assert reason.value == value
                elif np.isnan(value):
                    assert reason.value is None
                else:
                    assert reason.value == pytest.approx(float(value), abs=1e-4)
            seen += 1
            in_chinese += tag.key == "牛奶" and any("牛奶" in reason.words for reason in told)
    assert seen > 40
    assert in_chinese > 3


def test_reasons_of_propensity_and_value_are_of_the_scores_they_explain(
    small_shop, store, scorer, bundles, now_us
):
    names = sorted(small_shop.known["customer_id"].unique())
    value = load_models(bundles["clv"], threads=1).models[0]
    told = scored(scorer, names, now_us, with_tags=False, with_reasons=True)
    plain = scored(scorer, names, now_us, with_tags=False)
    for name, one in told.items():
        assert plain[name].explanations == {}
        assert (plain[name].propensity, plain[name].clv) == (one.propensity, one.clv)
        floor = 0.0
        for horizon, why in one.explanations["propensity"].items():
            assert_adds_up(why)
            floor = max(floor, float(bundles["propensity"].calibrators[horizon](sigmoid(why.score))))
            assert one.propensity[horizon] == pytest.approx(floor, abs=1e-9)
        assert set(one.explanations["clv"]) == set(value.models())
        for why in one.explanations["clv"].values():
            assert_adds_up(why)
    money = BundleScorer(store, small_shop.settings, {"clv": bundles["clv"]}, {}, "GBP")
    words = [
        why.words
        for one in scored(money, names, now_us, with_reasons=True).values()
        for why in one.explanations["clv"].values()
    ]
    assert any(" GBP" in text for text in words)
    assert not any("minor" in text for text in words)


def test_of_a_stranger_nothing_is_explained(scorer, now_us):
    assert scored(scorer, ["nobody"], now_us, with_reasons=True)["nobody"].explanations == {}


def test_without_tags_only_they_and_the_name_of_their_inputs_are_missing(small_shop, scorer, now_us):
    name = small_shop.known["customer_id"][0]
    full, short = scored(scorer, [name], now_us)[name], scored(scorer, [name], now_us, with_tags=False)[name]
    assert list(short.tags) == []
    assert short.features_hash == ""
    assert replace(short, tags=full.tags, features_hash=full.features_hash) == full


def test_each_model_answers_without_the_others(small_shop, store, bundles, now_us):
    name = small_shop.known["customer_id"][0]
    for task in bundles:
        alone = BundleScorer(store, small_shop.settings, {task: bundles[task]}, {task: f"{task}/1"})
        one = scored(alone, [name], now_us)[name]
        assert (one.propensity != {}, one.clv is not None) == (task == "propensity", task == "clv")
        assert (one.segment is not None) == (task == "segments")
        assert {tag.family for tag in one.tags} <= {task.removeprefix("tags-")}
        assert dict(one.model_versions) == {task: f"{task}/1"}


def test_a_family_that_left_the_catalogue_is_not_scored(small_shop, store, bundles, now_us):
    gone = {"tags-bygone": bundles["tags-interest"]}
    name = small_shop.known["customer_id"][0]
    assert list(scored(BundleScorer(store, small_shop.settings, gone, {}), [name], now_us)[name].tags) == []


def test_only_what_the_models_look_at_is_computed(small_shop, store, bundles, scorer):
    known = {name for bundle in bundles.values() for names in bundle.features.values() for name in names}
    assert set(scorer.customer_features) >= set(STAGE_FEATURES)
    assert set(scorer.customer_features) <= known | set(STAGE_FEATURES) < set(every_feature()) | {KEY}
    alone = BundleScorer(store, small_shop.settings, {"clv": bundles["clv"]}, {})
    assert set(alone.customer_features) == set(bundles["clv"].features["amount"]) | set(STAGE_FEATURES)


@pytest.mark.parametrize("task", ["tags-interest", "tags-high_intent", "propensity", "clv", "segments"])
def test_a_model_that_reads_a_bygone_feature_is_refused_and_the_feature_named(
    small_shop, store, bundles, task
):
    bundle = bundles[task]
    added = {role: [*names, "spend_31d_minor"] for role, names in bundle.features.items()}
    with pytest.raises(BundleError, match=rf"bundle {task} of .*'spend_31d_minor' does not exist"):
        BundleScorer(store, small_shop.settings, bundles | {task: replace(bundle, features=added)}, {})


def test_a_running_service_keeps_the_old_models_when_new_ones_read_a_bygone_feature(
    small_shop, store, tmp_path
):
    shop = small_shop.copy(tmp_path)
    watch = BundleWatch(
        shop.home.bundles / POINTER,
        lambda named: load_scorer(shop.home, shop.settings, store, named),
    )
    assert watch.check()
    serving = watch.scorer
    old = load_bundle(published(shop.home)["clv"].directory)
    retyped = replace(old, dtypes=dict(old.dtypes) | {"order_count_lifetime": "float"})
    digest = save_bundle(shop.home.bundles / "newer", retyped)
    pointer = json.loads((shop.home.bundles / POINTER).read_text(encoding="utf-8"))
    pointer["clv"] |= {"path": "newer", "sha256": digest, "model_version": "clv/2"}
    (shop.home.bundles / POINTER).write_text(json.dumps(pointer), encoding="utf-8")
    assert not watch.check()
    assert watch.scorer is serving
    assert "'order_count_lifetime' is int, was float" in watch.problem
    assert "run `tagtide train` and `tagtide promote`" in watch.problem
    assert watch.versions["clv"] == "clv/1"


def test_threads_that_ask_at_once_get_the_same_answers(small_shop, store, bundles, now_us):
    fresh = BundleScorer(store, small_shop.settings, bundles, dict.fromkeys(bundles, "v"))
    names = sorted(small_shop.known["customer_id"].unique())[:40]
    alone = scored(
        BundleScorer(store, small_shop.settings, bundles, dict.fromkeys(bundles, "v")), names, now_us
    )
    chunks = [names[start : start + 8] for start in range(0, 40, 8)] * 4
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda chunk: scored(fresh, chunk, now_us), chunks):
            assert all(found[name] == alone[name] for name in found)


def test_the_pointer_says_what_is_loaded(small_shop, store, now_us):
    named = {
        task: {"path": one.directory.name, "model_version": one.model_version}
        for task, one in published(small_shop.home).items()
    }
    loaded = load_scorer(small_shop.home, small_shop.settings, store, named)
    name = small_shop.known["customer_id"][0]
    assert dict(scored(loaded, [name], now_us)[name].model_versions) == {
        task: f"{task}/1" for task in ("clv", "propensity", "segments", "tags-high_intent", "tags-interest")
    }
