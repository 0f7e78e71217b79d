"""The event schema, and the door every event comes in through."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import polars as pl

from features.event_limits import ID_BYTES_MAX, TEXT_BYTES_MAX

EVENT_TYPES = (
    "view",
    "search",
    "add_to_cart",
    "remove_from_cart",
    "purchase",
    "refund",
    "interaction",
    "referral",
    "contact",
    "coupon",
)
"""In this order events are numbered inside memories; append only."""

TYPE_CODES = {name: code for code, name in enumerate(EVENT_TYPES)}

INSTANT = pl.Datetime("us", "UTC")

EVENT_SCHEMA: dict[str, pl.DataType] = {
    "event_id": pl.String(),
    "customer_id": pl.String(),
    "event_type": pl.String(),
    "event_time": INSTANT,
    "ingested_at": INSTANT,
    "item_id": pl.String(),
    "category": pl.String(),
    "brand": pl.String(),
    "quantity": pl.Int32(),
    "amount_minor": pl.Int64(),
    "discount_minor": pl.Int64(),
    "coupon_minor": pl.Int64(),
    "order_id": pl.String(),
    "source": pl.String(),
}
"""One table, append-only. Times are UTC to the microsecond; money is integer minor units.

``quantity`` defaults to 1; ``amount_minor`` is the line's total paid, positive for refunds too;
``item_id``, ``category``, ``brand``, the three money columns and ``order_id`` may be null.
"""

REQUIRED = ("event_id", "customer_id", "event_type", "event_time", "ingested_at", "source")
MONEY_MINOR_MAX = 10**15
TEXTS = ("event_id", "customer_id", "source", "item_id", "order_id", "category", "brand")
CONTROL_CHARACTERS = r"[\x00-\x1f\x7f]"
"""Databases refuse some of them, logs are forged with others, and packed keys are joined by one."""
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
CONTENT = tuple(name for name in EVENT_SCHEMA if name not in {"event_id", "source", "ingested_at"})
"""What makes two events with one id the same event; arriving later does not make it another."""


def plain_columns(events: pl.DataFrame, names: Iterable[str]) -> list[list[Any]]:
    """Return columns of the event schema as lists, instants as microseconds since the epoch, UTC.

    No query is run: of the few rows that are posted together that would cost more than all the rest.
    """
    columns = ((events[name], EVENT_SCHEMA[name] == INSTANT) for name in names)
    return [(column.cast(pl.Int64) if is_instant else column).to_list() for column, is_instant in columns]


@dataclass(frozen=True)
class Rule:
    """One thing that must hold of an event, as the condition that breaks it."""

    field: str
    expected: str
    broken: pl.Expr


@lru_cache(maxsize=4)
def _rules(future_skew: timedelta) -> tuple[Rule, ...]:
    rules = [Rule(name, "a value", pl.col(name).is_null()) for name in REQUIRED]
    for name in ("event_id", "customer_id", "source", "item_id", "order_id"):
        size = pl.col(name).str.len_bytes()
        rules.append(Rule(name, f"1 to {ID_BYTES_MAX} bytes", (size == 0) | (size > ID_BYTES_MAX)))
    for name in ("category", "brand"):
        size = pl.col(name).str.len_bytes()
        rules.append(Rule(name, f"1 to {TEXT_BYTES_MAX} bytes", (size == 0) | (size > TEXT_BYTES_MAX)))
    rules += [
        Rule("event_type", f"one of {', '.join(EVENT_TYPES)}", ~pl.col("event_type").is_in(EVENT_TYPES)),
        Rule("event_time", "1990 or later", pl.col("event_time") < EARLIEST),
        Rule(
            "event_time",
            f"at most {int(future_skew.total_seconds() // 60)} minutes after its arrival",
            pl.col("event_time") > pl.col("ingested_at") + future_skew,
        ),
        Rule("quantity", "0 or more", pl.col("quantity") < 0),
    ]
    for name in ("amount_minor", "discount_minor", "coupon_minor"):
        rules.append(
            Rule(
                name,
                f"0 to {MONEY_MINOR_MAX} minor units",
                (pl.col(name) < 0) | (pl.col(name) > MONEY_MINOR_MAX),
            )
        )
    for name in TEXTS:
        rules.append(Rule(name, "no control characters", pl.col(name).str.contains(CONTROL_CHARACTERS)))
    return tuple(rules)


@lru_cache(maxsize=4)
def _verdict(future_skew: timedelta) -> pl.Expr:
    """Number the first rule that a row breaks as ``_rule``; null where it keeps them all."""
    rules = enumerate(_rules(future_skew))
    broken = [pl.when(rule.broken).then(pl.lit(number, pl.Int16)) for number, rule in rules]
    return pl.coalesce(broken).alias("_rule")


@dataclass(frozen=True)
class Admission:
    """What the door let in and what it kept out.

    Attributes
    ----------
    admitted
        Rows of `EVENT_SCHEMA`, in the order given.
    refused
        One row per refused row: ``row`` (the caller's number), ``field``, ``value``, ``expected``: the
        first rule that the row breaks.
    """

    admitted: pl.DataFrame
    refused: pl.DataFrame


REFUSED_SCHEMA: dict[str, pl.DataType] = {
    "row": pl.Int64(),
    "field": pl.String(),
    "value": pl.String(),
    "expected": pl.String(),
}

SHOWN_VALUE_CHARACTERS = 80


def admit(rows: pl.DataFrame, *, future_skew: timedelta) -> Admission:
    """Check every row against every rule, for imports and posted events alike.

    Parameters
    ----------
    rows
        The columns of `EVENT_SCHEMA` in its types, plus ``row``: a number to report a refusal by.
    future_skew
        How far after ``ingested_at`` an ``event_time`` may lie.

    Returns
    -------
    Admitted rows without ``row``, and refusals. Every row given is in exactly one of the two.
    """
    rules = _rules(future_skew)
    with_quantity = rows.lazy().with_columns(pl.col("quantity").fill_null(1))
    # Nothing here can be planned better, and for a few rows the planning takes longer than the work.
    judged = with_quantity.with_columns(_verdict(future_skew)).collect(optimizations=pl.QueryOptFlags.none())
    if judged["_rule"].null_count() == judged.height:
        admitted = pl.DataFrame([judged[name] for name in EVENT_SCHEMA])
        return Admission(admitted, pl.DataFrame(schema=REFUSED_SCHEMA))
    admitted = judged.filter(pl.col("_rule").is_null()).select(list(EVENT_SCHEMA))
    broken = judged.filter(pl.col("_rule").is_not_null())
    return Admission(admitted, _described(broken, rules))


def _described(broken: pl.DataFrame, rules: Sequence[Rule]) -> pl.DataFrame:
    """Describe refused rows a rule at a time, without a loop over rows; in the order given."""
    parts = [
        rows.select(
            "row",
            pl.lit(rules[number].field).alias("field"),
            shown_texts(rows[rules[number].field]).alias("value"),
            pl.lit(rules[number].expected).alias("expected"),
            "_order",
        )
        for (number,), rows in broken.with_row_index("_order").group_by("_rule")
    ]
    return pl.concat(parts).sort("_order").select(list(REFUSED_SCHEMA))


def shown_texts(values: pl.Series) -> pl.Series:
    """Shorten a column of refused values as `shown` does each."""
    value = pl.col(values.name)
    is_time = isinstance(values.dtype, pl.Datetime)
    written = value.dt.to_string("%Y-%m-%d %H:%M:%S%.f%:z") if is_time else value.cast(pl.String)
    text = written.fill_null("null")
    size = text.str.len_chars()
    short = pl.format("{}… ({} characters)", text.str.slice(0, SHOWN_VALUE_CHARACTERS), size)
    return (
        values.to_frame()
        .select(pl.when(size <= SHOWN_VALUE_CHARACTERS).then(text).otherwise(short))
        .to_series()
    )


def shown(value: object) -> str:
    """Shorten a refused value so that it fits a message.

    >>> shown("x" * 200)[80:]
    '… (200 characters)'
    """
    text = "null" if value is None else str(value)
    if len(text) <= SHOWN_VALUE_CHARACTERS:
        return text
    return f"{text[:SHOWN_VALUE_CHARACTERS]}… ({len(text)} characters)"
