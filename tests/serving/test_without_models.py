"""A service of a home in which nothing is trained yet."""

import asyncio

import httpx
import pytest

from features.packed_store import CUSTOMER_MEMORY, open_packed_store
from serving.assembly import assemble
from tests.serving.parts import HEADERS, event, settings_of


@pytest.mark.parametrize("needs_models", [True, False])
def test_it_takes_and_remembers_events_and_is_ready_if_it_needs_no_models(home, needs_models):
    settings = settings_of(home, clock="replay")
    app = assemble(home, settings, needs_models=needs_models)

    async def post():
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test", headers=HEADERS) as client,
        ):
            assert app.state.readiness.is_ready() == (not needs_models)
            posted = await client.post("/v1/events?return=tags", json={"events": [event()]})
            asked = await client.post("/v1/predictions:batchGet", json={"customer_ids": ["c1"]})
            status = await client.get("/v1/status")
            return posted, asked, status.json()

    posted, asked, status = asyncio.run(post())
    assert posted.status_code == 202
    assert posted.json()["accepted"] == 1
    assert posted.json()["customers"] == [{"customer_id": "c1", "tags": []}]
    assert asked.status_code == 503
    assert status["is_ready"] == (not needs_models)
    assert not status["parts"]["models"]["is_ready"]
    store = open_packed_store(home, settings)
    assert list(store.keys(CUSTOMER_MEMORY)) == ["c1"]
    store.close()
