from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from features.errors import SourceError
from features.mapping import check_mapping
from features.raw_table import RawTable
from features.tables import open_table

COLUMNS = {"customer_id": "c", "event_type": "t", "event_time": "e"}
ROWS = 3_000


def opened(folder: Path, pattern: str = "a.parquet") -> RawTable:
    written = {"source": "shop", "read": {"parquet": pattern}, "columns": COLUMNS}
    return open_table(check_mapping(written, "mapping", folder), threads=2)


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    """A file of three row groups, whose pages are hard to decode once damaged."""
    frame = pl.DataFrame({"c": [f"customer {n * 7919 % 4001}" for n in range(ROWS)], "n": range(ROWS)})
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=1_000, compression="zstd")
    return (tmp_path / "a.parquet").read_bytes()


def damaged(folder: Path, content: bytes) -> SourceError:
    (folder / "a.parquet").write_bytes(content)
    with pytest.raises(SourceError) as caught:
        opened(folder)
    assert "\n" not in caught.value.message
    assert f"{folder}/a.parquet" in caught.value.message
    return caught.value


def test_a_whole_file_is_read(tmp_path: Path, whole: bytes) -> None:
    assert len(whole) > 1_000
    assert opened(tmp_path).row_count == ROWS


def test_a_file_cut_short_is_told_with_its_size_and_what_is_missing(tmp_path: Path, whole: bytes) -> None:
    cut = len(whole) // 2
    error = damaged(tmp_path, whole[:cut])
    assert f"is cut short: it ends after {cut:,} bytes with {whole[cut - 4 : cut]!r}" in error.message
    assert "the footer is missing" in error.message
    assert error.next_step == "fetch or export the file again"


def test_a_footer_longer_than_the_file_is_named_with_its_byte(tmp_path: Path, whole: bytes) -> None:
    error = damaged(tmp_path, whole[:-8] + (10**6).to_bytes(4, "little") + whole[-4:])
    assert f"at byte {len(whole) - 8:,} it gives its footer 1,000,000 bytes" in error.message


def test_a_damaged_footer_is_told(tmp_path: Path, whole: bytes) -> None:
    size = int.from_bytes(whole[-8:-4], "little")
    error = damaged(tmp_path, whole[: -8 - size] + b"\xff" * size + whole[-8:])
    assert "its footer" in error.message


def test_damaged_pages_are_named_by_row_group_column_and_bytes(tmp_path: Path, whole: bytes) -> None:
    chunk = parquet.read_metadata(tmp_path / "a.parquet").row_group(1).column(0)
    begin = chunk.dictionary_page_offset or chunk.data_page_offset
    end = begin + chunk.total_compressed_size
    error = damaged(tmp_path, whole[:begin] + b"\xff" * (end - begin) + whole[end:])
    assert "row group 2 of 3, column 'c'" in error.message
    assert f"bytes {begin:,} to {end:,}" in error.message


def test_pages_that_are_missing_are_named(tmp_path: Path, whole: bytes) -> None:
    # As a copy does that lost a piece in the middle: head and footer are there.
    size = int.from_bytes(whole[-8:-4], "little") + 8
    error = damaged(tmp_path, whole[:200] + whole[-size:])
    assert "row group" in error.message


@pytest.mark.parametrize(
    ("content", "message", "remedy"),
    [
        (b"", "is empty", "check the export"),
        (b"id,n\n1,2\n", "is no Parquet file: its first bytes are b'id,n'", "`csv:`"),
        (b"PAR1", "is cut short: it ends after 4 bytes", "again"),
        (b"PAR1\x00\x00\x00\x00PAR1", "is damaged", "again"),
        (b"PARE....PARE", "is an encrypted Parquet file", "decrypt"),
    ],
)
def test_what_is_no_parquet_file_is_told(tmp_path: Path, content: bytes, message: str, remedy: str) -> None:
    error = damaged(tmp_path, content)
    assert message in error.message
    assert remedy in error.next_step


def test_a_folder_is_told_how_its_files_are_named(tmp_path: Path, whole: bytes) -> None:
    with pytest.raises(SourceError, match="is a folder, expected files") as caught:
        opened(tmp_path.parent, tmp_path.name)
    assert caught.value.next_step == f"name them: {tmp_path}/*.parquet"
    assert opened(tmp_path, "*.parquet").row_count == ROWS
    assert whole


@settings(max_examples=40)
@given(st.data())
def test_a_file_cut_anywhere_is_named_and_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "cut"
    folder.mkdir(exist_ok=True)
    pl.DataFrame({"c": ["a", "b"] * 50, "n": range(100)}).write_parquet(folder / "a.parquet")
    content = (folder / "a.parquet").read_bytes()
    damaged(folder, content[: data.draw(st.integers(0, len(content) - 1))])
