"""The declaration of triggers: what is shipped, and what is wrong with a file."""

import pytest

from configs.errors import ConfigError
from configs.home import open_home
from serving.errors import TriggerError
from serving.triggers import load_triggers


@pytest.fixture
def home(tmp_path):
    return open_home(tmp_path / "home", create=True)


def declared(home, text):
    (home.root / "triggers.yaml").write_text(text, encoding="utf-8")
    return load_triggers(home)


def test_four_triggers_are_shipped(home):
    shipped = {one.name: one for one in load_triggers(home)}
    assert list(shipped) == [
        "cart_without_checkout",
        "browse_without_order",
        "high_intent_assigned",
        "slipping_away_assigned",
    ]
    assert shipped["cart_without_checkout"].on.wait_us == 30 * 60 * 1_000_000
    assert shipped["high_intent_assigned"].on.is_tag("high_intent")


def test_a_homes_own_file_replaces_them(home):
    assert declared(home, "triggers: []") == ()
    (one,) = declared(home, "triggers: [{trigger: rising, on: {propensity: 7d, above: 0.4}}]")
    assert (one.on.propensity, one.on.rearmed_below, one.postpone) == ("7d", 0.4, False)


def test_a_quoted_on_is_the_same_as_a_bare_one(home):
    bare = declared(home, "triggers: [{trigger: bought, on: {event: purchase}}]")
    assert declared(home, 'triggers: [{"trigger": "bought", "on": {event: purchase}}]') == bare


@pytest.mark.parametrize(
    ("tag", "tag_id", "is_it"),
    [
        ("interest", "interest:A/B 茶", True),
        ('"interest:A/B 茶"', "interest:A/B 茶", True),
        ('"interest:A"', "interest:A/B 茶", False),
        ("interest", "brand_preference:A", False),
        ("high_intent", "high_intent", True),
    ],
)
def test_a_tag_is_meant_by_its_family_or_its_id(home, tag, tag_id, is_it):
    (one,) = declared(home, f"triggers: [{{trigger: t, on: {{tag: {tag}}}}}]")
    assert one.on.is_tag(tag_id) is is_it


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trigers: []", "expected one list, triggers; got trigers"),
        ("", "expected one list, triggers; got nothing"),
        ("triggers: {}", "expected one list, triggers"),
        ("triggers: [{on: {event: view}}]", "trigger 1:.*'trigger'.*Field required"),
        ("triggers: [{trigger: a}]", "trigger 'a': field 'on'.*Field required"),
        ("triggers: [{trigger: a, on: {event: viw}}]", "'on.event' is 'viw': unknown event type.*view"),
        ("triggers: [{trigger: a, on: {tag: high_intnt}}]", "unknown tag family.*high_intent"),
        ('triggers: [{trigger: a, on: {tag: "high_intent:x"}}]', "have no key; expected 'high_intent'"),
        ("triggers: [{trigger: a, on: {propensity: 9d, above: 0.5}}]", "unknown horizon '9d'"),
        ("triggers: [{trigger: a, on: {propensity: 7d}}]", "propensity and above belong together"),
        ("triggers: [{trigger: a, on: {propensity: 7d, above: 1.5}}]", "'on.above' is 1.5: .*less than 1"),
        (
            "triggers: [{trigger: a, on: {propensity: 7d, above: 0.5, again_below: 0.6}}]",
            "again_below needs above, and may not exceed it",
        ),
        ("triggers: [{trigger: a, on: {event: view, tag: interest}}]", "one cause each: expected event"),
        ("triggers: [{trigger: a, on: {event: view, without: purchase}}]", "belong together"),
        ("triggers: [{trigger: a, on: {event: view, without: view, for_minutes: 5}}]", "of another type"),
        (
            "triggers: [{trigger: a, on: {event: view, without: purchase, for_minutes: 9999}}]",
            "'on.for_minutes' is 9999: .*less than or equal to 4320",
        ),
        ("triggers: [{trigger: A-b, on: {event: view}}]", "'trigger' is 'A-b'"),
        ("triggers: [{trigger: a, on: {event: view}, when: now}]", "'when' is 'now': Extra inputs"),
        ("triggers: [a]", "trigger 1:"),
        (
            "triggers: [{trigger: a, on: {event: view}}, {trigger: a, on: {event: view}}]",
            "'a' is declared more",
        ),
    ],
)
def test_what_is_wrong_is_named_with_what_was_expected(home, text, said):
    with pytest.raises(TriggerError, match=said) as caught:
        declared(home, text)
    assert str(home.root / "triggers.yaml") in str(caught.value)


def test_a_file_that_is_no_yaml_names_its_line(home):
    with pytest.raises(ConfigError, match="line 2"):
        declared(home, "triggers:\n  - [")
