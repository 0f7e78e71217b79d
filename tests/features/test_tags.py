from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.errors import ConfigError
from features.errors import TagCatalogueError
from features.events import EVENT_TYPES
from features.feast_objects import SERVICES
from features.tags import carried_by, load_catalogue
from features.windows import DAY_90, DAY_US, HOUR_72
from tests.features.streams import START, event, frame

LATELY = {"any_of": ["view", "add_to_cart", "purchase"], "within_hours": 72}
ATTENTION = ["view", "add_to_cart", "purchase"]


def declared(**changes: Any) -> dict[str, Any]:
    family = {
        "family": "interest",
        "key": "category",
        "meaning": "will look at or buy this category",
        "candidate": {"any_of": ATTENTION, "within_hours": 72, "or_repeat_within_days": 90},
        "confirmed_by": {"any_of": ATTENTION, "same_key": True},
        "observed_if": {"any_of": ATTENTION},
        "life_hours": 72,
        "contract": {"precision": 0.8, "lift": 2, "confidence": 0.9, "slack": 0.05, "min_support": 50},
    }
    for path, value in changes.items():
        place: Any = family
        *parents, last = path.split("__")
        for name in parents:
            place = place[name]
        place[last] = value
    return family


def catalogue_file(tmp_path: Path, *families: Any) -> Path:
    path = tmp_path / "tags.yaml"
    path.write_text(yaml.safe_dump({"families": list(families)}), encoding="utf-8")
    return path


def test_the_shipped_catalogue_has_the_families_it_is_known_for() -> None:
    catalogue = load_catalogue()
    assert {name: family.key for name, family in catalogue.items()} == {
        "interest": "category",
        "brand_preference": "brand",
        "high_intent": None,
        "replenishment": "category",
        "cart_abandoner": None,
        "browsing_no_order": None,
        "slipping_away": None,
        "deal_seeker": None,
    }
    for family in catalogue.values():
        assert family.life_hours <= 72
        assert family.confirmed_by.within_hours <= family.life_hours
        assert family.contract.precision >= 0.8
        assert family.contract.lift == (1.2 if family.key is None else 2.0)
        assert family.service in SERVICES


@pytest.mark.parametrize(
    ("present", "missing"),
    [
        ({"contact"}, {"replenishment": ("purchase",), "slipping_away": ("purchase",)}),
        ({"purchase", "view"}, {"cart_abandoner": ("add_to_cart",)}),
        ({"purchase", "coupon"}, {"browsing_no_order": ("view", "search")}),
        ({"view", "add_to_cart"}, {"cart_abandoner": ("purchase",), "browsing_no_order": ("purchase",)}),
        ({"purchase", "amount_minor"}, {"deal_seeker": ("coupon_minor", "discount_minor")}),
        (
            {"purchase", "search", "add_to_cart", "discount_minor"},
            dict.fromkeys(load_catalogue(), ()),
        ),
    ],
)
def test_a_family_says_which_event_or_column_it_misses(
    present: set[str], missing: dict[str, tuple[str, ...]]
) -> None:
    catalogue = load_catalogue()
    assert {name: catalogue[name].missing_types(present) for name in missing} == missing


def test_what_the_data_carries_is_its_event_types_and_the_columns_that_say_something() -> None:
    nothing = {"amount_minor": None, "discount_minor": 0, "coupon_minor": None}
    rows = [
        event(0, "a", "purchase", START, timedelta(0), category="tea", **nothing),
        event(1, "a", "refund", START, timedelta(0), **nothing | {"amount_minor": 3}),
    ]
    assert carried_by(frame(rows)) == {"purchase", "refund", "quantity", "amount_minor", "category"}
    assert carried_by(frame([])) == set()


def test_a_family_of_ones_own_reads_the_features_of_its_kind(tmp_path: Path) -> None:
    path = catalogue_file(
        tmp_path,
        declared(family="mine"),
        declared(family="my_brands", key="brand"),
        declared(family="intent", key=None, candidate=LATELY, confirmed_by={"any_of": ["view"]}),
    )
    families = load_catalogue(path)
    assert [one.service for one in families.values()] == [
        "interest_v1",
        "brand_preference_v1",
        "propensity_v1",
    ]
    assert load_catalogue()["high_intent"].service == "high_intent_v1"


def test_a_family_declared_in_a_file_of_ones_own_is_read_with_its_defaults(tmp_path: Path) -> None:
    family = load_catalogue(catalogue_file(tmp_path, declared()))["interest"]
    assert (family.confirmed_by.within_hours, family.confirmed_by.not_before_minutes) == (72, 0)
    assert family.confirmed_by.same_key
    assert family.tag_id("tea/green") == "interest:tea/green"
    rule = family.candidate.rule
    assert (rule.within, rule.repeat_within) == (HOUR_72, DAY_90)
    assert rule.repeat_within is not None
    assert rule.repeat_within.length_us == 90 * DAY_US


def test_a_family_without_a_key_has_one_tag(tmp_path: Path) -> None:
    intent = declared(
        family="intent",
        key=None,
        candidate=LATELY,
        confirmed_by={"any_of": ["purchase"]},
        observed_if="always",
    )
    family = load_catalogue(catalogue_file(tmp_path, intent))["intent"]
    assert family.tag_id(None) == "intent"
    assert family.observed_if == "always"


@pytest.mark.parametrize(
    ("present", "missing"),
    [(set(EVENT_TYPES), ()), ({"view"}, ()), ({"contact"}, tuple(ATTENTION)), (set(), tuple(ATTENTION))],
)
def test_a_family_can_run_where_any_event_that_confirms_it_occurs(
    present: set[str], missing: tuple[str, ...], tmp_path: Path
) -> None:
    family = load_catalogue(catalogue_file(tmp_path, declared()))["interest"]
    assert family.missing_types(present) == missing


def test_a_family_confirmed_by_silence_needs_the_event_that_would_break_it(tmp_path: Path) -> None:
    quiet = declared(key=None, candidate=LATELY, confirmed_by={"none_of": ["refund"]}, observed_if="always")
    family = load_catalogue(catalogue_file(tmp_path, quiet))["interest"]
    assert family.missing_types({"purchase"}) == ("refund",)
    assert family.missing_types({"purchase", "refund"}) == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"confirmed_by__any_of": ["veiw"]}, ["confirmed_by.any_of", "'veiw'", "did you mean 'view'"]),
        ({"candidate__any_of": ["buy"]}, ["candidate.any_of", "'buy'", "expected one of view, search"]),
        ({"candidate__any_of": []}, ["candidate", "any_of and within_hours belong together"]),
        ({"candidate": {"seen_within_days": 30}}, ["candidate", "needs any_of or orders_at_least"]),
        ({"candidate": {"orders_at_least": 3}}, ["orders_at_least and overdue_ratio belong together"]),
        (
            {"candidate": {"orders_at_least": 1, "overdue_ratio": 1}},
            ["candidate.orders_at_least is 1", "equal to 2"],
        ),
        (
            {"candidate": {"orders_at_least": 3, "overdue_ratio": 0}},
            ["candidate.overdue_ratio is 0", "greater than 0"],
        ),
        (
            {"candidate": {"orders_at_least": 3, "overdue_ratio": 1, "none_since": ["purchase"]}},
            ["none_since needs any_of"],
        ),
        ({"candidate__ahead_hours": 72}, ["ahead_hours needs orders_at_least"]),
        (
            {"key": None, "confirmed_by": {"any_of": ["view"]}},
            ["or_repeat_within_days and ahead_hours need a key"],
        ),
        ({"candidate__none_since": ["purchase"]}, ["none_since is about a customer alone"]),
        ({"candidate__none_since": ["buy"]}, ["candidate.none_since", "'buy'"]),
        ({"candidate__seen_within_days": 7}, ["candidate.seen_within_days is 7", "3 or 30"]),
        (
            {"candidate__orders_at_least": 3, "candidate__overdue_ratio": 1.0},
            ["with a key candidate has any_of or orders_at_least"],
        ),
        ({"candidate__order_at_least": 3}, ["candidate.order_at_least", "did you mean 'orders_at_least'"]),
        ({"candidate__any_of": ["view"]}, ["candidate.any_of is ['view']", "with a key it is", "purchase"]),
        ({"candidate__within_hours": 71}, ["candidate.within_hours is 71", "1, 6, 24 or 72"]),
        ({"candidate__or_repeat_within_days": 30}, ["candidate.or_repeat_within_days is 30", "90"]),
        ({"candidate__or_repeat_within_days": None}, ["or_repeat_within_days is required", "expected 90"]),
        ({"confirmed_by": {"same_key": True}}, ["confirmed_by", "needs any_of, none_of or next"]),
        ({"confirmed_by__next": "purchase"}, ["confirmed_by", "next decides alone"]),
        ({"confirmed_by": {"next": "buy"}}, ["confirmed_by.next", "'buy'", "expected one of view"]),
        ({"confirmed_by": {"next": "purchase"}}, ["confirmed_by", "next needs a where"]),
        (
            {"confirmed_by": {"next": "purchase", "where": "coupon_minor > 0"}},
            ["observed_if", "any_of: [purchase]", "within_hours"],
        ),
        (
            {"confirmed_by__where": "cupon_minor > 0"},
            ["confirmed_by.where is 'cupon_minor > 0'", "did you mean 'coupon_minor'"],
        ),
        ({"confirmed_by__where": "coupon_minor => 0"}, ["confirmed_by.where", "cannot be read"]),
        (
            {"observed_if": {"next": "view", "where": "quantity > 1"}},
            ["observed_if.next: expected any_of"],
        ),
        ({"confirmed_by__within_hours": 73}, ["confirmed_by.within_hours is 73", "equal to 72"]),
        ({"confirmed_by__not_before_minutes": -1}, ["confirmed_by.not_before_minutes is -1", "equal to 0"]),
        (
            {"confirmed_by__within_hours": 1, "confirmed_by__not_before_minutes": 60},
            ["confirmed_by", "not_before_minutes 60", "within_hours 1", "less than 60"],
        ),
        ({"confirmed_by__same_kye": True}, ["confirmed_by.same_kye is True", "did you mean 'same_key'"]),
        ({"observed_if": "sometimes"}, ["observed_if", "'sometimes'"]),
        ({"key": "shop"}, ["key is 'shop'", "'category' or 'brand'"]),
        ({"key": None}, ["confirmed_by.same_key needs a key"]),
        (
            {
                "key": None,
                "confirmed_by": {"any_of": ["view"]},
                "observed_if": {"any_of": ["view"], "same_key": True},
            },
            ["observed_if.same_key needs a key"],
        ),
        ({"life_hours": 73}, ["life_hours is 73", "equal to 72"]),
        ({"life_hours": 0}, ["life_hours is 0", "equal to 1"]),
        ({"contract__precision": 1.0}, ["contract.precision is 1.0", "less than 1"]),
        ({"contract__lift": 0.9}, ["contract.lift is 0.9", "equal to 1"]),
        ({"contract__confidence": 0.5}, ["contract.confidence is 0.5", "greater than 0.5"]),
        ({"contract__min_support": 0}, ["contract.min_support is 0", "equal to 1"]),
        ({"lifehours": 3}, ["lifehours is 3", "did you mean 'life_hours'"]),
    ],
)
def test_a_wrong_declaration_is_told_by_family_field_and_value(
    changes: dict[str, Any], said: list[str], tmp_path: Path
) -> None:
    path = catalogue_file(tmp_path, declared(family="good"), declared(**changes))
    with pytest.raises(TagCatalogueError) as caught:
        load_catalogue(path)
    for part in (str(path), "family 'interest'", *said):
        assert part in caught.value.message
    assert "\n" not in caught.value.message


def test_a_name_that_is_none_and_a_name_that_is_taken_are_told(tmp_path: Path) -> None:
    with pytest.raises(TagCatalogueError, match="family 'My Tags': family is 'My Tags'"):
        load_catalogue(catalogue_file(tmp_path, declared(family="My Tags")))
    with pytest.raises(TagCatalogueError, match="family 'interest' is declared twice"):
        load_catalogue(catalogue_file(tmp_path, declared(), declared()))


@pytest.mark.parametrize("content", ["families: 3", "families: [3]", "famlies: []", "{}"])
def test_a_file_of_another_shape_is_told(content: str, tmp_path: Path) -> None:
    path = tmp_path / "tags.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(TagCatalogueError, match="fam"):
        load_catalogue(path)


def test_a_file_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tag catalogue not found"):
        load_catalogue(tmp_path / "none.yaml")
