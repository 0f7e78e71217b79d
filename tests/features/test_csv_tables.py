"""CSV files as people have them: what cannot be read costs its line, and nothing is changed on the way."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import SourceError
from features.mapping import SourceMapping, check_mapping
from features.raw_table import RawTable
from features.tables import open_table

COLUMNS = {"event_id": "id", "customer_id": "customer", "event_type": "kind", "event_time": "happened"}
HEADER = b"id,customer,kind,happened,price\n"


def line(number: int, customer: str = "ann") -> bytes:
    return f"{number},{customer},view,2019-03-01 10:00:00,1.5\n".encode()


def mapping(folder: Path, columns: dict[str, str] | None = None, **read: Any) -> SourceMapping:
    written = {"source": "shop", "read": {"csv": "a.csv"} | read, "columns": columns or COLUMNS}
    return check_mapping(written, "mapping", folder)


def opened(folder: Path, content: bytes, columns: dict[str, str] | None = None, **read: Any) -> RawTable:
    (folder / "a.csv").write_bytes(content)
    return open_table(mapping(folder, columns, **read), threads=2)


def rows_of(table: RawTable) -> list[tuple[Any, ...]]:
    return table.connection.sql(
        "SELECT * EXCLUDE (tagtide_row) FROM source_rows ORDER BY tagtide_row"
    ).fetchall()


def column(table: RawTable, name: str) -> list[Any]:
    return [
        row[0] for row in table.connection.sql(f'SELECT "{name}" FROM source_rows ORDER BY ALL').fetchall()
    ]


def rejected(table: RawTable) -> list[tuple[Any, ...]]:
    return table.rejected.select("row", "field", "expected", "raw").rows()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "20", ""], "BIGINT"),
        (["1", " 20 "], "BIGINT"),
        (["1", "2.5", "-3e2", "nan"], "DOUBLE"),
        (["true", "FALSE"], "BOOLEAN"),
        (["1", "x"], "VARCHAR"),
        (["007", "8"], "VARCHAR"),
        (["007.5", "8"], "VARCHAR"),
        (["9007199254740993", "1.5"], "VARCHAR"),
        (["2013112011001004330000121536", "2013112011001004330000121537"], "VARCHAR"),
        (["9223372036854775807"], "BIGINT"),
        (["9223372036854775808"], "VARCHAR"),
        (["2019-03-01", "2019-03-02"], "VARCHAR"),
        (["", ""], "VARCHAR"),
    ],
)
def test_a_column_is_of_numbers_if_all_its_values_are_and_none_loses_a_digit(
    tmp_path: Path, values: list[str], kind: str
) -> None:
    text = "id,n\n" + "".join(f"r{number},{value}\n" for number, value in enumerate(values))
    assert opened(tmp_path, text.encode()).columns["n"] == kind


def test_one_text_among_a_hundred_thousand_numbers_costs_no_row(tmp_path: Path) -> None:
    content = b"id,note\n" + b"".join(b"%d,%d\n" % (n, n) for n in range(100_000)) + b"x,call back\n"
    table = opened(tmp_path, content)
    assert (table.row_count, table.rejected.height) == (100_001, 0)
    assert table.columns == {"id": "VARCHAR", "note": "VARCHAR"}


def test_identifiers_that_look_like_fractions_stay_apart(tmp_path: Path) -> None:
    content = b"sku,paid\n1.10,1.10\n1.1,1.1\n12E4,2\n"
    table = opened(tmp_path, content, COLUMNS | {"item_id": "sku"})
    assert table.columns == {"sku": "VARCHAR", "paid": "DOUBLE"}
    assert column(table, "sku") == ["1.1", "1.10", "12E4"]
    assert (
        opened(tmp_path, content, COLUMNS | {"item_id": "CAST(sku AS VARCHAR)"}).columns["sku"] == "VARCHAR"
    )


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [
        ("id,customer", ","),
        ("id;customer", ";"),
        ("id\tcustomer", "\t"),
        ("id|customer", "|"),
        ('id;"name, first";customer', ";"),
    ],
)
def test_the_delimiter_is_what_parts_the_first_lines_alike(
    tmp_path: Path, header: str, delimiter: str
) -> None:
    row = delimiter.join(["1"] * (header.count(delimiter) + 1))
    table = opened(tmp_path, f"{header}\n{row}\n".encode())
    assert list(table.columns)[-1] == "customer"
    assert table.row_count == 1


def test_german_numbers_are_read_where_the_mapping_says_so(tmp_path: Path) -> None:
    content = b"id;paid\n1;1.234,50\n2;7,98\n3;1.000\n4;-5\n"
    table = opened(tmp_path, content, decimal_separator=",", thousands=".")
    assert [row[1] for row in rows_of(table)] == [1234.5, 7.98, 1000.0, -5.0]
    assert opened(tmp_path, content).columns["paid"] == "VARCHAR"
    # A point among decimal commas is no decimal point.
    assert opened(tmp_path, content, decimal_separator=",").columns["paid"] == "VARCHAR"


def test_times_in_the_format_given_are_times_and_the_others_are_marked(tmp_path: Path) -> None:
    content = b"id,at\n1,01/02/2019 10:00\n2,31/02/2019 10:00\n3,\n4,13/02/2019 10:00\n"
    table = opened(tmp_path, content, timestampformat="%d/%m/%Y %H:%M")
    assert table.columns["at"] == "TIMESTAMP"
    assert [str(row[1]) for row in rows_of(table)] == [
        "2019-02-01 10:00:00",
        "None",
        "None",
        "2019-02-13 10:00:00",
    ]
    assert [row[2] for row in rows_of(table)] == [False, True, False, False]
    assert table.unread == {"at": "a time like %d/%m/%Y %H:%M"}


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-8-sig", None),
        ("utf-16", None),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("gb18030", "gb18030"),
        ("gbk", "GBK"),
        ("big5", "big5"),
        ("shift_jis", "shift_jis"),
    ],
)
def test_a_file_is_read_in_its_encoding(tmp_path: Path, encoding: str, said: str | None) -> None:
    text = "編號,商品\n1,牛乳\n2,茶\n" if encoding in ("big5", "shift_jis") else "编号,商品\n1,牛奶\n2,茶\n"
    text = text.replace("編號", "番号") if encoding == "shift_jis" else text
    table = opened(tmp_path, text.encode(encoding), **({"encoding": said} if said else {}))
    names = text.splitlines()[0].split(",")
    assert list(table.columns) == names
    assert column(table, names[1]) == sorted(row.split(",")[1] for row in text.splitlines()[1:])


def test_bytes_that_are_no_text_cost_their_line_in_every_encoding(tmp_path: Path) -> None:
    utf8 = opened(tmp_path, b"id,name\n1,caf\xe9\n2,tea\n")
    assert column(utf8, "name") == ["tea"]
    assert rejected(utf8) == [
        (2, "name", "text in utf-8: for another encoding say `encoding:` (byte 9)", "1,caf\\xe9")
    ]
    chinese = opened(tmp_path, "编号,商品\n1,牛奶\n".encode("gb18030") + b"2,\xff\xff\n", encoding="gb18030")
    assert column(chinese, "商品") == ["牛奶"]
    assert [row[:2] for row in rejected(chinese)] == [(3, "商品")]
    torn = opened(tmp_path, "编号,商品\n1,牛奶\n2,茶".encode("utf-16") + b"\x20")
    assert column(torn, "商品") == ["牛奶"]
    assert [row[0] for row in rejected(torn)] == [3]


@pytest.mark.parametrize(
    ("content", "read", "message", "remedy"),
    [
        (
            "编号,商品\n1,牛奶\n".encode("gbk"),
            {},
            r"a\.csv line 1 is no UTF-8 text \(byte 1 is 0xB1",
            "encoding: gb18030",
        ),
        (
            "id,größe\n1,2\n".encode("cp1252"),
            {},
            r"line 1 is no UTF-8 text \(byte 6 is 0xF6",
            "encoding: cp1252",
        ),
        ("id,n\n1,2\n".encode("utf-16-le"), {}, "holds zero bytes", "encoding: utf-16-le"),
        ("id,n\n1,2\n".encode("utf-16-be"), {}, "holds zero bytes", "encoding: utf-16-be"),
        (b"id,n\n", {"encoding": "klingon"}, "unknown encoding 'klingon'", "gb18030"),
        (b"id,n\n", {"encoding": "base64"}, "unknown encoding 'base64'", "gb18030"),
        (
            b"id,n\n1,NULL\n",
            {"nullstr": [None, ""]},
            "YAML took a text for its own null",
            "write it in quotes",
        ),
        (b"", {}, r"a\.csv is empty", "check the export"),
        (b"\xef\xbb\xbf\r\n\n", {}, r"a\.csv is empty", "check the export"),
        (b"PAR1....", {}, r"a\.csv is a Parquet file", "`parquet:`"),
        (b"PK\x03\x04....", {}, "an Excel workbook", "save its sheet as CSV"),
        (b"\xd0\xcf\x11\xe0....", {}, "an old Excel workbook", "save its sheet as CSV"),
        (b"SQLite format 3\x00...", {}, "an SQLite database", "`sql:`"),
        (gzip.compress(b"id,n\n", mtime=0), {}, "compressed by gzip", "compression: gzip"),
        (b"id,n\n1,2\n", {"compression": "gzip"}, "is no gzip file", "compression: none"),
        (
            gzip.compress(b"id,n\n" * 9999)[:-9],
            {"compression": "gzip"},
            "cut short: its gzip stream has no end",
            "again",
        ),
    ],
)
def test_what_is_no_csv_text_is_told_with_its_remedy(
    tmp_path: Path, content: bytes, read: dict[str, Any], message: str, remedy: str
) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        opened(tmp_path, content, **read)
    assert remedy in caught.value.next_step
    assert "\n" not in caught.value.message


def test_a_cut_last_line_is_rejected_with_line_and_byte(tmp_path: Path) -> None:
    content = HEADER + line(1) + b"2,bob,vi"
    table = opened(tmp_path, content)
    assert table.row_count == 1
    assert rejected(table) == [(3, "happened", "5 columns, not 3 (byte 68)", "2,bob,vi")]
    assert content[67:] == b"2,bob,vi"
    windows = opened(tmp_path, content.replace(b"\n", b"\r\n"))
    assert rejected(windows) == [(3, "happened", "5 columns, not 3 (byte 70)", "2,bob,vi")]


@pytest.mark.parametrize("brk", ["\n", "\r\n", "\r"])
def test_any_line_break_will_do(tmp_path: Path, brk: str) -> None:
    table = opened(tmp_path, brk.join(["id,n", "1,2", "3", "4,5"]).encode())
    assert rows_of(table) == [(1, 2), (4, 5)]
    assert [row[0] for row in rejected(table)] == [3]
    assert table.describe([1, 2])["row"].to_list() == [2, 4]


def test_line_breaks_of_two_kinds_in_one_file_are_read(tmp_path: Path) -> None:
    table = opened(tmp_path, b"id,n\n1,2\r\n3\r\n4,5\n6,7\r\n")
    assert rows_of(table) == [(1, 2), (4, 5), (6, 7)]
    assert [row[0] for row in rejected(table)] == [3]


def test_a_quote_that_is_never_closed_costs_its_line_and_not_the_rest_of_the_file(tmp_path: Path) -> None:
    many = b"".join(line(n) for n in range(5, 3_000))
    content = HEADER + line(1) + line(2, '"ann') + line(3) + line(4, '"bob"') + many
    table = opened(tmp_path, content)
    assert table.row_count == 2_998
    assert rejected(table) == [(3, "line", "a closing quote", line(2, '"ann').decode().strip())]
    assert table.describe([2, 3, 2_998])["row"].to_list() == [4, 5, 3_000]


@pytest.mark.parametrize("customer", ['5" pipe', 'a"b"c'])
def test_a_quote_within_a_bare_value_is_a_character(tmp_path: Path, customer: str) -> None:
    table = opened(tmp_path, HEADER + line(1, customer))
    assert rows_of(table)[0][1] == customer


def test_text_after_a_closing_quote_is_not_swallowed(tmp_path: Path) -> None:
    table = opened(tmp_path, HEADER + line(1, '"x"y') + line(2))
    assert table.row_count == 1
    assert rejected(table)[0][:2] == (2, "customer")


def test_lines_are_right_below_values_with_line_breaks_and_blank_lines(tmp_path: Path) -> None:
    content = HEADER + line(1, '"an\nn"') + b"\n\n" + b"2,bob\n" + line(3, '"a\r\n""b"') + line(4)
    table = opened(tmp_path, content)
    assert [row[0] for row in rejected(table)] == [6]
    assert table.describe([1, 2, 3])["row"].to_list() == [2, 7, 9]
    assert column(table, "customer") == ['a\r\n"b', "an\nn", "ann"]


def test_a_value_of_ten_megabytes_is_read_and_a_line_too_long_costs_itself(tmp_path: Path) -> None:
    table = opened(tmp_path, HEADER + line(1, "x" * 10_000_000) + line(2))
    assert [len(value) for value in column(table, "customer")] == [3, 10_000_000]
    short = opened(tmp_path, HEADER + line(1, "x" * 5_000_000) + line(2), max_line_size=3_000_000)
    assert short.row_count == 1
    assert rejected(short)[0][0] == 2
    assert len(short.rejected["value"][0]) < 120


def test_title_lines_are_skipped_and_blank_ones_by_themselves(tmp_path: Path) -> None:
    content = b"Sales of May\n\nid,n\n1,2\n3\n"
    table = opened(tmp_path, content, skip=1)
    assert rows_of(table) == [(1, 2)]
    assert table.describe([1])["row"].to_list() == [4]
    assert rejected(table)[0][:3] == (5, "n", "2 columns, not 1 (byte 24)")


def test_headers_are_trimmed_named_and_made_unique(tmp_path: Path) -> None:
    table = opened(tmp_path, b"id, n ,,n,N,\n1,2,3,4,5,\n")
    assert list(table.columns) == ["id", "n", "column2", "n_1", "N_2", "column5"]


def test_files_may_have_their_columns_in_different_orders(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_bytes(b"n,id\n5,6\n")
    table = opened(tmp_path, b"id,n\n1,2\n", csv="*.csv")
    assert rows_of(table) == [(1, 2), (6, 5)]
    assert [Path(name).name for name in table.describe([1, 2])["file"]] == ["a.csv", "b.csv"]


def test_files_with_other_columns_are_united_only_if_asked_for(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_bytes(b"id,m\n3,4\n")
    with pytest.raises(SourceError, match=r"b\.csv has a column 'm', which .*a\.csv has not") as caught:
        opened(tmp_path, b"id,n\n1,2\n", csv="*.csv")
    assert "union_by_name" in caught.value.next_step
    united = opened(tmp_path, b"id,n\n1,2\n", csv="*.csv", union_by_name=True)
    assert rows_of(united) == [(1, 2, None), (3, None, 4)]


cells = st.text(st.sampled_from(list('ab,;"\n\r 1.é牛\x00')), max_size=6)


@settings(max_examples=60)
@given(
    st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=6),
    st.sampled_from([",", ";", "\t"]),
)
def test_what_a_csv_writer_writes_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], delimiter: str
) -> None:
    folder = tmp_path_factory.mktemp("written")
    with (folder / "a.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writerows([["x", "y", "z"], *rows])
    table = open_table(mapping(folder, all_varchar=True, delimiter=delimiter), threads=1)
    assert table.rejected.is_empty()
    assert [list(row) for row in rows_of(table)] == [[cell or None for cell in row] for row in rows]
