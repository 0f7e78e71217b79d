"""Reading a mapped source: rows of any shape become events, or refusals that say why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from configs.errors import did_you_mean
from configs.home import Home
from features.errors import SourceError
from features.events import CONTENT, EVENT_SCHEMA, INSTANT, REFUSED_SCHEMA, admit, shown
from features.expressions import TIME, evaluate, referenced
from features.local_time import end_of_local_days, from_local_times
from features.mapping import SourceMapping, check_mapping, load_mapping
from features.tables import ROW, RawTable, open_table, quoted

__all__ = ["SourceMapping", "SourceRows", "imported_mapping", "load_mapping", "read_source"]

SQL_TYPES: dict[pl.DataType, str] = {pl.String(): "VARCHAR", pl.Int32(): "INTEGER", pl.Int64(): "BIGINT"}
TARGETS = {"left_out": "BOOLEAN"} | {name: SQL_TYPES.get(kind, TIME) for name, kind in EVENT_SCHEMA.items()}
TIME_COLUMNS = ("event_time", "ingested_at")
CALENDAR_DAYS = (-719_160, 2_932_890)
CALENDAR_US = (-62_135_400_000_000_000, 253_402_000_000_000_000)
"""From the year 1 to the end of 9999, less the few days that a zone's offset might lead out of it."""

ONE_DAY = timedelta(days=1)
MAPPING_FILE = "mapping.json"


@dataclass(frozen=True)
class SourceRows:
    """A source's rows, read.

    Attributes
    ----------
    good
        Events of `EVENT_SCHEMA`, in the source's order. Duplicates are still among them.
    positions
        Of each good row its position in the source, 1 for the first; what `RawTable.describe` takes.
    refused
        One row per refused row: ``row file field value expected raw``.
    read, left_out, later
        Rows of the source; dropped on purpose by ``left_out``; dated today without a time, so that they are
        known only when the day is over. ``read`` is the sum of the latter two, the good and the refused.
    adjusted_ambiguous, adjusted_missing
        Good rows whose local event time the clocks showed twice, or never.
    table
        The raw rows.
    """

    good: pl.DataFrame
    positions: pl.Series
    refused: pl.DataFrame
    read: int
    left_out: int
    later: int
    adjusted_ambiguous: int
    adjusted_missing: int
    table: RawTable


def read_source(
    mapping: SourceMapping,
    environ: Mapping[str, str],
    *,
    now: datetime,
    arrival: datetime | None = None,
    future_skew: timedelta = timedelta(minutes=5),
    threads: int = 2,
) -> SourceRows:
    """Read a source and pass its rows through the door.

    Parameters
    ----------
    mapping
        How rows become events.
    environ
        Where ``${NAME}`` is taken from.
    now
        The present instant: nothing may have happened after it.
    arrival
        When these rows became known: their ``ingested_at``. None for history: then it is the mapping's
        expression, or ``event_time``.
    future_skew
        How far ahead of its arrival an event may be stamped.
    threads
        How many DuckDB may use.

    Raises
    ------
    SourceError
        If the source cannot be read, or an expression cannot be evaluated on it at all.
    """
    filled = mapping.filled_in(environ)
    return events_of(
        filled, open_table(filled, threads=threads), now=now, arrival=arrival, future_skew=future_skew
    )


def events_of(
    mapping: SourceMapping,
    table: RawTable,
    *,
    now: datetime,
    arrival: datetime | None,
    future_skew: timedelta,
) -> SourceRows:
    """Make events of raw rows; as `read_source`, with the environment filled in and the table open."""
    expressions = dict(mapping.columns)
    if mapping.left_out is not None:
        expressions["left_out"] = mapping.left_out
    evaluated = evaluate(expressions, TARGETS, table, f"source {mapping.source}")
    kept = evaluated
    if mapping.left_out is not None:
        kept = evaluated.filter(~pl.col("left_out").struct.field("v").fill_null(value=False))
    stamped = _stamped(kept, mapping, arrival)
    failed = stamped.filter(pl.col("failed").is_not_null())
    sound = stamped.filter(pl.col("failed").is_null())

    # Of a day without a time the end is waited for: today's rows are known tomorrow.
    is_today = pl.col("is_day") & (pl.col("event_time") > now) & (pl.col("event_time") <= now + ONE_DAY)
    due = sound.filter(~is_today)
    if "event_id" not in mapping.columns:
        due = due.with_columns(event_id=_content_ids(due, table))
    door = admit(due.select(pl.col(ROW).alias("row"), *EVENT_SCHEMA), future_skew=future_skew)
    passed = due.filter(~pl.col(ROW).is_in(door.refused["row"].implode()))
    ahead = passed.filter(pl.col("event_time") > now + future_skew)
    passed = passed.filter(pl.col("event_time") <= now + future_skew)
    too_early = ahead.select(
        row=ROW,
        field=pl.lit("event_time"),
        value=pl.col("event_time").cast(pl.String),
        expected=pl.lit(f"at most {int(future_skew.total_seconds() // 60)} minutes after the import"),
    )
    refused = placed(pl.concat([_explained(failed, mapping, table), door.refused, too_early]), table)
    return SourceRows(
        good=passed.select(list(EVENT_SCHEMA)).with_columns(pl.col("quantity").fill_null(1)),
        positions=passed[ROW],
        refused=pl.concat([refused, table.rejected]).sort("file", "row"),
        read=table.row_count + table.rejected["row"].len(),
        left_out=evaluated.height - kept.height,
        later=sound.height - due.height,
        adjusted_ambiguous=int(passed["is_ambiguous"].sum()),
        adjusted_missing=int(passed["is_missing"].sum()),
        table=table,
    )


def placed(refused: pl.DataFrame, table: RawTable) -> pl.DataFrame:
    """Turn positions into lines and add file and raw row: ``row file field value expected raw``."""
    described = table.describe(refused["row"])
    return (
        refused.rename({"row": "position"})
        .join(described, on="position", how="left", maintain_order="left")
        .select("row", "file", "field", "value", "expected", "raw")
    )


def imported_mapping(home: Home, source: str) -> SourceMapping:
    """Return the mapping with which a source was last imported into a home.

    Raises
    ------
    SourceError
        If the source was never imported there.
    """
    path = home.sources / source / MAPPING_FILE
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        content, folder = written["mapping"], home.root / written["folder"]
    except FileNotFoundError:
        raise SourceError(
            f"source {source!r} was never imported into {home.root}"
            f"{did_you_mean(source, imported_sources(home))}",
            f"run `tagtide import {source}` first",
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{path} is damaged: {error!r}", "import the source again") from None
    return check_mapping(content, str(path), folder)


def imported_sources(home: Home) -> list[str]:
    """Return the sources that were imported into a home, sorted."""
    return sorted(path.parent.name for path in home.sources.glob(f"*/{MAPPING_FILE}"))


def _stamped(rows: pl.DataFrame, mapping: SourceMapping, arrival: datetime | None) -> pl.DataFrame:
    """Unpack the structs into `EVENT_SCHEMA`; ``failed`` names the first column that failed, ``reason`` why.

    ``is_day is_ambiguous is_missing`` tell how ``event_time`` came about.
    """
    reasons = [
        pl.when(pl.col(name).is_null()).then(pl.struct(failed=pl.lit(name), reason=pl.lit(None, pl.String)))
        for name in [*mapping.columns, *(["left_out"] if mapping.left_out is not None else [])]
    ]
    columns: dict[str, pl.Series | pl.Expr] = {}
    for name, kind in EVENT_SCHEMA.items():
        if name in TIME_COLUMNS:
            continue
        if name in mapping.columns:
            columns[name] = pl.col(name).struct.field("v")
        else:
            columns[name] = pl.lit(None, kind)
    for name in TIME_COLUMNS:
        if name not in mapping.columns or (name == "ingested_at" and arrival is not None):
            continue
        times = _Times.of(rows[name], mapping.time_zone)
        columns[name] = times.instants
        for text, mask in times.unusable.items():
            reasons.append(pl.when(pl.lit(mask)).then(pl.struct(failed=pl.lit(name), reason=pl.lit(text))))
        if name == "event_time":
            columns |= {
                "is_day": times.is_day,
                "is_ambiguous": times.is_ambiguous,
                "is_missing": times.is_missing,
            }
    stamped = rows.select(ROW, pl.coalesce(reasons).alias("verdict"), **columns).unnest("verdict")
    if arrival is not None:
        known = pl.lit(arrival, INSTANT)
    elif "ingested_at" in columns:
        known = pl.coalesce("ingested_at", "event_time")
    else:
        known = pl.col("event_time")
    return stamped.with_columns(ingested_at=known, source=pl.lit(mapping.source))


@dataclass(frozen=True)
class _Times:
    """A time column's instants, and the rows of which it has none though a time was given."""

    instants: pl.Series
    is_day: pl.Series
    is_ambiguous: pl.Series
    is_missing: pl.Series
    unusable: Mapping[str, pl.Series]

    @classmethod
    def of(cls, structs: pl.Series, zone: str | None) -> _Times:
        zoned = structs.struct.field("zoned").cast(INSTANT)
        naive = structs.struct.field("naive").cast(pl.Datetime("us"))
        day = structs.struct.field("day")
        is_local = naive.is_not_null() | day.is_not_null()
        unusable: dict[str, pl.Series] = {}
        if zone is None:
            unusable["a time with a zone, or `time_zone` in the mapping"] = is_local
            naive, day = naive.set(is_local, None), day.set(is_local, None)
        outside = pl.Series([False]).new_from_index(0, structs.len())
        for times, calendar in ((zoned, CALENDAR_US), (naive, CALENDAR_US), (day, CALENDAR_DAYS)):
            outside |= (~times.to_physical().is_between(*calendar)).fill_null(value=False)
        unusable["a time between the years 1 and 9999"] = outside
        zoned, naive, day = zoned.set(outside, None), naive.set(outside, None), day.set(outside, None)
        local = from_local_times(naive, zone or "UTC")
        ends = end_of_local_days(day, zone or "UTC")
        instants = pl.select(pl.coalesce(zoned, local.instants, ends)).to_series()
        return cls(instants, day.is_not_null(), local.is_ambiguous, local.is_missing, unusable)


def _content_ids(rows: pl.DataFrame, table: RawTable) -> pl.Series:
    """Give rows without an id of their own the hash of their content and their number among their likes."""
    connection = table.connection
    connection.register("rows_without_id", rows.select(ROW, *CONTENT).to_arrow())
    # Nulls are skipped: a column added to the schema later leaves the ids as they are.
    parts = ", ".join(f"'{name}=' || CAST({quoted(name)} AS VARCHAR)" for name in CONTENT)
    hashes: pl.DataFrame = connection.sql(
        f"SELECT {ROW}, left(sha256(concat_ws(chr(31), {parts})), 32) AS hash FROM rows_without_id"
    ).pl()
    connection.unregister("rows_without_id")
    numbered = hashes.sort(ROW).with_columns(ordinal=pl.int_range(pl.len()).over("hash"))
    return numbered.select(pl.format("{}-{}", "hash", "ordinal")).to_series()


def _explained(failed: pl.DataFrame, mapping: SourceMapping, table: RawTable) -> pl.DataFrame:
    """Describe failed rows in the shape of `REFUSED_SCHEMA`: the raw values that the expression names."""
    if failed.is_empty():
        return pl.DataFrame(schema=REFUSED_SCHEMA)
    expressions = {**mapping.columns, "left_out": mapping.left_out or ""}
    raw = dict(table.describe(failed[ROW]).select("position", "raw").iter_rows())
    inputs = {name: referenced(expression, table) for name, expression in expressions.items()}
    rows = []
    for row in failed.select(ROW, "failed", "reason").iter_rows(named=True):
        name = row["failed"]
        given = json.loads(raw[row[ROW]])
        values = {column: given.get(column) for column in inputs[name]}
        value = (
            next(iter(values.values()))
            if len(values) == 1
            else ", ".join(f"{k}={v}" for k, v in values.items())
        )
        wanted = "a time (ISO 8601)" if TARGETS[name] == TIME else TARGETS[name]
        expected = row["reason"] or f"{wanted} from {expressions[name]}"
        rows.append({"row": row[ROW], "field": name, "value": shown(value), "expected": expected})
    return pl.DataFrame(rows, schema=REFUSED_SCHEMA)
