"""Public data sets through the live path: `tagtide replay` into `tagtide serve`, in part, then the rest."""

import json

import polars as pl
import pytest

from features.lake import Lake
from features.mapping import load_mapping
from features.packed_memory import decode_memory
from features.packed_store import CUSTOMER_MEMORY, open_packed_store
from pipelines.replay import recorded_events
from pipelines.service_process import ServiceProcess, free_port, new_token
from serving.stream import STREAM_MARK
from serving.tag_queue import TAGGED_MARK
from tests.serving.parts import settings_of
from tests.small_shop import clean_environ, tagtide

ROWS = 3_000


@pytest.fixture
def bare_home(home):
    """A home whose published models are none at all, so that the service starts."""
    home.bundles.mkdir()
    (home.bundles / "champion.json").write_text("{}")
    return home


@pytest.mark.parametrize("source", ["retailrocket", "rees46"])
def test_a_source_is_replayed_over_http_and_resumed_where_it_stopped(source, bare_home, data_folder):
    environ = clean_environ() | {"TAGTIDE_DATA": str(data_folder), "TAGTIDE_SWEEP_EVERY_HOURS": "24"}
    settings = settings_of(bare_home)
    events = recorded_events(
        source,
        bare_home,
        settings,
        environ,
        now=pl.Series(["2026-01-01"]).str.to_datetime(time_zone="UTC")[0],
    )
    half, end = (events["ingested_at"].to_list()[place] for place in (ROWS // 2, ROWS))
    wanted = events.filter(pl.col("ingested_at") <= end)
    assert load_mapping(source, environ).source == source

    with ServiceProcess(bare_home, environ, port=free_port(), token=new_token(), clock="replay") as service:

        def replayed(*options):
            run = tagtide(
                bare_home.root,
                *("replay", source, "--url", service.url, "--batch", "500", "--json", *options),
                environ=environ | {"TAGTIDE_API_TOKEN": service.token},
            )
            assert run.code == 0, run.err
            return json.loads(run.out)

        first = replayed("--until", half.isoformat())
        rest = replayed("--until", end.isoformat(), "--resume")
        again = replayed("--until", end.isoformat())
    at_half = events.filter(pl.col("ingested_at") == half).height
    assert first["accepted"] + rest["accepted"] == wanted.height
    assert (first["refused"], rest["refused"], rest["duplicates"]) == (0, 0, at_half)
    assert rest["events"] == wanted.height - first["events"] + at_half
    assert (again["accepted"], again["duplicates"]) == (0, wanted.height)

    store = open_packed_store(bare_home, settings)
    assert store.mark(STREAM_MARK) == store.mark(TAGGED_MARK)
    latest = wanted.filter(pl.col("ingested_at") == wanted["ingested_at"].max())
    for name in latest["customer_id"].unique().to_list():
        row = store.get(CUSTOMER_MEMORY, name, now_us=0, ttl_us=None)
        keys = decode_memory(row.value).event_key
        theirs = latest.filter(pl.col("customer_id") == name)["event_id"].to_list()
        assert {f"{source}\x1f{event}" for event in theirs} <= set(keys)
        assert len(keys) == len(set(keys))
    store.close()
    # What a refresh in between compacted is what was sent by then, once.
    compacted = Lake(bare_home.lake).read()
    assert compacted["event_id"].n_unique() == compacted.height <= wanted.height
