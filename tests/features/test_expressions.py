from __future__ import annotations

from pathlib import Path

import pytest

from features.errors import SourceError
from tests.features.made_sources import COLUMNS, mapping, read, times


def test_a_null_is_no_failure_and_a_failure_no_null(tmp_path: Path) -> None:
    columns = COLUMNS | {"amount_minor": "CAST(price AS BIGINT)", "quantity": "CAST(pieces AS INTEGER)"}
    rows = [{"id": "a", "pieces": "3"}, {"id": "b", "pieces": None}, {"id": "c", "pieces": "three"}]
    found = read(tmp_path, rows, mapping(columns))
    assert found.good["event_id"].to_list() == ["a", "b"]
    assert found.good["quantity"].to_list() == [3, 1], "no quantity is one piece"
    assert found.refused["field"].to_list() == ["quantity"]


def test_an_expression_on_times_reads_text_as_times(tmp_path: Path) -> None:
    columns = COLUMNS | {"event_time": "happened - INTERVAL 1 HOUR"}
    found = read(tmp_path, [{"id": "a"}, {"id": "b", "happened": "soon"}], mapping(columns))
    assert times(found) == ["2019-03-01T09:00:00+00:00"]
    assert found.refused["value"].to_list() == ["soon"]


def test_a_column_without_any_value_is_null_whatever_the_expression_does(tmp_path: Path) -> None:
    found = read(tmp_path, [{"price": None}, {"id": "2", "price": None}], mapping())
    assert found.good["amount_minor"].to_list() == [None, None]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"brand": "brnd"}, r"column 'brand': 'brnd' names 'brnd', which the source has not"),
        ({"brand": "custmer"}, r"names 'custmer', which the source has not \(did you mean 'customer'\?\)"),
        ({"brand": "upper(customer"}, r"column 'brand': 'upper\(customer': Parser Error"),
        ({"brand": "nosuch(customer)"}, r"column 'brand': .*nosuch"),
        ({"brand": "max(customer)"}, r"cannot be evaluated together"),
        ({"quantity": "customer * 2"}, r"column 'quantity': 'customer \* 2': Binder Error"),
    ],
)
def test_an_expression_that_cannot_be_evaluated_at_all_is_named_in_one_line(
    tmp_path: Path, columns: dict[str, str], message: str
) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        read(tmp_path, [{}], mapping(COLUMNS | columns))
    assert "\n" not in caught.value.message


def test_an_expression_may_number_rows(tmp_path: Path) -> None:
    columns = COLUMNS | {"event_id": "concat('r', row_number() OVER ())"}
    assert read(tmp_path, [{}, {}], mapping(columns)).good["event_id"].to_list() == ["r1", "r2"]


def test_an_expression_that_ends_in_a_comment_is_taken_as_it_is(tmp_path: Path) -> None:
    columns = COLUMNS | {"brand": "upper(customer) -- as on the till"}
    assert read(tmp_path, [{}], mapping(columns)).good["brand"].to_list() == ["ANN"]


def test_a_number_is_no_time(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"column 'event_time': '1551434400' is of type INTEGER, expected"
    ) as caught:
        read(tmp_path, [{}], mapping(COLUMNS | {"event_time": "1551434400"}))
    assert "to_timestamp" in caught.value.next_step


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("CAST(happened AS DATE)", "2019-03-01T15:59:59.999999+00:00"),
        ("CAST(happened AS TIMESTAMP)", "2019-03-01T02:00:00+00:00"),
        ("CAST(happened AS TIMESTAMP_NS)", "2019-03-01T02:00:00+00:00"),
        ("CAST(happened AS TIMESTAMPTZ)", "2019-03-01T10:00:00+00:00"),
        ("CAST(happened AS TIMESTAMP) AT TIME ZONE 'UTC'", "2019-03-01T10:00:00+00:00"),
        ("to_timestamp(1551434400)", "2019-03-01T10:00:00+00:00"),
        ("CAST(happened AS VARCHAR)", "2019-03-01T02:00:00+00:00"),
    ],
)
def test_the_type_of_an_expression_says_how_its_time_is_meant(
    tmp_path: Path, expression: str, expected: str
) -> None:
    found = read(tmp_path, [{}], mapping(COLUMNS | {"event_time": expression}, time_zone="Asia/Shanghai"))
    assert times(found) == [expected]


def test_a_column_called_like_a_word_of_sql_is_taken_by_its_name(tmp_path: Path) -> None:
    columns = COLUMNS | {"brand": "group", "category": "unit price"}
    found = read(tmp_path, [{"group": "x", "unit price": "2"}], mapping(columns))
    assert found.good.select("brand", "category").row(0) == ("x", "2")
