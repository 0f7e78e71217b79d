"""The event schema, and the door every event comes in through."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import polars as pl

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
ID_BYTES_MAX = 128
TEXT_BYTES_MAX = 256
MONEY_MINOR_MAX = 10**15
TEXTS = ("event_id", "customer_id", "source", "item_id", "order_id", "category", "brand")
CONTROL_CHARACTERS = r"[\x00-\x1f\x7f]"
"""Databases refuse some of them, logs are forged with others, and packed keys are joined by one."""
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
CONTENT = tuple(name for name in EVENT_SCHEMA if name not in {"event_id", "source", "ingested_at"})
"""What makes two events with one id the same event; arriving later does not make it another."""


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
    verdict = pl.coalesce(
        [pl.when(rule.broken).then(pl.lit(number, pl.Int16)) for number, rule in enumerate(rules)]
    )
    judged = rows.with_columns(pl.col("quantity").fill_null(1)).with_columns(verdict.alias("_rule"))
    admitted = judged.filter(pl.col("_rule").is_null()).select(list(EVENT_SCHEMA))
    broken = judged.filter(pl.col("_rule").is_not_null())
    if broken.is_empty():
        return Admission(admitted, pl.DataFrame(schema=REFUSED_SCHEMA))
    refused = [
        {
            "row": row["row"],
            "field": rules[row["_rule"]].field,
            "value": shown(row[rules[row["_rule"]].field]),
            "expected": rules[row["_rule"]].expected,
        }
        for row in broken.iter_rows(named=True)
    ]
    return Admission(admitted, pl.DataFrame(refused, schema=REFUSED_SCHEMA))


def shown(value: object) -> str:
    """Shorten a refused value so that it fits a message.

    >>> shown("x" * 200)[80:]
    '… (200 characters)'
    """
    text = "null" if value is None else str(value)
    if len(text) <= SHOWN_VALUE_CHARACTERS:
        return text
    return f"{text[:SHOWN_VALUE_CHARACTERS]}… ({len(text)} characters)"
