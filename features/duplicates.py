"""Telling new events from those stored already, those in conflict with them, and those not yet known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from features.events import CONTENT, EVENT_SCHEMA
from features.lake import Lake

OTHER_CONTENT = "the content already stored under this event_id"


@dataclass(frozen=True)
class Sorting:
    """What is to become of a source's good rows; every row is in exactly one of the four.

    Attributes
    ----------
    new
        Rows of `EVENT_SCHEMA` to be stored.
    duplicate
        How many are stored already, or repeated in the source, with the same content.
    conflicting
        Positions of rows whose id belongs to another content, with that id: ``row value``.
    later
        How many became known only after ``until``.
    """

    new: pl.DataFrame
    duplicate: int
    conflicting: pl.DataFrame
    later: int


def sort_out(events: pl.DataFrame, positions: pl.Series, lake: Lake, *, until: datetime | None) -> Sorting:
    """Tell new events from duplicates, conflicts and those not yet known.

    Of events with one id the first in the source counts, unless the lake holds one: then that one does.
    Arriving at another time does not make an event another (`CONTENT`).

    Parameters
    ----------
    events
        Rows of `EVENT_SCHEMA` of one ``source``.
    positions
        Their positions in the source.
    lake
        Where events are stored.
    until
        Only what was known by then is new: ``ingested_at <= until``. None for everything.
    """
    if events.is_empty():
        return Sorting(events, 0, pl.DataFrame(schema={"row": pl.Int64, "value": pl.String}), 0)
    numbered = events.with_columns(positions.alias("row"))
    stored = lake.existing(str(events["source"][0]), events["event_id"])
    is_repeated = ~numbered["event_id"].is_first_distinct()
    is_stored = numbered["event_id"].is_in(stored["event_id"].implode())
    met_before = numbered.filter(is_repeated | is_stored)
    fresh = numbered.filter(~(is_repeated | is_stored))

    duplicate, conflicting = 0, met_before.select("row", value="event_id")
    if not met_before.is_empty():
        first_of_repeated = numbered.filter(
            ~is_repeated & ~is_stored & pl.col("event_id").is_in(met_before["event_id"].implode())
        )
        compared = ["event_id", *CONTENT]
        originals = pl.concat([stored.select(compared), first_of_repeated.select(compared)])
        paired = met_before.join(
            originals, on="event_id", how="left", suffix="_original", maintain_order="left"
        )
        is_same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_original")) for name in CONTENT)
        duplicate = paired.filter(is_same).height
        conflicting = paired.filter(~is_same).select("row", value="event_id")

    known = fresh if until is None else fresh.filter(pl.col("ingested_at") <= until)
    return Sorting(known.select(list(EVENT_SCHEMA)), duplicate, conflicting, fresh.height - known.height)
