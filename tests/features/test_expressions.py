from __future__ import annotations

import time
from pathlib import Path

import pytest

from features.errors import SourceError
from features.sources import read_source
from tests.features.made_sources import COLUMNS, NOW, mapping, read, times


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


@pytest.mark.parametrize(
    ("expression", "good", "bad"),
    [
        ("pieces", "3", "1.5"),
        ("pieces", "4.0", "some"),
        ("pieces", " 7 ", "true"),
        ("pieces", "2e3", "1e99"),
        ("2 * pieces", "3", "0.7"),
        ("CAST(pieces AS DECIMAL(9, 2))", "3", "2.25"),
        ("CAST(pieces AS FLOAT)", "3", "2.5"),
        ("pieces", "3", "nan"),
        ("pieces", "3", "-inf"),
    ],
)
def test_a_fraction_is_refused_where_a_whole_number_belongs(
    tmp_path: Path, expression: str, good: str, bad: str
) -> None:
    rows = [{"id": "good", "pieces": good}, {"id": "bad", "pieces": bad}]
    found = read(tmp_path, rows, mapping(COLUMNS | {"quantity": expression}))
    assert found.good["event_id"].to_list() == ["good"]
    assert found.good["quantity"].to_list() == [float(good) * (2 if "2 *" in expression else 1)]
    assert found.refused.select("field", "value", "expected").row(0) == (
        "quantity",
        bad,
        f"a whole number from {expression}",
    )


def test_cents_that_are_not_rounded_are_refused_rather_than_rounded(tmp_path: Path) -> None:
    rows = [{"id": "1", "price": "2.50"}, {"id": "2", "price": "1.10"}, {"id": "3", "price": "0.575"}]
    found = read(tmp_path, rows, mapping(COLUMNS | {"amount_minor": "100 * price"}))
    # In binary 100 · 1.10 is 110.00000000000001.
    assert found.good["amount_minor"].to_list() == [250]
    assert found.refused["value"].to_list() == ["1.10", "0.575"]


def test_a_truth_value_is_no_number(tmp_path: Path) -> None:
    rows = [{"id": "1", "paid": "true"}, {"id": "2", "paid": "false"}]
    with pytest.raises(SourceError, match="'amount_minor': 'paid' is of type BOOLEAN, expected a number"):
        read(tmp_path, rows, mapping(COLUMNS | {"amount_minor": "paid"}))
    mixed = read(tmp_path, [*rows, {"id": "3", "paid": "7"}], mapping(COLUMNS | {"amount_minor": "paid"}))
    assert mixed.good["amount_minor"].to_list() == [7]
    assert mixed.refused["value"].to_list() == ["true", "false"]


def test_what_fails_in_two_expressions_alike_costs_its_row_alone(tmp_path: Path) -> None:
    columns = COLUMNS | {"quantity": "CAST(pieces AS INTEGER)", "discount_minor": "CAST(pieces AS INTEGER)"}
    found = read(tmp_path, [{"id": "1", "pieces": "2"}, {"id": "2", "pieces": "some"}], mapping(columns))
    assert found.good["quantity"].to_list() == [2]
    assert found.refused["value"].to_list() == ["some"]


def test_a_time_in_another_format_than_the_one_given_is_refused_with_it(tmp_path: Path) -> None:
    form = "%d/%m/%Y %H:%M"
    rows = [{"id": str(n), "happened": text} for n, text in enumerate(["13/02/2019 10:00", "2019-02-14", ""])]
    told = mapping(read={"csv": "shop.csv", "timestampformat": form})
    found = read(tmp_path, rows, told)
    assert times(found) == ["2019-02-13T10:00:00+00:00"]
    assert found.refused.select("value", "expected").rows() == [
        ("2019-02-14", f"a time like {form} from happened"),
        ("null", "a value"),
    ]
    # A time that could not be read must not pass for one that was not given.
    seen = [{"id": "1", "seen": "01/03/2019 10:00"}, {"id": "2", "seen": "soon"}]
    columns = COLUMNS | {"ingested_at": "seen"}
    late = read(tmp_path, seen, mapping(columns, read={"csv": "shop.csv", "timestampformat": form}))
    assert late.good["event_id"].to_list() == ["1"]
    assert late.refused["field"].to_list() == ["ingested_at"]


def test_numbers_in_text_are_read_as_the_file_writes_them(tmp_path: Path) -> None:
    german = mapping(read={"csv": "shop.csv", "decimal_separator": ",", "thousands": "."})
    rows = [{"id": "1", "price": "1.234,50"}, {"id": "2", "price": "1.000"}, {"id": "3", "price": "k.A."}]
    found = read(tmp_path, rows, german)
    assert found.good["amount_minor"].to_list() == [123_450, 100_000]
    assert found.refused["value"].to_list() == ["k.A."]


def test_a_file_of_nothing_but_failures_is_explained_at_once(tmp_path: Path) -> None:
    count = 200_000
    path = tmp_path / "shop.csv"
    head = "id,customer,kind,happened,price\n0,ann,view,2019-03-01,1.5\n"
    path.write_text(head + "".join(f"{n},ann,view,2019-03-01,x{n}\n" for n in range(1, count)))
    began = time.process_time()
    found = read_source(mapping().model_copy(update={"folder": tmp_path}), {}, now=NOW)
    assert time.process_time() - began < 10
    assert found.refused.height == count - 1
    assert found.refused["value"][-1] == f"x{count - 1}"
    assert found.refused["row"].to_list() == list(range(3, count + 2))


def test_a_window_over_text_that_holds_numbers_loses_only_the_rows_without(tmp_path: Path) -> None:
    columns = COLUMNS | {"quantity": "max(pieces) OVER (PARTITION BY customer) * 2"}
    rows = [{"id": "1", "pieces": "9"}, {"id": "2", "pieces": "10"}, {"id": "3", "pieces": "some"}]
    found = read(tmp_path, rows, mapping(columns))
    assert found.good["quantity"].to_list() == [20, 20], "10 is more than 9, though not as text"
    assert found.refused["value"].to_list() == ["customer=ann, pieces=some"]


@pytest.mark.parametrize(
    ("expression", "kind", "remedy"),
    [
        ("CAST(price AS DOUBLE)", "DOUBLE", "CAST(… AS BIGINT)"),
        ("encode(customer)", "BLOB", "decode(…)"),
        ("string_split(customer, ' ')", r"VARCHAR\[\]", "x[1]"),
        ("{'name': customer}", "STRUCT", "x.name"),
    ],
)
def test_what_has_no_text_that_anybody_means_is_no_identifier(
    tmp_path: Path, expression: str, kind: str, remedy: str
) -> None:
    with pytest.raises(SourceError, match=f"is of type {kind}.*, expected text or a whole number") as caught:
        read(tmp_path, [{}], mapping(COLUMNS | {"item_id": expression}))
    assert remedy in caught.value.next_step


@pytest.mark.parametrize(
    ("header", "expression", "message", "remedy"),
    [
        ("paid", "100 * paid", "needs numbers, and 'paid' holds text such as '1.234,50'", '`thousands: "."`'),
        ("unit price", "2 * unit price", "", 'in double quotes: "unit price"'),
        ("金额(元)", "2 * 金额(元)", "", 'in double quotes: "金额(元)"'),
    ],
)
def test_a_strangers_first_mistakes_are_told_with_their_remedies(
    tmp_path: Path, header: str, expression: str, message: str, remedy: str
) -> None:
    with pytest.raises(SourceError) as caught:
        read(tmp_path, [{header: "1.234,50"}], mapping(COLUMNS | {"discount_minor": expression}))
    assert message in caught.value.message
    assert remedy in caught.value.next_step
