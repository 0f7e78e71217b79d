import pytest

from configs.errors import ConfigError
from features.event_log import EventLog, open_engine
from features.lake import Lake
from features.packed_store import open_packed_store
from serving.assembly import assemble, start_of_replay
from serving.stream import STREAM_MARK
from serving.upkeep import BOUNDARY_MARK
from tests.serving.parts import DAY_US, START_US, event, settings_of
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
