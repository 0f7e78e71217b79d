from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from features.identities import Space, Spaces
from features.refused_ids import IdPlaces, rows_naming
from tests.features.made_sources import mapping

SHOP = Spaces([Space("web", "", is_source=True), Space("pos", "pos:", is_source=True)])
POS = IdPlaces(("pos:", "unionid:"), ("CAST(buyer AS VARCHAR)", "wx_id"))


def refused(*rows: dict[str, Any]) -> pl.DataFrame:
    template = {"value": "x", "expected": "INTEGER", "raw": "{}", "customer_id": None}
    written = [
        row | {"raw": json.dumps(row["raw"])} if isinstance(row.get("raw"), dict) else row for row in rows
    ]
    schema = dict.fromkeys(template, pl.String)
    return pl.DataFrame([template | row for row in written], schema=schema)


def found(rows: pl.DataFrame, *ids: str, places: IdPlaces = POS) -> list[bool]:
    return rows_naming(rows, places, SHOP, set(ids).intersection).to_list()


@pytest.mark.parametrize(
    "row",
    [
        {"raw": {"buyer": "ann-77", "pieces": "some"}},
        {"raw": {"BUYER": " ann-77 "}},
        {"raw": {"note": "ann-77"}},
        {"raw": {"items": [{"for": "ann-77"}]}},
        {"raw": {"wx_id": "U-1"}},
        {"raw": "1,ann-77,2019"},
        {"raw": "1;'ann-77' ;2019"},
        {"raw": '"ann-77"\t2019'},
        {"raw": "pos:ann-77|x"},
        {"raw": json.dumps("ann-77")},
        {"value": "ann-77"},
        {"expected": 'Could not convert string "ann-77" to BIGINT'},
        {"customer_id": "pos:ann-77"},
    ],
)
def test_an_id_is_found_as_a_whole_value_wherever_it_stands(row: dict[str, Any]) -> None:
    assert found(refused(row), "pos:ann-77", "unionid:U-1") == [True]


@pytest.mark.parametrize(
    "row",
    [
        {"raw": {"buyer": "ann-771"}},
        {"raw": {"buyer": "xann-77"}},
        {"raw": {"note": "for ann-77"}},
        {"raw": "1,ann-770,2019"},
        {"raw": "", "value": None},
        {"raw": None},
        {"raw": {"buyer": None, "is_gift": True}},
        {"customer_id": "ann-77"},
    ],
)
def test_a_part_of_a_value_and_another_sources_customer_are_somebody_else(row: dict[str, Any]) -> None:
    assert found(refused(row), "pos:ann-77") == [False]


def test_a_short_id_counts_only_where_ids_stand() -> None:
    rows = refused(
        {"raw": {"buyer": 7, "pieces": 1}},
        {"raw": {"buyer": 8, "pieces": 7}},
        {"raw": {"buyer": 7.0}},
        {"raw": "9,7,2019"},
    )
    assert found(rows, "pos:7") == [True, False, True, True]


def test_a_posted_row_holds_ids_as_tagtide_writes_them() -> None:
    rows = refused({"raw": {"customer_id": "web:7"}}, {"raw": {"customer_id": "pos:7"}})
    assert found(rows, "7", places=IdPlaces()) == [True, False]
    assert found(rows, "pos:7", places=IdPlaces()) == [False, True]


def test_where_ids_stand_is_read_from_the_mapping() -> None:
    made = mapping(identities={"unionid": "wx_id", "web": "account"})
    places = IdPlaces.of(made, "pos:", SHOP)
    assert places.prefixes == ("pos:", "unionid:", "")
    assert [places.names(column) for column in ("customer", "wx_id", "Account", "custom")] == [True] * 3 + [
        False
    ]
    assert IdPlaces.of(None, "pos:", SHOP) == IdPlaces()


def test_no_rows_name_nobody() -> None:
    assert found(refused().clear(), "pos:7") == []
