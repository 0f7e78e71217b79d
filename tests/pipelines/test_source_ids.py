from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import yaml

from configs.home import Home
from features.database import open_engine
from features.errors import SourceError
from features.identity_log import Identities
from features.lake import Lake
from features.mapping import check_mapping
from pipelines.current_lake import open_lake
from pipelines.source_ids import settled_ids
from tests.pipelines.two_shops import NOW, POS, WEB, bring_in, post, rows, settings_of, source


def customers(home: Home) -> dict[str, set[str]]:
    """Ids as they are stored, by source."""
    events = Lake(home.lake).read(columns=["source", "customer_id"])
    return {str(name): set(group["customer_id"]) for (name,), group in events.group_by("source")}


def identities(home: Home) -> Identities:
    return Identities(open_engine(None, home))


def test_ids_of_two_sources_never_collide(home: Home, tmp_path: Path) -> None:
    bring_in(home, source(tmp_path, "web", rows(WEB)))
    report = bring_in(home, source(tmp_path, "pos", rows(POS)))
    assert report.stored == 6
    assert customers(home) == {"web": {"7", "8", "9"}, "pos": {"pos:7", "pos:8"}}
    assert open_lake(home, settings_of(home)).read()["customer_id"].n_unique() == 5


def test_what_was_decided_at_the_first_import_holds_at_every_other(home: Home, tmp_path: Path) -> None:
    web, pos = source(tmp_path, "web", rows(WEB)), source(tmp_path, "pos", rows(POS))
    bring_in(home, web)
    bring_in(home, pos)
    before = customers(home)
    for mapping in (pos, web):
        again = bring_in(home, mapping, NOW + timedelta(days=1))
        assert (again.stored, again.quarantined) == (0, 0)
    assert customers(home) == before


def test_a_source_may_share_the_ids_of_another(home: Home, tmp_path: Path) -> None:
    bring_in(home, source(tmp_path, "web", rows(WEB)))
    bring_in(home, source(tmp_path, "app", rows(POS), shares_customer_ids_with="web"))
    bring_in(home, source(tmp_path, "pos", rows(POS)))
    bring_in(home, source(tmp_path, "till", rows(POS), shares_customer_ids_with="pos"))
    assert customers(home) == {
        "web": {"7", "8", "9"},
        "app": {"7", "8"},
        "pos": {"pos:7", "pos:8"},
        "till": {"pos:7", "pos:8"},
    }


def test_sharing_with_a_source_that_is_not_there_is_refused(home: Home, tmp_path: Path) -> None:
    bring_in(home, source(tmp_path, "web", rows(WEB)))
    with pytest.raises(SourceError, match=r"with 'wbe', which was never imported \(did you mean 'web'\?\)"):
        bring_in(home, source(tmp_path, "app", rows(POS), shares_customer_ids_with="wbe"))


def test_sharing_cannot_begin_after_the_first_import(home: Home, tmp_path: Path) -> None:
    bring_in(home, source(tmp_path, "web", rows(WEB)))
    bring_in(home, source(tmp_path, "pos", rows(POS)))
    with pytest.raises(SourceError, match="imported under ids of their own"):
        bring_in(home, source(tmp_path, "pos", rows(POS), shares_customer_ids_with="web"))


def test_a_source_whose_name_begins_ids_that_are_there_is_refused(home: Home, tmp_path: Path) -> None:
    bring_in(home, source(tmp_path, "web", rows([("till:1", None), ("8", None)])))
    with pytest.raises(SourceError, match=r"3 stored events have a customer id that begins with 'till:'"):
        bring_in(home, source(tmp_path, "till", rows(POS)))
    post(home, "kiosk:5")
    with pytest.raises(SourceError, match="begins with 'kiosk:'") as raised:
        bring_in(home, source(tmp_path, "kiosk", rows(POS)))
    assert "kiosk:5" not in str(raised.value)
    assert set(customers(home)) == {"web", "api"}


def test_a_plain_id_that_would_be_a_further_sources_is_refused_row_by_row(home: Home, tmp_path: Path) -> None:
    bring_in(home, source(tmp_path, "web", rows(WEB)))
    bring_in(home, source(tmp_path, "pos", rows(POS)))
    more = bring_in(home, source(tmp_path, "web", [*rows(WEB), *rows([("pos:7", None)])]))
    assert (more.quarantined, more.stored) == (3, 0)


def test_posted_events_carry_ids_as_tagtide_writes_them(home: Home, tmp_path: Path) -> None:
    bring_in(home, source(tmp_path, "web", rows(WEB)))
    bring_in(home, source(tmp_path, "pos", rows(POS)))
    post(home, "7", "pos:7", "web:9")
    bring_in(home, source(tmp_path, "pos", rows(POS)))
    assert customers(home)["api"] == {"7", "pos:7", "web:9"}
    read = open_lake(home, settings_of(home)).read()
    assert set(read.filter(source="api")["customer_id"]) == {"7", "pos:7", "9"}


def test_an_import_that_brings_no_event_decides_nothing(home: Home, tmp_path: Path) -> None:
    wrong = [row | {"kind": "nothing"} for row in rows(POS)]
    bring_in(home, source(tmp_path, "pos", wrong))
    bring_in(home, source(tmp_path, "web", rows(WEB)))
    bring_in(home, source(tmp_path, "pos", rows(POS)))
    assert customers(home) == {"web": {"7", "8", "9"}, "pos": {"pos:7", "pos:8"}}


def test_a_home_of_an_earlier_version_goes_on_with_the_ids_it_has(home: Home, tmp_path: Path) -> None:
    for name, customer in (("web", "7"), ("pos", "8")):
        mapping = source(tmp_path, name, rows([(customer, None)]))
        bring_in(home, mapping, NOW + timedelta(days=name == "pos"))
    home.database.unlink()
    for path in home.sources.rglob("import-*.json"):
        report = json.loads(path.read_text())
        path.write_text(json.dumps({name: report[name] for name in report.keys() - {"linked", "erased"}}))
    for path in home.lake.rglob("*.parquet"):
        plain = pl.read_parquet(path).with_columns(pl.col("customer_id").str.strip_prefix("pos:"))
        plain.write_parquet(path)
    again = bring_in(home, source(tmp_path, "pos", rows([("8", None)])), NOW + timedelta(days=9))
    assert (again.stored, again.duplicate) == (0, 3)
    assert [space.prefix for space in identities(home).resolution().spaces.by_name.values()] == ["", ""]
    bring_in(home, source(tmp_path, "till", rows([("8", None)])))
    assert customers(home)["till"] == {"till:8"}


def test_a_mappings_identities_join_customers_of_several_sources(home: Home, tmp_path: Path) -> None:
    linked = bring_in(home, source(tmp_path, "web", rows(WEB), identities={"unionid": "wx"})).linked
    assert linked == 1
    assert bring_in(home, source(tmp_path, "pos", rows(POS), identities={"unionid": "wx"})).linked == 1
    lake = open_lake(home, settings_of(home))
    assert set(lake.read()["customer_id"]) == {"7", "8", "9", "pos:8"}
    assert lake.read(customers=["8"]).height == 6
    assert customers(home)["pos"] == {"pos:7", "pos:8"}
    assert identities(home).log()["why"].to_list() == ["import web", "import pos"]


def test_an_identity_may_be_another_sources_customer(home: Home, tmp_path: Path) -> None:
    bring_in(home, source(tmp_path, "web", rows(WEB)))
    made = [row | {"account": {"7": "9", "8": None}[row["who"]]} for row in rows(POS)]
    bring_in(home, source(tmp_path, "pos", made, identities={"web": "account"}))
    assert identities(home).resolution().one("pos:7") == "9"


def test_repeating_an_import_links_nothing_anew_and_respects_what_was_unlinked(
    home: Home, tmp_path: Path
) -> None:
    mapping = source(tmp_path, "web", rows(WEB), identities={"unionid": "wx"})
    bring_in(home, mapping)
    assert bring_in(home, mapping).linked == 0
    identities(home).unlink("8", "unionid:U-8", why="a shared phone", at=NOW)
    assert bring_in(home, mapping).linked == 0
    assert identities(home).resolution().one("unionid:U-8") == "unionid:U-8"


def test_what_is_not_known_yet_links_nobody(home: Home, tmp_path: Path) -> None:
    made = rows(WEB)
    said_late = [row | {"wx": "U-9" if row["id"] == "e2-9" else None} for row in made]
    mapping = source(tmp_path, "web", said_late, identities={"unionid": "wx"})
    assert bring_in(home, mapping, until=NOW.replace(month=5, day=1, hour=12)).linked == 0
    assert bring_in(home, mapping).linked == 1


def test_a_refused_row_links_nobody(home: Home, tmp_path: Path) -> None:
    made = [row | {"kind": "nothing" if row["who"] == "8" else "view"} for row in rows(WEB)]
    assert bring_in(home, source(tmp_path, "web", made, identities={"unionid": "wx"})).linked == 0


def test_the_report_counts_links(home: Home, tmp_path: Path) -> None:
    bring_in(home, source(tmp_path, "web", rows(WEB), identities={"unionid": "wx"}))
    (path,) = (home.sources / "web").glob("import-*.json")
    report = json.loads(path.read_text())
    assert (report["linked"], report["erased"]) == (1, 0)


def test_a_replayed_sources_ids_are_written_as_an_imported_ones(home: Home, tmp_path: Path) -> None:
    web, pos = source(tmp_path, "web", rows(WEB)), source(tmp_path, "pos", rows(POS))
    settings = settings_of(home)
    assert settled_ids(home, settings, web).prefix == ""
    assert settled_ids(home, settings, pos).prefix == "pos:"
    assert settled_ids(home, settings, web).prefix == ""
    bring_in(home, pos)
    assert customers(home) == {"pos": {"pos:7", "pos:8"}}


def test_the_mapping_of_the_page_on_identities_is_one() -> None:
    page = Path(__file__).parents[2] / "docs" / "identities.md"
    text = page.read_text(encoding="utf-8")
    (written,) = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    mapping = check_mapping(yaml.safe_load(written), "page", Path())
    assert set(mapping.identities) == {"unionid", "member_number", "phone_sha256", "web"}
