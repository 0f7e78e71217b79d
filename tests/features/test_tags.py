from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.errors import ConfigError
from features.errors import TagCatalogueError
from features.events import EVENT_TYPES
from features.tags import load_catalogue
from features.windows import DAY_90, DAY_US, HOUR_72

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


def test_the_shipped_catalogue_has_the_three_families() -> None:
    catalogue = load_catalogue()
    assert {name: family.key for name, family in catalogue.items()} == {
        "interest": "category",
        "brand_preference": "brand",
        "high_intent": None,
    }
    for family in catalogue.values():
        assert family.life_hours <= 72
        assert family.confirmed_by.within_hours <= family.life_hours
        assert family.contract.precision >= 0.8


def test_a_family_declared_in_a_file_of_ones_own_is_read_with_its_defaults(tmp_path: Path) -> None:
    family = load_catalogue(catalogue_file(tmp_path, declared()))["interest"]
    assert (family.confirmed_by.within_hours, family.confirmed_by.not_before_minutes) == (72, 0)
    assert family.confirmed_by.same_key
    assert family.tag_id("tea/green") == "interest:tea/green"
    rule = family.candidate.rule
    assert (rule.within, rule.repeat_within) == (HOUR_72, DAY_90)
    assert rule.repeat_within.length_us == 90 * DAY_US


def test_a_family_without_a_key_has_one_tag(tmp_path: Path) -> None:
    intent = declared(family="intent", key=None, confirmed_by={"any_of": ["purchase"]}, observed_if="always")
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
    quiet = declared(key=None, confirmed_by={"none_of": ["refund"]}, observed_if="always")
    family = load_catalogue(catalogue_file(tmp_path, quiet))["interest"]
    assert family.missing_types({"purchase"}) == ("refund",)
    assert family.missing_types({"refund"}) == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"confirmed_by__any_of": ["veiw"]}, ["confirmed_by.any_of", "'veiw'", "did you mean 'view'"]),
        ({"candidate__any_of": ["buy"]}, ["candidate.any_of", "'buy'", "expected one of view, search"]),
        ({"candidate__any_of": []}, ["candidate.any_of", "[]", "at least 1 item"]),
        ({"candidate__any_of": ["view"]}, ["candidate.any_of is ['view']", "with a key it is", "purchase"]),
        ({"candidate__within_hours": 71}, ["candidate.within_hours is 71", "1, 6, 24 or 72"]),
        ({"candidate__or_repeat_within_days": 30}, ["candidate.or_repeat_within_days is 30", "90"]),
        ({"candidate__or_repeat_within_days": None}, ["or_repeat_within_days is required", "expected 90"]),
        ({"confirmed_by": {"same_key": True}}, ["confirmed_by", "needs any_of or none_of"]),
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
