from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import polars as pl
import pytest

from configs.home import Home
from serving.erased_files import empty_spill, forget_in_reports, forget_in_tables, leave_no_traces
from serving.errors import ErasureError

IDS = ["ann-77", "pos:7"]


def test_rows_go_from_every_table_that_names_customers_and_other_tables_stay(tmp_path: Path) -> None:
    table = pl.DataFrame({"customer_id": ["ann-77", "bob", "pos:7", None], "n": [1, 2, 3, 4]})
    (tmp_path / "deep").mkdir()
    table.write_parquet(tmp_path / "deep" / "customers.parquet")
    table.rename({"customer_id": "key"}).write_parquet(tmp_path / "keys.parquet")
    untouched = (tmp_path / "keys.parquet").read_bytes()
    for left in ("deep/.customers-1.tmp", "tags.tmp", ".half.parquet"):
        (tmp_path / left).write_bytes(b"ann-77")
    assert forget_in_tables(tmp_path, IDS) == 2
    assert pl.read_parquet(tmp_path / "deep" / "customers.parquet").rows() == [("bob", 2), (None, 4)]
    assert (tmp_path / "keys.parquet").read_bytes() == untouched
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["customers.parquet", "keys.parquet"]
    assert forget_in_tables(tmp_path, IDS) == 0
    assert forget_in_tables(tmp_path / "nowhere", IDS) == 0


def test_an_emptied_table_keeps_its_columns(tmp_path: Path) -> None:
    table = pl.DataFrame({"customer_id": ["pos:7"], "packed": [b"x"]})
    table.write_parquet(tmp_path / "a.parquet")
    assert forget_in_tables(tmp_path, IDS) == 1
    assert pl.read_parquet(tmp_path / "a.parquet").schema == table.schema


def test_ids_are_blanked_in_reports_and_what_only_looks_alike_stays(tmp_path: Path) -> None:
    report = {
        "example_customer": "ann-77",
        "reasons": [["quantity", 'could not convert "ann-77"', 3], ["x", "for 'pos:7' and ann-771", 1]],
        "count": 7,
        "note": None,
    }
    path = tmp_path / "run" / "summary.json"
    path.parent.mkdir()
    path.write_text(json.dumps(report))
    (tmp_path / "other.json").write_text('{"n": "ann-771"}')
    (tmp_path / "broken.json").write_text("ann-77 {")
    assert forget_in_reports(tmp_path, IDS) == 3
    assert json.loads(path.read_text()) == report | {
        "example_customer": "(erased)",
        "reasons": [["quantity", 'could not convert "(erased)"', 3], ["x", "for '(erased)' and ann-771", 1]],
    }
    assert (tmp_path / "other.json").read_text() == '{"n": "ann-771"}'
    assert forget_in_reports(tmp_path, IDS) == 0


def test_what_a_computation_left_behind_is_cleared_away(home: Home) -> None:
    spill = home.feature_store / "spill"
    spill.mkdir(parents=True)
    (spill / "block.tmp").write_bytes(b"ann-77")
    empty_spill(home)
    empty_spill(home)
    assert not spill.exists()


def made(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (who TEXT)")
    connection.executemany("INSERT INTO t VALUES (?)", [(f"somebody-{n}-ann-77" * 20,) for n in range(200)])
    return connection


def test_deleted_rows_leave_no_bytes_in_a_database_that_others_have_open(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    connection = made(path)
    connection.execute("DELETE FROM t")
    files = sorted(tmp_path.glob("some.db*"))
    assert any(b"ann-77" in file.read_bytes() for file in files)
    leave_no_traces(path)
    assert not any(b"ann-77" in file.read_bytes() for file in tmp_path.glob("some.db*"))
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
    connection.close()


def test_a_database_that_is_no_more_leaves_no_traces(tmp_path: Path) -> None:
    leave_no_traces(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "some.db").write_text(
        "a note that is certainly longer than a header of a database file is. " * 20
    )
    with pytest.raises(ErasureError, match=r"some\.db could not be written anew: file is not a database"):
        leave_no_traces(tmp_path / "some.db")
