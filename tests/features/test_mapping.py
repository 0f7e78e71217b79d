from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from configs.errors import TagtideError
from features.errors import SourceError
from features.mapping import check_mapping, fill_in, load_mapping, shipped_names

SHOP: dict[str, Any] = {
    "source": "shop",
    "read": {"csv": "shop.csv"},
    "time_zone": "Europe/London",
    "columns": {"customer_id": "customer", "event_type": "'purchase'", "event_time": "at_time"},
}


def check(**changed: Any) -> Any:
    return check_mapping(SHOP | changed, "mapping", Path("/somewhere"))


def test_a_mapping_keeps_what_was_written() -> None:
    mapping = check()
    assert mapping.source == "shop"
    assert mapping.reader == "csv"
    assert mapping.columns == SHOP["columns"]
    assert mapping.evaluation.tags is None
    assert mapping.evaluation.clv == ()


@pytest.mark.parametrize("name", ["completejourney", "online_retail_ii", "cdnow"])
def test_a_shipped_mapping_bears_the_name_of_its_source(name: str) -> None:
    assert name in shipped_names()
    assert load_mapping(name, {"TAGTIDE_DATA": "/data"}).source == name


def test_the_evaluation_of_completejourney_has_the_dates_of_its_protocol() -> None:
    plan = load_mapping("completejourney", {}).evaluation
    assert plan.tags is not None
    assert (plan.tags.census.first, plan.tags.census.last) == (date(2017, 10, 31), date(2017, 12, 26))
    assert plan.tags.census.every_days == 2
    assert plan.tags.fit_until == date(2017, 9, 23)
    assert (plan.tags.certify.first, plan.tags.certify.last) == (date(2017, 10, 15), date(2017, 10, 27))
    assert [part.horizon_hours for part in plan.propensity] == [72, 168, 720]
    assert [(part.as_of, part.horizon_days) for part in plan.clv] == [(date(2017, 10, 1), 90)]


def test_no_plan_lets_a_label_window_reach_into_the_next_slice() -> None:
    for name in shipped_names():
        for part in load_mapping(name, {"TAGTIDE_DATA": "/data"}).evaluation.propensity:
            days = part.horizon_hours / 24
            assert (part.calibrate.first - part.fit_until).days >= days
            assert (part.census.first - part.calibrate.last).days >= days


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sorce": "x"}, r"unknown key 'sorce' \(did you mean 'source'\?\)"),
        ({"source": "Shop/1"}, r"'source' is 'Shop/1': expected 1 to 64 of a-z"),
        ({"source": 7}, r"'source' is 7"),
        ({"time_zone": "Europe/Londn"}, r"'time_zone' is 'Europe/Londn': .*did you mean 'Europe/London'"),
        ({"currency": "pounds"}, r"'currency' is 'pounds'"),
        ({"columns": None}, r"'columns' is None"),
        (
            {"columns": SHOP["columns"] | {"catgory": "x"}},
            r"unknown column 'catgory' \(did you mean 'category'\?\)",
        ),
        ({"columns": SHOP["columns"] | {"source": "'x'"}}, r"unknown column 'source'"),
        ({"columns": {"customer_id": "c", "event_type": "t"}}, r"column 'event_time' is missing"),
        ({"columns": SHOP["columns"] | {"brand": " "}}, r"column 'brand' is empty"),
        ({"columns": SHOP["columns"] | {"brand": ["a"]}}, r"'columns.brand' is \['a'\]"),
        ({"read": {}}, r"expected exactly one of parquet, csv, sql, loader, got nothing"),
        ({"read": {"parqet": "x"}}, r"got 'parqet' \(did you mean 'parquet'\?\)"),
        ({"read": {"csv": "a", "sql": "b"}}, r"expected exactly one of"),
        ({"read": {"csv": 3}}, r"csv is 3: expected text"),
        ({"read": "shop.csv"}, r"'read' is 'shop.csv'"),
        (
            {"evaluation": {"clv": [{"as_of": "soon", "horizon_days": 90}]}},
            r"'evaluation.clv.0.as_of' is 'soon'",
        ),
        ({"evaluation": {"clv": [{"as_of": "2017-01-01"}]}}, r"'evaluation.clv.0.horizon_days' is missing"),
        ({"evaluation": {"tag": {}}}, r"unknown key 'evaluation.tag'"),
        ({"identities": {"union id": "wx"}}, r"'identities': 'union id': expected 1 to 64 of a-z"),
        ({"identities": {"unionid": " "}}, r"'identities': 'unionid' is empty"),
        ({"identities": ["wx"]}, r"'identities' is \['wx'\]"),
        ({"shares_customer_ids_with": "shop"}, r"'shares_customer_ids_with' is 'shop': expected another"),
    ],
)
def test_a_wrong_mapping_is_refused_in_one_line_that_names_it(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        check(**changed)
    assert "\n" not in caught.value.message


def test_a_missing_key_is_named() -> None:
    with pytest.raises(SourceError, match="'read' is missing"):
        check_mapping({"source": "shop", "columns": SHOP["columns"]}, "mapping", Path())


def test_a_number_is_a_constant_expression() -> None:
    assert check(columns=SHOP["columns"] | {"quantity": 1}).columns["quantity"] == "1"


def test_an_unknown_name_suggests_a_shipped_one(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no shipped source 'cdnw' \(did you mean 'cdnow'\?\)"):
        load_mapping("cdnw", {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "source mapping not found: .*shop.yaml"),
        ("source: [", r"shop.yaml line 1"),
        ("- a\n", "expected a mapping, got list"),
        ("", "'source' is missing"),
    ],
)
def test_a_missing_or_malformed_file_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "shop.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TagtideError, match=message):
        load_mapping(path, {})


def test_an_environment_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(SourceError, match="source cdnow: environment variable TAGTIDE_DATA is not set"):
        load_mapping("cdnow", {})
    with pytest.raises(SourceError, match="TAGTIDE_DATA is not set"):
        load_mapping("cdnow", {"TAGTIDE_DATA": ""})


def test_variables_are_filled_in_at_any_depth() -> None:
    filled = fill_in({"a": ["${X}/${Y}", 3], "b": None}, {"X": "1", "Y": "2"}, "mapping")
    assert filled == {"a": ["1/2", 3], "b": None}


def test_further_ids_and_whose_ids_are_shared_may_be_said() -> None:
    mapping = check(identities={"unionid": "upper('${X}')", "shard": 7}, shares_customer_ids_with="web")
    assert mapping.filled_in({"X": "wx"}).identities == {"unionid": "upper('wx')", "shard": "7"}
    assert mapping.shares_customer_ids_with == "web"
    assert (check().identities, check().shares_customer_ids_with) == ({}, None)


def test_a_filled_in_secret_is_not_what_is_kept() -> None:
    mapping = check(read={"sql": "SELECT 1", "connection": "${URL}"})
    assert mapping.filled_in({"URL": "sqlite://u:secret@h"}).read["connection"].endswith("secret@h")
    assert "secret" not in mapping.model_dump_json()
