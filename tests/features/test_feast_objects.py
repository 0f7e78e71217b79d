from __future__ import annotations

from pathlib import Path

import pytest

from configs.home import open_home
from features import affinity, customer
from features.definitions import EVERY_SERVICE, FeatureDefinition
from features.errors import FeatureStoreError
from features.feast_objects import (
    BRAND_SNAPSHOT,
    CATEGORY_SNAPSHOT,
    CUSTOMER_SNAPSHOT,
    SERVICES,
    VIEWS,
    feature_services,
    feature_views,
)

Reads = dict[str, dict[str, list[str]]]


def read(tmp_path: Path, customers: list[FeatureDefinition], pairs: list[FeatureDefinition]) -> Reads:
    """Return per feature service and view what is read of it."""
    views = feature_views(open_home(tmp_path / "home", create=True), customers, pairs)
    return {
        service.name: {
            view.name: [field.name for field in view.features] for view in service.feature_view_projections
        }
        for service in feature_services(views, customers, pairs)
    }


def made(name: str, *services: str) -> FeatureDefinition:
    return FeatureDefinition(name, "float", "things", "", "What it says.", "never", services, name)


def test_each_service_reads_of_its_views_the_features_that_name_it(tmp_path: Path) -> None:
    found = read(tmp_path, customer.catalogue(), affinity.catalogue())
    assert found.keys() == SERVICES.keys() >= set(EVERY_SERVICE)
    for service, views in SERVICES.items():
        assert tuple(found[service]) == views
        for view, names in found[service].items():
            catalogue = customer.CATALOGUE if view == CUSTOMER_SNAPSHOT else affinity.CATALOGUE
            assert names == [*catalogue.names(service), VIEWS[view].instant_feature]


def test_a_view_has_the_features_that_some_service_reads(tmp_path: Path) -> None:
    pairs = [made("b", "interest_v1"), made("c")]
    home = open_home(tmp_path / "home", create=True)
    views = feature_views(home, [made("a", "clv_v1", "interest_v1"), made("quiet")], pairs)
    fields = {name: [field.name for field in view.features] for name, view in views.items()}
    assert fields[CUSTOMER_SNAPSHOT] == ["a", "customer_snapshot_us"]
    assert fields[CATEGORY_SNAPSHOT] == ["b", "category_snapshot_us"]
    assert fields[BRAND_SNAPSHOT] == ["b", "brand_snapshot_us"]


def test_a_service_that_nothing_names_reads_no_feature(tmp_path: Path) -> None:
    found = read(tmp_path, [made("a", "clv_v1")], [made("b", "interest_v1")])
    assert found["clv_v1"] == {CUSTOMER_SNAPSHOT: ["a", "customer_snapshot_us"]}
    assert found["propensity_v1"] == {CUSTOMER_SNAPSHOT: ["customer_snapshot_us"]}
    assert found["interest_v1"] == {
        CUSTOMER_SNAPSHOT: ["customer_snapshot_us"],
        CATEGORY_SNAPSHOT: ["b", "category_snapshot_us"],
    }


def test_a_service_that_there_is_not_is_named_with_the_feature(tmp_path: Path) -> None:
    with pytest.raises(
        FeatureStoreError,
        match=r"feature 'a' is for feature service 'clv_v2' \(did you mean 'clv_v1'\?\); expected some of",
    ):
        read(tmp_path, [made("a", "clv_v2")], [])


def test_a_feature_of_pairs_is_of_no_use_to_a_model_of_customers(tmp_path: Path) -> None:
    with pytest.raises(
        FeatureStoreError, match="feature 'b' is for feature service 'clv_v1', which joins only customer_snap"
    ) as caught:
        read(tmp_path, [], [made("b", "clv_v1")])
    assert "the other catalogue" in caught.value.next_step
