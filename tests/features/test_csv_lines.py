from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.csv_file import Dialect
from features.csv_lines import Breaks, copy_readable, count_breaks, lines_at, original_line, record_lines

UTF8 = Dialect("utf-8", "none", ",", '"', '"', True, 0, ("a", "b"))

values = st.sampled_from(["x", "", '"q"', '"two\nlines"', '"three\n\nlines"', '"a ""b"""'])
records = st.lists(st.one_of(st.tuples(values, values).map(",".join), st.just("")), max_size=12)


def written(folder: Path, text: str) -> Path:
    path = folder / "a.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return path


@settings(max_examples=60)
@given(records)
def test_records_begin_where_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str]
) -> None:
    path = written(tmp_path_factory.getbasetemp(), "\n".join(["a,b", *rows]) + "\n")
    begins, filled = record_lines(path, UTF8, (), "shop")
    expected, at = [], 1
    for row in ["a,b", *rows]:
        expected.append(at)
        at += 1 + row.count("\n")
    assert begins.tolist() == expected
    assert filled.tolist() == [number for number, row in enumerate(rows, start=1) if row]
    assert count_breaks(path, UTF8, "shop").lines == at - 1


@given(st.sets(st.integers(1, 9)))
def test_a_copy_lacks_the_lines_taken_out_and_its_lines_are_found_again(
    tmp_path_factory,
    gone: set[int],
) -> None:
    folder = tmp_path_factory.getbasetemp()
    path = written(folder, "".join(f"line {number}\r\n" for number in range(1, 10)))
    copy_readable(path, UTF8, gone, folder / "copy.csv", "shop")
    kept = (folder / "copy.csv").read_text().splitlines()
    assert kept == [f"line {number}" for number in range(1, 10) if number not in gone]
    assert [f"line {original_line(number, gone)}" for number in range(1, len(kept) + 1)] == kept


def test_a_byte_of_a_line_break_means_the_line_after_it(tmp_path: Path) -> None:
    path = written(tmp_path, "ab\r\ncd\r\n\r\nef")
    assert lines_at(path, "none", [1, 3, 5, 9, 11], "shop") == [
        (1, 1, "ab"),
        (2, 5, "cd"),
        (2, 5, "cd"),
        (4, 11, "ef"),
        (4, 11, "ef"),
    ]
    assert np.all(np.diff([line for line, _, _ in lines_at(path, "none", [1, 5, 11], "shop")]) > 0)


@pytest.mark.parametrize(
    ("text", "breaks", "lines", "are_alike"),
    [
        ("a\nb\n", Breaks(0, 2, 0, is_ended=True), 2, True),
        ("a\r\nb", Breaks(1, 0, 0, is_ended=False), 2, True),
        ("a\rb\r", Breaks(0, 0, 2, is_ended=True), 2, True),
        ("a\r\nb\n\rc", Breaks(1, 1, 1, is_ended=False), 4, False),
        ("a\r\r\n\n", Breaks(1, 1, 1, is_ended=True), 3, False),
    ],
)
def test_line_breaks_are_counted_by_kind(
    tmp_path: Path, text: str, breaks: Breaks, lines: int, are_alike: bool
) -> None:
    found = count_breaks(written(tmp_path, text), UTF8, "shop")
    assert found == breaks
    assert (found.lines, found.are_alike) == (lines, are_alike)
    assert lines == len(text.splitlines())
