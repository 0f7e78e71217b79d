from datetime import UTC, datetime, timedelta
from itertools import pairwise

import httpx
import polars as pl
import pytest

from configs.home import open_home
from features.events import EVENT_SCHEMA
from features.lake import Lake
from pipelines.errors import CommandError, MachineError
from pipelines.replay import posts_of, recorded_events, replay
from pipelines.service_process import free_port
from tests.serving.parts import START_US, TOKEN, settings_of
from tests.serving.processes import running
from tests.small_shop import tagtide

START = datetime.fromtimestamp(START_US / 1e6, UTC)


def events_at(*seconds, customers=3):
    rows = [
        {
            "event_id": f"r{number}",
            "customer_id": f"c{number % customers}",
            "event_type": "purchase",
            "event_time": START + timedelta(seconds=at),
            "ingested_at": START + timedelta(seconds=at),
            "category": "MILK",
            "quantity": 1,
            "amount_minor": 100 + number,
            "order_id": f"o{at}",
            "source": "till",
        }
        for number, at in enumerate(seconds)
    ]
    return pl.DataFrame(rows, schema=EVENT_SCHEMA)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running(open_home(tmp_path_factory.mktemp("replayed") / "home", create=True)) as one:
        yield one


def test_a_week_is_replayed_in_order_and_a_second_time_changes_nothing(service, home):
    hours = [3600 * n for n in range(0, 7 * 24, 2) for _ in range(3)]
    events = events_at(*hours)
    days = []
    settings = settings_of(home)
    first = replay(service.client, events, settings=settings, on_day=days.append)
    assert (first.events, first.accepted, first.duplicates, first.refused) == (252, 252, 0, 0)
    assert first.requests == 84
    assert days == [START + timedelta(days=n) for n in range(1, 7)]
    assert first.tags_seen == 3
    assert 0 < first.p50_ms <= first.p99_ms
    assert datetime.fromisoformat(first.as_of) == START + timedelta(hours=166)
    status = service.client.get("/v1/status").json()
    assert status["as_of"] == "2017-11-07T22:00:00Z"
    assert status["profile_boundary"] == "2017-11-07T00:00:00Z"
    second = replay(service.client, events, settings=settings)
    assert (second.accepted, second.duplicates) == (0, 252)


def test_refused_rows_are_counted_and_the_first_is_shown(service, home):
    brands = pl.Series(["x" * 300, "ok"])
    events = events_at(8 * 86400, 8 * 86400).with_columns(pl.col("event_id") + "-b", brand=brands)
    report = replay(service.client, events, settings=settings_of(home), batch=10)
    assert (report.accepted, report.refused) == (1, 1)
    assert "field=" in report.first_refusal


def test_posts_hold_what_became_known_at_one_instant():
    assert [post.height for post in posts_of(events_at(0, 0, 5, 7, 7, 7), None, 1000)] == [2, 1, 3]
    assert [post.height for post in posts_of(events_at(0, 0, 0, 0, 0), None, 2)] == [2, 2, 1]
    assert list(posts_of(events_at(), None, 10)) == []


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 7, 100])
def test_filled_posts_lose_nothing_keep_order_and_split_an_instant_only_if_they_must(batch):
    events = events_at(0, 0, 5, 7, 7, 7, 9, 11, 11)
    posts = list(posts_of(events, batch, 1000))
    assert pl.concat(posts).equals(events)
    assert all(post.height <= batch for post in posts)
    for before, after in pairwise(posts):
        instant = after["ingested_at"][0]
        if before["ingested_at"][-1] == instant:
            assert events.filter(pl.col("ingested_at") == instant).height > batch


def test_the_lake_can_be_replayed_within_a_span_in_order_of_arrival(home):
    events = events_at(0, 10, 20, 30).with_columns(
        ingested_at=pl.col("event_time") + pl.Series([timedelta(seconds=s) for s in (25, 0, 0, 0)])
    )
    Lake(home.lake).append(events)
    found = recorded_events(
        "lake",
        home,
        settings_of(home),
        {},
        now=START + timedelta(days=1),
        since=START + timedelta(seconds=10),
        until=START + timedelta(seconds=30),
    )
    assert found["event_id"].to_list() == ["r2", "r0", "r3"]


def test_speed_is_kept(service, home):
    events = events_at(9 * 86400, 9 * 86400 + 60)
    report = replay(service.client, events, settings=settings_of(home), speed=120.0)
    assert report.seconds >= 0.5


def test_a_service_that_is_not_there_is_named(home):
    url = f"http://127.0.0.1:{free_port()}"
    with httpx.Client(base_url=url) as client, pytest.raises(MachineError, match=url):
        replay(client, events_at(0), settings=settings_of(home))


def test_a_wrong_token_is_told(service, home):
    with httpx.Client(base_url=service.url) as client, pytest.raises(CommandError, match="token"):
        replay(client, events_at(0), settings=settings_of(home))


def test_a_service_on_the_wall_clock_is_left_alone(home):
    def answer(request):
        return httpx.Response(200, json={"clock": "wall"})

    transport = httpx.MockTransport(answer)
    client = httpx.Client(transport=transport, base_url="http://wall")
    with client, pytest.raises(CommandError, match="replay clock"):
        replay(client, events_at(0), settings=settings_of(home))


def test_a_busy_service_is_asked_again(home):
    answers = [
        httpx.Response(429, headers={"retry-after": "0"}),
        httpx.Response(503, headers={"retry-after": "0"}),
        httpx.Response(202, json={"accepted": 1, "duplicates": 0, "errors": [], "as_of": "x"}),
    ]

    def answer(request):
        return httpx.Response(200, json={"clock": "replay"}) if request.method == "GET" else answers.pop(0)

    with httpx.Client(transport=httpx.MockTransport(answer), base_url="http://busy") as client:
        assert replay(client, events_at(0), settings=settings_of(home)).accepted == 1


def test_a_replay_goes_on_where_the_services_clock_stands(service, home):
    events = events_at(*(20 * 86400 + 60 * n for n in (0, 1, 2, 2, 3)))
    Lake(home.lake).append(events.with_columns(pl.col("event_id") + "-later"))

    def replayed(*options):
        run = tagtide(
            home.root,
            *("replay", "lake", "--url", service.url, "--json", *options),
            environ={"TAGTIDE_API_TOKEN": TOKEN},
        )
        assert run.code == 0, run.err
        return run.json

    begun = replayed("--until", (START + timedelta(days=20, minutes=2)).isoformat())
    rest = replayed("--resume")
    assert (begun["events"], begun["accepted"]) == (4, 4)
    # What arrived at that very instant is sent again: it may not all have been.
    assert (rest["events"], rest["accepted"], rest["duplicates"]) == (3, 1, 2)
    assert datetime.fromisoformat(rest["as_of"]) == START + timedelta(days=20, minutes=3)


def test_how_far_it_fell_behind_a_stated_speed_is_told(home):
    def answer(request):
        told = {"clock": "replay"} if request.method == "GET" else {"accepted": 1}
        return httpx.Response(200 if request.method == "GET" else 202, json=told)

    with httpx.Client(transport=httpx.MockTransport(answer), base_url="http://slow") as client:
        late = replay(client, events_at(0, 1), settings=settings_of(home), speed=1e9)
        free = replay(client, events_at(0, 1), settings=settings_of(home))
    assert late.behind_seconds > 0
    assert free.behind_seconds == 0
