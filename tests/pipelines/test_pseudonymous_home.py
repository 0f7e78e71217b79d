"""A home that holds no plain id from the first import on, through links, posts, reads and erasures."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from configs.home import Home
from configs.settings import Settings
from features.lake import Lake
from features.pseudonyms import PSEUDONYM, Pseudonyms
from features.quarantine import Quarantine
from pipelines import cli
from pipelines.import_events import ImportReport, import_source
from serving.erasure import erase
from tests.pipelines.id_search import places_naming
from tests.pipelines.two_shops import NOW, post, rows, settings_of, source
from tests.serving.parts import event
from tests.serving.test_identities import PeopleParts, ask, run, send

KEY = "a key of sixteen bytes or more"
OF = Pseudonyms(KEY.encode())
ANN, TILL, UNIONID, BOB = "ann-Zq7x-1401", "till-Kk81-77", "oX3f-Rr55", "bob-Ww22"
IDS = [ANN, TILL, UNIONID, BOB]
ENVIRON = {"TAGTIDE_PSEUDONYMOUS_IDS": "true", "TAGTIDE_ID_KEY": KEY}


@pytest.fixture
def chosen(home: Home) -> Settings:
    return settings_of(home, pseudonymous_ids="true", id_key=KEY)


def sales(till: str, customers: list[tuple[str, str | None]]) -> list[dict[str, Any]]:
    """Rows whose own ids name nobody."""
    return [row | {"id": f"{till}{number}"} for number, row in enumerate(rows(customers))]


def bring_in(home: Home, chosen: Settings, folder: Path) -> list[ImportReport]:
    web_rows = sales("w", [(ANN, UNIONID), (BOB, None)])
    refused = [row | {"id": f"bad-{row['id']}", "kind": "lend"} for row in web_rows[:2]]
    web = source(folder, "web", [*web_rows, *refused], identities={"unionid": "wx"})
    pos = source(folder, "pos", sales("p", [(TILL, UNIONID)]), identities={"unionid": "wx"})
    return [import_source(home, chosen, one, now=NOW) for one in (web, pos)]


def test_an_import_keeps_no_plain_id_and_joins_and_counts_as_ever(
    home: Home, chosen: Settings, tmp_path: Path
) -> None:
    plain = Home(tmp_path / "plain")
    plain.root.mkdir()
    as_ever = bring_in(plain, settings_of(plain), tmp_path)
    assert places_naming(plain.root, IDS)
    web, pos = bring_in(home, chosen, tmp_path)
    assert places_naming(home.root, IDS) == []
    for one, other in zip((web, pos), as_ever, strict=True):
        for count in ("stored", "quarantined", "quarantined_new", "linked", "reasons"):
            assert getattr(one, count) == getattr(other, count), count
    assert set(Lake(home.lake).read()["customer_id"]) == {OF(ANN), OF(BOB), f"pos:{OF(TILL)}"}
    assert Quarantine(home.quarantine).read()["customer_id"].to_list() == [OF(ANN), OF(BOB)]
    again = bring_in(home, chosen, tmp_path)
    assert [(one.stored, one.quarantined_new, one.linked) for one in again] == [(0, 0, 0)] * 2
    assert places_naming(home.root, IDS) == []


def test_an_erased_customer_is_found_by_any_plain_id_and_does_not_come_back(
    home: Home, chosen: Settings, tmp_path: Path
) -> None:
    bring_in(home, chosen, tmp_path)
    receipt = erase(home, chosen, f"pos:{TILL}", now=NOW + timedelta(hours=1))
    assert (receipt.ids, receipt.rows["lake"], receipt.rows["quarantine"]) == (3, 6, 1)
    assert set(Lake(home.lake).read()["customer_id"]) == {OF(BOB)}
    assert places_naming(home.root, [OF(ANN), OF(TILL), OF(UNIONID)]) == []
    again = bring_in(home, chosen, tmp_path)
    assert [one.stored for one in again] == [0, 0]
    assert places_naming(home.root, [*IDS, OF(ANN), OF(TILL)]) == []


def test_the_service_stores_pseudonyms_and_answers_to_the_ids_asked(home: Home) -> None:
    parts = PeopleParts(home, pseudonymous_ids="true", id_key=KEY)

    async def job(client: Any) -> None:
        reply = await send(
            client, event(1, ANN), event(2, f"pos:{TILL}", at=1), event(3, BOB, at=2), tags=True
        )
        assert [one["customer_id"] for one in reply["customers"]] == [ANN, f"pos:{TILL}", BOB]
        assert all(one["tags"] for one in reply["customers"])
        bad = event(4, ANN, quantity=-1), event(5, BOB) | {"custmer_id": ANN}, event(6, "x" * 300), ANN
        refused = await client.post("/v1/events", json={"events": list(bad)})
        assert (refused.status_code, len(refused.json()["details"])) == (422, 4)
        found = await ask(client, ANN, f"web:{ANN}", OF(ANN), "nobody")
        assert [row["customer_id"] for row in found] == [ANN, f"web:{ANN}", OF(ANN), "nobody"]
        assert [row["status"] for row in found] == ["ok"] * 3 + ["cold_start"]
        assert {row.get("merged_into") for row in found[:2]} == {OF(ANN)}
        assert (await client.get(f"/v1/customers/{ANN}")).json()["customer"]["customer_id"] == ANN
        assert parts.log.read_after(0, 9)["customer_id"].to_list() == [OF(ANN), f"pos:{OF(TILL)}", OF(BOB)]
        await parts.link(OF(ANN), f"pos:{OF(TILL)}")
        assert (await ask(client, f"pos:{TILL}"))[0]["merged_into"] == OF(ANN)
        again = await send(client, event(1, ANN))
        assert again["duplicates"] == 1
        assert places_naming(home.root, IDS) == []
        erased = await client.delete(f"/v1/customers/{ANN}")
        assert (erased.status_code, erased.json()["tombstones"]) == (200, 2)
        assert (await send(client, event(1, ANN)))["erased"] == 1
        assert [row["status"] for row in await ask(client, ANN, BOB)] == ["cold_start", "ok"]

    run(parts, job)
    again = PeopleParts(home, pseudonymous_ids="true", id_key=KEY)
    assert [line["what"] for line in again.audit.read(customers=[OF(ANN)])][-2:] == ["erasure", "write"]
    again.close()
    assert places_naming(home.root, IDS) == []


def command(home: Home, capsys: pytest.CaptureFixture[str], *arguments: str, **environ: str) -> Any:
    code = cli.main(["--home", str(home.root), *arguments, "--json"], dict(ENVIRON | environ))
    shown = capsys.readouterr()
    assert code == 0, shown.err
    return json.loads(shown.out)


def test_commands_take_plain_ids_and_keep_none(
    home: Home, chosen: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bring_in(home, chosen, tmp_path)
    linked = command(home, capsys, "identities", "link", BOB, f"app:{ANN}x", "--new-space")
    assert linked["ids"] == [OF(BOB), f"app:{OF(ANN + 'x')}"]
    shown = command(home, capsys, "identities", "show", f"unionid:{UNIONID}")
    assert shown["customer_id"] == OF(ANN)
    assert sum(one["events"] for one in shown["ids"]) == 6
    command(home, capsys, "identities", "unlink", BOB, f"app:{ANN}x")
    assert len(command(home, capsys, "audit", "ls", "--customer", BOB)["lines"]) == 2
    assert command(home, capsys, "erase", BOB, "--yes")["rows"]["lake"] == 3
    assert places_naming(home.root, [*IDS, f"{ANN}x"]) == []


def test_a_home_begun_without_is_not_mixed_with_one_begun_with(
    home: Home, chosen: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    post(home, ANN)
    mapping = source(tmp_path, "web", rows([(ANN, None)]))
    with pytest.raises(Exception, match="plain ids already"):
        import_source(home, chosen, mapping, now=NOW)
    for arguments in (["erase", ANN, "--yes"], ["identities", "show", ANN], ["audit", "verify"]):
        assert cli.main(["--home", str(home.root), *arguments], dict(ENVIRON)) == 2
        assert "plain ids already" in capsys.readouterr().err
    assert Lake(home.lake).row_count() <= 1


def test_pseudonyms_look_like_nothing_else(home: Home, chosen: Settings, tmp_path: Path) -> None:
    bring_in(home, chosen, tmp_path)
    ids = Lake(home.lake).read()["customer_id"].str.strip_prefix("pos:")
    assert all(PSEUDONYM.fullmatch(one) for one in ids)
    assert ids.n_unique() == len({ANN, BOB, TILL})
