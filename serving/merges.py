"""Links join customers and part them again: what the online store knows of them follows at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import polars as pl

from features.events import EVENT_SCHEMA
from features.identities import Resolution
from features.lake import Lake
from features.life_cycle import TagRecord
from features.packed_memory import latest_known_us, pack_memories
from features.packed_store import CUSTOMER_MEMORY, PackedRow, PackedStore
from features.parked import Online, Parked, ParkedRows
from features.windows import NEVER
from serving.carriers import Carriers
from serving.live_tags import CUSTOMER_TAGS

VIEWS = (CUSTOMER_MEMORY, CUSTOMER_TAGS)
"""What is moved here; profiles are the refresh's, see `serving.refresh`."""

Customer = tuple[str, ...]
"""The canonical ids of one customer, the surviving one first."""

_encode_tags = msgspec.msgpack.Encoder().encode
_decode_tags = msgspec.msgpack.Decoder(list[TagRecord]).decode


@dataclass(frozen=True)
class Moved:
    """What a change of links moved.

    Attributes
    ----------
    customers
        Ids whose history is now another customer's than before.
    events
        Events stored under them.
    """

    customers: int
    events: int


def concerned(
    before: Resolution, after: Resolution, ids: Collection[str]
) -> tuple[list[Customer], list[Customer]]:
    """Return the customers that some ids belonged to and those they belong to, without the unchanged."""
    members = {member for side in (before, after) for one in ids for member in side.members(one)}
    # What was one customer may be several now, whose ids were not all named, and the reverse.
    was = dict.fromkeys(before.members(member) for member in sorted(members))
    is_now = dict.fromkeys(after.members(member) for member in sorted(members))
    unchanged = {frozenset(customer) for customer in was} & {frozenset(customer) for customer in is_now}
    return (
        [customer for customer in was if frozenset(customer) not in unchanged],
        [customer for customer in is_now if frozenset(customer) not in unchanged],
    )


def move(
    store: PackedStore,
    lake: Lake,
    parked: Parked,
    before: Resolution,
    after: Resolution,
    ids: Collection[str],
) -> Moved:
    """Put memories and tags right after links of some ids were added or taken back.

    A customer who comes to be is given the joined memory and tags, and those who are no more lose theirs; how
    each of them stood is parked. Whoever is alone again gets back what was parked, unless events came in
    meanwhile: then the memory is made anew from them. Nobody else may write to the store meanwhile.

    Parameters
    ----------
    store
        The online store.
    lake
        With every event in it, also what was posted; ids as they were stored.
    parked
        Of the home.
    before, after
        Who was who, and who is who now.
    ids
        The ids that were linked or unlinked.
    """
    was, is_now = concerned(before, after, ids)
    if not was:
        return Moved(0, 0)
    events = _Events(lake, before, was)
    parking: dict[Customer, ParkedRows] = {}
    made: dict[Customer, Online] = {}
    for customer, parts in _grouped(was, is_now):
        # What is parked of somebody who was a customer of their own is of a move that was cut short.
        rows = {part: _parked_or_online(store, parked, part) for part in parts}
        if any(rows.values()):
            parking |= {part: ParkedRows(events.newest_us(part), online) for part, online in rows.items()}
            made |= {part: {} for part in parts} | {customer: _joined(customer, rows, events)}
    for customer, parts in _grouped(is_now, was):
        before_link = {part: parked.get(part) for part in parts}
        made |= {customer: {}} | _parted(customer, _online(store, customer), before_link, events)
    parked.put(parking)
    _replace(store, made)
    parked.keep_parts_of(is_now)
    members = [member for customer in was for member in customer]
    changed = [member for member in members if before.one(member) != after.one(member)]
    return Moved(len(changed), events.count(changed))


def _grouped(
    parts: Sequence[Customer], wholes: Sequence[Customer]
) -> Iterator[tuple[Customer, list[Customer]]]:
    """Yield each customer who consists of several others, with those."""
    whole_of = {member: whole for whole in wholes for member in whole}
    found: dict[Customer, list[Customer]] = {}
    for part in parts:
        found.setdefault(whole_of[part[0]], []).append(part)
    yield from ((whole, listed) for whole, listed in found.items() if len(listed) > 1)


class _Events:
    """Everything stored of some customers, by the id it was stored under."""

    def __init__(self, lake: Lake, resolution: Resolution, customers: Sequence[Customer]) -> None:
        members = {member for customer in customers for member in customer}
        spellings = [name for member in members for name in resolution.spaces.spellings(member)]
        found = lake.read(customers=spellings)
        canonical = resolution.spaces.canonical_column(found["customer_id"])
        self._by_id = {
            str(name): rows for (name,), rows in found.with_columns(canonical).group_by("customer_id")
        }

    def of(self, customer: Customer) -> pl.DataFrame:
        rows = [self._by_id[member] for member in customer if member in self._by_id]
        empty = pl.DataFrame(schema=EVENT_SCHEMA)
        return pl.concat([empty, *rows]).with_columns(customer_id=pl.lit(customer[0]))

    def count(self, ids: Collection[str]) -> int:
        return sum(self._by_id[name].height for name in ids if name in self._by_id)

    def newest_us(self, customer: Customer) -> int:
        known = pl.max_horizontal("event_time", "ingested_at").dt.epoch("us").max()
        newest = self.of(customer).select(known).item()
        return NEVER if newest is None else int(newest)

    def memory(self, customer: Customer) -> Online:
        """Return the short memory as of the newest event, if any: whether that is too old, a read decides."""
        packed = pack_memories(self.of(customer), self.newest_us(customer)).get(customer[0])
        return {} if packed is None else {CUSTOMER_MEMORY: (latest_known_us(packed), packed)}


def _joined(customer: Customer, rows: Mapping[Customer, Online], events: _Events) -> Online:
    made: dict[str, tuple[int, bytes]] = {}
    if any(CUSTOMER_MEMORY in online for online in rows.values()):
        made |= events.memory(customer)
    tags = _joined_tags(online[CUSTOMER_TAGS] for online in rows.values() if CUSTOMER_TAGS in online)
    return made if tags is None else made | {CUSTOMER_TAGS: tags}


def _parted(
    customer: Customer, online: Online, before: Mapping[Customer, ParkedRows | None], events: _Events
) -> dict[Customer, Online]:
    made: dict[Customer, Online] = {}
    tags = _parted_tags(online.get(CUSTOMER_TAGS), customer, before)
    known = [online, *(rows.online for rows in before.values() if rows is not None)]
    for part, rows in before.items():
        memory: Online = {}
        if rows is not None and rows.newest_us == events.newest_us(part):
            memory = {view: row for view, row in rows.online.items() if view == CUSTOMER_MEMORY}
        elif any(CUSTOMER_MEMORY in one for one in known):
            memory = events.memory(part)
        made[part] = {**memory, **tags[part]}
    return made


def _parted_tags(
    current: tuple[int, bytes] | None, customer: Customer, before: Mapping[Customer, ParkedRows | None]
) -> dict[Customer, Online]:
    """Share a customer's tags out: each part's own, and to the surviving id what came since."""
    own = {
        part: rows.online[CUSTOMER_TAGS]
        for part, rows in before.items()
        if rows is not None and CUSTOMER_TAGS in rows.online
    }
    shared: dict[Customer, Online] = {part: {} for part in before}
    shared |= {part: {CUSTOMER_TAGS: row} for part, row in own.items()}
    if current is None or current == _joined_tags(own.values()):
        return shared
    heir = next(part for part in before if customer[0] in part)
    others = {record for part, (_, packed) in own.items() if part != heir for record in _decode_tags(packed)}
    event_us, packed = current
    mine = {one.evidence.tag_id: one for one in _decode_tags(own[heir][1])} if heir in own else {}
    found = [
        mine.get(record.evidence.tag_id) if record in others else record for record in _decode_tags(packed)
    ]
    kept = [record for record in found if record is not None]
    shared[heir] = {CUSTOMER_TAGS: (event_us, _encode_tags(kept))} if kept else {}
    return shared


def _joined_tags(rows: Iterable[tuple[int, bytes]]) -> tuple[int, bytes] | None:
    """Join rows of tags, in whatever order; of the records of one tag the one claimed last stays."""
    listed = list(rows)
    if len(listed) <= 1:
        return listed[0] if listed else None
    best: dict[str, tuple[tuple[int, int, bytes], TagRecord]] = {}
    for _, packed in listed:
        for record in _decode_tags(packed):
            rank = record.claimed_at_us, record.assigned_at_us, _encode_tags(record)
            found = best.get(record.evidence.tag_id)
            if found is None or rank > found[0]:
                best[record.evidence.tag_id] = rank, record
    records = [best[name][1] for name in sorted(best)]
    return max(event_us for event_us, _ in listed), _encode_tags(records)


def _online(store: PackedStore, customer: Customer) -> dict[str, tuple[int, bytes]]:
    rows = {view: store.get(view, customer[0], now_us=0, ttl_us=None) for view in VIEWS}
    return {view: (row.event_us, row.value) for view, row in rows.items() if row is not None}


def _parked_or_online(store: PackedStore, parked: Parked, part: Customer) -> Online:
    rows = parked.get(part)
    return _online(store, part) if rows is None else rows.online


def _replace(store: PackedStore, made: Mapping[Customer, Online]) -> None:
    """Put rows in the place of everything stored of some customers, older ones too."""
    keys = sorted({customer[0] for customer in made})
    tags = {one[0]: rows[CUSTOMER_TAGS][1] for one, rows in made.items() if CUSTOMER_TAGS in rows}
    after = {customer: _by_id(packed) for customer, packed in tags.items()}
    stored = store.get_many(CUSTOMER_TAGS, keys, now_us=0, ttl_us=None)
    before = {customer: _by_id(row.value) for customer, row in stored.items()}
    carriers = Carriers(store)
    carriers.add({}, after)
    for view in VIEWS:
        store.remove(view, keys)
        rows = [PackedRow(customer[0], *online[view]) for customer, online in made.items() if view in online]
        if rows:
            store.put_many(view, rows)
    carriers.drop(before, after)


def _by_id(packed: bytes) -> dict[str, TagRecord]:
    return {record.evidence.tag_id: record for record in _decode_tags(packed)}
