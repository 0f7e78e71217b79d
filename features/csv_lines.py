"""Walking through a CSV file line by line: where its records begin, and copies that the reader can take."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from features.csv_file import Dialect, opened
from features.raw_table import Lines

UNREADABLE = "tagtide-unreadable"
CHUNK_BYTES = 1 << 22


def record_lines(path: Path, dialect: Dialect, taken_out: Collection[int], what: str) -> tuple[Lines, Lines]:
    """Return the lines on which records begin, a quoted value with line breaks being in one record.

    Parameters
    ----------
    path, dialect
        The file, from `features.csv_file.inspect`.
    taken_out
        Lines that were left out of the copy that was read.
    what
        Names the source in errors.

    Returns
    -------
    Line by record, 1 for the first, shape (n_records,): what stands above the header, the header and blank
    lines are records too; and the places of the records that hold something, below the header.
    """
    kept: list[int] = []
    begins: list[int] = []
    filled: list[int] = []

    def lines() -> Iterator[str]:
        for number, line in enumerate(_lines(path, dialect, what), start=1):
            if number not in taken_out:
                kept.append(number)
                yield line

    source = lines()
    for _ in range(dialect.skip):
        next(source, None)
        begins.append(kept[-1])
    before = csv.field_size_limit(2**31 - 1)
    try:
        reader = dialect.reader(source)
        done = 0
        for record in reader:
            begins.append(kept[dialect.skip + done])
            done = reader.line_num
            if record or len(dialect.names) == 1:
                filled.append(len(begins) - 1)
    finally:
        csv.field_size_limit(before)
    return np.array(begins, np.int64), np.array(filled[dialect.has_header :], np.int64)


def line_count(path: Path, dialect: Dialect, what: str) -> int:
    """Return how many lines a file in UTF-8 has, an unended last one included."""
    feeds = returns = 0
    last = b"\n"
    with opened(path, dialect.compression, what) as file:
        while chunk := file.read(CHUNK_BYTES):
            feeds += chunk.count(b"\n")
            returns += chunk.count(b"\r")
            last = chunk[-1:]
    return (feeds or returns) + (last not in b"\r\n")


def copy_readable(path: Path, dialect: Dialect, taken_out: Collection[int], target: Path, what: str) -> None:
    """Copy a file as UTF-8 with one kind of line break, without some lines.

    What cannot be decoded becomes bytes that are no UTF-8 either, so that the reader refuses the same lines.
    """
    with target.open("wb") as copy:
        for number, line in enumerate(_lines(path, dialect, what), start=1):
            if number not in taken_out:
                text = line.rstrip("\r\n") + "\n" if line[-1:] in "\r\n" else line
                copy.write(text.encode("utf-8", "surrogateescape"))


def lines_at(path: Path, compression: str, offsets: Sequence[int], what: str) -> list[tuple[int, int, str]]:
    """Return the lines that begin at some bytes.

    Parameters
    ----------
    path, compression
        A file in UTF-8.
    offsets
        1 for the first byte, ascending. One that points at a line break means the line after it.

    Returns
    -------
    Per offset the line's number, its first byte and what it holds; bytes that are no text as ``\\xff``.
    """
    found: list[tuple[int, int, str]] = []
    end = number = 0
    with opened(path, compression, what) as file:
        for line in file:
            begin, end, number = end, end + len(line), number + 1
            while len(found) < len(offsets) and offsets[len(found)] <= end:
                if not line[max(offsets[len(found)] - 1 - begin, 0) :].strip(b"\r\n"):
                    break
                found.append((number, begin + 1, line.decode("utf-8", "backslashreplace").strip("\r\n")))
            if len(found) == len(offsets):
                break
    return found + [(number, end, "")] * (len(offsets) - len(found))


def original_line(line: int, taken_out: Collection[int]) -> int:
    """Return which line of a file is the given one of its copy.

    >>> [original_line(line, {2, 3}) for line in (1, 2, 3)]
    [1, 4, 5]
    """
    gone = np.sort(np.fromiter(taken_out, np.int64, len(taken_out)))
    return line + int(np.searchsorted(gone - np.arange(gone.size), line, side="right"))


def _lines(path: Path, dialect: Dialect, what: str) -> Iterator[str]:
    codecs.register_error(UNREADABLE, _keep_unreadable)
    is_utf8 = dialect.encoding == "utf-8"
    with opened(path, dialect.compression, what) as file:
        text = io.TextIOWrapper(
            file, dialect.encoding, "surrogateescape" if is_utf8 else UNREADABLE, newline=""
        )
        yield next(text, "").removeprefix("\ufeff")
        yield from text


def _keep_unreadable(error: UnicodeError) -> tuple[str, int]:
    """Stand for what cannot be decoded by bytes that no UTF-8 text holds."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + (byte | 0x80)) for byte in bad), error.end
