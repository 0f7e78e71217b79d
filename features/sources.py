"""Reading a mapped source: rows of any shape become events, or refusals that say why."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl

from configs.errors import did_you_mean
from configs.home import Home
from features.errors import SourceError
from features.event_limits import ID_BYTES_MAX
from features.events import (
    CONTENT,
    CONTROL_CHARACTERS,
    EVENT_SCHEMA,
    INSTANT,
    REFUSED_SCHEMA,
    SHOWN_VALUE_CHARACTERS,
    admit,
    shown_texts,
)
from features.expressions import TIME, evaluate, referenced
from features.identities import MARK, Space, Spaces
from features.local_time import end_of_local_days, from_local_times
from features.mapping import SourceMapping, check_mapping, load_mapping
from features.tables import ROW, RawTable, open_table, quoted

__all__ = ["SourceMapping", "SourceRows", "imported_mapping", "load_mapping", "read_source"]

SQL_TYPES: dict[pl.DataType, str] = {pl.String(): "VARCHAR", pl.Int32(): "INTEGER", pl.Int64(): "BIGINT"}
TARGETS = {"left_out": "BOOLEAN"} | {name: SQL_TYPES.get(kind, TIME) for name, kind in EVENT_SCHEMA.items()}
WORDS = {
    "VARCHAR": "text",
    "INTEGER": "a whole number",
    "BIGINT": "a whole number",
    "BOOLEAN": "true or false",
    TIME: "a time (ISO 8601)",
}
"""What an expression's target is called where it failed."""
TIME_COLUMNS = ("event_time", "ingested_at")
CALENDAR_DAYS = (-719_160, 2_932_890)
CALENDAR_US = (-62_135_400_000_000_000, 253_402_000_000_000_000)
"""From the year 1 to the end of 9999, less the few days that a zone's offset might lead out of it."""

IDENTITY_PREFIX = "identities."
"""What the expression of an identity is called among those of the columns."""

ONE_DAY = timedelta(days=1)
MAPPING_FILE = "mapping.json"


Cover = Callable[[pl.Series, pl.Series], pl.Series]
"""`features.tombstones.Tombstones.cover`: which events, by id and time, are an erased customer's."""


@dataclass(frozen=True)
class SourceIds:
    """How a home writes the ids of one source.

    Attributes
    ----------
    prefix
        Put before each customer id, so that it meets no other source's.
    spaces
        Of the home: what its further ids are prefixed with.
    cover
        Which events are not to come in, for their customer was erased; None: all may.
    """

    prefix: str = ""
    spaces: Spaces = field(default_factory=Spaces)
    cover: Cover | None = None


@dataclass(frozen=True)
class SourceRows:
    """A source's rows, read.

    Attributes
    ----------
    good
        Events of `EVENT_SCHEMA`, in the source's order. Duplicates are still among them.
    positions
        Of each good row its position in the source, 1 for the first; what `RawTable.describe` takes.
    identities
        Of each good row the same customer's ids in other spaces, as Tagtide writes them: a column by space.
    refused
        One row per refused row: ``row file field value expected raw``; ``customer_id`` and ``event_time``
        where they are known.
    read, left_out, later, erased
        Rows of the source; dropped on purpose by ``left_out``; dated today without a time, so that they are
        known only when the day is over; dropped because their customer was erased. ``read`` is the sum of
        the latter three, the good and the refused.
    adjusted_ambiguous, adjusted_missing
        Good rows whose local event time the clocks showed twice, or never.
    table
        The raw rows.
    """

    good: pl.DataFrame
    positions: pl.Series
    identities: pl.DataFrame
    refused: pl.DataFrame
    read: int
    left_out: int
    later: int
    erased: int
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
    ids: SourceIds | None = None,
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
    ids
        How the home writes the source's ids; None: as they are.

    Raises
    ------
    SourceError
        If the source cannot be read, or an expression cannot be evaluated on it at all.
    """
    filled = mapping.filled_in(environ)
    table = open_table(filled, threads=threads)
    return events_of(filled, table, now=now, arrival=arrival, future_skew=future_skew, ids=ids)


def events_of(
    mapping: SourceMapping,
    table: RawTable,
    *,
    now: datetime,
    arrival: datetime | None,
    future_skew: timedelta,
    ids: SourceIds | None = None,
) -> SourceRows:
    """Make events of raw rows; as `read_source`, with the environment filled in and the table open."""
    ids = SourceIds() if ids is None else ids
    evaluated = evaluate(_expressions(mapping), _targets(mapping), table, f"source {mapping.source}")
    kept = evaluated
    if mapping.left_out is not None:
        kept = evaluated.filter(~pl.col("left_out").struct.field("v").fill_null(value=False))
    everybody = _stamped(kept, mapping, arrival, ids)
    stamped = (
        everybody if ids.cover is None else everybody.filter(~_covered(everybody, ids.cover, ids.spaces))
    )
    failed = stamped.filter(pl.col("failed").is_not_null())
    sound = stamped.filter(pl.col("failed").is_null())

    # Of a day without a time the end is waited for: today's rows are known tomorrow.
    is_today = pl.col("is_day") & (pl.col("event_time") > now) & (pl.col("event_time") <= now + ONE_DAY)
    due = sound.filter(~is_today)
    if "event_id" not in mapping.columns:
        due = due.with_columns(event_id=_content_ids(_as_kept(due, mapping, ids.spaces), table))
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
    misnamed = _misnamed(passed, mapping, ids)
    passed = passed.filter(~pl.col(ROW).is_in(misnamed["row"].implode()))
    refused = pl.concat([_explained(failed, mapping, table), door.refused, too_early, misnamed])
    whose = stamped.select(pl.col(ROW).alias("row"), "customer_id", "event_time")
    known = placed(refused, table, whose)
    passed = _as_kept(passed, mapping, ids.spaces)
    return SourceRows(
        good=passed.select(list(EVENT_SCHEMA)).with_columns(pl.col("quantity").fill_null(1)),
        positions=passed[ROW],
        identities=passed.select(pl.col(IDENTITY_PREFIX + name).alias(name) for name in mapping.identities),
        refused=pl.concat([known, table.rejected], how="diagonal").sort("file", "row"),
        read=table.row_count + table.rejected["row"].len(),
        left_out=evaluated.height - kept.height,
        later=sound.height - due.height,
        erased=everybody.height - stamped.height,
        adjusted_ambiguous=int(passed["is_ambiguous"].sum()),
        adjusted_missing=int(passed["is_missing"].sum()),
        table=table,
    )


def _as_kept(rows: pl.DataFrame, mapping: SourceMapping, spaces: Spaces) -> pl.DataFrame:
    """Put pseudonyms in the place of ids, where the home keeps those."""
    if spaces.pseudonym is None:
        return rows
    for name in mapping.identities:
        if name not in spaces.by_name:
            spaces = spaces.with_one(Space(name, name + MARK, is_source=False))
    columns = ["customer_id", *(IDENTITY_PREFIX + name for name in mapping.identities)]
    return rows.with_columns(spaces.canonical_column(rows[name]) for name in columns)


def placed(refused: pl.DataFrame, table: RawTable, whose: pl.DataFrame) -> pl.DataFrame:
    """Turn positions into lines and add file, raw row and whose it is, see `SourceRows.refused`.

    Parameters
    ----------
    refused
        ``row field value expected``.
    whose
        ``row customer_id event_time`` of those rows and others.
    """
    described = table.describe(refused["row"])
    return (
        refused.join(whose, on="row", how="left", maintain_order="left")
        .rename({"row": "position"})
        .join(described, on="position", how="left", maintain_order="left")
        .select("row", "file", "field", "value", "expected", "raw", "customer_id", "event_time")
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


def _expressions(mapping: SourceMapping) -> dict[str, str]:
    expressions = dict(mapping.columns)
    expressions |= {IDENTITY_PREFIX + name: expression for name, expression in mapping.identities.items()}
    if mapping.left_out is not None:
        expressions["left_out"] = mapping.left_out
    return expressions


def _targets(mapping: SourceMapping) -> dict[str, str]:
    return TARGETS | {IDENTITY_PREFIX + name: TARGETS["customer_id"] for name in mapping.identities}


def _covered(rows: pl.DataFrame, cover: Cover, spaces: Spaces) -> pl.Series:
    return cover(spaces.canonical_column(rows["customer_id"]), rows["event_time"])


def _misnamed(rows: pl.DataFrame, mapping: SourceMapping, ids: SourceIds) -> pl.DataFrame:
    """Refuse ids that would be taken for those of another space, and further ids that are none."""
    reserved = [] if ids.prefix else sorted({*ids.spaces.by_name, mapping.source})
    found = [
        rows.filter(pl.col("customer_id").str.starts_with(name + MARK)).select(
            row=ROW,
            field=pl.lit("customer_id"),
            value="customer_id",
            expected=pl.lit(f"an id that does not begin with {name + MARK!r}, which marks those of {name}"),
        )
        for name in reserved
    ]
    for name in mapping.identities:
        text = pl.col(IDENTITY_PREFIX + name)
        is_none = (text.str.len_bytes() > ID_BYTES_MAX) | text.str.contains(CONTROL_CHARACTERS)
        found.append(
            rows.filter(is_none).select(
                row=ROW,
                field=pl.lit(IDENTITY_PREFIX + name),
                value=text.str.slice(0, SHOWN_VALUE_CHARACTERS),
                expected=pl.lit(f"1 to {ID_BYTES_MAX} bytes with its space's name, no control characters"),
            )
        )
    refused = pl.concat([pl.DataFrame(schema=REFUSED_SCHEMA), *found])
    return refused.unique("row", keep="first", maintain_order=True)


def _prefixed(text: pl.Expr, prefix: str) -> pl.Expr:
    """Put a space's prefix before ids; an id that is not there, or empty, stays as it is."""
    return pl.when(text.str.len_bytes() > 0).then(prefix + text).otherwise(text)


def _stamped(
    rows: pl.DataFrame, mapping: SourceMapping, arrival: datetime | None, ids: SourceIds
) -> pl.DataFrame:
    """Unpack the structs into `EVENT_SCHEMA`; ``failed`` names the first column that failed, ``reason`` why.

    ``is_day is_ambiguous is_missing`` tell how ``event_time`` came about.
    """
    reasons = [
        pl.when(pl.col(name).is_null()).then(pl.struct(failed=pl.lit(name), reason=pl.lit(None, pl.String)))
        for name in _expressions(mapping)
    ]
    columns: dict[str, pl.Series | pl.Expr] = {}
    for name, kind in EVENT_SCHEMA.items():
        if name in TIME_COLUMNS:
            continue
        if name in mapping.columns:
            columns[name] = pl.col(name).struct.field("v")
        else:
            columns[name] = pl.lit(None, kind)
    columns["customer_id"] = _prefixed(pl.col("customer_id").struct.field("v"), ids.prefix)
    for name in mapping.identities:
        value = pl.col(IDENTITY_PREFIX + name).struct.field("v")
        columns[IDENTITY_PREFIX + name] = _prefixed(value.replace("", None), ids.spaces.prefix_of(name))
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
    expressions, targets = _expressions(mapping), _targets(mapping)
    parts = []
    for (name,), rows in failed.group_by("failed", maintain_order=True):
        inputs = referenced(expressions[name], table)
        unread = [table.unread[column] for column in inputs if column in table.unread]
        wanted = unread[0] if unread else WORDS[targets[name]]
        if targets[name] == TIME and "strp" in expressions[name]:
            wanted = "a time"
        values = table.texts(rows[ROW], inputs) if inputs else pl.Series([""]).new_from_index(0, rows.height)
        parts.append(
            rows.select(
                row=ROW,
                field=pl.lit(name),
                value=shown_texts(values.alias("value")),
                expected=pl.coalesce("reason", pl.lit(f"{wanted} from {expressions[name]}")),
            )
        )
    return pl.concat(parts)
