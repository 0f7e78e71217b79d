"""Parquet files before they are read, and what is wrong with those that cannot be."""

from __future__ import annotations

from pathlib import Path

from features.errors import SourceError

MAGIC = b"PAR1"
ENCRYPTED_MAGIC = b"PARE"
TAIL_BYTES = 8
AGAIN = "fetch or export the file again"


def check_ends(path: Path, what: str) -> None:
    """Check that a file begins and ends as a Parquet file does; quick, whatever its size.

    Raises
    ------
    SourceError
        If it is empty, no Parquet file, or cut short; says which bytes are missing.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(len(MAGIC))
        file.seek(max(size - TAIL_BYTES, 0))
        tail = file.read(TAIL_BYTES)
    if size == 0:
        raise SourceError(f"{what}: {path} is empty", "check the export that wrote it")
    if head == ENCRYPTED_MAGIC:
        raise SourceError(f"{what}: {path} is an encrypted Parquet file", "decrypt it first")
    if head != MAGIC:
        raise SourceError(
            f"{what}: {path} is no Parquet file: its first bytes are {head!r}, expected {MAGIC!r}",
            "if it is text, read it with `csv:` instead of `parquet:`",
        )
    if size < len(MAGIC) + TAIL_BYTES or tail[-len(MAGIC) :] != MAGIC:
        raise SourceError(
            f"{what}: {path} is cut short: it ends after {size:,} bytes with {tail[-len(MAGIC) :]!r}, "
            f"expected {MAGIC!r}: the footer is missing",
            AGAIN,
        )
    footer = int.from_bytes(tail[:4], "little")
    if footer + len(MAGIC) + TAIL_BYTES > size:
        raise SourceError(
            f"{what}: {path} is damaged: at byte {size - TAIL_BYTES:,} it gives its footer {footer:,} bytes, "
            f"and has {size:,} in all",
            AGAIN,
        )


def check_pages(path: Path, what: str) -> None:
    """Look for what cannot be read in a file that failed: names row group, column and bytes.

    Raises
    ------
    SourceError
        If something is found.
    """
    import pyarrow as pa
    from pyarrow import parquet

    size = path.stat().st_size
    try:
        file = parquet.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(
            f"{what}: {path} is damaged: its footer, at the end of {size:,} bytes, cannot be read: "
            f"{_one_line(error)}",
            AGAIN,
        ) from None
    with file:
        for group in range(file.metadata.num_row_groups):
            chunks = file.metadata.row_group(group)
            for number in range(chunks.num_columns):
                chunk = chunks.column(number)
                begin = chunk.data_page_offset
                if chunk.has_dictionary_page and chunk.dictionary_page_offset is not None:
                    begin = min(begin, chunk.dictionary_page_offset)
                end = begin + chunk.total_compressed_size
                name = chunk.path_in_schema
                place = f"row group {group + 1} of {file.metadata.num_row_groups}, column {name!r}"
                if end > size - TAIL_BYTES:
                    raise SourceError(
                        f"{what}: {path} is cut short: {place} stands at bytes {begin:,} to {end:,}, "
                        f"the file has {size:,}",
                        AGAIN,
                    )
                try:
                    file.read_row_group(group, columns=[name.split(".")[0]])
                except (OSError, pa.ArrowException, MemoryError) as error:
                    raise SourceError(
                        f"{what}: {path} is damaged: {place}, bytes {begin:,} to {end:,}, cannot be read: "
                        f"{_one_line(error)}",
                        AGAIN,
                    ) from None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
