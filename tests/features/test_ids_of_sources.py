"""How a source's ids come in: prefixed, with further ids beside them, and not at all of who was erased."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from features.errors import SourceError
from features.identities import Space, Spaces
from features.mapping import SourceMapping
from features.sources import SourceIds, SourceRows, read_source
from tests.features.made_sources import NOW, SOUND, mapping

SPACES = Spaces(
    [
        Space("web", "", is_source=True),
        Space("shop", "shop:", is_source=True),
        Space("unionid", "unionid:", is_source=False),
    ]
)
PLAIN = Spaces([Space("shop", "", is_source=True), Space("pos", "pos:", is_source=True)])


def read(
    folder: Path, rows: list[dict[str, Any]], ids: SourceIds | None, made: SourceMapping | None = None
) -> SourceRows:
    pl.DataFrame([SOUND | row for row in rows], infer_schema_length=None).write_csv(folder / "shop.csv")
    filled = (made or mapping()).model_copy(update={"folder": folder})
    return read_source(filled, {}, now=NOW, ids=ids)


def partition(found: SourceRows) -> int:
    return found.good.height + found.refused.height + found.left_out + found.later + found.erased


def test_a_further_sources_ids_are_prefixed_and_a_first_ones_are_as_they_are(tmp_path: Path) -> None:
    rows = [{"customer": "ann"}, {"id": "2", "customer": "x:y"}]
    assert read(tmp_path, rows, SourceIds("shop:", SPACES)).good["customer_id"].to_list() == [
        "shop:ann",
        "shop:x:y",
    ]
    assert read(tmp_path, rows, None).good["customer_id"].to_list() == ["ann", "x:y"]


def test_a_customer_that_is_not_there_stays_so_whatever_the_prefix(tmp_path: Path) -> None:
    found = read(tmp_path, [{"customer": None}, {"id": "2", "customer": ""}], SourceIds("shop:", SPACES))
    assert found.refused["expected"].to_list() == ["a value", "a value"]


def test_an_id_is_measured_with_its_prefix(tmp_path: Path) -> None:
    rows = [{"customer": "a" * 123}, {"id": "2", "customer": "a" * 124}]
    found = read(tmp_path, rows, SourceIds("shop:", SPACES))
    assert found.good["customer_id"].to_list() == ["shop:" + "a" * 123]
    assert found.refused["expected"].to_list() == ["1 to 128 bytes"]


def test_a_plain_id_that_looks_like_another_spaces_is_refused(tmp_path: Path) -> None:
    rows = [{"customer": "pos:1"}, {"id": "2", "customer": "shop:1"}, {"id": "3", "customer": "till:1"}]
    found = read(tmp_path, rows, SourceIds("", PLAIN))
    assert found.good["customer_id"].to_list() == ["till:1"]
    assert found.refused.select("field", "value", "expected").rows() == [
        ("customer_id", "pos:1", "an id that does not begin with 'pos:', which marks those of pos"),
        ("customer_id", "shop:1", "an id that does not begin with 'shop:', which marks those of shop"),
    ]
    assert partition(found) == found.read == 3


def test_further_ids_come_beside_the_events_and_nulls_are_no_ids(tmp_path: Path) -> None:
    made = mapping(identities={"unionid": "wx", "web": "account", "shop": "before"})
    rows = [
        {"wx": "U1", "account": "7", "before": None},
        {"id": "2", "wx": "", "account": None, "before": "old"},
        {"id": "3", "kind": "nothing", "wx": "U3", "account": "9", "before": None},
    ]
    found = read(tmp_path, rows, SourceIds("shop:", SPACES), made)
    assert found.identities.to_dicts() == [
        {"unionid": "unionid:U1", "web": "7", "shop": None},
        {"unionid": None, "web": None, "shop": "shop:old"},
    ]
    assert found.good.height == found.identities.height


def test_a_further_id_that_cannot_be_made_or_is_none_refuses_its_row(tmp_path: Path) -> None:
    made = mapping(identities={"unionid": "CAST(CAST(wx AS BIGINT) AS VARCHAR) || repeat('x', len)"})
    rows = [{"wx": "1", "len": 0}, {"id": "2", "wx": "none", "len": 0}, {"id": "3", "wx": "3", "len": 200}]
    found = read(tmp_path, rows, SourceIds("shop:", SPACES), made)
    assert found.identities["unionid"].to_list() == ["unionid:1"]
    assert found.refused["field"].to_list() == ["identities.unionid"] * 2
    assert found.refused["expected"].to_list()[1].startswith("1 to 128 bytes with its space's name")
    assert found.refused["value"].to_list()[0] == "wx=none, len=0"


def test_an_expression_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"'identities\.unionid'.*names 'wx'"):
        read(tmp_path, [{}], None, mapping(identities={"unionid": "upper(wx)"}))


def test_whose_a_refused_row_is_is_told_where_it_is_known(tmp_path: Path) -> None:
    rows = [{"price": "much"}, {"id": "2", "happened": "soon"}, {"id": "3", "kind": "none"}, {"id": "4"}]
    found = read(tmp_path, rows, SourceIds("shop:", SPACES))
    moment = datetime(2019, 3, 1, 10, tzinfo=UTC)
    assert found.refused.select("customer_id", "event_time").rows() == [
        ("shop:ann", moment),
        ("shop:ann", None),
        ("shop:ann", moment),
    ]


def cover_ann_before_march(ids: pl.Series, times: pl.Series) -> pl.Series:
    is_old = (times <= datetime(2019, 3, 1, tzinfo=UTC)) | times.is_null()
    return (ids.is_in(["ann", "shop:ann"]) & is_old).fill_null(value=False)


def test_what_an_erased_customer_did_neither_comes_in_nor_is_refused(tmp_path: Path) -> None:
    rows = [
        {"happened": "2019-02-01 10:00:00"},
        {"id": "2", "happened": "2019-04-01 10:00:00"},
        {"id": "3", "happened": "2019-02-01 10:00:00", "price": "much"},
        {"id": "4", "happened": "2019-02-01 10:00:00", "kind": "none"},
        {"id": "5", "happened": "soon"},
        {"id": "6", "happened": "2019-02-01 10:00:00", "customer": "bob"},
        {"id": "7", "happened": "2019-04-01 10:00:00", "price": "much"},
    ]
    for ids in (
        SourceIds("shop:", SPACES, cover_ann_before_march),
        SourceIds("", PLAIN, cover_ann_before_march),
    ):
        found = read(tmp_path, rows, ids)
        assert found.good["event_id"].to_list() == ["2", "6"]
        assert found.refused["row"].to_list() == [8]
        assert (found.erased, partition(found)) == (4, found.read)


def test_the_first_sources_name_before_an_id_does_not_bring_an_erased_customer_back(tmp_path: Path) -> None:
    rows = [{"happened": "2019-02-01 10:00:00", "customer": "shop:ann"}]
    found = read(tmp_path, rows, SourceIds("", PLAIN, cover_ann_before_march))
    assert (found.erased, found.refused.height) == (1, 0)
