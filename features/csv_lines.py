"""Walking through a CSV file line by line: where its records begin, and copies that the reader can take."""

from __future__ import annotations

import codecs
import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
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
    begins: list[int] = []
    filled: list[int] = []
    for number, (record, lines) in enumerate(_records(path, dialect, taken_out, what)):
        begins.append(lines[0][0])
        if number >= dialect.skip and (record or len(dialect.names) == 1):
            filled.append(number)
    return np.array(begins, np.int64), np.array(filled[dialect.has_header :], np.int64)


@dataclass(frozen=True)
class Breaks:
    """How many line breaks of each kind a file has, and whether its last line has one."""

    both: int
    feeds: int
    returns: int
    is_ended: bool

    @property
    def lines(self) -> int:
        """Number of lines, an unended last one included."""
        return self.both + self.feeds + self.returns + (not self.is_ended)

    @property
    def are_alike(self) -> bool:
        """Whether they are of one kind."""
        return (self.both > 0) + (self.feeds > 0) + (self.returns > 0) <= 1


def count_breaks(path: Path, dialect: Dialect, what: str) -> Breaks:
    """Count the line breaks of a file that is ASCII at least in these."""
    both = feeds = returns = 0
    last = b"\n"
    with opened(path, dialect.compression, what) as file:
        while chunk := file.read(CHUNK_BYTES):
            both += chunk.count(b"\r\n") + (last == b"\r" and chunk[:1] == b"\n")
            feeds += chunk.count(b"\n")
            returns += chunk.count(b"\r")
            last = chunk[-1:]
    return Breaks(both, feeds - both, returns - both, last in b"\r\n")


def is_readable(path: Path, dialect: Dialect, what: str) -> bool:
    """Tell whether the reader takes a file as it is: in UTF-8, its records ending alike in a line feed."""
    if dialect.encoding != "utf-8":
        return False
    breaks = count_breaks(path, dialect, what)
    if breaks.are_alike:
        return not breaks.returns
    # Within quotes any line break will do.
    ends = {
        lines[-1][1][len(lines[-1][1].rstrip("\r\n")) :] for _, lines in _records(path, dialect, (), what)
    }
    return ends <= {"\n", ""} or ends <= {"\r\n", ""}


def copy_readable(path: Path, dialect: Dialect, taken_out: Collection[int], target: Path, what: str) -> None:
    """Copy a file as UTF-8, its records ending in a line feed, without some lines.

    What cannot be decoded becomes bytes that are no UTF-8 either, so that the reader refuses the same lines.
    """
    with target.open("wb") as copy:
        for _, lines in _records(path, dialect, taken_out, what):
            text = "".join(line for _, line in lines)
            if text[-1:] in "\r\n":
                text = text.removesuffix("\n").removesuffix("\r") + "\n"
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
    end = number = within = 0
    with opened(path, compression, what) as file:
        for line in file:
            begin, end, number = end, end + len(line), number + 1 + within
            within = line.count(b"\r") - line.endswith(b"\r\n")
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


def _records(
    path: Path, dialect: Dialect, taken_out: Collection[int], what: str
) -> Iterator[tuple[list[str], list[tuple[int, str]]]]:
    """Yield each record with the lines it stands on, numbered; a line above the header is a record too."""
    pulled: list[tuple[int, str]] = []

    def lines() -> Iterator[str]:
        for number, line in enumerate(_lines(path, dialect, what), start=1):
            if number not in taken_out:
                pulled.append((number, line))
                yield line

    source = lines()
    for _ in range(dialect.skip):
        if next(source, None) is not None:
            yield [], pulled.copy()
            pulled.clear()
    for record in dialect.reader(source):
        yield record, pulled.copy()
        pulled.clear()
    if pulled:
        yield [], pulled


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
