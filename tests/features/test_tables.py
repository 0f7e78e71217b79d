from __future__ import annotations

import gzip
import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import SourceError
from features.mapping import SourceMapping, check_mapping
from features.tables import RawTable, open_table

COLUMNS = {"customer_id": "c", "event_type": "t", "event_time": "e"}


def mapping(folder: Path, **read: Any) -> SourceMapping:
    return check_mapping({"source": "shop", "read": read, "columns": COLUMNS}, "mapping", folder)


def opened(folder: Path, **read: Any) -> RawTable:
    return open_table(mapping(folder, **read), threads=2)


def rows_of(table: RawTable) -> list[tuple[Any, ...]]:
    return table.connection.sql("SELECT * FROM source_rows ORDER BY ALL").fetchall()


def some_frame() -> pl.DataFrame:
    return pl.DataFrame({"c": ["a", None], "n": [1, 2]})


def some_pandas(rows: int = 1) -> pd.DataFrame:
    return pd.DataFrame({"c": ["a"] * rows, "at": pd.to_datetime(["2017-01-01"] * rows)})


def some_arrow() -> Any:
    return some_frame().to_arrow()


def some_lazy() -> pl.LazyFrame:
    return some_frame().lazy()


def no_table() -> int:
    return 3


def missing_file() -> pl.DataFrame:
    raise FileNotFoundError("no such file: /nowhere.xlsx")


def test_parquet_rows_are_numbered_by_file(tmp_path: Path) -> None:
    some_frame().write_parquet(tmp_path / "a.parquet")
    some_frame().write_parquet(tmp_path / "b.parquet")
    table = opened(tmp_path, parquet="*.parquet")
    assert table.row_count == 4
    found = table.describe([4, 1])
    assert found["row"].to_list() == [1, 2]
    assert [Path(name).name for name in found["file"]] == ["a.parquet", "b.parquet"]
    assert found["raw"].to_list() == ['{"c":"a","n":1}', '{"c":null,"n":2}']


def test_relative_paths_are_relative_to_the_mapping(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    some_frame().write_csv(tmp_path / "a.csv")
    assert opened(tmp_path / "inner", csv="../a.csv").row_count == 2
    assert opened(Path("/"), csv=str(tmp_path / "a.csv")).row_count == 2


def test_csv_options_reach_the_reader(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("skip me\n1;'x;y';2,5\n")
    table = opened(
        tmp_path,
        csv="a.csv",
        delimiter=";",
        quote="'",
        names=["a", "b", "n"],
        skip=1,
        decimal_separator=",",
        types={"a": "VARCHAR"},
    )
    assert rows_of(table) == [(1, "1", "x;y", 2.5)]


def test_a_csv_file_has_a_header_unless_names_are_given(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\nx,y\n")
    assert opened(tmp_path, csv="a.csv").row_count == 1
    assert opened(tmp_path, csv="a.csv", names=["p", "q"]).row_count == 2
    assert opened(tmp_path, csv="a.csv", names=["p", "q"], header=True).row_count == 1


def test_a_compressed_csv_file_is_read(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.csv.gz", "wt") as file:
        file.write("a,b\n1,2\n")
    assert opened(tmp_path, csv="a.csv.gz").row_count == 1


def test_leading_zeros_stay(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id\n00042\n7\n")
    assert rows_of(opened(tmp_path, csv="a.csv")) == [(1, "00042"), (2, "7")]


def test_a_line_that_is_no_row_is_rejected_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b,c\n1,2,3\n4,5\n6,7,8\n9,10,11,12\n13,14,15\n")
    table = opened(tmp_path, csv="a.csv", delimiter=",")
    assert table.row_count == 3
    assert table.rejected["row"].to_list() == [3, 5]
    assert table.rejected["raw"].to_list() == ["4,5", "9,10,11,12"]
    assert table.rejected["expected"][0].startswith("3 columns, not 2 (byte ")
    assert table.describe([1, 2, 3])["row"].to_list() == [2, 4, 6]
    assert table.describe([]).is_empty()


@settings(max_examples=40)
@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_rows_stand_on_their_own_lines_whatever_was_rejected(
    tmp_path_factory: pytest.TempPathFactory, is_sound: list[bool]
) -> None:
    path = tmp_path_factory.getbasetemp() / "lines.csv"
    lines = [f"{n},x,y" if sound else f"{n},x" for n, sound in enumerate(is_sound, start=2)]
    path.write_text("\n".join(["n,p,q", *lines]) + "\n")
    table = opened(Path("/"), csv=str(path), delimiter=",", types={"n": "VARCHAR"})
    found = table.describe(list(range(1, table.row_count + 1)))
    assert found["raw"].str.json_path_match("$.n").cast(pl.Int64).to_list() == found["row"].to_list()
    assert table.rejected["raw"].str.split(",").list.first().cast(pl.Int64).to_list() == (
        table.rejected["row"].to_list()
    )
    assert sorted([*found["row"], *table.rejected["row"]]) == list(range(2, 2 + len(is_sound)))


def test_of_several_files_each_has_its_own_lines(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3\n5,6\n")
    (tmp_path / "b.csv").write_text("a,b\n7,8\n9\n10,11\n")
    table = opened(tmp_path, csv="*.csv", delimiter=",")
    places = table.describe([1, 2, 3, 4])
    assert [(Path(name).stem, row) for name, row in zip(places["file"], places["row"], strict=True)] == [
        ("a", 2),
        ("a", 4),
        ("b", 2),
        ("b", 4),
    ]
    assert table.rejected["row"].to_list() == [3, 3]


def test_a_byte_that_is_no_text_costs_only_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,caf\xe9\n2,tea\n")
    table = opened(tmp_path, csv="a.csv")
    assert rows_of(table) == [(1, 2, "tea")]
    assert table.rejected["row"].to_list() == [2]


def test_the_cut_last_line_of_a_real_file_is_named(data_folder: Path) -> None:
    path = data_folder / "rees46_slice" / "2019-Oct-slice.csv"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    table = opened(Path("/"), csv=str(path))
    assert table.row_count == 17_434
    assert table.rejected["row"].to_list() == [path.read_bytes().count(b"\n") + 1]
    assert table.rejected["raw"][0] == path.read_text(encoding="utf-8").splitlines()[-1]


def test_a_query_is_read_through_sqlalchemy(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "till.db") as connection:
        connection.execute("CREATE TABLE sales (c TEXT, n INTEGER, mixed)")
        connection.executemany("INSERT INTO sales VALUES (?, ?, ?)", [("a", 1, 1), ("b", None, "x")])
    connection.close()
    url = f"sqlite:///{tmp_path}/till.db"
    table = opened(tmp_path, sql="SELECT * FROM sales", connection=url)
    assert rows_of(table) == [(1, "a", 1, "1"), (2, "b", None, "x")]
    assert table.describe([2])["row"].to_list() == [2]
    with pytest.raises(SourceError, match="the query failed: no such table: sale"):
        opened(tmp_path, sql="SELECT * FROM sale", connection=url)
    with pytest.raises(SourceError, match="returns column 'c' twice"):
        opened(tmp_path, sql="SELECT c, c FROM sales", connection=url)


@pytest.mark.parametrize(
    ("connection", "message"),
    [
        (None, "'read.connection' is missing"),
        ("hunter2 no url", "is no database URL"),
        ("nosuch://u:hunter2@h/d", "is no database URL that can be opened"),
        ("sqlite:////nowhere/at/all.db", "the query failed: unable to open database file"),
    ],
)
def test_a_database_that_cannot_be_opened_is_refused_without_its_password(
    tmp_path: Path, connection: str | None, message: str
) -> None:
    read = {"sql": "SELECT 1 AS c"} | ({"connection": connection} if connection else {})
    with pytest.raises(SourceError, match=message) as caught:
        opened(tmp_path, **read)
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("loader", ["some_frame", "some_arrow", "some_lazy"])
def test_a_loader_may_return_any_table(tmp_path: Path, loader: str) -> None:
    assert rows_of(opened(tmp_path, loader=f"{__name__}.{loader}")) == [(1, "a", 1), (2, None, 2)]


def test_what_stands_beside_a_loader_is_handed_to_it(tmp_path: Path) -> None:
    assert opened(tmp_path, loader=f"{__name__}.some_pandas", rows=3).row_count == 3


@pytest.mark.parametrize(
    ("read", "message"),
    [
        ({"csv": "none.csv"}, r"no such file: .*none\.csv"),
        ({"parquet": "none/*.parquet"}, r"no such file: .*none/\*\.parquet"),
        ({"csv": "empty.csv"}, r"empty\.csv is empty"),
        ({"parquet": "cut.parquet"}, r"cut\.parquet is cut short: .* the footer is missing"),
        ({"csv": "cut.csv.gz"}, r"cut\.csv\.gz is cut short: its gzip stream has no end"),
        ({"csv": "a.csv", "delimitr": ";"}, r"unknown option 'read.delimitr' \(did you mean 'delimiter'\?\)"),
        ({"csv": "a.csv", "ignore_errors": True}, r"unknown option 'read.ignore_errors'"),
        ({"csv": "a.csv", "types": {"nope": "VARCHAR"}}, r"'read.types' names 'nope'"),
        ({"csv": "a.csv", "names": ["p", "q", "r"]}, "has 2 columns, where `names` gives 3"),
        ({"loader": "features.nowhere.load"}, r"loader 'features.nowhere.load' cannot be imported"),
        ({"loader": "features.tables.nope"}, r"loader 'features.tables.nope' cannot be imported"),
        ({"loader": "load"}, r"loader 'load' cannot be imported"),
        ({"loader": f"{__name__}.some_frame", "rows": 3}, "unexpected keyword argument 'rows'"),
        ({"loader": f"{__name__}.no_table"}, "returned a int that is no table"),
        ({"loader": f"{__name__}.missing_file"}, "no such file: /nowhere.xlsx"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(tmp_path: Path, read: dict[str, Any], message: str) -> None:
    (tmp_path / "empty.csv").touch()
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    some_frame().write_parquet(tmp_path / "cut.parquet")
    whole = (tmp_path / "cut.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    packed = gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (n, n * 7) for n in range(9999)))
    (tmp_path / "cut.csv.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(SourceError, match=message) as caught:
        opened(tmp_path, **read)
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith("source shop: ")
