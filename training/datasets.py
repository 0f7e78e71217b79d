"""Training sets: whom to look at and when, their features through Feast, and what became of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from features import affinity, customer
from features.events import EVENT_SCHEMA, EVENT_TYPES, INSTANT
from features.feast_objects import SERVICES
from features.history import History
from features.tags import TagFamily
from features.windows import HOUR_US, IntArray, Measure, WindowRows, to_us
from training.splits import Slice, TagSlices

CENSUS, AFTER_EVENT, RANDOM_HOUR = 0, 1, 2
KIND_NAMES = ("census", "after_event", "random_hour")
"""The kinds of decision instants: midnights, right after an event, and in between."""

FIT, CALIBRATE, CERTIFY, TEST = 0, 1, 2, 3

ACTIVITY = Measure("activity", tuple(name for name in EVENT_TYPES if name != "contact"))
"""What makes a customer worth looking at: anything but a message sent to them."""


SNAPSHOT_PAIRS = 250_000
"""Pairs whose features are computed at once; bounds the memory used."""


@dataclass(frozen=True)
class DecisionRows:
    """Customers at decision instants, each (customer, instant) once.

    Attributes
    ----------
    customer, instant
        Shape (n_rows,): customer number, and µs since the epoch.
    kind, part
        Shape (n_rows,): `CENSUS`, `AFTER_EVENT` or `RANDOM_HOUR`; `FIT`, `CALIBRATE`, `CERTIFY` or `TEST`.
    """

    customer: IntArray
    instant: IntArray
    kind: IntArray
    part: IntArray

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.customer)

    def take(self, chosen: npt.NDArray[Any]) -> DecisionRows:
        """Return some of the rows."""
        return DecisionRows(self.customer[chosen], self.instant[chosen], self.kind[chosen], self.part[chosen])

    @classmethod
    def joined(cls, parts: Iterable[DecisionRows]) -> DecisionRows:
        """Put rows together, dropping repeats of a (customer, instant) after the first."""
        rows = list(parts)
        customer = np.concatenate([part.customer for part in rows])
        instant = np.concatenate([part.instant for part in rows])
        pairs = pl.DataFrame({"customer": customer, "instant": instant})
        first = pairs.with_row_index("row").unique(["customer", "instant"], keep="first")["row"]
        chosen = np.sort(first.to_numpy())
        together = cls(
            customer,
            instant,
            np.concatenate([part.kind for part in rows]),
            np.concatenate([part.part for part in rows]),
        )
        return together.take(chosen)


@dataclass(frozen=True)
class SamplingBudget:
    """How many decision rows of each slice are looked at: all of a census, or a sample for speed.

    Attributes
    ----------
    fit, calibrate, certify
        Customer-instants of each slice, half of them at censuses, a quarter each after events and at random
        hours.
    """

    fit: int = 30_000
    calibrate: int = 14_000
    certify: int = 26_000


def active_at(history: History, instants: Sequence[datetime], within_us: int) -> tuple[IntArray, IntArray]:
    """Return every customer with an event other than a contact within some time before each instant.

    Returns
    -------
    Customer numbers and instants in µs, shape (n_rows,) each.
    """
    everyone = np.arange(len(history.columns.customers))
    customers, moments = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for instant in instants:
        at = np.full(len(everyone), to_us(instant))
        active = WindowRows(history.customers, everyone, at).sum(ACTIVITY, within_us) > 0
        customers.append(everyone[active])
        moments.append(at[active])
    return np.concatenate(customers), np.concatenate(moments)


def _sampled(rows: DecisionRows, size: int, rng: np.random.Generator) -> DecisionRows:
    if len(rows) <= size:
        return rows
    return rows.take(np.sort(rng.choice(len(rows), size, replace=False)))


def _rows(customer: IntArray, instant: IntArray, kind: int, part: int) -> DecisionRows:
    return DecisionRows(customer, instant, np.full(len(customer), kind), np.full(len(customer), part))


def slice_rows(
    history: History,
    part: int,
    days: Slice,
    size: int,
    rng: np.random.Generator,
    within_us: int = 72 * HOUR_US,
) -> DecisionRows:
    """Sample decision rows of a slice: half at its censuses, a quarter each after events and at random hours.

    After-event instants are those of events other than contacts, as they became known; random ones are up to
    ``within_us`` later.
    """
    census = _rows(*active_at(history, days.days(), within_us), CENSUS, part)
    first, last = to_us(days.first), to_us(days.last)
    memory = history.customers
    inside = np.flatnonzero(
        memory.of_types(ACTIVITY.event_types) & (memory.known_at >= first) & (memory.known_at <= last)
    )
    moments = np.unique(np.stack([memory.key[inside], memory.known_at[inside]]), axis=1)
    after = _rows(moments[0], moments[1], AFTER_EVENT, part)
    later = moments[1] + rng.integers(1, within_us, moments.shape[1])
    between = _rows(moments[0][later <= last], later[later <= last], RANDOM_HOUR, part)
    return DecisionRows.joined(
        [_sampled(census, size // 2, rng), _sampled(after, size // 4, rng), _sampled(between, size // 4, rng)]
    )


def tag_decisions(
    history: History, slices: TagSlices, budget: SamplingBudget, seed: int, within_us: int = 72 * HOUR_US
) -> DecisionRows:
    """Sample the decision rows of a tag model, of customers active within some time before them."""
    parts = (
        (FIT, slices.fit, budget.fit),
        (CALIBRATE, slices.calibrate, budget.calibrate),
        (CERTIFY, slices.certify, budget.certify),
    )
    # A generator each: what is drawn of one slice does not hang on how much is drawn of another.
    return DecisionRows.joined(
        slice_rows(history, part, days, size, np.random.default_rng([seed, part]), within_us)
        for part, days, size in parts
    )


def key_frame(history: History, rows: DecisionRows) -> pl.DataFrame:
    """Return the entity columns of decision rows, as the feature store asks for them."""
    return pl.DataFrame(
        {
            "customer_id": pl.Series(
                [history.columns.customers[number] for number in rows.customer.tolist()], dtype=pl.String
            ),
            "event_timestamp": pl.Series(rows.instant).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        },
        schema_overrides={"event_timestamp": INSTANT},
    )


def customer_snapshot(history: History, rows: DecisionRows) -> pl.DataFrame:
    """Compute the customer features that any feature service reads, at decision rows."""
    wanted = customer.CATALOGUE.names(*SERVICES)
    values = customer.CATALOGUE.compute(history.customer_rows(rows.customer, rows.instant), wanted)
    return key_frame(history, rows).hstack(pl.DataFrame(values))


@dataclass(frozen=True)
class PairDecisions:
    """The claims worth considering at decision rows.

    Attributes
    ----------
    row
        Shape (n_pairs,): the decision row.
    code
        Shape (n_pairs,): number of the category or brand.
    frame
        Entity columns, among them the key.
    """

    row: IntArray
    code: IntArray
    frame: pl.DataFrame

    def take(self, chosen: npt.NDArray[np.bool_]) -> PairDecisions:
        """Return some of the claims."""
        return PairDecisions(self.row[chosen], self.code[chosen], self.frame.filter(pl.Series(chosen)))


def pair_decisions(history: History, key_column: str, rows: DecisionRows, family: TagFamily) -> PairDecisions:
    """Find the pairs worth a claim at decision rows."""
    customers = history.customer_rows(rows.customer, rows.instant)
    row, pair = history.candidate_pairs(key_column, customers, family.candidate.rule)
    code = history.pairs(key_column)[0].code[pair]
    texts = pl.Series(history.columns.texts(key_column), dtype=pl.String)
    frame = key_frame(history, rows.take(row)).with_columns(texts.gather(code).alias(key_column))
    return PairDecisions(row, code, frame)


def pair_snapshot(
    history: History, key_column: str, rows: DecisionRows, decisions: PairDecisions
) -> pl.DataFrame:
    """Compute the affinity features that any feature service reads; some pairs at a time."""
    wanted = affinity.CATALOGUE.names(*SERVICES)
    pair = history.pairs(key_column)[0].find(rows.customer[decisions.row], decisions.code)
    computed = []
    for begin in range(0, max(len(pair), 1), SNAPSHOT_PAIRS):
        here = slice(begin, begin + SNAPSHOT_PAIRS)
        of_pair = decisions.row[here]
        chosen, row = np.unique(of_pair, return_inverse=True)
        customers = history.customer_rows(rows.customer[chosen], rows.instant[chosen])
        values = affinity.CATALOGUE.compute(history.pair_rows(key_column, customers, row, pair[here]), wanted)
        computed.append(pl.DataFrame(values))
    return decisions.frame.hstack(pl.concat(computed))


def fingerprint(events: pl.DataFrame) -> dict[str, Any]:
    """Describe the data a model was trained on: size, span, and a hash that changes with any row."""
    hashes = events.select(list(EVENT_SCHEMA)).hash_rows(7)
    digest = hashlib.sha256(np.sort(hashes.to_numpy()).tobytes()).hexdigest()
    return {
        "rows": events.height,
        "customers": events["customer_id"].n_unique(),
        "first_event": str(events["event_time"].min()),
        "last_event": str(events["event_time"].max()),
        "sha256": digest,
    }
