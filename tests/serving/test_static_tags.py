from __future__ import annotations

import pytest

from serving.static_tags import StaticTags
from training.stages import STAGES

TAGS = StaticTags({3: "30 % of customers: 4 orders in 365 days"}, 5_000)


def ids(*arguments):
    return [tag.tag_id for tag in TAGS.of(*arguments)]


def test_stage_segment_and_value_are_tags_in_that_order():
    assert ids("loyal", 3, {"expected_minor": 9_000}) == ["stage:loyal", "segment:3", "high_value"]
    assert TAGS.of("loyal", 3, None)[1].description == "30 % of customers: 4 orders in 365 days"


@pytest.mark.parametrize(("expected_minor", "is_high"), [(4_999, False), (5_000, True)])
def test_high_value_begins_at_the_cut_off(expected_minor, is_high):
    assert ("high_value" in ids("repeat", None, {"expected_minor": expected_minor})) == is_high


def test_without_a_segment_or_a_cut_off_only_the_stage_is_told():
    assert ids("new", None, None) == ["stage:new"]
    bare = StaticTags({}, None)
    assert [tag.tag_id for tag in bare.of("loyal", None, {"expected_minor": 10**9})] == ["stage:loyal"]


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_a_description(stage):
    assert TAGS.of(stage, None, None)[0].description
