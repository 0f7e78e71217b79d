"""The ways to the same features, side by side: in bulk, online, and by the oracle.

Every path answers for some customers at one instant: their features, and those of every key that they paid
attention to by then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

from features import affinity, customer
from features.candidates import PairRule
from features.history import History
from features.live import KeyProfiles, LiveCustomers
from features.memory import KEY_COLUMNS
from features.packed_memory import merge_memory, pack_memories
from features.packed_store import PackedRow, profile_key
from features.profile import Profile
from features.publishing import key_rows, profile_rows
from features.windows import DAY_90, HOUR_72, IntArray, WindowRows
from tests.features import oracle, oracle_pairs
from tests.features.oracle import Event, Instant, Value, microseconds
from tests.features.streams import frame

RULE = PairRule(HOUR_72, DAY_90)
Key = tuple[str, str]
"""``category`` or ``brand``, and its text."""


class EveryPair(PairRule):
    """Lets every pair through, known yet or not."""

    def holds(self, recent: WindowRows, profile: Profile) -> npt.NDArray[np.bool_]:
        return np.ones(len(recent.keys), bool)


EVERY_PAIR = EveryPair(HOUR_72, DAY_90)

Wanted = Sequence[Collection[Key]] | None
"""Of each customer the keys whose features are wanted; None: of every key there is."""


@dataclass(frozen=True)
class Answer:
    """What a path says of one customer at an instant.

    Attributes
    ----------
    customer
        The customer's features.
    pairs
        Those of categories and brands.
    candidates
        Which of these deserve a claim.
    """

    customer: dict[str, Value]
    pairs: dict[Key, dict[str, Value]] = field(default_factory=dict)
    candidates: set[Key] = field(default_factory=set)

    @property
    def cells(self) -> int:
        return len(self.customer) + sum(map(len, self.pairs.values()))


def _columns_to_rows(columns: Mapping[str, npt.NDArray[Any]], count: int) -> list[dict[str, Value]]:
    listed = {name: values[:count].tolist() for name, values in columns.items()}
    return [{name: values[row] for name, values in listed.items()} for row in range(count)]


def bulk_answers(
    history: History,
    names: Sequence[str],
    instants: Sequence[int],
    keys: Wanted = None,
    *,
    least_rows: int = 0,
) -> list[Answer]:
    """Compute customers at instants, all at once.

    Parameters
    ----------
    keys
        See `Wanted`.
    least_rows
        So many rows are asked for, the same again and again: of few, every event is looked at in every row,
        of many they are searched.
    """
    count, repeats = len(names), max(-(-least_rows // len(names)), 1)
    numbers = np.tile(history.numbers(names), repeats)
    rows = history.customer_rows(numbers, np.tile(np.array(instants, np.int64), repeats))
    answers = [Answer(row) for row in _columns_to_rows(customer.CATALOGUE.compute(rows), count)]
    for column in KEY_COLUMNS:
        row, pair = history.candidate_pairs(column, rows, EVERY_PAIR)
        of_pairs = affinity.CATALOGUE.compute(history.pair_rows(column, rows, row, pair))
        first = row < count
        texts = history.key_texts(column, pair[first])
        _collect(answers, column, row[first], texts, of_pairs, keys)
        row, pair = history.candidate_pairs(column, rows, RULE)
        for number, key in zip(row.tolist(), history.key_texts(column, pair), strict=True):
            if number < count:
                answers[number].candidates.add((column, key))
    return answers


def live_answers(live: LiveCustomers, keys: Wanted = None) -> list[Answer]:
    """Compute customers from what the online store holds of them."""
    answers = [Answer(row) for row in _columns_to_rows(customer.CATALOGUE.compute(live.rows), len(live.rows))]
    for column in KEY_COLUMNS:
        of_pairs, texts = live.pair_rows(column, EVERY_PAIR)
        columns = affinity.CATALOGUE.compute(of_pairs)
        _collect(answers, column, of_pairs.customer_row, texts, columns, keys)
        of_pairs, texts = live.pair_rows(column, RULE)
        for number, key in zip(of_pairs.customer_row.tolist(), texts, strict=True):
            answers[number].candidates.add((column, key))
    return answers


def _collect(
    answers: Sequence[Answer],
    column: str,
    row: IntArray,
    texts: Sequence[str],
    of_pairs: Mapping[str, npt.NDArray[Any]],
    keys: Wanted,
) -> None:
    places = [
        place
        for place, (number, text) in enumerate(zip(row.tolist(), texts, strict=True))
        if keys is None or (column, text) in keys[number]
    ]
    chosen = {name: values[: len(texts)][places] for name, values in of_pairs.items()}
    for place, cells in zip(places, _columns_to_rows(chosen, len(places)), strict=True):
        number, key = int(row[place]), (column, texts[place])
        assert key not in answers[number].pairs
        answers[number].pairs[key] = cells


class Oracle:
    """Answers by the second derivation.

    Parameters
    ----------
    events
        Each customer's events in known order, from `tests.features.oracle.by_customer`.
    """

    def __init__(self, events: Mapping[str, Sequence[Event]]) -> None:
        self.events = events
        self._keys = {column: oracle_pairs.Keys(events, column) for column in KEY_COLUMNS}

    def answer(
        self, name: str, at: Instant, *, most: int | None = None, drawn: Random | None = None
    ) -> Answer:
        """Compute one customer.

        Parameters
        ----------
        most, drawn
            How many keys of a column are drawn of those paid attention to; by default all are computed.
        """
        found = oracle.CustomerAt(self.events[name], at)
        answer = Answer(found.features())
        for column in KEY_COLUMNS:
            attention = found.attention(column)
            answer.candidates.update(
                (column, key)
                for key, mine in attention.items()
                if oracle_pairs.is_candidate(mine, at, "72h", "90d")
            )
            chosen = list(attention)
            if most is not None and drawn is not None:
                chosen = drawn.sample(chosen, min(most, len(chosen)))
            for key in chosen:
                facts = self._keys[column].of(key, at)
                answer.pairs[column, key] = oracle_pairs.pair_features(found, attention[key], facts)
        return answer


def live_replay(deliveries: Sequence[Mapping[str, Any]], names: Sequence[str], at: Instant) -> LiveCustomers:
    """Let events arrive one by one, publish the profiles of the day, and read some customers.

    Parameters
    ----------
    deliveries
        In the order of their arrival; only what arrived by the instant is looked at.
    """
    memories: dict[str, bytes] = {}
    first: dict[tuple[str, str], Mapping[str, Any]] = {}
    for row in deliveries:
        arrival, name = microseconds(row["ingested_at"]), row["customer_id"]
        if arrival > at.us:
            break
        first.setdefault((row["source"], row["event_id"]), row)
        if name in names:
            known = max(arrival, microseconds(row["event_time"]))
            memories[name] = merge_memory(
                memories.get(name), pack_memories(frame([dict(row)]), known)[name], arrival
            )
    known_then = [
        dict(row)
        for row in first.values()
        if max(microseconds(row["event_time"]), microseconds(row["ingested_at"])) <= at.boundary
    ]
    history = History(frame(known_then), at.zone, at.lag)
    profiles = {row.key: row for row in profile_rows(history, at.boundary)}
    packed = {row.key: row for row in key_rows(history, at.boundary)}
    return LiveCustomers(
        names,
        [memories.get(name) for name in names],
        [profiles.get(name) for name in names],
        at.us,
        at.boundary,
        unpacked_keys(packed),
        at.zone,
    )


def unpacked_keys(packed: Mapping[str, PackedRow]) -> dict[str, KeyProfiles]:
    """Read the profiles of categories and brands, found under their packed keys."""
    prefixes = {column: profile_key(column, "") for column in KEY_COLUMNS}
    return {
        column: KeyProfiles.unpack(
            {key.removeprefix(prefix): row for key, row in packed.items() if key.startswith(prefix)}
        )
        for column, prefix in prefixes.items()
    }


def differences(found: Answer, expected: Answer, *, known_keys: Iterable[Key] | None = None) -> list[str]:
    """Name every cell in which a path departs from what is expected, with both values.

    Parameters
    ----------
    known_keys
        The keys to compare: those that were paid attention to by then. By default all of ``expected``.
    """
    wrong = [
        f"{name}: {ours} != {theirs}" for name, ours, theirs in unequal(found.customer, expected.customer)
    ]
    for key in expected.pairs if known_keys is None else known_keys:
        if key not in found.pairs:
            wrong.append(f"{key} is missing")
        else:
            wrong += [
                f"{key} {name}: {ours} != {theirs}"
                for name, ours, theirs in unequal(found.pairs[key], expected.pairs[key])
            ]
    if found.candidates != expected.candidates:
        wrong.append(f"candidates: {found.candidates} != {expected.candidates}")
    return wrong


def unequal(
    found: Mapping[str, Value], expected: Mapping[str, Value]
) -> list[tuple[str, Value | None, Value | None]]:
    """Return the cells that differ, by type or by value: exactly, null being equal to null."""
    return [
        (name, ours, theirs)
        for name in found.keys() & expected.keys()
        if type(ours := found[name]) is not type(theirs := expected[name])
        or not (ours == theirs or (ours != ours and theirs != theirs))
    ]
