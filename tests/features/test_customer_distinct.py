from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.features.customer_looks import look, seen

UTC = ZoneInfo("UTC")
NOW = datetime(2024, 3, 15, 12, tzinfo=UTC)
MIDNIGHT = datetime(2024, 3, 15, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)


def views(*items, **columns):
    return [seen(NOW - ago, "view", item_id=item, **columns) for ago, item in items]


def test_the_same_item_counts_once_and_no_item_not_at_all():
    rows = views((HOUR / 2, "i1"), (HOUR / 3, "i1"), (HOUR / 4, "i2"), (HOUR / 5, None))
    found = look(rows, NOW)
    assert found["view_distinct_item_count_1h"] == 2
    assert found["view_count_1h"] == 4
    assert found["view_distinct_category_count_1h"] == 0


@pytest.mark.parametrize(
    "event_type", ["add_to_cart", "remove_from_cart", "purchase", "refund", "interaction", "coupon"]
)
def test_each_type_has_its_items_categories_and_brands(event_type):
    rows = [
        seen(NOW - DAY * number, event_type, item_id=f"i{number}", category=f"c{number // 2}", brand="b")
        for number in range(6)
    ]
    found = look(rows, NOW)
    assert found[f"{event_type}_distinct_item_count_72h"] == 3
    assert found[f"{event_type}_distinct_category_count_72h"] == 2
    assert found[f"{event_type}_distinct_brand_count_72h"] == 1
    # As of the last midnight, the newest is not in the profile yet.
    assert found[f"{event_type}_distinct_item_count_7d"] == 5
    assert found[f"{event_type}_distinct_category_count_7d"] == 3
    assert found["view_distinct_item_count_7d"] == 0


def test_a_value_stays_in_a_short_window_as_long_as_its_youngest_event():
    rows = views((25 * HOUR, "i1"), (23 * HOUR, "i1"), (2 * HOUR, "i2"))
    assert look(rows, NOW)["view_distinct_item_count_24h"] == 2
    assert look(rows, NOW + HOUR)["view_distinct_item_count_24h"] == 1


def test_an_item_on_the_left_edge_of_a_window_is_out_and_a_microsecond_later_in():
    for ago, count in ((24 * HOUR, 0), (24 * HOUR - MICROSECOND, 1)):
        assert look(views((ago, "i1")), NOW)["view_distinct_item_count_24h"] == count
    for at, count in ((MIDNIGHT - 30 * DAY, 0), (MIDNIGHT - 30 * DAY + MICROSECOND, 1)):
        assert look([seen(at, "view", item_id="i1")], NOW)["view_distinct_item_count_30d"] == count


def test_a_late_item_counts_from_when_it_is_known():
    row = seen(NOW - 20 * HOUR, "view", item_id="i1", late=19 * HOUR)
    assert look([row], NOW)["view_distinct_item_count_24h"] == 1
    assert look([row], NOW - 2 * HOUR)["view_distinct_item_count_24h"] == 0
    assert look([row], NOW)["view_distinct_item_count_7d"] == 0
    assert look([row], NOW + 14 * HOUR)["view_distinct_item_count_7d"] == 1


def test_a_long_window_is_as_of_its_profile_and_empty_without_one():
    rows = views((5 * HOUR, "i1"), (5 * DAY, "i2"), (5 * DAY, "i3"))
    assert look(rows, NOW)["view_distinct_item_count_7d"] == 2
    assert look(rows[:1], NOW)["view_distinct_item_count_7d"] == 0
    assert look(rows[:1], NOW)["view_distinct_item_count_24h"] == 1
