import contextlib
import json
import time
from datetime import UTC, datetime, timedelta

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.events import EVENT_SCHEMA
from features.identities import POSTED_SPACES
from serving.errors import BadRequest, InvalidRequest
from serving.intake import admit_posted, read_ids, read_posted
from serving.schemas import PostedEvent
from tests.serving.parts import event

SKEW = timedelta(minutes=5)
ARRIVAL_US = 1_700_000_000_000_000


def read(*events, clock="replay"):
    body = json.dumps({"events": list(events)}).encode()
    return through_the_door(body, clock)


def through_the_door(body, clock):
    posted = read_posted(body, arrival_us=ARRIVAL_US, clock=clock, most=1000)
    return admit_posted([posted], future_skew=SKEW)


def test_a_posted_event_has_a_field_for_each_column_of_the_schema():
    assert set(PostedEvent.__struct_fields__) == {*EVENT_SCHEMA, *POSTED_SPACES}


@pytest.mark.parametrize("space", POSTED_SPACES)
def test_an_id_may_be_given_by_the_field_of_its_space(space):
    frame = read(event() | {"customer_id": None, space: "oX/3 f"}).admitted
    assert frame["customer_id"].to_list() == [f"{space}:oX/3 f"]


@pytest.mark.parametrize(
    ("ids", "field"),
    [
        ({}, "customer_id"),
        ({"customer_id": None}, "customer_id"),
        ({"customer_id": "c1", "unionid": "o1"}, "unionid"),
        ({"external_userid": "w1", "unionid": "o1"}, "unionid"),
        ({"customer_id": "c1", "external_userid": "w1", "unionid": "o1"}, "unionid"),
        ({"external_userid": ""}, "external_userid"),
        ({"unionid": "o" * 121}, "unionid"),
        ({"unionid": 7}, "unionid"),
    ],
)
def test_a_row_with_no_id_or_several_is_refused_and_the_others_go_on(ids, field):
    row = {name: value for name, value in event().items() if name != "customer_id"}
    found = read(row | ids, event(2))
    assert [(one.detail.index, one.detail.field) for one in found.refused[0]] == [(0, field)]
    assert found.admitted.height == 1


def test_the_admitted_frame_has_the_schema_and_the_defaults():
    frame = read(event()).admitted
    assert dict(frame.schema) == EVENT_SCHEMA
    row = frame.row(0, named=True)
    assert (row["source"], row["quantity"], row["brand"]) == ("api", 1, None)


@pytest.mark.parametrize(
    "written",
    ["2026-01-02T03:04:05.000006Z", "2026-01-02T11:04:05.000006+08:00", "2026-01-01T22:04:05.000006-05:00"],
)
def test_one_instant_however_written_is_one_value(written):
    frame = read(event(event_time=written, ingested_at=1767323045.000006)).admitted
    assert frame["event_time"].to_list() == frame["ingested_at"].to_list()
    assert frame["event_time"].to_list() == [datetime(2026, 1, 2, 3, 4, 5, 6, UTC)]


def test_unix_seconds_are_exact_to_the_microsecond():
    for micro in (1, 6, 123_457, 999_999):
        frame = read(event(event_time=1_767_323_045 + micro / 1e6, ingested_at=1_767_323_046)).admitted
        assert frame["event_time"].to_list()[0].microsecond == micro


@pytest.mark.parametrize(
    "value", [-1, 253_402_300_800, 10**30, 1e300, True, None, "yesterday", "2026-01-02", {}]
)
def test_what_is_no_instant_is_an_error_of_the_row(value):
    intake = read(event(1, event_time=value), event(2))
    assert intake.index == [1]
    assert [(one.detail.index, one.detail.field) for one in intake.refused[0]] == [(0, "event_time")]


def test_the_wall_clock_stamps_the_arrival():
    frame = read(event(ingested_at=...), clock="wall").admitted
    assert frame["ingested_at"].dt.epoch("us").to_list() == [ARRIVAL_US]


def test_an_unknown_field_is_answered_with_the_nearest_one():
    ((refused,),) = read(event(catgory="x")).refused
    assert "did you mean 'category'" in refused.detail.expected


def test_a_refused_value_is_shown_in_short_and_kept_whole():
    ((refused,),) = read(event(brand="b" * 5000)).refused
    assert len(refused.detail.value) < 120
    assert "b" * 5000 in refused.raw


def test_limits_of_numbers_are_errors_of_the_row_not_of_the_service():
    rows = [event(1, quantity=2**31), event(2, amount_minor=2**63), event(3, coupon_minor=2**70), event(4)]
    intake = read(*rows)
    assert [one.detail.field for one in intake.refused[0]] == ["quantity", "amount_minor", "coupon_minor"]
    assert intake.index == [3]


def test_a_row_that_is_no_utf_8_is_refused_and_its_neighbours_are_not():
    body = json.dumps({"events": [event(1), event(2, brand="BAD"), event(3)]}).encode()
    intake = through_the_door(body.replace(b"BAD", b"\xff\xfe"), "replay")
    assert (intake.index, [one.detail.index for one in intake.refused[0]]) == ([0, 2], [1])


def test_requests_led_through_the_door_together_keep_their_own_rows_and_refusals():
    bodies = [[event(1), event(2, quantity=-1)], [event(3, event_type="gaze")], [event(4), 7, event(5)]]
    posts = [
        read_posted(json.dumps({"events": rows}).encode(), arrival_us=ARRIVAL_US, clock="replay", most=1000)
        for rows in bodies
    ]
    together = admit_posted(posts, future_skew=SKEW)
    alone = [admit_posted([post], future_skew=SKEW) for post in posts]
    assert together.admitted.equals(pl.concat([one.admitted for one in alone]))
    assert list(zip(together.post, together.index, strict=True)) == [(0, 0), (2, 0), (2, 2)]
    assert together.refused == [one.refused[0] for one in alone]
    assert [[one.detail.field for one in refused] for refused in together.refused] == [
        ["quantity"],
        ["event_type"],
        [""],
    ]


def test_too_many_rows_are_counted_before_one_is_explained():
    body = b'{"events": [' + b"0," * 400_000 + b"0]}"
    began = time.process_time()
    with pytest.raises(InvalidRequest) as refused:
        read_posted(body, arrival_us=ARRIVAL_US, clock="wall", most=1000)
    assert refused.value.details[0].value == "400001"
    # To explain so many would take tens of seconds.
    assert time.process_time() - began < 2


def test_ids_are_a_list_of_texts():
    assert read_ids(b'{"customer_ids": ["a", "a"]}', most=2) == (["a", "a"], [])
    for body in (
        b'{"customer_ids": [1]}',
        b'{"customer_ids": "a"}',
        b'{"ids": ["a"]}',
        b'{"customer_ids": []}',
    ):
        with pytest.raises(InvalidRequest):
            read_ids(body, most=2)
    with pytest.raises(BadRequest):
        read_ids(b"nothing", most=2)


def test_ids_asked_about_may_be_of_another_space_and_bad_ones_are_named():
    asked = ["a", {"unionid": "o1"}, {}, {"customer_id": "b"}, "", {"customer_id": "c", "unionid": "o"}]
    ids, errors = read_ids(json.dumps({"customer_ids": asked}).encode(), most=9)
    assert ids == ["a", "unionid:o1", "b"]
    assert [(one.index, one.field) for one in errors] == [
        (2, "customer_id"),
        (4, "customer_ids"),
        (5, "unionid"),
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
rows = st.fixed_dictionaries(
    {"event_id": st.text(max_size=4) | json_values, "customer_id": st.text(max_size=4)},
    optional={name: json_values for name in EVENT_SCHEMA if name not in ("event_id", "customer_id")}
    | {"more": json_values},
)


@settings(max_examples=100)
@given(
    st.lists(rows | json_values | st.builds(event), min_size=1, max_size=6),
    st.sampled_from(["wall", "replay"]),
)
def test_every_row_is_admitted_or_refused_once_whatever_it_holds(events, clock):
    body = msgspec.json.encode({"events": events})
    intake = through_the_door(body, clock)
    refused = [one.detail.index for one in intake.refused[0]]
    assert sorted(intake.index + refused) == list(range(len(events)))
    assert intake.admitted.height == len(intake.index)
    assert dict(intake.admitted.schema) == EVENT_SCHEMA


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_read_or_refused_as_a_request(body):
    with contextlib.suppress(BadRequest, InvalidRequest):
        read_posted(body, arrival_us=ARRIVAL_US, clock="wall", most=10)


def test_half_a_character_is_refused_legibly():
    good = {"event_id": "1", "customer_id": "c1", "event_type": "view", "event_time": 1}
    body = json.dumps({"events": [good | {"customer_id": "\ud800"}, {"\udc99": 1}]}).encode()
    read = read_posted(body, arrival_us=0, clock="wall", most=10)
    assert sorted(read.refused) == [0, 1]
    for refusal in read.refused.values():
        for text in (refusal.detail.field, refusal.detail.value, refusal.detail.expected, refusal.raw):
            assert not any("\ud800" <= sign <= "\udfff" for sign in text)
