from __future__ import annotations

from typing import Literal

import pytest

from features import affinity, customer
from features.definitions import EVERY_SERVICE, FeatureDefinition
from features.feast_objects import SERVICES
from training.artifact import Bundle
from training.errors import BundleError
from training.model_inputs import (
    customer_inputs,
    dtypes_of,
    every_feature,
    features_read,
    pair_inputs,
    require_features,
    service_of,
)
from training.tag_model import KEY

TASKS = (
    "propensity",
    "clv",
    "tags-high_intent",
    "tags-deal_seeker",
    "tags-interest",
    "tags-brand_preference",
)


def defined(name: str, dtype: Literal["int", "float"]) -> FeatureDefinition:
    return FeatureDefinition(name, dtype, "things", "", "What it says.", "", EVERY_SERVICE, name)


KNOWN = {
    one.name: one
    for one in (defined("weekday", "int"), defined("spend_30d_minor", "int"), defined("gap", "float"))
}


def bundle(*names: str, **dtypes: str) -> Bundle:
    return Bundle("tags-interest", "2017-10-31", {"tag": "tree"}, {"tag": list(names)}, dtypes=dtypes)


def test_every_task_reads_features_of_its_service_and_every_service_is_some_tasks() -> None:
    assert {service_of(task) for task in TASKS} == set(EVERY_SERVICE) <= set(SERVICES)
    for task in TASKS:
        assert customer_inputs(task) == customer.CATALOGUE.names(service_of(task))
        assert len(customer_inputs(task)) > 10
        assert bool(pair_inputs(task)) == (task in ("tags-interest", "tags-brand_preference"))


def test_the_two_catalogues_share_no_name() -> None:
    assert len(every_feature()) == len(customer.catalogue()) + len(affinity.catalogue())


def test_a_bundle_reads_each_feature_once_and_the_key_is_none() -> None:
    twice = Bundle("a", "2017", {}, {"tag": ["weekday", KEY, "gap"], "observed": ["gap", "weekday"]})
    assert features_read(twice) == ["weekday", "gap"]
    assert dtypes_of(["weekday", "hour_of_day", KEY]) == {"weekday": "int", "hour_of_day": "float"}


def test_a_bundle_whose_features_are_all_there_is_taken() -> None:
    require_features(bundle("gap", "weekday", KEY, gap="float", weekday="int"), KNOWN)
    require_features(bundle("gap"), KNOWN)
    require_features(bundle(*customer_inputs("propensity"), **dtypes_of(customer_inputs("propensity"))))


def test_every_feature_that_is_missing_or_of_another_type_is_named_with_what_to_do() -> None:
    old = bundle("weekdya", "gap", "spend_30d_minor", "moon_phase", gap="int", spend_30d_minor="int")
    with pytest.raises(BundleError) as caught:
        require_features(old, KNOWN)
    assert caught.value.message == (
        "bundle tags-interest of 2017-10-31 reads features that are not as it learnt them: "
        "'weekdya' does not exist (did you mean 'weekday'?); 'gap' is float, was int; "
        "'moon_phase' does not exist"
    )
    assert caught.value.next_step == (
        "run `tagtide train` and `tagtide promote`, or the version of Tagtide that trained it"
    )
