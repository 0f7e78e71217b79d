import asyncio
from datetime import datetime

import httpx
import pytest

from configs.errors import ConfigError
from features.database import open_engine
from features.event_log import EventLog
from features.lake import Lake
from features.packed_store import open_packed_store
from serving.assembly import assemble, start_of_replay
from serving.stream import STREAM_MARK
from serving.upkeep import BOUNDARY_MARK
from tests.serving.parts import DAY_US, HEADERS, START_US, event, settings_of
from tests.serving.test_stream import intake


@pytest.fixture
def opened(home):
    settings = settings_of(home)
    store, engine = open_packed_store(home, settings), open_engine(None, home)
    yield store, EventLog(engine), Lake(home.lake)
    store.close()
    engine.dispose()


def test_a_replay_of_an_empty_home_begins_at_the_epoch(opened):
    assert start_of_replay(*opened) == 0


def test_a_replay_begins_where_the_home_knows_most(opened):
    store, log, lake = opened
    lake.append(intake(event(1, at=5.0)).admitted)
    assert start_of_replay(*opened) == START_US + 5_000_000
    store.put_mark(BOUNDARY_MARK, START_US + DAY_US)
    assert start_of_replay(*opened) == START_US + DAY_US
    log.append(intake(event(2, at=2 * 86_400.0), event(3, at=3 * 86_400.0)).admitted)
    store.put_mark(STREAM_MARK, 1)
    assert start_of_replay(*opened) == START_US + 2 * DAY_US
    store.put_mark(STREAM_MARK, 2)
    assert start_of_replay(*opened) == START_US + 3 * DAY_US


def test_a_home_without_models_is_assembled_and_not_ready(home):
    app = assemble(home, settings_of(home))
    assert not app.state.readiness.is_ready()


def test_without_a_token_nothing_is_assembled(home):
    with pytest.raises(ConfigError, match="TAGTIDE_API_TOKEN"):
        assemble(home, settings_of(home).model_copy(update={"api_token": None}))


def test_a_replay_begins_when_the_last_event_arrived_not_when_it_happened(opened):
    store, log, lake = opened
    late = event(1, at=0.0, ingested_at=(START_US + 2 * DAY_US) / 1e6)
    lake.append(intake(late).admitted)
    assert start_of_replay(store, log, lake) == START_US + 2 * DAY_US


def test_a_home_with_models_is_assembled_ready_and_begins_where_its_data_end(small_shop, tmp_path):
    shop = small_shop.copy(tmp_path)
    app = assemble(shop.home, settings_of(shop.home, clock="replay"))
    name = shop.known["customer_id"][0]

    async def ask():
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test", headers=HEADERS) as client,
        ):
            assert app.state.readiness.is_ready()
            return [(await client.get(path)).json() for path in ("/v1/status", f"/v1/customers/{name}")]

    status, answer = asyncio.run(ask())
    assert datetime.fromisoformat(status["as_of"]) == shop.as_of
    assert status["profile_boundary"] == "2024-05-31T00:00:00Z"
    assert answer["customer"]["status"] == "ok"
    assert set(answer["model_version"]) == {
        "clv",
        "propensity",
        "segments",
        "tags-high_intent",
        "tags-interest",
    }
