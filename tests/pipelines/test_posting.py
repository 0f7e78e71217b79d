import httpx
import polars as pl
import pytest

from pipelines.errors import MachineError
from pipelines.posting import BUSY_SECONDS, TRIES, post_events
from tests.pipelines.test_replay import events_at

TAKEN = {"accepted": 1, "duplicates": 0, "errors": [], "as_of": "x"}


def client_of(*answers):
    """A client whose service gives these answers, the last one for ever."""
    left = list(answers)
    asked = []

    def answer(request):
        asked.append(request)
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, Exception):
            raise found
        return found

    client = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://service")
    client.asked = asked
    return client


def busy(seconds):
    return httpx.Response(429, headers={"retry-after": str(seconds)})


def not_ready():
    return httpx.Response(503, headers={"retry-after": "0"})


def test_a_busy_service_is_asked_again_as_long_as_it_asks_for_that():
    client = client_of(*(busy(0) for _ in range(5 * TRIES)), httpx.Response(202, json=TAKEN))
    assert post_events(client, events_at(0)) == (TAKEN, 0.0)
    assert len(client.asked) == 5 * TRIES + 1
    assert {request.content for request in client.asked} == {client.asked[0].content}


def test_how_long_it_asked_to_wait_is_told():
    answer, waited = post_events(client_of(busy("0.05"), httpx.Response(202, json=TAKEN)), events_at(0))
    assert (answer, waited) == (TAKEN, 0.05)


def test_a_service_that_never_takes_anything_is_given_up_and_one_may_go_on_later():
    client = client_of(not_ready())
    with pytest.raises(MachineError, match="took no events: 503") as caught:
        post_events(client, events_at(0))
    assert len(client.asked) == TRIES
    assert "2017-11-01T00:00:00+00:00 with --resume" in caught.value.next_step
    assert BUSY_SECONDS >= 60


def test_what_was_lost_on_the_way_is_sent_again():
    client = client_of(httpx.ReadError("gone"), httpx.Response(202, json=TAKEN))
    assert post_events(client, events_at(0)) == (TAKEN, 0.0)


def test_another_refusal_is_final():
    client = client_of(httpx.Response(413, text="too large"))
    with pytest.raises(MachineError, match="413 too large"):
        post_events(client, events_at(0))
    assert len(client.asked) == 1


def test_nulls_are_left_out_of_what_is_posted():
    client = client_of(httpx.Response(202, json=TAKEN))
    post_events(client, events_at(0).with_columns(brand=pl.lit(None, pl.String)))
    assert b"brand" not in client.asked[0].content
    assert b'"ingested_at":"2017-11-01T00:00:00Z"' in client.asked[0].content
