"""Window features as one would write them by hand: in polars, and in DuckDB in two ways."""

from __future__ import annotations

from typing import Any

import measurement

CORES = measurement.use_cores()

import duckdb  # noqa: E402 (libraries count the cores when they are imported)
import polars as pl  # noqa: E402 (as above)

from features.windows import (  # noqa: E402 (as above)
    DAY_7,
    DAY_30,
    DAY_90,
    DAY_365,
    SHORT_WINDOWS,
    Measure,
)

MEASURES = (
    Measure("view_count", ("view",)),
    Measure("purchase_count", ("purchase",)),
    Measure("spend_minor", ("purchase",), "amount_minor"),
)
NAMES = [measure.name for measure in MEASURES]
WINDOWS = (*SHORT_WINDOWS, DAY_7, DAY_30, DAY_90, DAY_365)
LENGTHS = {window.name: window.length_us or 0 for window in WINDOWS}


def polars_asof(events: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Make the features by running sums and one ASOF join a window, on one number of customer and time."""
    first, last = extent(events["event_time"], rows["instant"])
    span = pl.lit(last - first + 2, pl.UInt64)
    is_view, is_purchase = pl.col("event_type") == "view", pl.col("event_type") == "purchase"
    code = pl.col("customer_id").cast(pl.Categorical).to_physical().cast(pl.UInt64)

    def place(time: str) -> pl.Expr:
        return (code * span + (pl.col(time).to_physical() - first + 1).cast(pl.UInt64)).alias("place")

    sums, sought = pl.collect_all(
        [
            events.lazy()
            .select(
                place("event_time"),
                is_view.cast(pl.Int64).alias("view_count"),
                is_purchase.cast(pl.Int64).alias("purchase_count"),
                pl.when(is_purchase).then("amount_minor").otherwise(0).alias("spend_minor"),
            )
            .sort("place")
            .with_columns(pl.col(NAMES).cum_sum()),
            rows.lazy()
            .select((code * span).alias("begin"), place("instant"))
            .with_row_index("row")
            .sort("place"),
        ],
        engine="in-memory",
    )
    nothing = pl.DataFrame({"place": [0], **{name: [0] for name in NAMES}}, schema=sums.schema)
    sums = pl.concat([nothing, sums]).with_columns(pl.col("place").set_sorted())

    def until(end: pl.Expr) -> pl.LazyFrame:
        placed = sought.lazy().select(end.alias("place").set_sorted())
        return placed.join_asof(sums.lazy(), on="place", check_sortedness=False).select(NAMES)

    lengths = [pl.lit(length, pl.UInt64) for length in LENGTHS.values()]
    starts = [pl.max_horizontal("place", pl.col("begin") + length) - length for length in lengths]
    known, *gone = pl.collect_all(
        [until(pl.col("place")), *(until(start) for start in starts)], engine="in-memory"
    )
    columns = [
        known.select((pl.col(name) - before[name]).alias(f"{name}_{window}") for name in NAMES)
        for window, before in zip(LENGTHS, gone, strict=True)
    ]
    return pl.concat([sought.select("row"), *columns], how="horizontal").sort("row").drop("row")


def extent(*times: pl.Series) -> tuple[int, int]:
    """Return the first and the last of all times, in µs."""
    numbers = pl.concat([series.to_physical().rename("us") for series in times], rechunk=False).to_frame()
    return numbers.select(pl.min("us").alias("first"), pl.max("us").alias("last")).row(0)


NUMBERED = """
create or replace temp table numbers as
    select customer_id, row_number() over () as code from (select distinct customer_id from events);
create or replace temp table sums as
    select place, sum(is_view) over w as view_count, sum(is_purchase) over w as purchase_count,
        sum(spend) over w as spend_minor
    from (
        select code::ubigint * {span} + (epoch_us(event_time) - {first})::ubigint as place,
            (event_type = 'view')::int as is_view, (event_type = 'purchase')::int as is_purchase,
            case when event_type = 'purchase' then amount_minor else 0 end as spend
        from events join numbers using (customer_id)
    )
    window w as (order by place);
create or replace temp table sought as
    select row, code::ubigint * {span} as first_place,
        first_place + (epoch_us(instant) - {first})::ubigint as place
    from rows left join numbers using (customer_id);
"""


def duckdb_asof(events: Any, rows: Any) -> Any:
    """Make the features in DuckDB by running sums and one ASOF join a window, on one number likewise."""
    with _connected(events, rows) as connection:
        first, last = connection.sql(
            "select min(t), max(t) from (select epoch_us(event_time) as t from events union all "
            "select epoch_us(instant) from rows)"
        ).fetchall()[0]
        connection.execute(NUMBERED.format(span=f"{last - first + 1}::ubigint", first=first))
        joins = [
            f"asof left join sums as w{name} on w{name}.place <= "
            f"greatest(sought.place, first_place + {length - 1}::ubigint) - {length}::ubigint"
            for name, length in LENGTHS.items()
        ]
        columns = [
            f"(coalesce(known.{name}, 0) - coalesce(w{window}.{name}, 0))::bigint as {name}_{window}"
            for window in LENGTHS
            for name in NAMES
        ]
        return connection.sql(
            f"select {', '.join(columns)} from sought asof left join sums as known "
            f"on known.place <= sought.place {' '.join(joins)} order by row"
        ).to_arrow_table()


def range_join(events: Any, rows: Any) -> Any:
    """Make the features in DuckDB by joining every row with the events of its longest window."""
    of_measure = {
        "view_count": "(event_type = 'view')::int",
        "purchase_count": "(event_type = 'purchase')::int",
        "spend_minor": "case when event_type = 'purchase' then amount_minor else 0 end",
    }
    sums = [
        f"coalesce(sum({value}) filter (event_time > instant - to_microseconds({length})), 0)::bigint "
        f"as {name}_{window}"
        for window, length in LENGTHS.items()
        for name, value in of_measure.items()
    ]
    longest = max(LENGTHS.values())
    with _connected(events, rows) as connection:
        return connection.sql(
            f"select {', '.join(sums)} from rows left join events on rows.customer_id = events.customer_id "
            f"and event_time <= instant and event_time > instant - to_microseconds({longest}) "
            "group by row order by row"
        ).to_arrow_table()


def _connected(events: Any, rows: Any) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(f"set threads = {CORES}; set TimeZone = 'UTC'")
    connection.register("events", events)
    connection.register("rows", rows)
    return connection
