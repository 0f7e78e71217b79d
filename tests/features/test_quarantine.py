from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from features.errors import EventLogError
from features.quarantine import FILES_MAX, QUARANTINE_SCHEMA, Quarantine
from tests.features.made_events import MONDAY


def refused(*rows: dict[str, Any]) -> pl.DataFrame:
    template = {"row": 1, "field": "quantity", "value": "x", "expected": "INTEGER", "raw": '{"q":"x"}'}
    return pl.DataFrame([template | row for row in rows], schema_overrides={"row": pl.Int64})


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    return Quarantine(tmp_path / "quarantine")


def test_an_empty_quarantine_reads_as_no_rows(quarantine: Quarantine) -> None:
    assert quarantine.read().schema == QUARANTINE_SCHEMA
    assert quarantine.count() == 0
    assert quarantine.append("shop", refused({}).clear(), MONDAY) == 0
    assert not quarantine.root.exists()


def test_refused_rows_are_kept_whole(quarantine: Quarantine) -> None:
    assert quarantine.append("shop", refused({"row": 3}, {"row": 9, "value": None}), MONDAY) == 2
    kept = quarantine.read("shop")
    assert kept.schema == QUARANTINE_SCHEMA
    assert kept["row"].to_list() == [3, 9]
    assert kept["raw"].to_list() == ['{"q":"x"}'] * 2
    assert kept["at"].to_list() == [MONDAY] * 2


def test_the_same_refusal_is_kept_once(quarantine: Quarantine) -> None:
    rows = refused({"row": 3}, {"row": 3}, {"row": 4, "file": "a.csv"}, {"row": 4, "file": "b.csv"})
    assert quarantine.append("shop", rows, MONDAY) == 3
    assert quarantine.append("shop", rows, MONDAY + timedelta(days=1)) == 0
    assert quarantine.append("shop", refused({"row": 3, "raw": "changed"}), MONDAY) == 1
    assert quarantine.count() == 4


def test_sources_are_kept_apart(quarantine: Quarantine) -> None:
    quarantine.append("shop", refused({}), MONDAY)
    assert quarantine.append("../till", refused({}, {"row": 2}), MONDAY) == 2
    assert quarantine.count("shop") == 1
    assert quarantine.count("../till") == 2
    assert quarantine.count() == 3
    assert {path.parent for path in quarantine.root.rglob("*.parquet")} == {quarantine.root}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "quarantine").write_text("a file")
    with pytest.raises(EventLogError, match=r"cannot write .*quarantine"):
        Quarantine(tmp_path / "quarantine").append("shop", refused({}), MONDAY)


def test_whose_a_row_is_is_kept_where_it_is_known(quarantine: Quarantine) -> None:
    quarantine.append("shop", refused({"customer_id": "ann"}, {"row": 2, "customer_id": None}), MONDAY)
    assert quarantine.read()["customer_id"].to_list() == ["ann", None]


def test_files_of_a_version_that_did_not_keep_it_are_read_too(quarantine: Quarantine) -> None:
    quarantine.append("shop", refused({}), MONDAY)
    (path,) = quarantine.root.glob("*.parquet")
    pl.read_parquet(path).drop("customer_id").write_parquet(path)
    quarantine.append("shop", refused({"row": 2, "customer_id": "ann"}), MONDAY)
    assert quarantine.read()["customer_id"].to_list() == [None, "ann"]


def test_a_barred_row_is_not_kept(quarantine: Quarantine) -> None:
    barring = Quarantine(quarantine.root, lambda rows: rows["raw"] == "ann")
    assert barring.append("shop", refused({"raw": "ann"}, {"raw": "bob"}), MONDAY) == 1
    assert quarantine.read()["raw"].to_list() == ["bob"]


def test_forgotten_rows_are_gone_and_a_file_that_held_only_them_too(quarantine: Quarantine) -> None:
    quarantine.append("shop", refused({"raw": "ann"}, {"raw": "bob"}), MONDAY)
    quarantine.append("shop", refused({"row": 2, "raw": "ann"}), MONDAY)
    quarantine.append("till", refused({"raw": "ann"}), MONDAY)
    (quarantine.root / ".half.parquet").write_bytes(b"PAR1")

    def is_theirs(source: str, rows: pl.DataFrame) -> pl.Series:
        return (rows["raw"] == "ann") & (pl.Series([source == "shop"]).new_from_index(0, rows.height))

    assert quarantine.forget(is_theirs) == 2
    assert quarantine.read().select("source", "raw").rows() == [("shop", "bob"), ("till", "ann")]
    assert len(list(quarantine.root.glob("*.parquet"))) == 2
    assert quarantine.forget(is_theirs) == 0


def test_what_is_kept_without_looking_reads_like_what_was_looked_for(tmp_path: Path) -> None:
    quick, careful = Quarantine(tmp_path / "quick"), Quarantine(tmp_path / "careful")
    for number in range(9):
        rows = refused({"row": number % 4}, {"row": number % 3, "raw": "other"}, {"row": number % 4})
        quick.keep("shop", rows, MONDAY + timedelta(minutes=number))
        careful.append("shop", rows, MONDAY + timedelta(minutes=number))
    assert quick.read().rows() == careful.read().rows()
    assert quick.count("shop") == 7
    quick.keep("shop", refused({}).clear(), MONDAY)
    assert len(list(quick.root.glob("*.parquet"))) == 9


def test_many_small_files_become_one_that_holds_every_refusal_once(quarantine: Quarantine) -> None:
    for number in range(FILES_MAX + 5):
        quarantine.keep("shop", refused({"row": number}, {"row": -1}), MONDAY + timedelta(minutes=number))
    assert len(list(quarantine.root.glob("*.parquet"))) == 6
    kept = quarantine.read()
    assert sorted(kept["row"].to_list()) == [-1, *range(FILES_MAX + 5)]
    assert kept.filter(pl.col("row") == -1)["at"].to_list() == [MONDAY]
    # As if files had been written together and the small ones not been removed.
    (largest,) = [
        path for path in quarantine.root.glob("*.parquet") if pl.read_parquet(path).height > FILES_MAX
    ]
    pl.read_parquet(largest).write_parquet(quarantine.root / "again.parquet")
    assert quarantine.read().rows() == kept.rows()


def test_a_damaged_file_keeps_no_refusal_from_being_kept(quarantine: Quarantine) -> None:
    quarantine.keep("shop", refused({"row": 0}), MONDAY)
    (quarantine.root / "damaged.parquet").write_bytes(b"PAR1")
    for number in range(1, FILES_MAX - 2):
        quarantine.keep("shop", refused({"row": number}), MONDAY)
    with pytest.raises(EventLogError, match="cannot make one file"):
        quarantine.keep("shop", refused({"row": -1}), MONDAY)
    (quarantine.root / "damaged.parquet").unlink()
    assert sorted(quarantine.read()["row"].to_list()) == [-1, *range(FILES_MAX - 2)]


def test_whoever_reads_while_files_become_one_reads_again(quarantine: Quarantine) -> None:
    for number in range(3):
        quarantine.keep("shop", refused({"row": number}), MONDAY)
    listed = quarantine.root / f"{'0' * 32}.parquet"

    class Late(Quarantine):
        """Lists a file that is gone when it is read, once."""

        lists = 0

        def _files(self) -> list[Path]:
            self.lists += 1
            return [*super()._files(), *([listed] if self.lists == 1 else [])]

    late = Late(quarantine.root)
    assert late.count() == 3
    assert late.lists == 3


def test_an_empty_quarantine_forgets_nothing(quarantine: Quarantine) -> None:
    assert quarantine.forget(lambda source, rows: rows["raw"] == "ann") == 0
    assert not quarantine.root.exists()
