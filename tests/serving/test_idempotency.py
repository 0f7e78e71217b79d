"""The same key gets the same reply for a day, and never two requests."""

import asyncio

import pytest
import sqlalchemy as sa

from serving.errors import Conflict
from serving.idempotency import KEPT_US, REPLIES, IdempotentReplies
from tests.serving.parts import Parts, event
from tests.serving.test_api import ask, assert_error_form, post

KEY = {"idempotency-key": "order-2031"}


@pytest.fixture
def parts(home):
    made = Parts(home)
    yield made
    made.close()


def kept_rows(parts):
    with parts.engine.connect() as connection:
        return connection.execute(sa.select(REPLIES)).all()


def test_the_same_request_gets_the_same_reply_to_the_byte(parts):
    send = post(event(), path="/v1/events?return=tags", headers=KEY)
    first, again, without = ask(parts, send, send, post(event()))
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.content == first.content
    assert again.json()["accepted"] == 1
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert again.headers["x-request-id"] != again.json()["request_id"]
    assert without.json()["duplicates"] == 1


@pytest.mark.parametrize(
    "other", [post(event(2), headers=KEY), post(event(), path="/v1/events?return=tags", headers=KEY)]
)
def test_another_request_under_the_same_key_is_a_conflict_and_takes_nothing(parts, other):
    _, refused = ask(parts, post(event(), headers=KEY), other)
    assert_error_form(refused, 409, "conflict")
    assert parts.log.last_seq() == 1


def test_a_refused_request_leaves_its_key_free_for_the_mended_one(parts):
    bad, mended = ask(parts, post(event(event_type="gaze"), headers=KEY), post(event(), headers=KEY))
    assert (bad.status_code, mended.status_code) == (422, 202)


def test_a_database_that_refuses_is_an_outage_and_no_defect(parts):
    with parts.engine.begin() as connection:
        REPLIES.drop(connection)
    (reply,) = ask(parts, post(event(), headers=KEY))
    error = assert_error_form(reply, 503, "not_ready")
    assert error["message"].startswith("the store of kept replies does not answer")
    assert parts.log.last_seq() == 0


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "é".encode("latin-1")])
def test_a_key_that_is_none_is_refused(parts, key):
    (reply,) = ask(parts, post(event(), headers={"idempotency-key": key}))
    assert assert_error_form(reply, 422, "invalid_request")["details"][0]["field"] == "idempotency-key"


def test_the_key_itself_is_nowhere(parts):
    ask(parts, post(event(), headers=KEY))
    (row,) = kept_rows(parts)
    assert len(row.key_hash) == 32
    assert KEY["idempotency-key"].encode() not in b"".join(
        path.read_bytes() for path in parts.home.root.rglob("*") if path.is_file()
    )


def test_the_same_key_many_times_at_once_is_carried_out_once(parts):
    async def run(client):
        return await asyncio.gather(*(post(event(), headers=KEY)(client) for _ in range(20)))

    (replies,) = ask(parts, run)
    assert {reply.content for reply in replies} == {replies[0].content}
    assert replies[0].json()["accepted"] == 1


def test_a_reply_is_kept_for_a_day_and_not_a_microsecond_longer(parts):
    replies = IdempotentReplies(parts.engine)
    assert replies.claim("k", b"a", 100) is None
    replies.keep("k", b"reply")
    assert replies.claim("k", b"a", 100 + KEPT_US - 1) == b"reply"
    with pytest.raises(Conflict):
        replies.claim("k", b"b", 100 + KEPT_US - 1)
    assert replies.claim("k", b"b", 100 + KEPT_US) is None


def test_after_a_death_before_the_reply_the_same_request_is_carried_out_and_another_refused(parts):
    IdempotentReplies(parts.engine).claim("k", b"a", 100)
    after = IdempotentReplies(parts.engine)
    assert after.claim("k", b"a", 200) is None
    with pytest.raises(Conflict):
        after.claim("k", b"b", 200)


def test_forgetting_leaves_no_reply(parts):
    ask(parts, post(event(), headers=KEY))
    assert IdempotentReplies(parts.engine).forget() == 1
    assert kept_rows(parts) == []
