"""One CSV file before it is read: what it is, its encoding, its delimiter and its header."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from features.errors import SourceError

HEAD_BYTES = 1 << 20
FIELD_CHARACTERS = 2**31 - 1
LINES_LOOKED_AT = 20
DELIMITERS = (",", ";", "\t", "|")
COMPRESSED = {".gz": "gzip", ".zst": "zstd"}

CHINESE = re.compile("[\u4e00-\u9fff]{2}")

OTHER_FORMATS = {
    b"PAR1": ("a Parquet file", "read it with `parquet:` instead of `csv:`"),
    b"PK\x03\x04": ("a zip archive or an Excel workbook", "unpack it, or save its sheet as CSV in UTF-8"),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "save its sheet as CSV in UTF-8"),
    b"SQLite format 3": ("an SQLite database", "read it with `sql:` and `connection: sqlite:///…`"),
    b"\x1f\x8b": ("compressed by gzip", "name it ….gz, or say `compression: gzip`"),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "name it ….zst, or say `compression: zstd`"),
}
MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True)
class Dialect:
    """How a file's rows are written.

    Attributes
    ----------
    skip
        Lines above the header, or above the first row where there is none.
    names
        The columns, made unique.
    """

    encoding: str
    compression: str
    delimiter: str
    quote: str
    escape: str
    has_header: bool
    skip: int
    names: tuple[str, ...] = ()

    def reader(self, lines: Iterator[str]) -> Iterator[list[str]]:
        """Part lines into records as the file's rows are read."""
        if len(self.delimiter) > 1:
            yield from (line.rstrip("\r\n").split(self.delimiter) for line in lines)
            return
        before = csv.field_size_limit(FIELD_CHARACTERS)
        try:
            yield from csv.reader(
                lines,
                delimiter=self.delimiter,
                quotechar=self.quote or None,
                quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
                doublequote=self.escape == self.quote,
                escapechar=self.escape if self.escape and self.escape != self.quote else None,
            )
        finally:
            csv.field_size_limit(before)


def inspect(path: Path, options: Mapping[str, Any], what: str) -> Dialect:
    """Find out how a CSV file is written, from its beginning and from the options given.

    Parameters
    ----------
    path
        The file.
    options
        What stands beside ``csv:`` in the mapping.
    what
        Names the source in errors.

    Raises
    ------
    SourceError
        If it is empty, no CSV file at all, in another encoding than said, or its compression is cut short.
    """
    compression = _compression(path, options)
    head = _head(path, compression, what)
    if not head.removeprefix(codecs.BOM_UTF8).strip(b"\r\n\t "):
        raise SourceError(f"{what}: {path} is empty", "check the export that wrote it")
    if compression == "none":
        for magic, (kind, remedy) in OTHER_FORMATS.items():
            if head.startswith(magic):
                raise SourceError(f"{what}: {path} is {kind}, expected CSV text", remedy)
    encoding = _encoding(path, head, options, what)
    text = codecs.getincrementaldecoder(encoding)("replace").decode(head).removeprefix("\ufeff")
    quote, escape = str(options.get("quote", '"')), str(options.get("escape", options.get("quote", '"')))
    lines = text.splitlines(keepends=True)
    skip = int(options.get("skip", 0) or 0)
    comment = str(options.get("comment") or "")
    while skip < len(lines) and (not lines[skip].strip() or (comment and lines[skip].startswith(comment))):
        skip += 1
    rest = lines[skip:]
    delimiter = str(options.get("delimiter") or _delimiter(rest, quote)).replace("\\t", "\t")
    given = options.get("names")
    has_header = bool(options.get("header", given is None))
    dialect = Dialect(encoding, compression, delimiter, quote, escape, has_header, skip)
    first = next(dialect.reader(iter(rest)), [])
    names = [str(name) for name in given] if isinstance(given, list) else []
    if not names:
        names = first if has_header else [f"column{number}" for number in range(len(first))]
    elif len(first) != len(names):
        raise SourceError(
            f"{what}: {path} has {len(first)} columns, where `names` gives {len(names)}",
            "name every column, and say which `delimiter` parts them",
        )
    return replace(dialect, names=_unique(names))


def _compression(path: Path, options: Mapping[str, Any]) -> str:
    said = str(options.get("compression") or "auto")
    return COMPRESSED.get(path.suffix.lower(), "none") if said.startswith("auto") else said


@contextmanager
def opened(path: Path, compression: str, what: str) -> Iterator[IO[bytes]]:
    """Open a file to read its bytes, uncompressed.

    Raises
    ------
    SourceError
        If it cannot be read, or its compression is damaged or cut short.
    """
    try:
        if compression == "gzip":
            with gzip.open(path) as file:
                yield io.BufferedReader(file)
        elif compression == "zstd":
            import pyarrow as pa

            with pa.input_stream(str(path), compression="zstd") as stream:
                yield io.BufferedReader(stream)
        else:
            with path.open("rb") as file:
                yield file
    except gzip.BadGzipFile as error:
        raise SourceError(
            f"{what}: {path} is no gzip file: {error}", "check its name, or say `compression: none`"
        ) from None
    except EOFError:
        raise SourceError(
            f"{what}: {path} is cut short: its {compression} stream has no end, though the file ends after "
            f"{path.stat().st_size:,} bytes",
            "fetch or export the file again",
        ) from None
    except (OSError, zlib.error) as error:
        raise SourceError(
            f"{what}: {path} cannot be read: {error}", "check the file and its permissions"
        ) from None


def _head(path: Path, compression: str, what: str) -> bytes:
    with opened(path, compression, what) as file:
        return file.read(HEAD_BYTES)


def _encoding(path: Path, head: bytes, options: Mapping[str, Any], what: str) -> str:
    said = options.get("encoding")
    if said is not None:
        try:
            name = codecs.lookup(str(said)).name
            "".encode(name)
        except LookupError:
            raise SourceError(
                f"{what}: unknown encoding {said!r}",
                "for example utf-8, utf-16, gb18030, big5, cp1252, latin-1",
            ) from None
        return name
    for mark, name in MARKS.items():
        if head.startswith(mark):
            return name
    line = head.split(b"\n", 1)[0]
    if head.count(b"\0") > len(head) / 4:
        order = "be" if head[0] == 0 else "le"
        raise SourceError(
            f"{what}: {path} holds zero bytes where text was expected",
            f"if it is UTF-16, say `encoding: utf-16-{order}` beside `csv:`",
        )
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" and len(line) == len(head) == HEAD_BYTES:
            return "utf-8"
        raise SourceError(
            f"{what}: {path} line 1 is no UTF-8 text (byte {error.start + 1} is 0x{line[error.start]:02X})",
            f"say its encoding beside `csv:`, for example `encoding: {_guess(line)}`",
        ) from None
    return "utf-8"


def _guess(line: bytes) -> str:
    """Name a likely encoding: where Chinese stands, several of its characters stand together."""
    try:
        is_chinese = CHINESE.search(line.decode("gb18030"))
    except UnicodeDecodeError:
        is_chinese = None
    return "gb18030" if is_chinese else "cp1252"


def _delimiter(lines: Sequence[str], quote: str) -> str:
    """Take the candidate that parts most of the first lines into equally many columns."""
    looked_at = [_outside_quotes(line, quote) for line in lines[:LINES_LOOKED_AT]]
    best, best_score = DELIMITERS[0], (0, 0)
    for candidate in DELIMITERS:
        counts = [line.count(candidate) for line in looked_at]
        score = (counts.count(counts[0]), counts[0]) if counts and counts[0] else (0, 0)
        if score > best_score:
            best, best_score = candidate, score
    return best


def _outside_quotes(line: str, quote: str) -> str:
    return "".join(line.split(quote)[::2]) if quote else line


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    """Name the nameless, and number names that are there already: SQL takes A and a for one."""
    made: list[str] = []
    seen: set[str] = set()
    for number, given in enumerate(names):
        name = stem = given.strip() or f"column{number}"
        again = 0
        while name.casefold() in seen:
            again += 1
            name = f"{stem}_{again}"
        seen.add(name.casefold())
        made.append(name)
    return tuple(made)
