"""One person under several ids through the whole job: joined, served, erased, and not to be found again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from pipelines.service_process import ServiceProcess, free_port, new_token
from tests.pipelines.id_search import places_naming
from tests.small_shop import KNOWN_UNTIL, SmallShop, clean_environ

TILL_ID, UNIONID, APP_ID = "till-Kk81-7741", "oX3f-Rr55-9921", "app-Zq7x-1401"
IDS = [TILL_ID, UNIONID, APP_ID]
MAPPING = """
source: till
read: {csv: till.csv}
time_zone: UTC
columns:
  event_id: id
  customer_id: who
  event_type: kind
  event_time: at
  category: family
  amount_minor: CAST(paid AS BIGINT)
identities: {unionid: wx}
"""


def write_till(folder: Path) -> Path:
    """Four months of a customer who buys milk each week, and rows that are refused."""
    at = [KNOWN_UNTIL - timedelta(days=7 * week, hours=week + 1) for week in range(18)]
    lines = [
        f"t{n},{TILL_ID},{UNIONID},purchase,{one:%Y-%m-%d %H:%M:%S},milk,300" for n, one in enumerate(at)
    ]
    lines += [
        f"b1,{TILL_ID},,purchase,soon,milk,300",
        f"b2,{TILL_ID},{UNIONID},lend,2024-04-01 10:00:00,milk,3",
    ]
    lines += [f"cut,{TILL_ID}", f"b3,somebody,{UNIONID},lend,2024-04-01 10:00:00,milk,3"]
    (folder / "till.csv").write_text("\n".join(["id,who,wx,kind,at,family,paid", *lines]) + "\n")
    (folder / "till.yaml").write_text(MAPPING)
    return folder / "till.yaml"


def posted(number: int, customer: str, at: datetime, **given: Any) -> dict[str, Any]:
    row = {"event_id": f"live-{number}", "customer_id": customer, "event_type": "view", "category": "milk"}
    return row | {"event_time": at.isoformat(), "ingested_at": at.isoformat()} | given


def send(client: httpx.Client, *rows: dict[str, Any], wanted: str = "") -> dict[str, Any]:
    reply = client.post(f"/v1/events{wanted}", json={"events": list(rows)})
    assert reply.status_code in (202, 422), reply.text
    return dict(reply.json())


def ask(client: httpx.Client, customer: str) -> dict[str, Any]:
    return dict(client.get(f"/v1/customers/{customer}").raise_for_status().json()["customer"])


@pytest.fixture
def shop(small_shop: SmallShop, tmp_path: Path) -> SmallShop:
    """The small shop with a person of three ids in it, whom its models have seen."""
    shop = small_shop.copy(tmp_path)
    for arguments in (
        ["import", str(write_till(tmp_path))],
        ["identities", "link", f"till:{TILL_ID}", f"app:{APP_ID}", "--new-space", "--why", "at the counter"],
        ["features"],
        ["train"],
        ["promote", "--force"],
        ["score"],
    ):
        run = shop.run(*arguments, "--json")
        assert run.code == 0, run.err
    return shop


@pytest.mark.slow
def test_somebody_under_several_ids_is_one_customer_until_erased_and_then_nobody(
    shop: SmallShop, tmp_path: Path
) -> None:
    now = KNOWN_UNTIL + timedelta(hours=1)
    survivor = f"till:{TILL_ID}"
    service = ServiceProcess(shop.home, clean_environ(), port=free_port(), token=new_token(), clock="replay")
    with service, service.client() as client:
        reply = send(
            client,
            *(
                posted(n, one, now + timedelta(minutes=n))
                for n, one in enumerate([survivor, f"app:{APP_ID}"])
            ),
            posted(8, f"app:{APP_ID}", now, quantity=-1),
            posted(9, "7", now),
            wanted="?return=tags",
        )
        assert (reply["accepted"], len(reply["errors"])) == (3, 1)
        assert [one["customer_id"] for one in reply["customers"]] == [survivor, "7"]
        merged, own = ask(client, f"app:{APP_ID}"), ask(client, survivor)
        assert merged["merged_into"] == survivor
        assert {**merged, "customer_id": survivor} == {**own, "merged_into": survivor}
        assert "merged_into" not in own
        assert own["status"] == "ok"

        # Joined by hand, and parted again, while the service runs.
        before = ask(client, "7")
        assert shop.run("identities", "link", "7", survivor).code == 0
        assert ask(client, survivor)["merged_into"] == "7"
        assert ask(client, "7") != before
        assert shop.run("identities", "unlink", "7", survivor).code == 0
        assert (ask(client, "7"), ask(client, survivor)) == (before, own)
        assert shop.run("monitor", "--json").code == 0

        named = places_naming(shop.home.root, IDS)
        for place in (
            "lake/",
            "tagtide.db",
            "quarantine/",
            "online.db",
            "snapshots/",
            "profiles/",
            "scores/",
        ):
            assert any(place in name for name in named), place
        assert not any(place in name for name in named for place in ("mlflow/", "bundles/"))

        erased = shop.run("erase", f"unionid:{UNIONID}", "--yes", "--json")
        assert erased.code == 0, erased.err
        assert erased.json["ids"] == 3
        assert all(erased.json["rows"][place] for place in ("lake", "event_log", "quarantine", "identities"))
        assert places_naming(shop.home.root, IDS) == []
        assert ask(client, survivor)["status"] == "cold_start"
        reply = send(
            client, posted(0, survivor, now), posted(10, f"unionid:{UNIONID}", now), posted(11, "7", now)
        )
        assert (reply["accepted"], reply["erased"]) == (1, 2)
        send(client, posted(12, survivor, now, quantity=-1))
        assert places_naming(shop.home.root, IDS) == []
    assert places_naming(shop.home.root, IDS) == []

    again = shop.run("import", str(tmp_path / "till.yaml"), "--json")
    assert again.code == 0, again.err
    assert (again.json["stored"], again.json["linked"]) == (0, 0)
    assert again.json["erased"] == again.json["rows_read"]
    for command in (["features"], ["score"], ["monitor", "--no-evidently"]):
        assert shop.run(*command, "--json").code == 0
    assert places_naming(shop.home.root, IDS) == []

    # What happens after the erasure is a new customer's.
    later = datetime.now(UTC) + timedelta(days=1)
    with service, service.client() as client:
        reply = send(client, posted(20, survivor, later))
        assert (reply["accepted"], reply.get("erased", 0)) == (1, 0)
        assert ask(client, survivor)["status"] == "ok"
    assert shop.run("erase", survivor, "--yes").code == 0
    assert places_naming(shop.home.root, IDS) == []
    known = pl.concat([shop.known["customer_id"]]).n_unique()
    assert known == shop.events["customer_id"].n_unique()
